// A hash of blocks that breaks correlations: ChaCha with the block as key and its number as counter.
#include "blocks.h"
#include "planes.h"
#include "warps.h"

// What is hashed, and how: each block under one or two offsets.
struct Hashed {
  const u64* x;
  u64 offset_lo, offset_hi, first, domain;
};

// Block i, of `count` that are left, hashed: keystream block first + i under key x_i XOR offset.
FN void hash_some(const Hashed& of, i64 i, i64 count, v32* s) {
  v64 lo[HALVES], hi[HALVES], number[HALVES];
#if SIMT
  load_blocks(of.x + 2 * i, lo, hi);
#else
  u64 rest[2 * LANES32] = {};
  if (count < LANES32)
    for (i64 k = 0; k < 2 * count; k++) rest[k] = of.x[2 * i + k];
  load_blocks(count < LANES32 ? rest : of.x + 2 * i, lo, hi);
#endif
  UNROLL for (int h = 0; h < HALVES; h++) lo[h] ^= splat64(of.offset_lo), hi[h] ^= splat64(of.offset_hi);
  count_up(number, of.first + i);
  chacha_blocks(lo, hi, number, of.domain, s);
}

// Its first `words` words, 1 to 8, into rows of out that are `width` words long.
FN void hash_words(const Hashed& of, i64 i, i64 count, u64* out, i64 words, i64 width) {
  v32 s[16];
  hash_some(of, i, count, s);
#if SIMT
  u64 word[1];
  UNROLL for (int k = 0; k < 8; k++)
    if (k < words) join(s[2 * k], s[2 * k + 1], word), out[i * width + k] = word[0];
#else
  u64 word[8][LANES32];
  for (int k = 0; k < words; k++) {
    v64 both[HALVES];
    join(s[2 * k], s[2 * k + 1], both);
    UNROLL for (int h = 0; h < HALVES; h++) store(word[k] + h * LANES64, both[h]);
  }
  for (i64 e = 0; e < count; e++)
    for (i64 k = 0; k < words; k++) out[(i + e) * width + k] = word[k][e];
#endif
}

// out[offset, block, word]: eight words are a hash, the next ones of the next domain. Item = hash.
KERNEL hash_blocks(const u64* __restrict__ x, u64* __restrict__ out, u64 offset_lo, u64 offset_hi, u64 other_lo,
                   u64 other_hi, u64 first, u64 domain, i64 words, i64 count, i64 n) {
  const i64 parts = (words + 7) / 8;
#if SIMT
  FOREACH(i, n) {
    const i64 part = i / count % parts, other = i / count / parts, left = words - 8 * part;
    const Hashed of = {x, other ? other_lo : offset_lo, other ? other_hi : offset_hi, first, domain + part};
    hash_words(of, i % count, 1, out + other * count * words + 8 * part, left < 8 ? left : 8, words);
  }
#else
  for (i64 turn = 0; turn < n / count; turn++) {
    const i64 part = turn % parts, other = turn / parts, left = words - 8 * part, some = left < 8 ? left : 8;
    const Hashed of = {x, other ? other_lo : offset_lo, other ? other_hi : offset_hi, first, domain + (u64)part};
    u64* to = out + other * count * words + 8 * part;
    const i64 whole = count / LANES32 * LANES32;
    FOREACH_LANES32(i, whole, 2048) hash_words(of, i, LANES32, to, some, words);
    if (whole < count) hash_words(of, whole, count - whole, to, some, words);
  }
#endif
}

#if SIMT

// The bits of 64 values, two of each lane, each bit's as one word `width` words after that before.
FN void put_planes(const PerLane<u64, 2>& values, u64* planes, i64 bits, i64 width) {
  ONE_BY_ONE for (i64 b = 0; b < bits; b++) {
    const u64 word = bits_of_lanes<0>(values, (int)b) | (u64)bits_of_lanes<1>(values, (int)b) << 32;
    EACH_LANE(lane) if (lane == 0) planes[b * width] = word;
  }
}

// The low `bits` bits of the hashes' first words, as planes of `width` words: [offset, bits, width]. Item = 64 blocks
// under one offset, a warp's work.
KERNEL hash_planes(const u64* __restrict__ x, u64* __restrict__ planes, u64 offset_lo, u64 offset_hi, u64 other_lo,
                   u64 other_hi, u64 first, u64 domain, i64 bits, i64 width, i64 count, i64 n) {
  FOREACH_WARP(i, n) {
    const i64 other = i / width, w = i % width;
    const Hashed of = {x, other ? other_lo : offset_lo, other ? other_hi : offset_hi, first, domain};
    PerLane<u64, 2> values;
    EACH_LANE(lane) UNROLL for (int k = 0; k < 2; k++) {
      const i64 e = 64 * w + 32 * k + lane;
      v32 s[16];
      hash_some(of, e < count ? e : count - 1, 1, s);
      const u64 word = s[0] | (u64)s[1] << 32;
      OF(values, lane)[k] = e < count ? word : 0;
    }
    put_planes(values, planes + other * bits * width + w, bits, width);
  }
}

#else

// The blocks of 64 words in `x`, LANES64 blocks or one, as planes.
template <class V> FN void words_to_planes(const u64* x, u64* planes, int bits, i64 count, i64 width) {
  if (bits <= 8) return block_to_planes<8, V>(0, x, planes, bits, count, width, 0);
  if (bits <= 16) return block_to_planes<16, V>(0, x, planes, bits, count, width, 0);
  if (bits <= 32) return block_to_planes<32, V>(0, x, planes, bits, count, width, 0);
  block_to_planes<64, V>(0, x, planes, bits, count, width, 0);
}

// LANES64 words of each plane, from word b on: the hashes' words stay in the first cache.
FN void hash_tile(const Hashed& of, i64 b, u64* planes, i64 bits, i64 width, i64 all) {
  const i64 count = all - 64 * b < 64 * LANES64 ? all - 64 * b : 64 * LANES64;
  u64 words[64 * LANES64];
  const Hashed own = {of.x + 128 * b, of.offset_lo, of.offset_hi, of.first + 64 * b, of.domain};
  for (i64 i = 0; i < count; i += LANES32) hash_words(own, i, count - i < LANES32 ? count - i : LANES32, words, 1, 1);
  if (b + LANES64 <= width && count == 64 * LANES64) {
    words_to_planes<v64>(words, planes + b, (int)bits, count, width);
  } else {
    for (i64 k = 0; 64 * k < count; k++)
      words_to_planes<u64>(words + 64 * k, planes + b + k, (int)bits, count - 64 * k, width);
  }
}

// The low `bits` bits of the hashes' first words, as planes of `width` words: [offset, bits, width].
KERNEL hash_planes(const u64* __restrict__ x, u64* __restrict__ planes, u64 offset_lo, u64 offset_hi, u64 other_lo,
                   u64 other_hi, u64 first, u64 domain, i64 bits, i64 width, i64 count, i64 n) {
  for (i64 other = 0; other < n / width; other++) {
    const Hashed of = {x, other ? other_lo : offset_lo, other ? other_hi : offset_hi, first, domain};
    FOREACH_STEP(b, width, LANES64, 32) hash_tile(of, b, planes + other * bits * width, bits, width, count);
  }
}

#endif

// a = sent_0 XOR sent_1 and c = (a AND choices) XOR sent_0 XOR chosen, planes of `width` words; item = word of all.
KERNEL plane_triples(const u64* __restrict__ sent, const u64* __restrict__ choices, const u64* __restrict__ chosen,
                     u64* __restrict__ a, u64* __restrict__ c, i64 width, i64 n) {
  FOREACH(i, n) {
    const u64 zero = sent[i], own = zero ^ sent[n + i];
    a[i] = own, c[i] = (own & choices[i % width]) ^ zero ^ chosen[i];
  }
}
