// Apart, so that one source reads Ceres.
#include "least_squares.hpp"

#include <ceres/cost_function.h>
#include <ceres/problem.h>
#include <ceres/solver.h>

namespace ness {

namespace {

/// All residuals at once: one function, whose rows its owner may compute in parallel, so that the sum of
/// squares has the same bits on any number of threads.
class Residuals final : public ceres::CostFunction {
 public:
  Residuals(std::size_t residuals, Eigen::Index unknowns, const ResidualsAt& at)
      : unknowns_(unknowns), at_(at) {
    set_num_residuals(static_cast<int>(residuals));
    mutable_parameter_block_sizes()->push_back(static_cast<int>(unknowns));
  }

  bool Evaluate(double const* const* parameters, double* residuals, double** jacobians) const override {
    return at_(Eigen::Map<const Vector>(parameters[0], unknowns_), residuals,
               jacobians != nullptr ? jacobians[0] : nullptr);
  }

 private:
  Eigen::Index unknowns_;
  const ResidualsAt& at_;
};

}  // namespace

bool improve(Vector& y, std::size_t residuals, const ResidualsAt& at) {
  ceres::Problem::Options ownership;
  ownership.cost_function_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
  Residuals function(residuals, y.size(), at);
  ceres::Problem problem(ownership);
  problem.AddResidualBlock(&function, nullptr, y.data());
  ceres::Solver::Options how;
  how.linear_solver_type = ceres::DENSE_QR;
  how.logging_type = ceres::SILENT;
  how.max_num_iterations = 15;
  how.max_num_consecutive_invalid_steps = 20;
  how.function_tolerance = 1e-9;
  how.parameter_tolerance = 1e-14;
  how.gradient_tolerance = 0;
  ceres::Solver::Summary summary;
  ceres::Solve(how, &problem, &summary);
  return summary.IsSolutionUsable();
}

}  // namespace ness
