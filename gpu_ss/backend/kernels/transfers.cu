// What is built on correlated OT: transfers.py of the folder above says what the kernels are for.
//
// A sender's keys change places where the receiver says so by a mask; no address or branch depends on a bit.
#include "elements.h"
#include "pack.h"

template <class V> struct Keys {
  V first, second;
};

// Both keys of an OT in the order of the receiver's choice: exchanged where `flip` is all ones.
template <class V> FN Keys<V> ordered(V zero, V one, V flip) {
  const V exchanged = (zero ^ one) & flip;
  return {zero ^ exchanged, one ^ exchanged};
}

FN i64 at_most(i64 x, i64 most) { return x < most ? x : most; }

#if !SIMT

constexpr i64 TILE = 1024;  // elements of all rows that are worked on together: their sums stay in the first cache

// body(V(), e) for the elements e < count of a block of up to 64.
template <class F> FN void each_of_block(i64 count, F body) {
  if (count == 64)
    for (i64 e = 0; e < 64; e += LANES64) body(v64{}, e);
  else
    for (i64 e = 0; e < count; e++) body(u64{}, e);
}

// The words that the first `count` elements of a block fill.
FN void pack_block(GroupFn* pack, u64* block, u64* out, i64 count, i64 bits) {
  if (count == 64) return pack(block, block, out);
  for (i64 e = count; e < 64; e++) block[e] = 0;
  u64 words[64];
  pack(block, block, words);
  for (i64 j = 0; j < packed_size(count, bits); j++) out[j] = words[j];
}

FN void unpack_block(UngroupFn* unpack, const u64* words, u64* block, i64 count, i64 bits) {
  if (count == 64) return unpack(words, words, words, block);
  u64 whole[64] = {};
  for (i64 j = 0; j < packed_size(count, bits); j++) whole[j] = words[j];
  unpack(whole, whole, whole, block);
}

#endif

// Rows: element i of row k has bits - k bits, and every row begins with a word of its own.

// Words before row k of `count` elements.
FN i64 words_before(i64 k, i64 bits, i64 count) {
  i64 words = count / 64 * (k * bits - k * (k - 1) / 2);
  const int rest = (int)(count % 64);
  for (int t = 0; rest && t < (int)k; t++) words += (rest * ((int)bits - t) + 63) / 64;
  return words;
}

// Packs message(V(), k, i); with all of them goes share(V(), k, i, sum) for each row, then end(V(), i, sum) with what
// the rows have added up from 0. Items: `rows` times the words of the widest row, then elements.
template <class M, class S, class E>
FN void pack_rows(u64* out, i64 bits, i64 rows, i64 count, i64 n, M message, S share, E end) {
#if SIMT
  const i64 widest = packed_size(count, bits);
  FOREACH(item, n) {
    if (item < rows * widest) {
      const i64 k = item / widest, j = item % widest, width = bits - k;
      if (j < packed_size(count, width))
        out[words_before(k, bits, count) + j] =
            packed_word([=](i64 i) { return message(u64{}, k, i); }, j, width, count);
    } else {
      const i64 i = item - rows * widest;
      u64 sum = 0;
      for (i64 k = 0; k < rows; k++) share(u64{}, k, i, &sum);
      end(u64{}, i, &sum);
    }
  }
#else
  (void)n;
  const i64 tiles = (count + TILE - 1) / TILE;
  FOREACH_STEP(tile, tiles, 1, LIGHT / TILE / (rows + 1)) {
    const i64 begin = tile * TILE, stop = at_most(begin + TILE, count);
    u64 sums[TILE] = {}, *row = out;
    for (i64 k = 0; k < rows; row += packed_size(count, bits - k++)) {
      GroupFn* pack = pack_of<ONE>(bits - k, Widths());
      for (i64 i = begin; i < stop; i += 64) {
        u64 block[64];
        const i64 some = at_most(64, stop - i);
        each_of_block(some, [&](auto v, i64 e) {
          store(block + e, message(v, k, i + e));
          share(v, k, i + e, sums + i + e - begin);
        });
        pack_block(pack, block, row + i / 64 * (bits - k), some, bits - k);
      }
    }
    for (i64 i = begin; i < stop; i += 64)
      each_of_block(at_most(64, stop - i), [&](auto v, i64 e) { end(v, i + e, sums + i + e - begin); });
  }
#endif
}

// The other way: share(V(), k, i, element, sum) for each row, then end(V(), i, sum). Item = element of all rows.
template <class S, class E> FN void unpack_rows(const u64* words, i64 bits, i64 rows, i64 n, S share, E end) {
#if SIMT
  FOREACH(i, n) {
    const u64* row = words;
    u64 sum = 0;
    for (i64 k = 0; k < rows; k++) {
      share(u64{}, k, i, unpacked_element<0>(row, row, row, i, bits - k), &sum);
      row += packed_size(n, bits - k);
    }
    end(u64{}, i, &sum);
  }
#else
  const i64 tiles = (n + TILE - 1) / TILE;
  FOREACH_STEP(tile, tiles, 1, LIGHT / TILE / (rows + 1)) {
    const i64 begin = tile * TILE, stop = at_most(begin + TILE, n);
    const u64* row = words;
    u64 sums[TILE] = {};
    for (i64 k = 0; k < rows; row += packed_size(n, bits - k++)) {
      UngroupFn* unpack = unpack_of<0>(bits - k, Widths());
      for (i64 i = begin; i < stop; i += 64) {
        u64 block[64];
        const i64 some = at_most(64, stop - i);
        unpack_block(unpack, row + i / 64 * (bits - k), block, some, bits - k);
        each_of_block(some, [&](auto v, i64 e) { share(v, k, i + e, load(v, block + e), sums + i + e - begin); });
      }
    }
    for (i64 i = begin; i < stop; i += 64)
      each_of_block(at_most(64, stop - i), [&](auto v, i64 e) { end(v, i + e, sums + i + e - begin); });
  }
#endif
}

KERNEL word_corrections(const u64* __restrict__ x, const u64* __restrict__ zero, const u64* __restrict__ one,
                        const u64* __restrict__ flips, u64* __restrict__ messages, u64* __restrict__ out, i64 bits,
                        i64 rows, i64 count, i64 n) {
  const i64 width = (count + 63) / 64;
  const auto keys = [=](auto v, i64 k, i64 i) {
    return ordered(load(v, zero + k * count + i), load(v, one + k * count + i), plane_mask(v, flips + k * width, i));
  };
  pack_rows(
      messages, bits, rows, count, n,
      [=](auto v, i64 k, i64 i) {
        const auto key = keys(v, k, i);
        return load(v, x + i) + key.first - key.second;
      },
      [=](auto v, i64 k, i64 i, u64* sum) { store(sum, load(v, sum) - (keys(v, k, i).first << k)); },
      [=](auto v, i64 i, u64* sum) { store(out + i, load(v, sum) & low_bits(bits)); });
}

KERNEL word_shares(const u64* __restrict__ keys, const u64* __restrict__ corrections, const u64* __restrict__ planes,
                   u64* __restrict__ out, i64 bits, i64 rows, i64 n) {
  const i64 width = (n + 63) / 64;
  unpack_rows(
      corrections, bits, rows, n,
      [=](auto v, i64 k, i64 i, auto correction, u64* sum) {
        const auto taken = correction & plane_mask(v, planes + k * width, i);
        store(sum, load(v, sum) + ((load(v, keys + k * n + i) + taken) << k));
      },
      [=](auto v, i64 i, u64* sum) { store(out + i, load(v, sum) & low_bits(bits)); });
}

// `out` are the words, then the rows of shares. Row k of the messages is that of bit k + 1.
KERNEL bit_word_corrections(const u64* __restrict__ zero, const u64* __restrict__ one, u64* __restrict__ messages,
                            u64* __restrict__ out, i64 bits, i64 rows, i64 count, i64 n) {
  const u64 mask = low_bits(bits);
  const auto word = [=](auto v, i64 i) { return load(v, one + i) - load(v, zero + i); };
  u64* const shares = out + count;
  pack_rows(
      messages, bits - 1, rows - 1, count, n,
      [=](auto v, i64 k, i64 i) { return word(v, i) - word(v, (k + 1) * count + i); },
      [=](auto v, i64 k, i64 i, u64*) {
        const i64 at = (k + 1) * count + i;
        store(shares + at, ((0 - load(v, zero + at)) << (k + 1)) & mask);
      },
      [=](auto v, i64 i, u64*) {
        store(out + i, word(v, i) & mask);
        store(shares + i, (0 - load(v, zero + i)) & mask);
      });
}

KERNEL bit_word_shares(const u64* __restrict__ keys, const u64* __restrict__ corrections,
                       const u64* __restrict__ planes, u64* __restrict__ out, i64 bits, i64 rows, i64 n) {
  const i64 width = (n + 63) / 64;
  const u64 mask = low_bits(bits);
  unpack_rows(
      corrections, bits - 1, rows - 1, n,
      [=](auto v, i64 k, i64 i, auto correction, u64*) {
        const i64 at = (k + 1) * n + i;
        const auto taken = correction & plane_mask(v, planes + (k + 1) * width, i);
        store(out + at, ((load(v, keys + at) + taken) << (k + 1)) & mask);
      },
      [=](auto v, i64 i, u64*) { store(out + i, load(v, keys + i) & mask); });
}

// Several words for each bit: element i of row j is number j count + i of one bit string, its key is keys[i, j].

enum Factor { RANDOM, CHOSEN, MUX, VALUE };  // of the receiver's bits, and what becomes of the products

FN u64 strided(u64, const u64* p, i64) { return *p; }
#if !SIMT
FN v64 strided(v64, const u64* p, i64 step) {
  if (step == 1) return load(v64{}, p);
  v64 x{};
  UNROLL for (int k = 0; k < LANES64; k++) x[k] = p[k * step];
  return x;
}

// body(V(), e, j, i) for the elements e < some of the block from number `start` on, i being their places in rows j.
template <class F> FN void each_in_rows(i64 start, i64 some, i64 count, F body) {
  i64 j = start / count, i = start % count;
  if (some == 64 && i % 64 == 0 && i + 64 <= count)
    for (i64 e = 0; e < 64; e += LANES64) body(v64{}, e, j, i + e);
  else
    for (i64 e = 0; e < some; e++) {
      body(u64{}, e, j, i);
      if (++i == count) i = 0, j++;
    }
}
#endif

// Items: words of the messages, then elements.
template <int FACTOR>
FN void correct_products(const u64* x, const u64* own, const u64* zero, const u64* one, const u64* flips,
                         u64* messages, u64* out, i64 bits, i64 rows, i64 count, i64 n) {
  const u64 mask = low_bits(FACTOR == VALUE ? bits + 1 : bits);
  const auto keys = [=](auto v, i64 j, i64 i) {
    auto flip = v;
    if constexpr (FACTOR != RANDOM) flip = plane_mask(v, flips, i);
    return ordered(strided(v, zero + i * rows + j, rows), strided(v, one + i * rows + j, rows), flip);
  };
  // With its own bit b the sender offers x, x (1 - 2 b), or b.
  const auto message = [=](auto v, i64 j, i64 i) {
    const auto key = keys(v, j, i);
    if constexpr (FACTOR == VALUE) return (plane_mask(v, own, i) & 1) + key.first - key.second;
    else if constexpr (FACTOR == MUX)
      return (load(v, x + j * count + i) ^ plane_mask(v, own, i)) - plane_mask(v, own, i) + key.first - key.second;
    else return load(v, x + j * count + i) + key.first - key.second;
  };
  // Its share of the product is -first: that, plus b x, or b - 2 times that.
  const auto share = [=](auto v, i64 j, i64 i) {
    const auto first = keys(v, j, i).first;
    if constexpr (FACTOR == VALUE) return ((plane_mask(v, own, i) & 1) + (first << 1)) & mask;
    else if constexpr (FACTOR == MUX) return ((load(v, x + j * count + i) & plane_mask(v, own, i)) - first) & mask;
    else return (0 - first) & mask;
  };
  const i64 total = rows * count;
#if SIMT
  const i64 words = packed_size(total, bits);
  FOREACH(item, n) {
    if (item < words)
      messages[item] =
          packed_word([=](i64 e) { return message(u64{}, e / count, e % count); }, item, bits, total);
    else
      out[item - words] = share(u64{}, (item - words) / count, (item - words) % count);
  }
#else
  (void)n;
  GroupFn* pack = pack_of<ONE>(bits, Widths());
  const i64 blocks = (total + 63) / 64;
  FOREACH_STEP(b, blocks, 1, LIGHT / 64) {
    u64 block[64];
    const i64 start = 64 * b, some = at_most(64, total - start);
    each_in_rows(start, some, count, [&](auto v, i64 e, i64 j, i64 i) {
      store(block + e, message(v, j, i));
      store(out + start + e, share(v, j, i));
    });
    pack_block(pack, block, messages + b * bits, some, bits);
  }
#endif
}

KERNEL product_corrections(const u64* __restrict__ x, const u64* __restrict__ own, const u64* __restrict__ zero,
                           const u64* __restrict__ one, const u64* __restrict__ flips, u64* __restrict__ messages,
                           u64* __restrict__ out, i64 factor, i64 bits, i64 rows, i64 count, i64 n) {
  if (factor == RANDOM) correct_products<RANDOM>(x, own, zero, one, flips, messages, out, bits, rows, count, n);
  if (factor == CHOSEN) correct_products<CHOSEN>(x, own, zero, one, flips, messages, out, bits, rows, count, n);
  if (factor == MUX) correct_products<MUX>(x, own, zero, one, flips, messages, out, bits, rows, count, n);
  if (factor == VALUE) correct_products<VALUE>(x, own, zero, one, flips, messages, out, bits, rows, count, n);
}

template <int FACTOR>
FN void share_products(const u64* base, const u64* keys, const u64* corrections, const u64* plane, u64* out, i64 bits,
                       i64 rows, i64 count, i64 n) {
  const u64 mask = low_bits(FACTOR == VALUE ? bits + 1 : bits);
  const auto share = [=](auto v, i64 j, i64 i, auto correction) {
    const auto chosen = plane_mask(v, plane, i);
    const auto product = strided(v, keys + i * rows + j, rows) + (correction & chosen);
    if constexpr (FACTOR == VALUE) return ((chosen & 1) - (product << 1)) & mask;
    else if constexpr (FACTOR == MUX) return (load(v, base + j * count + i) + product) & mask;
    else return product & mask;
  };
#if SIMT
  FOREACH(e, n) {
    const u64 correction = unpacked_element<0>(corrections, corrections, corrections, e, bits);
    out[e] = share(u64{}, e / count, e % count, correction);
  }
#else
  UngroupFn* unpack = unpack_of<0>(bits, Widths());
  const i64 blocks = (n + 63) / 64;
  FOREACH_STEP(b, blocks, 1, LIGHT / 64) {
    u64 block[64];
    const i64 start = 64 * b, some = at_most(64, n - start);
    unpack_block(unpack, corrections + b * bits, block, some, bits);
    each_in_rows(start, some, count, [&](auto v, i64 e, i64 j, i64 i) {
      store(out + start + e, share(v, j, i, load(v, block + e)));
    });
  }
#endif
}

KERNEL product_shares(const u64* __restrict__ base, const u64* __restrict__ keys,
                      const u64* __restrict__ corrections, const u64* __restrict__ plane, u64* __restrict__ out,
                      i64 factor, i64 bits, i64 rows, i64 count, i64 n) {
  if (factor == CHOSEN) share_products<CHOSEN>(base, keys, corrections, plane, out, bits, rows, count, n);
  if (factor == MUX) share_products<MUX>(base, keys, corrections, plane, out, bits, rows, count, n);
  if (factor == VALUE) share_products<VALUE>(base, keys, corrections, plane, out, bits, rows, count, n);
}
