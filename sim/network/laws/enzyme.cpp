// A reversible enzyme with substrate inhibition, between pools.
#include <algorithm>
#include <cmath>

#include "laws/laws.hpp"

namespace ness::sim {

namespace {
// Logarithms of the denominator's terms 1, c_s/Ka, c_t/Kb and c_s^2/(Ka Ki), and of c_t/(Keq Ka) in the
// numerator, all relative to the largest of the denominator. Differences are taken before sums, so that
// concentrations far outside the range of double cost no digits.
struct Terms {
  double empty, source, target, inhibited, backward;
};
Terms terms(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT, double c_ref) {
  const double ln_Ka = std::log(p[1]), ln_Kb = std::log(p[2]), ln_Ki = std::log(p[3]), ln_c = std::log(c_ref);
  const double x_s = (source.mu - source.mu0) / kT, x_t = (target.mu - target.mu0) / kT,
               apart = (target.mu - source.mu) / kT, apart0 = (target.mu0 - source.mu0) / kT;
  const double s = ln_c + x_s - ln_Ka, t = ln_c + x_t - ln_Kb, per_s = ln_c + x_s - ln_Ki,
               inhibited = s + per_s;
  const double t_s = apart - apart0 + ln_Ka - ln_Kb;  // of c_t/Kb relative to c_s/Ka
  if (std::max({s, t, inhibited}) <= 0)
    return {0, s, t, inhibited, ln_c + (target.mu - source.mu0) / kT - ln_Ka};
  if (t_s <= 0 && per_s <= 0) return {-s, 0, t_s, per_s, apart};
  if (per_s <= t_s) return {-t, -t_s, 0, per_s - t_s, apart0 + ln_Kb - ln_Ka};
  return {-inhibited, -per_s, t_s - per_s, 0, apart - per_s};
}

// The reverse reaction is as fast as Keq says, which may be beyond any rate: bounded at e^this.
constexpr double most_backward = 300;
}  // namespace

EdgeCurrent enzyme_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT,
                           double c_ref) {
  const double Vf = p[0], Ka = p[1], Kb = p[2], Ki = p[3];
  const Terms ln = terms(p, source, target, kT, c_ref);
  const double empty = std::exp(ln.empty), s = std::exp(ln.source), t = std::exp(ln.target),
               inhibited = std::exp(ln.inhibited), D = empty + s + t + inhibited;
  // Haldane: Vr/Kb = Vf/(Ka Keq), so the numerator is Vf/Ka (c_s - c_t/Keq), with c_t/Keq = c_s e^-force. The
  // larger of the two is taken out, so that the difference keeps its digits.
  const double force = (source.mu - target.mu) / kT;
  const double forward = s / D, backward = std::exp(std::min(ln.backward, most_backward)) / D;
  const double per_V = force >= 0 ? -forward * std::expm1(-force) : backward * std::expm1(force);
  EdgeCurrent result;
  result.current = Vf * per_V;
  result.by_source = Vf * (forward - per_V * (s + 2 * inhibited) / D) / kT;  // Eqs. F5-F8 times c_s/kT
  result.by_target = -Vf * (backward + per_V * t / D) / kT;                  // Eq. F11 times c_t/kT
  result.by_parameter = {per_V, -result.current * (empty + t) / D / Ka, result.current * t / D / Kb,
                         std::isinf(Ki) ? 0 : result.current * inhibited / D / Ki};
  return result;
}

namespace {
// c_s^2 is e^(2 mu_s/kT) up to factors.
Steepness steepness(const double* p, const EdgeEnd&, const EdgeEnd&, double kT) {
  return {(std::isfinite(p[3]) ? 2 : 1) / kT, 1 / kT};
}

// Logarithms that are 0 where two of the terms above are equal: between such places the current is one of
// them, or all.
std::array<double, 7> ties(const double* p, const std::array<EdgeEnd, 2>& ends, double kT) {
  const double s = (ends[0].mu - ends[0].mu0) / kT - std::log(p[1]),
               t = (ends[1].mu - ends[1].mu0) / kT - std::log(p[2]),
               inhibited = std::isinf(p[3]) ? s : s + (ends[0].mu - ends[0].mu0) / kT - std::log(p[3]);
  return {s, t, inhibited, inhibited - s, s - t, inhibited - t, (ends[0].mu - ends[1].mu) / kT};
}

double way(const double* p, const std::array<EdgeEnd, 2>& from, const std::array<EdgeEnd, 2>& to, double kT,
           double c_ref) {
  constexpr double full = 40;
  const double reference = std::log(c_ref);
  // The reference concentration belongs to every concentration once.
  const auto shift = [&](std::array<EdgeEnd, 2> ends) {
    for (EdgeEnd& end : ends) end.mu0 -= reference * kT;
    return ends;
  };
  const auto before = ties(p, shift(from), kT), after = ties(p, shift(to), kT);
  double longest = 0;
  for (std::size_t i = 0; i < before.size(); ++i)
    longest =
        std::max(longest, std::abs(std::clamp(after[i], -full, full) - std::clamp(before[i], -full, full)));
  return longest;
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
                      .way = way,
                      .pools = true,
                      .thermal = false,
                      .kernels = &kernels::enzyme_kernels};
static_assert(row.problem().empty());
}  // namespace
constinit const EdgeLaw enzyme_law = row;

}  // namespace ness::sim
