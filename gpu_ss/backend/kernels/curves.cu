// The last steps of look-ups of lines: operations.py of the folder above says what they are for.
#include "elements.h"

// Of sums of packed table words (the value in the lowest `field` bits, the slope above): what is opened of them.
KERNEL line_values(const u64* __restrict__ x, const u64* __restrict__ sums, u64* __restrict__ out, i64 place_bits,
                   i64 field, u64 value_bias, u64 slope_bias, u64 lead, i64 n) {
  each_element(n, LIGHT, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V sum = load(V{}, sums + i), place = load(V{}, x + i) & ~(~0ull << place_bits);
    const V slope = sum >> field, value = (sum & ~(~0ull << field)) + slope * place;
    store(out + i, ((value ^ ~lead) - ~lead) + (value_bias & lead));
    store(out + n + i, ((slope ^ ~lead) - ~lead) + (slope_bias & lead));
  });
}

// The line sigma V + L S + constant of opened V and S, or 0, as a masked bit says.
KERNEL gated_line(const u64* __restrict__ values, const u64* __restrict__ slopes, const u64* __restrict__ words,
                  const u64* __restrict__ value_wraps, const u64* __restrict__ slope_wraps,
                  const u64* __restrict__ d, u64* __restrict__ out, i64 value_bits, i64 slope_bits, i64 n) {
  each_element(n, LIGHT, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V value = load(V{}, values + i), slope = load(V{}, slopes + i);
    V e[2];
    UNROLL for (int k = 0; k < 2; k++) {
      const u64* w = words + 3 * k * n + i;
      const V wraps[2] = {load(V{}, value_wraps + k * n + i) << value_bits,
                          load(V{}, slope_wraps + k * n + i) << slope_bits};
      e[k] = load(V{}, w + 2 * n) + times_opened(load(V{}, w), wraps[0], value, value_bits) +
             times_opened(load(V{}, w + n), wraps[1], slope, slope_bits);
    }
    store(out + i, times_bit(plane_mask(V{}, d, i), e[0], e[1]));
  });
}

// The opened number c - 2^(bits - 2) less its mask in a larger ring, or 0, as a masked bit says. own: shares of the
// mask r, of the bit's mask rho, of rho r; tops: of the top bit of r, and that times rho.
KERNEL gated_opened(const u64* __restrict__ c, const u64* __restrict__ own, const u64* __restrict__ tops,
                    const u64* __restrict__ d, u64* __restrict__ out, i64 bits, u64 lead, i64 n) {
  each_element(n, LIGHT, [=](auto v, i64 i) {
    typedef decltype(v) V;
    const V opened = load(V{}, c + i), number = opened - (1ull << (bits - 2)), wrapped = (opened >> (bits - 1)) - 1;
    const V plain = (number & lead) - load(V{}, own + i) + ((load(V{}, tops + i) & wrapped) << bits);
    const V gated = number * load(V{}, own + n + i) - load(V{}, own + 2 * n + i) +
                    ((load(V{}, tops + n + i) & wrapped) << bits);
    store(out + i, times_bit(plane_mask(V{}, d, i), plain, gated));
  });
}
