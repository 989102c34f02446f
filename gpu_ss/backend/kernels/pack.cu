// Arrays of words to bit strings and back, see pack.h.
#include "pack.h"

#if SIMT

template <int FORM> FN void pack_all(const u64* x, const u64* y, u64* out, i64 bits, i64 count, i64 n) {
  FOREACH(j, n) out[j] = packed_word([=](i64 e) { return packed<FORM>(x, y, e); }, j, bits, count);
}

template <int ADDED> FN void unpack_all(const u64* words, const u64* x, const u64* y, u64* out, i64 bits, i64 n) {
  FOREACH(e, n) out[e] = unpacked_element<ADDED>(words, x, y, e, bits);
}

#else

template <int FORM> FN void pack_all(const u64* x, const u64* y, u64* out, i64 bits, i64 count, i64 n) {
  GroupFn* group = pack_of<FORM>(bits, Widths());
  i64 groups = count / 64;
  FOREACH_STEP(g, groups, 1, 2048) group(x + 64 * g, y + 64 * g, out + bits * g);
  FOREACH_REST(j, groups * bits, n)
    out[j] = packed_word([=](i64 e) { return packed<FORM>(x, y, e); }, j, bits, count);
}

template <int ADDED> FN void unpack_all(const u64* words, const u64* x, const u64* y, u64* out, i64 bits, i64 n) {
  UngroupFn* group = unpack_of<ADDED>(bits, Widths());
  i64 groups = n / 64;
  FOREACH_STEP(g, groups, 1, 2048) group(words + bits * g, x + 64 * g, y + 64 * g, out + 64 * g);
  FOREACH_REST(e, 64 * groups, n) out[e] = unpacked_element<ADDED>(words, x, y, e, bits);
}

#endif

KERNEL pack(const u64* __restrict__ x, u64* __restrict__ out, i64 bits, i64 count, i64 n) {
  pack_all<ONE>(x, x, out, bits, count, n);
}

KERNEL pack_difference(const u64* __restrict__ x, const u64* __restrict__ y, u64* __restrict__ out, i64 bits,
                       i64 count, i64 n) {
  pack_all<DIFFERENCE>(x, y, out, bits, count, n);
}

KERNEL pack_sum(const u64* __restrict__ x, const u64* __restrict__ y, u64* __restrict__ out, i64 bits, i64 count,
                i64 n) {
  pack_all<SUM>(x, y, out, bits, count, n);
}

KERNEL unpack(const u64* __restrict__ words, u64* __restrict__ out, i64 bits, i64 n) {
  unpack_all<0>(words, words, words, out, bits, n);
}

KERNEL unpack_add(const u64* __restrict__ words, const u64* __restrict__ x, u64* __restrict__ out, i64 bits, i64 n) {
  unpack_all<1>(words, x, x, out, bits, n);
}

KERNEL unpack_sum(const u64* __restrict__ words, const u64* __restrict__ x, const u64* __restrict__ y,
                  u64* __restrict__ out, i64 bits, i64 n) {
  unpack_all<2>(words, x, y, out, bits, n);
}
