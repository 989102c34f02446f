// Bit planes: bit i of element e is bit e % 64 of planes[i, e / 64].
//
// One item is a block of 64 elements, one word of every plane. With P (8, 16, 32 or 64) planes at most, 64/P
// elements share a word, and the block becomes P rows of 64/P square P x P bit matrices, transposed in log2(P)
// masked swaps (Hacker's Delight, section 7-3): row r holds the elements r, r+P, r+2P, ... before, plane r after.
#include "lanes.h"

// One step of the transpose on rows N apart in steps of D: their blocks of D * STRIDE columns change places.
template <int N, int STRIDE, int D, class V> FN void swap_step(V* t) {
  const int shift = D * STRIDE;
  const u64 mask = ~0ull / ((1ull << shift) + 1);
  UNROLL for (int r = 0; r < N; r++) {
    if (r & D) continue;
    V v = ((t[r] >> shift) ^ t[r + D]) & mask;
    t[r] ^= v << shift;
    t[r + D] ^= v;
  }
}

// The steps among N = 1, 2, 4 or 8 rows that lie STRIDE apart in the block.
template <int N, int STRIDE, class V> FN void swap_steps(V* t) {
  if constexpr (N > 4) swap_step<N, STRIDE, 4>(t);
  if constexpr (N > 2) swap_step<N, STRIDE, 2>(t);
  if constexpr (N > 1) swap_step<N, STRIDE, 1>(t);
}

// Bits `shift` and up of the elements e to e+7 of a block, `less` subtracted from each, or of LANES64 neighbouring
// blocks lane by lane. Only single blocks may be incomplete.
FN void load_eight(u64* t, const u64* x, i64 e, i64 count, int shift, u64 less) {
  UNROLL for (int r = 0; r < 8; r++) t[r] = e + r < count ? (x[e + r] - less) >> shift : 0;
}

// The other way. With a shift, the bits below it are there already.
FN void store_eight(u64* x, u64* t, i64 e, i64 count, int shift) {
  UNROLL for (int r = 0; r < 8; r++)
    if (e + r < count) x[e + r] = shift ? x[e + r] | t[r] << shift : t[r];
}

#if !SIMT
FN void load_eight(v64* t, const u64* x, i64 e, i64, int, u64 less) {
  UNROLL for (int r = 0; r < 8; r++) t[r] = load(v64{}, x + e + 64 * (r % LANES64) + r / LANES64 * LANES64) - less;
  UNROLL for (int r = 0; r < 8; r += LANES64) transpose_lanes(t + r);
}

FN void store_eight(u64* x, v64* t, i64 e, i64, int) {
  UNROLL for (int r = 0; r < 8; r += LANES64) transpose_lanes(t + r);
  UNROLL for (int r = 0; r < 8; r++) store(x + e + 64 * (r % LANES64) + r / LANES64 * LANES64, t[r]);
}
#endif

// Block i: its bits `shift` up to shift+bits, at most P of them, from or to as many planes of `blocks` words.
template <int P, class V>
FN void block_to_planes(i64 i, const u64* x, u64* planes, int bits, i64 count, i64 blocks, int shift, u64 less = 0) {
  V t[P];
  UNROLL_SIMT for (int q = 0; q < P; q += 8) {
    UNROLL for (int r = 0; r < 8; r++) t[q + r] = V{};
    UNROLL_SIMT for (int k = 0; k < 64; k += P) {
      V part[8];
      load_eight(part, x, 64 * i + k + q, count, shift, less);
      UNROLL for (int r = 0; r < 8; r++) t[q + r] |= (part[r] & (~0ull >> (64 - P))) << k;
    }
    swap_steps<8, 1>(t + q);
  }
  UNROLL_SIMT for (int r = 0; r < 8; r++) {
    V row[P / 8];
    UNROLL for (int q = 0; q < P / 8; q++) row[q] = t[8 * q + r];
    swap_steps<P / 8, 8>(row);
    UNROLL for (int q = 0; q < P / 8; q++)
      if (8 * q + r < bits) store(planes + (8 * q + r) * blocks + i, row[q]);
  }
}

template <int P, class V>
FN void block_from_planes(i64 i, const u64* planes, u64* x, int bits, i64 count, i64 blocks, int shift) {
  V t[P];
  UNROLL_SIMT for (int r = 0; r < 8; r++) {
    V row[P / 8];
    UNROLL for (int q = 0; q < P / 8; q++)
      row[q] = 8 * q + r < bits ? load(V{}, planes + (8 * q + r) * blocks + i) : V{};
    swap_steps<P / 8, 8>(row);
    UNROLL for (int q = 0; q < P / 8; q++) t[8 * q + r] = row[q];
  }
  UNROLL_SIMT for (int q = 0; q < P; q += 8) {
    swap_steps<8, 1>(t + q);
    UNROLL_SIMT for (int k = 0; k < 64; k += P) {
      V part[8];
      UNROLL for (int r = 0; r < 8; r++) part[r] = (t[q + r] >> k) & (~0ull >> (64 - P));
      store_eight(x, part, 64 * i + k + q, count, shift);
    }
  }
}

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
