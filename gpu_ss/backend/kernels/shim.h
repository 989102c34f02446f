// One kernel text, three compilations:
//   NVRTC or nvcc    CUDA; one thread per item
//   g++/clang++      the CPU library; OpenMP threads, SIMD lanes (lanes.h)
//   g++ -DSIMT=1     the CUDA algorithms on the host, one item after the other (tests without a GPU)
//
// Rules for kernel bodies: one loop index is one independent item; no shared memory, no barriers, no warp
// intrinsics; parameters are pointers and 64-bit scalars, the last one `i64 n` is the number of items.
// SIMT is 1 where an item is one thread's work, 0 where the body runs on vectors.
#pragma once

typedef unsigned long long u64;
typedef long long i64;
typedef unsigned int u32;

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

#define SIMT 1
#define KERNEL extern "C" __global__ void
#define FN static __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define UNROLL_SIMT UNROLL
#define FOREACH_REST(i, first, n)                                                   \
  for (i64 i = (first) + (i64)blockIdx.x * blockDim.x + threadIdx.x; i < (i64)(n); \
       i += (i64)gridDim.x * blockDim.x)
#define FOREACH(i, n) FOREACH_REST(i, 0, n)

#else

#ifndef SIMT
#define SIMT 0
#endif
#define KERNEL extern "C" __attribute__((visibility("default"))) void
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define FN static ALWAYS_INLINE
#define UNROLL _Pragma("GCC unroll 64")
#define UNROLL_SIMT  // arrays must stay in registers on the GPU; on the CPU the cache does, and code stays small
#define DO_PRAGMA(text) _Pragma(#text)

// How many threads a loop may use; set once by the loader (runtime.cpp).
inline int worker_threads = 1;

// The items that the vector loop left over: few, so never threaded.
#define FOREACH_REST(i, first, n) for (i64 i = (first); i < (i64)(n); i++)

#if SIMT
#define FOREACH(i, n) FOREACH_REST(i, 0, n)
#else
// Light items: the compiler vectorises the body. Below some 30 us of work, waking a sleeping thread costs
// more than it gains.
#define FOREACH(i, n)                                                          \
  DO_PRAGMA(omp parallel for simd schedule(static) num_threads(worker_threads) \
            if(parallel : (n) > 32768))                                        \
  for (i64 i = 0; i < (i64)(n); i++)
// Heavy items that are vectorised by hand, `step` indices per turn; threaded when n exceeds `from`.
#define FOREACH_STEP(i, n, step, from)                                    \
  DO_PRAGMA(omp parallel for schedule(static) num_threads(worker_threads) \
            if(parallel : (n) > (from)))                                  \
  for (i64 i = 0; i < (i64)(n); i += (step))
#endif

#endif
