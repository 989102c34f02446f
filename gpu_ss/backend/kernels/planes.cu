// Arrays of words to bit planes and back, see planes.h.
#include "planes.h"

template <int P> FN void all_to_planes(const u64* x, u64* planes, i64 bits, i64 count, i64 n, int shift = 0) {
  i64 whole = WHOLE_LANES64(count / 64);
  FOREACH_LANES64(i, whole, 2048) block_to_planes<P, v64>(i, x, planes, (int)bits, count, n, shift);
  FOREACH_REST(i, whole, n) block_to_planes<P, u64>(i, x, planes, (int)bits, count, n, shift);
}

template <int P> FN void all_from_planes(const u64* planes, u64* x, i64 bits, i64 count, i64 n, int shift = 0) {
  i64 whole = WHOLE_LANES64(count / 64);
  FOREACH_LANES64(i, whole, 2048) block_from_planes<P, v64>(i, planes, x, (int)bits, count, n, shift);
  FOREACH_REST(i, whole, n) block_from_planes<P, u64>(i, planes, x, (int)bits, count, n, shift);
}

// n is both the number of items and the words per plane.
KERNEL to_planes(const u64* __restrict__ x, u64* __restrict__ planes, i64 bits, i64 count, i64 n) {
  if (bits <= 8) return all_to_planes<8>(x, planes, bits, count, n);
  if (bits <= 16) return all_to_planes<16>(x, planes, bits, count, n);
  if (bits <= 32) return all_to_planes<32>(x, planes, bits, count, n);
#if SIMT  // 64 rows would not fit a thread's registers
  all_to_planes<32>(x, planes, 32, count, n);
  all_to_planes<32>(x, planes + 32 * n, bits - 32, count, n, 32);
#else
  all_to_planes<64>(x, planes, bits, count, n);
#endif
}

// The planes of x - t for each of `terms` numbers t, side by side. Item = block of one of them.
template <int P>
FN void all_difference_planes(const u64* x, const u64* t, u64* planes, i64 bits, i64 count, i64 terms, i64 n,
                              int shift = 0) {
  const i64 words = n / terms;
#if SIMT
  FOREACH(i, n) {
    const i64 k = i / words;
    block_to_planes<P, u64>(i % words, x, planes + k * words, (int)bits, count, n, shift, t[k]);
  }
#else
  const i64 whole = WHOLE_LANES64(count / 64);
  for (i64 k = 0; k < terms; k++) {
    u64* out = planes + k * words;
    const u64 less = t[k];
    FOREACH_LANES64(i, whole, 2048) block_to_planes<P, v64>(i, x, out, (int)bits, count, n, shift, less);
    FOREACH_REST(i, whole, words) block_to_planes<P, u64>(i, x, out, (int)bits, count, n, shift, less);
  }
#endif
}

KERNEL difference_planes(const u64* __restrict__ x, const u64* __restrict__ t, u64* __restrict__ planes, i64 bits,
                         i64 count, i64 terms, i64 n) {
  if (bits <= 8) return all_difference_planes<8>(x, t, planes, bits, count, terms, n);
  if (bits <= 16) return all_difference_planes<16>(x, t, planes, bits, count, terms, n);
  if (bits <= 32) return all_difference_planes<32>(x, t, planes, bits, count, terms, n);
#if SIMT
  all_difference_planes<32>(x, t, planes, 32, count, terms, n);
  all_difference_planes<32>(x, t, planes + 32 * n, bits - 32, count, terms, n, 32);
#else
  all_difference_planes<64>(x, t, planes, bits, count, terms, n);
#endif
}

KERNEL from_planes(const u64* __restrict__ planes, u64* __restrict__ x, i64 bits, i64 count, i64 n) {
  if (bits <= 8) return all_from_planes<8>(planes, x, bits, count, n);
  if (bits <= 16) return all_from_planes<16>(planes, x, bits, count, n);
  if (bits <= 32) return all_from_planes<32>(planes, x, bits, count, n);
#if SIMT
  all_from_planes<32>(planes, x, 32, count, n);
  all_from_planes<32>(planes + 32 * n, x, bits - 32, count, n, 32);
#else
  all_from_planes<64>(planes, x, bits, count, n);
#endif
}
