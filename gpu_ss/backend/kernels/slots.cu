// Plaintexts with slots: polynomials modulo a prime t of up to 60 bits, in 64-bit words [polys, N], and the way between
// them and residues [primes, polys, N].
#include "transform.h"

struct OnePrime {
  u64 t;
};

FN i64 prime_of(OnePrime, i64) { return 0; }
FN u64 prime_at(OnePrime primes, i64) { return primes.t; }

KERNEL slots_forward(const u64* __restrict__ x, u64* __restrict__ out, const u64* __restrict__ table, u64 t,
                     i64 log_size, i64 first, i64 count, i64 n) {
  transform<true>(x, out, table, OnePrime{t}, log_size, log_size, first, count, n);
}

KERNEL slots_inverse(const u64* __restrict__ x, u64* __restrict__ out, const u64* __restrict__ table, u64 t,
                     i64 log_size, i64 first, i64 count, i64 n) {
  transform<false>(x, out, table, OnePrime{t}, log_size, log_size, first, count, n);
}

// c u + add modulo every prime, for u = f m modulo t, between -t / 2 and t / 2, and constants f below t and c.
//
// f m + (t - 1) / 2 modulo t is u + (t - 1) / 2 = h 2^32 + l, without a sign. quotient = floor(2^64 f / t); constants
// [primes, 5]: a = c and its quotient for l, b = 2^32 c and its quotient for h, and -c (t - 1) / 2. `keep` is ~0 where
// there is a summand, else 0: then anything stands in for it.
KERNEL element_residues(const u64* __restrict__ words, const u32* __restrict__ add, u32* __restrict__ out,
                        const u32* __restrict__ moduli, const u32* __restrict__ constants, u64 t, u64 f, u64 quotient,
                        i64 polys, u64 keep, i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    const u32* c = constants + r / polys * 5;
    u32 p = modulus_of(moduli, r / polys).p, mask = (u32)keep;
    u32 a = c[0], a_quotient = c[1], b = c[2], b_quotient = c[3], top = c[4];
    const u64* from = words + r % polys * size;
    const u32* more = add + (keep & 1 ? r * size : 0);
    u32* to = out + r * size;
    FOREACH_PLACE(i, size) {
      u64 shifted = reduce_once(canonical(nearly_times(from[i], f, quotient, t), t) + (t >> 1), t);
      u32 sum = times_constant((u32)shifted, a, a_quotient, p) +
                times_constant((u32)(shifted >> 32), b, b_quotient, p);               // below 4p
      u32 rest = reduce_once(sum, 2 * p) + top + (more[i] & mask);  // below 4p
      to[i] = reduce_once(reduce_once(rest, 2 * p), p);
    }
  }
}

// round(t (x + y) / q) modulo t, for the integer 0 <= x + y < q that the residues stand for. constants and scales: see
// `add_share`; scales are floor(2^64 t / p_l). reciprocal = floor(2^64 / t). Item = coefficient.
KERNEL decode_elements(const u32* __restrict__ x, const u32* __restrict__ y, u64* __restrict__ out,
                       const u32* __restrict__ moduli, const u32* __restrict__ constants,
                       const u64* __restrict__ scales, i64 primes, u64 t, u64 reciprocal, i64 n) {
  FOREACH(i, n) {
    u64 whole = 0, fraction = 1ull << 63;
    for (i64 l = 0; l < primes; l++) {
      u32 sum = x[l * n + i] + y[l * n + i];
      add_share(whole, fraction, sum, modulus_of(moduli, l).p, constants + 2 * l, scales + 2 * l);
    }
    out[i] = remainder_of(whole, t, reciprocal);
  }
}
