// Fused element-wise arithmetic modulo 2^64.
#include "shim.h"

// This party's share of x*y, from the opened X = x+a, Y = y+b and its shares of a, b and c = a*b:
// c - X*b - Y*a, plus X*Y at the party with lead = ~0.
KERNEL beaver_combine(const u64* __restrict__ x_open, const u64* __restrict__ y_open,
                      const u64* __restrict__ a, const u64* __restrict__ b, const u64* __restrict__ c,
                      u64* __restrict__ out, u64 lead, i64 n) {
  FOREACH(i, n) out[i] = c[i] + y_open[i] * ((x_open[i] & lead) - a[i]) - x_open[i] * b[i];
}
