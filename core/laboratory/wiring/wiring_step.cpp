#include "wiring/wiring_step.hpp"

#include <algorithm>
#include <cmath>

namespace ness::wiring {

namespace {

struct Sample {
  double asked = 0;  // requested time, At::time
  double time = 0;   // from the step to the actual reading
  Vector rest;       // remaining change, [n_read]
};

// Time constant of a decay, by least squares of A exp(-t/tau). If the noise allows, only readings after the
// change has fallen to a fifth are used, so that faster decays have died out. Later readings below the noise
// are included: selecting only readings above it would make the result too large.
std::optional<double> decay(const std::vector<Sample>& samples, Eigen::Index r, double least) {
  double largest = 0;
  for (const Sample& sample : samples) largest = std::max(largest, std::abs(sample.rest[r]));
  const double from = 0.2 * largest > 10 * least ? 0.2 * largest : largest;
  const auto begin = std::find_if(samples.begin(), samples.end(),
                                  [&](const Sample& sample) { return std::abs(sample.rest[r]) <= from; });
  if (std::count_if(begin, samples.end(),
                    [&](const Sample& sample) { return std::abs(sample.rest[r]) > least; }) < 3)
    return std::nullopt;
  const auto left = [&](double log_tau) {
    const double tau = std::exp(log_tau);
    double ee = 0, er = 0, rr = 0;
    for (auto sample = begin; sample != samples.end(); ++sample) {
      const double e = std::exp(-(sample->time - begin->time) / tau), rest = sample->rest[r];
      ee += e * e;
      er += e * rest;
      rr += rest * rest;
    }
    return rr - er * er / ee;
  };
  const double span = samples.back().time - begin->time;
  double low = std::log(1e-3 * span), high = std::log(3 * span);
  const double golden = (std::sqrt(5.0) - 1) / 2;
  while (high - low > 1e-6) {
    const double a = high - golden * (high - low), b = low + golden * (high - low);
    if (left(a) < left(b)) high = b;
    else low = a;
  }
  return std::exp((low + high) / 2);
}

// Upper bound of the time constant: the remaining change falls from `rest` at one time to below the visible
// limit at a later one. At the step itself the whole change remains. A mean over an aperture is at least the
// value at its end.
double bound(const std::vector<Sample>& samples, Eigen::Index r, double change, double least) {
  const auto gone = std::find_if(samples.begin(), samples.end(),
                                 [&](const Sample& sample) { return std::abs(sample.rest[r]) <= least; });
  if (gone == samples.end()) return samples.back().time;
  double bound = gone->time / std::log(change / least);
  for (auto sample = samples.begin(); sample != gone; ++sample)
    bound = std::min(bound, (gone->time - sample->time) / std::log(std::abs(sample->rest[r]) / least));
  return bound;
}

}  // namespace

Rested rest(const Relax& relax, Drive drive, const Vector& from, double far, const Vector& least,
            const StepOptions& options) {
  drive.observe = At{options.shortest, options.samples};
  Relaxation row = relax(drive);
  Rested rested{row.potential, options.shortest, false};
  for (double wait = std::max(options.shortest, row.timing.read - row.timing.start);; wait *= 2) {
    drive.observe = At{wait, options.samples};
    const Vector later = relax(drive).potential;
    // Each wait is as long as all before together, so an incomplete change is visible. Without noise an
    // exponential never ends; a thousandth of the whole change counts as the end.
    const double unseen = std::max(1e-6, 1e-3 * (later - from).norm());
    const bool still = ((later - rested.potential).array().abs() <= least.array().max(unseen)).all() &&
                       (later - from).norm() >= far;
    rested.potential = later;
    rested.reached = still;
    if (still || wait >= options.longest) return rested;
    rested.waited += wait;
  }
}

Followed follow_step(const Relax& relax, const Drive& before, const Drive& after, double expected,
                     const StepOptions& options) {
  const Vector noise = 4 * options.noise;
  // Step there and back, so that each end state is known to have been reached from the other. The state
  // before the first step is not known.
  Drive beginning = before;
  beginning.observe = At{options.known, options.samples};
  relax(beginning);
  const Rested begin = rest(relax, before, noise, 0, noise, options);
  const Rested last = rest(relax, after, begin.potential, 0.3 * expected, noise, options);
  const Rested first = rest(relax, before, last.potential, 0.3 * expected, noise, options);
  Followed followed;
  followed.reading.resize(static_cast<std::size_t>(noise.size()));
  if (!first.reached) return followed;
  followed.end = std::max(first.waited, last.waited);
  Vector least = noise;
  bool any = false;
  for (Eigen::Index r = 0; r < noise.size(); ++r) {
    Follow& follow = followed.reading[static_cast<std::size_t>(r)];
    follow.change = last.potential[r] - first.potential[r];
    least[r] = std::max(noise[r], 2e-3 * std::abs(follow.change));
    follow.clear = std::abs(follow.change) > 5 * least[r];
    any = any || follow.clear;
  }
  if (!any) return followed;

  std::vector<Sample> samples;
  Drive away = before, step = after;
  away.observe = At{followed.end, 1};
  const auto left_after = [&](double t) {
    relax(away);
    step.observe = At{t, 1};
    const Relaxation row = relax(step);
    samples.push_back({t, row.timing.read - row.timing.start, last.potential - row.potential});
    bool left = false;
    for (Eigen::Index r = 0; r < noise.size(); ++r)
      left = left || (followed.reading[static_cast<std::size_t>(r)].clear &&
                      std::abs(samples.back().rest[r]) > least[r]);
    return left;
  };
  // Reads later and later until nothing is left; then with closer spacing in the last part, where only the
  // slowest decay is left.
  double t = options.shortest;
  while (left_after(t) && t < options.longest) t *= 3;
  followed.end = t;
  if (samples.size() > 1) {
    for (int i = 1; i < 8; ++i) left_after(t / 9 + (t - t / 9) * i / 8);
  }
  std::sort(samples.begin(), samples.end(), [](const Sample& a, const Sample& b) { return a.time < b.time; });
  for (Eigen::Index r = 0; r < noise.size(); ++r) {
    Follow& follow = followed.reading[static_cast<std::size_t>(r)];
    if (!follow.clear) continue;
    if (samples.size() > 1) follow.tau = decay(samples, r, least[r]);
    if (!follow.tau) follow.bound = bound(samples, r, std::abs(follow.change), least[r]);
  }
  return followed;
}

}  // namespace ness::wiring
