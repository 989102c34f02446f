// Arithmetic modulo primes below 2^30 in 32-bit lanes, and loops over polynomials.
//
// Residues may be lazy: in [0, 2p) or [0, 4p) instead of [0, p). Multiplication by a constant w uses its
// quotient floor(w 2^32 / p) (Shoup): one high product, two low ones, and a result in [0, 2p).
#pragma once
#include "lanes.h"
#if !SIMT && defined(__SSE4_1__)
#include <immintrin.h>
#endif

// What is kept for each prime: MODULUS_WORDS words of a table (`lattice.moduli`).
#define MODULUS_WORDS 4

struct Modulus {
  u32 p, inverse, shift, one;  // floor(2^(shift + 32) / p), bits of p - 1, floor(2^32 / p)
};

FN Modulus modulus_of(const u32* moduli, i64 l) {
  const u32* m = moduli + MODULUS_WORDS * l;
  return {m[0], m[1], m[2], m[3]};
}

FN u32 least(u32 a, u32 b) { return a < b ? a : b; }
FN u32 high_product(u32 x, u32 y) { return (u32)(((u64)x * y) >> 32); }
FN u32 splat(u32, u32 x) { return x; }
FN u32 load32(u32, const u32* p) { return *p; }
FN void store32(u32* p, u32 x) { *p = x; }

#if !SIMT
typedef u32 v32_at __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
FN v32 splat(v32, u32 x) { return x + v32{}; }
FN v32 load32(v32, const u32* p) { return *(const v32_at*)p; }
FN void store32(u32* p, v32 x) { *(v32_at*)p = x; }
FN v32 least(v32 a, v32 b) { return a < b ? a : b; }

// High halves of 32-bit products: of even lanes, and of odd lanes moved down, then merged.
FN v32 high_product(v32 x, v32 y) {
#if defined(__AVX512F__)
  // The masks are full: without them GCC 12 warns of its own header's uninitialised variables.
  __m512i even = _mm512_maskz_mul_epu32(0xFF, (__m512i)x, (__m512i)y);
  __m512i odd = _mm512_maskz_mul_epu32(0xFF, (__m512i)((v64)x >> 32), (__m512i)((v64)y >> 32));
  return (v32)_mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
#elif defined(__AVX2__)
  __m256i a = (__m256i)x, b = (__m256i)y;
  __m256i even = _mm256_mul_epu32(a, b);
  __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
  return (v32)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
#elif defined(__SSE4_1__)
  __m128i a = (__m128i)x, b = (__m128i)y;
  __m128i even = _mm_mul_epu32(a, b);
  __m128i odd = _mm_mul_epu32(_mm_srli_epi64(a, 32), _mm_srli_epi64(b, 32));
  return (v32)_mm_blend_epi16(_mm_srli_epi64(even, 32), odd, 0xCC);
#else
  v32 r;
  for (int k = 0; k < LANES32; k++) r[k] = high_product((u32)x[k], (u32)y[k]);
  return r;
#endif
}
#endif

// x in [0, 2m) to [0, m): the difference wraps around where x < m.
template <class V> FN V reduce_once(V x, V m) { return least(x, x - m); }

// x w modulo p in [0, 2p), for any x and w_quotient = floor(w 2^32 / p).
template <class V> FN V times_constant(V x, V w, V w_quotient, V p) { return x * w - high_product(x, w_quotient) * p; }

// x y modulo p for x, y < p (Barrett). The quotient is estimated from the leading bits, at most 2 too small.
FN u32 times(u32 x, u32 y, Modulus m) {
  u64 product = (u64)x * y;
  u32 leading = (u32)(product >> m.shift);
  u32 quotient = (u32)(((u64)leading * m.inverse) >> 32);
  u32 rest = (u32)product - quotient * m.p;
  return reduce_once(least(rest, rest - 2 * m.p), m.p);
}

FN u64 low_words(u64 x) { return x & 0xFFFFFFFFull; }

// A prime's part of s x / q in fixed point with 64 bits after the point, for q the product of the primes: by the
// remainder theorem x / q = sum_l z_l / p_l modulo 1, with z_l = x (q / p_l)^-1 mod p_l. constant: (q / p_l)^-1 and its
// quotient; scale: floor(2^64 s / p_l) in two words, the higher first.
FN void add_share(u64& whole, u64& fraction, u32 x, u32 p, const u32* constant, const u64* scale) {
  u64 z = reduce_once(times_constant(x, constant[0], constant[1], p), p);
  u64 lower = z * low_words(scale[1]), upper = z * (scale[1] >> 32) + (lower >> 32);
  u64 term = upper << 32 | low_words(lower);
  fraction += term;
  whole += z * scale[0] + (upper >> 32) + (fraction < term);
}

#if SIMT

// Items are coefficients; row r is polynomial r, or a part of one, of `size` of them. A thread takes up to PLACES of one
// row, as far apart as can be: neighbouring threads take neighbours, and what says which row it is is worked out once.
#define PLACES 4
#define APART(size) (((size) + PLACES - 1) / PLACES)
#define FOREACH_ROW(r, n, size)                \
  FOREACH(item_, (n) / (size) * APART(size))   \
  for (i64 r = item_ / APART(size), row_once_ = 1; row_once_; row_once_ = 0)
#define FOREACH_PLACE(i, size)                        \
  UNROLL for (int turn_ = 0; turn_ < PLACES; turn_++) \
  for (i64 i = item_ % APART(size) + turn_ * APART(size), place_once_ = 1; place_once_ && i < (i64)(size); place_once_ = 0)

#else

// One thread takes whole rows, and within a row the compiler vectorises.
#define FOREACH_ROW(r, n, size)                                           \
  DO_PRAGMA(omp parallel for schedule(static) num_threads(worker_threads) \
            if(parallel : (n) > 32768))                                   \
  for (i64 r = 0; r < (i64)(n) / (size); r++)
#define FOREACH_PLACE(i, size) DO_PRAGMA(omp simd) for (i64 i = 0; i < (i64)(size); i++)

#endif
