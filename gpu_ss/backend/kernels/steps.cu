// Fused element-wise steps of the protocols, modulo 2^64; operations.py of the folder above says what they are for.
#include "elements.h"

// The bits of `count` elements, fewer than a word has.
FN u64 gathered_bits(const u64* x, i64 bit, i64 count) {
  u64 word = 0;
  for (i64 e = 0; e < count; e++) word |= (x[e] >> bit & 1) << e;
  return word;
}

#if SIMT

// Item = byte of the plane: neighbouring threads then read neighbouring memory.
KERNEL bit_plane(const u64* __restrict__ x, u64* __restrict__ plane, i64 bit, i64 count, i64 n) {
  FOREACH(b, n) {
    const i64 left = count - 8 * b;
    ((unsigned char*)plane)[b] = (unsigned char)gathered_bits(x + 8 * b, bit, left < 8 ? left : 8);
  }
}

#else

KERNEL bit_plane(const u64* __restrict__ x, u64* __restrict__ plane, i64 bit, i64 count, i64 n) {
  const i64 whole = count / 64;
  FOREACH_STEP(w, whole, 1, LIGHT / 64) {
    v64 lanes{};  // bit e of lane k is that of element e + k, so that all lanes shift alike
    u64 word = 0;
    UNROLL for (int e = 0; e < 64; e += LANES64) lanes |= (load(v64{}, x + 64 * w + e) >> bit & 1) << e;
    UNROLL for (int k = 0; k < LANES64; k++) word |= lanes[k] << k;
    plane[w] = word;
  }
  FOREACH_REST(w, whole, n / 8) plane[w] = gathered_bits(x + 64 * w, bit, count - 64 * w);
}

#endif

// n is the number of elements of each of the `count` planes.
KERNEL plane_words(const u64* __restrict__ planes, u64* __restrict__ out, i64 count, i64 n) {
  const i64 width = (n + 63) / 64;
  for (i64 k = 0; k < count; k++)
    each_element(n, LIGHT, [=](auto v, i64 i) {
      typedef decltype(v) V;
      store(out + k * n + i, plane_mask(V{}, planes + k * width, i) & 1);
    });
}

// (x mod 2^bits >> shift) - wrap 2^(bits - shift) with wrap = base -+ product.
KERNEL unwrap(const u64* __restrict__ x, const u64* __restrict__ base, const u64* __restrict__ sign,
              const u64* __restrict__ product, u64* __restrict__ out, i64 bits, i64 shift, i64 n) {
  const int above = 64 - (int)bits, below = (int)shift, lift = (int)(bits - shift);  // lift may be 64
  each_element(n, LIGHT, [=](auto v, i64 i) {
    typedef decltype(v) V;
    V plus = plane_mask(V{}, sign, i), p = load(V{}, product + i);
    V wrap = ((p ^ ~plus) - ~plus) - plane_mask(V{}, base, i);
    store(out + i, (load(V{}, x + i) << above >> (above + below)) - (wrap << (lift - 1) << 1));
  });
}

// out[k, j, i] = rho_k r_i^j.
KERNEL bit_products(const u64* __restrict__ r, const u64* __restrict__ rho, u64* __restrict__ out, i64 terms,
                    i64 degree, i64 n) {
  const i64 width = (n + 63) / 64;
  for (i64 k = 0; k < terms; k++)
    each_element(n, LIGHT, [=](auto v, i64 i) {
      typedef decltype(v) V;
      V x = load(V{}, r + i), product = plane_mask(V{}, rho + k * width, i) & 1;
      u64* to = out + k * (degree + 1) * n + i;
      store(to, product);
      for (i64 j = 1; j <= degree; j++) store(to + j * n, product *= x);
    });
}

// x (lead & y_row - b_row) - mask y_row + products.
KERNEL row_scale(const u64* __restrict__ x, const u64* __restrict__ mask, const u64* __restrict__ y,
                 const u64* __restrict__ b, const u64* __restrict__ products, u64* __restrict__ out, u64 lead,
                 i64 width, i64 n) {
#if SIMT
  FOREACH(i, n) {
    const i64 row = i / width;
    out[i] = x[i] * ((y[row] & lead) - b[row]) - mask[i] * y[row] + products[i];
  }
#else
  const i64 rows = n / width;
  FOREACH_STEP(row, rows, 1, LIGHT / width) {
    const u64 factor = (y[row] & lead) - b[row], minus = y[row];
    for (i64 i = row * width; i < (row + 1) * width; i++) out[i] = x[i] * factor - mask[i] * minus + products[i];
  }
#endif
}

// SUMS interleaved sums per row, so that threads, like lanes, read neighbouring words; row_sums adds them up.
constexpr i64 SUMS = 32;

// Item = sum; `width` is the length of a row.
KERNEL row_squares(const u64* __restrict__ x, const u64* __restrict__ mask, u64* __restrict__ sums, u64 lead,
                   i64 width, i64 n) {
  const i64 from = LIGHT * SUMS / width;
  auto term = [=](auto v, i64 i) {
    auto a = load(v, x + i);
    return a * ((a & lead) - (load(v, mask + i) << 1));
  };
  each_element(n, from, [=](auto v, i64 item) {
    constexpr i64 LANES = sizeof v / 8;
    const i64 row = item / SUMS * width, end = row + width;
    i64 i = row + item % SUMS;
    for (; i + LANES <= end; i += SUMS) v += term(v, i);
    store(sums + item, v);
    for (i64 k = i; k < end; k++) sums[item + k - i] += term(u64{}, k);
  });
}

KERNEL row_sums(const u64* __restrict__ sums, u64* __restrict__ out, i64 n) {
  FOREACH_REST(row, 0, n) {
    u64 total = 0;
    for (int k = 0; k < SUMS; k++) total += sums[row * SUMS + k];
    out[row] = total;
  }
}
