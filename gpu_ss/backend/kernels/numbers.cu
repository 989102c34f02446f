// The node of a comparison tree (circuits.cu), whose result is a number modulo 2^field instead of a bit.
#include "elements.h"

// Shares of the products of masks lie in fields of words, `per` to a word; see `number_fields` for their order.
struct Fields {
  const u64 *opened, *shares;
  i64 field, per, width, n;
  u64 lead;
};

// How many products come before those of a set of eq's, when there are `arity` digits.
FN constexpr int fields_before(int set, int arity) {
  int count = 0;
  for (int s = 0; s < set; s++) {
    int digits = 1;
    while (digits < arity && !(s >> (digits - 1) & 1)) digits++;
    count += (s > 0) + digits;
  }
  return count;
}

// The bits above the field are what lies beside it: of no account modulo 2^field.
template <class V> FN V field_at(const Fields& in, i64 index, i64 i) {
  return load(V{}, in.shares + index / in.per * in.n + i) >> (u64)(index % in.per * in.field);
}

// Products of masks a_S of the eq's in a set S, times [less] of the digits up to D.
template <int A, int D, int S, class V> FN V numbers_below(const Fields& in, i64 i) {
  constexpr int at = fields_before(S, A);
  const V plain = S ? field_at<V>(in, at, i) : V{} + (in.lead & 1);
  V less = times_bit(plane_mask(V{}, in.opened + D * in.width, i), plain, field_at<V>(in, at + (S > 0) + D, i));
  if constexpr (D > 0) {
    const V equal = plane_mask(V{}, in.opened + (A + D - 1) * in.width, i);
    less += times_bit(equal, numbers_below<A, D - 1, S, V>(in, i), numbers_below<A, D - 1, S | 1 << (D - 1), V>(in, i));
  }
  return less;
}

template <int A> FN void all_numbers(const Fields& fields, u64* out) {
  const Fields in = fields;
  each_element(in.n, HEAVY, [=](auto v, i64 i) {
    typedef decltype(v) V;
    store(out + i, numbers_below<A, A - 1, 0, V>(in, i) & ((1ull << in.field) - 1));
  });
}

KERNEL node_numbers(const u64* __restrict__ opened, const u64* __restrict__ shares, u64* __restrict__ out, i64 arity,
                    i64 field, i64 per, u64 lead, i64 n) {
  const Fields in = {opened, shares, field, per, n / 64, n, lead};
  if (arity == 1) all_numbers<1>(in, out);
  if (arity == 2) all_numbers<2>(in, out);
  if (arity == 3) all_numbers<3>(in, out);
  if (arity == 4) all_numbers<4>(in, out);
}
