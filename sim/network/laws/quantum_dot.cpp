// A quantum dot between two reservoirs.
#include <algorithm>
#include <cmath>

#include "laws/laws.hpp"

namespace ness::sim {

namespace {
// 1/(1 + e^x) without overflow, and with full relative precision where it is small.
double fermi(double x) { return x > 0 ? std::exp(-x) / (1 + std::exp(-x)) : 1 / (1 + std::exp(x)); }
}  // namespace

EdgeCurrent quantum_dot_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT) {
  const double gamma = p[0], a = p[1], b = p[2], d = p[3];
  const double difference = source.mu - target.mu, mean = 0.5 * source.mu + 0.5 * target.mu;
  const double level = a + b * difference + d * mean;  // Eq. 17, with the common-mode lever arm d
  const double theta_s = kT * source.T, theta_t = kT * target.T;
  const double u = (level - source.mu) / theta_s, v = (level - target.mu) / theta_t;
  const double f_s = fermi(u), f_t = fermi(v), empty_s = fermi(-u), empty_t = fermi(-v);
  // f_s - f_t = f_s (1 - f_t) (1 - e^(u-v)), and its mirror image: no cancellation where both ends are full
  // or empty. With equal temperatures, v - u is the difference of the potentials; computed from these, it is
  // free of the rounding of the level.
  const double w = source.T == target.T ? difference / theta_s : v - u;
  const double window = w >= 0 ? -f_s * empty_t * std::expm1(-w) : f_t * empty_s * std::expm1(w);
  const double p_s = f_s * empty_s / theta_s,
               p_t = f_t * empty_t / theta_t;  // f(1-f)/kT: Eq. E4 over the temperature
  const double by_level = gamma * (p_t - p_s);
  const double level_by_source = b + d / 2, level_by_target = -b + d / 2;
  EdgeCurrent result;
  result.current = gamma * window;  // Eq. 15
  result.by_source = level_by_source * by_level + gamma * p_s;
  result.by_target = level_by_target * by_level - gamma * p_t;  // Eq. 18 is -by_target at d = 0
  result.by_parameter = {window, by_level, by_level * difference, by_level * mean};
  return result;
}

namespace {
// Derivatives of u and v above.
Steepness steepness(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT) {
  const double b = p[2], half_d = p[3] / 2, s = 1 / (kT * source.T), t = 1 / (kT * target.T);
  return {std::max(std::abs(b + half_d - 1) * s, std::abs(b + half_d) * t),
          std::max(std::abs(half_d - b) * s, std::abs(half_d - b - 1) * t)};
}

// (eps - mu)/(kT T) of both ends.
std::array<double, 2> arguments(const double* p, const std::array<EdgeEnd, 2>& ends, double kT) {
  const double level = p[1] + p[2] * (ends[0].mu - ends[1].mu) + p[3] * (0.5 * ends[0].mu + 0.5 * ends[1].mu);
  return {(level - ends[0].mu) / (kT * ends[0].T), (level - ends[1].mu) / (kT * ends[1].T)};
}

double way(const double* p, const std::array<EdgeEnd, 2>& from, const std::array<EdgeEnd, 2>& to, double kT,
           double) {
  constexpr double full = 30;  // 1/(1 + e^30) is 1e-13
  const auto before = arguments(p, from, kT), after = arguments(p, to, kT);
  double longest = 0;
  for (std::size_t i = 0; i < 2; ++i)
    longest =
        std::max(longest, std::abs(std::clamp(after[i], -full, full) - std::clamp(before[i], -full, full)));
  return longest;
}

constexpr LawParameter parameters[] = {{.name = "gamma", .unit = "1", .sign = Sign::not_negative},
                                       {.name = "a", .unit = "kT", .fold_with = "b"},
                                       {.name = "b", .unit = "1"},
                                       {.name = "d", .unit = "1", .initial = 0, .omitted = true}};
constexpr EdgeLaw row{.name = "quantum-dot",
                      .parameters = parameters,
                      .current = [](const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT,
                                    double) { return quantum_dot_current(p, source, target, kT); },
                      .steepness = steepness,
                      .way = way,
                      .kernels = &kernels::quantum_dot_kernels};
static_assert(row.problem().empty());
}  // namespace
constinit const EdgeLaw quantum_dot_law = row;

}  // namespace ness::sim
