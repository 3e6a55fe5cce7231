#include "ness/network/graph.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace ness {
namespace {

std::string node_text(const Graph& graph, std::uint32_t node) {
  std::string text = "node " + std::to_string(node);
  if (!graph.nodes[node].name.empty()) text += " (" + graph.nodes[node].name + ")";
  return text;
}

std::string edge_problem(const Graph& graph) {
  for (std::size_t i = 0; i < graph.edges.size(); ++i) {
    const GraphEdge& edge = graph.edges[i];
    const std::string name = "edge " + std::to_string(i);
    for (const std::uint32_t end : {edge.source, edge.target}) {
      if (end < graph.nodes.size()) continue;
      return name + " joins node " + std::to_string(end) + ", but there are " +
             std::to_string(graph.nodes.size()) + " nodes";
    }
    if (edge.source == edge.target)
      return name + " leads from " + node_text(graph, edge.source) + " to itself";
  }
  return {};
}

std::string output_problem(const Graph& graph) {
  if (graph.outputs.empty()) return "there is no output";
  std::vector<bool> seen(graph.nodes.size(), false);
  for (const std::uint32_t output : graph.outputs) {
    if (output >= graph.nodes.size()) {
      return "output node " + std::to_string(output) + ", but there are " +
             std::to_string(graph.nodes.size()) + " nodes";
    }
    if (seen[output]) return node_text(graph, output) + " is an output twice";
    if (graph.nodes[output].clamped) return node_text(graph, output) + " is an output and clamped";
    seen[output] = true;
  }
  return {};
}

}  // namespace

std::string Graph::problem() const {
  const bool any_free =
      std::any_of(nodes.begin(), nodes.end(), [](const GraphNode& node) { return !node.clamped; });
  if (!any_free) return "there is no free node";
  std::string found = edge_problem(*this);
  return found.empty() ? output_problem(*this) : found;
}

std::vector<std::uint32_t> Graph::floating(const std::vector<bool>& grounded) const {
  if (grounded.size() != nodes.size()) {
    throw std::invalid_argument("floating: " + std::to_string(grounded.size()) + " grounds for " +
                                std::to_string(nodes.size()) + " nodes");
  }
  std::vector<std::vector<std::uint32_t>> neighbours(nodes.size());
  for (const GraphEdge& edge : edges) {
    neighbours.at(edge.source).push_back(edge.target);
    neighbours.at(edge.target).push_back(edge.source);
  }
  std::vector<bool> fixed(nodes.size(), false);
  std::vector<std::uint32_t> front;
  for (std::uint32_t node = 0; node < nodes.size(); ++node) {
    if (!nodes[node].clamped && !grounded[node]) continue;
    fixed[node] = true;
    front.push_back(node);
  }
  while (!front.empty()) {
    const std::uint32_t node = front.back();
    front.pop_back();
    for (const std::uint32_t next : neighbours[node]) {
      if (fixed[next]) continue;
      fixed[next] = true;
      // Current does not pass through a clamped node. That needs no check here: all clamped nodes are in the
      // front from the start.
      front.push_back(next);
    }
  }
  std::vector<std::uint32_t> found;
  for (std::uint32_t node = 0; node < nodes.size(); ++node) {
    if (!fixed[node]) found.push_back(node);
  }
  return found;
}

Graph layered(const std::vector<std::uint32_t>& layers) {
  if (layers.size() < 2) {
    throw std::invalid_argument("layered: " + std::to_string(layers.size()) +
                                " layers; at least 2 are needed, inputs and outputs");
  }
  Graph graph;
  std::vector<std::uint32_t> first;  // first node of each layer
  for (std::uint32_t layer = 0; layer < layers.size(); ++layer) {
    if (layers[layer] == 0)
      throw std::invalid_argument("layered: layer " + std::to_string(layer) + " is empty");
    const bool input = layer == 0, output = layer + 1 == layers.size();
    const std::string prefix = input                ? "in"
                               : output             ? "out"
                               : layers.size() == 3 ? "hidden"
                                                    : "hidden" + std::to_string(layer) + "_";
    first.push_back(static_cast<std::uint32_t>(graph.nodes.size()));
    for (std::uint32_t i = 0; i < layers[layer]; ++i)
      graph.nodes.push_back({prefix + std::to_string(i), input, layer});
  }
  for (std::uint32_t layer = 1; layer < layers.size(); ++layer) {
    for (std::uint32_t target = 0; target < layers[layer]; ++target) {
      for (std::uint32_t source = 0; source < layers[layer - 1]; ++source) {
        graph.edges.push_back({first[layer - 1] + source, first[layer] + target, layer});
      }
    }
  }
  graph.outputs.resize(layers.back());
  std::iota(graph.outputs.begin(), graph.outputs.end(), first.back());
  return graph;
}

}  // namespace ness
