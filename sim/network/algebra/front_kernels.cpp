#include "algebra/front_kernels.hpp"

// Compiled once for each instruction set, so nothing that is inlined elsewhere (Eigen, the standard library's
// templates) may be used here: the linker would keep one copy, of any target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "algebra/front_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/vectors-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = Tag<double>;
using V = Vec<double>;

constexpr std::size_t narrow = 8;        // columns eliminated in registers
constexpr std::size_t together = 64;     // columns updated together, from the first one's diagonal down
constexpr std::size_t most_at_once = 4;  // columns, and
// vectors of rows, of a product held in registers: 12 sums, enough to keep all multipliers of a core busy
constexpr std::size_t most_vectors = 3;
// Products of large matrices are computed in blocks (depth x width) that fit in the second-level cache,
// copied to contiguous memory.
constexpr std::size_t depth = 128, width = front_room / depth, worth_copying = 48;

// C -= A B^T for `vectors` vectors of rows and n columns. a_step, b_step, c_step: distance between columns of
// A, B, C.
template <std::size_t vectors, std::size_t n, bool part>
HWY_INLINE void tile(std::size_t k, std::size_t in_part, const double* HWY_RESTRICT a, std::size_t a_step,
                     bool a_padded, const double* HWY_RESTRICT b, std::size_t b_step, double* HWY_RESTRICT c,
                     std::size_t c_step) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  V sum[n][vectors];
  const auto load = [&](const double* from, std::size_t v, bool padded) HWY_ATTR {
    if constexpr (part) {
      if (v + 1 == vectors && !padded) return Part<double>{v * lanes, in_part}.load(from, 0.0);
    }
    return hn::LoadU(d, from + v * lanes);
  };
  HWY_UNROLL(4)
  for (std::size_t j = 0; j < n; ++j) {
    HWY_UNROLL(4)
    for (std::size_t v = 0; v < vectors; ++v) sum[j][v] = load(c + j * c_step, v, false);
  }
  for (std::size_t at = 0; at < k; ++at) {
    V column[vectors];
    HWY_UNROLL(4)
    for (std::size_t v = 0; v < vectors; ++v) column[v] = load(a, v, a_padded);
    HWY_UNROLL(4)
    for (std::size_t j = 0; j < n; ++j) {
      const V by = hn::Set(d, b[j]);
      HWY_UNROLL(4)
      for (std::size_t v = 0; v < vectors; ++v) sum[j][v] = hn::NegMulAdd(column[v], by, sum[j][v]);
    }
    a += a_step;
    b += b_step;
  }
  HWY_UNROLL(4)
  for (std::size_t j = 0; j < n; ++j) {
    HWY_UNROLL(4)
    for (std::size_t v = 0; v < vectors; ++v) {
      if (part && v + 1 == vectors) Part<double>{v * lanes, in_part}.store(sum[j][v], c + j * c_step);
      else hn::StoreU(sum[j][v], d, c + j * c_step + v * lanes);
    }
  }
}

// All columns of a strip. b_jump: distance in B between two groups of columns.
template <std::size_t vectors, bool part>
HWY_INLINE void strip(std::size_t n, std::size_t k, std::size_t in_part, const double* a, std::size_t a_step,
                      bool a_padded, const double* b, std::size_t b_step, std::size_t b_jump, double* c,
                      std::size_t c_step) {
  std::size_t j = 0;
  for (; j + most_at_once <= n; j += most_at_once, b += b_jump)
    tile<vectors, most_at_once, part>(k, in_part, a, a_step, a_padded, b, b_step, c + j * c_step, c_step);
  if (n - j == 3) tile<vectors, 3, part>(k, in_part, a, a_step, a_padded, b, b_step, c + j * c_step, c_step);
  else if (n - j == 2)
    tile<vectors, 2, part>(k, in_part, a, a_step, a_padded, b, b_step, c + j * c_step, c_step);
  else if (n - j == 1)
    tile<vectors, 1, part>(k, in_part, a, a_step, a_padded, b, b_step, c + j * c_step, c_step);
}

// C [m x n] -= A [m x k] B^T, B [n x k]. b_step, b_jump: as above. `room`: memory for a copy of a strip of A,
// or null.
HWY_INLINE void subtract(std::size_t m, std::size_t n, std::size_t k, const double* a, std::size_t a_step,
                         const double* b, std::size_t b_step, std::size_t b_jump, double* c,
                         std::size_t c_step, double* room) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t i = 0; i < m;) {
    const std::size_t left = m - i, whole = left / lanes, part = whole >= most_vectors ? 0 : left % lanes;
    const std::size_t vectors = whole >= most_vectors ? most_vectors : whole > 0 ? whole : 1;
    const bool partial = whole == 0;
    const double* from = a + i;
    std::size_t step = a_step;
    if (room != nullptr) {
      const std::size_t rows = partial ? part : vectors * lanes, padded = vectors * lanes;
      for (std::size_t at = 0; at < k; ++at) {
        for (std::size_t r = 0; r < rows; ++r) room[at * padded + r] = from[at * a_step + r];
        for (std::size_t r = rows; r < padded; ++r) room[at * padded + r] = 0;
      }
      from = room;
      step = padded;
    }
    if (partial) strip<1, true>(n, k, part, from, step, room != nullptr, b, b_step, b_jump, c + i, c_step);
    else if (vectors == 3) strip<3, false>(n, k, 0, from, step, true, b, b_step, b_jump, c + i, c_step);
    else if (vectors == 2) strip<2, false>(n, k, 0, from, step, true, b, b_step, b_jump, c + i, c_step);
    else strip<1, false>(n, k, 0, from, step, true, b, b_step, b_jump, c + i, c_step);
    i += partial ? part : vectors * lanes;
  }
}

HWY_INLINE void subtract_product(std::size_t m, std::size_t n, std::size_t k, const double* a,
                                 std::size_t a_step, const double* b, std::size_t b_step, double* c,
                                 std::size_t c_step, double* dense) {
  if (m < worth_copying || n < worth_copying || k < narrow) {
    subtract(m, n, k, a, a_step, b, b_step, most_at_once, c, c_step, nullptr);
    return;
  }
  alignas(64) double strip_room[depth * most_vectors * hn::MaxLanes(D())];
  for (std::size_t first = 0; first < k; first += depth) {
    const std::size_t deep = k - first < depth ? k - first : depth;
    for (std::size_t left = 0; left < n; left += width) {
      const std::size_t wide = n - left < width ? n - left : width;
      for (std::size_t at = 0; at < deep; ++at) {
        const double* from = b + left + (first + at) * b_step;
        for (std::size_t j = 0; j < wide; ++j)
          dense[(j / most_at_once) * (deep * most_at_once) + at * most_at_once + j % most_at_once] = from[j];
      }
      subtract(m, wide, deep, a + first * a_step, a_step, dense, most_at_once, deep * most_at_once,
               c + left * c_step, c_step, strip_room);
    }
  }
}

// X := X T^-T for `rows` rows of n columns, T lower triangular [narrow x narrow]. The diagonal of T is 1, or
// has these reciprocals.
template <std::size_t n, bool scaled, class At>
HWY_INLINE void divide(const At& at, const double (*t)[narrow], const double* reciprocal, double* x,
                       std::size_t step) {
  const D d;
  V column[n];
  HWY_UNROLL(8)
  for (std::size_t c = 0; c < n; ++c) {
    V v = at.load(x + c * step, 0.0);
    for (std::size_t k = 0; k < c; ++k) v = hn::NegMulAdd(column[k], hn::Set(d, t[c][k]), v);
    if (scaled) v = hn::Mul(v, hn::Set(d, reciprocal[c]));
    column[c] = v;
    at.store(v, x + c * step);
  }
}

template <std::size_t n>
HWY_INLINE void divide_all(std::size_t rows, const double (*lower)[narrow], const double (*upper)[narrow],
                           const double* reciprocal, double* l, double* u, std::size_t step) {
  for_each_vector<double>(rows, [&](const auto& at) HWY_ATTR {
    divide<n, true>(at, upper, reciprocal, l, step);
    divide<n, false>(at, lower, nullptr, u, step);
  });
}

// Eliminates columns [from, from + n), n <= narrow.
HWY_INLINE void eliminate_narrow(const Front& f, std::size_t from, std::size_t n) {
  const std::size_t step = f.rows;
  double* l = f.lower + from * (step + 1);
  double* u = f.upper + from * (step + 1);
  // The square block on the diagonal: L (below the diagonal), and U^T with its diagonal.
  double lower[narrow][narrow], upper[narrow][narrow], reciprocal[narrow];
  for (std::size_t c = 0; c < n; ++c) {
    for (std::size_t r = c; r < n; ++r) {
      double down = l[c * step + r], across = r == c ? 0.0 : u[c * step + r];
      for (std::size_t k = 0; k < c; ++k) {
        down -= lower[r][k] * upper[c][k];
        if (r != c) across -= upper[r][k] * lower[c][k];
      }
      if (r == c) {
        l[c * step + c] = down;
        reciprocal[c] = 1 / down;
      } else {
        l[c * step + r] = lower[r][c] = down * reciprocal[c];
        u[c * step + r] = upper[r][c] = across;
      }
    }
  }
  const std::size_t below = f.rows - from - n;
  switch (n) {
    case 1: divide_all<1>(below, lower, upper, reciprocal, l + n, u + n, step); break;
    case 2: divide_all<2>(below, lower, upper, reciprocal, l + n, u + n, step); break;
    case 3: divide_all<3>(below, lower, upper, reciprocal, l + n, u + n, step); break;
    case 4: divide_all<4>(below, lower, upper, reciprocal, l + n, u + n, step); break;
    case 5: divide_all<5>(below, lower, upper, reciprocal, l + n, u + n, step); break;
    case 6: divide_all<6>(below, lower, upper, reciprocal, l + n, u + n, step); break;
    case 7: divide_all<7>(below, lower, upper, reciprocal, l + n, u + n, step); break;
    default: divide_all<8>(below, lower, upper, reciprocal, l + n, u + n, step); break;
  }
}

// Eliminates columns [from, to): the left half, its update of the right half, the right half.
void eliminate_columns(const Front& f, std::size_t from, std::size_t to) {
  if (to - from <= narrow) return eliminate_narrow(f, from, to - from);
  const std::size_t middle = from + ((to - from) / 2 + narrow - 1) / narrow * narrow, step = f.rows;
  eliminate_columns(f, from, middle);
  for (std::size_t c = middle; c < to; c += together) {
    const std::size_t n = to - c < together ? to - c : together;
    const double *l = f.lower + from * step + c, *u = f.upper + from * step + c;
    subtract_product(f.rows - c, n, middle - from, l, step, u, step, f.lower + c * step + c, step, f.room);
    subtract_product(f.rows - c, n, middle - from, u, step, l, step, f.upper + c * step + c, step, f.room);
  }
  eliminate_columns(f, middle, to);
}

void eliminate_front(const Front& f) {
  eliminate_columns(f, 0, f.pivots);
  const std::size_t rest = f.rows - f.pivots;
  subtract_product(rest, rest, f.pivots, f.lower + f.pivots, f.rows, f.upper + f.pivots, f.rows, f.update,
                   rest, f.room);
  for (std::size_t r = 0; r < f.rows; ++r) f.largest[r] = 0;
  for (std::size_t c = 0; c < f.pivots; ++c) {
    const double* u = f.upper + c * f.rows + c + 1;
    double* largest = f.largest + c + 1;
    for_each_vector<double>(f.rows - c - 1, [&](const auto& at) HWY_ATTR {
      at.store(hn::Max(at.load(largest, 0.0), hn::Abs(at.load(u, 0.0))), largest);
    });
  }
}

void forward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal, double* x) {
  const D d;
  for (std::size_t c = 0; c < pivots; ++c, kept += rows) {
    if (diagonal != nullptr) x[c] /= diagonal[c * (rows + 1)];
    const V by = hn::Set(d, x[c]);
    for_each_vector<double>(rows - c - 1, [&](const auto& at) HWY_ATTR {
      at.store(hn::NegMulAdd(by, at.load(kept + c + 1, 0.0), at.load(x + c + 1, 0.0)), x + c + 1);
    });
  }
}

void backward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal, double* x) {
  const D d;
  for (std::size_t c = pivots; c-- > 0;) {
    const double* column = kept + c * rows + c + 1;
    V sum = hn::Zero(d);
    for_each_vector<double>(rows - c - 1, [&](const auto& at) HWY_ATTR {
      sum = hn::MulAdd(at.load(column, 0.0), at.load(x + c + 1, 0.0), sum);
    });
    x[c] -= hn::GetLane(hn::SumOfLanes(d, sum));
    if (diagonal != nullptr) x[c] /= diagonal[c * (rows + 1)];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ness::sim::kernels {

HWY_EXPORT(eliminate_front);
HWY_EXPORT(forward);
HWY_EXPORT(backward);

void eliminate(const Front& front) { HWY_DYNAMIC_DISPATCH(eliminate_front)(front); }
void solve_forward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal,
                   double* x) {
  HWY_DYNAMIC_DISPATCH(forward)(rows, pivots, kept, diagonal, x);
}
void solve_backward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal,
                    double* x) {
  HWY_DYNAMIC_DISPATCH(backward)(rows, pivots, kept, diagonal, x);
}

}  // namespace ness::sim::kernels
#endif
