// Sparse linear codes over blocks: each row adds ten pseudorandomly chosen blocks of a table.
//
// The choices are public: the keystream of a public key. Rows come in groups of 128 for 80 keystream blocks. In a
// group, block 16g + l has the choices 2g and 2g + 1 of the eight rows 16m + l: its words m and 8 + m.
#include "blocks.h"

#define CHOICES 10
#define GROUP_ROWS 128
#define CHOICE_ROUNDS 8  // of ChaCha: the code is public, it only has to look random
#define LANE_ROWS 16  // rows of a group that share their word numbers

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

// All ones where node q is a child of the target, of 2^parents_log parents.
FN u64 is_target(u64 target, u64 q, i64 parents_log) {
  return 0 - (u64)(((target ^ q) & (((u64)1 << parents_log) - 1)) == 0);
}

#if SIMT

// Item = the eight rows of one lane of a group.
FN void encode_lane(i64 i, const u64* table, const u64* leaves, const u64* fixes, const u64* targets, u64* out,
                    const u64* key, u64 first_block, int shift, i64 parents_log, i64 trees_log) {
  const i64 first_row = i / LANE_ROWS * GROUP_ROWS + i % LANE_ROWS;
  u64 lo[8], hi[8];
  UNROLL for (int m = 0; m < 8; m++) {
    const i64 row = first_row + m * LANE_ROWS, q = row >> trees_log, j = row & (((i64)1 << trees_log) - 1);
    u64 fix_lo, fix_hi, fixed = is_target(targets[j], (u64)q, parents_log);
    load_blocks(leaves + 2 * row, lo + m, hi + m);
    load_blocks(fixes + 2 * (((q >> parents_log) << trees_log) + j), &fix_lo, &fix_hi);
    lo[m] ^= fix_lo & fixed, hi[m] ^= fix_hi & fixed;
  }
  const u64 block = first_block + i / LANE_ROWS * (GROUP_ROWS * CHOICES / 16) + i % LANE_ROWS;
  for (int g = 0; g < CHOICES / 2; g++) {
    v32 s[16], x[16];
    choice_state(s, key, block + LANE_ROWS * g, 0);
    chacha<CHOICE_ROUNDS>(s, x);
    UNROLL for (int k = 0; k < 16; k++) {
      u64 add_lo, add_hi;
      load_blocks(table + 2 * (u64)(x[k] >> shift), &add_lo, &add_hi);
      lo[k % 8] ^= add_lo, hi[k % 8] ^= add_hi;
    }
  }
  UNROLL for (int m = 0; m < 8; m++) store_blocks(out + 2 * (first_row + m * LANE_ROWS), lo + m, hi + m);
}

#else

typedef u64 block_at __attribute__((vector_size(16), aligned(8), may_alias));

// The choices of a group, [CHOICES][GROUP_ROWS].
FN void choose_group(u32* choices, const u64* key, u64 first_block, int shift) {
  for (int g = 0; g < CHOICES / 2; g++)
    for (int l = 0; l < LANE_ROWS; l += LANES32) {
      v32 s[16], x[16], lane;
      for (int k = 0; k < LANES32; k++) lane[k] = k;
      choice_state(s, key, first_block + LANE_ROWS * g + l, lane);
      chacha<CHOICE_ROUNDS>(s, x);
      for (int k = 0; k < 16; k++) {
        u32* to = choices + (2 * g + k / 8) * GROUP_ROWS + k % 8 * LANE_ROWS + l;
        v32 choice = x[k] >> shift;
        __builtin_memcpy(to, &choice, sizeof choice);
      }
    }
}

FN void encode_group(i64 first_row, const u32* choices, const u64* table, const u64* leaves, const u64* fixes,
                     const u64* targets, u64* out, i64 parents_log, i64 trees_log) {
  for (i64 r = 0; r < GROUP_ROWS; r++) {
    const i64 row = first_row + r, q = row >> trees_log, j = row & (((i64)1 << trees_log) - 1);
    const u64 fixed = is_target(targets[j], (u64)q, parents_log);
    block_at sum = *(const block_at*)(leaves + 2 * row);
    sum ^= *(const block_at*)(fixes + 2 * (((q >> parents_log) << trees_log) + j)) & fixed;
    UNROLL for (int d = 0; d < CHOICES; d++)
      sum ^= *(const block_at*)(table + 2 * (u64)choices[d * GROUP_ROWS + r]);
    *(block_at*)(out + 2 * row) = sum;
  }
}

#endif

// out_i = leaf_i (completed as in trees.cu) XOR the ten chosen blocks of a table of 2^(32 - shift); n rows / 8 items.
KERNEL lpn_encode(const u64* __restrict__ table, const u64* __restrict__ leaves, const u64* __restrict__ fixes,
                  const u64* __restrict__ targets, u64* __restrict__ out, u64 key0, u64 key1, u64 key2, u64 key3,
                  u64 first_block, i64 shift, i64 parents_log, i64 trees_log, i64 n) {
#if SIMT
  FOREACH(i, n) {
    const u64 key[4] = {key0, key1, key2, key3};
    encode_lane(i, table, leaves, fixes, targets, out, key, first_block, (int)shift, parents_log, trees_log);
  }
#else
  FOREACH_STEP(g, n / LANE_ROWS, 1, 64) {  // no prefetching: it was slower (the loads of a row overlap anyway)
    const u64 key[4] = {key0, key1, key2, key3};
    u32 choices[CHOICES * GROUP_ROWS];
    choose_group(choices, key, first_block + GROUP_ROWS * CHOICES / 16 * g, (int)shift);
    encode_group(GROUP_ROWS * g, choices, table, leaves, fixes, targets, out, parents_log, trees_log);
  }
#endif
}
