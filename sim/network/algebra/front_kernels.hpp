// The dense part of a sparse LU: elimination of the first nodes of a front, in vector code.
#pragma once

#include <cstddef>

namespace ness::sim::kernels {

constexpr std::size_t front_room = 65536;  ///< numbers that eliminate() needs for a copy of a block

/// A front [rows x rows] whose first `pivots` nodes are eliminated, on its diagonal: F = L U there, and `update` is what is left of the
/// others. L and the transpose of U are kept alike, by columns, so that all is products of one shape.
struct Front {
  std::size_t rows = 0, pivots = 0;
  double* lower = nullptr;    ///< [rows x pivots] F, below the diagonal and on it; becomes L (whose diagonal is 1), with U's diagonal
  double* upper = nullptr;    ///< [rows x pivots] F^T below the diagonal; becomes U^T. Above and on its diagonal: nothing
  double* update = nullptr;   ///< [rows - pivots squared], by columns
  double* largest = nullptr;  ///< [rows] becomes the largest magnitude of each column of U above its diagonal
  double* room = nullptr;     ///< [front_room] scratch
};
/// A pivot of 0 makes the rest infinite, or not a number. Unread places above the diagonals are overwritten.
void eliminate(const Front& front);

/// x [rows], x_first its first `pivots`, zeros behind: x_first := T^-1 x_first, x_rest := -B x_first, where the columns of `kept` [rows x pivots]
/// hold a lower triangle T and B below it. `kept` is L, whose diagonal is 1 (`diagonal` null), or U^T, whose diagonal stands in `diagonal`, laid
/// out like `kept`.
void solve_forward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal, double* x);
/// x_first := T^-T (x_first - B^T x_rest), likewise.
void solve_backward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal, double* x);

}  // namespace ness::sim::kernels
