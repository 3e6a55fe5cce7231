#include "ness/network/transient.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>

#include "solver/rodas.hpp"
#include "ness/device/ramp.hpp"
#include "ness/network/rosenbrock.hpp"

namespace ness::sim {

namespace {
std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", x);
  return text;
}

// Times at which a clamped level reaches its final value: F has a kink there, and no step may cross it.
std::vector<double> arrivals(const Vector& levels, double rate) {
  std::vector<double> times;
  if (std::isinf(rate)) return times;
  for (const double level : levels) {
    if (level != 0) times.push_back(std::abs(level) / rate);
  }
  std::sort(times.begin(), times.end());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  return times;
}

// One relaxation in time: RODAS steps under error control, from one kink of the ramp to the next.
class Transient {
 public:
  Transient(const Network& network, const Boundary& boundary, const Vector& start,
            const TransientOptions& options)
      : final_(boundary.clamp),
        kT_(network.spec().kT),
        options_(options),
        kinks_(arrivals(boundary.clamp, options.clamp_rate)),
        path_(network, boundary) {
    depart(0, start);
    const double fastest = path_.rate().size() == 0 ? 0 : path_.rate().cwiseAbs().maxCoeff();
    const double level_rate = kinks_.empty() ? 0 : options.clamp_rate;
    h_ =
        0.01 * network.spec().kT / std::max({fastest, level_rate, 1e-3 / network.capacity(start).minCoeff()});
  }

  /// The state at `time`. No step goes beyond `last`.
  Vector state_at(double time, double last) {
    for (long steps = 0; path_.time() < time; ++steps) {
      if (steps == options_.max_steps) {
        throw std::runtime_error("transient: max_steps = " + std::to_string(options_.max_steps) +
                                 " steps reach only time " + number(path_.time()) + " of " + number(time));
      }
      step(last);
    }
    return path_.at(time);
  }

 private:
  // Continues from a state, with the levels and rates that hold until the next kink.
  void depart(double time, const Vector& state) {
    if (std::isinf(options_.clamp_rate)) return path_.begin(time, state, final_, {});
    Vector levels = final_, velocity = Vector::Zero(final_.size());
    for (Eigen::Index i = 0; i < final_.size(); ++i) {
      if (std::abs(final_[i]) / options_.clamp_rate <= time) continue;
      levels[i] = ramp_level(final_[i], options_.clamp_rate, time);
      velocity[i] = std::copysign(options_.clamp_rate, final_[i]);
    }
    path_.begin(time, state, levels, velocity);
  }

  void step(double last) {
    if (next_kink_ < kinks_.size() && path_.time() >= kinks_[next_kink_])
      depart(kinks_[next_kink_++], Vector(path_.state()));
    const double limit = next_kink_ < kinks_.size() ? std::min(last, kinks_[next_kink_]) : last;
    const double shortest = 4 * std::numeric_limits<double>::epsilon() * limit;
    // Levels of equal magnitude arrive at times that differ by rounding: treat these as one kink.
    if (limit - path_.time() <= shortest) return depart(limit, Vector(path_.state()));
    for (bool repeated = false;; repeated = true) {
      const double left = limit - path_.time();
      // Do not leave a remainder shorter than a tenth of a step.
      const bool ends = h_ * 1.1 >= left;
      const double h = ends ? left : h_;
      // The emptier a pool, the faster its potential falls: steps may be shorter than the last digit of time.
      if (!std::isnormal(h)) {
        throw std::runtime_error("transient: the step size vanishes at time " + number(path_.time()) +
                                 ": the potentials have no finite continuation");
      }
      double error = path_.attempt(h) ? error_of_step() : std::numeric_limits<double>::infinity();
      // A longer step could jump a well with all its stages. Steps become shorter with the fourth root.
      error = std::max(error, std::pow(path_.way() / Rosenbrock::default_reach, 4));
      if (!(error <= 1)) {
        h_ = h * (std::isfinite(error) ? std::clamp(0.9 / std::sqrt(std::sqrt(error)), 0.1, 0.9) : 0.1);
        continue;
      }
      if (!path_.accept(ends ? limit : path_.time() + h)) {
        throw std::runtime_error("transient: the currents are not finite at time " + number(path_.time()));
      }
      const double growth =
          std::clamp(0.9 / std::sqrt(std::sqrt(std::max(error, 1e-6))), 0.2, repeated ? 1.0 : 6.0);
      h_ = ends ? std::max(h_, h * growth) : h * growth;
      return;
    }
  }

  // Largest error of the step attempted, relative to the tolerance.
  double error_of_step() const {
    const Vector scale =
        options_.absolute_tolerance * kT_ +
        options_.relative_tolerance * path_.state().cwiseAbs().cwiseMax(path_.end().cwiseAbs()).array();
    return path_.error().size() == 0 ? 0 : path_.error().cwiseAbs().cwiseQuotient(scale).maxCoeff();
  }

  const Vector final_;
  const double kT_;
  const TransientOptions& options_;
  const std::vector<double> kinks_;
  std::size_t next_kink_ = 0;
  Rodas path_;
  double h_ = 0;
};
}  // namespace

std::string TransientOptions::problem() const {
  if (!(relative_tolerance > 0 && relative_tolerance < 1))
    return "relative_tolerance is " + std::to_string(relative_tolerance) + ", expected a number in (0, 1)";
  if (!(absolute_tolerance > 0) || !std::isfinite(absolute_tolerance))
    return "absolute_tolerance is " + std::to_string(absolute_tolerance) + ", expected a finite number > 0";
  if (!(clamp_rate > 0))
    return "clamp_rate is " + std::to_string(clamp_rate) + ", expected a number > 0 (infinite: step)";
  if (max_steps < 1) return "max_steps is " + std::to_string(max_steps) + ", expected at least 1";
  return {};
}

std::vector<Vector> follow(const Network& network, const Boundary& boundary, const Vector& start,
                           std::span<const double> times, const TransientOptions& options) {
  if (std::string p = options.problem(); !p.empty()) throw std::invalid_argument("transient: " + p);
  if (static_cast<std::size_t>(start.size()) != network.free().size()) {
    throw std::invalid_argument("transient: a start of " + std::to_string(start.size()) + " potentials for " +
                                std::to_string(network.free().size()) + " free nodes");
  }
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (!(times[i] >= (i == 0 ? 0 : times[i - 1])) || !std::isfinite(times[i])) {
      throw std::invalid_argument("transient: time " + std::to_string(i) + " is " + std::to_string(times[i]) +
                                  ", expected finite, ascending times >= 0");
    }
  }
  std::vector<Vector> states;
  if (times.empty()) return states;
  Transient transient(network, boundary, start, options);
  for (const double time : times) states.push_back(transient.state_at(time, times.back()));
  return states;
}

}  // namespace ness::sim
