// A hash of blocks that breaks correlations: ChaCha with the block as key and its number as counter.
#include "blocks.h"

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
