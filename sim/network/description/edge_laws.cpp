#include "ness/network/edge_laws.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace ness::sim {

namespace {
constexpr double required = std::numeric_limits<double>::quiet_NaN();
constexpr double infinite = std::numeric_limits<double>::infinity();

// One row a law; a new law is a row here, a function below, and a case in edge_current.
const LawInfo laws[] = {
    {Law::linear, "linear", 1, {"G"}, {"1"}, {true}, {required}},
    {Law::quantum_dot, "quantum-dot", 4, {"gamma", "a", "b", "d"}, {"1", "kT", "1", "1"}, {true, false, false, false}, {required, required, required, 0}},
    {Law::enzyme, "enzyme", 4, {"Vf", "Ka", "Kb", "Ki"}, {"1", "1", "1", "1"}, {true, true, true, true}, {required, required, required, infinite}},
};

// 1/(1 + e^x) without overflow, and with full relative precision where it is small.
double fermi(double x) { return x > 0 ? std::exp(-x) / (1 + std::exp(-x)) : 1 / (1 + std::exp(x)); }
}  // namespace

const LawInfo& law_info(Law law) { return laws[static_cast<std::size_t>(law)]; }

Law law_of(std::string_view name) {
  for (const LawInfo& info : laws) {
    if (info.name == name) return info.law;
  }
  throw std::invalid_argument("no edge law '" + std::string(name) + "': expected linear, quantum-dot or enzyme");
}

EdgeCurrent linear_current(const double* p, const EdgeEnd& source, const EdgeEnd& target) {
  const double G = p[0], difference = source.mu - target.mu;
  return {G * difference, G, -G, {difference, 0, 0, 0}};
}

EdgeCurrent quantum_dot_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT) {
  const double gamma = p[0], a = p[1], b = p[2], d = p[3];
  const double difference = source.mu - target.mu, mean = 0.5 * source.mu + 0.5 * target.mu;
  const double level = a + b * difference + d * mean;  // Eq. 17, with the common-mode lever arm d
  const double theta_s = kT * source.T, theta_t = kT * target.T;
  const double u = (level - source.mu) / theta_s, v = (level - target.mu) / theta_t;
  const double f_s = fermi(u), f_t = fermi(v), empty_s = fermi(-u), empty_t = fermi(-v);
  // f_s - f_t = f_s (1 - f_t) (1 - e^(u-v)) and its mirror image: no cancellation where both dots' ends are full or empty. With equal
  // temperatures v - u is the difference of the potentials itself, free of the level's rounding.
  const double w = source.T == target.T ? difference / theta_s : v - u;
  const double window = w >= 0 ? -f_s * empty_t * std::expm1(-w) : f_t * empty_s * std::expm1(w);
  const double p_s = f_s * empty_s / theta_s, p_t = f_t * empty_t / theta_t;  // f(1-f)/kT: Eq. E4 over the temperature
  const double by_level = gamma * (p_t - p_s);
  const double level_by_source = b + d / 2, level_by_target = -b + d / 2;
  EdgeCurrent result;
  result.current = gamma * window;                                    // Eq. 15
  result.by_source = level_by_source * by_level + gamma * p_s;
  result.by_target = level_by_target * by_level - gamma * p_t;        // Eq. 18 is -by_target at d = 0
  result.by_parameter = {window, by_level, by_level * difference, by_level * mean};
  return result;
}

EdgeCurrent enzyme_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT, double c_ref) {
  const double Vf = p[0], Ka = p[1], Kb = p[2], Ki = p[3];
  const double c_s = c_ref * std::exp((source.mu - source.mu0) / kT);
  const double c_t = c_ref * std::exp((target.mu - target.mu0) / kT);
  // Haldane: Vr/Kb = Vf/(Ka Keq), so the numerator is Vf/Ka (c_s - c_t/Keq), and c_s - c_t/Keq = c_s (1 - e^-(mu_s - mu_t)/kT).
  const double force = -c_s * std::expm1(-(source.mu - target.mu) / kT);
  const double product = c_s - force;  // c_t/Keq
  const double N = Vf / Ka * force;
  const double D = 1 + c_s / Ka + c_t / Kb + c_s * c_s / (Ka * Ki);
  const double current = N / D;
  EdgeCurrent result;
  result.current = current;
  result.by_source = (Vf / Ka * c_s - current * (c_s / Ka + 2 * c_s * c_s / (Ka * Ki))) / (D * kT);  // Eqs. F5-F8 times c_s/kT
  result.by_target = -(Vf / Ka * product + current * c_t / Kb) / (D * kT);                         // Eq. F11 times c_t/kT
  result.by_parameter = {force / (Ka * D), (-N / Ka + current * (c_s + c_s * c_s / Ki) / (Ka * Ka)) / D, current * c_t / (Kb * Kb * D),
                         current * c_s * c_s / (Ka * Ki * Ki * D)};
  return result;
}

EdgeCurrent edge_current(Law law, const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT, double c_ref) {
  switch (law) {
    case Law::linear: return linear_current(p, source, target);
    case Law::quantum_dot: return quantum_dot_current(p, source, target, kT);
    case Law::enzyme: return enzyme_current(p, source, target, kT, c_ref);
  }
  return {};
}

}  // namespace ness::sim
