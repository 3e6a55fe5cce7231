// What gradients scatter by over repeats of their measurement, beside the errors that they state.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "estimators/gradient_sum.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/training/estimator.hpp"
#include "ness/training/parameter_space.hpp"

namespace scatter {

/// How a gradient is measured, again and again.
struct Measurement {
  ness::Device& device;  ///< without noise
  ness::NoiseOptions noise;
  std::function<std::unique_ptr<ness::Estimator>()> estimator;
  ness::Minibatch batch;
  const ness::Loss& loss;
  unsigned passes = 1;      ///< over the minibatch, averaged
  unsigned visits = 1;      ///< the gradient of the last of several steps
  double move = 0;          ///< largest relative change of a parameter from one of these steps to the next
  std::uint32_t draws = 8;  ///< of the stated error from readings
  unsigned stated_of = 1;   ///< errors are stated at every so many repeats
};

/// The norms of one figure that the repeats stated, in the optimizer's coordinates.
struct Stated {
  std::vector<double> norms;
  bool always = true;

  void add(const ness::ParameterSpace& space, const ness::Vector& theta, const ness::Vector& error) {
    if (error.size() == 0) always = false;
    else norms.push_back(space.errors(theta, error).norm());
  }
  bool is_stated() const { return always && !norms.empty(); }
  double root_mean_square() const {
    double squares = 0;
    for (const double x : norms) squares += x * x / static_cast<double>(norms.size());
    return std::sqrt(squares);
  }
  double quantile(double q) const {
    std::vector<double> sorted = norms;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)];
  }
};

/// Norms in the optimizer's coordinates.
struct Found {
  double scatter = 0;      ///< root of the summed variances of all parameters over the repeats
  Stated readings, whole;  ///< Gradient::reading_error and whole_error
  double mean_norm = 0;    ///< of the mean gradient
  /// Variance of the squared distance from the mean, relative to the square of its mean: 2 / f for f
  /// independent normal parts of equal size. The scatter has a relative standard error of
  /// sqrt(spread / repeats) / 2.
  double spread = 0;
  unsigned repeats = 0;
};

/// Repeats with new noise; the random directions are those of one step, or (`new_directions`) of a step of
/// its own for each repeat.
inline Found repeated(const Measurement& how, unsigned repeats, bool new_directions) {
  using namespace ness;
  const ParameterSpace space(how.device.info());
  const Vector theta = how.batch.theta.values();
  std::vector<Vector> gradients;
  Vector mean = Vector::Zero(theta.size());
  Found found;
  for (unsigned r = 0; r < repeats; ++r) {
    NoiseOptions noise = how.noise;
    noise.seed = how.noise.seed + r;
    Noisy device(how.device, noise);
    const DeviceInfo& info = device.info();
    const std::unique_ptr<Estimator> estimator = how.estimator();
    Minibatch batch = how.batch;
    if (new_directions) batch.step += std::uint64_t{r} * how.visits;
    std::vector<Gradient> all;
    for (unsigned visit = 0; visit < how.visits; ++visit, ++batch.step) {
      all.clear();
      Vector here = theta;
      for (Eigen::Index i = 0; i < here.size() && how.move > 0; ++i)
        here[i] *= 1 - how.move * (how.visits - 1 - visit) * std::sin(1.0 + 1.7 * static_cast<double>(i));
      batch.theta = Parameters::of(std::move(here));
      for (batch.repeat = 0; batch.repeat < how.passes; ++batch.repeat) {
        const auto rows = relax_chains(device, estimator->chains(info, batch, how.loss));
        all.push_back(estimator->form(info, batch, how.loss, rows));
        if (visit + 1 == how.visits && r % how.stated_of == 0)
          state_errors(all.back(), *estimator, info, batch, how.loss, rows, how.draws, 1000 + r);
        estimator->remember(info, batch, how.loss, rows);
      }
    }
    const Gradient gradient = mean_of(all, estimator->repeats());
    gradients.push_back(space.gradient(theta, gradient.value));
    mean += gradients.back() / repeats;
    if (r % how.stated_of != 0) continue;
    found.readings.add(space, theta, gradient.reading_error);
    found.whole.add(space, theta, gradient.whole_error);
  }
  double sum = 0, squares = 0;
  for (const Vector& one : gradients) {
    const double distance = (one - mean).squaredNorm();
    sum += distance / (repeats - 1);
    squares += distance * distance / repeats;
  }
  found.repeats = repeats;
  found.scatter = std::sqrt(sum);
  found.mean_norm = mean.norm();
  found.spread = squares / (sum * sum) - 1;
  return found;
}

}  // namespace scatter
