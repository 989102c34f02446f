// Nodes of trees of pseudorandom blocks, LANES32 trees at once.
//
// A level is an array of blocks [nodes, trees]: node q = c P + p is child c of parent p of P, in every tree. A
// party that lacks one path of each tree holds zeros there; `targets` names its node on the level, and `fixes`
// [ways, trees] completes the other child of the path's last node, which it learns one level later.
// The comparisons with secret targets are masks: neither branches nor addresses depend on them.
#pragma once
#include "blocks.h"

// Trees j and following of a level: where they are, and of how many parents' children the level consists.
struct Level {
  const u64 *nodes, *fixes, *targets;
  u64 first_tree;
  i64 count, parents_log, trees_log;
};

// Node q of trees j, j + 1, ..., completed, what it expands to, and all ones where it is known.
FN void expand(const Level& level, i64 q, i64 j, v64* lo, v64* hi, v64* known, v32* x) {
  const u64 parent_mask = ((u64)1 << level.parents_log) - 1;
  v64 fix_lo[HALVES], fix_hi[HALVES], position[HALVES], tree[HALVES];
  load_blocks(level.nodes + 2 * ((q << level.trees_log) + j), lo, hi);
  load_blocks(level.fixes + 2 * (((q >> level.parents_log) << level.trees_log) + j), fix_lo, fix_hi);
  count_up(tree, level.first_tree + j);
  UNROLL for (int h = 0; h < HALVES; h++) {
    v64 target = load(v64{}, level.targets + j + h * LANES64);
    v64 fixed = equal(target & parent_mask, splat64((u64)q & parent_mask));
    lo[h] ^= fix_lo[h] & fixed, hi[h] ^= fix_hi[h] & fixed;
    known[h] = ~equal(target, splat64((u64)q));
    position[h] = tree[h] << 16 | (u64)q;
  }
  chacha_blocks(lo, hi, position, (u64)level.count, x);
}
