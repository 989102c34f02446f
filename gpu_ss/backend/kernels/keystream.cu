// ChaCha20 (the original variant: 64-bit block counter, 64-bit nonce) as a stream of 64-bit words.
//
// Layout, frozen: blocks in groups of 16; word k (0..7) of block 16g+b, made of state words 2k and 2k+1, is
// stored at 128g + 16k + b. Threads, like vector lanes, then write neighbouring words.
#include "chacha.h"

#if SIMT
FN v32 lane_block() { return 0; }

FN void store_words(u64* p, u32 lo, u32 hi, i64 room) {
  if (room > 0) *p = lo | (u64)hi << 32;
}
#else
// Even lanes hold the first half of the blocks, odd lanes the second: then joining the 32-bit halves of the
// words takes shifts and masks within 64-bit lanes, and no shuffles.
FN v32 lane_block() {
  v32 r{};
  for (int k = 0; k < LANES32; k++) r[k] = k / 2 + k % 2 * LANES64;
  return r;
}

FN void store_words(u64* p, v32 lo, v32 hi, i64 room) {
  v64 l = (v64)lo, h = (v64)hi;
  v64 first = (l & 0xFFFFFFFFull) | h << 32, second = l >> 32 | (h & 0xFFFFFFFF00000000ull);
  if (room >= LANES32) {
    store(p, first);
    store(p + LANES64, second);
  } else {
    for (i64 k = 0; k < room && k < LANES64; k++) p[k] = first[k];
    for (i64 k = LANES64; k < room; k++) p[k] = second[k - LANES64];
  }
}
#endif

// Blocks from `block` on, a lane each: their words to `out`, the one of the first block and those 16, 32, ... after it.
FN void store_blocks_of(u64* out, const u64* key, u64 nonce, u64 block, i64 room) {
  v32 s[16], x[16];
  s[0] = splat32(0x61707865u), s[1] = splat32(0x3320646eu);
  s[2] = splat32(0x79622d32u), s[3] = splat32(0x6b206574u);
  UNROLL for (int k = 0; k < 4; k++) {
    s[4 + 2 * k] = splat32((u32)key[k]);
    s[5 + 2 * k] = splat32((u32)(key[k] >> 32));
  }
  s[12] = splat32((u32)block) + lane_block(), s[13] = splat32((u32)(block >> 32));
  s[14] = splat32((u32)nonce), s[15] = splat32((u32)(nonce >> 32));
  chacha20(s, x);
  UNROLL for (int k = 0; k < 8; k++) store_words(out + 16 * k, x[2 * k], x[2 * k + 1], room - 16 * k);
}

// Item = block; n is a multiple of 16 and so is first_block, so the counter's low half never wraps in a group.
KERNEL keystream(u64* __restrict__ out, u64 key0, u64 key1, u64 key2, u64 key3, u64 nonce, u64 first_block,
                 i64 n_words, i64 n) {
  FOREACH_LANES32(i, n, 2048) {
    const u64 key[4] = {key0, key1, key2, key3};
    const i64 at = 128 * (i / 16) + i % 16;
    store_blocks_of(out + at, key, nonce, first_block + i, n_words - at);
  }
}

// Whole groups of many streams one after the other: streams [count, 2] are nonces and the group of `out` that each
// begins at, the first at 0. Item = block, as above.
KERNEL keystreams(u64* __restrict__ out, const u64* __restrict__ streams, u64 key0, u64 key1, u64 key2, u64 key3,
                  i64 count, i64 n) {
  FOREACH_LANES32(i, n, 2048) {
    const u64 key[4] = {key0, key1, key2, key3}, group = i / 16;
    i64 stream = 0;
    for (i64 from = 0, to = count; to - from > 1;) {  // the last one that does not begin later
      const i64 middle = (from + to) / 2;
      if (streams[2 * middle + 1] <= group) from = middle;
      else to = middle;
      stream = from;
    }
    store_blocks_of(out + 128 * group + i % 16, key, streams[2 * stream], i - 16 * streams[2 * stream + 1], 256);
  }
}
