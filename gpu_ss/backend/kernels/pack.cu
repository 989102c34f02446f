// Elements of `bits` bits as one little-endian bit string: element e occupies bits e*bits up to (e+1)*bits.
//
// What is packed can be a sum or a difference of two arrays, and to what is unpacked one or two arrays can be added,
// modulo 2^bits: masking and unmasking take no pass through memory of their own. Arrays that FORM has not are unused.
#include "shim.h"

enum Form { ONE, DIFFERENCE, SUM };  // of what is packed; in unpacking, how many arrays are added

FN u64 low_bits(i64 bits) { return ~0ull >> (64 - bits); }

template <int FORM> FN u64 packed(const u64* x, const u64* y, i64 e) {
  return FORM == SUM ? x[e] + y[e] : FORM == DIFFERENCE ? x[e] - y[e] : x[e];
}
template <int ADDED> FN u64 plus(u64 word, const u64* x, const u64* y, i64 e) {
  return ADDED == 2 ? word + x[e] + y[e] : ADDED ? word + x[e] : word;
}

// Word j of the bit string, whatever reaches into it.
template <int FORM> FN u64 packed_word(const u64* x, const u64* y, i64 j, i64 bits, i64 count) {
  i64 e = 64 * j / bits, at = e * bits - 64 * j;
  u64 mask = low_bits(bits), word = 0;
  if (at < 0) word = (packed<FORM>(x, y, e++) & mask) >> -at, at += bits;
  for (; at < 64 && e < count; at += bits) word |= (packed<FORM>(x, y, e++) & mask) << at;
  return word;
}

// Element e of the bit string, plus those of x and y.
template <int ADDED> FN u64 unpacked_element(const u64* words, const u64* x, const u64* y, i64 e, i64 bits) {
  i64 q = e * bits / 64, at = e * bits % 64;
  u64 word = words[q] >> at;
  if (at + bits > 64) word |= words[q + 1] << (64 - at);
  return plus<ADDED>(word, x, y, e) & low_bits(bits);
}

#if SIMT

template <int FORM> FN void pack_all(const u64* x, const u64* y, u64* out, i64 bits, i64 count, i64 n) {
  FOREACH(j, n) out[j] = packed_word<FORM>(x, y, j, bits, count);
}

template <int ADDED> FN void unpack_all(const u64* words, const u64* x, const u64* y, u64* out, i64 bits, i64 n) {
  FOREACH(e, n) out[e] = unpacked_element<ADDED>(words, x, y, e, bits);
}

#else
// On the CPU 64 elements at a time, which fill exactly `bits` words: with the width a compile-time constant,
// every position and shift is one too.
#include <utility>

typedef void GroupFn(const u64* __restrict__, const u64* __restrict__, u64* __restrict__);
typedef void UngroupFn(const u64* __restrict__, const u64* __restrict__, const u64* __restrict__, u64* __restrict__);

template <int FORM, int B>
static void pack_group(const u64* __restrict__ x, const u64* __restrict__ y, u64* __restrict__ out) {
  u64 word = 0;
  UNROLL for (int e = 0; e < 64; e++) {
    const int at = e * B % 64;
    u64 v = packed<FORM>(x, y, e) & low_bits(B);
    word |= v << at;
    if (at + B >= 64) {
      out[e * B / 64] = word;
      word = at + B > 64 ? v >> (64 - at) % 64 : 0;
    }
  }
}

template <int ADDED, int B>
static void unpack_group(const u64* __restrict__ words, const u64* __restrict__ x, const u64* __restrict__ y,
                         u64* __restrict__ out) {
  UNROLL for (int e = 0; e < 64; e++) out[e] = unpacked_element<ADDED>(words, x, y, e, B);
}

template <int FORM, int... B> static GroupFn* pack_of(i64 bits, std::integer_sequence<int, B...>) {
  static GroupFn* const table[] = {pack_group<FORM, B + 1>...};
  return table[bits - 1];
}

template <int ADDED, int... B> static UngroupFn* unpack_of(i64 bits, std::integer_sequence<int, B...>) {
  static UngroupFn* const table[] = {unpack_group<ADDED, B + 1>...};
  return table[bits - 1];
}

typedef std::make_integer_sequence<int, 64> Widths;

template <int FORM> FN void pack_all(const u64* x, const u64* y, u64* out, i64 bits, i64 count, i64 n) {
  GroupFn* group = pack_of<FORM>(bits, Widths());
  i64 groups = count / 64;
  FOREACH_STEP(g, groups, 1, 2048) group(x + 64 * g, y + 64 * g, out + bits * g);
  FOREACH_REST(j, groups * bits, n) out[j] = packed_word<FORM>(x, y, j, bits, count);
}

template <int ADDED> FN void unpack_all(const u64* words, const u64* x, const u64* y, u64* out, i64 bits, i64 n) {
  UngroupFn* group = unpack_of<ADDED>(bits, Widths());
  i64 groups = n / 64;
  FOREACH_STEP(g, groups, 1, 2048) group(words + bits * g, x + 64 * g, y + 64 * g, out + 64 * g);
  FOREACH_REST(e, 64 * groups, n) out[e] = unpacked_element<ADDED>(words, x, y, e, bits);
}

#endif

KERNEL pack(const u64* __restrict__ x, u64* __restrict__ out, i64 bits, i64 count, i64 n) {
  pack_all<ONE>(x, x, out, bits, count, n);
}

KERNEL pack_difference(const u64* __restrict__ x, const u64* __restrict__ y, u64* __restrict__ out, i64 bits,
                       i64 count, i64 n) {
  pack_all<DIFFERENCE>(x, y, out, bits, count, n);
}

KERNEL pack_sum(const u64* __restrict__ x, const u64* __restrict__ y, u64* __restrict__ out, i64 bits, i64 count,
                i64 n) {
  pack_all<SUM>(x, y, out, bits, count, n);
}

KERNEL unpack(const u64* __restrict__ words, u64* __restrict__ out, i64 bits, i64 n) {
  unpack_all<0>(words, words, words, out, bits, n);
}

KERNEL unpack_add(const u64* __restrict__ words, const u64* __restrict__ x, u64* __restrict__ out, i64 bits, i64 n) {
  unpack_all<1>(words, x, x, out, bits, n);
}

KERNEL unpack_sum(const u64* __restrict__ words, const u64* __restrict__ x, const u64* __restrict__ y,
                  u64* __restrict__ out, i64 bits, i64 n) {
  unpack_all<2>(words, x, y, out, bits, n);
}
