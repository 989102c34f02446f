// Packed matrix products under encryption: weights as residues, inner products of values, and what key
// switching needs. Arrays of residues are [primes, polys, N], all canonical.
//
// Ciphertexts come in pairs of parts: of 2 K polynomials the first K are b parts and the others a parts.
#include "modular.h"

// Signed words [polys, size] modulo every prime.
// w + 2^63 = h 2^32 + l has no sign. constants [primes, 3]: 2^32 and its quotient for h, and -2^63.
KERNEL signed_residues(const u64* __restrict__ words, u32* __restrict__ out, const u32* __restrict__ moduli,
                       const u32* __restrict__ constants, i64 polys, i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    Modulus m = modulus_of(moduli, r / polys);
    const u32* c = constants + r / polys * 3;
    u32 word = c[0], word_quotient = c[1], shift = c[2];
    const u64* from = words + r % polys * size;
    u32* to = out + r * size;
    FOREACH_PLACE(i, size) {
      u64 x = from[i] + (1ull << 63);
      u32 low = (u32)x - high_product((u32)x, m.one) * m.p;                          // below 2p
      u32 sum = low + times_constant((u32)(x >> 32), word, word_quotient, m.p);      // below 4p
      to[i] = reduce_once(reduce_once(reduce_once(sum, 2 * m.p) + shift, 2 * m.p), m.p);
    }
  }
}

// Sums of products of 32-bit lanes in 64 bits: one sum for a lane of its own, two for a vector's even and odd
// lanes.
struct Sum {
  u64 x;
};

FN void add_product(Sum& s, u32 x, u32 y) { s.x += (u64)x * y; }
FN u32 low_half(Sum s) { return (u32)s.x; }
FN u32 high_half(Sum s) { return (u32)(s.x >> 32); }
FN Sum sum_of(u32 x) { return {x}; }

#if !SIMT
struct Sums {
  v64 even, odd;
};

FN Sums sum_of(v32 x) { return {(v64)x & 0xFFFFFFFFull, (v64)x >> 32}; }
FN v32 low_half(Sums s) { return (v32)((s.even & 0xFFFFFFFFull) | s.odd << 32); }
FN v32 high_half(Sums s) { return (v32)(s.even >> 32 | (s.odd & 0xFFFFFFFF00000000ull)); }

FN void add_product(Sums& s, v32 x, v32 y) {
#if defined(__AVX512F__)
  // The masks are full: without them GCC 12 warns of its own header's uninitialised variables.
  s.even += (v64)_mm512_maskz_mul_epu32(0xFF, (__m512i)x, (__m512i)y);
  s.odd += (v64)_mm512_maskz_mul_epu32(0xFF, (__m512i)((v64)x >> 32), (__m512i)((v64)y >> 32));
#elif defined(__AVX2__)
  s.even += (v64)_mm256_mul_epu32((__m256i)x, (__m256i)y);
  s.odd += (v64)_mm256_mul_epu32((__m256i)((v64)x >> 32), (__m256i)((v64)y >> 32));
#elif defined(__SSE2__)
  s.even += (v64)_mm_mul_epu32((__m128i)x, (__m128i)y);
  s.odd += (v64)_mm_mul_epu32((__m128i)((v64)x >> 32), (__m128i)((v64)y >> 32));
#else
  s.even += ((v64)x & 0xFFFFFFFFull) * ((v64)y & 0xFFFFFFFFull);
  s.odd += ((v64)x >> 32) * ((v64)y >> 32);
#endif
}
#endif

// What reduces any 64-bit sum: 2^32 modulo p, with its quotient.
struct Word {
  u32 w, quotient;
};

FN Word word_modulo(Modulus m) {
  u32 w = 0 - m.one * m.p;
  return {w, (u32)(((u64)w << 32) / m.p)};
}

template <class V, class S> FN V reduced(V, S s, Modulus m, Word word) {
  V p = splat(V(), m.p), low = low_half(s);
  V x = low - high_product(low, splat(V(), m.one)) * p +
        times_constant(high_half(s), splat(V(), word.w), splat(V(), word.quotient), p);  // below 4p
  return reduce_once(reduce_once(x, 2 * p), p);
}

// 15 products of residues below 2^30 and one residue fit 64 bits.
constexpr i64 SUMMANDS = 15;

// sum_t x_t y_t + add for both parts at COUNT neighbours (or vectors of neighbours) `step` apart: x and y are
// `depth` polynomials each. Polynomials start in the same cache set, so a line is gone before the next turn: it
// pays to take all of it at once.
template <int COUNT, class V>
FN void inner_products_at(const u32* b, const u32* a, const u32* y, const u32* add_b, const u32* add_a, u32* out_b,
                          u32* out_a, i64 step, i64 depth, i64 size, u32 mask, Modulus m, Word word) {
  V sum_b[COUNT], sum_a[COUNT];
  UNROLL for (int k = 0; k < COUNT; k++) {
    sum_b[k] = load32(V(), add_b + k * step) & mask;
    sum_a[k] = load32(V(), add_a + k * step) & mask;
  }
  for (i64 start = 0; start < depth; start += SUMMANDS) {
    i64 end = start + SUMMANDS < depth ? start + SUMMANDS : depth;
    decltype(sum_of(V())) wide_b[COUNT], wide_a[COUNT];
    UNROLL for (int k = 0; k < COUNT; k++) wide_b[k] = sum_of(sum_b[k]), wide_a[k] = sum_of(sum_a[k]);
    for (i64 t = start; t < end; t++)
      UNROLL for (int k = 0; k < COUNT; k++) {
        i64 at = t * size + k * step;
        V factor = load32(V(), y + at);
        add_product(wide_b[k], load32(V(), b + at), factor);
        add_product(wide_a[k], load32(V(), a + at), factor);
      }
    UNROLL for (int k = 0; k < COUNT; k++) {
      sum_b[k] = reduced(V(), wide_b[k], m, word);
      sum_a[k] = reduced(V(), wide_a[k], m, word);
    }
  }
  UNROLL for (int k = 0; k < COUNT; k++) {
    store32(out_b + k * step, sum_b[k]);
    store32(out_a + k * step, sum_a[k]);
  }
}

#if SIMT
typedef u32 Lane;
#define NEIGHBOURS 1
#else
typedef v32 Lane;
#define NEIGHBOURS 4  // N is at least 64: four vectors of 512 bits
#endif

// x [primes, 2 depth, N], y [primes, results * depth, N], add and out [primes, 2 results, N]:
// out_s = sum_t x_t y_(s depth + t) + add_s, for both parts of x. `keep` is ~0 where there is an `add`, else 0:
// then one row of anything stands in for it. n items in half of `out`.
KERNEL inner_products(const u32* __restrict__ x, const u32* __restrict__ y, const u32* __restrict__ add,
                      u32* __restrict__ out, const u32* __restrict__ moduli, i64 results, i64 depth, u64 keep,
                      i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    i64 l = r / results, at_b = (r + l * results) * size, at_a = at_b + results * size;
    Modulus m = modulus_of(moduli, l);
    Word word = word_modulo(m);
    const u32 *b = x + 2 * l * depth * size, *a = b + depth * size, *factors = y + r * depth * size;
    const u32 *add_b = add + (keep & 1 ? at_b : 0), *add_a = add + (keep & 1 ? at_a : 0);
#if SIMT
    FOREACH_PLACE(i, size)
#else
    for (i64 i = 0; i < size; i += NEIGHBOURS * LANES32)
#endif
      inner_products_at<NEIGHBOURS, Lane>(b + i, a + i, factors + i, add_b + i, add_a + i, out + at_b + i,
                                          out + at_a + i, LANES32, depth, size, (u32)keep, m, word);
  }
}

// sum x_i y_j over some pairs (i, j), for both parts x_b, x_a of ciphertexts: [primes, left, N], y [primes, right, N] to
// [primes, results, N] of each part. index: where the pairs of each result start and the last ones end, then the
// pairs, two words each.
KERNEL product_sums(const u32* __restrict__ x_b, const u32* __restrict__ x_a, const u32* __restrict__ y,
                    u32* __restrict__ out_b, u32* __restrict__ out_a, const u32* __restrict__ moduli,
                    const u64* __restrict__ index, i64 left, i64 right, i64 results, i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    i64 l = r / results, begin = (i64)index[r % results], end = (i64)index[r % results + 1];
    const u64* pairs = index + results + 1;
    Modulus m = modulus_of(moduli, l);
    Word word = word_modulo(m);
#if SIMT
    FOREACH_PLACE(i, size)
#else
    for (i64 i = 0; i < size; i += LANES32)
#endif
    {
      Lane sum_b = splat(Lane(), 0), sum_a = sum_b;
      for (i64 start = begin; start < end; start += SUMMANDS) {
        auto wide_b = sum_of(sum_b), wide_a = sum_of(sum_a);
        for (i64 t = start; t < end && t < start + SUMMANDS; t++) {
          i64 at = (l * left + (i64)pairs[2 * t]) * size + i;
          Lane factor = load32(Lane(), y + (l * right + (i64)pairs[2 * t + 1]) * size + i);
          add_product(wide_b, load32(Lane(), x_b + at), factor);
          add_product(wide_a, load32(Lane(), x_a + at), factor);
        }
        sum_b = reduced(Lane(), wide_b, m, word);
        sum_a = reduced(Lane(), wide_a, m, word);
      }
      store32(out_b + r * size + i, sum_b);
      store32(out_a + r * size + i, sum_a);
    }
  }
}

// The residues of each polynomial modulo the first `count` primes, as numbers of least magnitude, modulo all
// primes: x [count, polys, N] to out [primes, polys * count, N].
KERNEL digits(const u32* __restrict__ x, u32* __restrict__ out, const u32* __restrict__ moduli, i64 count,
              i64 polys, i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    i64 poly = r / count % polys, digit = r % count;
    Modulus m = modulus_of(moduli, r / (count * polys));
    u32 own = modulus_of(moduli, digit).p, half = own >> 1, minus_own = m.p - own % m.p;
    const u32* from = x + (digit * polys + poly) * size;
    u32* to = out + r * size;
    FOREACH_PLACE(i, size) {
      u32 rest = from[i] - high_product(from[i], m.one) * m.p;                // below 2p
      u32 centred = reduce_once(rest, m.p) + (from[i] > half ? minus_own : 0);  // below 2p
      to[i] = reduce_once(centred, m.p);
    }
  }
}

// Coefficient i of X^shift y, and of x - X^shift y.
FN u32 shifted(const u32* y, u32 i, u32 shift, u32 size, u32 p) {
  u32 value = y[(i - shift) & (size - 1)];
  return i < shift ? reduce_once(p - value, p) : value;
}
FN u32 difference(const u32* x, const u32* y, u32 i, u32 shift, u32 size, u32 p) {
  return reduce_once(x[i] + p - shifted(y, i, shift, size, p), p);
}

// Coefficient i of sigma(x - X^shift y), for the automorphism X^k -> X^(k / turn).
FN u32 turned(const u32* x, const u32* y, u32 i, u32 shift, u32 turn, u32 size, u32 p) {
  u32 at = i * turn & (2 * size - 1);
  u32 value = difference(x, y, at & (size - 1), shift, size, p);
  return at < size ? value : reduce_once(p - value, p);
}

// Ciphertexts x_k, y_k = x_(half + k), k < half, both parts, x [primes, 4 half, N]: x_k + X^shift y_k of the a
// parts; of the b parts this plus sigma(x_k - X^shift y_k). out [primes, 2 half, N].
KERNEL merge_kept(const u32* __restrict__ x, u32* __restrict__ out, const u32* __restrict__ moduli, i64 half,
                  i64 shift, i64 turn, i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    u32 p = modulus_of(moduli, r / (2 * half)).p, s = (u32)shift, g = (u32)turn, count = (u32)size;
    bool is_b = r / half % 2 == 0;
    const u32 *first = x + (r / half * 2 * half + r % half) * size, *second = first + half * size;
    u32* to = out + r * size;
    if (is_b) {
      FOREACH_PLACE(i, size) {
        u32 k = (u32)i, sum = reduce_once(first[k] + shifted(second, k, s, count, p), p);
        to[i] = reduce_once(sum + turned(first, second, k, s, g, count, p), p);
      }
    } else {
      FOREACH_PLACE(i, size) to[i] = reduce_once(first[i] + shifted(second, (u32)i, s, count, p), p);
    }
  }
}

// sigma(x_k - X^shift y_k) of the a parts: out [primes, half, N].
KERNEL merge_turned(const u32* __restrict__ x, u32* __restrict__ out, const u32* __restrict__ moduli, i64 half,
                    i64 shift, i64 turn, i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    u32 p = modulus_of(moduli, r / half).p, s = (u32)shift, g = (u32)turn, count = (u32)size;
    const u32 *first = x + (r / half * 4 * half + 2 * half + r % half) * size, *second = first + half * size;
    u32* to = out + r * size;
    FOREACH_PLACE(i, size) to[i] = turned(first, second, (u32)i, s, g, count, p);
  }
}
