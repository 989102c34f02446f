// Transforms modulo several primes below 2^30: x [primes, polys, 2^log_source] and out [primes, polys, N]; tables
// [primes, 4, N]. See transform.h.
#include "transform.h"

struct Primes {
  const u32* moduli;
  i64 polys;
};

FN i64 prime_of(Primes primes, i64 row) { return row / primes.polys; }
FN u32 prime_at(Primes primes, i64 l) { return modulus_of(primes.moduli, l).p; }

KERNEL ntt_forward(const u32* __restrict__ x, u32* __restrict__ out, const u32* __restrict__ tables,
                   const u32* __restrict__ moduli, i64 polys, i64 log_size, i64 log_source, i64 first, i64 count,
                   i64 n) {
  transform<true>(x, out, tables, Primes{moduli, polys}, log_size, log_source, first, count, n);
}

KERNEL ntt_inverse(const u32* __restrict__ x, u32* __restrict__ out, const u32* __restrict__ tables,
                   const u32* __restrict__ moduli, i64 polys, i64 log_size, i64 log_source, i64 first, i64 count,
                   i64 n) {
  transform<false>(x, out, tables, Primes{moduli, polys}, log_size, log_source, first, count, n);
}
