// Nodes of trees of pseudorandom blocks, LANES32 trees at once.
//
// A level is an array of blocks [slabs, nodes, trees]. A party that lacks one path of each tree holds zeros there;
// `targets` names its node on the level. What depends on them are masks: neither branches nor addresses.
#pragma once
#include "blocks.h"

// What node q of `count` expands to, in trees of these numbers.
FN void expand(const v64* lo, const v64* hi, const v64* tree, u64 q, u64 count, v32* x) {
  v64 position[HALVES];
  UNROLL for (int h = 0; h < HALVES; h++) position[h] = tree[h] << 16 | q;
  chacha_blocks(lo, hi, position, count, x);
}

// Two children of a node: both hashes of it or, if `half` is all ones, the second is the node XOR the first.
FN void make_children(const v64* lo, const v64* hi, const v64* tree, u64 q, u64 count, u64 half, v64 (*child_lo)[HALVES],
                      v64 (*child_hi)[HALVES]) {
  v32 x[16];
  expand(lo, hi, tree, q, count, x);
  UNROLL for (int c = 0; c < 2; c++) join(x[4 * c], x[4 * c + 1], child_lo[c]), join(x[4 * c + 2], x[4 * c + 3], child_hi[c]);
  UNROLL for (int h = 0; h < HALVES; h++) {
    child_lo[1][h] = (child_lo[1][h] & ~half) | ((lo[h] ^ child_lo[0][h]) & half);
    child_hi[1][h] = (child_hi[1][h] & ~half) | ((hi[h] ^ child_hi[0][h]) & half);
  }
}
