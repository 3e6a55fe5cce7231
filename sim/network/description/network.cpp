#include "ness/network/network.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "algebra/sparse_solvers.hpp"
#include "description/network_impl.hpp"

namespace ness::sim {

const char* to_string(LinearAlgebra algebra) {
  switch (algebra) {
    case LinearAlgebra::automatic: return "automatic";
    case LinearAlgebra::dense: return "dense";
    case LinearAlgebra::direct: return "direct";
    case LinearAlgebra::iterative: return "iterative";
  }
  return "?";
}

Network::Network(NetworkSpec spec, LinearAlgebra algebra)
    : impl_(std::make_unique<Impl>(std::move(spec), algebra)) {}
Network::~Network() = default;
Network::Network(Network&&) noexcept = default;

const NetworkSpec& Network::spec() const { return impl_->spec; }
const std::vector<std::uint32_t>& Network::free() const { return impl_->free; }
const std::vector<std::uint32_t>& Network::clamped() const { return impl_->clamped; }
std::size_t Network::parameters() const { return impl_->n_parameters; }
LinearAlgebra Network::algebra() const { return impl_->algebra; }
bool Network::linear() const { return impl_->linear; }

Vector Network::capacity(const Vector& potential) const {
  Vector C(potential.size());
  for (Eigen::Index k = 0; k < C.size(); ++k) {
    const std::uint32_t node = impl_->free[k];
    const NodeProperties& p = impl_->spec.nodes[node];
    C[k] = p.capacity;
    if (!impl_->pool_node[node]) continue;
    // Eq. 21: V c/kT.
    const double full = std::log(p.capacity) + std::log(impl_->spec.c_ref) +
                        (potential[k] - p.mu0) / impl_->spec.kT - std::log(impl_->spec.kT);
    C[k] = std::exp(std::clamp(full, -furthest_exponent, furthest_exponent));
  }
  return C;
}

std::vector<bool> Network::potential_dependent_capacity() const {
  std::vector<bool> which;
  for (const std::uint32_t node : impl_->free) which.push_back(impl_->pool_node[node]);
  return which;
}

void Network::WorkspaceDeleter::operator()(Workspace* work) const { delete work; }
Network::WorkspacePtr Network::workspace() const {
  WorkspacePtr work(new Workspace);
  switch (impl_->algebra) {
    case LinearAlgebra::direct: work->solver = sparse_lu(impl_->ordering); break;
    case LinearAlgebra::iterative: work->solver = multilevel_iteration(impl_->ordering); break;
    case LinearAlgebra::dense:
      work->solver = std::make_unique<EliminationSolver>(impl_->elimination_order);
      break;
    case LinearAlgebra::automatic: throw std::logic_error("a network whose algebra was not chosen");
  }
  return work;
}
bool Network::factor(Workspace& work, const Jacobian& matrix) const { return work.solver->factor(matrix); }
void Network::solve(const Workspace& work, const Vector& b, Vector& x) const { work.solver->solve(b, x); }
void Network::solve_transposed(const Workspace& work, const Vector& b, Vector& x) const {
  work.solver->solve_transposed(b, x);
}
bool Network::contracting(Workspace& work, const Jacobian& jacobian) const {
  return work.solver->contracting(jacobian);
}

}  // namespace ness::sim
