// Graphs: which nodes there are, which are inputs and outputs, and which edges join them. No physics.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ness {

/// An edge runs source -> target; its current is positive that way.
struct GraphEdge {
  std::uint32_t source = 0, target = 0;
  std::uint32_t layer = 0;  ///< of its target, in a layered graph
};

struct GraphNode {
  std::string name;
  bool clamped = false;
  std::uint32_t layer = 0;
};

/// Any graph, edge by edge.
struct Graph {
  std::vector<GraphNode> nodes;
  std::vector<GraphEdge> edges;
  std::vector<std::uint32_t> outputs;

  /// Empty if usable; otherwise what is wrong, naming the node or edge: an edge to a node that is not there,
  /// a self-loop, a duplicate or missing output, no free node.
  std::string problem() const;
  /// Free nodes that no chain of edges joins to a clamped node or to one of the `grounded` nodes (true: has a
  /// leak): their potential is undetermined.
  std::vector<std::uint32_t> floating(const std::vector<bool>& grounded) const;
};

/// Fully connected layers, layers[0] clamped, the last the outputs. Edges lead from each layer to the next,
/// listed by layer, then target, then source, so that the edges into one node are neighbours. Throws
/// std::invalid_argument for fewer than two layers or an empty one.
Graph layered(const std::vector<std::uint32_t>& layers);

}  // namespace ness
