// Checks a description of a network; problems are reported in the terms of the description.
#include <cmath>
#include <cstdio>

#include "ness/network/network.hpp"

namespace ness::sim {

namespace {
std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", x);
  return text;
}

std::string node_problem(const GraphNode& node, const NodeProperties& p, std::size_t k) {
  auto bad = [&](const char* what, double value, const char* expected) {
    return "node " + std::to_string(k) + (node.name.empty() ? "" : " (" + node.name + ")") + ": " + what +
           " is " + number(value) + ", expected " + expected;
  };
  if (!(p.T > 0) || !std::isfinite(p.T)) return bad("T", p.T, "a finite number > 0");
  if (!(p.g >= 0) || !std::isfinite(p.g)) return bad("g", p.g, "a finite number >= 0");
  if (!(p.capacity > 0) || !std::isfinite(p.capacity))
    return bad("capacity", p.capacity, "a finite number > 0");
  if (!std::isfinite(p.mu_ref)) return bad("mu_ref", p.mu_ref, "a finite number");
  if (!std::isfinite(p.mu0)) return bad("mu0", p.mu0, "a finite number");
  if (!std::isfinite(p.mu_init)) return bad("mu_init", p.mu_init, "a finite number");
  if (node.clamped && p.g != 0) return bad("g", p.g, "0: a clamped node has no leak");
  return {};
}

std::string edge_problem(const EdgeProperties& edge, std::size_t e) {
  const EdgeLaw& law = *edge.law;
  if (!law.problem().empty()) return "edge " + std::to_string(e) + ": " + std::string(law.problem());
  for (std::size_t i = 0; i < law.parameters.size(); ++i) {
    const LawParameter& parameter = law.parameters[i];
    const double value = edge.p[i];
    const bool finite = std::isfinite(value) || (std::isinf(parameter.initial) && value > 0);
    bool fine = finite;
    const char* limit = "";
    switch (parameter.sign) {
      case Sign::any: break;
      case Sign::not_negative: fine = fine && value >= 0, limit = " >= 0"; break;
      case Sign::positive: fine = fine && value > 0, limit = " > 0"; break;
    }
    if (!fine) {
      return "edge " + std::to_string(e) + " (" + std::string(law.name) +
             "): " + std::string(parameter.name) + " is " + number(value) + ", expected a finite number" +
             limit;
    }
  }
  return {};
}
}  // namespace

std::string NetworkSpec::problem() const {
  if (std::string p = graph.problem(); !p.empty()) return p;
  if (nodes.size() != graph.nodes.size())
    return "properties of " + std::to_string(nodes.size()) + " nodes for a graph of " +
           std::to_string(graph.nodes.size());
  if (edges.size() != graph.edges.size())
    return "properties of " + std::to_string(edges.size()) + " edges for a graph of " +
           std::to_string(graph.edges.size());
  if (!(kT > 0) || !std::isfinite(kT)) return "kT is " + number(kT) + ", expected a finite number > 0";
  if (!(c_ref > 0) || !std::isfinite(c_ref))
    return "c_ref is " + number(c_ref) + ", expected a finite number > 0";
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    if (std::string p = node_problem(graph.nodes[k], nodes[k], k); !p.empty()) return p;
  }
  for (std::size_t e = 0; e < edges.size(); ++e) {
    if (std::string p = edge_problem(edges[e], e); !p.empty()) return p;
  }
  // A node counts as connected only through edges that can carry a current.
  Graph conducting;
  conducting.nodes.resize(graph.nodes.size());
  for (std::size_t k = 0; k < nodes.size(); ++k) conducting.nodes[k].clamped = graph.nodes[k].clamped;
  for (std::size_t e = 0; e < edges.size(); ++e) {
    if (edges[e].p[0] > 0) conducting.edges.push_back(graph.edges[e]);
  }
  std::vector<bool> grounded(nodes.size());
  for (std::size_t k = 0; k < nodes.size(); ++k) grounded[k] = nodes[k].g > 0;
  if (const auto floating = conducting.floating(grounded); !floating.empty()) {
    const std::uint32_t k = floating.front();
    return "node " + std::to_string(k) +
           (graph.nodes[k].name.empty() ? "" : " (" + graph.nodes[k].name + ")") +
           " has no path to ground: neither a leak (g > 0) nor edges that lead to a clamped node or a leak; "
           "its potential is undetermined (singular dI/dmu)";
  }
  return {};
}

// A temperature that no law takes note of, or that one law takes and a pool does not, is a mistake.
std::string NetworkSpec::ignored() const {
  std::vector<const EdgeLaw*> cold(nodes.size(), nullptr), pool = cold;
  std::vector<bool> used(nodes.size(), false);
  for (std::size_t e = 0; e < edges.size(); ++e) {
    const EdgeLaw& law = *edges[e].law;
    for (const std::uint32_t k : {graph.edges[e].source, graph.edges[e].target}) {
      used[k] = used[k] || law.thermal;
      if (!law.thermal) cold[k] = &law;
      if (law.pools) pool[k] = &law;
    }
  }
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    if (nodes[k].T == 1) continue;
    const EdgeLaw* const why = pool[k] != nullptr ? pool[k] : !used[k] ? cold[k] : nullptr;
    if (why == nullptr) continue;
    const std::string& name = graph.nodes[k].name;
    return "node " + std::to_string(k) + (name.empty() ? "" : " (" + name + ")") + ": T is " +
           number(nodes[k].T) + ", expected 1: its " + std::string(why->name) +
           " edges know no temperature but kT";
  }
  return {};
}

}  // namespace ness::sim
