#include "solver/rodas.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ness::sim {

namespace {
// For y' = f(t, y), J = df/dy, in the form without a product by J:
//   (1/(gamma h) - J) U_i = f(t + alpha_i h, y + sum_j a_ij U_j) + (1/h) sum_j c_ij U_j + gamma_i h df/dt,
//   end = y + sum_j a_6j U_j + U_6, error U_6; a_6j = a_5j for j < 5, and 1.
constexpr double gamma_ = 0.25;
constexpr double alpha[6] = {0, 0.386, 0.21, 0.63, 1, 1};
constexpr double by_time[6] = {0.25, -0.1043, 0.1035, -0.03620000000000023, 0, 0};
constexpr double a[6][5] = {
    {},
    {1.544},
    {0.9466785280815826, 0.2557011698983284},
    {3.314825187068521, 2.896124015972201, 0.9986419139977817},
    {1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950},
    {1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1}};
constexpr double c[6][5] = {
    {},
    {-5.6688},
    {-2.430093356833875, -0.2063599157091915},
    {-0.1073529058151375, -9.594562251023355, -20.47028614809616},
    {7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160},
    {8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054}};
// Dense output: y(t + s h) = (1-s) y + s (end + (1-s) (third + s fourth)).
constexpr double third[5] = {10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823,
                             1.025137723295662};
constexpr double fourth[5] = {-0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386,
                              -6.594389125716872};
}  // namespace

Rodas::Rodas(const Network& network, const Boundary& boundary)
    : network_(network),
      boundary_(boundary),
      evaluation_(network.workspace()),
      algebra_(network.workspace()),
      pool_(network.potential_dependent_capacity()) {
  any_pool_ = std::find(pool_.begin(), pool_.end(), true) != pool_.end();
}

void Rodas::begin(double time, const Vector& state, const Vector& levels, const Vector& velocity) {
  time_ = began_ = standing_ = before_ = time;
  levels_ = boundary_.clamp = levels;
  velocity_ = velocity;
  moving_ = velocity.size() > 0 && (velocity.array() != 0).any();
  y_ = state;
  for (const auto& [k, level] : boundary_.held) y_[k] = level;
  network_.impose(boundary_, *evaluation_);
  network_.impose(boundary_, *algebra_);
  steepness_ = network_.steepness(boundary_.theta);
  steepest_ = steepness_.size() > 0 ? steepness_.maxCoeff() : 0;
  length_ = 0;
  from_ = y_;
  look_around();
}

void Rodas::evaluate(double time, const Vector& state, Vector& unbalanced, Jacobian* jacobian) {
  if (moving_ && time != standing_) {
    boundary_.clamp = levels_ + velocity_ * (time - began_);
    network_.impose(boundary_, *evaluation_);
    standing_ = time;
  }
  network_.evaluate(*evaluation_, state, unbalanced, jacobian);
}

// Evaluates F, dI/dmu, dF/dt and the capacities at the state.
bool Rodas::look_around() {
  evaluate(time_, y_, unbalanced_, &jacobian_);
  C_ = network_.capacity(y_);
  if (moving_) {
    // Central difference over 2e-5 kT of the fastest level: relative truncation error 1e-10, rounding error
    // 1e-11.
    const double apart = 1e-5 * network_.spec().kT / velocity_.cwiseAbs().maxCoeff();
    evaluate(time_ + apart, y_, ahead_, nullptr);
    evaluate(time_ - apart, y_, flow_, nullptr);
    by_time_ = (ahead_ - flow_) / (2 * apart);
  }
  return unbalanced_.allFinite() && C_.allFinite();
}

// Both sides of the method's equations are multiplied by C, and C J = -dI/dmu - diag(F C'/C), with C' = C/kT
// at pools and 0 elsewhere.
bool Rodas::attempt(double h) {
  h_ = h;
  matrix_ = jacobian_;
  matrix_.add_to_diagonal(C_ / (gamma_ * h));
  if (any_pool_) {
    for (Eigen::Index k = 0; k < y_.size(); ++k) {
      if (pool_[static_cast<std::size_t>(k)]) matrix_.diagonal(k) += unbalanced_[k] / network_.spec().kT;
    }
  }
  if (!network_.factor(*algebra_, matrix_)) return false;
  for (std::size_t i = 0; i < 6; ++i) {
    if (i == 0) {
      rhs_ = unbalanced_;
    } else {
      stage_ = y_;
      ahead_ = (c[i][0] / h) * u_[0];
      for (std::size_t j = 0; j < i; ++j) stage_ += a[i][j] * u_[j];
      for (std::size_t j = 1; j < i; ++j) ahead_ += (c[i][j] / h) * u_[j];
      if (!stage_.allFinite()) return false;
      evaluate(time_ + alpha[i] * h, stage_, flow_, nullptr);
      if (any_pool_) flow_.array() *= C_.array() / network_.capacity(stage_).array();
      rhs_ = flow_ + C_.cwiseProduct(ahead_);
    }
    if (moving_) rhs_ += (by_time[i] * h) * by_time_;
    if (boundary_.held.size() > 0) {
      for (const auto& [k, level] : boundary_.held) rhs_[k] = 0;
    }
    network_.solve(*algebra_, rhs_, u_[i]);
  }
  end_ = stage_ + u_[5];
  for (const auto& [k, level] : boundary_.held) end_[k] = level;
  return end_.allFinite();
}

double Rodas::way() const {
  const double of_levels = moving_ ? h_ * velocity_.cwiseAbs().maxCoeff() * steepest_ : 0;
  return end_.size() == 0 ? 0
                          : std::max(of_levels, (end_ - y_).cwiseAbs().cwiseProduct(steepness_).maxCoeff());
}

bool Rodas::accept(double time) {
  from_ = std::move(y_);
  y_ = end_;
  third_ = third[0] * u_[0];
  fourth_ = fourth[0] * u_[0];
  for (std::size_t j = 1; j < 5; ++j) {
    third_ += third[j] * u_[j];
    fourth_ += fourth[j] * u_[j];
  }
  before_ = time_;
  length_ = h_;
  time_ = time;
  return look_around();
}

Vector Rodas::at(double time) const {
  if (length_ == 0 || time >= time_) return y_;
  const double s = (time - before_) / length_;
  return (1 - s) * from_ + s * (y_ + (1 - s) * (third_ + s * fourth_));
}

}  // namespace ness::sim
