#include "wiring/wiring_step.hpp"

#include <algorithm>
#include <cmath>

namespace ness::wiring {

namespace {

struct Sample {
  double asked = 0;   // At::time
  double time = 0;    // from the step to the reading, as it was had
  Vector rest;        // what is still to come, [n_read]
};

// Decay of a remainder: least squares of A exp(-t/tau). Where the noise allows from where a fifth is left, so that faster decays have died away;
// readings in which nothing is left are part of it, for what stands out of the noise by chance alone would make it slower.
std::optional<double> decay(const std::vector<Sample>& samples, Eigen::Index r, double least) {
  double largest = 0;
  for (const Sample& sample : samples) largest = std::max(largest, std::abs(sample.rest[r]));
  const double from = 0.2 * largest > 10 * least ? 0.2 * largest : largest;
  const auto begin = std::find_if(samples.begin(), samples.end(), [&](const Sample& sample) { return std::abs(sample.rest[r]) <= from; });
  if (std::count_if(begin, samples.end(), [&](const Sample& sample) { return std::abs(sample.rest[r]) > least; }) < 3) return std::nullopt;
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

Rested rest(const Relax& relax, Drive drive, const Vector& from, double far, const Vector& least, const StepOptions& options) {
  drive.observe = At{options.shortest, options.samples};
  Relaxation row = relax(drive);
  Rested rested{row.potential, options.shortest, false};
  for (double wait = std::max(options.shortest, row.timing.read - row.timing.start);; wait *= 2) {
    drive.observe = At{wait, options.samples};
    const Vector later = relax(drive).potential;
    // Over as long as all that went before: what has come part of the way moves visibly.
    // Without noise the last of an exponential is never gone: a thousandth of the way is.
    const double unseen = std::max(1e-6, 1e-3 * (later - from).norm());
    const bool still = ((later - rested.potential).array().abs() <= least.array().max(unseen)).all() && (later - from).norm() >= far;
    rested.potential = later;
    rested.reached = still;
    if (still || wait >= options.longest) return rested;
    rested.waited += wait;
  }
}

Followed follow_step(const Relax& relax, const Drive& before, const Drive& after, double expected, const StepOptions& options) {
  const Vector noise = 4 * options.noise;
  // There and back, so that both ends are known to have been reached from the other. Where the way there began is not.
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
