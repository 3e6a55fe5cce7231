#include <Eigen/Eigenvalues>

#include "solver/eigensolvers.hpp"

namespace ness::sim {

std::optional<Rightmost> rightmost_of(const Matrix& matrix, bool vector) {
  const Eigen::EigenSolver<Matrix> solver(matrix, vector);
  if (solver.info() != Eigen::Success) return std::nullopt;
  Eigen::Index worst = 0;
  solver.eigenvalues().real().maxCoeff(&worst);
  Rightmost found{solver.eigenvalues()[worst], {}};
  if (vector) found.direction = solver.eigenvectors().col(worst).real();
  return found;
}

}  // namespace ness::sim
