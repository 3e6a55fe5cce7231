#include "ness/network/steady_state.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "solver/eigenvalues.hpp"
#include "solver/path.hpp"
#include "ness/network/rosenbrock.hpp"

namespace ness::sim {

namespace {
// A potential that would have to go further than this many times its present value does not stop.
constexpr double furthest_stop = 1e60;
// SteadyStateOptions::max_steps is multiplied by this at most.
constexpr double most_patience = 300;
// A relaxation that has strayed is repeated with a tolerance smaller by this factor, but not below the
// finest.
constexpr double refinement = 0.1, finest_tolerance = 1e-9;
// With a smaller tolerance, relative to the first, errors that seem to be mere delays are believed to be just
// that.
constexpr double finest_for_delays = 0.02;
// Potentials are not known better than this part of the largest.
constexpr double rounding = 16 * std::numeric_limits<double>::epsilon();
constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

// The largest real part, if proved to be the largest; otherwise not_known.
double known(const Leading& leading) { return leading.bound > leading.real ? not_known : leading.real; }

// Follows one relaxation.
class Following {
 public:
  Following(const Network& network, const Boundary& boundary, const Vector& start,
            const SteadyStateOptions& options, Network::Workspace& work)
      : network_(network), options_(options), work_(work), path_(network, work), start_(start) {
    network.impose(boundary, work);
    for (const auto& [k, level] : boundary.held) start_[k] = level;
    state_.potential = start_;
    disturbance_ = options.margin * network.spec().kT;
    escape_level_ = furthest_level(network, boundary);
    escape_ = options.escape * network.spec().kT + 10 * escape_level_;
  }

  SteadyState run(bool restored) {
    path_.begin(state_.potential, disturbance_);
    const double kT = network_.spec().kT;
    allowed_ = (path::trusted_widths * options_.trust / path_.steepness().array().max(1 / kT))
                   .min(options_.trust * kT);
    if (restored && options_.newton_first && newton_contracting()) return finish(Verdict::converged);
    if (network_.linear() && newton(std::numeric_limits<double>::infinity(), true))
      return finish(Verdict::converged);
    state_.followed = true;
    for (double tolerance = options_.path_tolerance;; tolerance *= refinement) {
      const bool finest = tolerance * refinement < finest_tolerance;
      const Outcome outcome = follow(tolerance, restored, !finest);
      if (outcome == Outcome::strayed) {
        // Where errors are smaller than the disturbance, it is the disturbance that decides. What is left is
        // to follow the undisturbed path.
        if (tolerance <= options_.margin && disturbance_ > 0) {
          state_.near_other_branch = true;
          disturbance_ = 0;
        }
        again();
        continue;
      }
      return finish(outcome == Outcome::moving ? examine_for_cycle() : verdict_);
    }
  }

 private:
  enum class Outcome : std::uint8_t { decided, moving, strayed };

  // Follows the relaxation to its end, which is then in verdict_, or until it takes too long. `again`: also
  // until its errors may have led it to another branch.
  Outcome follow(double tolerance, bool restored, bool again) {
    if (restored) state_.contracting = network_.contracting(work_, path_.jacobian);
    // Order 3: steps become shorter with the third root of the tolerance.
    // A pool fills and drains by an e-fold in a few steps, and may have hundreds of them to go.
    const double far =
        path_.y.size() == 0 ? 0 : (path_.y.cwiseAbs().maxCoeff() + escape_level_) / network_.spec().kT;
    const double most = options_.max_steps * std::cbrt(options_.path_tolerance / tolerance) *
                        std::clamp(far / 5, 1.0, most_patience);
    for (std::uint32_t steps = 0; steps < most; ++steps) {
      if (!path_.step(tolerance, options_.path_reach)) break;
      ++state_.steps;
      state_.potential = path_.y;
      const bool late =
          tolerance > finest_for_delays * options_.path_tolerance && !(path_.late() <= path::most_strayed);
      if (again && (late || !(path_.strayed() <= path::most_strayed))) return Outcome::strayed;
      if (restored && state_.contracting) state_.contracting = network_.contracting(work_, path_.jacobian);
      if (const std::optional<Verdict> verdict = arrived()) {
        verdict_ = *verdict;
        return Outcome::decided;
      }
    }
    return Outcome::moving;
  }

  // Back to the start.
  void again() {
    state_.potential = start_;
    path_.time = 0;
    path_.limit(std::numeric_limits<double>::infinity());
    path_.begin(start_, disturbance_);
    kicks_ = untried_ = 0;
    tried_.resize(0);
  }

  // The largest potential that the levels, the leaks and the currents into the free nodes can lead to.
  static double furthest_level(const Network& network, const Boundary& boundary) {
    double level = boundary.clamp.size() > 0 ? boundary.clamp.cwiseAbs().maxCoeff() : 0, weakest = 0,
           injected = boundary.inject.size() > 0 ? boundary.inject.cwiseAbs().sum() : 0;
    for (std::size_t k = 0; k < network.free().size(); ++k) {
      level = std::max(level, std::abs(boundary.theta[network.leak_mu_ref(k)]));
      const double g = boundary.theta[network.leak_g(k)];
      if (g > 0 && (weakest == 0 || g < weakest)) weakest = g;
    }
    return level + (weakest > 0 ? injected / weakest : 0);
  }

  // The longest of a vector's entries, relative to how far Newton's method may go there.
  double relative_to_allowed(const Vector& v) const {
    return v.cwiseAbs().cwiseQuotient(allowed_).maxCoeff();
  }

  // Checked after every step: is the state at rest, or close enough for Newton's method to finish?
  std::optional<Verdict> arrived() {
    if (!path_.y.allFinite()) return Verdict::diverged;
    if ((path_.y - start_).cwiseAbs().maxCoeff() > escape_ && !stops_somewhere()) return Verdict::diverged;
    const double kT = network_.spec().kT;
    if (path_.jacobian.sparse() && plainly_far(0.5 * options_.trust * kT)) return std::nullopt;
    if (!network_.factor(work_, path_.jacobian)) return std::nullopt;
    network_.solve(work_, path_.unbalanced, correction_);
    const double distance = relative_to_allowed(correction_);
    tried_ = path_.y;
    left_ = correction_.cwiseAbs().maxCoeff();
    untried_ = 0;
    if (!(distance <= 0.5)) return std::nullopt;
    state_.potential = path_.y;
    if (newton_contracting()) return Verdict::converged;
    if (distance <= 1e-3 && newton_by_eigenvalues()) return Verdict::converged;
    return std::nullopt;
  }

  // Far out, where the edges are empty or full: true if what still conducts there will stop the potentials.
  bool stops_somewhere() {
    if (!network_.factor(work_, path_.jacobian)) return false;
    network_.solve(work_, path_.unbalanced, correction_);
    return correction_.cwiseAbs().maxCoeff() < furthest_stop * path_.y.cwiseAbs().maxCoeff();
  }

  // True if Newton's step would certainly be too long, found without a factorisation (in large networks this
  // is the main cost of a step). Newton's step is at least as long as each row of F = (dI/dmu) x step
  // requires; and where dI/dmu changes little, it shrinks no faster than the state moves. It is computed at
  // every fourth step in any case.
  bool plainly_far(double near) {
    for (Eigen::Index k = 0; k < path_.y.size(); ++k) {
      if (std::abs(path_.unbalanced[k]) > path_.jacobian.row_magnitude(k) * near) return true;
    }
    return tried_.size() != 0 && ++untried_ < 4 &&
           (path_.y - tried_).cwiseAbs().maxCoeff() < 0.5 * (left_ - near);
  }

  // Newton's method with a certificate at every iterate: there, and between the iterates, distances shrink
  // along the flow.
  bool newton_contracting() { return newton(1, true); }

  // If there is no certificate at a state that hardly moves, the eigenvalues decide. If the state is
  // unstable, the relaxation is only slow: it is shifted along the unstable direction by less than any
  // reading resolves, and followed further.
  bool newton_by_eigenvalues() {
    const Leading before = leading_eigenvalue(network_, work_, path_.y, path_.jacobian, true);
    if (!(before.bound < 0)) {
      if (before.real > 0 && kicks_ < 8) {
        ++kicks_;
        state_.near_other_branch = true;
        path_.kick(1e-6 * network_.spec().kT * before.direction, 0.3 / before.modulus);
      }
      return false;
    }
    if (!newton(1e-2, false)) return false;
    const Leading after = leading_eigenvalue(network_, work_, state_.potential, jacobian_, false);
    state_.max_real_eigenvalue = known(after);
    return after.bound < 0;
  }

  // `trust`: how far it may go in total, relative to what is allowed.
  bool newton(double trust, bool certified) {
    Vector mu = state_.potential;
    const Vector from = mu;
    unbalanced_ = path_.unbalanced;
    jacobian_ = path_.jacobian;
    double before = std::numeric_limits<double>::infinity();
    for (int iteration = 0; iteration < 25; ++iteration) {
      if (certified && !network_.contracting(work_, jacobian_)) return false;
      if (!network_.factor(work_, jacobian_)) return false;
      network_.solve(work_, unbalanced_, correction_);
      const double size = correction_.cwiseAbs().maxCoeff();
      if (!(relative_to_allowed(correction_) <= trust)) return false;
      mu += correction_;
      if (relative_to_allowed(mu - from) > trust) return false;
      // Where rounding makes convergence linear, a short step is not yet a small error.
      const bool shorter = iteration == 0 || size < 0.01 * before || size > 0.5 * before;
      const double finest = rounding * mu.cwiseAbs().maxCoeff();
      if (size <= finest || (shorter && size <= options_.tolerance * network_.spec().kT)) {
        if (certified && !contracting_between(from, mu)) return false;
        state_.potential = mu;
        state_.bound = size;
        state_.residual = unbalanced_.cwiseAbs().maxCoeff();
        state_.max_real_eigenvalue = not_known;
        return true;
      }
      if (iteration > 0 && size > 0.5 * before) return false;
      before = size;
      network_.evaluate(work_, mu, unbalanced_, &jacobian_);
      ++state_.evaluations;
    }
    return false;
  }

  // The flow contracts at both states. Where they are further apart than half the width of an edge, it must
  // contract on the way too: two states with a fold between them contract, each by itself.
  bool contracting_between(const Vector& from, const Vector& to) {
    if (network_.linear()) return true;
    const double widths = path::trusted_widths * relative_to_allowed(to - from);
    const int pieces = static_cast<int>(std::min(std::ceil(widths / path::certified_widths), 1e3));
    for (int i = 1; i < pieces; ++i) {
      network_.evaluate(work_, from + (to - from) * (static_cast<double>(i) / pieces), between_, &jacobian_);
      ++state_.evaluations;
      if (!network_.contracting(work_, jacobian_)) return false;
    }
    return true;
  }

  // The relaxation has not come to rest. It is followed with small steps: either it comes to rest after all,
  // or it returns to an earlier state, which is a limit cycle. Returns are detected at the plane through a
  // visited state, perpendicular to the flow there.
  Verdict examine_for_cycle() {
    if (!path_.y.allFinite()) return Verdict::diverged;
    const double close = std::min(options_.path_tolerance, 1e-4);
    for (int cycle = 0; cycle < 60; ++cycle) {
      const Vector origin = path_.y, across = path_.rate();
      double amplitude = 0, before = 0;
      bool left = false;
      for (std::uint32_t k = 0; k < options_.max_steps; ++k) {
        const Vector previous = path_.y;
        if (!path_.step(close, options_.path_reach)) return Verdict::not_converged;
        ++state_.steps;
        state_.potential = path_.y;
        if (const std::optional<Verdict> verdict = arrived()) return *verdict;
        const double side = across.dot(path_.y - origin);
        const double distance = (path_.y - origin).cwiseAbs().maxCoeff();
        amplitude = std::max(amplitude, distance);
        left = left || side < 0;
        if (left && before < 0 && side >= 0) {
          const Vector crossing = previous + (path_.y - previous) * (before / (before - side));
          const double miss = (crossing - origin).cwiseAbs().maxCoeff();
          // The chord of a step deviates from the curved path; 2 % of the amplitude allows for that.
          if (amplitude > 1e-2 * network_.spec().kT && miss < 0.02 * amplitude) {
            if (++returns_ >= 3) return Verdict::limit_cycle;
          } else {
            returns_ = 0;
          }
          break;
        }
        before = side;
      }
      if (!left) return Verdict::not_converged;
    }
    return Verdict::not_converged;
  }

  SteadyState finish(Verdict verdict) {
    state_.verdict = verdict;
    state_.time = path_.time;
    state_.evaluations += path_.evaluations;
    if (state_.potential.allFinite()) {
      state_.displacement =
          (state_.potential - start_).size() == 0 ? 0 : (state_.potential - start_).cwiseAbs().maxCoeff();
    }
    if (verdict != Verdict::converged) {
      state_.bound = std::numeric_limits<double>::infinity();
      state_.residual = path_.unbalanced.size() == 0 ? 0 : path_.unbalanced.cwiseAbs().maxCoeff();
      state_.max_real_eigenvalue = not_known;
    }
    if (options_.eigenvalue && state_.potential.allFinite()) {
      network_.evaluate(work_, state_.potential, unbalanced_, &jacobian_);
      state_.max_real_eigenvalue =
          known(leading_eigenvalue(network_, work_, state_.potential, jacobian_, false));
    }
    return std::move(state_);
  }

  const Network& network_;
  const SteadyStateOptions& options_;
  Network::Workspace& work_;
  Rosenbrock path_;
  Vector start_, unbalanced_, correction_, between_;
  Jacobian jacobian_;
  SteadyState state_;
  Verdict verdict_ = Verdict::not_converged;
  double escape_ = 0, escape_level_ = 0, disturbance_ = 0;
  Vector allowed_;   // how far Newton's method may go in total
  Vector tried_;     // where Newton's step was last computed,
  double left_ = 0;  // and its length
  int kicks_ = 0, returns_ = 0, untried_ = 0;
};
}  // namespace

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::converged: return "converged";
    case Verdict::not_converged: return "not_converged";
    case Verdict::limit_cycle: return "limit_cycle";
    case Verdict::diverged: return "diverged";
  }
  return "?";
}

std::string SteadyStateOptions::problem() const {
  auto positive = [](const char* name, double value) {
    return value > 0 && std::isfinite(value)
               ? std::string()
               : std::string(name) + " is " + std::to_string(value) + ", expected a finite number > 0";
  };
  for (const auto& [name, value] : {std::pair{"path_tolerance", path_tolerance},
                                    {"trust", trust},
                                    {"tolerance", tolerance},
                                    {"escape", escape},
                                    {"path_reach", path_reach},
                                    {"margin", margin}}) {
    if (std::string p = positive(name, value); !p.empty()) return p;
  }
  if (max_steps == 0) return "max_steps is 0, expected at least 1";
  return {};
}

SteadyState relax(const Network& network, const Boundary& boundary, const Vector& start,
                  const SteadyStateOptions& options, bool restored, Network::Workspace& work) {
  if (static_cast<std::size_t>(start.size()) != network.free().size()) {
    throw std::invalid_argument("steady state: a start of " + std::to_string(start.size()) +
                                " potentials for " + std::to_string(network.free().size()) + " free nodes");
  }
  return Following(network, boundary, start, options, work).run(restored);
}

SteadyState relax(const Network& network, const Boundary& boundary, const Vector& start,
                  const SteadyStateOptions& options) {
  if (std::string p = options.problem(); !p.empty()) throw std::invalid_argument("steady state: " + p);
  const Network::WorkspacePtr work = network.workspace();
  return relax(network, boundary, start, options, false, *work);
}

double max_real_eigenvalue(const Network& network, const Boundary& boundary, const Vector& potential) {
  const Network::WorkspacePtr work = network.workspace();
  network.impose(boundary, *work);
  Vector unbalanced;
  Jacobian jacobian;
  network.evaluate(*work, potential, unbalanced, &jacobian);
  return known(leading_eigenvalue(network, *work, potential, jacobian, false));
}

}  // namespace ness::sim
