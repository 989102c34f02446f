// The butterflies of number-theoretic transforms, on items or vectors, and several stages of them in registers: ntt.cu
// says what they make up, blocks_ntt.cu does all stages of a polynomial with a block of threads.
#pragma once
#include "modular.h"

// x, y < 4p to x + w y, x - w y, again below 4p.
template <class V> FN void forward_butterfly(V& x, V& y, V w, V w_quotient, V p) {
  V a = reduce_once(x, 2 * p), b = times_constant(y, w, w_quotient, p);
  x = a + b;
  y = a - b + 2 * p;
}

// x, y < 2p to x + y, (x - y) w, again below 2p.
template <class V> FN void inverse_butterfly(V& x, V& y, V w, V w_quotient, V p) {
  V sum = reduce_once(x + y, 2 * p), difference = x - y + 2 * p;
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
template <int COUNT, class V>
FN void load_twiddles(V* w, V* w_quotient, const u32* table, i64 size, i64 first, i64 g) {
  UNROLL for (int d = 0; d < COUNT; d++)
    UNROLL for (int k = 0; k < 1 << d; k++) {
      const u32* at = table + (1ll << (first + d)) + (g << d) + k;
      w[(1 << d) - 1 + k] = splat(V(), at[0]);
      w_quotient[(1 << d) - 1 + k] = splat(V(), at[size]);
    }
}

// From lazy to canonical residues: forward from [0, 4p), inverse from [0, 2p) and divided by N.
template <bool FORWARD, class V> FN V finished(V x, V n_inverse, V n_quotient, V p) {
  return reduce_once(FORWARD ? reduce_once(x, 2 * p) : times_constant(x, n_inverse, n_quotient, p), p);
}
