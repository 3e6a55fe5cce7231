// The dense part of a sparse LU: elimination of the first nodes of a front in vector code.
#pragma once

#include <cstddef>

namespace ness::sim::kernels {

constexpr std::size_t front_room = 65536;  ///< scratch of eliminate(), in numbers

/// A front [rows x rows], of which the first `pivots` nodes are eliminated with pivots on the diagonal: F = L
/// U there, and `update` is the Schur complement on the other nodes. L and the transpose of U are both stored
/// by columns, so that all products have the same form.
struct Front {
  std::size_t rows = 0, pivots = 0;
  /// [rows x pivots] F on and below the diagonal; becomes L (its diagonal is 1), with U's diagonal in place.
  double* lower = nullptr;
  /// [rows x pivots] F^T below the diagonal; becomes U^T. Unused on and above the diagonal.
  double* upper = nullptr;
  double* update = nullptr;   ///< [rows - pivots squared], by columns
  double* largest = nullptr;  ///< [rows] becomes the largest magnitude of each column of U above its diagonal
  double* room = nullptr;     ///< [front_room] scratch
};
/// After a pivot of 0 the rest is infinite or NaN. Unused places above the diagonals are overwritten.
void eliminate(const Front& front);

/// x [rows], of which x_first are the first `pivots` and the rest is zero: x_first := T^-1 x_first, x_rest :=
/// -B x_first. The columns of `kept` [rows x pivots] hold a lower triangle T, and B below it. `kept` is L,
/// with a diagonal of 1 (`diagonal` null), or U^T, whose diagonal is in `diagonal`, with the layout of
/// `kept`.
void solve_forward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal,
                   double* x);
/// x_first := T^-T (x_first - B^T x_rest), with the same arguments.
void solve_backward(std::size_t rows, std::size_t pivots, const double* kept, const double* diagonal,
                    double* x);

}  // namespace ness::sim::kernels
