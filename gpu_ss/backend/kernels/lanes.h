// Lane types, for bodies that compilers fail to vectorise: on the GPU a lane is a thread (v32 is u32), on the
// CPU a value is a whole SIMD register of the instruction set the file is compiled for.
#pragma once
#include "shim.h"

#if SIMT

typedef u32 v32;
typedef u64 v64;
#define LANES32 1
#define LANES64 1
// No whole vectors: every item is left to FOREACH_REST, that is, to one thread each.
#define WHOLE_LANES64(n) 0
#define FOREACH_LANES32(i, n, from) FOREACH(i, n)
#define FOREACH_LANES64(i, n, from) FOREACH(i, n)

#else

#include <utility>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define LANES32 (VECTOR_BYTES / 4)
#define LANES64 (VECTOR_BYTES / 8)
typedef u32 v32 __attribute__((vector_size(VECTOR_BYTES)));
typedef u64 v64 __attribute__((vector_size(VECTOR_BYTES)));
// The same vector at any word's address.
typedef u64 v64_at __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
// n must be a multiple of the lane count; the remainder of WHOLE_LANES64 goes to FOREACH_REST.
#define WHOLE_LANES64(n) ((n) / LANES64 * LANES64)
#define FOREACH_LANES32(i, n, from) FOREACH_STEP(i, n, LANES32, from)
#define FOREACH_LANES64(i, n, from) FOREACH_STEP(i, n, LANES64, from)

FN v64 load(v64, const u64* p) { return *(const v64_at*)p; }
FN void store(u64* p, v64 x) { *(v64_at*)p = x; }

// Lanes of a and b by constant index, b's counted from LANES64.
#if defined(__clang__)
#define SHUFFLE(a, b, index) __builtin_shufflevector(a, b, (index)...)
#else
#define SHUFFLE(a, b, index) __builtin_shuffle(a, b, v64{(u64)(index)...})
#endif

template <int D, int... K> FN void exchange_lanes(v64& a, v64& b, std::integer_sequence<int, K...>) {
  v64 low = SHUFFLE(a, b, K & D ? LANES64 + K - D : K);
  b = SHUFFLE(a, b, K & D ? LANES64 + K : K + D);
  a = low;
}

// The LANES64 x LANES64 matrix of words: lane k of row r and lane r of row k change places.
template <int D = LANES64 / 2> FN void transpose_lanes(v64* t) {
  UNROLL for (int r = 0; r < LANES64; r++)
    if (!(r & D)) exchange_lanes<D>(t[r], t[r + D], std::make_integer_sequence<int, LANES64>());
  if constexpr (D > 1) transpose_lanes<D / 2>(t);
}

#endif

FN v32 splat32(u32 x) { return x + v32{}; }
FN u64 load(u64, const u64* p) { return *p; }
FN void store(u64* p, u64 x) { *p = x; }
