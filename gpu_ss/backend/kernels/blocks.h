// Blocks of 128 bits, stored as two words each, and ChaCha under many of them as keys.
//
// LANES32 blocks are worked on at once: as HALVES vectors of low words and as many of high words.
#pragma once
#include "chacha.h"

#if SIMT

#define HALVES 1

FN void load_blocks(const u64* p, v64* lo, v64* hi) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  ulonglong2 b = *(const ulonglong2*)p;  // one access: arrays of blocks are aligned to 16 bytes
  lo[0] = b.x, hi[0] = b.y;
#else
  lo[0] = p[0], hi[0] = p[1];
#endif
}

FN void store_blocks(u64* p, const v64* lo, const v64* hi) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  *(ulonglong2*)p = make_ulonglong2(lo[0], hi[0]);
#else
  p[0] = lo[0], p[1] = hi[0];
#endif
}

FN void split(const v64* x, v32& low, v32& high) { low = (u32)x[0], high = (u32)(x[0] >> 32); }
FN void join(v32 low, v32 high, v64* x) { x[0] = low | (u64)high << 32; }
// All ones where x == y.
FN u64 equal(u64 x, u64 y) { return 0 - (u64)(x == y); }

#else

#define HALVES 2

template <int... K> FN v64 even_words(v64 a, v64 b, std::integer_sequence<int, K...>) {
  return SHUFFLE(a, b, 2 * K);
}
template <int... K> FN v64 odd_words(v64 a, v64 b, std::integer_sequence<int, K...>) {
  return SHUFFLE(a, b, 2 * K + 1);
}
// The words of a and b in turn, from their halves' beginning.
template <int FIRST, int... K> FN v64 zip_words(v64 a, v64 b, std::integer_sequence<int, K...>) {
  return SHUFFLE(a, b, FIRST + K / 2 + K % 2 * LANES64);
}

FN void load_blocks(const u64* p, v64* lo, v64* hi) {
  constexpr auto lanes = std::make_integer_sequence<int, LANES64>();
  UNROLL for (int h = 0; h < HALVES; h++, p += 2 * LANES64) {
    v64 a = load(v64{}, p), b = load(v64{}, p + LANES64);
    lo[h] = even_words(a, b, lanes), hi[h] = odd_words(a, b, lanes);
  }
}

FN void store_blocks(u64* p, const v64* lo, const v64* hi) {
  constexpr auto lanes = std::make_integer_sequence<int, LANES64>();
  UNROLL for (int h = 0; h < HALVES; h++, p += 2 * LANES64) {
    store(p, zip_words<0>(lo[h], hi[h], lanes));
    store(p + LANES64, zip_words<LANES64 / 2>(lo[h], hi[h], lanes));
  }
}

// 32-bit lanes hold the blocks of the first half at even places and those of the second at odd ones: then
// taking words apart and joining them needs no shuffles.
FN void split(const v64* x, v32& low, v32& high) {
  low = (v32)((x[0] & 0xFFFFFFFFull) | x[1] << 32);
  high = (v32)(x[0] >> 32 | (x[1] & 0xFFFFFFFF00000000ull));
}
FN void join(v32 low, v32 high, v64* x) {
  v64 l = (v64)low, h = (v64)high;
  x[0] = (l & 0xFFFFFFFFull) | h << 32;
  x[1] = l >> 32 | (h & 0xFFFFFFFF00000000ull);
}
FN v64 equal(v64 x, v64 y) { return (v64)(x == y); }

#endif

FN v64 splat64(u64 x) { return x + v64{}; }

// 0, 1, 2, ... in the order of the blocks.
FN void count_up(v64* x, u64 first) {
#if SIMT
  x[0] = first;
#else
  v64 lanes{};
  for (int k = 0; k < LANES64; k++) lanes[k] = k;
  UNROLL for (int h = 0; h < HALVES; h++) x[h] = lanes + first + (u64)(h * LANES64);
#endif
}

#define BLOCK_ROUNDS 8  // of ChaCha; why so many are enough says provider/ot/cot.py

// ChaCha under 128-bit keys (both halves of the key field hold the key, "expand 16-byte k").
FN void chacha_blocks(const v64* lo, const v64* hi, const v64* counter, u64 nonce, v32* x) {
  v32 s[16];
  s[0] = splat32(0x61707865u), s[1] = splat32(0x3120646eu);
  s[2] = splat32(0x79622d36u), s[3] = splat32(0x6b206574u);
  split(lo, s[4], s[5]), split(hi, s[6], s[7]);
  UNROLL for (int k = 4; k < 8; k++) s[4 + k] = s[k];
  split(counter, s[12], s[13]);
  s[14] = splat32((u32)nonce), s[15] = splat32((u32)(nonce >> 32));
  chacha<BLOCK_ROUNDS>(s, x);
}
