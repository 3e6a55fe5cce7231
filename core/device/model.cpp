#include "ness/device/model.hpp"
#include "ness/device/dense_lu.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace ness {
namespace {

Vector solve_transposed(const Matrix& conductance, const Vector& cotangent) {
  const Vector undefined = Vector::Constant(cotangent.size(), std::numeric_limits<double>::quiet_NaN());
  if (!conductance.allFinite() || !cotangent.allFinite()) return undefined;
  const DenseLu lu((-conductance).transpose());
  if (!lu.solvable()) return undefined;
  Vector solution;
  lu.solve(cotangent, solution);
  return solution.allFinite() ? solution : undefined;
}

}  // namespace

void Model::costates(std::span<const Drive> drives, std::span<const Vector> potential,
                     std::span<const Vector> cotangent, std::span<Vector> costate) const {
  if (potential.size() != drives.size() || cotangent.size() != drives.size() ||
      costate.size() != drives.size()) {
    throw std::invalid_argument("costates of " + std::to_string(drives.size()) +
                                " drives: " + std::to_string(potential.size()) + " potentials, " +
                                std::to_string(cotangent.size()) + " cotangents, room for " +
                                std::to_string(costate.size()));
  }
  for (std::size_t i = 0; i < drives.size(); ++i) {
    costate[i] = solve_transposed(conductance(drives[i], potential[i]), cotangent[i]);
  }
}

void Model::add_adjoint_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                                 std::span<const Vector> cotangent, std::span<Vector> costate,
                                 Eigen::Ref<Vector> gradient) const {
  costates(drives, potential, cotangent, costate);
  const bool all =
      std::all_of(costate.begin(), costate.end(), [](const Vector& lambda) { return lambda.allFinite(); });
  if (all) {
    add_gradient(drives, potential, costate, gradient);
    return;
  }
  std::vector<Drive> usable;
  std::vector<Vector> at, lambda;
  for (std::size_t i = 0; i < drives.size(); ++i) {
    if (!costate[i].allFinite()) continue;
    usable.push_back(drives[i]);
    at.push_back(potential[i]);
    lambda.push_back(costate[i]);
  }
  if (!usable.empty()) add_gradient(usable, at, lambda, gradient);
}

}  // namespace ness
