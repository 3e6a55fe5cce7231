#include <cmath>

#include "sim/toy_law/toy_law.hpp"

namespace {

using namespace ness::sim;

EdgeCurrent hopping_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT,
                            double) {
  const double G = p[0], w = p[1], z = (source.mu - target.mu) / (w * kT),
               slope = G * std::cosh(z) / (w * kT);
  return {G * std::sinh(z), slope, -slope, {std::sinh(z), -slope * z * kT, 0, 0}};
}

constexpr LawParameter parameters[] = {{.name = "G", .unit = "1", .sign = Sign::not_negative},
                                       {.name = "w", .unit = "1", .sign = Sign::positive, .initial = 1}};
constexpr EdgeLaw row{.name = "hopping", .parameters = parameters, .current = hopping_current};
static_assert(row.problem().empty());

}  // namespace

constinit const EdgeLaw hopping_law = row;
