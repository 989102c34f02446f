// Bit planes: bit i of element e is bit e % 64 of planes[i, e / 64].
//
// One item is a block of 64 elements, one word of every plane. With P (8, 16, 32 or 64) planes at most, 64/P
// elements share a word, and the block becomes P rows of 64/P square P x P bit matrices, transposed in log2(P)
// masked swaps (Hacker's Delight, section 7-3): row r holds the elements r, r+P, r+2P, ... before, plane r after.
#pragma once
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
