// The transforms of ntt.cu (see transform.h) for polynomials that shared memory has room for, N up to 2^13: a block of threads each, which
// reads a polynomial once and writes it once.
//
// Stages are done up to three at a time on 2^count elements in a thread's registers; in between, the elements lie in
// shared memory, and all threads meet. For 13 stages: 2, 2, 3, 3, 3, and inverse the other way round.
#include "transform.h"
#include "warps.h"

#if SIMT

#define WARPS 16
#define THREADS (32 * WARPS)
#define MOST_LOG 13

// Where an element lies in shared memory: so that neither neighbours nor every 8th or 64th one share a bank.
FN int placed(int i) { return i + (i >> 3); }

// One polynomial on its way: `source` says which bits of a place count in x.
struct Polynomial {
  const u32 *x, *table;
  u32 *out, *shared;
  u32 p;
  int log_size, source;
};

// Elements at, at + stride, ... from the polynomial where it begins, else from shared memory; and back.
template <int COUNT> FN void take(u32* v, const Polynomial& poly, int at, int stride, bool begins) {
  if (begins && stride == 1 && COUNT > 1) {
    UNROLL for (int e = 0; e < 1 << COUNT; e += 4) load_four(v + e, poly.x + (at & poly.source) + e);
    return;
  }
  UNROLL for (int e = 0; e < 1 << COUNT; e++)
    v[e] = begins ? poly.x[(at & poly.source) + e * stride] : poly.shared[placed(at + e * stride)];
}
template <int COUNT> FN void put(const u32* v, const Polynomial& poly, int at, int stride, bool ends) {
  if (ends && stride == 1 && COUNT > 1) {
    UNROLL for (int e = 0; e < 1 << COUNT; e += 4) store_four(poly.out + at + e, v + e);
    return;
  }
  UNROLL for (int e = 0; e < 1 << COUNT; e++)
    (ends ? poly.out[at + e * stride] : poly.shared[placed(at + e * stride)]) = v[e];
}

// The stages first .. first + COUNT - 1, by all threads of the block.
template <bool FORWARD, int COUNT> FN void some_stages(const Polynomial& poly, int first, bool begins, bool ends) {
  const int log_stride = poly.log_size - first - COUNT, stride = 1 << log_stride, size = 1 << poly.log_size;
  EACH_WARP(warp, WARPS) EACH_LANE(lane) for (int i = 32 * warp + lane; i < size >> COUNT; i += THREADS) {
    const int g = i >> log_stride, at = (g << (poly.log_size - first)) + (i & (stride - 1));
    u32 w[(1 << COUNT) - 1], w_quotient[(1 << COUNT) - 1], v[1 << COUNT];
    load_twiddles<COUNT>(w, w_quotient, poly.table, size, first, g);
    take<COUNT>(v, poly, at, stride, begins);
    stages<FORWARD, COUNT>(v, w, w_quotient, poly.p);
    if (ends)
      UNROLL for (int e = 0; e < 1 << COUNT; e++)
        v[e] = finished<FORWARD>(v[e], poly.table[0], poly.table[size], poly.p);
    put<COUNT>(v, poly, at, stride, ends);
  }
  all_threads();  // also after the last stages: the next polynomial takes the same memory
}

template <bool FORWARD> FN void stages_of(const Polynomial& poly, int first, int count, bool begins, bool ends) {
  if (count == 3) some_stages<FORWARD, 3>(poly, first, begins, ends);
  else if (count == 2) some_stages<FORWARD, 2>(poly, first, begins, ends);
  else some_stages<FORWARD, 1>(poly, first, begins, ends);
}

// All stages from `begin` on. The number that are done at once is 3, and before these 1, 2, or twice 2.
template <bool FORWARD> FN void all_stages(const Polynomial& poly, int begin) {
  const int left = poly.log_size - begin, pairs = left < 3 ? (left == 2) : (3 - left % 3) % 3;
  const int single = left == 1, passes = single + pairs + (left - single - 2 * pairs) / 3;
  for (int k = 0; k < passes; k++) {
    const int which = FORWARD ? k : passes - 1 - k, later = which - single - pairs;
    const int count = later >= 0 ? 3 : single ? 1 : 2;
    const int first = begin + (later >= 0 ? single + 2 * pairs + 3 * later : 2 * which);
    stages_of<FORWARD>(poly, first, count, k == 0, k == passes - 1);
  }
}

template <bool FORWARD>
FN void transform_polynomials(const u32* x, u32* out, const u32* tables, const u32* moduli, i64 polys, i64 log_size,
                              i64 log_source, i64 n) {
  SHARED(shared, (9 << MOST_LOG) / 8);
  FOREACH_TILE(row, n) {
    const i64 l = row / polys;
    const u32* table = tables + ((4 * l + (FORWARD ? 0 : 2)) << log_size);
    const Polynomial poly = {x + (row << log_source), table, out + (row << log_size), shared,
                             modulus_of(moduli, l).p, (int)log_size, (1 << log_source) - 1};
    all_stages<FORWARD>(poly, (int)(log_size - log_source));
  }
}

// Item = polynomial. x, out, tables as in ntt.cu; forward, x may be shorter: [primes, polys, 2^log_source].
KERNEL whole_forward(const u32* __restrict__ x, u32* __restrict__ out, const u32* __restrict__ tables,
                     const u32* __restrict__ moduli, i64 polys, i64 log_size, i64 log_source, i64 n) {
  transform_polynomials<true>(x, out, tables, moduli, polys, log_size, log_source, n);
}

KERNEL whole_inverse(const u32* __restrict__ x, u32* __restrict__ out, const u32* __restrict__ tables,
                     const u32* __restrict__ moduli, i64 polys, i64 log_size, i64 log_source, i64 n) {
  transform_polynomials<false>(x, out, tables, moduli, polys, log_size, log_source, n);
}

#endif
