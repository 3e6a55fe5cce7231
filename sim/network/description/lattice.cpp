#include "ness/network/lattice.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ness/device/random.hpp"

namespace ness::sim {

std::string LatticeOptions::problem() const {
  if (sides.size() != 2 && sides.size() != 3) return std::to_string(sides.size()) + " sides, expected 2 or 3";
  double nodes = 1;
  for (const std::uint32_t side : sides) {
    if (side < 2) return "a side of " + std::to_string(side) + " nodes, expected at least 2";
    nodes *= side;
  }
  if (nodes > 1e9) return std::to_string(nodes) + " nodes, expected at most 1e9";
  if (clamped < 1) return "clamped is 0, expected at least 1 node";
  double boundary = nodes, inside = 1;
  for (const std::uint32_t side : sides) inside *= side - 2;
  boundary -= inside;
  if (clamped > boundary || clamped >= nodes)
    return "clamped is " + std::to_string(clamped) + ", the boundary has " +
           std::to_string(static_cast<long long>(boundary)) + " nodes, and one has to be free";
  for (const auto& [name, value] : {std::pair{"leak", leak},
                                    {"b", b},
                                    {"mu_ref", mu_ref},
                                    {"log_gamma", log_gamma},
                                    {"log_capacity", log_capacity}}) {
    if (!(value >= 0) || !std::isfinite(value))
      return std::string(name) + " is " + std::to_string(value) + ", expected a finite number >= 0";
  }
  return {};
}

NetworkSpec lattice(const LatticeOptions& options) {
  if (const std::string problem = options.problem(); !problem.empty())
    throw std::invalid_argument("lattice: " + problem);
  const std::uint32_t X = options.sides[0], Y = options.sides[1],
                      Z = options.sides.size() == 3 ? options.sides[2] : 1;
  const auto number = [&](std::uint32_t x, std::uint32_t y, std::uint32_t z) { return x + X * (y + Y * z); };
  NetworkSpec spec;
  Random random(options.seed, 41);
  spec.graph.nodes.resize(std::size_t{X} * Y * Z);
  spec.nodes.resize(spec.graph.nodes.size());
  std::vector<std::uint32_t> boundary;
  for (std::uint32_t z = 0; z < Z; ++z) {
    for (std::uint32_t y = 0; y < Y; ++y) {
      for (std::uint32_t x = 0; x < X; ++x) {
        if (x == 0 || y == 0 || x + 1 == X || y + 1 == Y || (Z > 1 && (z == 0 || z + 1 == Z)))
          boundary.push_back(number(x, y, z));
      }
    }
  }
  for (std::uint64_t i = 0; i < options.clamped; ++i)
    spec.graph.nodes[boundary[i * boundary.size() / options.clamped]].clamped = true;
  for (std::size_t k = 0; k < spec.nodes.size(); ++k) {
    const double reference = options.mu_ref * random.normal(),
                 capacity = std::exp(options.log_capacity * random.normal());
    if (spec.graph.nodes[k].clamped) continue;
    spec.nodes[k].g = options.leak;
    spec.nodes[k].mu_ref = reference;
    spec.nodes[k].capacity = capacity;
  }
  const auto join = [&](std::uint32_t source, std::uint32_t target) {
    spec.graph.edges.push_back({source, target, 0});
    const double gamma = std::exp(options.log_gamma * random.normal()), a = random.normal();
    spec.edges.push_back({Law::quantum_dot, {gamma, a, options.b * random.normal(), 0}});
  };
  spec.graph.edges.reserve(options.sides.size() * spec.nodes.size());
  spec.edges.reserve(options.sides.size() * spec.nodes.size());
  for (std::uint32_t z = 0; z < Z; ++z) {
    for (std::uint32_t y = 0; y < Y; ++y) {
      for (std::uint32_t x = 0; x < X; ++x) {
        if (x + 1 < X) join(number(x, y, z), number(x + 1, y, z));
        if (y + 1 < Y) join(number(x, y, z), number(x, y + 1, z));
        if (z + 1 < Z) join(number(x, y, z), number(x, y, z + 1));
      }
    }
  }
  std::uint32_t output = number(X / 2, Y / 2, Z / 2);
  while (spec.graph.nodes[output].clamped)
    output = (output + 1) % static_cast<std::uint32_t>(spec.nodes.size());
  spec.graph.outputs = {output};
  return spec;
}

}  // namespace ness::sim
