// Public polynomials and exponentials of opened numbers, chosen by shared bits.
#include "elements.h"
#if !SIMT && defined(__AVX512F__)
#include <immintrin.h>
#endif

// e_j(x) = (-1)^j D^(j)(x) / j! for the coefficients c of D: Horner's scheme, again and again on what it leaves.
template <int DEGREE, class V> FN void taylor_coefficients(V x, const u64* c, V* e) {
  UNROLL for (int i = 0; i <= DEGREE; i++) e[i] = V{} + c[i];
  UNROLL for (int j = 0; j < DEGREE; j++)
    UNROLL for (int i = DEGREE - 1; i >= j; i--) e[i] += x * e[i + 1];
  UNROLL for (int j = 1; j <= DEGREE; j += 2) e[j] = 0 - e[j];
}

// The word at p, or where `other` is set, the one `away` words on.
template <bool TWO, class V> FN V one_of(V other, const u64* p, i64 away) {
  V x = load(V{}, p);
  if constexpr (TWO) x ^= (x ^ load(V{}, p + away)) & other;
  return x;
}

// sum_k b_k D_k(x - r) = sum_kj e_kj(x) (d_k r^j + (1 - 2 d_k) rho_k r^j); c[k] are the coefficients of D_k. With TWO,
// there are two r, and bit `top` of x says which one is meant: the second where it is 0.
template <int DEGREE, bool TWO>
FN void all_piecewise(const u64* x, const u64* bits, const u64* powers, const u64* products, const u64* c, u64* out,
                      i64 terms, i64 most, i64 stride, i64 top, u64 lead, i64 n) {
  const i64 width = (n + 63) / 64;
  each_element(n, HEAVY, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V at = load(V{}, x + i), second = TWO ? (at >> top & 1) - 1 : V{};
    V power[DEGREE + 1];
    power[0] = V{} + (lead & 1);
    UNROLL for (int j = 1; j <= DEGREE; j++) power[j] = one_of<TWO>(second, powers + (j - 1) * n + i, most * n);
    V sum = V{};
    for (i64 k = 0; k < terms; k++) {
      const V d = plane_mask(V{}, bits + k * width, i);
      V e[DEGREE + 1];
      taylor_coefficients<DEGREE>(at, c + k * (DEGREE + 1), e);
      UNROLL for (int j = 0; j <= DEGREE; j++)
        sum += e[j] * times_bit(d, power[j], one_of<TWO>(second, products + (k * stride + j) * n + i, terms * stride * n));
    }
    store(out + i, sum);
  });
}

template <bool TWO>
FN void piecewise_by_degree(const u64* x, const u64* bits, const u64* powers, const u64* products, const u64* c, u64* out,
                            i64 terms, i64 degree, i64 most, i64 stride, i64 top, u64 lead, i64 n) {
  if (degree == 1) all_piecewise<1, TWO>(x, bits, powers, products, c, out, terms, most, stride, top, lead, n);
  if (degree == 2) all_piecewise<2, TWO>(x, bits, powers, products, c, out, terms, most, stride, top, lead, n);
  if (degree == 3) all_piecewise<3, TWO>(x, bits, powers, products, c, out, terms, most, stride, top, lead, n);
  if (degree == 4) all_piecewise<4, TWO>(x, bits, powers, products, c, out, terms, most, stride, top, lead, n);
}

// `most` is the number of powers, `stride` that of products per term; `top` is -1 where there is one r.
KERNEL piecewise(const u64* __restrict__ x, const u64* __restrict__ bits, const u64* __restrict__ powers,
                 const u64* __restrict__ products, const u64* __restrict__ coefficients, u64* __restrict__ out,
                 i64 terms, i64 degree, i64 most, i64 stride, i64 top, u64 lead, i64 n) {
  if (top < 0)
    piecewise_by_degree<false>(x, bits, powers, products, coefficients, out, terms, degree, most, stride, 0, lead, n);
  else
    piecewise_by_degree<true>(x, bits, powers, products, coefficients, out, terms, degree, most, stride, top, lead, n);
}

FN u64 look_up(const u64* table, u64 at) { return table[at]; }

#if !SIMT
FN v64 look_up(const u64* table, v64 at) {
  v64 r;
  UNROLL for (int k = 0; k < LANES64; k++) r[k] = table[at[k]];
  return r;
}
#endif

constexpr int MOST_ENTRIES = 4096;  // of a table

template <class V> FN V turned_right(V x, V by) { return (x >> (by & 63)) | (x << ((0 - by) & 63)); }

// sum_e unit bit (h - e) mod 64 times fraction 2^(e + scale - 30), rounded half up, for e = low .. low + 63.
//
// Turning the unit vector by h - low + 1 makes bit t belong to the exponent low + 63 - t, in every lane. Modulo
// 2^64 nothing is left of a fraction shifted up by 64 or more; below -32 it rounds to 0.
KERNEL exp_lookup(const u64* __restrict__ x, const u64* __restrict__ unit, const u64* __restrict__ fractions,
                  u64* __restrict__ out, i64 frac, i64 scale, i64 low, u64 lead, i64 n) {
  const i64 top = low + 63 + scale - 30;  // shift of the exponent at t = 0
  const int first = (int)(top < 63 ? top : 63), last = (int)(top - 63 > -32 ? top - 63 : -32);
  each_element(n, HEAVY, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V number = load(V{}, x + i), fraction = look_up(fractions, number & ~(~0ull << frac));
    V bits = turned_right(load(V{}, unit + i), (number >> frac) - (u64)low + 1) >> ((top - first) & 63);
    V sum = V{};
    for (int shift = first; shift >= last; shift--, bits >>= 1) {
      const V power = shift < 0 ? (fraction + (1ull << (-shift - 1))) >> -shift : fraction << shift;
      sum += power & (0 - (bits & 1));
    }
    store(out + i, lead ? sum : 0 - sum);
  });
}

// The gated product of the exponential gadget: E = K (opened - 2^(look_bits - 2)) - K mu + [mask wrapped] third.
KERNEL exp_finish(const u64* __restrict__ opened, const u64* __restrict__ d, const u64* __restrict__ shares,
                  u64* __restrict__ out, i64 look_bits, i64 n) {
  each_element(n, LIGHT, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V sum = load(V{}, opened + i);
    V e[2];
    UNROLL for (int k = 0; k < 2; k++) {
      const u64* s = shares + 3 * k * n + i;
      e[k] = times_opened(load(V{}, s), load(V{}, s + 2 * n), sum, look_bits) + load(V{}, s + n);
    }
    store(out + i, times_bit(plane_mask(V{}, d, i), e[0], e[1]));
  });
}

// sum of words[63 - k] over the set bits k.
template <class V> FN V sum_where(V bits, const u64* words, const u64*) {
  V sum = V{};
  for (int t = 63; t >= 0; t--, bits >>= 1) sum += words[t] & (0 - (bits & 1));
  return sum;
}

#if !SIMT && defined(__AVX512F__)

// The same in fewer steps: four bits choose one of 16 sums. Those are in registers, so no address tells the bits.
constexpr int NIBBLE_SUMS = 256;

FN void sums_of_nibbles(const u64* words, u64* sums) {
  for (int k = 0; k < NIBBLE_SUMS; k++) {
    sums[k] = 0;
    for (int q = 0; q < 4; q++) sums[k] += words[63 - k / 16 * 4 - q] & (0 - (u64)(k >> q & 1));
  }
}

FN v64 sum_where(v64 bits, const u64*, const u64* sums) {
  v64 sum{};
  UNROLL for (int g = 0; g < 16; g++) {
    const u64* of = sums + 16 * g;
    sum += (v64)_mm512_permutex2var_epi64((__m512i)load(v64{}, of), (__m512i)(bits >> 4 * g), (__m512i)load(v64{}, of + 8));
  }
  return sum;
}

#else

constexpr int NIBBLE_SUMS = 0;

FN void sums_of_nibbles(const u64*, u64*) {}

#endif

// Of unit bits at entries j, the sum of table words (x - j) mod 64 COUNT. Read backwards from x, bits come in the
// table's order: those of block b are 64 bits that end at entry x - 64 b.
template <int COUNT>
FN void all_table_sums(const u64* x, const u64* unit, const u64* table, u64* out, i64 n) {
  u64 nibble_sums[NIBBLE_SUMS * COUNT + 1];
  for (int b = 0; b < (NIBBLE_SUMS ? COUNT : 0); b++) sums_of_nibbles(table + 64 * b, nibble_sums + NIBBLE_SUMS * b);
  const u64* const sums = nibble_sums;
  each_element(n, HEAVY, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V number = load(V{}, x + i), at = number & 63, block = number >> 6;
    V words[COUNT];
    UNROLL for (int k = 0; k < COUNT; k++) words[k] = load(V{}, unit + k * n + i);
    V sum = V{};
    for (int b = 0; b < COUNT; b++) {
      V low = V{}, high = V{};
      UNROLL for (int k = 0; k < COUNT; k++) {
        const V away = (block - (u64)(b + k)) & (u64)(COUNT - 1);  // 0: this is the word that x - 64 b is in
        high += words[k] & (((away + (~0ull >> 1)) >> 63) - 1);
        low += words[k] & ((((away ^ (u64)(1 % COUNT)) + (~0ull >> 1)) >> 63) - 1);
      }
      sum += sum_where((high << (63 - at)) | (low >> at >> 1), table + 64 * b, sums + NIBBLE_SUMS * b);
    }
    store(out + i, sum);
  });
}

KERNEL table_sums(const u64* __restrict__ x, const u64* __restrict__ unit, const u64* __restrict__ table,
                  u64* __restrict__ out, i64 count, i64 n) {
  if (count == 1) all_table_sums<1>(x, unit, table, out, n);
  if (count == 2) all_table_sums<2>(x, unit, table, out, n);
  if (count == 4) all_table_sums<4>(x, unit, table, out, n);
  if (count == 8) all_table_sums<8>(x, unit, table, out, n);
}

// The same for tables whose unit vectors do not fit in registers.
#if SIMT

// Each word is read where it is needed, at an address that the opened number tells.
KERNEL large_table_sums(const u64* __restrict__ x, const u64* __restrict__ unit, const u64* __restrict__ table,
                        u64* __restrict__ out, i64 count, i64 n) {
  const u64 last = (u64)count - 1;
  FOREACH(i, n) {
    const u64 at = x[i] & 63, block = x[i] >> 6;
    u64 sum = 0;
    for (i64 b = 0; b < count; b++) {
      const u64 high = unit[((block - b) & last) * n + i], low = unit[((block - b - 1) & last) * n + i];
      u64 bits = (high << (63 - at)) | (low >> at >> 1);
      for (int t = 63; t >= 0; t--, bits >>= 1) sum += table[64 * b + t] & (0 - (bits & 1));
    }
    out[i] = sum;
  }
}

#else

// Lanes are entries here, and not elements: bits stay where they are, and the table is read backwards from x on. Twice
// in a row, so that no entry is past its end.
KERNEL large_table_sums(const u64* __restrict__ x, const u64* __restrict__ unit, const u64* __restrict__ table,
                        u64* __restrict__ out, i64 count, i64 n) {
  const u64 size = 64 * (u64)count;
  u64 backwards[2 * MOST_ENTRIES];
  for (u64 k = 0; k < 2 * size; k++) backwards[k] = table[(0 - k) & (size - 1)];
  const u64* const entries = backwards;
  FOREACH_STEP(i, n, 1, HEAVY / count) {
    const u64* from = entries + ((0 - x[i]) & (size - 1));
    v64 sum{}, more{};
    for (i64 b = 0; b < count; b++, from += 64) {
      const u64 bits = unit[b * n + i];
      UNROLL for (int t = 0; t < 64; t += 2 * LANES64) {
        sum += load(v64{}, from + t) & lanes_of(bits >> t);
        more += load(v64{}, from + t + LANES64) & lanes_of(bits >> t >> LANES64);
      }
    }
    sum += more;
    u64 total = 0;
    UNROLL for (int k = 0; k < LANES64; k++) total += sum[k];
    out[i] = total;
  }
}

#endif
