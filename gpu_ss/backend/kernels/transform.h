// Negacyclic number-theoretic transforms of polynomials of degree below N over primes p = 1 mod 2N, in 32-bit words
// for p < 2^30 and in 64-bit words for p < 2^60
// (Cooley and Tukey forward, Gentleman and Sande inverse, with merged twiddles as in Longa and Naehrig,
// "Speeding up the Number Theoretic Transform", 2016; lazy residues as in Harvey, "Faster arithmetic for
// number-theoretic transforms", 2014).
//
// Point k of the result is the value at psi^(2 brv(k) + 1), psi the least primitive 2N-th root of unity. The table
// [4, N] of a prime has psi^brv(k), its quotient, psi^-brv(k), its quotient; place 0, which no stage uses, of the
// last two has 1/N and its quotient.
//
// A polynomial whose upper coefficients are zero is the same in each of its groups after the stages that would
// only add zeros: forward, x may be [.., 2^log_source], and then the stages start at the one whose groups are that
// long.
//
// Stage s works on 2^s groups of N / 2^s neighbours. A launch does the stages first .. first + count - 1, in
// this order forward and in the opposite order inverse. On the GPU count is at most 3 and an item is 2^count
// elements in registers: for what shared memory has no room for, and in 64-bit words (else see blocks_ntt.cu). On the
// CPU a launch does all stages, and an item is a polynomial, which stays in the first-level cache (in 64-bit words in
// the second).
//
// T is a word, V a word or a vector of them. Products by constants and differences are below lazy(p).
#pragma once
#include "wide.h"

FN u32 lazy(u32 p) { return 2 * p; }
FN u64 lazy(u64 p) { return 4 * p; }
FN u32 canonical(u32 x, u32 p) { return reduce_once(x, p); }
FN u64 canonical(u64 x, u64 p) { return reduce_once(reduce_once(x, 2 * p), p); }
FN u32 fetch(u32, const u32* p) { return *p; }
FN u64 fetch(u64, const u64* p) { return *p; }
FN void put(u32* p, u32 x) { *p = x; }
FN void put(u64* p, u64 x) { *p = x; }

#if !SIMT
FN v32 lazy(v32 p) { return 2 * p; }
FN v64 lazy(v64 p) { return 4 * p; }
FN v32 canonical(v32 x, v32 p) { return reduce_once(x, p); }
FN v64 canonical(v64 x, v64 p) { return reduce_once(reduce_once(x, 2 * p), p); }
FN v32 fetch(v32, const u32* p) { return load32(v32(), p); }
FN v64 fetch(v64, const u64* p) { return load(v64(), p); }
FN void put(u32* p, v32 x) { store32(p, x); }
FN void put(u64* p, v64 x) { store(p, x); }
#endif

// x, y < 2 lazy(p) to x + w y, x - w y, again below 2 lazy(p).
template <class V> FN void forward_butterfly(V& x, V& y, V w, V w_quotient, V p) {
  V a = reduce_once(x, lazy(p)), b = times_constant(y, w, w_quotient, p);
  x = a + b;
  y = a - b + lazy(p);
}

// x, y < lazy(p) to x + y, (x - y) w, again below lazy(p).
template <class V> FN void inverse_butterfly(V& x, V& y, V w, V w_quotient, V p) {
  V sum = reduce_once(x + y, lazy(p)), difference = x - y + lazy(p);
  x = sum;
  y = times_constant(difference, w, w_quotient, p);
}

// COUNT stages on 2^COUNT elements; the twiddles of stage d start at 2^d - 1.
template <bool FORWARD, int COUNT, class V> FN void stages(V* x, const V* w, const V* w_quotient, V p) {
  UNROLL for (int step = 0; step < COUNT; step++) {
    const int d = FORWARD ? step : COUNT - 1 - step, half = 1 << (COUNT - 1 - d);
    UNROLL for (int e = 0; e < 1 << (COUNT - 1); e++) {
      const int group = e / half, low = group * 2 * half + e % half, t = (1 << d) - 1 + group;
      if (FORWARD)
        forward_butterfly(x[low], x[low + half], w[t], w_quotient[t], p);
      else
        inverse_butterfly(x[low], x[low + half], w[t], w_quotient[t], p);
    }
  }
}

// The twiddles of group g of stage `first` and of the stages after it.
template <int COUNT, class V, class T>
FN void load_twiddles(V* w, V* w_quotient, const T* table, i64 size, i64 first, i64 g) {
  UNROLL for (int d = 0; d < COUNT; d++)
    UNROLL for (int k = 0; k < 1 << d; k++) {
      const T* at = table + (1ll << (first + d)) + (g << d) + k;
      w[(1 << d) - 1 + k] = splat(V(), at[0]);
      w_quotient[(1 << d) - 1 + k] = splat(V(), at[size]);
    }
}

// Loads, transforms and stores 2^COUNT elements (or vectors of them) that lie `stride` apart.
template <bool FORWARD, int COUNT, class V, class T>
FN void transform_at(const T* x, T* out, i64 stride, const V* w, const V* w_quotient, V p) {
  V v[1 << COUNT];
  UNROLL for (int e = 0; e < 1 << COUNT; e++) v[e] = fetch(V(), x + e * stride);
  stages<FORWARD, COUNT>(v, w, w_quotient, p);
  UNROLL for (int e = 0; e < 1 << COUNT; e++) put(out + e * stride, v[e]);
}

// From lazy to canonical residues: forward from [0, 2 lazy(p)), inverse from [0, lazy(p)) and divided by N.
template <bool FORWARD, class V> FN V finished(V x, V n_inverse, V n_quotient, V p) {
  return canonical(FORWARD ? reduce_once(x, lazy(p)) : times_constant(x, n_inverse, n_quotient, p), p);
}

#if SIMT

template <bool FORWARD, int COUNT, class T>
FN void transform_item(const T* x, T* out, const T* table, T p, i64 log_size, i64 first, i64 rest, i64 source) {
  i64 size = 1ll << log_size, log_stride = log_size - first - COUNT, stride = 1ll << log_stride;
  i64 g = rest >> log_stride, at = (g << (log_size - first)) + (rest & (stride - 1));
  T w[(1 << COUNT) - 1], w_quotient[(1 << COUNT) - 1], v[1 << COUNT];
  load_twiddles<COUNT>(w, w_quotient, table, size, first, g);
  UNROLL for (int e = 0; e < 1 << COUNT; e++) v[e] = x[(at & source) + e * stride];
  stages<FORWARD, COUNT>(v, w, w_quotient, p);
  if (FORWARD ? log_stride == 0 : first == 0)
    UNROLL for (int e = 0; e < 1 << COUNT; e++) v[e] = finished<FORWARD>(v[e], table[0], table[size], p);
  UNROLL for (int e = 0; e < 1 << COUNT; e++) out[at + e * stride] = v[e];
}

// primes: tells `prime_of` a row of x, and which that is (`prime_at`).
template <bool FORWARD, class T, class Primes>
FN void transform(const T* x, T* out, const T* tables, Primes primes, i64 log_size, i64 log_source, i64 first, i64 count,
                  i64 n) {
  i64 source = (1ll << log_source) - 1;
  FOREACH(i, n) {
    i64 row = i >> (log_size - count), rest = i - (row << (log_size - count)), l = prime_of(primes, row);
    const T *table = tables + ((4 * l + (FORWARD ? 0 : 2)) << log_size), *from = x + (row << log_source);
    T *to = out + (row << log_size), p = prime_at(primes, l);
    if (count == 3)
      transform_item<FORWARD, 3>(from, to, table, p, log_size, first, rest, source);
    else if (count == 2)
      transform_item<FORWARD, 2>(from, to, table, p, log_size, first, rest, source);
    else
      transform_item<FORWARD, 1>(from, to, table, p, log_size, first, rest, source);
  }
}

#else

template <class T> struct VectorOf;
template <> struct VectorOf<u32> { typedef v32 Lanes; };
template <> struct VectorOf<u64> { typedef v64 Lanes; };
template <class T> using Lanes = typename VectorOf<T>::Lanes;
template <class T> constexpr int LANES = VECTOR_BYTES / sizeof(T);
template <class T> using EveryLane = std::make_integer_sequence<int, LANES<T>>;

// Lanes of a and b by constant index, b's counted after a's.
template <int... K, class V> FN V shuffled(V a, V b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, K...);
#else
  return __builtin_shuffle(a, b, V{K...});
#endif
}

// Between two vectors of neighbours and two in which equal lanes are D apart: lane k of `a` is a butterfly's
// lower element and lane k of `b` its upper one. Its own inverse.
template <int D, class V, int... K> FN void pair_lanes(V& a, V& b, std::integer_sequence<int, K...>) {
  constexpr int count = sizeof...(K);
  V low = shuffled<(K & D ? count + K - D : K)...>(a, b);
  b = shuffled<(K & D ? count + K : K + D)...>(a, b);
  a = low;
}

// The twiddles for `pair_lanes`: of the 2 LANES / (2 D) groups, those of `a` in lanes without bit D.
template <int D, class T, int... K> FN Lanes<T> spread_lanes(const T* w, std::integer_sequence<int, K...>) {
  constexpr int count = sizeof...(K);
  Lanes<T> x = fetch(Lanes<T>(), w);
  return shuffled<(K / (2 * D) + (K & D ? count / (2 * D) : 0))...>(x, x);
}

// The stages whose groups are shorter than two vectors, down from (forward) or up to (inverse) distance D.
// pair: which 2 LANES elements these are.
template <bool FORWARD, int D, class V, class T>
FN void short_stages(V& a, V& b, const T* table, i64 size, i64 pair, V p) {
  typedef EveryLane<T> Every;
  const T* w = table + size / (2 * D) + pair * (LANES<T> / D);
  if constexpr (!FORWARD && D > 1) short_stages<FORWARD, D / 2>(a, b, table, size, pair, p);
  pair_lanes<D>(a, b, Every());
  if (FORWARD)
    forward_butterfly(a, b, spread_lanes<D>(w, Every()), spread_lanes<D>(w + size, Every()), p);
  else
    inverse_butterfly(a, b, spread_lanes<D>(w, Every()), spread_lanes<D>(w + size, Every()), p);
  pair_lanes<D>(a, b, Every());
  if constexpr (FORWARD && D > 1) short_stages<FORWARD, D / 2>(a, b, table, size, pair, p);
}

template <bool FORWARD, class T> FN void all_short_stages(const T* x, T* out, const T* table, i64 size, Lanes<T> p) {
  typedef Lanes<T> V;
  constexpr int count = LANES<T>;
  for (i64 pair = 0; pair < size / (2 * count); pair++) {
    i64 at = pair * 2 * count;
    V a = fetch(V(), x + at), b = fetch(V(), x + at + count);
    short_stages<FORWARD, count / 2>(a, b, table, size, pair, p);
    if (FORWARD) a = finished<true>(a, p, p, p), b = finished<true>(b, p, p, p);
    put(out + at, a);
    put(out + at + count, b);
  }
}

// COUNT of the stages whose groups are whole vectors. source: which bits of a place count in x.
template <bool FORWARD, int COUNT, class T>
static void long_stages(const T* x, T* out, const T* table, i64 size, i64 first, i64 source, Lanes<T> p) {
  Lanes<T> w[(1 << COUNT) - 1], w_quotient[(1 << COUNT) - 1];
  i64 length = size >> first, stride = length >> COUNT;
  for (i64 g = 0; g < 1ll << first; g++) {
    load_twiddles<COUNT>(w, w_quotient, table, size, first, g);
    for (i64 at = g * length; at < g * length + stride; at += LANES<T>)
      transform_at<FORWARD, COUNT>(x + (at & source), out + at, stride, w, w_quotient, p);
  }
}

template <class T> using StagesFn = void(const T*, T*, const T*, i64, i64, i64, Lanes<T>);

template <class T>
static void forward_polynomial(const T* x, T* out, const T* table, i64 log_size, i64 log_source, Lanes<T> p) {
  static StagesFn<T>* const some[] = {long_stages<true, 1, T>, long_stages<true, 2, T>, long_stages<true, 3, T>};
  i64 size = 1ll << log_size, last = log_size - __builtin_ctz(LANES<T>), source = (1ll << log_source) - 1;
  for (i64 first = log_size - log_source, count; first < last; first += count, x = out, source = -1) {
    count = last - first < 3 ? last - first : 3;
    some[count - 1](x, out, table, size, first, source, p);
  }
  all_short_stages<true>(out, out, table, size, p);
}

template <class T>
static void inverse_polynomial(const T* x, T* out, const T* table, i64 log_size, i64, Lanes<T> p) {
  typedef Lanes<T> V;
  static StagesFn<T>* const some[] = {long_stages<false, 1, T>, long_stages<false, 2, T>, long_stages<false, 3, T>};
  i64 size = 1ll << log_size;
  all_short_stages<false>(x, out, table, size, p);
  for (i64 end = log_size - __builtin_ctz(LANES<T>), count; end > 0; end -= count) {
    count = end < 3 ? end : 3;
    some[count - 1](out, out, table, size, end - count, -1, p);
  }
  V n_inverse = splat(V(), table[0]), n_quotient = splat(V(), table[size]);
  for (i64 i = 0; i < size; i += LANES<T>)
    put(out + i, finished<false>(fetch(V(), out + i), n_inverse, n_quotient, p));
}

// n is the number of polynomials; all stages that are due are done.
template <bool FORWARD, class T, class Primes>
FN void transform(const T* x, T* out, const T* tables, Primes primes, i64 log_size, i64 log_source, i64, i64, i64 n) {
  FOREACH_STEP(row, n, 1, 4) {
    i64 l = prime_of(primes, row), at = row << log_size;
    const T *table = tables + ((4 * l + (FORWARD ? 0 : 2)) << log_size), *from = x + (row << log_source);
    Lanes<T> p = splat(Lanes<T>(), prime_at(primes, l));
    (FORWARD ? forward_polynomial<T> : inverse_polynomial<T>)(from, out + at, table, log_size, log_source, p);
  }
}

#endif
