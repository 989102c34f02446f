// What a dealer works out of its masks; operations.py of the folder above says what for. Nothing is addressed by a mask.
#include "elements.h"

// All ones where x is 0.
template <class V> FN V where_zero(V x) { return ((x | (0 - x)) >> 63) - 1; }

// Unit vectors of 64 count entries, and 1 where `share` has the entry's bit, else -1: count + 1 rows.
KERNEL signed_units(const u64* __restrict__ at, const u64* __restrict__ share, u64* __restrict__ out, i64 count,
                    i64 n) {
  each_element(n, LIGHT, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V index = load(V{}, at + i), bit = (V{} + 1) << (index & 63), word = index >> 6 & (u64)(count - 1);
    V found = V{};
    for (i64 k = 0; k < count; k++) {
      const V unit = bit & where_zero(word ^ (u64)k);
      found |= unit & load(V{}, share + k * n + i);
      store(out + k * n + i, unit);
    }
    store(out + count * n + i, 1 + (where_zero(found) & (u64)-2));
  });
}

// Rows of words where a number is the entry's, 0 elsewhere: what `picked` picks from.
KERNEL spread(const u64* __restrict__ index, const u64* __restrict__ rows, u64* __restrict__ out, i64 count,
              i64 height, i64 n) {
  each_element(n, LIGHT, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V at = load(V{}, index + i) & (u64)(count - 1);
    for (i64 k = 0; k < height; k++) {
      const V word = load(V{}, rows + k * n + i);
      for (i64 j = 0; j < count; j++) store(out + (j * height + k) * n + i, word & where_zero(at ^ (u64)j));
    }
  });
}

// The 15 words of a curve's look-up, see `curve_words`.
KERNEL curve_words(const u64* __restrict__ r, const u64* __restrict__ sign, const u64* __restrict__ mu,
                   const u64* __restrict__ nu, const u64* __restrict__ gates, u64* __restrict__ out, i64 cell,
                   i64 source, i64 value_bits, i64 slope_bits, i64 n) {
  const i64 width = (n + 63) / 64;
  each_element(n, LIGHT, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V mask = load(V{}, r + i) & (~0ull >> (64 - source)), sigma = load(V{}, sign + i);
    const V slope = 0 - sigma * (mask & ~(~0ull << cell));
    const V value = load(V{}, mu + i) & (~0ull >> (64 - value_bits)), rise = load(V{}, nu + i) & (~0ull >> (64 - slope_bits));
    const V constant = 0 - sigma * value - slope * rise;
    const V value_top = sigma * (value >> (value_bits - 1)), slope_top = slope * (rise >> (slope_bits - 1));
    const V inside = plane_mask(V{}, gates, i), outside = plane_mask(V{}, gates + width, i), top = mask >> (source - 1);
    const V words[15] = {sigma,     slope,     constant, sigma & inside,   slope & inside, constant & inside,
                         value_top, value_top & inside, slope_top, slope_top & inside,
                         mask,      outside & 1, mask & outside, top, top & outside};
    UNROLL for (int k = 0; k < 15; k++) store(out + k * n + i, words[k]);
  });
}
