// Negacyclic number-theoretic transforms of polynomials of degree below N over primes p = 1 mod 2N, p < 2^30
// (Cooley and Tukey forward, Gentleman and Sande inverse, with merged twiddles as in Longa and Naehrig,
// "Speeding up the Number Theoretic Transform", 2016; lazy residues as in Harvey, "Faster arithmetic for
// number-theoretic transforms", 2014).
//
// x and out are [primes, polys, N]. Point k of the result is the value at psi^(2 brv(k) + 1), psi the least
// primitive 2N-th root of unity. The table [primes, 4, N] has psi^brv(k), its quotient, psi^-brv(k), its
// quotient; place 0, which no stage uses, of the last two has 1/N and its quotient.
//
// A polynomial whose upper coefficients are zero is the same in each of its groups after the stages that would
// only add zeros: forward, x may be [primes, polys, 2^log_source], and then the stages start at the one whose
// groups are that long.
//
// Stage s works on 2^s groups of N / 2^s neighbours. A launch does the stages first .. first + count - 1, in
// this order forward and in the opposite order inverse. On the GPU count is at most 3 and an item is 2^count
// elements in registers; that is for polynomials that shared memory has no room for (blocks_ntt.cu). On the CPU a
// launch does all stages, and an item is a polynomial, which stays in the first-level cache.
#include "butterflies.h"

// Loads, transforms and stores 2^COUNT elements (or vectors of them) that lie `stride` apart.
template <bool FORWARD, int COUNT, class V>
FN void transform_at(const u32* x, u32* out, i64 stride, const V* w, const V* w_quotient, V p) {
  V v[1 << COUNT];
  UNROLL for (int e = 0; e < 1 << COUNT; e++) v[e] = load32(V(), x + e * stride);
  stages<FORWARD, COUNT>(v, w, w_quotient, p);
  UNROLL for (int e = 0; e < 1 << COUNT; e++) store32(out + e * stride, v[e]);
}

#if SIMT

template <bool FORWARD, int COUNT>
FN void transform_item(const u32* x, u32* out, const u32* table, u32 p, i64 log_size, i64 first, i64 rest, i64 source) {
  i64 size = 1ll << log_size, log_stride = log_size - first - COUNT, stride = 1ll << log_stride;
  i64 g = rest >> log_stride, at = (g << (log_size - first)) + (rest & (stride - 1));
  u32 w[(1 << COUNT) - 1], w_quotient[(1 << COUNT) - 1], v[1 << COUNT];
  load_twiddles<COUNT>(w, w_quotient, table, size, first, g);
  UNROLL for (int e = 0; e < 1 << COUNT; e++) v[e] = x[(at & source) + e * stride];
  stages<FORWARD, COUNT>(v, w, w_quotient, p);
  if (FORWARD ? log_stride == 0 : first == 0)
    UNROLL for (int e = 0; e < 1 << COUNT; e++) v[e] = finished<FORWARD>(v[e], table[0], table[size], p);
  UNROLL for (int e = 0; e < 1 << COUNT; e++) out[at + e * stride] = v[e];
}

template <bool FORWARD>
FN void transform(const u32* x, u32* out, const u32* tables, const u32* moduli, i64 polys, i64 log_size,
                  i64 log_source, i64 first, i64 count, i64 n) {
  i64 source = (1ll << log_source) - 1;
  FOREACH(i, n) {
    i64 row = i >> (log_size - count), rest = i - (row << (log_size - count)), l = row / polys;
    const u32 *table = tables + ((4 * l + (FORWARD ? 0 : 2)) << log_size), *from = x + (row << log_source);
    u32 *to = out + (row << log_size), p = modulus_of(moduli, l).p;
    if (count == 3)
      transform_item<FORWARD, 3>(from, to, table, p, log_size, first, rest, source);
    else if (count == 2)
      transform_item<FORWARD, 2>(from, to, table, p, log_size, first, rest, source);
    else
      transform_item<FORWARD, 1>(from, to, table, p, log_size, first, rest, source);
  }
}

#else

constexpr int LOG_LANES = __builtin_ctz(LANES32);

#if defined(__clang__)
#define SHUFFLE32(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE32(a, b, ...) __builtin_shuffle(a, b, v32{__VA_ARGS__})
#endif

// Between two vectors of neighbours and two in which equal lanes are D apart: lane k of `a` is a butterfly's
// lower element and lane k of `b` its upper one. Its own inverse.
template <int D, int... K> FN void pair_lanes(v32& a, v32& b, std::integer_sequence<int, K...>) {
  v32 low = SHUFFLE32(a, b, (K & D ? LANES32 + K - D : K)...);
  b = SHUFFLE32(a, b, (K & D ? LANES32 + K : K + D)...);
  a = low;
}

// The twiddles for `pair_lanes`: of the 2 LANES32 / (2 D) groups, those of `a` in lanes without bit D.
template <int D, int... K> FN v32 spread_lanes(const u32* w, std::integer_sequence<int, K...>) {
  v32 x = load32(v32(), w);
  return SHUFFLE32(x, x, (K / (2 * D) + (K & D ? LANES32 / (2 * D) : 0))...);
}

typedef std::make_integer_sequence<int, LANES32> Lanes;

// The stages whose groups are shorter than two vectors, down from (forward) or up to (inverse) distance D.
// pair: which 2 LANES32 elements these are.
template <bool FORWARD, int D> FN void short_stages(v32& a, v32& b, const u32* table, i64 size, i64 pair, v32 p) {
  const u32* w = table + size / (2 * D) + pair * (LANES32 / D);
  if constexpr (!FORWARD && D > 1) short_stages<FORWARD, D / 2>(a, b, table, size, pair, p);
  pair_lanes<D>(a, b, Lanes());
  if (FORWARD)
    forward_butterfly(a, b, spread_lanes<D>(w, Lanes()), spread_lanes<D>(w + size, Lanes()), p);
  else
    inverse_butterfly(a, b, spread_lanes<D>(w, Lanes()), spread_lanes<D>(w + size, Lanes()), p);
  pair_lanes<D>(a, b, Lanes());
  if constexpr (FORWARD && D > 1) short_stages<FORWARD, D / 2>(a, b, table, size, pair, p);
}

template <bool FORWARD> FN void all_short_stages(const u32* x, u32* out, const u32* table, i64 size, v32 p) {
  for (i64 pair = 0; pair < size / (2 * LANES32); pair++) {
    i64 at = pair * 2 * LANES32;
    v32 a = load32(v32(), x + at), b = load32(v32(), x + at + LANES32);
    short_stages<FORWARD, LANES32 / 2>(a, b, table, size, pair, p);
    if (FORWARD) a = finished<true>(a, p, p, p), b = finished<true>(b, p, p, p);
    store32(out + at, a);
    store32(out + at + LANES32, b);
  }
}

// COUNT of the stages whose groups are whole vectors. source: which bits of a place count in x.
template <bool FORWARD, int COUNT>
static void long_stages(const u32* x, u32* out, const u32* table, i64 size, i64 first, i64 source, v32 p) {
  v32 w[(1 << COUNT) - 1], w_quotient[(1 << COUNT) - 1];
  i64 length = size >> first, stride = length >> COUNT;
  for (i64 g = 0; g < 1ll << first; g++) {
    load_twiddles<COUNT>(w, w_quotient, table, size, first, g);
    for (i64 at = g * length; at < g * length + stride; at += LANES32)
      transform_at<FORWARD, COUNT>(x + (at & source), out + at, stride, w, w_quotient, p);
  }
}

typedef void StagesFn(const u32*, u32*, const u32*, i64, i64, i64, v32);

static void forward_polynomial(const u32* x, u32* out, const u32* table, i64 log_size, i64 log_source, v32 p) {
  static StagesFn* const some[] = {long_stages<true, 1>, long_stages<true, 2>, long_stages<true, 3>};
  i64 size = 1ll << log_size, last = log_size - LOG_LANES, source = (1ll << log_source) - 1;
  for (i64 first = log_size - log_source, count; first < last; first += count, x = out, source = -1) {
    count = last - first < 3 ? last - first : 3;
    some[count - 1](x, out, table, size, first, source, p);
  }
  all_short_stages<true>(out, out, table, size, p);
}

static void inverse_polynomial(const u32* x, u32* out, const u32* table, i64 log_size, i64, v32 p) {
  static StagesFn* const some[] = {long_stages<false, 1>, long_stages<false, 2>, long_stages<false, 3>};
  i64 size = 1ll << log_size;
  all_short_stages<false>(x, out, table, size, p);
  for (i64 end = log_size - LOG_LANES, count; end > 0; end -= count) {
    count = end < 3 ? end : 3;
    some[count - 1](out, out, table, size, end - count, -1, p);
  }
  v32 n_inverse = splat(v32(), table[0]), n_quotient = splat(v32(), table[size]);
  for (i64 i = 0; i < size; i += LANES32)
    store32(out + i, finished<false>(load32(v32(), out + i), n_inverse, n_quotient, p));
}

// n is the number of polynomials; all stages that are due are done.
template <bool FORWARD>
FN void transform(const u32* x, u32* out, const u32* tables, const u32* moduli, i64 polys, i64 log_size,
                  i64 log_source, i64, i64, i64 n) {
  FOREACH_STEP(row, n, 1, 4) {
    i64 l = row / polys;
    const u32* table = tables + ((4 * l + (FORWARD ? 0 : 2)) << log_size);
    v32 p = splat(v32(), modulus_of(moduli, l).p);
    i64 at = row << log_size;
    const u32* from = x + (row << log_source);
    (FORWARD ? forward_polynomial : inverse_polynomial)(from, out + at, table, log_size, log_source, p);
  }
}

#endif

KERNEL ntt_forward(const u32* __restrict__ x, u32* __restrict__ out, const u32* __restrict__ tables,
                   const u32* __restrict__ moduli, i64 polys, i64 log_size, i64 log_source, i64 first, i64 count,
                   i64 n) {
  transform<true>(x, out, tables, moduli, polys, log_size, log_source, first, count, n);
}

KERNEL ntt_inverse(const u32* __restrict__ x, u32* __restrict__ out, const u32* __restrict__ tables,
                   const u32* __restrict__ moduli, i64 polys, i64 log_size, i64 log_source, i64 first, i64 count,
                   i64 n) {
  transform<false>(x, out, tables, moduli, polys, log_size, log_source, first, count, n);
}
