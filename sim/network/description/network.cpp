#include "ness/network/network.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "description/network_impl.hpp"
#include "algebra/sparse_solvers.hpp"

namespace ness::sim {

namespace {
constexpr std::size_t gathered_block = 256;   // edges: the scratch of a block stays in the first-level cache
constexpr std::size_t shortest_fan_in = 4;    // shorter ones are not worth a kernel call of their own
// A dense matrix is kept for so few free nodes, where sparse algebra costs its bookkeeping,
constexpr std::size_t tiny = 20;
// or where its elimination takes at most so many times the operations of LU (Cholesky, minimum degree): layers, whose hidden nodes it eliminates in one
// product. Relaxations by LU take 1.0 to 2.6 of its time where that ratio is 1.0 (layers), 0.7 at 1.9 (three hidden layers), 0.2 to 0.5 at 1.8 to 4 (random
// graphs of 100 nodes, degree 30 to 12), 0.1 at 34 (196 nodes, degree 4). Layers of more than 250 hidden nodes and few outputs are an exception: LU takes
// 0.3 to 0.7 of its time there, which goes into clearing the matrix.
constexpr double dense_excess = 1.5;
// Batches, 16 samples side by side, are eliminated densely: up to so many free nodes, or, up to more, so many operations.
constexpr std::size_t largest_batched = 200, largest_planned = 2000;
constexpr double cheap_elimination = 1e6;
// Operations a node (as above) from which relaxations by iteration are faster than by LU. Cold, the iteration takes 2.1 of LU's time at 14,000 (cubic lattice of
// 4100 nodes), 1.0 at 30,000 (random graph of 1000, degree 8), 1.8 and 1.3 at 42,000 and 46,000 (random, 3000, degree 4; cubic, 10,600), 0.6 at 65,000 and
// 91,000 (random, 2000, degree 6; cubic, 17,600). Square lattices get there far beyond 10^6 nodes (AVX-512).
constexpr double costly_lu = 40000;
constexpr double widest = 300;                // |mu|/(kT T) up to which the shared exponentials cannot overflow (kernels.hpp)

std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", x);
  return text;
}

std::string node_problem(const GraphNode& node, const NodeProperties& p, std::size_t k) {
  auto bad = [&](const char* what, double value, const char* expected) {
    return "node " + std::to_string(k) + (node.name.empty() ? "" : " (" + node.name + ")") + ": " + what + " is " + number(value) + ", expected " + expected;
  };
  if (!(p.T > 0) || !std::isfinite(p.T)) return bad("T", p.T, "a finite number > 0");
  if (!(p.g >= 0) || !std::isfinite(p.g)) return bad("g", p.g, "a finite number >= 0");
  if (!(p.capacity > 0) || !std::isfinite(p.capacity)) return bad("capacity", p.capacity, "a finite number > 0");
  if (!std::isfinite(p.mu_ref)) return bad("mu_ref", p.mu_ref, "a finite number");
  if (!std::isfinite(p.mu0)) return bad("mu0", p.mu0, "a finite number");
  if (!std::isfinite(p.mu_init)) return bad("mu_init", p.mu_init, "a finite number");
  if (node.clamped && p.g != 0) return bad("g", p.g, "0: a clamped node has no leak");
  return {};
}

std::string edge_problem(const EdgeProperties& edge, std::size_t e) {
  const LawInfo& law = law_info(edge.law);
  for (std::size_t i = 0; i < law.parameters; ++i) {
    const double value = edge.p[i];
    const bool may_be_infinite = std::isinf(law.defaults[i]);
    const bool strictly = edge.law == Law::enzyme && i > 0;
    const bool fine = law.positive[i] ? (strictly ? value > 0 : value >= 0) && (std::isfinite(value) || (may_be_infinite && value > 0)) : std::isfinite(value);
    if (!fine) {
      return "edge " + std::to_string(e) + " (" + std::string(law.name) + "): " + std::string(law.names[i]) + " is " + number(value) + ", expected a finite number" +
             (law.positive[i] ? (strictly ? " > 0" : " >= 0") : "");
    }
  }
  return {};
}
}  // namespace

std::string NetworkSpec::problem() const {
  if (std::string p = graph.problem(); !p.empty()) return p;
  if (nodes.size() != graph.nodes.size()) return "properties of " + std::to_string(nodes.size()) + " nodes for a graph of " + std::to_string(graph.nodes.size());
  if (edges.size() != graph.edges.size()) return "properties of " + std::to_string(edges.size()) + " edges for a graph of " + std::to_string(graph.edges.size());
  if (!(kT > 0) || !std::isfinite(kT)) return "kT is " + number(kT) + ", expected a finite number > 0";
  if (!(c_ref > 0) || !std::isfinite(c_ref)) return "c_ref is " + number(c_ref) + ", expected a finite number > 0";
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    if (std::string p = node_problem(graph.nodes[k], nodes[k], k); !p.empty()) return p;
  }
  for (std::size_t e = 0; e < edges.size(); ++e) {
    if (std::string p = edge_problem(edges[e], e); !p.empty()) return p;
  }
  // An edge that carries no current grounds nothing.
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
    return "node " + std::to_string(k) + (graph.nodes[k].name.empty() ? "" : " (" + graph.nodes[k].name + ")") +
           " has no path to ground: neither a leak (g > 0) nor edges that lead to a clamped node or a leak; its potential is undetermined (singular dI/dmu)";
  }
  return {};
}

Network::Impl::Impl(NetworkSpec described, LinearAlgebra wanted) : spec(std::move(described)) {
  if (std::string p = spec.problem(); !p.empty()) throw std::invalid_argument("network: " + p);
  const std::size_t n_nodes = spec.graph.nodes.size();
  free_index.assign(n_nodes, -1);
  for (std::uint32_t k = 0; k < n_nodes; ++k) {
    if (spec.graph.nodes[k].clamped) {
      clamped.push_back(k);
    } else {
      free_index[k] = static_cast<std::int64_t>(free.size());
      free.push_back(k);
    }
    inverse_T.push_back(1 / (spec.kT * spec.nodes[k].T));
    mu0.push_back(spec.nodes[k].mu0);
  }
  enzyme_node.assign(n_nodes, false);
  law_of_edge.resize(spec.edges.size());
  place_of_edge.resize(spec.edges.size());
  std::size_t offset = 0;
  for (const Law law : {Law::linear, Law::quantum_dot, Law::enzyme}) {
    LawEdges here;
    here.law = law;
    bool any_d = false;
    for (std::uint32_t e = 0; e < spec.edges.size(); ++e) {
      if (spec.edges[e].law != law) continue;
      law_of_edge[e] = laws.size();
      place_of_edge[e] = here.edges.size();
      here.edges.push_back(e);
      any_d = any_d || (law == Law::quantum_dot && spec.edges[e].p[3] != 0);
      if (law == Law::enzyme) enzyme_node[spec.graph.edges[e].source] = enzyme_node[spec.graph.edges[e].target] = true;
    }
    if (here.edges.empty()) continue;
    for (std::size_t i = 0; i < law_info(law).parameters; ++i) {
      if (law == Law::quantum_dot && i == 3 && !any_d) continue;
      here.offset[i] = static_cast<std::int64_t>(offset);
      offset += here.edges.size();
    }
    any_enzyme = any_enzyme || law == Law::enzyme;
    any_dot = any_dot || law == Law::quantum_dot;
    compile_blocks(here);
    laws.push_back(std::move(here));
  }
  leak_offset = offset;
  n_parameters = offset + 2 * free.size();
  choose_algebra(wanted);
}

void Network::Impl::choose_algebra(LinearAlgebra wanted) {
  algebra = wanted;
  const bool automatic = wanted == LinearAlgebra::automatic;
  if (wanted == LinearAlgebra::dense || (automatic && free.size() <= largest_planned)) compile_plan();
  const auto n = static_cast<double>(free.size()), rest = static_cast<double>(plan.rest.size());
  const double elimination = (n - rest) * rest * rest + rest * rest * rest / 3;
  batched = !plan.first.empty() && (!automatic || free.size() <= largest_batched || elimination < cheap_elimination);
  if (automatic && free.size() <= tiny) algebra = LinearAlgebra::dense;
  if (algebra == LinearAlgebra::dense) return;
  compile_places();
  ordering = std::make_shared<const Ordering>(pattern);
  if (!automatic) return;
  const double flops = ordering->first_flops();
  algebra = flops > costly_lu * n ? LinearAlgebra::iterative : LinearAlgebra::direct;
  if (!plan.first.empty() && elimination < dense_excess * flops) {
    algebra = LinearAlgebra::dense;
    ordering.reset();
    pattern.reset();
  } else if (!batched) {
    plan = {};
  }
}

void Network::Impl::compile_plan() {
  std::vector<std::vector<std::uint32_t>> neighbours(free.size());
  for (const GraphEdge& edge : spec.graph.edges) {
    const std::int64_t s = free_index[edge.source], t = free_index[edge.target];
    if (s < 0 || t < 0) continue;
    neighbours[s].push_back(static_cast<std::uint32_t>(t));
    neighbours[t].push_back(static_cast<std::uint32_t>(s));
  }
  plan = Elimination::Plan::of(neighbours);
}

void Network::Impl::compile_places() {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ends;
  for (const GraphEdge& edge : spec.graph.edges) {
    const std::int64_t s = free_index[edge.source], t = free_index[edge.target];
    if (s >= 0 && t >= 0) ends.emplace_back(static_cast<std::uint32_t>(s), static_cast<std::uint32_t>(t));
  }
  pattern = std::make_shared<const SlopePattern>(SlopePattern::of(free.size(), ends));
  for (EdgeBlock& block : blocks) {
    if (block.clamped_sources && block.law == Law::quantum_dot) continue;  // sums alone
    block.place.reserve(block.count);
    for (std::size_t i = 0; i < block.count; ++i) {
      const std::int64_t s = free_index[block.fan_in ? block.source0 + i : block.source[i]], t = free_index[block.fan_in ? block.target : block.target_of[i]];
      std::array<std::int32_t, 4> place{-1, -1, -1, -1};
      if (s >= 0) place[0] = pattern->diagonal[s];
      if (t >= 0) place[1] = pattern->diagonal[t];
      if (s >= 0 && t >= 0) {
        place[2] = pattern->place(static_cast<std::uint32_t>(s), static_cast<std::uint32_t>(t));
        place[3] = pattern->mirror[place[2]];
      }
      block.place.push_back(place);
    }
  }
}

void Network::Impl::compile_blocks(const LawEdges& law) {
  const auto& edges = spec.graph.edges;
  auto joins = [&](std::size_t i) {  // edge i continues the fan-in that edge i - 1 belongs to
    const GraphEdge &before = edges[law.edges[i - 1]], &here = edges[law.edges[i]];
    return here.target == before.target && here.source == before.source + 1 &&
           spec.graph.nodes[here.source].clamped == spec.graph.nodes[before.source].clamped;
  };
  auto finish = [&](EdgeBlock block) {
    const double T = spec.nodes[block.fan_in ? block.target : block.target_of.front()].T;
    block.inverse = 1 / (spec.kT * T);
    for (std::size_t i = 0; i < block.count; ++i) {
      const GraphEdge& edge = edges[law.edges[block.first + i]];
      const NodeProperties &s = spec.nodes[edge.source], &t = spec.nodes[edge.target];
      block.equal_T = block.equal_T && s.T == T && t.T == T;
      block.inverse_s.push_back(inverse_T[edge.source]);
      block.inverse_t.push_back(inverse_T[edge.target]);
      if (block.law == Law::enzyme) block.quotient.push_back(std::exp((t.mu0 - s.mu0) / spec.kT));
    }
    blocks.push_back(std::move(block));
  };
  EdgeBlock loose;
  auto flush = [&] {
    if (loose.count > 0) finish(std::move(loose));
    loose = EdgeBlock{};
  };
  for (std::size_t i = 0; i < law.count();) {
    std::size_t end = i + 1;
    while (end < law.count() && joins(end)) ++end;
    const GraphEdge& edge = edges[law.edges[i]];
    if (end - i >= shortest_fan_in) {
      flush();
      EdgeBlock block;
      block.law = law.law;
      block.first = i;
      block.count = end - i;
      block.fan_in = true;
      block.source0 = edge.source;
      block.target = edge.target;
      block.clamped_sources = spec.graph.nodes[edge.source].clamped && !spec.graph.nodes[edge.target].clamped;
      finish(std::move(block));
      i = end;
    } else {
      if (loose.count == gathered_block) flush();
      if (loose.count == 0) {
        loose.law = law.law;
        loose.first = i;
      }
      loose.source.push_back(edge.source);
      loose.target_of.push_back(edge.target);
      ++loose.count;
      ++i;
    }
  }
  flush();
}

const LawEdges& Network::Impl::of(Law law) const {
  for (const LawEdges& here : laws) {
    if (here.law == law) return here;
  }
  throw std::logic_error("the network has no edge of this law");
}

std::array<double, 4> Network::Impl::edge_values(const double* theta, std::size_t edge) const {
  const LawEdges& law = laws[law_of_edge[edge]];
  std::array<double, 4> values = spec.edges[edge].p;
  for (std::size_t i = 0; i < law_info(law.law).parameters; ++i) {
    if (law.offset[i] >= 0) values[i] = theta[law.offset[i] + static_cast<std::int64_t>(place_of_edge[edge])];
  }
  return values;
}

const char* to_string(LinearAlgebra algebra) {
  switch (algebra) {
    case LinearAlgebra::automatic: return "automatic";
    case LinearAlgebra::dense: return "dense";
    case LinearAlgebra::direct: return "direct";
    case LinearAlgebra::iterative: return "iterative";
  }
  return "?";
}

Network::Network(NetworkSpec spec, LinearAlgebra algebra) : impl_(std::make_unique<Impl>(std::move(spec), algebra)) {}
Network::~Network() = default;
Network::Network(Network&&) noexcept = default;

const NetworkSpec& Network::spec() const { return impl_->spec; }
const std::vector<std::uint32_t>& Network::free() const { return impl_->free; }
const std::vector<std::uint32_t>& Network::clamped() const { return impl_->clamped; }
std::size_t Network::parameters() const { return impl_->n_parameters; }
LinearAlgebra Network::algebra() const { return impl_->algebra; }
bool Network::linear() const { return !impl_->any_dot && !impl_->any_enzyme; }

std::int64_t Network::edge_parameter(std::size_t edge, std::size_t which) const {
  const std::int64_t offset = impl_->laws[impl_->law_of_edge[edge]].offset[which];
  return offset < 0 ? -1 : offset + static_cast<std::int64_t>(impl_->place_of_edge[edge]);
}
std::size_t Network::leak_g(std::size_t free_index) const { return impl_->leak_offset + free_index; }
std::size_t Network::leak_mu_ref(std::size_t free_index) const { return impl_->leak_offset + impl_->free.size() + free_index; }

std::vector<ParameterInfo> Network::parameter_info() const {
  std::vector<ParameterInfo> all;
  all.reserve(impl_->n_parameters);
  for (const LawEdges& law : impl_->laws) {
    const LawInfo& info = law_info(law.law);
    for (std::size_t i = 0; i < info.parameters; ++i) {
      if (law.offset[i] < 0) continue;
      for (const std::uint32_t e : law.edges) {
        ParameterInfo p;
        p.kind = info.names[i];
        p.name = p.kind + "[" + std::to_string(e) + "]";
        p.unit = info.units[i];
        p.scale = info.positive[i] ? Scale::log : Scale::linear;
        if (info.positive[i]) p.range.low = 0;
        // An inhibition constant at infinity has no logarithm to step.
        p.trainable = std::isfinite(impl_->spec.edges[e].p[i]);
        p.edge = e;
        all.push_back(std::move(p));
      }
    }
  }
  for (const bool conductance : {true, false}) {
    for (const std::uint32_t k : impl_->free) {
      ParameterInfo p;
      p.kind = conductance ? "g" : "mu_ref";
      p.name = p.kind + "[" + std::to_string(k) + "]";
      p.unit = conductance ? "1" : "kT";
      if (conductance) {
        p.scale = Scale::log;
        p.range.low = 0;
      }
      p.node = k;
      all.push_back(std::move(p));
    }
  }
  return all;
}

Vector Network::theta() const {
  Vector theta(static_cast<Eigen::Index>(impl_->n_parameters));
  for (const LawEdges& law : impl_->laws) {
    for (std::size_t i = 0; i < law_info(law.law).parameters; ++i) {
      if (law.offset[i] < 0) continue;
      for (std::size_t k = 0; k < law.count(); ++k) theta[law.offset[i] + static_cast<std::int64_t>(k)] = impl_->spec.edges[law.edges[k]].p[i];
    }
  }
  for (std::size_t k = 0; k < impl_->free.size(); ++k) {
    theta[static_cast<Eigen::Index>(leak_g(k))] = impl_->spec.nodes[impl_->free[k]].g;
    theta[static_cast<Eigen::Index>(leak_mu_ref(k))] = impl_->spec.nodes[impl_->free[k]].mu_ref;
  }
  return theta;
}

Vector Network::rest() const {
  Vector rest(static_cast<Eigen::Index>(impl_->free.size()));
  for (std::size_t k = 0; k < impl_->free.size(); ++k) rest[static_cast<Eigen::Index>(k)] = impl_->spec.nodes[impl_->free[k]].mu_init;
  return rest;
}

Vector Network::capacity(const Vector& potential) const {
  Vector C(potential.size());
  for (Eigen::Index k = 0; k < C.size(); ++k) {
    const std::uint32_t node = impl_->free[k];
    const NodeProperties& p = impl_->spec.nodes[node];
    C[k] = p.capacity;
    if (impl_->enzyme_node[node]) C[k] *= impl_->spec.c_ref * std::exp((potential[k] - p.mu0) / impl_->spec.kT) / impl_->spec.kT;  // Eq. 21
  }
  return C;
}

std::vector<bool> Network::potential_dependent_capacity() const {
  std::vector<bool> which;
  for (const std::uint32_t node : impl_->free) which.push_back(impl_->enzyme_node[node]);
  return which;
}

void Network::WorkspaceDeleter::operator()(Workspace* work) const { delete work; }
Network::WorkspacePtr Network::workspace() const {
  WorkspacePtr work(new Workspace);
  switch (impl_->algebra) {
    case LinearAlgebra::direct: work->solver = sparse_lu(impl_->ordering); break;
    case LinearAlgebra::iterative: work->solver = multilevel_iteration(impl_->ordering); break;
    default: work->solver = std::make_unique<EliminationSolver>(impl_->plan);
  }
  return work;
}
bool Network::factor(Workspace& work, const Slope& matrix) const { return work.solver->factor(matrix); }
void Network::solve(const Workspace& work, const Vector& b, Vector& x) const { work.solver->solve(b, x); }
void Network::solve_transposed(const Workspace& work, const Vector& b, Vector& x) const { work.solver->solve_transposed(b, x); }
bool Network::contracting(Workspace& work, const Slope& slope) const { return work.solver->contracting(slope); }

void fill_nodes(const Network::Impl& impl, const std::vector<std::uint32_t>& nodes, NodeState& state) {
  if (!impl.any_dot && !impl.any_enzyme) return;
  // Runs of neighbouring nodes go through the vector kernels at once.
  for (std::size_t i = 0; i < nodes.size();) {
    std::size_t end = i + 1;
    while (end < nodes.size() && nodes[end] == nodes[end - 1] + 1) ++end;
    const std::size_t k = nodes[i], n = end - i;
    if (impl.any_dot) kernels::exp_minus(n, state.mu.data() + k, impl.inverse_T.data() + k, state.e.data() + k);
    if (impl.any_enzyme) kernels::concentrations(n, state.mu.data() + k, impl.mu0.data() + k, 1 / impl.spec.kT, impl.spec.c_ref, state.c.data() + k);
    i = end;
  }
  if (!impl.any_dot) return;
  for (const std::uint32_t k : nodes) state.wide = state.wide || !(std::abs(state.mu[k] * impl.inverse_T[k]) <= widest);
}

void Network::impose(const Boundary& boundary, Workspace& work) const {
  const std::size_t n_nodes = impl_->spec.graph.nodes.size();
  if (static_cast<std::size_t>(boundary.clamp.size()) != impl_->clamped.size()) {
    throw std::invalid_argument("network: " + std::to_string(boundary.clamp.size()) + " levels for " + std::to_string(impl_->clamped.size()) + " clamped nodes");
  }
  if (boundary.inject.size() != 0 && static_cast<std::size_t>(boundary.inject.size()) != impl_->free.size()) {
    throw std::invalid_argument("network: " + std::to_string(boundary.inject.size()) + " injected currents for " + std::to_string(impl_->free.size()) + " free nodes");
  }
  work.boundary = &boundary;
  work.state.mu.assign(n_nodes, 0.0);
  work.state.e.assign(n_nodes, 1.0);
  work.state.c.assign(n_nodes, 0.0);
  for (std::size_t i = 0; i < impl_->clamped.size(); ++i) work.state.mu[impl_->clamped[i]] = boundary.clamp[static_cast<Eigen::Index>(i)];
  work.state.wide = false;
  fill_nodes(*impl_, impl_->clamped, work.state);
  work.clamped_wide = work.state.wide;
  work.held.assign(impl_->free.size(), false);
  for (const auto& [k, level] : boundary.held) work.held[k] = true;
  work.any_held = !boundary.held.empty();
  work.solver->forget();
}

kernels::Edges<double> edges_of(const Network::Impl& impl, const EdgeBlock& block, const double* theta, const NodeState& state,
                                std::vector<double> (&gather)[4]) {
  const LawEdges& law = impl.of(block.law);
  kernels::Edges<double> q;
  q.n = block.count;
  for (std::size_t i = 0; i < 4; ++i) q.p[i] = law.offset[i] < 0 ? nullptr : theta + law.offset[i] + static_cast<std::int64_t>(block.first);
  const std::vector<double>* shared = nullptr;
  if (block.law == Law::enzyme) {
    shared = &state.c;
    q.inverse = 1 / impl.spec.kT;
    q.quotient = block.quotient.data();
  } else if (block.law == Law::quantum_dot) {
    if (block.equal_T && !state.wide) shared = &state.e;
    q.inverse = block.inverse;
    q.inverse_s = block.inverse_s.data();
    q.inverse_t = block.inverse_t.data();
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
  auto take = [&](const std::vector<double>& of_node, const std::vector<std::uint32_t>& nodes, std::vector<double>& here) {
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

void Network::evaluate(Workspace& work, const Vector& potential, Vector& unbalanced, Slope* slope) const {
  const Impl& impl = *impl_;
  const double* theta = work.boundary->theta;
  const auto n = static_cast<Eigen::Index>(impl.free.size());
  NodeState& state = work.state;
  for (Eigen::Index k = 0; k < n; ++k) state.mu[impl.free[k]] = potential[k];
  state.wide = work.clamped_wide;
  fill_nodes(impl, impl.free, state);

  unbalanced.resize(n);
  if (slope != nullptr) slope->clear(n, impl.pattern);
  Matrix* const full = slope != nullptr && !impl.pattern ? &slope->full() : nullptr;
  double* const values = slope != nullptr && impl.pattern ? slope->data() : nullptr;
  for (Eigen::Index k = 0; k < n; ++k) {
    const double g = theta[leak_g(k)], mu_ref = theta[leak_mu_ref(k)];
    const double u = work.boundary->inject.size() != 0 ? work.boundary->inject[k] : 0.0;
    unbalanced[k] = u - g * (potential[k] - mu_ref);
    if (slope != nullptr) slope->diagonal(k) = g;
  }
  for (const EdgeBlock& block : impl.blocks) {
    const kernels::Edges<double> edges = edges_of(impl, block, theta, state, work.gather);
    if (block.clamped_sources) {
      const kernels::Sum<double> sum = kernels::sum(block.law, edges);
      const Eigen::Index t = impl.free_index[block.target];
      unbalanced[t] += sum.current;
      if (slope != nullptr) slope->diagonal(t) -= sum.by_target;
      continue;
    }
    for (auto* of_edges : {&work.current, &work.by_source, &work.by_target}) of_edges->resize(block.count);
    kernels::each(block.law, edges, work.current.data(), work.by_source.data(), work.by_target.data());
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
      if (values != nullptr) std::fill(values + impl.pattern->begin[k], values + impl.pattern->begin[k + 1], 0.0);
      if (full != nullptr) full->row(k).setZero();
      if (slope != nullptr) slope->diagonal(k) = 1;
    }
  }
}

void Network::evaluate(Workspace& work, const Vector& potential, Vector& unbalanced, Matrix* slope) const {
  Slope found;
  evaluate(work, potential, unbalanced, slope != nullptr ? &found : nullptr);
  if (slope != nullptr) *slope = found.dense();
}

Matrix Network::slope(const Boundary& boundary, const Vector& potential) const {
  const WorkspacePtr work = workspace();
  impose(boundary, *work);
  Vector unbalanced;
  Slope slope;
  evaluate(*work, potential, unbalanced, &slope);
  return slope.dense();
}

Vector Network::node_potentials(const Boundary& boundary, const Vector& potential) const {
  Vector mu(static_cast<Eigen::Index>(impl_->spec.graph.nodes.size()));
  for (std::size_t i = 0; i < impl_->clamped.size(); ++i) mu[impl_->clamped[i]] = boundary.clamp[static_cast<Eigen::Index>(i)];
  for (std::size_t k = 0; k < impl_->free.size(); ++k) mu[impl_->free[k]] = potential[static_cast<Eigen::Index>(k)];
  return mu;
}

EdgeCurrent Network::edge(std::size_t e, const Boundary& boundary, const Vector& node_potential) const {
  const GraphEdge& edge = impl_->spec.graph.edges[e];
  const auto p = impl_->edge_values(boundary.theta, e);
  return edge_current(impl_->spec.edges[e].law, p.data(), impl_->end(edge.source, node_potential[edge.source]), impl_->end(edge.target, node_potential[edge.target]),
                      impl_->spec.kT, impl_->spec.c_ref);
}

Vector Network::edge_currents(const Boundary& boundary, const Vector& potential) const {
  const Vector mu = node_potentials(boundary, potential);
  Vector current(static_cast<Eigen::Index>(impl_->spec.edges.size()));
  for (Eigen::Index e = 0; e < current.size(); ++e) current[e] = edge(e, boundary, mu).current;
  return current;
}

Vector Network::clamp_gradient(const Boundary& boundary, const Vector& potential, const Vector& costate) const {
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
  for (std::size_t i = 0; i < impl_->clamped.size(); ++i) gradient[static_cast<Eigen::Index>(i)] = by_node[impl_->clamped[i]];
  return gradient;
}

}  // namespace ness::sim
