// The leaves of trees, and a sparse code over them: each row adds ten pseudorandomly chosen blocks of a table to a leaf.
//
// Leaves are the four children of nodes: three hashes of the node, and the node XOR these. Row 4 TREES q + TREES c + j
// of a slab is for child c of node q of tree j; slabs follow each other. A leaf lives no longer than its row takes, on
// the CPU in the first cache.
//
// The choices are public: the keystream of a public key. Rows come in groups of 256, row 16 k + l, for 7 keystream
// blocks of each l. Of block number 16 g + l word k has the choice g of row k; what is left over of its words
// 2 m and 2 m + 1 makes, for g < 6, choice 7 + g / 2 of row 8 (g % 2) + m.
#include "nodes.h"

#define TREES 32
#define CHILDREN 4
#define NODE_ROWS (CHILDREN * TREES)
#define CHOICES 10
#define DRAWS 7
#define CHOICE_ROUNDS 8  // of ChaCha: the code is public, it only has to look random
#define GROUP_ROWS 256
#define GROUP_NODES (GROUP_ROWS / NODE_ROWS)
#define LANE_ROWS 16  // rows of a group that share their word numbers
#define SPARE_BITS 11  // of each word: its lowest
#define SUM_WORDS (2 * NODE_ROWS)  // of the leaves of a number of nodes, and as many of their rows

FN void choice_state(v32* s, const u64* key, u64 block, v32 lane) {
  s[0] = splat32(0x61707865u), s[1] = splat32(0x3320646eu);
  s[2] = splat32(0x79622d32u), s[3] = splat32(0x6b206574u);
  UNROLL for (int k = 0; k < 4; k++) {
    s[4 + 2 * k] = splat32((u32)key[k]);
    s[5 + 2 * k] = splat32((u32)(key[k] >> 32));
  }
  s[12] = splat32((u32)block) + lane, s[13] = splat32((u32)(block >> 32));
  s[14] = s[15] = splat32(0);
}

// Where in a table of 2^size blocks the choice is that words hold, in bytes.
FN v32 chosen(v32 word, int size) { return (word >> (28 - size)) & (((1u << size) - 1) << 4); }
FN v32 chosen_of_spare(v32 high, v32 low, int size) {
  const u32 spare = (1u << SPARE_BITS) - 1;
  return (((high & spare) << SPARE_BITS | (low & spare)) & ((1u << size) - 1)) << 4;
}

// The nodes of all slabs, one after the other.
struct Nodes {
  const u64 *nodes, *targets;
  u64 first_tree;
  int of_slab_log;
};

// The children of node number `node` of trees j, j + 1, ...: their lowest bits are cleared.
FN void make_leaves(const Nodes& all, i64 node, i64 j, v64 (*lo)[HALVES], v64 (*hi)[HALVES]) {
  const i64 count = (i64)1 << all.of_slab_log, place = (node >> all.of_slab_log) * TREES + j;
  const u64 q = (u64)(node & (count - 1));
  v64 tree[HALVES];
  v32 x[16];
  load_blocks(all.nodes + 2 * (node * TREES + j), lo[3], hi[3]);
  count_up(tree, all.first_tree + (u64)place);
  expand(lo[3], hi[3], tree, q, (u64)count, x);
  UNROLL for (int c = 0; c < 3; c++) {
    join(x[4 * c], x[4 * c + 1], lo[c]), join(x[4 * c + 2], x[4 * c + 3], hi[c]);
    UNROLL for (int h = 0; h < HALVES; h++) lo[3][h] ^= lo[c][h], hi[3][h] ^= hi[c][h];
  }
  UNROLL for (int h = 0; h < HALVES; h++) {
    const v64 known = ~equal(load(v64{}, all.targets + place + h * LANES64), splat64(q));
    UNROLL for (int c = 0; c < CHILDREN; c++) lo[c][h] &= known & ~1ull, hi[c][h] &= known;
  }
}

#if SIMT

// Adds one choice to each row of a lane; with SPARE < 16 another one to eight of them.
template <int SPARE> FN void draw(const u64* key, u64 block, const u64* table, int size, u64* lo, u64* hi) {
  v32 s[16], x[16];
  choice_state(s, key, block, 0);
  chacha<CHOICE_ROUNDS>(s, x);
  u64 add_lo, add_hi;
  UNROLL for (int k = 0; k < 16; k++) {
    load_blocks(table + chosen(x[k], size) / 8, &add_lo, &add_hi);
    lo[k] ^= add_lo, hi[k] ^= add_hi;
  }
  if constexpr (SPARE < 16) {
    UNROLL for (int m = 0; m < 8; m++) {
      load_blocks(table + chosen_of_spare(x[2 * m], x[2 * m + 1], size) / 8, &add_lo, &add_hi);
      lo[SPARE + m] ^= add_lo, hi[SPARE + m] ^= add_hi;
    }
  }
}

// XOR over the nodes of a group: two rows for each child, that of tree l and of tree 16 + l.
FN void store_sums(u64* sums, i64 l, const u64* lo, const u64* hi) {
  UNROLL for (int k = 0; k < 8; k++) {
    const u64 sum_lo = lo[k] ^ lo[8 + k], sum_hi = hi[k] ^ hi[8 + k];
    store_blocks(sums + 2 * (16 * k + l), &sum_lo, &sum_hi);
  }
}

// Item = the sixteen rows of one lane of a group.
FN void encode_lane(i64 i, const Nodes& nodes, const u64* table, u64* out, u64* sums, const u64* key, u64 first_block,
                    int size) {
  const i64 g = i / LANE_ROWS, l = i % LANE_ROWS;
  u64 lo[16], hi[16];
  UNROLL for (int k = 0; k < 4; k++) {
    v64 leaf_lo[CHILDREN][1], leaf_hi[CHILDREN][1];
    make_leaves(nodes, GROUP_NODES * g + k / 2, LANE_ROWS * (k % 2) + l, leaf_lo, leaf_hi);
    UNROLL for (int c = 0; c < CHILDREN; c++) {
      lo[k / 2 * 8 + 2 * c + k % 2] = leaf_lo[c][0], hi[k / 2 * 8 + 2 * c + k % 2] = leaf_hi[c][0];
    }
  }
  store_sums(sums + 2 * SUM_WORDS * g, l, lo, hi);
  u64 block = first_block + DRAWS * LANE_ROWS * g + l;
  for (int h = 0; h < DRAWS / 2; h++, block += 2 * LANE_ROWS) {
    draw<0>(key, block, table, size, lo, hi);
    draw<8>(key, block + LANE_ROWS, table, size, lo, hi);
  }
  draw<16>(key, block, table, size, lo, hi);
  UNROLL for (int k = 0; k < 16; k++) store_blocks(out + 2 * (GROUP_ROWS * g + LANE_ROWS * k + l), lo + k, hi + k);
  store_sums(sums + 2 * SUM_WORDS * g + SUM_WORDS, l, lo, hi);
}

#else

typedef u64 block_at __attribute__((vector_size(16), aligned(8), may_alias));

// The choices of a group as places in the table, [CHOICES][GROUP_ROWS].
FN void choose_group(u32* choices, const u64* key, u64 first_block, int size) {
  for (int g = 0; g < DRAWS; g++)
    for (int l = 0; l < LANE_ROWS; l += LANES32) {
      v32 s[16], x[16], lane;
      for (int k = 0; k < LANES32; k++) lane[k] = k;
      choice_state(s, key, first_block + LANE_ROWS * g + l, lane);
      chacha<CHOICE_ROUNDS>(s, x);
      u32 *to = choices + g * GROUP_ROWS + l, *more = choices + (DRAWS + g / 2) * GROUP_ROWS + g % 2 * 128 + l;
      UNROLL for (int k = 0; k < 16; k++) {
        v32 choice = chosen(x[k], size);
        __builtin_memcpy(to + LANE_ROWS * k, &choice, sizeof choice);
      }
      if (g == DRAWS - 1) continue;
      UNROLL for (int m = 0; m < 8; m++) {
        v32 choice = chosen_of_spare(x[2 * m], x[2 * m + 1], size);
        __builtin_memcpy(more + LANE_ROWS * m, &choice, sizeof choice);
      }
    }
}

FN void add_to_sums(u64* sums, const u64* rows) {
  for (i64 w = 0; w < SUM_WORDS; w += LANES64) store(sums + w, load(v64{}, sums + w) ^ load(v64{}, rows + w));
}

FN void encode_group(i64 g, const Nodes& nodes, const u64* table, u64* out, u64* sums, const u64* key,
                     u64 first_block, int size) {
  u32 choices[CHOICES * GROUP_ROWS];
  choose_group(choices, key, first_block + DRAWS * LANE_ROWS * g, size);
  u64* rows = out + 2 * GROUP_ROWS * g;
  for (i64 node = 0; node < GROUP_NODES; node++) {
    u64* leaves = rows + 2 * NODE_ROWS * node;
    for (i64 j = 0; j < TREES; j += LANES32) {
      v64 lo[CHILDREN][HALVES], hi[CHILDREN][HALVES];
      make_leaves(nodes, GROUP_NODES * g + node, j, lo, hi);
      UNROLL for (int c = 0; c < CHILDREN; c++) store_blocks(leaves + 2 * (TREES * c + j), lo[c], hi[c]);
    }
    add_to_sums(sums, leaves);
  }
  const char* at = (const char*)table;
  for (i64 r = 0; r < GROUP_ROWS; r++) {  // no prefetching: it was slower (the loads of some rows overlap anyway)
    block_at even = *(const block_at*)(rows + 2 * r), odd{};
    UNROLL for (int d = 0; d < CHOICES; d += 2) {
      even ^= *(const block_at*)(at + choices[d * GROUP_ROWS + r]);
      odd ^= *(const block_at*)(at + choices[(d + 1) * GROUP_ROWS + r]);
    }
    *(block_at*)(rows + 2 * r) = even ^ odd;
  }
  for (i64 node = 0; node < GROUP_NODES; node++) add_to_sums(sums + SUM_WORDS, rows + 2 * NODE_ROWS * node);
}

#endif

// Rows as said above of a table of 2^size blocks; of every `span` groups the XOR over their nodes of all leaves, then
// of all rows: [2, CHILDREN, TREES]. n rows / 16 items; on a GPU span is 1.
KERNEL lpn_encode(const u64* __restrict__ table, const u64* __restrict__ nodes, const u64* __restrict__ targets,
                  u64* __restrict__ out, u64* __restrict__ sums, u64 key0, u64 key1, u64 key2, u64 key3, u64 first_tree,
                  u64 first_block, i64 size, i64 nodes_log, i64 span, i64 n) {
#if SIMT
  FOREACH(i, n) {
    const u64 key[4] = {key0, key1, key2, key3};
    encode_lane(i, {nodes, targets, first_tree, (int)nodes_log}, table, out, sums, key, first_block, (int)size);
  }
#else
  FOREACH_STEP(part, n / LANE_ROWS / span, 1, 1) {
    const u64 key[4] = {key0, key1, key2, key3};
    const Nodes all = {nodes, targets, first_tree, (int)nodes_log};
    u64 own[2 * SUM_WORDS] = {};
    for (i64 g = part * span; g < (part + 1) * span; g++)
      encode_group(g, all, table, out, own, key, first_block, (int)size);
    __builtin_memcpy(sums + 2 * SUM_WORDS * part, own, sizeof own);
  }
#endif
}

// rows, as of lpn_encode, XOR `fixes` [slabs, CHILDREN, TREES] where the node is the tree's target; item = word.
KERNEL lpn_complete(u64* __restrict__ rows, const u64* __restrict__ fixes, const u64* __restrict__ targets,
                    i64 nodes_log, i64 n) {
  const i64 mask = ((i64)1 << nodes_log) - 1;
#if SIMT
  FOREACH(i, n) {
    const i64 node = i / SUM_WORDS, slab = node >> nodes_log;
    rows[i] ^= fixes[slab * SUM_WORDS + i % SUM_WORDS] & equal(targets[slab * TREES + i / 2 % TREES], (u64)(node & mask));
  }
#else
  for (i64 slab = 0; slab < n / SUM_WORDS >> nodes_log; slab++) {
    u64 both[2 * TREES];  // the target of each word's tree
    for (i64 w = 0; w < 2 * TREES; w++) both[w] = targets[slab * TREES + w / 2];
    const u64* own = fixes + slab * SUM_WORDS;
    FOREACH_STEP(q, mask + 1, 1, 64) {
      u64* row = rows + SUM_WORDS * ((slab << nodes_log) + q);
      UNROLL for (int w = 0; w < 2 * TREES; w += LANES64) {
        const v64 hit = equal(load(v64{}, both + w), splat64((u64)q));
        UNROLL for (int c = 0; c < SUM_WORDS; c += 2 * TREES)
          store(row + c + w, load(v64{}, row + c + w) ^ (load(v64{}, own + c + w) & hit));
      }
    }
  }
#endif
}
