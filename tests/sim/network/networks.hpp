// Networks used by several tests.
#pragma once

#include <cmath>
#include <vector>

#include "ness/device/random.hpp"
#include "ness/network/network.hpp"

namespace networks {

using namespace ness;
using namespace ness::sim;

inline NodeProperties leak(double g, double mu_ref = 0, double capacity = 1) {
  NodeProperties p;
  p.g = g;
  p.mu_ref = mu_ref;
  p.capacity = capacity;
  return p;
}

inline EdgeProperties quantum_dot(double gamma, double a, double b, double d = 0) {
  return {Law::quantum_dot, {gamma, a, b, d}};
}
inline EdgeProperties linear(double G) { return {Law::linear, {G, 0, 0, 0}}; }
inline EdgeProperties enzyme(double Vf, double Ka, double Kb, double Ki) {
  return {Law::enzyme, {Vf, Ka, Kb, Ki}};
}

inline void add_node(NetworkSpec& spec, bool clamped, NodeProperties p = {}) {
  spec.graph.nodes.push_back({"", clamped, 0});
  spec.nodes.push_back(p);
}
inline void add_edge(NetworkSpec& spec, std::uint32_t source, std::uint32_t target, EdgeProperties p) {
  spec.graph.edges.push_back({source, target, 0});
  spec.edges.push_back(p);
}

/// Layers of quantum dots, b of the given standard deviation; unequal temperatures and capacities on request.
inline NetworkSpec random_dots(const std::vector<std::uint32_t>& layers, std::uint64_t seed, double b,
                               double d = 0, bool unequal = false) {
  NetworkSpec spec;
  spec.graph = layered(layers);
  Random random(seed, 77);
  for (const GraphNode& node : spec.graph.nodes) {
    NodeProperties p;
    if (!node.clamped) p.g = std::exp(-1 + 0.5 * random.normal());
    if (unequal) {
      p.T = std::exp(0.3 * random.normal());
      if (!node.clamped) p.capacity = std::exp(random.normal());
    }
    spec.nodes.push_back(p);
  }
  for (std::size_t e = 0; e < spec.graph.edges.size(); ++e)
    spec.edges.push_back(quantum_dot(std::exp(random.normal()), random.normal(), b * random.normal(), d));
  return spec;
}

/// A chain of quantum dots through all nodes, and dots between random ones up to a mean degree (even); every
/// 60th node is clamped.
inline NetworkSpec random_graph(std::uint32_t nodes, std::uint32_t degree, std::uint64_t seed, double b) {
  NetworkSpec spec;
  Random random(seed, 78);
  for (std::uint32_t k = 0; k < nodes; ++k)
    add_node(spec, k % 60 == 0,
             k % 60 == 0 ? NodeProperties{} : leak(0.01, 0, std::exp(0.5 * random.normal())));
  const auto join = [&](std::uint32_t source, std::uint32_t target) {
    add_edge(spec, source, target,
             quantum_dot(std::exp(0.5 * random.normal()), random.normal(), b * random.normal()));
  };
  for (std::uint32_t k = 1; k < nodes; ++k) join(k - 1, k);
  for (std::uint32_t e = 0; e < nodes * (degree / 2 - 1); ++e) {
    const auto source = static_cast<std::uint32_t>(random.uniform() * nodes);
    join(source, (source + 1 + static_cast<std::uint32_t>(random.uniform() * (nodes - 1))) % nodes);
  }
  spec.graph.outputs = {1};
  return spec;
}

/// All three laws, a cycle, unequal temperatures and capacities, mu0 != 0: two clamped nodes, four free ones.
inline NetworkSpec mixed() {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, true);
  add_node(spec, false, leak(0.25, -1, 2));
  add_node(spec, false, leak(0.4, 0.3, 0.5));
  add_node(spec, false, leak(0.15, 0.2, 3));
  add_node(spec, false, leak(0.6, 0.1, 1));
  spec.nodes[0].T = 1.3;
  spec.nodes[2].T = 0.8;
  spec.nodes[3].mu0 = 0.4;
  spec.nodes[4].mu0 = -0.3;
  spec.nodes[1].mu0 = 0.2;
  add_edge(spec, 0, 2, quantum_dot(1.2, 0.5, 1.8));
  add_edge(spec, 1, 2, quantum_dot(0.7, -0.4, -0.6, 0.3));
  add_edge(spec, 2, 3, linear(0.5));
  add_edge(spec, 1, 3, enzyme(2.0, 0.8, 1.7, 0.6));
  add_edge(spec, 3, 4, enzyme(1.1, 0.5, 0.9, std::numeric_limits<double>::infinity()));
  add_edge(spec, 4, 5, enzyme(0.9, 1.2, 0.7, 3.0));
  add_edge(spec, 5, 2, quantum_dot(0.5, 0.1, 0.9));
  add_edge(spec, 5, 0, linear(0.1));
  spec.graph.outputs = {5, 4};
  spec.c_ref = 1.4;
  return spec;
}

/// A fast and a slow node, joined by dots with 0 < b < 1 (both partial derivatives have the same sign), fed
/// by dots with NDC: it oscillates.
inline NetworkSpec oscillator() {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.086900070554669986, -4.8252905090768117, 0.20761571957140498));
  add_node(spec, false, leak(0.30316359254286396, 2.8124248202736255, 0.28276016678379634));
  add_edge(spec, 0, 1, quantum_dot(28.884396996860733, -3.3814654633335008, -5.7427663288648434));
  add_edge(spec, 0, 2, quantum_dot(12.056725361683636, 0.51010713132240004, 3.9759612161552438));
  add_edge(spec, 1, 2, quantum_dot(3.7234839006856282, -4.1288737524181123, 0.54984884138042445));
  add_edge(spec, 1, 2, quantum_dot(4.4577106950802543, -2.179393510790232, 0.76997446533342184));
  spec.graph.outputs = {2};
  return spec;
}

inline Boundary boundary(const Vector& theta, std::initializer_list<double> clamp) {
  Boundary b;
  b.theta = theta.data();
  b.clamp.resize(static_cast<Eigen::Index>(clamp.size()));
  std::copy(clamp.begin(), clamp.end(), b.clamp.data());
  return b;
}

}  // namespace networks
