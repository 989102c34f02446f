// Public polynomials and exponentials of opened numbers, chosen by shared bits.
#include "elements.h"

// e_j(x) = (-1)^j D^(j)(x) / j! for the coefficients c of D: Horner's scheme, again and again on what it leaves.
template <int DEGREE, class V> FN void taylor_coefficients(V x, const u64* c, V* e) {
  UNROLL for (int i = 0; i <= DEGREE; i++) e[i] = V{} + c[i];
  UNROLL for (int j = 0; j < DEGREE; j++)
    UNROLL for (int i = DEGREE - 1; i >= j; i--) e[i] += x * e[i + 1];
  UNROLL for (int j = 1; j <= DEGREE; j += 2) e[j] = 0 - e[j];
}

// sum_k b_k D_k(x - r) = sum_kj e_kj(x) (d_k r^j + (1 - 2 d_k) rho_k r^j); c[k] are the coefficients of D_k.
template <int DEGREE>
FN void all_piecewise(const u64* x, const u64* bits, const u64* powers, const u64* products, const u64* c, u64* out,
                      i64 terms, i64 stride, u64 lead, i64 n) {
  const i64 width = (n + 63) / 64;
  each_element(n, HEAVY, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V at = load(V{}, x + i);
    V power[DEGREE + 1];
    power[0] = V{} + (lead & 1);
    UNROLL for (int j = 1; j <= DEGREE; j++) power[j] = load(V{}, powers + (j - 1) * n + i);
    V sum = V{};
    for (i64 k = 0; k < terms; k++) {
      const V d = plane_mask(V{}, bits + k * width, i);
      V e[DEGREE + 1];
      taylor_coefficients<DEGREE>(at, c + k * (DEGREE + 1), e);
      UNROLL for (int j = 0; j <= DEGREE; j++)
        sum += e[j] * times_bit(d, power[j], load(V{}, products + (k * stride + j) * n + i));
    }
    store(out + i, sum);
  });
}

// `stride` is the number of products per term.
KERNEL piecewise(const u64* __restrict__ x, const u64* __restrict__ bits, const u64* __restrict__ powers,
                 const u64* __restrict__ products, const u64* __restrict__ coefficients, u64* __restrict__ out,
                 i64 terms, i64 degree, i64 stride, u64 lead, i64 n) {
  if (degree == 1) all_piecewise<1>(x, bits, powers, products, coefficients, out, terms, stride, lead, n);
  if (degree == 2) all_piecewise<2>(x, bits, powers, products, coefficients, out, terms, stride, lead, n);
  if (degree == 3) all_piecewise<3>(x, bits, powers, products, coefficients, out, terms, stride, lead, n);
  if (degree == 4) all_piecewise<4>(x, bits, powers, products, coefficients, out, terms, stride, lead, n);
}

FN u64 look_up(const u64* table, u64 at) { return table[at]; }

#if !SIMT
FN v64 look_up(const u64* table, v64 at) {
  v64 r;
  UNROLL for (int k = 0; k < LANES64; k++) r[k] = table[at[k]];
  return r;
}
#endif

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
    const V sum = load(V{}, opened + i), value = sum - (1ull << (look_bits - 2));
    const V wrapped = 1 - (sum >> (look_bits - 1));
    V e[2];
    UNROLL for (int k = 0; k < 2; k++) {
      const u64* s = shares + 3 * k * n + i;
      e[k] = load(V{}, s) * value + load(V{}, s + n) + load(V{}, s + 2 * n) * wrapped;
    }
    store(out + i, times_bit(plane_mask(V{}, d, i), e[0], e[1]));
  });
}

// Of unit bits at entries j, the sum of table words (x - j) mod 64 COUNT. Read backwards from x, bits come in the
// table's order: those of block b are 64 bits that end at entry x - 64 b.
template <int COUNT>
FN void all_table_sums(const u64* x, const u64* unit, const u64* table, u64* out, i64 n) {
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
      V bits = (high << (63 - at)) | (low >> at >> 1);
      for (int t = 63; t >= 0; t--, bits >>= 1) sum += table[64 * b + t] & (0 - (bits & 1));
    }
    store(out + i, sum);
  });
}

// The same for tables whose unit vectors do not fit in registers: each word is read where it is needed, at an address
// that the opened number tells.
#if SIMT
#define FOREACH_LARGE(i, n) FOREACH(i, n)
#else
#define FOREACH_LARGE(i, n) FOREACH_STEP(i, n, 1, HEAVY / 64)
#endif
FN void large_table_sums(const u64* x, const u64* unit, const u64* table, u64* out, i64 count, i64 n) {
  const u64 last = (u64)count - 1;
  FOREACH_LARGE(i, n) {
    const u64 at = x[i] & 63, block = x[i] >> 6;
    u64 sum = 0;
    for (i64 b = 0; b < count; b++) {
      const u64 high = unit[((block - b) & last) * n + i], low = unit[((block - b - 1) & last) * n + i];
      const u64 bits = (high << (63 - at)) | (low >> at >> 1);
      for (int t = 0; t < 64; t++) sum += table[64 * b + t] & (0 - (bits >> (63 - t) & 1));
    }
    out[i] = sum;
  }
}

KERNEL table_sums(const u64* __restrict__ x, const u64* __restrict__ unit, const u64* __restrict__ table,
                  u64* __restrict__ out, i64 count, i64 n) {
  if (count == 1) all_table_sums<1>(x, unit, table, out, n);
  if (count == 2) all_table_sums<2>(x, unit, table, out, n);
  if (count == 4) all_table_sums<4>(x, unit, table, out, n);
  if (count == 8) all_table_sums<8>(x, unit, table, out, n);
  if (count > 8) large_table_sums(x, unit, table, out, count, n);
}
