// A compiled network, as evaluation and gradient share it.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "algebra/elimination.hpp"
#include "laws/laws.hpp"
#include "algebra/linear_solver.hpp"
#include "ness/network/network.hpp"

namespace ness::sim {

class Ordering;
namespace batches {
class Batch;
}

/// Quantities of nodes that edges share.
struct NodeState {
  std::vector<double> mu, e, c;  ///< potential, exp(-mu/(kT T)), concentration; [nodes]
  bool wide = false;             ///< a potential is too large for the shared exponentials
  bool dilute = false;           ///< a concentration is outside the range of the vector code
};

/// Edges of one law that are evaluated together. In a fan-in, neighbouring nodes lead into one node; all
/// other edges are gathered by index. Temperatures are equal within a block, or given per edge.
struct EdgeBlock {
  Law law = Law::linear;
  std::size_t first = 0, count = 0;  ///< edges of the law: positions first .. first + count - 1 within it
  bool fan_in = false;
  std::uint32_t source0 = 0, target = 0;  ///< fan-in: first source node, the target node
  bool clamped_sources = false;  ///< fan-in: all sources clamped, the target free: only sums are needed
  std::vector<std::uint32_t> source, target_of;  ///< otherwise: nodes, per edge
  bool equal_T = true;
  double inverse = 1;                        ///< 1/(kT T), equal temperatures
  std::vector<double> inverse_s, inverse_t;  ///< otherwise, per edge
  /// Large networks, per edge: positions of (s, s), (t, t), (s, t), (t, s) in the pattern; -1: none.
  std::vector<std::array<std::int32_t, 4>> place;
  /// Where concentrations are shared: exp((mu0_t - mu0_s)/kT) = 1/Keq, per edge
  std::vector<double> quotient;
  bool extreme =
      false;  ///< parts of the law that do not depend on potentials leave the range of the vector code

  /// Whether the law's vector code can evaluate the block at a state; otherwise the scalar law does.
  bool vector_code(const NodeState& state) const {
    const bool concentrations =
        law->kernels != nullptr && law->kernels->shared == kernels::NodeQuantity::concentration;
    return law->kernels != nullptr && !extreme && !(concentrations && state.dilute);
  }
};

struct LawEdges {
  Law law = Law::linear;
  std::vector<std::uint32_t> edges;                    ///< edge numbers, in order
  std::array<std::int64_t, 4> offset{-1, -1, -1, -1};  ///< of each parameter in theta; -1: not in theta
  std::size_t count() const { return edges.size(); }
};

struct Network::Impl {
  NetworkSpec spec;
  std::vector<std::uint32_t> free, clamped;
  std::vector<std::int64_t> free_index;                 ///< of each node; -1 if clamped
  std::vector<LawEdges> laws;                           ///< laws that occur in the network
  std::vector<std::size_t> law_of_edge, place_of_edge;  ///< per edge: its entry of `laws`, its position there
  std::vector<EdgeBlock> blocks;
  std::vector<bool> pool_node;  ///< of each node: its capacity depends on the potential
  bool linear = true;           ///< all edges are linear
  bool any_exponential = false, any_concentration = false;  ///< which the laws' vector code needs
  std::size_t leak_offset = 0, n_parameters = 0;
  std::vector<double> inverse_T, mu0;  ///< 1/(kT T), mu0 of each node
  LinearAlgebra algebra = LinearAlgebra::dense;
  Elimination::Order elimination_order;            ///< of a dense matrix, for `algebra` or batches
  bool batched = false;                            ///< the network can be relaxed in batches
  std::shared_ptr<const JacobianPattern> pattern;  ///< for sparse algebra
  std::shared_ptr<const Ordering> ordering;
  mutable std::mutex batches_mutex;
  mutable std::weak_ptr<const batches::Batch> kept_batches[2];  ///< single and double precision, while in use

  Impl(NetworkSpec described, LinearAlgebra wanted);
  void compile_blocks(const LawEdges& law);
  void choose_algebra(LinearAlgebra wanted);
  void compile_elimination_order();
  void compile_jacobian_pattern();
  const LawEdges& of(Law law) const;
  /// The parameters of one edge, gathered from theta; d comes from the description if theta does not contain
  /// it.
  std::array<double, 4> edge_values(const double* theta, std::size_t edge) const;
  /// Edge i of a block by the scalar law, potentials of all nodes in node order.
  EdgeCurrent edge_of_block(const EdgeBlock& block, std::size_t i, const double* theta,
                            const double* mu) const;
  EdgeEnd end(std::uint32_t node, double mu) const { return {mu, spec.nodes[node].T, spec.nodes[node].mu0}; }
};

struct Network::Workspace {
  const Boundary* boundary = nullptr;
  NodeState state;
  std::vector<bool> held;  ///< [n_free]
  bool any_held = false;
  bool clamped_wide = false, clamped_dilute = false;  ///< NodeState::wide, dilute of the clamped nodes alone
  std::vector<double> gather[4];                      ///< per-edge copies of a gathered block
  std::vector<double> current, by_source, by_target;
  std::unique_ptr<LinearSolver> solver;
};

/// The capacity of a pool that is empty or full beyond the range of double stays at e^-460 or e^460 = 1e199.8
/// (Network::capacity): rates must stay in range too. Such a pool settles at once, or never.
constexpr double furthest_exponent = 460;
inline bool capacity_is_bounded(double capacity) {
  return !(std::abs(std::log(capacity)) < furthest_exponent * (1 - 1e-12));
}

Vector steepness(const Network::Impl& impl, const double* theta);
void fill_nodes(const Network::Impl& impl, const std::vector<std::uint32_t>& nodes, NodeState& state);
/// The kernel arguments of a block whose law has kernels; gathers into `gather` where the block needs it.
kernels::Edges<double> edges_of(const Network::Impl& impl, const EdgeBlock& block, const double* theta,
                                const NodeState& state, std::vector<double> (&gather)[4]);

}  // namespace ness::sim
