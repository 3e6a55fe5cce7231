#include "ness/network/rosenbrock.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "description/network_impl.hpp"
#include "solver/path.hpp"

namespace ness::sim {

namespace {
// The difference between the method and the trapezoidal rule, relative to the tolerance. Where the method is
// good it stays below 0.7; where a step runs into a well, it is several.
constexpr double most_defect = 1.5;
// Error allowed far out, relative to the potential and to the tolerance.
constexpr double far_per_kT = 1e-3;
// A node with more capacity than this, by the length of the step, does not move.
constexpr double most_inert = 1e250;
}  // namespace

std::vector<bool> held_nodes(const Network::Workspace& work) { return work.held; }

Rosenbrock::Rosenbrock(const Network& network, Network::Workspace& work, Extra extra)
    : network_(network),
      work_(work),
      extra_(std::move(extra)),
      enzyme_(network.potential_dependent_capacity()),
      longest_(std::numeric_limits<double>::infinity()) {
  any_enzyme_ = std::find(enzyme_.begin(), enzyme_.end(), true) != enzyme_.end();
}

void Rosenbrock::evaluate(const Vector& state, Vector& flow, Jacobian* by) {
  network_.evaluate(work_, state, flow, by);
  if (extra_) extra_(state, flow, by);
  ++evaluations;
}

void Rosenbrock::begin(const Vector& start, double disturbance) {
  begin(start);
  errors_ = true;
  contracts_ = jacobian.columns_dominate();
  strayed_ = late_ = speed_ = slowest_ = 0;
  error_ = Vector::Zero(y.size());
  // Nodes are disturbed differently, so that no symmetry of the network hides anything.
  disturbed_.resize(y.size());
  for (Eigen::Index k = 0; k < y.size(); ++k)
    disturbed_[k] = disturbance * std::sin(1 + 2.4 * static_cast<double>(k));
}

void Rosenbrock::begin(const Vector& start) {
  y = start;
  errors_ = false;
  time = 0;
  evaluate(y, unbalanced, &jacobian);
  C_ = network_.capacity(y);
  steepness_ = network_.steepness(work_.boundary->theta);
  per_error_ = (steepness_ / path::most_of_a_width).cwiseMax(1 / network_.spec().kT);
  // First step: at its present rate, no node moves by more than 0.1 kT, nor a tenth of the width of its
  // edges.
  const double fastest = unbalanced.cwiseQuotient(C_)
                             .cwiseAbs()
                             .cwiseProduct(steepness_.cwiseMax(1 / network_.spec().kT))
                             .maxCoeff();
  h_ = fastest > 0 ? 0.1 / fastest : C_.minCoeff();
}

void Rosenbrock::kick(const Vector& by, double longest) {
  y += by;
  longest_ = std::min(longest_, longest);
  h_ = std::min(h_, longest_);
  evaluate(y, unbalanced, &jacobian);
  C_ = network_.capacity(y);
}

Vector Rosenbrock::rate() const { return unbalanced.cwiseQuotient(network_.capacity(y)); }

// The method for y' = f(y) = F/C in the form without a product by the Jacobian J of f:
//   (1/(gamma h) - J) K_i = f(Y_i) + (1/h) sum_j c_ij K_j,  Y_i = y + sum_j a_ij K_j,  y_new = y + sum_i m_i
//   K_i, gamma = 1/2; a31 = a41 = 2, a43 = 1; c21 = 4, c31 = 1, c32 = -1, c41 = 1, c42 = -1, c43 = -8/3; m =
//   (2, 0, 1, 1); error K_4.
// Both sides are multiplied by C, and C J = -dI/dmu - diag(F C'/C), with C' = C/kT at enzyme nodes and 0
// elsewhere.
bool Rosenbrock::step(double tolerance, double reach) {
  for (int attempts = 0; attempts < 60; ++attempts) {
    h_ = std::min(h_, longest_);
    if (!std::isnormal(h_)) return false;
    const Trial trial = attempt(tolerance, reach);
    if (trial.shorter < 1) {
      h_ *= trial.shorter;
      continue;
    }
    if (errors_ && !contracts_) error_.swap(carried_);
    y.swap(stage_);
    unbalanced.swap(flow_);
    std::swap(jacobian, ahead_);
    if (any_enzyme_) C_ = network_.capacity(y);
    time += h_;
    if (errors_) note_errors(std::log(std::max(trial.growth, 1.0)) / h_);
    h_ *= std::min(std::clamp(0.9 / std::cbrt(std::max(trial.error, 1e-6)), 0.2, 6.0),
                   0.9 * reach / trial.moved);
    return y.allFinite();
  }
  return false;
}

// A step from y to stage_, with the currents there in flow_ and ahead_.
Rosenbrock::Trial Rosenbrock::attempt(double tolerance, double reach) {
  if (!factor_for_step()) return {.shorter = 0.25};
  C_h_ = (C_ / h_).cwiseMin(most_inert);
  network_.solve(work_, unbalanced, k1_);
  // 2 k1 is a step of implicit Euler: where that goes much too far, the other stages are not worth their
  // time.
  stage_ = y + 2 * k1_;
  if (2 * k1_.cwiseAbs().cwiseProduct(steepness_).maxCoeff() > 2 * reach) {
    const double ahead = network_.way(work_, y, stage_, steepness_, reach);
    if (ahead > 2 * reach) return {.shorter = std::max(0.1, reach / ahead)};
  }
  rhs_ = unbalanced + 4 * C_h_.cwiseProduct(k1_);
  network_.solve(work_, rhs_, k2_);
  evaluate(stage_, flow_, nullptr);
  to_present_capacity(stage_, flow_);
  rhs_ = flow_ + C_h_.cwiseProduct(k1_ - k2_);
  network_.solve(work_, rhs_, k3_);
  stage_ += k3_;
  evaluate(stage_, flow_, nullptr);
  to_present_capacity(stage_, flow_);
  rhs_ = flow_ + C_h_.cwiseProduct(k1_ - k2_ - (8.0 / 3.0) * k3_);
  network_.solve(work_, rhs_, k4_);
  Trial trial;
  trial.error = relative(k4_) / tolerance;
  if (!(trial.error <= 1))  // NaN too
    return {.shorter = std::isfinite(trial.error) ? std::clamp(0.9 / std::cbrt(trial.error), 0.1, 0.9) : 0.1};
  stage_ += k4_;
  if (work_.any_held) {
    for (const auto& [k, level] : work_.boundary->held) stage_[k] = level;
  }
  // Edge by edge only where the steepest edges' bound is not enough.
  trial.moved = (stage_ - y).cwiseAbs().cwiseProduct(steepness_).maxCoeff();
  if (trial.moved > 0.85 * reach) trial.moved = network_.way(work_, y, stage_, steepness_, 0.15 * reach);
  if (trial.moved > reach) return {.shorter = std::max(0.1, 0.8 * reach / trial.moved)};
  if (errors_ && !contracts_) {
    trial.growth = carry_errors();
    if (trial.growth > path::fastest_growth) return {.shorter = 0.4};
  }
  evaluate(stage_, flow_, &ahead_);
  if (!errors_) return trial;
  if (const double defect = defect_of_step(tolerance) / tolerance; !(defect <= most_defect))
    return {.shorter = std::isfinite(defect) ? std::clamp(0.9 / std::cbrt(defect), 0.1, 0.5) : 0.1};
  if (!contracts_) {
    const double later = growth_at_end();
    if (later > path::fastest_growth) return {.shorter = 0.4};
    trial.growth = std::max(trial.growth, later);
    add_errors_of_step(carried_);
  }
  return trial;
}

bool Rosenbrock::factor_for_step() {
  A_ = jacobian;
  rhs_ = 2 * (C_ / h_).cwiseMin(most_inert);
  A_.add_to_diagonal(rhs_);
  if (any_enzyme_) {
    for (Eigen::Index k = 0; k < y.size(); ++k) {
      if (enzyme_[k] && !capacity_is_bounded(C_[k])) A_.diagonal(k) += unbalanced[k] / network_.spec().kT;
    }
  }
  return network_.factor(work_, A_);
}

// The largest of the errors of a step, relative to one tolerance of each node. Far out a thousandth of the
// potential will do.
double Rosenbrock::relative(const Vector& error) const {
  double largest = 0;
  for (Eigen::Index k = 0; k < error.size(); ++k) {
    const double one = std::abs(error[k]) * per_error_[k],
                 far = far_per_kT * std::abs(y[k]) / network_.spec().kT;
    largest = std::max(largest, far > 1 ? one / far : one);
    if (!(one >= 0)) return one;  // NaN
  }
  return largest;
}

// From F at a state to C(y) dmu/dt there.
void Rosenbrock::to_present_capacity(const Vector& state, Vector& flow) const {
  if (any_enzyme_) flow.array() *= C_.array() / network_.capacity(state).array();
}

// The difference from the trapezoidal rule, which sees the currents at the end: a step into a well can fit
// all its stages and still miss what begins there.
double Rosenbrock::defect_of_step(double tolerance) {
  rhs_ = flow_;
  to_present_capacity(stage_, rhs_);
  rhs_ = 2 * C_h_.cwiseProduct(stage_ - y) - unbalanced - rhs_;
  if (work_.any_held) {
    for (const auto& [k, level] : work_.boundary->held) rhs_[k] = 0;
  }
  // Most steps are good by far, which shows without solving.
  double likely = 0;
  defect_.resize(rhs_.size());
  for (Eigen::Index k = 0; k < rhs_.size(); ++k) {
    defect_[k] = rhs_[k] / std::abs(A_.diagonal(k));
    likely = std::max(likely, std::abs(defect_[k]) * per_error_[k]);
  }
  if (likely < 0.2 * most_defect * tolerance) return likely;
  network_.solve(work_, rhs_, defect_);
  return relative(defect_);
}

// The errors so far, carried along the flow over the step of which the matrix has been factored: e^(-hG/C) by
// two steps of implicit Euler of half the length, which damps what is stiff and does not underrate growth.
double Rosenbrock::carry_errors() {
  carried_ = error_;
  double growth = 1;
  for (int half = 0; half < 2; ++half) {
    rhs_ = 2 * C_h_.cwiseProduct(carried_);
    network_.solve(work_, rhs_, k3_);
    // An implicit method damps what grows too fast for its step: 1/(1 - z) for e^z.
    const double before = carried_.norm(), after = k3_.norm();
    if (before > 0) growth *= after / before;
    // Far too fast for the step: turned round. (What is stiff can vanish, and leave something that points
    // back; but that does not grow.)
    if (after > 0.03 * before && k3_.dot(carried_) < 0 && growth_rate(carried_, jacobian) > 0)
      return std::numeric_limits<double>::infinity();
    carried_.swap(k3_);
  }
  return growth;
}

// By which factor the errors carried would grow in the step if the flow were everywhere as at its end: a step
// may begin where the flow contracts and end where it does not. (To carry the errors by the mean of both ends
// was measured too: it overrates them where the flow speeds up, and flagged twice as many.)
double Rosenbrock::growth_at_end() { return std::exp(std::max(0.0, growth_rate(carried_, ahead_))); }

// The rate at which such an error grows where the Jacobian is this one, times the length of the step.
double Rosenbrock::growth_rate(const Vector& error, const Jacobian& at) {
  const double size = error.squaredNorm();
  if (!(size > 0)) return 0;
  rhs_ = at * error;
  return -error.dot(rhs_.cwiseQuotient(C_h_)) / size;
}

// What a step adds to the errors carried so far: the larger one of its two estimates, since either may vanish
// by accident. An estimate's sign may differ from the error's: with its own sign it would now and then remove
// from the errors what grows. So it always adds.
void Rosenbrock::add_errors_of_step(Vector& errors) {
  const auto in_widths = [&](const Vector& error) { return error.cwiseProduct(steepness_).squaredNorm(); };
  rhs_ = (in_widths(k4_) < in_widths(defect_) ? defect_ : k4_) + disturbed_;
  const double sign = rhs_.cwiseProduct(steepness_).dot(errors.cwiseProduct(steepness_)) < 0 ? -1 : 1;
  errors += sign * rhs_;
}

void Rosenbrock::note_errors(double growth_rate) {
  if (contracts_) {
    contracts_ = jacobian.columns_dominate();
    // Errors of earlier steps shrank on the way here.
    if (!contracts_) add_errors_of_step(error_);
    return;
  }
  rhs_ = unbalanced.cwiseQuotient(C_).cwiseProduct(steepness_);
  across_ = error_.cwiseProduct(steepness_);
  const double along = rhs_.squaredNorm();
  const double delay = along > 0 ? across_.dot(rhs_) / along : 0;
  across_ -= delay * rhs_;
  const double late = std::abs(delay) * growth_rate;
  if (!(late <= late_)) late_ = late;  // NaN too
  // An unstable state is being left as long as the flow is not much faster than it was nearest to it.
  const double before = std::exchange(speed_, std::sqrt(along));
  if (speed_ < before || slowest_ == 0) slowest_ = speed_;
  const double across = across_.size() == 0 ? 0 : across_.cwiseAbs().maxCoeff(),
               now = speed_ < path::leaving * slowest_ ? std::max(across, late) : across;
  if (!(now <= strayed_)) strayed_ = now;
}

}  // namespace ness::sim
