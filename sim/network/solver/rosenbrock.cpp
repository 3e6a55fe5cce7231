#include "ness/network/rosenbrock.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "description/network_impl.hpp"

namespace ness::sim {

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

void Rosenbrock::begin(const Vector& start) {
  y = start;
  time = 0;
  evaluate(y, unbalanced, &jacobian);
  C_ = network_.capacity(y);
  // First step: no node moves by more than 0.1 kT at its present rate.
  const double fastest = unbalanced.cwiseQuotient(C_).cwiseAbs().maxCoeff();
  h_ = fastest > 0 ? 0.1 * network_.spec().kT / fastest : C_.minCoeff();
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
bool Rosenbrock::step(double tolerance) {
  const double kT = network_.spec().kT, epsilon = std::numeric_limits<double>::epsilon();
  for (int attempt = 0; attempt < 60; ++attempt) {
    h_ = std::min(h_, longest_);
    if (!(h_ > epsilon * std::max(time, 1e-12)) || !std::isfinite(h_)) return false;
    A_ = jacobian;
    A_.add_to_diagonal(C_ * (2 / h_));
    if (any_enzyme_) {
      for (Eigen::Index k = 0; k < y.size(); ++k) {
        if (enzyme_[k]) A_.diagonal(k) += unbalanced[k] / kT;
      }
    }
    if (!network_.factor(work_, A_)) {
      h_ *= 0.25;
      continue;
    }
    auto flow_at = [&](const Vector& state) {  // C(y) f(state)
      evaluate(state, flow_, nullptr);
      if (any_enzyme_) flow_.array() *= C_.array() / network_.capacity(state).array();
    };
    const Vector C_h = C_ / h_;
    network_.solve(work_, unbalanced, k1_);
    rhs_ = unbalanced + 4 * C_h.cwiseProduct(k1_);
    network_.solve(work_, rhs_, k2_);
    stage_ = y + 2 * k1_;
    flow_at(stage_);
    rhs_ = flow_ + C_h.cwiseProduct(k1_ - k2_);
    network_.solve(work_, rhs_, k3_);
    stage_ += k3_;
    flow_at(stage_);
    rhs_ = flow_ + C_h.cwiseProduct(k1_ - k2_ - (8.0 / 3.0) * k3_);
    network_.solve(work_, rhs_, k4_);
    const double error = k4_.cwiseAbs().maxCoeff() / (tolerance * kT);
    if (!(error <= 1)) {  // NaN too
      h_ *= std::isfinite(error) ? std::clamp(0.9 / std::cbrt(error), 0.1, 0.9) : 0.1;
      continue;
    }
    y = stage_ + k4_;
    if (work_.any_held) {
      for (const auto& [k, level] : work_.boundary->held) y[k] = level;
    }
    time += h_;
    h_ *= std::clamp(0.9 / std::cbrt(std::max(error, 1e-6)), 0.2, 6.0);
    evaluate(y, unbalanced, &jacobian);
    C_ = network_.capacity(y);
    return y.allFinite();
  }
  return false;
}

}  // namespace ness::sim
