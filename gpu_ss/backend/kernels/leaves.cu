// What two parties say about the sums of their trees' leaves, of slabs of 32 trees; oblivious.py of the folder above
// has the formulas, provider/ot/trees.py the reasons. Sums are [slabs, half of the nodes, leaves or rows, child, tree].
#include "nodes.h"

#define TREES 32
#define TREES_LOG 5
#define CHILDREN 4

struct Block {
  v64 lo[HALVES], hi[HALVES];
};

FN Block operator^(const Block& x, const Block& y) {
  Block out;
  UNROLL for (int h = 0; h < HALVES; h++) out.lo[h] = x.lo[h] ^ y.lo[h], out.hi[h] = x.hi[h] ^ y.hi[h];
  return out;
}
FN Block operator&(const Block& x, const v64* mask) {
  Block out;
  UNROLL for (int h = 0; h < HALVES; h++) out.lo[h] = x.lo[h] & mask[h], out.hi[h] = x.hi[h] & mask[h];
  return out;
}
FN Block block_at(const u64* blocks, i64 i) {
  Block out;
  load_blocks(blocks + 2 * i, out.lo, out.hi);
  return out;
}
FN void put_block(u64* blocks, i64 i, const Block& x) { store_blocks(blocks + 2 * i, x.lo, x.hi); }

// The hash's first block.
FN Block hash_of(const Block& x, u64 number, u64 domain) {
  v64 counter[HALVES];
  v32 s[16];
  Block out;
  count_up(counter, number);
  chacha_blocks(x.lo, x.hi, counter, domain, s);
  join(s[0], s[1], out.lo), join(s[2], s[3], out.hi);
  return out;
}

// Row `row` of `rows`, of the trees j and following of slab g.
FN i64 place(i64 g, i64 rows, i64 row, i64 j) { return (g * rows + row) * TREES + j; }

// Sum of the leaves that are child c of a node.
FN Block leaves_of(const u64* sums, i64 g, i64 c, i64 j) {
  return block_at(sums, place(4 * g, CHILDREN, c, j)) ^ block_at(sums, place(4 * g + 2, CHILDREN, c, j));
}

// All ones where the lowest bit is 1.
FN void odd(const Block& x, v64* mask) {
  UNROLL for (int h = 0; h < HALVES; h++) mask[h] = splat64(0) - (x.lo[h] & 1);
}

// Item = tree of all slabs, here and below. `offers` [slabs, levels + 2, tree] of `firsts` [slabs, levels - 2, 2, tree].
KERNEL tree_offers(const u64* __restrict__ firsts, const u64* __restrict__ sums, const u64* __restrict__ keys,
                   u64* __restrict__ offers, u64 delta_lo, u64 delta_hi, u64 first, u64 domain, i64 levels, i64 n) {
  FOREACH_LANES32(i, n, 2048) {
    const i64 g = i >> TREES_LOG, j = i & (TREES - 1), rows = levels + 2;
    for (i64 k = 0; k < levels - 2; k++)
      put_block(offers, place(g, rows, k, j),
                block_at(firsts, place(g, 2 * (levels - 2), 2 * k, j)) ^ block_at(keys, place(g, levels, k, j)));
    const Block key = block_at(keys, place(g, levels, levels - 2, j)), other = block_at(keys, place(g, levels, levels - 1, j));
    const Block zero = leaves_of(sums, g, 0, j), two = leaves_of(sums, g, 2, j);
    Block turned = key;
    UNROLL for (int h = 0; h < HALVES; h++) turned.lo[h] ^= splat64(delta_lo), turned.hi[h] ^= splat64(delta_hi);
    put_block(offers, place(g, rows, levels - 2, j), zero ^ leaves_of(sums, g, 1, j) ^ key);
    put_block(offers, place(g, rows, levels - 1, j), zero ^ two ^ other);
    put_block(offers, place(g, rows, levels, j), zero ^ hash_of(key, first + i, domain));
    put_block(offers, place(g, rows, levels + 1, j), two ^ hash_of(turned, first + i, domain));
  }
}

// `fixes` [slabs, child, tree] and the sums of rows [slabs, half, child, tree] with these; 2^nodes_log nodes.
KERNEL leaf_fixes(const u64* __restrict__ sums, const u64* __restrict__ keys, const u64* __restrict__ told,
                  const u64* __restrict__ targets, u64* __restrict__ fixes, u64* __restrict__ of_rows, u64 first,
                  u64 domain, i64 levels, i64 nodes_log, i64 n) {
  FOREACH_LANES32(i, n, 2048) {
    const i64 g = i >> TREES_LOG, j = i & (TREES - 1), offers = levels + 2;
    const Block key = block_at(keys, place(g, levels, levels - 2, j)), other = block_at(keys, place(g, levels, levels - 1, j));
    v64 b[HALVES], c[HALVES], upper[HALVES];
    odd(key, b), odd(other, c);
    const Block pair = block_at(told, place(g, offers, levels - 2, j)) ^ key;
    const Block other_pair = block_at(told, place(g, offers, levels - 1, j)) ^ other;
    const Block sealed = block_at(told, place(g, offers, levels, j)), other_sealed = block_at(told, place(g, offers, levels + 1, j));
    const Block opened = sealed ^ ((sealed ^ other_sealed) & b) ^ hash_of(key, first + i, domain);
    const Block shared = opened ^ other_pair ^ (pair & c);
    // Children 2 b and 2 b + 1, then those of 1 - b.
    const Block own[2] = {opened, opened ^ pair}, beside[2] = {shared ^ (pair & c), shared ^ pair ^ (pair & c)};
    UNROLL for (int h = 0; h < HALVES; h++) {
      upper[h] = splat64(0) - (load(v64{}, targets + g * TREES + j + h * LANES64) >> (nodes_log - 1) & 1);
    }
    UNROLL for (int child = 0; child < CHILDREN; child++) {
      const Block change = (own[child % 2] ^ beside[child % 2]) & b;
      Block fix = (child < 2 ? own : beside)[child % 2] ^ change ^ leaves_of(sums, g, child, j);
      UNROLL for (int h = 0; h < HALVES; h++) {
        const v64 on_path = (child < 2 ? b[h] : ~b[h]) & (child % 2 ? ~c[h] : c[h]);  // child is 2 (1 - b) + 1 - c
        fix.lo[h] = (fix.lo[h] & ~1ull) | (on_path & 1);
      }
      put_block(fixes, place(g, CHILDREN, child, j), fix);
      const Block in_upper = fix & upper, in_lower = fix ^ in_upper;
      put_block(of_rows, place(2 * g, CHILDREN, child, j), block_at(sums, place(4 * g + 1, CHILDREN, child, j)) ^ in_lower);
      put_block(of_rows, place(2 * g + 1, CHILDREN, child, j), block_at(sums, place(4 * g + 3, CHILDREN, child, j)) ^ in_upper);
    }
  }
}
