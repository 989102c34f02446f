// Elements of `bits` bits as one little-endian bit string: element e occupies bits e*bits up to (e+1)*bits.
//
// What is packed can be a difference of two arrays, and to what is unpacked another array can be added, modulo
// 2^bits: masking and unmasking take no pass through memory of their own. Without, the second array is unused.
#include "shim.h"

FN u64 low_bits(i64 bits) { return ~0ull >> (64 - bits); }

template <bool TWO> FN u64 difference(const u64* x, const u64* y, i64 e) { return TWO ? x[e] - y[e] : x[e]; }
template <bool TWO> FN u64 sum(u64 x, const u64* y, i64 e) { return TWO ? x + y[e] : x; }

// Word j of the bit string, whatever reaches into it.
template <bool TWO> FN u64 packed_word(const u64* x, const u64* y, i64 j, i64 bits, i64 count) {
  i64 e = 64 * j / bits, at = e * bits - 64 * j;
  u64 mask = low_bits(bits), word = 0;
  if (at < 0) word = (difference<TWO>(x, y, e++) & mask) >> -at, at += bits;
  for (; at < 64 && e < count; at += bits) word |= (difference<TWO>(x, y, e++) & mask) << at;
  return word;
}

// Element e of the bit string, plus that of y.
template <bool TWO> FN u64 unpacked_element(const u64* words, const u64* y, i64 e, i64 bits) {
  i64 q = e * bits / 64, at = e * bits % 64;
  u64 x = words[q] >> at;
  if (at + bits > 64) x |= words[q + 1] << (64 - at);
  return sum<TWO>(x, y, e) & low_bits(bits);
}

#if SIMT

template <bool TWO> FN void pack_all(const u64* x, const u64* y, u64* out, i64 bits, i64 count, i64 n) {
  FOREACH(j, n) out[j] = packed_word<TWO>(x, y, j, bits, count);
}

template <bool TWO> FN void unpack_all(const u64* words, const u64* y, u64* out, i64 bits, i64 n) {
  FOREACH(e, n) out[e] = unpacked_element<TWO>(words, y, e, bits);
}

#else
// On the CPU 64 elements at a time, which fill exactly `bits` words: with the width a compile-time constant,
// every position and shift is one too.
#include <utility>

typedef void GroupFn(const u64* __restrict__, const u64* __restrict__, u64* __restrict__);

template <bool TWO, int B>
static void pack_group(const u64* __restrict__ x, const u64* __restrict__ y, u64* __restrict__ out) {
  u64 word = 0;
  UNROLL for (int e = 0; e < 64; e++) {
    const int at = e * B % 64;
    u64 v = difference<TWO>(x, y, e) & low_bits(B);
    word |= v << at;
    if (at + B >= 64) {
      out[e * B / 64] = word;
      word = at + B > 64 ? v >> (64 - at) % 64 : 0;
    }
  }
}

template <bool TWO, int B>
static void unpack_group(const u64* __restrict__ words, const u64* __restrict__ y, u64* __restrict__ out) {
  UNROLL for (int e = 0; e < 64; e++) out[e] = unpacked_element<TWO>(words, y, e, B);
}

template <bool TWO, int... B> static GroupFn* pack_of(i64 bits, std::integer_sequence<int, B...>) {
  static GroupFn* const table[] = {pack_group<TWO, B + 1>...};
  return table[bits - 1];
}

template <bool TWO, int... B> static GroupFn* unpack_of(i64 bits, std::integer_sequence<int, B...>) {
  static GroupFn* const table[] = {unpack_group<TWO, B + 1>...};
  return table[bits - 1];
}

typedef std::make_integer_sequence<int, 64> Widths;

template <bool TWO> FN void pack_all(const u64* x, const u64* y, u64* out, i64 bits, i64 count, i64 n) {
  GroupFn* group = pack_of<TWO>(bits, Widths());
  i64 groups = count / 64;
  FOREACH_STEP(g, groups, 1, 2048) group(x + 64 * g, y + 64 * g, out + bits * g);
  FOREACH_REST(j, groups * bits, n) out[j] = packed_word<TWO>(x, y, j, bits, count);
}

template <bool TWO> FN void unpack_all(const u64* words, const u64* y, u64* out, i64 bits, i64 n) {
  GroupFn* group = unpack_of<TWO>(bits, Widths());
  i64 groups = n / 64;
  FOREACH_STEP(g, groups, 1, 2048) group(words + bits * g, y + 64 * g, out + 64 * g);
  FOREACH_REST(e, 64 * groups, n) out[e] = unpacked_element<TWO>(words, y, e, bits);
}

#endif

KERNEL pack(const u64* __restrict__ x, u64* __restrict__ out, i64 bits, i64 count, i64 n) {
  pack_all<false>(x, x, out, bits, count, n);
}

KERNEL pack_difference(const u64* __restrict__ x, const u64* __restrict__ y, u64* __restrict__ out, i64 bits,
                       i64 count, i64 n) {
  pack_all<true>(x, y, out, bits, count, n);
}

KERNEL unpack(const u64* __restrict__ words, u64* __restrict__ out, i64 bits, i64 n) {
  unpack_all<false>(words, out, out, bits, n);
}

KERNEL unpack_add(const u64* __restrict__ words, const u64* __restrict__ y, u64* __restrict__ out, i64 bits, i64 n) {
  unpack_all<true>(words, y, out, bits, n);
}
