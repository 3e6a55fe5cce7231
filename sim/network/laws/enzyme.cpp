// A reversible enzyme with substrate inhibition, between pools.
#include <cmath>

#include "laws/laws.hpp"

namespace ness::sim {

EdgeCurrent enzyme_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT,
                           double c_ref) {
  const double Vf = p[0], Ka = p[1], Kb = p[2], Ki = p[3];
  const double c_s = c_ref * std::exp((source.mu - source.mu0) / kT);
  const double c_t = c_ref * std::exp((target.mu - target.mu0) / kT);
  // Haldane: Vr/Kb = Vf/(Ka Keq), so the numerator is Vf/Ka (c_s - c_t/Keq), and c_s - c_t/Keq = c_s (1 -
  // e^-(mu_s - mu_t)/kT).
  const double force = -c_s * std::expm1(-(source.mu - target.mu) / kT);
  const double product = c_s - force;  // c_t/Keq
  const double N = Vf / Ka * force;
  const double D = 1 + c_s / Ka + c_t / Kb + c_s * c_s / (Ka * Ki);
  const double current = N / D;
  EdgeCurrent result;
  result.current = current;
  result.by_source = (Vf / Ka * c_s - current * (c_s / Ka + 2 * c_s * c_s / (Ka * Ki))) /
                     (D * kT);                                              // Eqs. F5-F8 times c_s/kT
  result.by_target = -(Vf / Ka * product + current * c_t / Kb) / (D * kT);  // Eq. F11 times c_t/kT
  result.by_parameter = {force / (Ka * D), (-N / Ka + current * (c_s + c_s * c_s / Ki) / (Ka * Ka)) / D,
                         current * c_t / (Kb * Kb * D), current * c_s * c_s / (Ka * Ki * Ki * D)};
  return result;
}

namespace {
// c_s^2 is e^(2 mu_s/kT) up to factors.
Steepness steepness(const double* p, const EdgeEnd&, const EdgeEnd&, double kT) {
  return {(std::isfinite(p[3]) ? 2 : 1) / kT, 1 / kT};
}

constexpr LawParameter parameters[] = {{.name = "Vf", .unit = "1", .sign = Sign::not_negative},
                                       {.name = "Ka", .unit = "1", .sign = Sign::positive},
                                       {.name = "Kb", .unit = "1", .sign = Sign::positive, .ratio_to = "Ka"},
                                       {.name = "Ki",
                                        .unit = "1",
                                        .sign = Sign::positive,
                                        .initial = std::numeric_limits<double>::infinity(),
                                        .ratio_to = "Ka"}};
constexpr EdgeLaw row{.name = "enzyme",
                      .parameters = parameters,
                      .current = enzyme_current,
                      .steepness = steepness,
                      .pools = true,
                      .kernels = &kernels::enzyme_kernels};
static_assert(row.problem().empty());
}  // namespace
constinit const EdgeLaw enzyme_law = row;

}  // namespace ness::sim
