// Elements of a prime field, one to a word: sums and products.
#include "wide.h"

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
