// What opened numbers pick among shared words; operations.py of the folder above says what for. The picking numbers
// are open, so addresses may depend on them.
#include "elements.h"

// Entry `index` of unit vectors whose entries lie in fields of words, `field` being a power of two below 64: in the
// lowest bits of what is returned.
FN u64 unit_entry(const u64* units, u64 index, i64 field, i64 n) {
  const u64 place = index * (u64)field;
  return units[(i64)(place >> 6) * n] >> (place & 63);
}

KERNEL picked(const u64* __restrict__ index, const u64* __restrict__ entries, u64* __restrict__ out, i64 count,
              i64 rows, i64 n) {
  FOREACH(i, n) {
    const u64* from = entries + (i64)(index[i] & (u64)(count - 1)) * rows * n + i;
    for (i64 k = 0; k < rows; k++) out[k * n + i] = from[k * n];
  }
}

// A count modulo 4 that is 3 exactly if the two digits from bit `start` of x are one or two more than those of the
// unit vectors, the lower digit's first.
KERNEL near_counts(const u64* __restrict__ x, const u64* __restrict__ units, u64* __restrict__ out, u64 offset,
                   i64 start, i64 low, i64 high, i64 n) {
  const u64 below = (1ull << low) - 1, ones = (1ull << (low + high)) - 1;
  const u64* const upper = units + (((2ll << low) + 63) / 64) * n;
  FOREACH(i, n) {
    const u64 above = (x[i] - offset) >> start, one = (above - 1) & ones, two = (above - 2) & ones;
    const u64 differ = one >> low != two >> low;
    const u64 first = unit_entry(units + i, one & below, 2, n), second = unit_entry(units + i, two & below, 2, n);
    const u64 count = unit_entry(upper + i, one >> low, 2, n) + (first << 1) + (2 - differ) * second +
                      differ * (unit_entry(upper + i, two >> low, 2, n) << 1);
    out[i] = count & 3;
  }
}

// factor (opened - 2^(bits - 2)) + constant + wrap [the mask wrapped], of the words that a count picks.
KERNEL picked_product(const u64* __restrict__ opened, const u64* __restrict__ counted, const u64* __restrict__ words,
                      u64* __restrict__ out, u64 wanted, i64 count, i64 bits, i64 n) {
  FOREACH(i, n) {
    const u64* w = words + (i64)((counted[i] - wanted) & (u64)(count - 1)) * 3 * n + i;
    out[i] = times_opened(w[0], w[2 * n], opened[i], bits) + w[n];
  }
}

// Of each window but the first how many of its digits, and of those above, are not 0.
KERNEL window_counts(const u64* __restrict__ x, const u64* __restrict__ units, const u64* __restrict__ starts,
                     const u64* __restrict__ widths, const u64* __restrict__ firsts, u64* __restrict__ out, i64 windows,
                     i64 field, u64 lead, i64 n) {
  FOREACH(i, n) {
    u64 total = 0;
    for (i64 w = windows - 1; w >= 0; w--) {
      const u64 digit = x[i] >> starts[w], ones = (1ull << widths[w]) - 1;
      const u64* unit = units + (i64)firsts[w] * n + i;
      total += (lead & 1) - unit_entry(unit, digit & ones, field, n) - unit_entry(unit, (digit - 1) & ones, field, n);
      out[w * n + i] = total & ~(~0ull << field);
    }
  }
}

// factor V + slope S + constant, and what their wraps count, from the words of a window's line.
FN u64 window_line(const u64* words, u64 value, u64 slope, i64 value_bits, i64 slope_bits, i64 n) {
  return times_opened(words[0], words[3 * n], value, value_bits) +
         times_opened(words[n], words[4 * n], slope, slope_bits) + words[2 * n];
}

// The last window's line; and for each other one, where its count says so, its own less that of the one above.
KERNEL window_lines(const u64* __restrict__ values, const u64* __restrict__ slopes, const u64* __restrict__ last,
                    const u64* __restrict__ gated, const u64* __restrict__ counted, u64* __restrict__ out, i64 windows,
                    i64 entries, i64 value_bits, i64 slope_bits, i64 n) {
  FOREACH(i, n) {
    const u64 *value = values + i, *slope = slopes + i;
    u64 sum = window_line(last + i, value[(windows - 1) * n], slope[(windows - 1) * n], value_bits, slope_bits, n);
    for (i64 w = 0; w + 1 < windows; w++) {
      const i64 at = w * entries + (i64)(counted[w * n + i] & (u64)(entries - 1));
      const u64* words = gated + at * 10 * n + i;
      sum += window_line(words, value[w * n], slope[w * n], value_bits, slope_bits, n) -
             window_line(words + 5 * n, value[(w + 1) * n], slope[(w + 1) * n], value_bits, slope_bits, n);
    }
    out[i] = sum;
  }
}
