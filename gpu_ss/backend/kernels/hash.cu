// A hash of blocks that breaks correlations: ChaCha with the block as key and its number as counter.
#include "blocks.h"
#include "planes.h"

// Item = block. The first `words` (1 to 8) words of keystream block first + i under key x_i XOR offset.
FN void hash_some(i64 i, i64 count, const u64* x, u64* out, u64 offset_lo, u64 offset_hi, u64 first, u64 domain,
                  i64 words) {
  v64 lo[HALVES], hi[HALVES], number[HALVES];
#if SIMT
  load_blocks(x + 2 * i, lo, hi);
#else
  u64 rest[2 * LANES32] = {};
  if (count < LANES32)
    for (i64 k = 0; k < 2 * count; k++) rest[k] = x[2 * i + k];
  load_blocks(count < LANES32 ? rest : x + 2 * i, lo, hi);
#endif
  UNROLL for (int h = 0; h < HALVES; h++) lo[h] ^= splat64(offset_lo), hi[h] ^= splat64(offset_hi);
  count_up(number, first + i);
  v32 s[16];
  chacha_blocks(lo, hi, number, domain, s);
#if SIMT
  UNROLL for (int k = 0; k < 8; k++)
    if (k < words) join(s[2 * k], s[2 * k + 1], lo), out[i * words + k] = lo[0];
#else
  u64 word[8][LANES32];
  for (int k = 0; k < words; k++) {
    join(s[2 * k], s[2 * k + 1], lo);
    UNROLL for (int h = 0; h < HALVES; h++) store(word[k] + h * LANES64, lo[h]);
  }
  for (i64 e = 0; e < count; e++)
    for (i64 k = 0; k < words; k++) out[(i + e) * words + k] = word[k][e];
#endif
}

KERNEL hash_blocks(const u64* __restrict__ x, u64* __restrict__ out, u64 offset_lo, u64 offset_hi, u64 first,
                   u64 domain, i64 words, i64 n) {
#if SIMT
  FOREACH(i, n) hash_some(i, 1, x, out, offset_lo, offset_hi, first, domain, words);
#else
  const i64 whole = n / LANES32 * LANES32;
  FOREACH_LANES32(i, whole, 2048) hash_some(i, LANES32, x, out, offset_lo, offset_hi, first, domain, words);
  if (whole < n) hash_some(whole, n - whole, x, out, offset_lo, offset_hi, first, domain, words);
#endif
}

#if !SIMT

// The blocks of 64 words in `x`, LANES64 blocks or one, as planes.
template <class V> FN void words_to_planes(const u64* x, u64* planes, int bits, i64 count, i64 width) {
  if (bits <= 8) return block_to_planes<8, V>(0, x, planes, bits, count, width, 0);
  if (bits <= 16) return block_to_planes<16, V>(0, x, planes, bits, count, width, 0);
  if (bits <= 32) return block_to_planes<32, V>(0, x, planes, bits, count, width, 0);
  block_to_planes<64, V>(0, x, planes, bits, count, width, 0);
}

// The low `bits` bits of the hashes' first words, as planes of `width` words: a tile's words stay in the first cache.
KERNEL hash_planes(const u64* __restrict__ x, u64* __restrict__ planes, u64 offset_lo, u64 offset_hi, u64 first,
                   u64 domain, i64 bits, i64 width, i64 n) {
  FOREACH_STEP(b, width, LANES64, 32) {
    const i64 count = n - 64 * b < 64 * LANES64 ? n - 64 * b : 64 * LANES64;
    u64 words[64 * LANES64];
    for (i64 i = 0; i < count; i += LANES32)
      hash_some(i, count - i < LANES32 ? count - i : LANES32, x + 128 * b, words, offset_lo, offset_hi,
                first + 64 * b, domain, 1);
    if (b + LANES64 <= width && count == 64 * LANES64) {
      words_to_planes<v64>(words, planes + b, (int)bits, count, width);
    } else {
      for (i64 k = 0; 64 * k < count; k++)
        words_to_planes<u64>(words + 64 * k, planes + b + k, (int)bits, count - 64 * k, width);
    }
  }
}

#endif
