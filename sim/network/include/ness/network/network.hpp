// A network: a graph whose edges obey laws, as described, and compiled for evaluation.
//
// Free node k: sum of currents in - sum out - g_k (mu_k - mu_ref_k) + u_k = C_k dmu_k/dt (Eq. 3 with leak and
// injection).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ness/device/device.hpp"
#include "ness/network/graph.hpp"
#include "ness/device/vector.hpp"
#include "ness/network/edge_laws.hpp"
#include "ness/network/jacobian.hpp"

namespace ness::sim {

/// Properties of a node beside its place in the graph.
struct NodeProperties {
  double T = 1;         ///< relative temperature, > 0
  double g = 0;         ///< leak conductance, >= 0 (free nodes)
  double mu_ref = 0;    ///< potential the leak leads to
  double capacity = 1;  ///< C > 0; for a node that an enzyme edge touches the volume V, C = V c/kT (Eq. 21)
  double mu0 = 0;       ///< potential at the reference concentration
  double mu_init = 0;   ///< potential at rest (free nodes)
};

struct EdgeProperties {
  Law law = Law::linear;
  std::array<double, 4> p{};  ///< in the order of EdgeLaw::parameters
};

struct NetworkSpec {
  Graph graph;
  std::vector<NodeProperties> nodes;  ///< [graph.nodes]
  std::vector<EdgeProperties> edges;  ///< [graph.edges]
  double kT = 1;
  double c_ref = 1;

  /// Empty if usable; otherwise what is wrong, naming node or edge, value and limit: a graph problem, a
  /// number that is not finite, a negative capacity, conductance or rate, a free node with no path to a
  /// clamped node or a leak (its potential is undetermined).
  std::string problem() const;
  /// Empty, or the first property that says something and is taken note of by nothing: a temperature of a
  /// node whose edges know none, or of a pool. Files that say so are refused; logs of before load.
  std::string ignored() const;
};

/// What is imposed on a network while it relaxes.
struct Boundary {
  const double* theta = nullptr;                       ///< [n_parameters]
  Vector clamp;                                        ///< [n_clamped]
  Vector inject;                                       ///< [n_free] u; empty: none
  std::vector<std::pair<std::uint32_t, double>> held;  ///< (index among the free nodes, level)
};

/// How dI/dmu is kept and solved with.
enum class LinearAlgebra : std::uint8_t {
  automatic,  ///< dense up to 20 free nodes, or where that takes no more operations than a sparse LU
              ///< (layers); then direct, and iterative where LU fills in (cubic lattices from some 9000
              ///< nodes, random graphs of degree 6 from 1500; square lattices up to 10^6 nodes do not)
  dense,      ///< a matrix [n_free x n_free], by block elimination
  direct,     ///< compressed rows, sparse LU by fronts
  iterative,  ///< compressed rows, BiCGSTAB with a multilevel preconditioner; LU where that stalls
};
const char* to_string(LinearAlgebra algebra);

/// A network compiled for evaluation. Immutable; evaluation is const and thread-safe.
///
/// theta is ordered by law (those present, in the order of edge_laws()), in it by parameter, in it by edge;
/// then the leaks' g and mu_ref of the free nodes. A parameter that is LawParameter::omitted (d of quantum
/// dots) is present only where an edge of the description has another value than the default.
class Network {
 public:
  /// Throws std::invalid_argument with NetworkSpec::problem(). `algebra` changes answers by rounding alone.
  explicit Network(NetworkSpec spec, LinearAlgebra algebra = LinearAlgebra::automatic);
  ~Network();
  Network(Network&&) noexcept;

  const NetworkSpec& spec() const;
  const std::vector<std::uint32_t>& free() const;     ///< node of each free index
  const std::vector<std::uint32_t>& clamped() const;  ///< node of each clamped index
  std::size_t parameters() const;
  /// How it is solved: never `automatic`.
  LinearAlgebra algebra() const;
  /// True if the law of every edge is linear: then there is one steady state, and a relaxation from any start
  /// ends there.
  bool linear() const;
  /// Position in theta of parameter `which` of an edge; -1 where it is not in theta (d).
  std::int64_t edge_parameter(std::size_t edge, std::size_t which) const;
  std::size_t leak_g(std::size_t free_index) const;
  std::size_t leak_mu_ref(std::size_t free_index) const;
  std::vector<ParameterInfo> parameter_info() const;
  /// theta as described.
  Vector theta() const;
  /// Rest potentials of the free nodes.
  Vector rest() const;
  /// C_k at the potentials, [n_free].
  Vector capacity(const Vector& potential) const;
  /// How steep the edges at each free node are under these parameters: the largest EdgeLaw::steepness of its
  /// side, [n_free] (inverse energy); 0 where all are linear.
  Vector steepness(const double* theta) const;
  /// Free nodes whose capacity depends on the potential (enzymes: dC/dmu = C/kT).
  std::vector<bool> potential_dependent_capacity() const;

  struct Workspace;  ///< scratch of one thread
  struct WorkspaceDeleter {
    void operator()(Workspace*) const;
  };
  using WorkspacePtr = std::unique_ptr<Workspace, WorkspaceDeleter>;
  WorkspacePtr workspace() const;

  /// Prepares a workspace for relaxations under a boundary: everything that does not depend on the free
  /// potentials. The boundary must outlive its use.
  void impose(const Boundary& boundary, Workspace& work) const;
  /// How far the arguments of edges' exponentials move between two states under the boundary imposed on a
  /// workspace: the largest EdgeLaw::way. `steepness`: as above; edges that it shows to move by no more than
  /// `least` are passed over.
  double way(const Workspace& work, const Vector& from, const Vector& to, const Vector& steepness,
             double least) const;
  /// The unbalanced current F = u - I of each free node (zero at a steady state; held nodes: 0), and with
  /// `jacobian` dI/dmu [n_free x n_free].
  void evaluate(Workspace& work, const Vector& potential, Vector& unbalanced, Jacobian* jacobian) const;
  void evaluate(Workspace& work, const Vector& potential, Vector& unbalanced, std::nullptr_t) const {
    evaluate(work, potential, unbalanced, static_cast<Jacobian*>(nullptr));
  }
  /// The same with a dense matrix; of a large network it takes the memory that Jacobian::dense states.
  void evaluate(Workspace& work, const Vector& potential, Vector& unbalanced, Matrix* jacobian) const;
  /// Linear algebra on matrices with the pattern of dI/dmu, in a workspace. factor: false if singular. What
  /// cannot be solved is NaN. Throws std::bad_alloc where a sparse LU's factors need too much memory.
  bool factor(Workspace& work, const Jacobian& matrix) const;
  void solve(const Workspace& work, const Vector& b, Vector& x) const;
  void solve_transposed(const Workspace& work, const Vector& b, Vector& x) const;
  /// True if the flow contracts at a state with this dI/dmu, for any capacities: the symmetric part is
  /// positive definite (distances shrink in the norm of the capacities), or the diagonal dominates after a
  /// positive scaling (they shrink in a scaled largest-entry norm; of a large network also they in a scaled
  /// sum of charges). Each proves that all eigenvalues of C^-1 G have negative real parts. Forgets a
  /// factorisation.
  bool contracting(Workspace& work, const Jacobian& jacobian) const;

  /// dI/dmu alone, as a dense matrix. Throws std::invalid_argument where that would take more than 8 GB.
  Matrix jacobian(const Boundary& boundary, const Vector& potential) const;

  /// One edge by the scalar law, with all its derivatives; potentials of all nodes in node order.
  EdgeCurrent edge(std::size_t e, const Boundary& boundary, const Vector& node_potential) const;
  /// The current of each edge, in edge order; potentials of all nodes in node order.
  Vector edge_currents(const Boundary& boundary, const Vector& potential) const;
  Vector node_potentials(const Boundary& boundary, const Vector& potential) const;
  /// -lambda^T dI/dx for each clamped level x, [n_clamped].
  Vector clamp_gradient(const Boundary& boundary, const Vector& potential, const Vector& costate) const;
  /// Adds -sum_i lambda_i^T dI/dtheta over samples. Sums over samples in order for every parameter: the same
  /// bits on any number of threads. `threads` 0: all.
  void add_gradient(std::span<const Boundary> boundaries, std::span<const Vector> potential,
                    std::span<const Vector> costate, Eigen::Ref<Vector> gradient, unsigned threads) const;

  struct Impl;
  const Impl& impl() const { return *impl_; }  ///< for this library's other files

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace ness::sim
