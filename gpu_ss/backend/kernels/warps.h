// Threads that work together: warps, blocks with shared memory and copies into it in the background, tensor cores.
//
// The text of such a kernel is a sequence of phases, each run by all warps (EACH_WARP) or all their lanes; what a
// lane keeps from one phase to the next is a PerLane, of which a block HELD as many as run at once. On the GPU that
// is one per thread. On the host (SIMT=1) phases are loops, a tensor core instruction takes its operands from the
// lanes that hold them, and a copy in the background happens when it is waited for: its target is garbage until then.
#pragma once
#include "shim.h"

#if SIMT

typedef int i32;

// A block of threads per item; items beyond the blocks go to the same blocks.
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define FN_IN __device__ __forceinline__  // FN for members
#define FOREACH_TILE(i, n) for (i64 i = blockIdx.x; i < (i64)(n); i += gridDim.x)
// A warp per item.
#define FOREACH_WARP(i, n)                                                                  \
  for (i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32; i < (i64)(n); \
       i += (i64)gridDim.x * blockDim.x / 32)
#define EACH_WARP(w, warps) for (int w = threadIdx.x / 32, once_##w = 1; once_##w; once_##w = 0)
#define EACH_LANE(l) for (int l = threadIdx.x % 32, once_##l = 1; once_##l; once_##l = 0)
#define ONE_BY_ONE _Pragma("unroll 1")  // not unrolled: registers are worth more here than a few instructions
#define HELD(count) 1
#define OWN(index) 0
#define SHARED(name, words) extern __shared__ __align__(16) u32 name[]
#else
#define FN_IN ALWAYS_INLINE
#define FOREACH_TILE(i, n) FOREACH(i, n)
#define FOREACH_WARP(i, n) FOREACH(i, n)
#define EACH_WARP(w, warps) for (int w = 0; w < (warps); w++)
#define EACH_LANE(l) for (int l = 0; l < 32; l++)
#define ONE_BY_ONE
#define HELD(count) (count)
#define OWN(index) (index)
#define SHARED(name, words) alignas(16) static thread_local u32 name[words]  // of each party that is a thread here
#endif

// N values of each lane of a warp.
template <class T, int N> struct PerLane {
  T of_lane[HELD(32)][N];
};
#define OF(values, lane) (values).of_lane[OWN(lane)]

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

// sums += left right, [16, 8] += [16, 32] [32, 8], of signed bytes; lane 4 g + t holds (PTX ISA, mma.m16n8k32)
//   left    byte e % 4 of word e / 4: row g + 8 (e / 4 % 2), column 4 t + e % 4 + 16 (e / 8)
//   right   byte e % 4 of word e / 4: row 4 t + e % 4 + 16 (e / 4), column g
//   sums    word e: row g + 8 (e / 2), column 2 t + e % 2
FN void multiply_add(PerLane<i32, 4>& sums, const PerLane<u32, 4>& left, const PerLane<u32, 2>& right) {
  i32* c = sums.of_lane[0];
  const u32 *a = left.of_lane[0], *b = right.of_lane[0];
  asm(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four words from memory to memory shared by the block, in the background.
FN void copy_four(u32* to, const u32* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from)
               : "memory");
}
// What was copied since the last call is one batch.
FN void end_batch() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All batches but the last PENDING have arrived, and all threads of the block have come here.
template <int PENDING> FN void wait_for_batches() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
  __syncthreads();
}

// All threads of the block have come here, and see what the others wrote.
FN void all_threads() { __syncthreads(); }

// Bit l: whether value AT of lane l of the warp has the bit set.
template <int AT, int N> FN u32 bits_of_lanes(const PerLane<u64, N>& values, int bit) {
  return __ballot_sync(~0u, (u32)(values.of_lane[0][AT] >> bit) & 1);
}

// Each lane's values become the XOR of those of all lanes with the same number modulo STRIDE, a power of two.
template <int STRIDE, int N> FN void xor_lanes(PerLane<u32, N>& values) {
  UNROLL for (int step = 16; step >= STRIDE; step /= 2)
    UNROLL for (int k = 0; k < N; k++) values.of_lane[0][k] ^= __shfl_xor_sync(~0u, values.of_lane[0][k], step);
}

FN void load_four(u32* to, const u32* from) {
  uint4 x = *(const uint4*)from;
  to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
}
FN void store_four(u32* to, const u32* from) { *(uint4*)to = make_uint4(from[0], from[1], from[2], from[3]); }
FN void load_two(u32* to, const u32* from) {
  uint2 x = *(const uint2*)from;
  to[0] = x.x, to[1] = x.y;
}
// Bytes of a (0 to 3) and b (4 to 7), picked by the digits of `order` from the lowest on.
FN u32 picked_bytes(u32 a, u32 b, u32 order) { return __byte_perm(a, b, order); }
FN void add_at(u64* p, u64 x) { atomicAdd(p, x); }

#else

FN i32 byte_of(const u32* words, int e) { return (signed char)(words[e / 4] >> 8 * (e % 4)); }

static void multiply_add(PerLane<i32, 4>& sums, const PerLane<u32, 4>& left, const PerLane<u32, 2>& right) {
  i32 a[16][32], b[32][8];
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int e = 0; e < 16; e++) a[g + 8 * (e / 4 % 2)][4 * t + e % 4 + 16 * (e / 8)] = byte_of(left.of_lane[lane], e);
    for (int e = 0; e < 8; e++) b[4 * t + e % 4 + 16 * (e / 4)][g] = byte_of(right.of_lane[lane], e);
  }
  for (int lane = 0; lane < 32; lane++)
    for (int e = 0; e < 4; e++) {
      i64 sum = sums.of_lane[lane][e];
      for (int k = 0; k < 32; k++) sum += a[lane / 4 + 8 * (e / 2)][k] * b[k][2 * (lane % 4) + e % 2];
      if (sum != (i32)sum) __builtin_trap();  // whoever sums up so much must stop before
      sums.of_lane[lane][e] = (i32)sum;
    }
}

struct Copy {
  u32* to;
  const u32* from;
  i64 batch;
};
static Copy copies[1 << 14];
static int copies_waiting = 0;
static i64 batches = 0;

FN void copy_four(u32* to, const u32* from) {
  for (int i = 0; i < 4; i++) to[i] = 0xA5A5A5A5u;
  copies[copies_waiting++] = {to, from, batches};
}
FN void end_batch() { batches++; }
template <int PENDING> FN void wait_for_batches() {
  int kept = 0;
  for (int c = 0; c < copies_waiting; c++) {
    if (copies[c].batch >= batches - PENDING) {
      copies[kept++] = copies[c];
      continue;
    }
    for (int i = 0; i < 4; i++) copies[c].to[i] = copies[c].from[i];
  }
  copies_waiting = kept;
}

FN void all_threads() {}

template <int AT, int N> FN u32 bits_of_lanes(const PerLane<u64, N>& values, int bit) {
  u32 bits = 0;
  for (int lane = 0; lane < 32; lane++) bits |= (u32)(values.of_lane[lane][AT] >> bit & 1) << lane;
  return bits;
}

template <int STRIDE, int N> FN void xor_lanes(PerLane<u32, N>& values) {
  u32 sums[STRIDE][N] = {};
  for (int lane = 0; lane < 32; lane++)
    for (int k = 0; k < N; k++) sums[lane % STRIDE][k] ^= values.of_lane[lane][k];
  for (int lane = 0; lane < 32; lane++)
    for (int k = 0; k < N; k++) values.of_lane[lane][k] = sums[lane % STRIDE][k];
}

FN void load_four(u32* to, const u32* from) {
  for (int i = 0; i < 4; i++) to[i] = from[i];
}
FN void store_four(u32* to, const u32* from) { load_four(to, from); }
FN void load_two(u32* to, const u32* from) { to[0] = from[0], to[1] = from[1]; }
FN u32 picked_bytes(u32 a, u32 b, u32 order) {
  const u64 both = a | (u64)b << 32;
  u32 out = 0;
  for (int i = 0; i < 4; i++) out |= (u32)(both >> 8 * (order >> 4 * i & 7) & 255) << 8 * i;
  return out;
}
FN void add_at(u64* p, u64 x) { *p += x; }

#endif
#endif
