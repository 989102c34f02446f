// Binary trees of pseudorandom blocks, many at once, level by level: either both children are hashes of their parent
// (Goldreich, Goldwasser, Micali), or the second is the parent XOR the first (half-tree). See nodes.h.
#include "nodes.h"

// Item = node of a tree; trees is a power of two and a multiple of 16. Children of node i come at i + c n.
KERNEL tree_level(const u64* __restrict__ nodes, const u64* __restrict__ fixes, const u64* __restrict__ targets,
                  u64* __restrict__ out, u64 first_tree, u64 half, i64 parents_log, i64 trees_log, i64 n) {
  FOREACH_LANES32(i, n, 2048) {
    const Level level = {nodes, fixes, targets, first_tree, n >> trees_log, parents_log, trees_log};
    v64 lo[HALVES], hi[HALVES], known[HALVES];
    v32 x[16];
    expand(level, i >> trees_log, i & (((i64)1 << trees_log) - 1), lo, hi, known, x);
    v64 first_lo[HALVES], first_hi[HALVES], second_lo[HALVES], second_hi[HALVES];
    join(x[0], x[1], first_lo), join(x[2], x[3], first_hi);
    join(x[4], x[5], second_lo), join(x[6], x[7], second_hi);
    UNROLL for (int h = 0; h < HALVES; h++) {
      second_lo[h] = (second_lo[h] & ~half) | ((lo[h] ^ first_lo[h]) & half);
      second_hi[h] = (second_hi[h] & ~half) | ((hi[h] ^ first_hi[h]) & half);
      first_lo[h] &= known[h], first_hi[h] &= known[h];
      second_lo[h] &= known[h], second_hi[h] &= known[h];
    }
    store_blocks(out + 2 * i, first_lo, first_hi);
    store_blocks(out + 2 * (i + n), second_lo, second_hi);
  }
}

// out[g, w] = XOR over r of x[g, r, w]; item = (g, w).
KERNEL xor_rows(const u64* __restrict__ x, u64* __restrict__ out, i64 rows, i64 width, i64 n) {
#if SIMT
  FOREACH(i, n) {
    const u64* column = x + i / width * rows * width + i % width;
    u64 sum = 0;
    for (i64 r = 0; r < rows; r++) sum ^= column[r * width];
    out[i] = sum;
  }
#else
  const i64 groups = n / width;
  FOREACH_STEP(at, groups * ((width + 63) / 64), 1, 32768 / (rows + 1)) {
    const i64 g = at % groups, w = at / groups * 64, count = width - w < 64 ? width - w : 64;
    u64 sum[64] = {};
    if (count == 64) {
      v64 part[64 / LANES64] = {};
      for (i64 r = 0; r < rows; r++)
        UNROLL for (int k = 0; k < 64 / LANES64; k++)
          part[k] ^= load(v64{}, x + (g * rows + r) * width + w + k * LANES64);
      UNROLL for (int k = 0; k < 64 / LANES64; k++) store(sum + k * LANES64, part[k]);
    } else {
      for (i64 r = 0; r < rows; r++)
        for (i64 k = 0; k < count; k++) sum[k] ^= x[(g * rows + r) * width + w + k];
    }
    for (i64 k = 0; k < count; k++) out[g * width + w + k] = sum[k];
  }
#endif
}
