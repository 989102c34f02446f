// Boolean circuits on bit planes [planes, words]: products of mask bits, comparison of digits, tree nodes, AND.
//
// Evaluation on shares rests on one step. A factor x = o ^ a has o open and a mask a; a_S is the product of the
// masks in a set S, shared for every S, a_{} = 1 as `lead`. Then a_S x = (o & a_S) ^ a_(S+a): one factor less, two
// sets more. Templates unfold a formula so from its last factor to the first, with S a compile-time constant:
// every product is read once, and few values wait for others. A value V is one word, or a register of neighbouring
// words on the CPU.
#include "lanes.h"

// On the CPU results with many rows are computed in runs of words, row by row: so few places in memory are worked
// at together that the processor can fetch ahead. On the GPU a run is one word, and neighbouring threads have
// neighbouring words.
#if SIMT
#define FOREACH_RUN(t, count, width, from) FOREACH(t, (count) * (width))
#else
#define RUN 256
#define FOREACH_RUN(t, count, width, from) \
  FOREACH_STEP(t, (count) * (((width) + RUN - 1) / RUN), 1, (from) / RUN)
#endif

// How many words must be read or written before a second thread pays.
constexpr i64 WORTH = 1 << 16;

struct Run {
  i64 row, first, words;
};

FN Run run_of(i64 t, i64 count, i64 width) {
#if SIMT
  return {t / width, t % width, 1};
#else
  i64 first = t / count * RUN;
  return {t % count, first, width - first < RUN ? width - first : RUN};
#endif
}

// The few words after the last whole vector: compilers shall not make a second vector version of them.
#if SIMT
#define ONE_BY_ONE
#else
#define ONE_BY_ONE asm volatile("");
#endif

template <class V> FN V plane(const u64* at, i64 k, i64 stride) { return load(V{}, at + k * stride); }

FN int lowest_bit(u64 x) {
#if defined(__CUDA_ARCH__)
  return __ffsll((i64)x) - 1;
#else
  return __builtin_ctzll(x);
#endif
}

// Products of planes.

// Stores p * (product of the bits in T) for every T made of the set S and bits below K; T = {} is no row.
template <int K, int S, class V> FN void store_products(const V* bits, V p, u64* out, i64 stride) {
  if constexpr (K > 0) {
    store_products<K - 1, S>(bits, p, out, stride);
    store_products<K - 1, S | 1 << (K - 1)>(bits, S ? p & bits[K - 1] : bits[K - 1], out, stride);
  } else if constexpr (S > 0) {
    store(out + (S - 1) * stride, p);
  }
}

template <int B, class V> FN void digit_products(const u64* planes, u64* out, i64 stride) {
  V bits[B];
  UNROLL for (int k = 0; k < B; k++) bits[k] = plane<V>(planes, k, stride);
  store_products<B, 0>(bits, V{}, out, stride);
}

template <int B = 9> FN void run_products(i64 b, const u64* planes, u64* out, i64 words, i64 stride) {
  if constexpr (B > 1)
    if (b < B) return run_products<B - 1>(b, planes, out, words, stride);
  i64 whole = WHOLE_LANES64(words);
  for (i64 i = 0; i < whole; i += LANES64) digit_products<B, v64>(planes + i, out + i, stride);
  for (i64 i = whole; i < words; i++) {
    ONE_BY_ONE
    digit_products<B, u64>(planes + i, out + i, stride);
  }
}

// `digits`: of each digit the bits, the first bit and the first row of products; then a row of their ends.
KERNEL digit_monomials(const u64* __restrict__ planes, const u64* __restrict__ digits, u64* __restrict__ out,
                       i64 count, i64 n) {
  i64 words = n / count;
  FOREACH_RUN(t, count, words, WORTH * count / (i64)digits[3 * count + 2]) {
    Run run = run_of(t, count, words);
    const u64* digit = digits + 3 * run.row;
    run_products((i64)digit[0], planes + digit[1] * words + run.first, out + digit[2] * words + run.first,
                 run.words, words);
  }
}

// The product of the planes in a set that is known at run time only.
template <class V> FN V subset_product(const u64* planes, u64 subset, i64 stride) {
  V p = plane<V>(planes, lowest_bit(subset), stride);
  for (u64 rest = subset & (subset - 1); rest; rest &= rest - 1) p &= plane<V>(planes, lowest_bit(rest), stride);
  return p;
}

KERNEL plane_products(const u64* __restrict__ planes, const u64* __restrict__ subsets, u64* __restrict__ out,
                      i64 count, i64 n) {
  i64 words = n / count;
  FOREACH_RUN(t, count, words, WORTH / 4) {
    Run run = run_of(t, count, words);
    const u64* from = planes + run.first;
    u64 *to = out + run.row * words + run.first, subset = subsets[run.row];
    i64 whole = WHOLE_LANES64(run.words);
    for (i64 i = 0; i < whole; i += LANES64) store(to + i, subset_product<v64>(from + i, subset, words));
    for (i64 i = whole; i < run.words; i++) {
      ONE_BY_ONE
      store(to + i, subset_product<u64>(from + i, subset, words));
    }
  }
}

// Comparison of digits.

// Shares of a_S, a_S [c < r] and a_S [c == r].
template <class V> struct Compared {
  V raw, lt, eq;
};

// The lowest K bits of public c and shared r, S a set of higher bits of r; flip[k] = ~c_k.
//   [c < r] = ~c_k r_k + [c_k == r_k] [c < r on the bits below k],   [c_k == r_k] = ~c_k + r_k
template <int K, int S, class V>
FN Compared<V> compare(const V* flip, const u64* basis, i64 stride, u64 lead) {
  if constexpr (K > 0) {
    Compared<V> without = compare<K - 1, S>(flip, basis, stride, lead);
    Compared<V> with = compare<K - 1, S | 1 << (K - 1)>(flip, basis, stride, lead);
    V f = flip[K - 1];
    return {without.raw, (f & (with.raw ^ without.lt)) ^ with.lt, (f & without.eq) ^ with.eq};
  } else if constexpr (S > 0) {
    V raw = plane<V>(basis, S - 1, stride);
    return {raw, V{}, raw};
  } else {
    return {lead + V{}, V{}, lead + V{}};
  }
}

// `lt` and `eq` are where the results go; there may be no `eq`.
template <int B, class V>
FN void compare_digit(const u64* c, i64 c_stride, const u64* basis, i64 stride, u64* lt, u64* eq, u64 lead) {
  V flip[B];
  UNROLL for (int k = 0; k < B; k++) flip[k] = ~plane<V>(c, k, c_stride);
  Compared<V> result = compare<B, 0>(flip, basis, stride, lead);
  store(lt, result.lt);
  if (eq) store(eq, result.eq);
}

template <int B = 9>
FN void compare_run(i64 b, const u64* c, i64 c_stride, const u64* basis, i64 stride, u64* lt, u64* eq, u64 lead,
                    i64 words) {
  if constexpr (B > 1)
    if (b < B) return compare_run<B - 1>(b, c, c_stride, basis, stride, lt, eq, lead, words);
  i64 whole = WHOLE_LANES64(words);
  for (i64 i = 0; i < whole; i += LANES64)
    compare_digit<B, v64>(c + i, c_stride, basis + i, stride, lt + i, eq ? eq + i : eq, lead);
  for (i64 i = whole; i < words; i++) {
    ONE_BY_ONE
    compare_digit<B, u64>(c + i, c_stride, basis + i, stride, lt + i, eq ? eq + i : eq, lead);
  }
}

// `digits` as for digit_monomials; several numbers of `words` words each are compared with the same basis.
KERNEL digit_compare(const u64* __restrict__ c, const u64* __restrict__ basis, const u64* __restrict__ digits,
                     u64* __restrict__ out, i64 words, i64 count, u64 lead, i64 n) {
  i64 all = n / count, parts = n / words;
  FOREACH_RUN(t, parts, words, WORTH * count / (i64)digits[3 * count + 2]) {
    Run run = run_of(t, parts, words);
    i64 k = run.row % count, at = run.row / count * words + run.first;
    const u64* digit = digits + 3 * k;
    compare_run((i64)digit[0], c + digit[1] * all + at, all, basis + digit[2] * words + run.first, words,
                out + k * all + at, k ? out + (count + k - 1) * all + at : nullptr, lead, run.words);
  }
}

// AND and tree nodes. `basis` has shares of the masks, then of the products of two and more of them, as sets in
// ascending order; which row of the products it is does not depend on how many masks there are. So one template
// serves all sizes, and leaves where S = {} and the planes end.

FN constexpr int members(int set) { return set ? (set & 1) + members(set >> 1) : 0; }
FN constexpr int lowest_member(int set) { return set & 1 ? 0 : 1 + lowest_member(set >> 1); }

// The AND of `fan_in` planes (`and_subsets`).
struct And {
  const u64 *opened, *masks, *products;
  i64 fan_in, stride;
  u64 lead;
};

FN constexpr int and_row(int set) {
  int row = 0;
  for (int s = 1; s < set; s++) row += members(s) > 1;
  return row;
}

// a_S times the AND of the first K planes, or of all if there are fewer.
template <int K, int S, class V> FN V conjunction(const And& in, i64 i) {
  if constexpr (K > 0) {
    V without = conjunction<K - 1, S, V>(in, i);
    if (S == 0 && K > in.fan_in) return without;
    V with = conjunction<K - 1, S | 1 << (K - 1), V>(in, i);
    return (plane<V>(in.opened + i, K - 1, in.stride) & without) ^ with;
  } else if constexpr (members(S) > 1) {
    constexpr int row = and_row(S);
    return plane<V>(in.products + i, row, in.stride);
  } else if constexpr (S > 0) {
    constexpr int row = lowest_member(S);
    return plane<V>(in.masks + i, row, in.stride);
  } else {
    return in.lead + V{};
  }
}

KERNEL all_of(const u64* __restrict__ opened, const u64* __restrict__ basis, u64* __restrict__ out, i64 fan_in,
              u64 lead, i64 n) {
  And in = {opened, basis, basis + fan_in * n, fan_in, n, lead};
  i64 whole = WHOLE_LANES64(n);
  FOREACH_LANES64(i, whole, WORTH >> fan_in) store(out + i, conjunction<8, 0, v64>(in, i));
  FOREACH_REST(i, whole, n) {
    ONE_BY_ONE
    store(out + i, conjunction<8, 0, u64>(in, i));
  }
}

// A node joins `arity` digits. Its inputs are lt_0 .., eq_1 .. and, where it computes equality, eq_0; members of
// a set are in this order (`node_subsets`). So the products are, for each set S of eq_1 (bit 0) and up, itself and
// S with lt_d for every digit d below its members; after all those each S with eq_0.
struct Node {
  const u64 *lt, *eq, *eq_0;                 // open, eq from eq_1 on
  const u64 *lt_mask, *eq_mask, *eq_0_mask;  // shares
  const u64 *products, *eq_0_products;
  i64 arity, stride;
  u64 lead;
};

FN constexpr int products_before(int set) {
  int row = 0;
  for (int s = 1; s < set; s++) row += (members(s) > 1) + lowest_member(s) + 1;
  return row;
}

template <int S, class V> FN V eq_product(const Node& in, i64 i) {
  if constexpr (members(S) > 1) {
    constexpr int row = products_before(S);
    return plane<V>(in.products + i, row, in.stride);
  } else if constexpr (S > 0) {
    constexpr int row = lowest_member(S);
    return plane<V>(in.eq_mask + i, row, in.stride);
  } else {
    return in.lead + V{};
  }
}

template <int S, int D, class V> FN V lt_product(const Node& in, i64 i) {
  if constexpr (S > 0) {
    constexpr int row = products_before(S) + (members(S) > 1) + D;
    return plane<V>(in.products + i, row, in.stride);
  } else {
    return plane<V>(in.lt_mask + i, D, in.stride);
  }
}

template <int S, class V> FN V eq_0_product(const Node& in, i64 i) {
  return S ? plane<V>(in.eq_0_products + i, S - 1, in.stride) : load(V{}, in.eq_0_mask + i);
}

// Digits 0 .. D joined, or all if there are fewer, times a_S, S of eq's of higher digits.
//   lt = lt_D + eq_D [lt of the digits below D],   eq = eq_D [eq of the digits below D]
template <bool EQ, int D, int S, class V> FN Compared<V> join(const Node& in, i64 i) {
  if constexpr (D > 0) {
    Compared<V> without = join<EQ, D - 1, S, V>(in, i);
    if (S == 0 && D >= in.arity) return without;
    Compared<V> with = join<EQ, D - 1, S | 1 << (D - 1), V>(in, i);
    V lt = plane<V>(in.lt + i, D, in.stride), eq = plane<V>(in.eq + i, D - 1, in.stride);
    return {without.raw, (lt & without.raw) ^ lt_product<S, D, V>(in, i) ^ (eq & without.lt) ^ with.lt,
            (eq & without.eq) ^ with.eq};
  } else {
    V raw = eq_product<S, V>(in, i), eq_0 = V{};
    if constexpr (EQ) eq_0 = (load(V{}, in.eq_0 + i) & raw) ^ eq_0_product<S, V>(in, i);
    return {raw, (load(V{}, in.lt + i) & raw) ^ lt_product<S, 0, V>(in, i), eq_0};
  }
}

template <bool EQ, class V> FN void join_digits(const Node& in, i64 i, u64* out) {
  Compared<V> joint = join<EQ, 7, 0, V>(in, i);
  store(out + i, joint.lt);
  if constexpr (EQ) store(out + in.stride + i, joint.eq);
}

// `rows` is how many the basis has.
template <bool EQ>
FN void join_words(const u64* opened, const u64* basis, u64* out, i64 arity, i64 rows, u64 lead, i64 n) {
  i64 eq = arity * n, eq_0 = (2 * arity - 1) * n, sets = (1 << (arity - 1)) - 1;
  const u64* products = basis + eq_0 + EQ * n;
  Node in = {opened, opened + eq, opened + eq_0, basis, basis + eq, basis + eq_0, products,
             basis + (rows - sets) * n, arity, n, lead};
  i64 whole = WHOLE_LANES64(n);
  FOREACH_LANES64(i, whole, WORTH / rows) join_digits<EQ, v64>(in, i, out);
  FOREACH_REST(i, whole, n) {
    ONE_BY_ONE
    join_digits<EQ, u64>(in, i, out);
  }
}

KERNEL node(const u64* __restrict__ opened, const u64* __restrict__ basis, u64* __restrict__ out, i64 arity,
            i64 rows, u64 lead, i64 n) {
  join_words<false>(opened, basis, out, arity, rows, lead, n);
}

KERNEL node_with_eq(const u64* __restrict__ opened, const u64* __restrict__ basis, u64* __restrict__ out,
                    i64 arity, i64 rows, u64 lead, i64 n) {
  join_words<true>(opened, basis, out, arity, rows, lead, n);
}
