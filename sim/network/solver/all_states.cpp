#include "ness/network/all_states.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "ness/device/random.hpp"
#include "ness/network/steady_state.hpp"

namespace ness::sim {

namespace {
// Two states are one if no potential differs by more than this (kT).
constexpr double same = 1e-6;

class Search {
 public:
  Search(const Network& network, const Boundary& boundary)
      : network_(network), boundary_(boundary), work_(network.workspace()) {
    network.impose(boundary_, *work_);
    kT_ = network.spec().kT;
    // A step moves no argument of an edge's exponentials by more than about 1.
    longest_ = network.steepness(boundary.theta).cwiseMax(1 / kT_).cwiseInverse();
    low_ = std::numeric_limits<double>::infinity();
    high_ = -low_;
    const auto take = [&](double level) {
      low_ = std::min(low_, level);
      high_ = std::max(high_, level);
    };
    for (const double level : boundary.clamp) take(level);
    for (const auto& [k, level] : boundary.held) take(level);
    for (std::size_t k = 0; k < network.free().size(); ++k) {
      const double ref = boundary.theta[network.leak_mu_ref(k)], g = boundary.theta[network.leak_g(k)];
      take(ref);
      if (boundary.inject.size() > 0 && g > 0) take(ref + boundary.inject[static_cast<Eigen::Index>(k)] / g);
    }
    low_ -= 2 * kT_;
    high_ += 2 * kT_;
  }

  double low() const { return low_; }
  double high() const { return high_; }
  std::vector<Vector> states;

  // Newton's method from here, repelled by the known states; true if it found another one.
  bool find_from(Vector mu) {
    for (const auto& [k, level] : boundary_.held) mu[k] = level;
    for (int iteration = 0; iteration < 200; ++iteration) {
      if (!step_at(mu)) return false;
      const double deflated = repelled(mu);
      const double far = (deflated * step_).cwiseAbs().cwiseQuotient(longest_).maxCoeff();
      if (!std::isfinite(far)) return false;
      mu += deflated / std::max(1.0, far) * step_;
      if (step_.cwiseAbs().maxCoeff() < 1e-3 * kT_ && polish(mu)) return add(mu);
    }
    return false;
  }

  bool add(const Vector& mu) {
    for (const Vector& known : states) {
      if ((known - mu).cwiseAbs().maxCoeff() < same * kT_) return false;
    }
    states.push_back(mu);
    return true;
  }

 private:
  bool step_at(const Vector& mu) {
    network_.evaluate(*work_, mu, unbalanced_, &jacobian_);
    if (!unbalanced_.allFinite() || !network_.factor(*work_, jacobian_)) return false;
    network_.solve(*work_, unbalanced_, step_);
    return step_.allFinite();
  }

  // The factor of the step towards a zero of M F, M = product of (1 + kT^2/|mu - known|^2).
  double repelled(const Vector& mu) const {
    double along = 0;  // of ln M, along the step
    for (const Vector& known : states) {
      const Vector apart = (mu - known) / kT_;
      const double square = apart.squaredNorm();
      along += -2 * apart.dot(step_ / kT_) / (square * (square + 1));
    }
    return 1 / (1 - along);
  }

  // Undeflated, to the end.
  bool polish(Vector& mu) {
    for (int iteration = 0; iteration < 20; ++iteration) {
      if (!step_at(mu)) return false;
      const double far = step_.cwiseAbs().cwiseQuotient(longest_).maxCoeff();
      if (!(far < 0.3)) return false;
      mu += step_;
      if (step_.cwiseAbs().maxCoeff() <
          std::max(1e-12 * kT_, 16 * std::numeric_limits<double>::epsilon() * mu.cwiseAbs().maxCoeff()))
        return true;
    }
    return false;
  }

  const Network& network_;
  const Boundary boundary_;
  Network::WorkspacePtr work_;
  double kT_ = 1, low_ = 0, high_ = 0;
  Vector longest_, unbalanced_, step_;
  Jacobian jacobian_;
};
}  // namespace

std::string AllStatesOptions::problem() const {
  return starts > 0 ? std::string() : "starts is 0, expected at least 1";
}

std::vector<FoundState> all_steady_states(const Network& network, const Boundary& boundary,
                                          const std::vector<Vector>& known, const AllStatesOptions& options) {
  if (std::string p = options.problem(); !p.empty()) throw std::invalid_argument("steady states: " + p);
  Search search(network, boundary);
  for (const Vector& state : known) search.add(state);
  Random random(options.seed, 91);
  Vector start(static_cast<Eigen::Index>(network.free().size()));
  for (std::uint32_t i = 0; i < options.starts; ++i) {
    for (double& mu : start) mu = random.uniform(search.low(), search.high());
    while (search.find_from(start)) {}
  }
  std::sort(search.states.begin(), search.states.end(), [](const Vector& a, const Vector& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  });
  std::vector<FoundState> found;
  for (Vector& state : search.states) {
    const double eigenvalue = max_real_eigenvalue(network, boundary, state);
    found.push_back({std::move(state), eigenvalue});
  }
  return found;
}

}  // namespace ness::sim
