// Elements of `bits` bits as one little-endian bit string: element e occupies bits e*bits up to (e+1)*bits.
//
// What is packed can be a sum or a difference of two arrays, and to what is unpacked one or two arrays can be added,
// modulo 2^bits: masking and unmasking take no pass through memory of their own. Arrays that FORM has not are unused.
#pragma once
#include "shim.h"

enum Form { ONE, DIFFERENCE, SUM };  // of what is packed; in unpacking, how many arrays are added

FN u64 low_bits(i64 bits) { return ~0ull >> (64 - bits); }
// Words that `count` elements fill.
FN i64 packed_size(i64 count, i64 bits) { return (count * bits + 63) / 64; }

template <int FORM> FN u64 packed(const u64* x, const u64* y, i64 e) {
  return FORM == SUM ? x[e] + y[e] : FORM == DIFFERENCE ? x[e] - y[e] : x[e];
}
template <int ADDED> FN u64 plus(u64 word, const u64* x, const u64* y, i64 e) {
  return ADDED == 2 ? word + x[e] + y[e] : ADDED ? word + x[e] : word;
}

// Word j of the bit string of element(e) for e < count, whatever reaches into it.
template <class F> FN u64 packed_word(F element, i64 j, i64 bits, i64 count) {
  i64 e = 64 * j / bits, at = e * bits - 64 * j;
  u64 mask = low_bits(bits), word = 0;
  if (at < 0) word = (element(e++) & mask) >> -at, at += bits;
  for (; at < 64 && e < count; at += bits) word |= (element(e++) & mask) << at;
  return word;
}

// Element e of the bit string, plus those of x and y.
template <int ADDED> FN u64 unpacked_element(const u64* words, const u64* x, const u64* y, i64 e, i64 bits) {
  i64 q = e * bits / 64, at = e * bits % 64;
  u64 word = words[q] >> at;
  if (at + bits > 64) word |= words[q + 1] << (64 - at);
  return plus<ADDED>(word, x, y, e) & low_bits(bits);
}

#if !SIMT
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

#endif
