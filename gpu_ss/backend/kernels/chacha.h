// The ChaCha block function (D. J. Bernstein, 2008) with an even number of rounds, on lanes: 16 state words in, 16 words of keystream out.
#pragma once
#include "lanes.h"

template <class V> FN V rotl(V x, int r) { return (x << r) | (x >> (32 - r)); }

template <class V> FN void quarter_round(V& a, V& b, V& c, V& d) {
  a += b, d = rotl(d ^ a, 16);
  c += d, b = rotl(b ^ c, 12);
  a += b, d = rotl(d ^ a, 8);
  c += d, b = rotl(b ^ c, 7);
}

template <int ROUNDS, class V> FN void chacha(const V* s, V* x) {
  UNROLL for (int k = 0; k < 16; k++) x[k] = s[k];
  for (int r = 0; r < ROUNDS / 2; r++) {
    UNROLL for (int k = 0; k < 4; k++) quarter_round(x[k], x[4 + k], x[8 + k], x[12 + k]);
    UNROLL for (int k = 0; k < 4; k++)
      quarter_round(x[k], x[4 + (k + 1) % 4], x[8 + (k + 2) % 4], x[12 + (k + 3) % 4]);
  }
  UNROLL for (int k = 0; k < 16; k++) x[k] += s[k];
}

template <class V> FN void chacha20(const V* s, V* x) { chacha<20>(s, x); }
