// Loops over elements, and the bits that planes hold of them: bit e % 64 of word e / 64 belongs to element e.
#pragma once
#include "lanes.h"

// Numbers of elements from which on threads pay.
constexpr i64 LIGHT = 32768, HEAVY = 4096;

// body(V(), i): one element with V = u64, or the LANES64 elements from i on with V = v64. Threaded when n
// exceeds `from`.
template <class F> FN void each_element(i64 n, i64 from, F body) {
  (void)from;  // the GPU's threads are many in any case
  i64 whole = WHOLE_LANES64(n);
  FOREACH_LANES64(i, whole, from) body(v64{}, i);
  FOREACH_REST(i, whole, n) body(u64{}, i);
}

// All ones where the element's bit is set, zero elsewhere.
FN u64 plane_mask(u64, const u64* plane, i64 i) { return 0 - (plane[i / 64] >> i % 64 & 1); }

#if !SIMT
template <int... K> FN v64 powers_of_two(std::integer_sequence<int, K...>) { return v64{1ull << K...}; }

// All ones in the lanes whose bit is set: lane k has bit k.
FN v64 lanes_of(u64 bits) {
  return (v64)(((bits + v64{}) & powers_of_two(std::make_integer_sequence<int, LANES64>())) != 0);
}

FN v64 plane_mask(v64, const u64* plane, i64 i) {
  return lanes_of(plane[i / 64] >> i % 64);  // a vector's elements share a word
}
#endif

// factor times what was opened with a bias of 2^(bits - 2); and `wrap` where its mask wrapped: where its top bit is 0.
template <class V> FN V times_opened(V factor, V wrap, V opened, i64 bits) {
  return factor * (opened - (1ull << (bits - 2))) + (wrap & ((opened >> (bits - 1)) - 1));
}

// From a masked bit d = b ^ rho, as plane_mask gives it, and shares of E and rho E to one of b E:
// d E + (1 - 2d) rho E.
template <class V> FN V times_bit(V d, V plain, V gated) { return (plain & d) + ((gated ^ d) - d); }
