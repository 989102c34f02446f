// Trees of pseudorandom blocks (Goldreich, Goldwasser, Micali), many at once, level by level.
//
// A level is an array of blocks [nodes, trees]: node q = c P + p is child c of parent p of P, in every tree. A
// party that lacks one path of each tree holds zeros there; `targets` names its node on the level, and `fixes`
// [children, trees] completes the other children of the path's last node, which it learns one level later.
// The comparisons with secret targets are masks: neither branches nor addresses depend on them.
#include "blocks.h"

// Item = node of a tree; trees is a power of two and a multiple of 16. Children of node i come at i + c n.
KERNEL tree_level(const u64* __restrict__ nodes, const u64* __restrict__ fixes, const u64* __restrict__ targets,
                  u64* __restrict__ out, u64 first_tree, u64 keep, i64 parents_log, i64 trees_log, i64 children,
                  i64 n) {
  FOREACH_LANES32(i, n, 2048) {
    const i64 q = i >> trees_log, j = i & (((i64)1 << trees_log) - 1);
    const u64 parent_mask = ((u64)1 << parents_log) - 1;
    v64 lo[HALVES], hi[HALVES], fix_lo[HALVES], fix_hi[HALVES], position[HALVES], tree[HALVES], known[HALVES];
    load_blocks(nodes + 2 * i, lo, hi);
    load_blocks(fixes + 2 * (((q >> parents_log) << trees_log) + j), fix_lo, fix_hi);
    count_up(tree, first_tree + j);
    UNROLL for (int h = 0; h < HALVES; h++) {
      v64 target = load(v64{}, targets + j + h * LANES64);
      v64 fixed = equal(target & parent_mask, splat64((u64)q & parent_mask));
      lo[h] ^= fix_lo[h] & fixed, hi[h] ^= fix_hi[h] & fixed;
      known[h] = ~equal(target, splat64((u64)q));
      position[h] = tree[h] << 16 | (u64)q;
    }
    const u64 level = (u64)(n >> trees_log);
    v32 x[16];
    chacha20_blocks(lo, hi, position, level, x);
    UNROLL for (int c = 0; c < 4; c++) {
      if (c >= children) break;
      join(x[4 * c], x[4 * c + 1], lo), join(x[4 * c + 2], x[4 * c + 3], hi);
      UNROLL for (int h = 0; h < HALVES; h++) lo[h] &= known[h] & keep, hi[h] &= known[h];
      store_blocks(out + 2 * (i + c * n), lo, hi);
    }
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
