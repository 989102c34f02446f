// Matrix products modulo 2^w on tensor cores: exact, by signed 8-bit digits with 32-bit sums.
//
// x = sum_j x_j 2^(8 j) modulo 2^(8 L) with digits x_j in [-128, 127]: the bytes of (x + B) ^ B with B = 0x80...80.
// Of a b only the digit products a_i b_j with i + j < L count, L (L + 1) / 2 of them; those of one weight share a
// sum. A sum takes at most L K products of at most 2^14, so K is bounded; longer products are cut into parts, which
// are added in memory, modulo 2^64 and therefore in any order.
//
// Digits lie in memory as the instructions take them (warps.h), so that nothing is rearranged on the way:
//   left    tiles of 16 rows x 32 places: [tile row, tile of places, digit, lane, 4 words]
//   right   tiles of 32 places x 8 columns: [tile column, tile of places, digit, lane, 2 words]
// each zero beyond the matrix. A block of threads computes a tile of the product from STAGES steps of 32 places in
// shared memory; the next steps are copied in while it computes.
#include "warps.h"

#if SIMT

#define STAGES 3
#define BAND 8  // tiles of neighbouring blocks are near to each other in both directions: they share the cache

template <class T> FN T smaller(T a, T b) { return a < b ? a : b; }
FN i64 up(i64 a, i64 b) { return (a + b - 1) / b; }

// The digits of four words: byte t of digit[j] is digit j of x[t].
template <int LIMBS> FN void split_four(const u64* x, u32* digit) {
  u64 d[4];
  UNROLL for (int t = 0; t < 4; t++) d[t] = (x[t] + 0x8080808080808080ull) ^ 0x8080808080808080ull;
  UNROLL for (int half = 0; half < (LIMBS > 4 ? 2 : 1); half++) {
    u32 w[4], pair[4];
    UNROLL for (int t = 0; t < 4; t++) w[t] = (u32)(d[t] >> 32 * half);
    UNROLL for (int t = 0; t < 2; t++) {  // bytes 0, 0, 1, 1 and 2, 2, 3, 3 of words 2 t and 2 t + 1
      pair[t] = picked_bytes(w[2 * t], w[2 * t + 1], 0x5140);
      pair[2 + t] = picked_bytes(w[2 * t], w[2 * t + 1], 0x7362);
    }
    UNROLL for (int j = 0; j < 4; j++)
      if (4 * half + j < LIMBS) digit[4 * half + j] = picked_bytes(pair[j / 2 * 2], pair[j / 2 * 2 + 1], j % 2 ? 0x7632 : 0x5410);
  }
}

// out[s, tile row, tile of places, digit, lane, 4] of x[s, rows, inner]. Item = lane of a tile.
KERNEL split_left(const u64* __restrict__ x, u32* __restrict__ out, i64 limbs, i64 rows, i64 inner, i64 n) {
  const i64 down = up(rows, 16), along = up(inner, 32);
  FOREACH(i, n) {
    const i64 lane = i % 32, tile = i / 32, s = tile / along / down;
    const i64 row = tile / along % down * 16 + lane / 4, place = tile % along * 32 + lane % 4 * 4;
    UNROLL for (int q = 0; q < 4; q++) {
      u64 four[4];
      u32 digit[8];
      const i64 r = row + 8 * (q % 2), p = place + 16 * (q / 2);
      UNROLL for (int t = 0; t < 4; t++)
        four[t] = r < rows && p + t < inner ? x[(s * rows + r) * inner + p + t] : 0;
      split_four<8>(four, digit);
      UNROLL for (int j = 0; j < 8; j++)
        if (j < limbs) out[((tile * limbs + j) * 32 + lane) * 4 + q] = digit[j];
    }
  }
}

// out[s, tile column, tile of places, digit, lane, 2] of x[s, inner, cols]. Item = lane of a tile.
KERNEL split_right(const u64* __restrict__ x, u32* __restrict__ out, i64 limbs, i64 inner, i64 cols, i64 n) {
  const i64 across = up(cols, 8), along = up(inner, 32);
  FOREACH(i, n) {
    const i64 lane = i % 32, tile = i / 32, s = tile / along / across;
    const i64 col = tile / along % across * 8 + lane / 4, place = tile % along * 32 + lane % 4 * 4;
    UNROLL for (int q = 0; q < 2; q++) {
      u64 four[4];
      u32 digit[8];
      const i64 p = place + 16 * q;
      UNROLL for (int t = 0; t < 4; t++)
        four[t] = col < cols && p + t < inner ? x[(s * inner + p + t) * cols + col] : 0;
      split_four<8>(four, digit);
      UNROLL for (int j = 0; j < 8; j++)
        if (j < limbs) out[((tile * limbs + j) * 32 + lane) * 2 + q] = digit[j];
    }
  }
}

// What a block computes: LIMBS digits; a warp has WM x WN tiles of 16 x 8, the block DOWN x ACROSS warps.
template <int LIMBS_, int WM_, int WN_, int DOWN_, int ACROSS_> struct Shape {
  static constexpr int LIMBS = LIMBS_, WM = WM_, WN = WN_, DOWN = DOWN_, ACROSS = ACROSS_;
  static constexpr int WARPS = DOWN * ACROSS, THREADS = 32 * WARPS;
  static constexpr int LEFTS = WM * DOWN, RIGHTS = WN * ACROSS;  // tiles of the block
  static constexpr int LEFT = LEFTS * LIMBS * 128, STEP = LEFT + RIGHTS * LIMBS * 64;  // words of a step
  static constexpr int FOURS = 16 * LEFTS * 8 / THREADS;  // a thread's share of the left words of a step, by four
};

// The place of one block in the product.
struct Place {
  int row, col;      // first tiles
  int first, steps;  // of 32 places each
};

template <class S> FN Place place_of(i64 i, i64 rows, i64 inner, i64 cols, i64 parts, i64& batch) {
  const i64 down = up(rows, 16 * S::LEFTS), across = up(cols, 8 * S::RIGHTS), along = up(inner, 32);
  const i64 tile = i % (down * across), part = i / (down * across) % parts;
  batch = i / (down * across) / parts;
  const i64 band = tile / (BAND * across) * BAND, height = smaller<i64>(BAND, down - band);
  const i64 within = tile - band * across, first = along * part / parts;
  return {(int)(band + within % height) * S::LEFTS, (int)(within / height) * S::RIGHTS, (int)first,
          (int)(along * (part + 1) / parts - first)};
}

// Fours of words into shared memory in the background, TOTAL by a block of S::THREADS.
template <class S, int TOTAL, class From> FN void copy_all(u32* to, int thread, From from) {
  ONE_BY_ONE for (int c = thread; c < TOTAL; c += S::THREADS) copy_four(to + 4 * c, from(c));
}

template <class S> FN void fetch_right(u32* to, const u32* digits, i64 inner, i64 cols, int col, int k, int thread) {
  constexpr int TILE = S::LIMBS * 16;  // fours of a tile
  const int last = (int)up(cols, 8) - 1, along = (int)up(inner, 32);
  copy_all<S, S::RIGHTS * TILE>(to, thread, [=](int c) {
    return digits + (((i64)smaller(col + c / TILE, last) * along + k) * TILE + c % TILE) * 4;  // past the edge: not stored
  });
}

// The left operand as digits, split before.
struct Digits {
  typedef u32 Word;
  const u32* digits;
  i64 rows, inner;

  template <class S> struct Held {};

  template <class S> FN_IN void fetch(Held<S>&, u32* to, int row, int k, int thread) const {
    constexpr int TILE = S::LIMBS * 32;
    const u32* all = digits;
    const int last = (int)up(rows, 16) - 1, along = (int)up(inner, 32);
    copy_all<S, S::LEFTS * TILE>(to, thread, [=](int c) {
      return all + (((i64)smaller(row + c / TILE, last) * along + k) * TILE + c % TILE) * 4;
    });
  }
  template <class S> FN_IN void put(const Held<S>&, u32*, int) const {}
};

// The left operand as words, split on their way into shared memory: no pass of its own, but again in every block.
struct Words {
  typedef u64 Word;
  const u64* words;
  i64 rows, inner;

  template <class S> struct Held {
    u64 four[S::FOURS][4];
  };

  // Words of step k into registers, and when they have come, as digits into shared memory.
  template <class S> FN_IN void fetch(Held<S>& held, u32*, int row, int k, int thread) const {
    UNROLL for (int c = 0; c < S::FOURS; c++) {
      const int q = thread + c * S::THREADS;
      const i64 r = 16 * (i64)row + q / 8, place = 32 * (i64)k + q % 8 * 4;
      UNROLL for (int t = 0; t < 4; t++)
        held.four[c][t] = r < rows && place + t < inner ? words[r * inner + place + t] : 0;
    }
  }
  template <class S> FN_IN void put(const Held<S>& held, u32* to, int thread) const {
    UNROLL for (int c = 0; c < S::FOURS; c++) {
      const int q = thread + c * S::THREADS, r = q / 8, lane = r % 8 * 4 + q % 4;
      u32 digit[S::LIMBS];
      split_four<S::LIMBS>(held.four[c], digit);
      UNROLL for (int j = 0; j < S::LIMBS; j++)
        to[(r / 16 * S::LIMBS + j) * 128 + lane * 4 + q % 8 / 4 * 2 + r % 16 / 8] = digit[j];
    }
  }
};

// The digit products of one step, added to the sums of their weight.
template <class S> FN void multiply_step(PerLane<i32, 4> (*sums)[S::WN][S::LIMBS], const u32* step, int warp) {
  const u32* left = step + warp / S::ACROSS * S::WM * S::LIMBS * 128;
  const u32* right = step + S::LEFT + warp % S::ACROSS * S::WN * S::LIMBS * 64;
  PerLane<u32, 4> a[S::WM][S::LIMBS];
  UNROLL for (int m = 0; m < S::WM; m++)
    UNROLL for (int i = 0; i < S::LIMBS; i++)
      EACH_LANE(lane) load_four(OF(a[m][i], lane), left + (m * S::LIMBS + i) * 128 + lane * 4);
  UNROLL for (int c = 0; c < S::WN; c++)
    UNROLL for (int j = 0; j < S::LIMBS; j++) {
      PerLane<u32, 2> b;
      EACH_LANE(lane) load_two(OF(b, lane), right + (c * S::LIMBS + j) * 64 + lane * 2);
      UNROLL for (int m = 0; m < S::WM; m++)
        UNROLL for (int i = 0; i < S::LIMBS - j; i++) multiply_add(sums[m][c][i + j], a[m][i], b);
    }
}

// The sums of all weights as words of the product.
template <class S>
FN void store_words(const PerLane<i32, 4> (*sums)[S::WN][S::LIMBS], u64* out, const Place& place, i64 rows, i64 cols,
                    bool add, int warp) {
  UNROLL for (int m = 0; m < S::WM; m++)
    UNROLL for (int c = 0; c < S::WN; c++)
      EACH_LANE(lane) UNROLL for (int e = 0; e < 4; e++) {
        const i64 row = (place.row + warp / S::ACROSS * S::WM + m) * 16 + lane / 4 + 8 * (e / 2);
        const i64 col = (place.col + warp % S::ACROSS * S::WN + c) * 8 + lane % 4 * 2 + e % 2;
        u64 word = 0;
        UNROLL for (int s = S::LIMBS - 1; s >= 0; s--) word = (word << 8) + (u64)(i64)OF(sums[m][c][s], lane)[e];
        if (row >= rows || col >= cols) continue;
        if (add) add_at(out + row * cols + col, word);
        else out[row * cols + col] = word;
      }
}

// One block's tile, over its part of the places. In turn k step k is multiplied, while later ones are on their way.
template <class S, class Left>
FN void tile_product(const Left& left, const u32* right, u64* out, const Place& place, i64 cols, bool add, u32* shared) {
  PerLane<i32, 4> sums[HELD(S::WARPS)][S::WM][S::WN][S::LIMBS];
  typename Left::template Held<S> held[HELD(S::THREADS)];
  EACH_WARP(warp, S::WARPS) UNROLL for (int m = 0; m < S::WM; m++)
    UNROLL for (int c = 0; c < S::WN; c++)
      UNROLL for (int s = 0; s < S::LIMBS; s++)
        EACH_LANE(lane) UNROLL for (int e = 0; e < 4; e++) OF(sums[OWN(warp)][m][c][s], lane)[e] = 0;

  for (int k = 1 - STAGES; k < place.steps; k++) {
    const int next = k + STAGES - 1;
    u32* room = shared + next % STAGES * S::STEP;
    // Step k has come, and all threads are done with step k - 1, whose room is for step `next`.
    if (k >= 0) wait_for_batches<STAGES - 2>();
    if (next < place.steps) EACH_WARP(warp, S::WARPS) EACH_LANE(lane) {
      const int thread = 32 * warp + lane;
      fetch_right<S>(room + S::LEFT, right, left.inner, cols, place.col, place.first + next, thread);
      left.template fetch<S>(held[OWN(thread)], room, place.row, place.first + next, thread);
    }
    end_batch();
    if (k >= 0)
      EACH_WARP(warp, S::WARPS) multiply_step<S>(sums[OWN(warp)], shared + k % STAGES * S::STEP, warp);
    if (next < place.steps) EACH_WARP(warp, S::WARPS) EACH_LANE(lane) {
      const int thread = 32 * warp + lane;
      left.template put<S>(held[OWN(thread)], room, thread);
    }
  }
  EACH_WARP(warp, S::WARPS) store_words<S>(sums[OWN(warp)], out, place, left.rows, cols, add, warp);
  wait_for_batches<0>();  // the next tile takes all the room
}

template <class Left, class S>
FN void product(const typename Left::Word* a, const u32* b, u64* out, i64 rows, i64 inner, i64 cols, i64 a_step,
                i64 b_step, i64 parts, i64 n) {
  SHARED(shared, STAGES * S::STEP);
  FOREACH_TILE(i, n) {
    i64 batch;
    const Place place = place_of<S>(i, rows, inner, cols, parts, batch);
    const Left left{a + batch * a_step, rows, inner};
    tile_product<S>(left, b + batch * b_step, out + batch * rows * cols, place, cols, parts > 1, shared);
  }
}

// out[s] = a[s] b[s] modulo 2^(8 L), or with parts > 1 out[s] += a[s] b[s]; what is above is undefined. Steps are
// counted in words of the operand's type, 0 shares one. Item = tile of a part, a block each (signatures.py).
KERNEL tensor_8(const u32* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner, i64 cols,
              i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Digits, Shape<8, 1, 3, 4, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}
KERNEL tensor_7(const u32* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner, i64 cols,
              i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Digits, Shape<7, 1, 4, 4, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}
KERNEL tensor_6(const u32* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner, i64 cols,
              i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Digits, Shape<6, 1, 4, 4, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}
KERNEL tensor_5(const u32* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner, i64 cols,
              i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Digits, Shape<5, 1, 4, 4, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}
KERNEL tensor_4(const u32* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner, i64 cols,
              i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Digits, Shape<4, 2, 3, 4, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}
KERNEL small_tensor_8(const u64* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner,
                    i64 cols, i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Words, Shape<8, 1, 2, 2, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}
KERNEL small_tensor_7(const u64* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner,
                    i64 cols, i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Words, Shape<7, 1, 2, 2, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}
KERNEL small_tensor_6(const u64* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner,
                    i64 cols, i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Words, Shape<6, 1, 2, 2, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}
KERNEL small_tensor_5(const u64* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner,
                    i64 cols, i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Words, Shape<5, 1, 2, 2, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}
KERNEL small_tensor_4(const u64* __restrict__ a, const u32* __restrict__ b, u64* __restrict__ out, i64 rows, i64 inner,
                    i64 cols, i64 a_step, i64 b_step, i64 parts, i64 n) {
  product<Words, Shape<4, 1, 2, 2, 2>>(a, b, out, rows, inner, cols, a_step, b_step, parts, n);
}

#endif
