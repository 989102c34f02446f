// Arithmetic modulo a prime of 3 to 60 bits in 64-bit words.
//
// Quotients are estimated by a high product with a rounded-down reciprocal: at most one too small, so that one
// conditional subtraction is left.
#include "shim.h"

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

// high 2^64 + low modulo p, with power = 2^64 modulo p.
KERNEL field_reduce(const u64* __restrict__ high, const u64* __restrict__ low, u64* __restrict__ out, u64 p,
                    u64 inverse, u64 reciprocal, u64 power, i64 shift, i64 n) {
  FOREACH(i, n) {
    const u64 above = field_product(remainder_of(high[i], p, reciprocal), power, p, inverse, (int)shift);
    out[i] = subtract_once(above + remainder_of(low[i], p, reciprocal), p);
  }
}

// x y + z modulo p. There is an y for each element (width 0), or for each `width` of them.
KERNEL field_multiply_add(const u64* __restrict__ x, const u64* __restrict__ y, const u64* __restrict__ z,
                          u64* __restrict__ out, u64 p, u64 inverse, i64 shift, i64 width, i64 n) {
  FOREACH(i, n) {
    const u64 factor = y[width ? i / width : i];
    out[i] = subtract_once(field_product(x[i], factor, p, inverse, (int)shift) + z[i], p);
  }
}

// Item k of `parts` of a row adds x_j y_j for j = k, k + parts, ...
KERNEL field_dots(const u64* __restrict__ x, const u64* __restrict__ y, u64* __restrict__ out, u64 p,
                  u64 inverse, i64 shift, i64 parts, i64 width, i64 n) {
  FOREACH(i, n) {
    const i64 row = i / parts * width;
    u64 sum = 0;
    for (i64 j = i % parts; j < width; j += parts)
      sum = subtract_once(sum + field_product(x[row + j], y[row + j], p, inverse, (int)shift), p);
    out[i] = sum;
  }
}

KERNEL field_sums(const u64* __restrict__ x, u64* __restrict__ out, u64 p, i64 width, i64 n) {
  FOREACH(i, n) {
    u64 sum = 0;
    for (i64 j = 0; j < width; j++) sum = subtract_once(sum + x[i * width + j], p);
    out[i] = sum;
  }
}
