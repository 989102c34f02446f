// Bits of correlated OT, and ANDs under triples; transfers.py of the folder above says what for.
#include "elements.h"

// body(V(), j, w) for the words w of every row j. Item = word of a row.
template <class F> FN void each_word(i64 rows, i64 width, F body) {
#if SIMT
  FOREACH(i, rows * width) body(u64{}, i / width, i % width);
#else
  for (i64 j = 0; j < rows; j++) each_element(width, LIGHT, [=](auto v, i64 w) { body(v, j, w); });
#endif
}

// The lowest bits of the first `count` blocks, fewer than 64.
FN u64 gathered_choices(const u64* blocks, i64 count) {
  u64 word = 0;
  for (i64 e = 0; e < count; e++) word |= (blocks[2 * e] & 1) << e;
  return word;
}

// Item = byte of a plane: neighbouring threads then read neighbouring memory.
KERNEL choice_planes(const u64* __restrict__ blocks, u64* __restrict__ planes, i64 count, i64 n) {
  const i64 width = (count + 63) / 64;
#if SIMT
  FOREACH(item, n) {
    const i64 row = item / (8 * width), first = item % (8 * width) * 8, left = count - first;
    ((unsigned char*)planes)[item] =
        (unsigned char)gathered_choices(blocks + 2 * (row * count + first), left < 8 ? left : 8);
  }
#else
  const i64 words = n / 8;
  FOREACH_STEP(item, words, 1, LIGHT / 64) {
    const i64 row = item / width, first = item % width * 64;
    const u64* from = blocks + 2 * (row * count + first);
    if (count - first < 64) {
      planes[item] = gathered_choices(from, count - first);
      continue;
    }
    v64 lanes{};  // vector q holds the blocks from q LANES64 / 2 on, in its even lanes
    u64 word = 0;
    UNROLL for (int q = 0; q < 128 / LANES64; q++)
      lanes |= (load(v64{}, from + q * LANES64) & 1) << (q * (LANES64 / 2));
    UNROLL for (int k = 0; k < LANES64; k += 2) word |= lanes[k] << (k / 2);
    planes[item] = word;
  }
#endif
}

KERNEL and_masked(const u64* __restrict__ choice, const u64* __restrict__ payload, const u64* __restrict__ b,
                  const u64* __restrict__ a, u64* __restrict__ out, i64 width, i64 n) {
  each_element(width, LIGHT, [=](auto v, i64 w) { store(out + w, load(v, choice + w) ^ load(v, b + w)); });
  each_element(n - width, LIGHT,
               [=](auto v, i64 i) { store(out + width + i, load(v, payload + i) ^ load(v, a + i)); });
}

KERNEL and_opened(const u64* __restrict__ mine, const u64* __restrict__ other, const u64* __restrict__ b,
                  const u64* __restrict__ a, const u64* __restrict__ c, u64* __restrict__ out, u64 lead, i64 width,
                  i64 n) {
  each_word(n / width, width, [=](auto v, i64 j, i64 w) {
    const i64 at = j * width + w;
    const auto d = load(v, mine + w) ^ load(v, other + w);
    const auto e = load(v, mine + width + at) ^ load(v, other + width + at);
    store(out + at, load(v, c + at) ^ (d & load(v, a + at)) ^ (e & load(v, b + w)) ^ (d & e & lead));
  });
}
