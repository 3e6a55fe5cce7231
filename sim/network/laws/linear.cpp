// A linear conductance.
#include "laws/laws.hpp"

namespace ness::sim {

EdgeCurrent linear_current(const double* p, const EdgeEnd& source, const EdgeEnd& target) {
  const double G = p[0], difference = source.mu - target.mu;
  return {G * difference, G, -G, {difference, 0, 0, 0}};
}

namespace {
constexpr LawParameter parameters[] = {{.name = "G", .unit = "1", .sign = Sign::not_negative}};
constexpr EdgeLaw row{
    .name = "linear",
    .parameters = parameters,
    .current = [](const double* p, const EdgeEnd& source, const EdgeEnd& target, double,
                  double) { return linear_current(p, source, target); },
    .steepness = [](const double*, const EdgeEnd&, const EdgeEnd&, double) { return Steepness{}; },
    .linear = true,
    .thermal = false,
    .kernels = &kernels::linear_kernels};
static_assert(row.problem().empty());
}  // namespace
constinit const EdgeLaw linear_law = row;

}  // namespace ness::sim
