// Binary trees of pseudorandom blocks, many at once, all levels in one go: either both children are hashes of their
// parent (Goldreich, Goldwasser, Micali), or the second is the parent XOR the first (half-tree).
//
// Child c of node q of Q becomes node c Q + q, so a level is made in place: the first child where its parent was.
// Whoever lacks a path finds on each level the one node beside it, from the sum of all nodes like it. That node's
// place is secret, so it is added by a mask when the next level is made, and at the end in a pass of its own.
#include "nodes.h"
#include "warps.h"

#if SIMT

// A block of threads has two neighbouring trees, so that memory is read and written in whole sectors, and their nodes
// in shared memory. Thread t works on tree t % 2.
#define TOGETHER 2
#define WARPS 8
#define STEP (32 * WARPS / TOGETHER)  // threads of a tree
#define MOST_GROWN 1024
#define PARTS_AT (4 * TOGETHER * MOST_GROWN)  // of shared memory, where the warps' sums are: two levels', in turn
#define PARTS (WARPS * TOGETHER)

// Where the trees of a block are among all.
struct Pair {
  i64 slab, tree;
};
FN Pair pair_of(i64 i, i64 trees_log) {
  return {TOGETHER * i >> trees_log, TOGETHER * i & (((i64)1 << trees_log) - 1)};
}

FN void load_node(const u32* shared, int q, int tree, u64* lo, u64* hi) {
  u32 x[4];
  load_four(x, shared + 4 * (TOGETHER * q + tree));
  join(x[0], x[1], lo), join(x[2], x[3], hi);
}
FN void store_node(u32* shared, int q, int tree, u64 lo, u64 hi) {
  const u32 x[4] = {(u32)lo, (u32)(lo >> 32), (u32)hi, (u32)(hi >> 32)};
  store_four(shared + 4 * (TOGETHER * q + tree), x);
}

FN void add_block(u32* sum, u64 lo, u64 hi) {
  sum[0] ^= (u32)lo, sum[1] ^= (u32)(lo >> 32), sum[2] ^= (u32)hi, sum[3] ^= (u32)(hi >> 32);
}

// A warp's sums of N words for each of the trees, and words 2 k and 2 k + 1 of what all warps' add up to.
template <int N> FN void put_sums(u32* parts, int warp, int lane, const u32* sums) {
  if (lane < TOGETHER) UNROLL for (int k = 0; k < N; k++) parts[(warp * TOGETHER + lane) * N + k] = sums[k];
}
template <int N> FN u64 whole_sum(const u32* parts, int tree, int k) {
  u64 sum = 0;
  UNROLL for (int warp = 0; warp < WARPS; warp++) {
    const u32* part = parts + (warp * TOGETHER + tree) * N + 2 * k;
    sum ^= part[0] | (u64)part[1] << 32;
  }
  return sum;
}

// Both children of this thread's nodes, and the sums of these: one for each child.
FN void grow_own(u32* shared, int thread, int count, u64 number, u64 half, u32* sums) {
  const int tree = thread % TOGETHER;
  UNROLL for (int k = 0; k < 8; k++) sums[k] = 0;
  ONE_BY_ONE for (int q = thread / TOGETHER; q < count; q += STEP) {
    u64 lo, hi, child_lo[2][1], child_hi[2][1];
    load_node(shared, q, tree, &lo, &hi);
    make_children(&lo, &hi, &number, q, count, half, child_lo, child_hi);
    UNROLL for (int c = 0; c < 2; c++) {
      store_node(shared, c * count + q, tree, child_lo[c][0], child_hi[c][0]);
      add_block(sums + 4 * c, child_lo[c][0], child_hi[c][0]);
    }
  }
}

// What a thread knows of its tree's path: the node that is missing, and what is yet to be added, and where.
struct Path {
  u64 target, place, fix_lo, fix_hi;
};

FN void fix_node(const Path& path, u64 q, u64& lo, u64& hi) {
  const u64 fixed = equal(path.place, q);
  lo ^= path.fix_lo & fixed, hi ^= path.fix_hi & fixed;
}

// The same where a path is missing; the sum is that of children number `choice`, given as a mask.
FN void regrow_own(u32* shared, int thread, int count, u64 number, u64 half, const Path& path, u64 choice, u32* sums) {
  const int tree = thread % TOGETHER;
  UNROLL for (int k = 0; k < 4; k++) sums[k] = 0;
  ONE_BY_ONE for (int q = thread / TOGETHER; q < count; q += STEP) {
    u64 lo, hi, child_lo[2][1], child_hi[2][1];
    load_node(shared, q, tree, &lo, &hi);
    fix_node(path, q, lo, hi);
    make_children(&lo, &hi, &number, q, count, half, child_lo, child_hi);
    const u64 known = ~equal(path.target, q);
    UNROLL for (int c = 0; c < 2; c++)
      store_node(shared, c * count + q, tree, child_lo[c][0] & known, child_hi[c][0] & known);
    add_block(sums, ((child_lo[0][0] & ~choice) | (child_lo[1][0] & choice)) & known,
              ((child_hi[0][0] & ~choice) | (child_hi[1][0] & choice)) & known);
  }
}

// The roots of two trees or, of half-trees, their children and the sums of these.
FN void plant(u32* shared, int thread, const u64* roots, u64* sums, i64 trees_log, u64 delta_lo, u64 delta_hi, u64 half) {
  if (thread >= TOGETHER) return;
  const u64 lo = roots[2 * thread], hi = roots[2 * thread + 1], second_lo = lo ^ delta_lo, second_hi = hi ^ delta_hi;
  store_node(shared, 0, thread, lo, hi);
  if (!half) return;
  store_node(shared, 1, thread, second_lo, second_hi);
  store_blocks(sums + 2 * thread, &lo, &hi);
  store_blocks(sums + 2 * (((i64)1 << trees_log) + thread), &second_lo, &second_hi);
}

// Item = two trees, with a block of threads. oblivious.py of the folder above says more.
KERNEL grow_trees(const u64* __restrict__ roots, u64* __restrict__ out, u64* __restrict__ sums, u64 delta_lo, u64 delta_hi,
                  u64 first_tree, u64 half, i64 depth, i64 trees_log, i64 n) {
  SHARED(shared, PARTS_AT + 2 * PARTS * 8);
  FOREACH_TILE(i, n) {
    const Pair at = pair_of(i, trees_log);
    const i64 of_slab = at.slab * depth * 2;
    EACH_WARP(warp, WARPS) EACH_LANE(lane)
      plant(shared, 32 * warp + lane, roots + 2 * TOGETHER * i, sums + 2 * ((of_slab << trees_log) + at.tree), trees_log,
            delta_lo, delta_hi, half);
    all_threads();
    for (int level = half ? 1 : 0; level < (int)depth; level++) {
      u32* parts = shared + PARTS_AT + level % 2 * PARTS * 8;
      EACH_WARP(warp, WARPS) {
        PerLane<u32, 8> own;
        EACH_LANE(lane) {
          const int thread = 32 * warp + lane;
          const u64 number = first_tree + TOGETHER * i + thread % TOGETHER;
          grow_own(shared, thread, 1 << level, number, half, OF(own, lane));
        }
        xor_lanes<TOGETHER>(own);
        EACH_LANE(lane) put_sums<8>(parts, warp, lane, OF(own, lane));
      }
      all_threads();
      EACH_WARP(warp, WARPS) EACH_LANE(lane) {
        const int thread = 32 * warp + lane, tree = thread % TOGETHER, k = thread / TOGETHER;  // k: word of both sums
        const i64 sum = ((of_slab + 2 * level + k / 2) << trees_log) + at.tree + tree;
        if (k < 4) sums[2 * sum + k % 2] = whole_sum<8>(parts, tree, k);
      }
    }
    EACH_WARP(warp, WARPS) EACH_LANE(lane) {
      const int thread = 32 * warp + lane, tree = thread % TOGETHER;
      ONE_BY_ONE for (int q = thread / TOGETHER; q < 1 << depth; q += STEP) {
        u64 lo, hi;
        load_node(shared, q, tree, &lo, &hi);
        store_blocks(out + 2 * ((((at.slab << depth) + q) << trees_log) + at.tree + tree), &lo, &hi);
      }
    }
    all_threads();  // the next trees take the room
  }
}

// Item as above. Of `levels` choices and sums the first `depth` are for these trees.
KERNEL regrow_trees(const u64* __restrict__ choices, const u64* __restrict__ sums, u64* __restrict__ out,
                    u64* __restrict__ targets, u64 first_tree, u64 half, i64 levels, i64 depth, i64 trees_log, i64 n) {
  SHARED(shared, PARTS_AT + 2 * PARTS * 4);
  FOREACH_TILE(i, n) {
    const Pair at = pair_of(i, trees_log);
    PerLane<Path, 1> paths[HELD(WARPS)];
    EACH_WARP(warp, WARPS) EACH_LANE(lane) {
      OF(paths[OWN(warp)], lane)[0] = {0, 0, 0, 0};
      if (32 * warp + lane < TOGETHER) store_node(shared, 0, lane, 0, 0);
    }
    all_threads();
    for (int level = 0; level < (int)depth; level++) {
      u32* parts = shared + PARTS_AT + level % 2 * PARTS * 4;
      const i64 told = ((at.slab * levels + level) << trees_log) + at.tree;
      EACH_WARP(warp, WARPS) {
        PerLane<u32, 4> own;
        EACH_LANE(lane) {
          const int thread = 32 * warp + lane, tree = thread % TOGETHER;
          regrow_own(shared, thread, 1 << level, first_tree + TOGETHER * i + tree, half, OF(paths[OWN(warp)], lane)[0],
                     0 - choices[told + tree], OF(own, lane));
        }
        xor_lanes<TOGETHER>(own);
        EACH_LANE(lane) put_sums<4>(parts, warp, lane, OF(own, lane));
      }
      all_threads();
      EACH_WARP(warp, WARPS) EACH_LANE(lane) {
        const int tree = lane % TOGETHER;
        const u64 choice = choices[told + tree];
        Path& path = OF(paths[OWN(warp)], lane)[0];
        path.place = path.target + (choice << level), path.target += (1 - choice) << level;
        path.fix_lo = sums[2 * (told + tree)] ^ whole_sum<4>(parts, tree, 0);
        path.fix_hi = sums[2 * (told + tree) + 1] ^ whole_sum<4>(parts, tree, 1);
      }
    }
    EACH_WARP(warp, WARPS) EACH_LANE(lane) {
      const int thread = 32 * warp + lane, tree = thread % TOGETHER;
      const Path& path = OF(paths[OWN(warp)], lane)[0];
      ONE_BY_ONE for (int q = thread / TOGETHER; q < 1 << depth; q += STEP) {
        u64 lo, hi;
        load_node(shared, q, tree, &lo, &hi);
        fix_node(path, q, lo, hi);
        store_blocks(out + 2 * ((((at.slab << depth) + q) << trees_log) + at.tree + tree), &lo, &hi);
      }
      if (thread < TOGETHER) targets[(at.slab << trees_log) + at.tree + tree] = path.target;
    }
    all_threads();
  }
}

#else

#define PARTS 8  // of a level, if it is large enough: each may be another thread's
#define LEAST_PARTED 256  // nodes that are worth waking threads for

// LANES32 trees of a slab: their numbers, where their nodes are, and how many words one is after the other.
struct Lanes {
  v64 tree[HALVES];
  u64* nodes;
  i64 step;
};

struct Path {
  v64 target[HALVES], place[HALVES], fix_lo[HALVES], fix_hi[HALVES];
};

// XORs of all first and of all second children.
struct Sums {
  v64 lo[2][HALVES], hi[2][HALVES];
};

FN void add_sums(Sums& sums, const v64 (*lo)[HALVES], const v64 (*hi)[HALVES]) {
  UNROLL for (int c = 0; c < 2; c++)
    UNROLL for (int h = 0; h < HALVES; h++) sums.lo[c][h] ^= lo[c][h], sums.hi[c][h] ^= hi[c][h];
}

FN void fix_node(const Path& path, u64 q, v64* lo, v64* hi) {
  UNROLL for (int h = 0; h < HALVES; h++) {
    const v64 fixed = equal(path.place[h], splat64(q));
    lo[h] ^= path.fix_lo[h] & fixed, hi[h] ^= path.fix_hi[h] & fixed;
  }
}

// Both children of node q of these trees.
template <bool PUNCTURED> FN void grow_node(const Lanes& at, i64 q, i64 count, u64 half, const Path& path, Sums& sums) {
  v64 lo[HALVES], hi[HALVES], child_lo[2][HALVES], child_hi[2][HALVES];
  load_blocks(at.nodes + q * at.step, lo, hi);
  if (PUNCTURED) fix_node(path, (u64)q, lo, hi);
  make_children(lo, hi, at.tree, (u64)q, (u64)count, half, child_lo, child_hi);
  if (PUNCTURED) UNROLL for (int h = 0; h < HALVES; h++) {
    const v64 known = ~equal(path.target[h], splat64((u64)q));
    UNROLL for (int c = 0; c < 2; c++) child_lo[c][h] &= known, child_hi[c][h] &= known;
  }
  UNROLL for (int c = 0; c < 2; c++) store_blocks(at.nodes + (c * count + q) * at.step, child_lo[c], child_hi[c]);
  add_sums(sums, child_lo, child_hi);
}

// One more level, from `count` nodes.
template <bool PUNCTURED> static Sums grow_level(const Lanes& at, i64 count, u64 half, const Path& path) {
  const i64 parts = count < LEAST_PARTED ? 1 : PARTS, size = count / parts;
  Sums of_part[PARTS], whole{};
  FOREACH_STEP(part, parts, 1, 1) {
    Sums own{};
    for (i64 q = part * size; q < (part + 1) * size; q++) grow_node<PUNCTURED>(at, q, count, half, path, own);
    of_part[part] = own;
  }
  for (i64 part = 0; part < parts; part++) add_sums(whole, of_part[part].lo, of_part[part].hi);
  return whole;
}

// Trees j and following of slab g, whose nodes begin at `nodes`.
FN Lanes lanes_of(u64* nodes, u64 first_tree, i64 g, i64 j, i64 trees_log) {
  Lanes at;
  count_up(at.tree, first_tree + (u64)((g << trees_log) + j));
  at.nodes = nodes + 2 * j, at.step = (i64)2 << trees_log;
  return at;
}

// The roots of LANES32 trees or, of half-trees, their children and the sums of these.
FN void plant(const Lanes& at, const u64* roots, u64* sums, u64 delta_lo, u64 delta_hi, u64 half) {
  v64 lo[HALVES], hi[HALVES];
  load_blocks(roots, lo, hi);
  store_blocks(at.nodes, lo, hi);
  if (!half) return;
  store_blocks(sums, lo, hi);
  UNROLL for (int h = 0; h < HALVES; h++) lo[h] ^= splat64(delta_lo), hi[h] ^= splat64(delta_hi);
  store_blocks(at.nodes + at.step, lo, hi);
  store_blocks(sums + at.step, lo, hi);
}

KERNEL grow_trees(const u64* __restrict__ roots, u64* __restrict__ out, u64* __restrict__ sums, u64 delta_lo, u64 delta_hi,
                  u64 first_tree, u64 half, i64 depth, i64 trees_log, i64 n) {
  const i64 trees = (i64)1 << trees_log, words = trees << (depth + 1);
  for (i64 g = 0; g < (2 * n) >> trees_log; g++) {
    for (i64 j = 0; j < trees; j += LANES32) {
      const Lanes at = lanes_of(out + g * words, first_tree, g, j, trees_log);
      u64* to = sums + 2 * (g * depth * 2 * trees + j);
      plant(at, roots + 2 * (g * trees + j), to, delta_lo, delta_hi, half);
      for (i64 level = half ? 1 : 0; level < depth; level++) {
        const Sums found = grow_level<false>(at, (i64)1 << level, half, Path{});
        for (int c = 0; c < 2; c++) store_blocks(to + (2 * level + c) * at.step, found.lo[c], found.hi[c]);
      }
    }
  }
}

// Where the path goes on, and what is to be added beside it.
FN void follow(Path& path, const Sums& found, const u64* choices, const u64* told, i64 level) {
  v64 told_lo[HALVES], told_hi[HALVES];
  load_blocks(told, told_lo, told_hi);
  UNROLL for (int h = 0; h < HALVES; h++) {
    const v64 choice = load(v64{}, choices + h * LANES64), mask = splat64(0) - choice;
    path.place[h] = path.target[h] + (choice << level);
    path.target[h] += (1 - choice) << level;
    path.fix_lo[h] = told_lo[h] ^ (found.lo[0][h] & ~mask) ^ (found.lo[1][h] & mask);
    path.fix_hi[h] = told_hi[h] ^ (found.hi[0][h] & ~mask) ^ (found.hi[1][h] & mask);
  }
}

KERNEL regrow_trees(const u64* __restrict__ choices, const u64* __restrict__ sums, u64* __restrict__ out,
                    u64* __restrict__ targets, u64 first_tree, u64 half, i64 levels, i64 depth, i64 trees_log, i64 n) {
  const i64 trees = (i64)1 << trees_log, words = trees << (depth + 1);
  for (i64 g = 0; g < (2 * n) >> trees_log; g++) {
    for (i64 w = 0; w < 2 * trees; w++) out[g * words + w] = 0;
    for (i64 j = 0; j < trees; j += LANES32) {
      const Lanes at = lanes_of(out + g * words, first_tree, g, j, trees_log);
      Path path{};
      for (i64 level = 0; level < depth; level++) {
        const i64 told = (g * levels + level) * trees + j;
        follow(path, grow_level<true>(at, (i64)1 << level, half, path), choices + told, sums + 2 * told, level);
      }
      for (i64 q = 0; q < (i64)1 << depth; q++) {
        v64 lo[HALVES], hi[HALVES];
        load_blocks(at.nodes + q * at.step, lo, hi);
        fix_node(path, (u64)q, lo, hi);
        store_blocks(at.nodes + q * at.step, lo, hi);
      }
      UNROLL for (int h = 0; h < HALVES; h++) store(targets + g * trees + j + h * LANES64, path.target[h]);
    }
  }
}

#endif

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
