// Matrix products modulo 2^64 on the CPU: register tiles over packed column panels (Goto and van de Geijn,
// "Anatomy of high-performance matrix multiplication", 2008), on compiler vector types.
#include <string.h>

#include <algorithm>

#include "lanes.h"
#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace {

constexpr int VL = LANES64;

// A vector of 64 products summed over k; ROWS x VECTORS of them make a register tile.
#if defined(__SSE4_1__) && !defined(__AVX512DQ__)
// No 64-bit product before AVX-512: x*y = lo*lo + (hi*lo + lo*hi << 32), and of the bracket only the low 32 bits
// count, which one 32-bit multiplication gives for both terms. A third faster than what compilers emit.
constexpr int ROWS = 4, VECTORS = 2;

FN v64 product_of_low_halves(v64 x, v64 y) {
#if defined(__AVX2__)
  return (v64)_mm256_mul_epu32((__m256i)x, (__m256i)y);
#else
  return (v64)_mm_mul_epu32((__m128i)x, (__m128i)y);
#endif
}

struct Sum {
  v64 low;
  v32 cross;
  ALWAYS_INLINE void add(v64 x, v64 y) {
    low += product_of_low_halves(x, y);
    cross += (v32)x * (v32)(y << 32 | y >> 32);
  }
  ALWAYS_INLINE v64 value() const { return low + ((v64)cross << 32) + ((v64)cross & 0xFFFFFFFF00000000ull); }
};
#else
#if defined(__AVX512DQ__)
constexpr int ROWS = 8, VECTORS = 3;  // 24 sums, 3 vectors of b, 1 of a: 28 of 32 registers
#else
constexpr int ROWS = 4, VECTORS = 1;
#endif

struct Sum {
  v64 low;
  ALWAYS_INLINE void add(v64 x, v64 y) { low += x * y; }
  ALWAYS_INLINE v64 value() const { return low; }
};
#endif

constexpr int DEPTH = 256;      // a panel is at most 256 x 24 words: 48 KiB, within the second-level cache
constexpr i64 ROW_CHUNK = 256;  // rows of one work item: packing the panel again costs each item some 3 %
constexpr i64 THREADED_FROM = 1 << 19;  // multiplications, some 60 us

struct Product {
  const u64 *a, *b;
  u64* out;
  i64 rows, inner, cols;
};

// c[R x V*VL] = a[R x depth] panel[depth x V*VL], or += when `add`.
template <int R, int V>
FN void tile(const u64* a, i64 a_stride, const u64* panel, u64* c, i64 c_stride, i64 depth, bool add) {
  Sum sum[R][V] = {};
  if (add)
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < V; v++) sum[r][v].low = load(v64{}, c + r * c_stride + v * VL);
  for (i64 k = 0; k < depth; k++) {
    v64 y[V];
    UNROLL for (int v = 0; v < V; v++) y[v] = load(v64{}, panel + (k * V + v) * VL);
    UNROLL for (int r = 0; r < R; r++) {
      v64 x = a[r * a_stride + k] + v64{};
      UNROLL for (int v = 0; v < V; v++) sum[r][v].add(x, y[v]);
    }
  }
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int v = 0; v < V; v++) store(c + r * c_stride + v * VL, sum[r][v].value());
}

// R rows by `width` columns: whole panels straight into the output, a narrower one through a buffer.
template <int R, int V>
void edge_tile(const Product& g, i64 row, i64 col, i64 width, i64 k, i64 depth, const u64* panel) {
  const u64* a = g.a + row * g.inner + k;
  u64* c = g.out + row * g.cols + col;
  if (width == V * VL) {
    tile<R, V>(a, g.inner, panel, c, g.cols, depth, k > 0);
    return;
  }
  u64 whole[R * V * VL];
  tile<R, V>(a, g.inner, panel, whole, V * VL, depth, false);
  for (int r = 0; r < R; r++)
    for (i64 j = 0; j < width; j++) c[r * g.cols + j] = (k ? c[r * g.cols + j] : 0) + whole[r * V * VL + j];
}

// Rows [row, end) of columns [col, col+width), width in ((V-1)*VL, V*VL].
template <int V> void panel_product(const Product& g, i64 row, i64 end, i64 col, i64 width) {
  alignas(64) u64 panel[DEPTH * V * VL];
  for (i64 k = 0; k < g.inner; k += DEPTH) {
    i64 depth = std::min<i64>(DEPTH, g.inner - k), r = row;
    if (width < V * VL) memset(panel, 0, sizeof panel);
    for (i64 j = 0; j < depth; j++) memcpy(panel + j * V * VL, g.b + (k + j) * g.cols + col, width * 8);
    for (; r + ROWS <= end; r += ROWS) edge_tile<ROWS, V>(g, r, col, width, k, depth, panel);
    if (r + 4 <= end) edge_tile<4, V>(g, r, col, width, k, depth, panel), r += 4;
    if (r + 2 <= end) edge_tile<2, V>(g, r, col, width, k, depth, panel), r += 2;
    if (r < end) edge_tile<1, V>(g, r, col, width, k, depth, panel);
  }
}

template <int V> void any_panel_product(const Product& g, i64 row, i64 end, i64 col, i64 width) {
  if constexpr (V > 1)
    if (width <= (V - 1) * VL) return any_panel_product<V - 1>(g, row, end, col, width);
  panel_product<V>(g, row, end, col, width);
}

}  // namespace

// Same contract as matmul.cu.
KERNEL matmul(const u64* __restrict__ a, const u64* __restrict__ b, u64* __restrict__ out, i64 batch, i64 rows,
              i64 inner, i64 cols, i64 a_step, i64 b_step, i64) {
  constexpr i64 wide = VECTORS * VL;
  i64 across = (cols + wide - 1) / wide, down = (rows + ROW_CHUNK - 1) / ROW_CHUNK;
  DO_PRAGMA(omp parallel for collapse(3) schedule(static) num_threads(worker_threads)
            if(batch * rows * inner * cols > THREADED_FROM))
  for (i64 s = 0; s < batch; s++)
    for (i64 p = 0; p < across; p++)
      for (i64 m = 0; m < down; m++) {
        Product g{a + s * a_step, b + s * b_step, out + s * rows * cols, rows, inner, cols};
        i64 row = m * ROW_CHUNK, col = p * wide;
        any_panel_product<VECTORS>(g, row, std::min(rows, row + ROW_CHUNK), col, std::min(wide, cols - col));
      }
}
