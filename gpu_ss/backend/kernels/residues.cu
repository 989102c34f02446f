// Polynomials modulo several primes, coefficient by coefficient: products, samples, and the way between
// Z_q and Z_2^bits. Arrays of residues are [primes, polys, N]; words are [polys, N].
#include "modular.h"

// `keep` is ~0 where there is a last summand, else 0: then one row of anything stands in for it.

// x y + z. y has as many polynomials as x, or one for all (y_polys = 1).
KERNEL multiply_add(const u32* __restrict__ x, const u32* __restrict__ y, const u32* __restrict__ z,
                    u32* __restrict__ out, const u32* __restrict__ moduli, i64 polys, i64 y_polys, u64 keep,
                    i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    Modulus m = modulus_of(moduli, r / polys);
    const u32 *left = x + r * size, *right = y + (y_polys == polys ? r : r / polys) * size, *more = z + (keep & 1 ? r * size : 0);
    u32 *to = out + r * size, mask = (u32)keep;
    FOREACH_PLACE(i, size) to[i] = reduce_once(times(left[i], right[i], m) + (more[i] & mask), m.p);
  }
}

// floor(w p / 2^64): uniform in [0, p) up to p / 2^64.
KERNEL uniform_residues(const u64* __restrict__ words, u32* __restrict__ out, const u32* __restrict__ moduli,
                        i64 polys, i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    u32 p = modulus_of(moduli, r / polys).p;
    const u64* from = words + r * size;
    u32* to = out + r * size;
    FOREACH_PLACE(i, size) {
      u64 low = low_words(from[i]) * p, high = (from[i] >> 32) * p;
      to[i] = (u32)((high + (low >> 32)) >> 32);
    }
  }
}

FN u64 bit_count(u64 x) {
  x -= x >> 1 & 0x5555555555555555ull;
  x = (x & 0x3333333333333333ull) + (x >> 2 & 0x3333333333333333ull);
  x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Full;
  return x * 0x0101010101010101ull >> 56;
}

// Samples plus k, so that they are not negative.
struct Binomial {
  static constexpr u32 k = 21;
  FN u32 draw(u64 w) { return (u32)(bit_count(w & 0x1FFFFF) + bit_count(~w & 0x3FFFFE00000ull)); }
};

struct Ternary {
  static constexpr u32 k = 1;
  FN u32 draw(u64 w) { return (u32)((w >> 32) * 3 >> 32); }
};

// The same small number modulo every prime, plus what is there already.
template <class Sample>
FN void add_samples(const u64* words, const u32* add, u32* out, const u32* moduli, i64 polys, u64 keep, i64 size,
                    i64 n) {
  FOREACH_ROW(r, n, size) {
    u32 p = modulus_of(moduli, r / polys).p, mask = (u32)keep;
    const u64* from = words + r % polys * size;
    const u32* more = add + (keep & 1 ? r * size : 0);
    u32* to = out + r * size;
    FOREACH_PLACE(i, size)
      to[i] = reduce_once(reduce_once(Sample::draw(from[i]) + (p - Sample::k), p) + (more[i] & mask), p);
  }
}

KERNEL binomial_residues(const u64* __restrict__ words, const u32* __restrict__ add, u32* __restrict__ out,
                         const u32* __restrict__ moduli, i64 polys, u64 keep, i64 size, i64 n) {
  add_samples<Binomial>(words, add, out, moduli, polys, keep, size, n);
}

KERNEL ternary_residues(const u64* __restrict__ words, const u32* __restrict__ add, u32* __restrict__ out,
                        const u32* __restrict__ moduli, i64 polys, u64 keep, i64 size, i64 n) {
  add_samples<Ternary>(words, add, out, moduli, polys, keep, size, n);
}

// round(q m / 2^bits) + add modulo every prime, for q the product of the primes.
//
// With u = q m mod 2^bits, centred: q m - u is a multiple of 2^bits, so modulo p the quotient is -u / 2^bits.
// u + 2^63 = h 2^32 + l has no sign. constants [primes, 5]: a = -1 / 2^bits and its quotient for l, b =
// -2^32 / 2^bits and its quotient for h, and 2^63 / 2^bits for the 2^63.
KERNEL scale_up(const u64* __restrict__ words, const u32* __restrict__ add, u32* __restrict__ out,
                const u32* __restrict__ moduli, const u32* __restrict__ constants, u64 q, i64 unused_bits,
                i64 polys, i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    const u32* c = constants + r / polys * 5;
    u32 p = modulus_of(moduli, r / polys).p, a = c[0], a_quotient = c[1], b = c[2], b_quotient = c[3], top = c[4];
    const u64* from = words + r % polys * size;
    const u32* more = add + r * size;
    u32* to = out + r * size;
    FOREACH_PLACE(i, size) {
      u64 centred = (u64)((i64)(from[i] * q << unused_bits) >> unused_bits) + (1ull << 63);
      u32 sum = times_constant((u32)centred, a, a_quotient, p) +
                times_constant((u32)(centred >> 32), b, b_quotient, p);
      u32 rest = reduce_once(sum, 2 * p) + top + more[i];
      to[i] = reduce_once(reduce_once(rest, 2 * p), p);
    }
  }
}

// round(x / last) + add: x [primes, polys, N] without its last prime, n items in what remains.
// (x - c) / last for c = x mod last, centred: c + half is the residue of x + half modulo the last prime.
// constants [primes - 1, 3]: 1 / last, its quotient, and half = (last - 1) / 2 modulo each prime.
KERNEL drop_prime(const u32* __restrict__ x, const u32* __restrict__ add, u32* __restrict__ out,
                  const u32* __restrict__ moduli, const u32* __restrict__ constants, i64 primes, i64 polys,
                  u64 keep, i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    Modulus m = modulus_of(moduli, r / polys);
    const u32* c = constants + r / polys * 3;
    u32 last = modulus_of(moduli, primes - 1).p, half = last >> 1, inverse = c[0], quotient = c[1], half_here = c[2];
    const u32 *here = x + r * size, *there = x + ((primes - 1) * polys + r % polys) * size;
    const u32* more = add + (keep & 1 ? r * size : 0);
    u32 *to = out + r * size, mask = (u32)keep;
    FOREACH_PLACE(i, size) {
      u32 shifted = reduce_once(there[i] + half, last);
      u32 remainder = shifted - high_product(shifted, m.one) * m.p;  // below 2 p
      u32 difference = here[i] + half_here + 2 * m.p - remainder;    // below 4 p
      u32 quotient_here = reduce_once(times_constant(difference, inverse, quotient, m.p), m.p);
      to[i] = reduce_once(quotient_here + (more[i] & mask), m.p);
    }
  }
}

// round(2^bits (x + y) / q) modulo 2^bits, for the integer 0 <= x + y < q that the residues stand for.
// constants and scales: see `add_share`; scales are floor(2^(bits + 64) / p_l). Item = coefficient.
KERNEL decode_sum(const u32* __restrict__ x, const u32* __restrict__ y, u64* __restrict__ out,
                  const u32* __restrict__ moduli, const u32* __restrict__ constants,
                  const u64* __restrict__ scales, i64 primes, u64 mask, i64 n) {
  FOREACH(i, n) {
    u64 whole = 0, fraction = 1ull << 63;
    for (i64 l = 0; l < primes; l++) {
      u32 sum = x[l * n + i] + y[l * n + i];
      add_share(whole, fraction, sum, modulus_of(moduli, l).p, constants + 2 * l, scales + 2 * l);
    }
    out[i] = whole & mask;
  }
}

// round(2^bits x / q) modulo 2^bits: the upper 64 bits as n words, and the lowest `rest_bits`, if there are more, as n
// words more. As decode_sum with scales floor(2^128 / p_l): of the 128 bits after the point the first ones count.
// half: of the last of them, in two words.
KERNEL scale_down(const u32* __restrict__ x, u64* __restrict__ out, const u32* __restrict__ moduli,
                  const u32* __restrict__ constants, const u64* __restrict__ scales, i64 primes, u64 half,
                  u64 half_below, u64 unused_bits, u64 rest_bits, i64 n) {
  FOREACH(i, n) {
    u64 whole = half, fraction = half_below;
    for (i64 l = 0; l < primes; l++)
      add_share(whole, fraction, x[l * n + i], modulus_of(moduli, l).p, constants + 2 * l, scales + 2 * l);
    out[i] = whole >> unused_bits;
    if (rest_bits) out[n + i] = fraction >> (64 - rest_bits);
  }
}

// Columns offset .. offset + size - 1 of residues [rows, stride], centred in [-p/2, p/2].
KERNEL centred_columns(const u32* __restrict__ x, double* __restrict__ out, u64 p, i64 stride, i64 offset,
                       i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    const u32* from = x + r * stride + offset;
    double* to = out + r * size;
    u32 prime = (u32)p, half = prime >> 1;
    FOREACH_PLACE(i, size) to[i] = (double)(int)(from[i] - (from[i] > half ? prime : 0));
  }
}

// x modulo p into those columns of out [rows, stride], for integers |x| <= 2^53; added to what `keep` leaves there.
KERNEL reduced_columns(const double* __restrict__ x, u32* __restrict__ out, u64 p, u64 keep, i64 stride, i64 offset,
                       i64 size, i64 n) {
  FOREACH_ROW(r, n, size) {
    const double* from = x + r * size;
    u32 *to = out + r * stride + offset, prime = (u32)p, mask = (u32)keep;
    // Adding 1.5 * 2^52 rounds to an integer. The quotient may be off by one, the rest stays exact.
    const double whole = 6755399441055744.0, divisor = (double)prime, inverse = 1.0 / divisor;
    FOREACH_PLACE(i, size) {
      double quotient = (from[i] * inverse + whole) - whole;
      int rest = (int)(from[i] - quotient * divisor);  // within [-p, p]
      u32 canonical = reduce_once((u32)(rest + (rest < 0 ? (int)prime : 0)), prime);
      to[i] = reduce_once(canonical + (to[i] & mask), prime);
    }
  }
}
