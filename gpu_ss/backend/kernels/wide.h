// Arithmetic modulo a prime of 3 to 60 bits in 64-bit words and lanes of them.
//
// Quotients are estimated by a high product with a rounded-down reciprocal: at most one too small, so that one
// conditional subtraction is left. Lanes on the CPU have no high product of 64 bits: theirs leaves out what only
// carries would tell, and the quotient is up to two smaller still.
#pragma once
#include "modular.h"

FN u64 high_word(u64 x, u64 y) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return __umul64hi(x, y);
#else
  return (u64)(((unsigned __int128)x * y) >> 64);
#endif
}

// x in [0, 2p) to [0, p): the difference wraps around where x < p.
FN u64 subtract_once(u64 x, u64 p) { return x - p < x ? x - p : x; }

// x modulo p, for any x and reciprocal = floor(2^64 / p).
FN u64 remainder_of(u64 x, u64 p, u64 reciprocal) { return subtract_once(x - high_word(x, reciprocal) * p, p); }

// x y modulo p for x, y < p, with shift = bits of p - 2 and inverse = floor(2^(shift + 64) / p).
FN u64 field_product(u64 x, u64 y, u64 p, u64 inverse, int shift) {
  const u64 low = x * y, leading = high_word(x, y) << 1 << (63 - shift) | low >> shift;
  return subtract_once(low - high_word(leading, inverse) * p, p);
}

// x w modulo p in [0, 4p), for any x and w_quotient = floor(w 2^64 / p): what transform.h is built on.
FN u64 least(u64 a, u64 b) { return a < b ? a : b; }
FN u64 reduce_once(u64 x, u64 m) { return least(x, x - m); }
FN u64 splat(u64, u64 x) { return x; }
FN u64 times_constant(u64 x, u64 w, u64 w_quotient, u64 p) { return x * w - high_word(x, w_quotient) * p; }

// The same where a loop is to become one on vectors.
FN u64 nearly_times(u64 x, u64 w, u64 w_quotient, u64 p) {
#if SIMT
  return times_constant(x, w, w_quotient, p);
#else
  u64 x_high = x >> 32, quotient_high = w_quotient >> 32;
  u64 quotient = x_high * quotient_high + (x_high * low_words(w_quotient) >> 32) + (low_words(x) * quotient_high >> 32);
  return x * w - quotient * p;
#endif
}

#if !SIMT
FN v64 splat(v64, u64 x) { return x + v64{}; }
FN v64 least(v64 a, v64 b) { return a < b ? a : b; }
FN v64 reduce_once(v64 x, v64 m) { return least(x, x - m); }

// Products of the lower halves.
FN v64 narrow_product(v64 x, v64 y) {
#if defined(__AVX512F__)
  // The mask is full: without it GCC 12 warns of its own header's uninitialised variables.
  return (v64)_mm512_maskz_mul_epu32(0xFF, (__m512i)x, (__m512i)y);
#elif defined(__AVX2__)
  return (v64)_mm256_mul_epu32((__m256i)x, (__m256i)y);
#elif defined(__SSE4_1__)
  return (v64)_mm_mul_epu32((__m128i)x, (__m128i)y);
#else
  return (x & 0xFFFFFFFFull) * (y & 0xFFFFFFFFull);
#endif
}

FN v64 times_constant(v64 x, v64 w, v64 w_quotient, v64 p) {
  v64 x_high = x >> 32, quotient_high = w_quotient >> 32;
  v64 quotient = narrow_product(x_high, quotient_high) + (narrow_product(x_high, w_quotient) >> 32) +
                 (narrow_product(x, quotient_high) >> 32);
  return x * w - quotient * p;
}
#endif
