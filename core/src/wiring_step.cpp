#include "wiring_step.hpp"

#include <algorithm>
#include <cmath>

namespace ness::wiring {

namespace {

struct Sample {
  double asked = 0;   // At::time
  double time = 0;    // from the step to the reading, as it was had
  Vector rest;        // what is still to come, [n_read]
};

// Decay of a remainder, from its logarithm over time. Samples at which it exceeds `least`; where there are enough, the later ones
// alone, in which faster decays have died away.
std::optional<double> decay(const std::vector<Sample>& samples, Eigen::Index r, double least) {
  std::vector<std::pair<double, double>> points;
  double largest = 0;
  for (const Sample& sample : samples) {
    if (std::abs(sample.rest[r]) > least) largest = std::max(largest, std::abs(sample.rest[r]));
  }
  for (const double upper : {0.2 * largest, 1.01 * largest}) {
    points.clear();
    for (const Sample& sample : samples) {
      const double rest = std::abs(sample.rest[r]);
      if (rest > least && rest <= upper) points.emplace_back(sample.time, rest);
    }
    if (points.size() >= 4) break;
  }
  if (points.size() < 3) return std::nullopt;
  // An error of the remainder by one unit is one of its logarithm by 1/remainder.
  double w = 0, wt = 0, wy = 0, wtt = 0, wty = 0;
  for (const auto& [t, rest] : points) {
    const double weight = rest * rest, y = std::log(rest);
    w += weight;
    wt += weight * t;
    wy += weight * y;
    wtt += weight * t * t;
    wty += weight * t * y;
  }
  const double slope = (w * wty - wt * wy) / (w * wtt - wt * wt);
  if (!(slope < 0) || !std::isfinite(slope)) return std::nullopt;
  return -1 / slope;
}

// A decay that leaves `rest` at one time and less than can be seen later is no slower than this. At the step itself all of the change
// is left; a mean over an aperture is at least what is left at its end.
double bound(const std::vector<Sample>& samples, Eigen::Index r, double change, double least) {
  const auto gone = std::find_if(samples.begin(), samples.end(), [&](const Sample& sample) { return std::abs(sample.rest[r]) <= least; });
  if (gone == samples.end()) return samples.back().time;
  double bound = gone->time / std::log(change / least);
  for (auto sample = samples.begin(); sample != gone; ++sample) bound = std::min(bound, (gone->time - sample->time) / std::log(std::abs(sample->rest[r]) / least));
  return bound;
}

}  // namespace

Rested rest(const Relax& relax, Drive drive, const Vector& least, const StepOptions& options) {
  drive.observe = At{options.shortest, options.samples};
  Relaxation row = relax(drive);
  Rested rested{row.potential, options.shortest};
  for (double wait = std::max(options.shortest, row.timing.read - row.timing.start);; wait *= 2) {
    drive.observe = At{wait, options.samples};
    const Vector later = relax(drive).potential;
    const bool still = ((later - rested.potential).array().abs() <= least.array()).all();
    rested.potential = later;
    if (still || wait >= options.longest) return rested;
    rested.waited += wait;
  }
}

Followed follow_step(const Relax& relax, const Drive& before, const Drive& after, const StepOptions& options) {
  const Vector noise = 4 * options.noise;
  const Rested first = rest(relax, before, noise, options), last = rest(relax, after, noise, options);
  Followed followed;
  followed.reading.resize(static_cast<std::size_t>(noise.size()));
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
    for (Eigen::Index r = 0; r < noise.size(); ++r) left = left || (followed.reading[static_cast<std::size_t>(r)].clear && std::abs(samples.back().rest[r]) > least[r]);
    return left;
  };
  // Ever later, until nothing is left; then closer in the last stretch, where the slowest decay is alone.
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
