// Elements of `bits` bits as one little-endian bit string: element e occupies bits e*bits up to (e+1)*bits.
#include "shim.h"

FN u64 low_bits(i64 bits) { return ~0ull >> (64 - bits); }

// Word j of the bit string, whatever reaches into it.
FN u64 packed_word(const u64* x, i64 j, i64 bits, i64 count) {
  i64 e = 64 * j / bits, at = e * bits - 64 * j;
  u64 mask = low_bits(bits), word = 0;
  if (at < 0) word = (x[e++] & mask) >> -at, at += bits;
  for (; at < 64 && e < count; at += bits) word |= (x[e++] & mask) << at;
  return word;
}

// Element e of the bit string.
FN u64 unpacked_element(const u64* words, i64 e, i64 bits) {
  i64 q = e * bits / 64, at = e * bits % 64;
  u64 x = words[q] >> at;
  if (at + bits > 64) x |= words[q + 1] << (64 - at);
  return x & low_bits(bits);
}

#if SIMT

KERNEL pack(const u64* __restrict__ x, u64* __restrict__ out, i64 bits, i64 count, i64 n) {
  FOREACH(j, n) out[j] = packed_word(x, j, bits, count);
}

KERNEL unpack(const u64* __restrict__ words, u64* __restrict__ out, i64 bits, i64 n) {
  FOREACH(e, n) out[e] = unpacked_element(words, e, bits);
}

#else
// On the CPU 64 elements at a time, which fill exactly `bits` words: with the width a compile-time constant,
// every position and shift is one too.
#include <utility>

typedef void GroupFn(const u64* __restrict__, u64* __restrict__);

template <int B> static void pack_group(const u64* __restrict__ x, u64* __restrict__ out) {
  u64 word = 0;
  UNROLL for (int e = 0; e < 64; e++) {
    const int at = e * B % 64;
    u64 v = x[e] & low_bits(B);
    word |= v << at;
    if (at + B >= 64) {
      out[e * B / 64] = word;
      word = at + B > 64 ? v >> (64 - at) % 64 : 0;
    }
  }
}

template <int B> static void unpack_group(const u64* __restrict__ words, u64* __restrict__ out) {
  UNROLL for (int e = 0; e < 64; e++) out[e] = unpacked_element(words, e, B);
}

template <int... B> static GroupFn* pack_of(i64 bits, std::integer_sequence<int, B...>) {
  static GroupFn* const table[] = {pack_group<B + 1>...};
  return table[bits - 1];
}

template <int... B> static GroupFn* unpack_of(i64 bits, std::integer_sequence<int, B...>) {
  static GroupFn* const table[] = {unpack_group<B + 1>...};
  return table[bits - 1];
}

typedef std::make_integer_sequence<int, 64> Widths;

KERNEL pack(const u64* __restrict__ x, u64* __restrict__ out, i64 bits, i64 count, i64 n) {
  GroupFn* group = pack_of(bits, Widths());
  i64 groups = count / 64;
  FOREACH_STEP(g, groups, 1, 2048) group(x + 64 * g, out + bits * g);
  FOREACH_REST(j, groups * bits, n) out[j] = packed_word(x, j, bits, count);
}

KERNEL unpack(const u64* __restrict__ words, u64* __restrict__ out, i64 bits, i64 n) {
  GroupFn* group = unpack_of(bits, Widths());
  i64 groups = n / 64;
  FOREACH_STEP(g, groups, 1, 2048) group(words + bits * g, out + 64 * g);
  FOREACH_REST(e, 64 * groups, n) out[e] = unpacked_element(words, e, bits);
}

#endif
