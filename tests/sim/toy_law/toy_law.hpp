// An edge law that Ness does not have, as somebody would add it: this file and its row in table.cpp are all.
#pragma once

#include <cmath>

#include "ness/network/edge_laws.hpp"

/// I = G sinh((mu_s - mu_t)/(w kT)): electrons that hop over a barrier both ways (Eyring), w their step.
inline ness::sim::EdgeCurrent hopping_current(const double* p, const ness::sim::EdgeEnd& source, const ness::sim::EdgeEnd& target, double kT, double) {
  const double G = p[0], w = p[1], z = (source.mu - target.mu) / (w * kT), slope = G * std::cosh(z) / (w * kT);
  return {G * std::sinh(z), slope, -slope, {std::sinh(z), -slope * z * kT, 0, 0}};
}
inline constexpr ness::sim::LawParameter hopping_parameters[] = {{.name = "G", .unit = "1", .sign = ness::sim::Sign::not_negative},
                                                                 {.name = "w", .unit = "1", .sign = ness::sim::Sign::positive, .initial = 1}};
inline constexpr ness::sim::EdgeLaw hopping_row{.name = "hopping", .parameters = hopping_parameters, .current = hopping_current};
static_assert(hopping_row.problem().empty());
