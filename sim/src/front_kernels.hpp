// The dense part of a sparse LU: elimination of the first nodes of a front, in vector code.
#pragma once

#include <cstddef>

namespace ness::sim::kernels {

constexpr std::size_t front_room = 65536;

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

/// x [pivots], then the front's other rows: x_first := L^-1 x_first, rest := -L_below x_first. `kept` is L, or U^T with its diagonal given
/// for that of 1.
void solve_forward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal, double* x);
/// x_first := the same matrix's transpose, of which `x` behind the pivots gives the known part.
void solve_backward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal, double* x);

}  // namespace ness::sim::kernels
