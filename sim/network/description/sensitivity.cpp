#include "ness/network/sensitivity.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "ness/device/dense_lu.hpp"

namespace ness::sim {

namespace {
// Index of each node in the list; -1 if it is not in the list.
std::vector<Eigen::Index> places(const std::vector<std::uint32_t>& nodes, std::size_t count) {
  std::vector<Eigen::Index> place(count, -1);
  for (std::size_t i = 0; i < nodes.size(); ++i) place[nodes[i]] = static_cast<Eigen::Index>(i);
  return place;
}
}  // namespace

Linearisation linearised(const Network& network, const Boundary& boundary, const Vector& potential) {
  const NetworkSpec& spec = network.spec();
  const std::size_t nodes = spec.graph.nodes.size();
  if (static_cast<std::size_t>(potential.size()) != network.free().size()) {
    throw std::invalid_argument("linearisation: " + std::to_string(potential.size()) + " potentials for " +
                                std::to_string(network.free().size()) + " free nodes");
  }
  const std::vector<Eigen::Index> free = places(network.free(), nodes),
                                  clamped = places(network.clamped(), nodes);
  const auto n = static_cast<Eigen::Index>(nodes);
  Linearisation at;
  at.current = Vector::Zero(n);
  at.by_potential = Matrix::Zero(n, potential.size());
  at.by_clamp = Matrix::Zero(n, static_cast<Eigen::Index>(network.clamped().size()));
  at.by_parameter = Matrix::Zero(n, static_cast<Eigen::Index>(network.parameters()));
  const Vector mu = network.node_potentials(boundary, potential);
  const auto by_node = [&](Eigen::Index row, std::uint32_t node, double value) {
    if (free[node] >= 0) at.by_potential(row, free[node]) += value;
    else at.by_clamp(row, clamped[node]) += value;
  };
  for (std::size_t e = 0; e < spec.edges.size(); ++e) {
    const GraphEdge& ends = spec.graph.edges[e];
    const EdgeCurrent I = network.edge(e, boundary, mu);
    for (const auto& [row, sign] : {std::pair<Eigen::Index, double>{ends.source, 1.0}, {ends.target, -1.0}}) {
      at.current[row] += sign * I.current;
      by_node(row, ends.source, sign * I.by_source);
      by_node(row, ends.target, sign * I.by_target);
      for (std::size_t which = 0; which < spec.edges[e].law->parameters.size(); ++which) {
        const std::int64_t place = network.edge_parameter(e, which);
        if (place >= 0 && std::isfinite(I.by_parameter[which]))
          at.by_parameter(row, place) += sign * I.by_parameter[which];
      }
    }
  }
  for (std::size_t k = 0; k < network.free().size(); ++k) {
    const auto row = static_cast<Eigen::Index>(network.free()[k]),
               g = static_cast<Eigen::Index>(network.leak_g(k)),
               ref = static_cast<Eigen::Index>(network.leak_mu_ref(k));
    const double above = potential[static_cast<Eigen::Index>(k)] - boundary.theta[ref];
    at.current[row] += boundary.theta[g] * above;
    at.by_potential(row, static_cast<Eigen::Index>(k)) += boundary.theta[g];
    at.by_parameter(row, g) += above;
    at.by_parameter(row, ref) -= boundary.theta[g];
  }
  return at;
}

Sensitivity sensitivity(const Network& network, const Boundary& boundary, const Linearisation& at) {
  const auto n = static_cast<Eigen::Index>(network.free().size());
  std::vector<bool> held(static_cast<std::size_t>(n), false);
  for (const auto& [k, level] : boundary.held) held[k] = true;
  Matrix jacobian = Matrix::Identity(n, n);
  Matrix by_parameter = Matrix::Zero(n, at.by_parameter.cols()),
         by_clamp = Matrix::Zero(n, at.by_clamp.cols());
  Matrix moved = Matrix::Identity(n, n);
  for (Eigen::Index k = 0; k < n; ++k) {
    if (held[static_cast<std::size_t>(k)]) {
      moved.row(k).setZero();
      continue;
    }
    const auto node = static_cast<Eigen::Index>(network.free()[static_cast<std::size_t>(k)]);
    jacobian.row(k) = at.by_potential.row(node);
    by_parameter.row(k) = at.by_parameter.row(node);
    by_clamp.row(k) = at.by_clamp.row(node);
  }
  Sensitivity result;
  DenseLu lu;
  lu.factor(jacobian);
  if (n == 0 || !jacobian.allFinite() || !(lu.rcond() > std::numeric_limits<double>::epsilon())) {
    const double undefined = std::numeric_limits<double>::quiet_NaN();
    result.by_parameter = Matrix::Constant(n, by_parameter.cols(), undefined);
    result.by_clamp = Matrix::Constant(n, by_clamp.cols(), undefined);
    result.response = Matrix::Constant(n, n, undefined);
    return result;
  }
  result.by_parameter = -lu.solve(by_parameter);
  result.by_clamp = -lu.solve(by_clamp);
  result.response = lu.solve(moved);
  return result;
}

Sensitivity sensitivity(const Network& network, const Boundary& boundary, const Vector& potential) {
  return sensitivity(network, boundary, linearised(network, boundary, potential));
}

}  // namespace ness::sim
