#include "ness/core/model.hpp"

#include <Eigen/LU>
#include <limits>
#include <stdexcept>
#include <string>

namespace ness {
namespace {

Vector solve_transposed(const Matrix& conductance, const Vector& cotangent) {
  const Vector undefined = Vector::Constant(cotangent.size(), std::numeric_limits<double>::quiet_NaN());
  if (!conductance.allFinite() || !cotangent.allFinite()) return undefined;
  const Eigen::PartialPivLU<Matrix> lu((-conductance).transpose());
  // Below machine precision no digit of the solution has a meaning. Also false for NaN.
  if (!(lu.rcond() > std::numeric_limits<double>::epsilon())) return undefined;
  Vector solution = lu.solve(cotangent);
  return solution.allFinite() ? solution : undefined;
}

}  // namespace

void Model::costates(std::span<const Drive> drives, std::span<const Vector> potential, std::span<const Vector> cotangent,
                     std::span<Vector> costate) const {
  if (potential.size() != drives.size() || cotangent.size() != drives.size() || costate.size() != drives.size()) {
    throw std::invalid_argument("costates of " + std::to_string(drives.size()) +
                                " drives: " + std::to_string(potential.size()) + " potentials, " +
                                std::to_string(cotangent.size()) + " cotangents, room for " + std::to_string(costate.size()));
  }
  for (std::size_t i = 0; i < drives.size(); ++i) {
    costate[i] = solve_transposed(conductance(drives[i], potential[i]), cotangent[i]);
  }
}

}  // namespace ness
