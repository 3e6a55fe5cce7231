// Currents and their Jacobian at given potentials.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "description/network_impl.hpp"

namespace ness::sim {

namespace {
// |mu|/(kT T) up to which the shared exponentials cannot overflow (kernels.hpp)
constexpr double widest = 300;
// Concentrations within which the products of the vector code stay in range
constexpr double least_concentration = 1e-80, most_concentration = 1e80;
}  // namespace

void fill_nodes(const Network::Impl& impl, const std::vector<std::uint32_t>& nodes, NodeState& state) {
  if (!impl.any_exponential && !impl.any_concentration) return;
  // Runs of neighbouring nodes go through the vector kernels at once.
  for (std::size_t i = 0; i < nodes.size();) {
    std::size_t end = i + 1;
    while (end < nodes.size() && nodes[end] == nodes[end - 1] + 1) ++end;
    const std::size_t k = nodes[i], n = end - i;
    if (impl.any_exponential)
      kernels::exp_minus(n, state.mu.data() + k, impl.inverse_T.data() + k, state.e.data() + k);
    if (impl.any_concentration)
      kernels::concentrations(n, state.mu.data() + k, impl.mu0.data() + k, 1 / impl.spec.kT, impl.spec.c_ref,
                              state.c.data() + k);
    i = end;
  }
  for (const std::uint32_t k : nodes) {
    if (impl.any_exponential)
      state.wide = state.wide || !(std::abs(state.mu[k] * impl.inverse_T[k]) <= widest);
    if (impl.any_concentration)
      state.dilute = state.dilute || !(state.c[k] >= least_concentration && state.c[k] <= most_concentration);
  }
}

void Network::impose(const Boundary& boundary, Workspace& work) const {
  const std::size_t n_nodes = impl_->spec.graph.nodes.size();
  if (static_cast<std::size_t>(boundary.clamp.size()) != impl_->clamped.size()) {
    throw std::invalid_argument("network: " + std::to_string(boundary.clamp.size()) + " levels for " +
                                std::to_string(impl_->clamped.size()) + " clamped nodes");
  }
  if (boundary.inject.size() != 0 && static_cast<std::size_t>(boundary.inject.size()) != impl_->free.size()) {
    throw std::invalid_argument("network: " + std::to_string(boundary.inject.size()) +
                                " injected currents for " + std::to_string(impl_->free.size()) +
                                " free nodes");
  }
  work.boundary = &boundary;
  work.state.mu.assign(n_nodes, 0.0);
  work.state.e.assign(n_nodes, 1.0);
  work.state.c.assign(n_nodes, 0.0);
  for (std::size_t i = 0; i < impl_->clamped.size(); ++i)
    work.state.mu[impl_->clamped[i]] = boundary.clamp[static_cast<Eigen::Index>(i)];
  work.state.wide = work.state.dilute = false;
  fill_nodes(*impl_, impl_->clamped, work.state);
  work.clamped_wide = work.state.wide;
  work.clamped_dilute = work.state.dilute;
  work.held.assign(impl_->free.size(), false);
  for (const auto& [k, level] : boundary.held) work.held[k] = true;
  work.any_held = !boundary.held.empty();
  work.solver->forget();
}

kernels::Edges<double> edges_of(const Network::Impl& impl, const EdgeBlock& block, const double* theta,
                                const NodeState& state, std::vector<double> (&gather)[4]) {
  const LawEdges& law = impl.of(block.law);
  kernels::Edges<double> q;
  q.n = block.count;
  for (std::size_t i = 0; i < 4; ++i)
    q.p[i] = law.offset[i] < 0 ? nullptr : theta + law.offset[i] + static_cast<std::int64_t>(block.first);
  const std::vector<double>* shared = nullptr;
  switch (block.law->kernels->shared) {
    case kernels::NodeQuantity::none: break;
    case kernels::NodeQuantity::exponential:
      if (block.equal_T && !state.wide) shared = &state.e;
      q.inverse = block.inverse;
      q.inverse_s = block.inverse_s.data();
      q.inverse_t = block.inverse_t.data();
      break;
    case kernels::NodeQuantity::concentration:
      shared = &state.c;
      q.inverse = 1 / impl.spec.kT;
      q.quotient = block.quotient.data();
      break;
  }
  if (block.fan_in) {
    q.mu_s = state.mu.data() + block.source0;
    q.mu_t = state.mu.data() + block.target;
    if (shared != nullptr) {
      q.node_s = shared->data() + block.source0;
      q.node_t = shared->data() + block.target;
    }
    q.one_target = true;
    return q;
  }
  auto take = [&](const std::vector<double>& of_node, const std::vector<std::uint32_t>& nodes,
                  std::vector<double>& here) {
    here.resize(block.count);
    for (std::size_t i = 0; i < block.count; ++i) here[i] = of_node[nodes[i]];
    return here.data();
  };
  q.mu_s = take(state.mu, block.source, gather[0]);
  q.mu_t = take(state.mu, block.target_of, gather[1]);
  if (shared != nullptr) {
    q.node_s = take(*shared, block.source, gather[2]);
    q.node_t = take(*shared, block.target_of, gather[3]);
  }
  return q;
}

namespace {
// Sums over the edges of a block: by the law's vector code, or edge by edge by the scalar law if there is
// none.
kernels::Sum<double> sum_of_block(const Network::Impl& impl, const EdgeBlock& block, const double* theta,
                                  Network::Workspace& work) {
  if (block.vector_code(work.state))
    return kernels::sum(block.law, edges_of(impl, block, theta, work.state, work.gather));
  kernels::Sum<double> sum;
  for (std::size_t i = 0; i < block.count; ++i) {
    const EdgeCurrent I = impl.edge_of_block(block, i, theta, work.state.mu.data());
    sum.current += I.current;
    sum.by_target += I.by_target;
  }
  return sum;
}

void each_of_block(const Network::Impl& impl, const EdgeBlock& block, const double* theta,
                   Network::Workspace& work) {
  for (auto* of_edges : {&work.current, &work.by_source, &work.by_target}) of_edges->resize(block.count);
  if (block.vector_code(work.state)) {
    kernels::each(block.law, edges_of(impl, block, theta, work.state, work.gather), work.current.data(),
                  work.by_source.data(), work.by_target.data());
    return;
  }
  for (std::size_t i = 0; i < block.count; ++i) {
    const EdgeCurrent I = impl.edge_of_block(block, i, theta, work.state.mu.data());
    work.current[i] = I.current;
    work.by_source[i] = I.by_source;
    work.by_target[i] = I.by_target;
  }
}
}  // namespace

void Network::evaluate(Workspace& work, const Vector& potential, Vector& unbalanced,
                       Jacobian* jacobian) const {
  const Impl& impl = *impl_;
  const double* theta = work.boundary->theta;
  const auto n = static_cast<Eigen::Index>(impl.free.size());
  NodeState& state = work.state;
  for (Eigen::Index k = 0; k < n; ++k) state.mu[impl.free[k]] = potential[k];
  state.wide = work.clamped_wide;
  state.dilute = work.clamped_dilute;
  fill_nodes(impl, impl.free, state);

  unbalanced.resize(n);
  if (jacobian != nullptr) jacobian->clear(n, impl.pattern);
  Matrix* const full = jacobian != nullptr && !impl.pattern ? &jacobian->full() : nullptr;
  double* const values = jacobian != nullptr && impl.pattern ? jacobian->data() : nullptr;
  for (Eigen::Index k = 0; k < n; ++k) {
    const double g = theta[leak_g(k)], mu_ref = theta[leak_mu_ref(k)];
    const double u = work.boundary->inject.size() != 0 ? work.boundary->inject[k] : 0.0;
    unbalanced[k] = u - g * (potential[k] - mu_ref);
    if (jacobian != nullptr) jacobian->diagonal(k) = g;
  }
  for (const EdgeBlock& block : impl.blocks) {
    if (block.clamped_sources) {
      const kernels::Sum<double> sum = sum_of_block(impl, block, theta, work);
      const Eigen::Index t = impl.free_index[block.target];
      unbalanced[t] += sum.current;
      if (jacobian != nullptr) jacobian->diagonal(t) -= sum.by_target;
      continue;
    }
    each_of_block(impl, block, theta, work);
    for (std::size_t i = 0; i < block.count; ++i) {
      const Eigen::Index s = impl.free_index[block.fan_in ? block.source0 + i : block.source[i]];
      const Eigen::Index t = impl.free_index[block.fan_in ? block.target : block.target_of[i]];
      if (s >= 0) unbalanced[s] -= work.current[i];
      if (t >= 0) unbalanced[t] += work.current[i];
      if (values != nullptr) {
        const auto& place = block.place[i];
        if (s >= 0) values[place[0]] += work.by_source[i];
        if (t >= 0) values[place[1]] -= work.by_target[i];
        if (s >= 0 && t >= 0) {
          values[place[2]] += work.by_target[i];
          values[place[3]] -= work.by_source[i];
        }
      } else if (full != nullptr) {
        if (s >= 0) (*full)(s, s) += work.by_source[i];
        if (t >= 0) (*full)(t, t) -= work.by_target[i];
        if (s >= 0 && t >= 0) {
          (*full)(s, t) += work.by_target[i];
          (*full)(t, s) -= work.by_source[i];
        }
      }
    }
  }
  if (work.any_held) {
    for (Eigen::Index k = 0; k < n; ++k) {
      if (!work.held[k]) continue;
      unbalanced[k] = 0;
      if (values != nullptr)
        std::fill(values + impl.pattern->begin[k], values + impl.pattern->begin[k + 1], 0.0);
      if (full != nullptr) full->row(k).setZero();
      if (jacobian != nullptr) jacobian->diagonal(k) = 1;
    }
  }
}

void Network::evaluate(Workspace& work, const Vector& potential, Vector& unbalanced, Matrix* jacobian) const {
  Jacobian found;
  evaluate(work, potential, unbalanced, jacobian != nullptr ? &found : nullptr);
  if (jacobian != nullptr) *jacobian = found.dense();
}

Matrix Network::jacobian(const Boundary& boundary, const Vector& potential) const {
  const WorkspacePtr work = workspace();
  impose(boundary, *work);
  Vector unbalanced;
  Jacobian jacobian;
  evaluate(*work, potential, unbalanced, &jacobian);
  return jacobian.dense();
}

Vector Network::node_potentials(const Boundary& boundary, const Vector& potential) const {
  Vector mu(static_cast<Eigen::Index>(impl_->spec.graph.nodes.size()));
  for (std::size_t i = 0; i < impl_->clamped.size(); ++i)
    mu[impl_->clamped[i]] = boundary.clamp[static_cast<Eigen::Index>(i)];
  for (std::size_t k = 0; k < impl_->free.size(); ++k)
    mu[impl_->free[k]] = potential[static_cast<Eigen::Index>(k)];
  return mu;
}

EdgeCurrent Network::edge(std::size_t e, const Boundary& boundary, const Vector& node_potential) const {
  const GraphEdge& edge = impl_->spec.graph.edges[e];
  const auto p = impl_->edge_values(boundary.theta, e);
  return edge_current(
      impl_->spec.edges[e].law, p.data(), impl_->end(edge.source, node_potential[edge.source]),
      impl_->end(edge.target, node_potential[edge.target]), impl_->spec.kT, impl_->spec.c_ref);
}

Vector Network::edge_currents(const Boundary& boundary, const Vector& potential) const {
  const Vector mu = node_potentials(boundary, potential);
  Vector current(static_cast<Eigen::Index>(impl_->spec.edges.size()));
  for (Eigen::Index e = 0; e < current.size(); ++e) current[e] = edge(e, boundary, mu).current;
  return current;
}

Vector Network::clamp_gradient(const Boundary& boundary, const Vector& potential,
                               const Vector& costate) const {
  const Vector mu = node_potentials(boundary, potential);
  Vector by_node = Vector::Zero(mu.size());
  for (std::size_t e = 0; e < impl_->spec.edges.size(); ++e) {
    const GraphEdge& ends = impl_->spec.graph.edges[e];
    const std::int64_t s = impl_->free_index[ends.source], t = impl_->free_index[ends.target];
    if (s >= 0 && t >= 0) continue;
    const EdgeCurrent I = edge(e, boundary, mu);
    const double weight = (s >= 0 ? costate[s] : 0.0) - (t >= 0 ? costate[t] : 0.0);
    if (s < 0) by_node[ends.source] -= weight * I.by_source;
    if (t < 0) by_node[ends.target] -= weight * I.by_target;
  }
  Vector gradient(static_cast<Eigen::Index>(impl_->clamped.size()));
  for (std::size_t i = 0; i < impl_->clamped.size(); ++i)
    gradient[static_cast<Eigen::Index>(i)] = by_node[impl_->clamped[i]];
  return gradient;
}

}  // namespace ness::sim
