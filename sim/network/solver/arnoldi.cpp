#include <Spectra/GenEigsRealShiftSolver.h>

#include "solver/eigensolvers.hpp"

namespace ness::sim {

namespace {
// The interface that Spectra requires.
struct Operation {
  using Scalar = double;
  ShiftedInverse& inverse;
  Eigen::Index rows() const { return inverse.size(); }
  Eigen::Index cols() const { return inverse.size(); }
  void set_shift(double sigma) { inverse.set_shift(sigma); }
  void perform_op(const double* in, double* out) const { inverse.apply(in, out); }
};
}  // namespace

Nearest nearest_to(ShiftedInverse& inverse, double sigma, Eigen::Index wanted, const Vector& start,
                   bool vector) {
  Operation operation{inverse};
  Spectra::GenEigsRealShiftSolver<Operation> solver(operation, wanted, 3 * wanted, sigma);
  solver.init(start.data());
  if (solver.compute(Spectra::SortRule::LargestMagn, 300, 1e-10, Spectra::SortRule::LargestReal) < wanted)
    return {};
  Nearest found{solver.eigenvalues(), {}};
  if (vector) found.direction = solver.eigenvectors(1).col(0).real();
  return found;
}

}  // namespace ness::sim
