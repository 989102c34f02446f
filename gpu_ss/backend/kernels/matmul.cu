// Matrix products modulo 2^64 on the GPU, for shapes too small for the floating-point path. The CPU library
// takes its kernel of the same name from matmul_cpu.cpp.
#include "shim.h"

#if SIMT
#define TILE 4

FN i64 least(i64 a, i64 b) { return a < b ? a : b; }

// out[s] = a[s] b[s] for s < batch; a step of 0 shares an operand. Item = one TILE x TILE tile of the output.
KERNEL matmul(const u64* __restrict__ a, const u64* __restrict__ b, u64* __restrict__ out, i64 batch, i64 rows,
              i64 inner, i64 cols, i64 a_step, i64 b_step, i64 n) {
  i64 across = (cols + TILE - 1) / TILE, down = (rows + TILE - 1) / TILE;
  FOREACH(i, n) {
    i64 c0 = i % across * TILE, r0 = i / across % down * TILE, s = i / across / down;
    const u64 *left = a + s * a_step, *right = b + s * b_step;
    u64 sum[TILE][TILE] = {};
    for (i64 k = 0; k < inner; k++) {
      u64 x[TILE], y[TILE];
      // Past the edge the last row or column is read again, and not stored below.
      UNROLL for (int t = 0; t < TILE; t++) x[t] = left[least(r0 + t, rows - 1) * inner + k];
      UNROLL for (int t = 0; t < TILE; t++) y[t] = right[k * cols + least(c0 + t, cols - 1)];
      UNROLL for (int r = 0; r < TILE; r++)
        UNROLL for (int c = 0; c < TILE; c++) sum[r][c] += x[r] * y[c];
    }
    UNROLL for (int r = 0; r < TILE; r++)
      UNROLL for (int c = 0; c < TILE; c++)
        if (r0 + r < rows && c0 + c < cols) out[(s * rows + r0 + r) * cols + c0 + c] = sum[r][c];
  }
}
#endif
