// Compiles a described network into one that can be evaluated: edges in blocks, parameters in one vector,
// linear algebra chosen.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "algebra/sparse_solvers.hpp"
#include "description/network_impl.hpp"

namespace ness::sim {

namespace {
constexpr std::size_t gathered_block = 256;  // edges: the scratch of a block stays in the first-level cache
constexpr std::size_t shortest_fan_in = 4;   // shorter ones are not worth a separate kernel call
// Networks of at most this many free nodes use a dense matrix: sparse algebra would be mostly bookkeeping.
constexpr std::size_t tiny = 20;
// A dense matrix is also used where its elimination takes at most this many times the operations of a sparse
// LU (both counted as Cholesky, minimum degree). This selects layered networks, whose hidden nodes are
// eliminated in one product. Time of relaxations by sparse LU, relative to dense elimination, at some ratios
// of the operations:
//   1.0: 1.0 to 2.6 (layers); 1.9: 0.7 (three hidden layers); 1.8 to 4: 0.2 to 0.5 (random graphs, 100 nodes,
//   degree 30 to 12); 34: 0.1 (196 nodes, degree 4).
// Layers of more than 250 hidden nodes and few outputs are an exception: LU takes 0.3 to 0.7 of the time
// there, because dense elimination spends it on clearing the matrix.
constexpr double dense_excess = 1.5;
// Batches (16 samples side by side) always use dense elimination: up to `largest_batched` free nodes, or up
// to `largest_ordered` if elimination takes at most `cheap_elimination` operations.
constexpr std::size_t largest_batched = 200, largest_ordered = 2000;
constexpr double cheap_elimination = 1e6;
// Operations per node (as above) from which relaxations by iteration are faster than by LU. Time of the
// iteration, relative to LU, from a cold start (AVX-512):
//   14,000: 2.1 (cubic lattice, 4100 nodes); 30,000: 1.0 (random graph, 1000 nodes, degree 8);
//   42,000: 1.8 (random, 3000, degree 4); 46,000: 1.3 (cubic, 10,600);
//   65,000 and 91,000: 0.6 (random, 2000, degree 6; cubic, 17,600).
// Square lattices reach this only far beyond 10^6 nodes.
constexpr double costly_lu = 40000;

// The laws of a network's edges: first those of the table, in its order, then others as they come.
std::vector<Law> laws_of(const NetworkSpec& spec) {
  std::vector<Law> present, ordered;
  for (const EdgeProperties& edge : spec.edges) {
    if (std::find(present.begin(), present.end(), edge.law) == present.end()) present.push_back(edge.law);
  }
  for (const Law law : edge_laws()) {
    if (std::find(present.begin(), present.end(), law) != present.end()) ordered.push_back(law);
  }
  for (const Law law : present) {
    if (std::find(ordered.begin(), ordered.end(), law) == ordered.end()) ordered.push_back(law);
  }
  return ordered;
}
}  // namespace

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
  pool_node.assign(n_nodes, false);
  law_of_edge.resize(spec.edges.size());
  place_of_edge.resize(spec.edges.size());
  std::size_t offset = 0;
  for (const Law law : laws_of(spec)) {
    LawEdges here;
    here.law = law;
    for (std::uint32_t e = 0; e < spec.edges.size(); ++e) {
      if (spec.edges[e].law != law) continue;
      law_of_edge[e] = laws.size();
      place_of_edge[e] = here.edges.size();
      here.edges.push_back(e);
      if (law->pools) pool_node[spec.graph.edges[e].source] = pool_node[spec.graph.edges[e].target] = true;
    }
    for (std::size_t i = 0; i < law->parameters.size(); ++i) {
      const LawParameter& parameter = law->parameters[i];
      const auto as_described = [&](std::uint32_t e) { return spec.edges[e].p[i] == parameter.initial; };
      if (parameter.omitted && std::all_of(here.edges.begin(), here.edges.end(), as_described)) continue;
      here.offset[i] = static_cast<std::int64_t>(offset);
      offset += here.edges.size();
    }
    linear = linear && law->linear;
    const auto shared = law->kernels != nullptr ? law->kernels->shared : kernels::NodeQuantity::none;
    any_exponential = any_exponential || shared == kernels::NodeQuantity::exponential;
    any_concentration = any_concentration || shared == kernels::NodeQuantity::concentration;
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
  if (wanted == LinearAlgebra::dense || (automatic && free.size() <= largest_ordered))
    compile_elimination_order();
  const auto n = static_cast<double>(free.size()), rest = static_cast<double>(elimination_order.rest.size());
  const double elimination = (n - rest) * rest * rest + rest * rest * rest / 3;
  batched = !elimination_order.first.empty() &&
            (!automatic || free.size() <= largest_batched || elimination < cheap_elimination);
  if (automatic && free.size() <= tiny) algebra = LinearAlgebra::dense;
  if (algebra == LinearAlgebra::dense) return;
  compile_jacobian_pattern();
  ordering = std::make_shared<const Ordering>(pattern);
  if (!automatic) return;
  const double flops = ordering->first_flops();
  algebra = flops > costly_lu * n ? LinearAlgebra::iterative : LinearAlgebra::direct;
  if (!elimination_order.first.empty() && elimination < dense_excess * flops) {
    algebra = LinearAlgebra::dense;
    ordering.reset();
    pattern.reset();
  } else if (!batched) {
    elimination_order = {};
  }
}

void Network::Impl::compile_elimination_order() {
  std::vector<std::vector<std::uint32_t>> neighbours(free.size());
  for (const GraphEdge& edge : spec.graph.edges) {
    const std::int64_t s = free_index[edge.source], t = free_index[edge.target];
    if (s < 0 || t < 0) continue;
    neighbours[s].push_back(static_cast<std::uint32_t>(t));
    neighbours[t].push_back(static_cast<std::uint32_t>(s));
  }
  elimination_order = Elimination::Order::of(neighbours);
}

void Network::Impl::compile_jacobian_pattern() {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ends;
  for (const GraphEdge& edge : spec.graph.edges) {
    const std::int64_t s = free_index[edge.source], t = free_index[edge.target];
    if (s >= 0 && t >= 0) ends.emplace_back(static_cast<std::uint32_t>(s), static_cast<std::uint32_t>(t));
  }
  pattern = std::make_shared<const JacobianPattern>(JacobianPattern::of(free.size(), ends));
  for (EdgeBlock& block : blocks) {
    if (block.clamped_sources) continue;  // only sums are needed
    block.place.reserve(block.count);
    for (std::size_t i = 0; i < block.count; ++i) {
      const std::int64_t s = free_index[block.fan_in ? block.source0 + i : block.source[i]],
                         t = free_index[block.fan_in ? block.target : block.target_of[i]];
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

namespace {
// |ln 1/Keq| up to which the vector code of laws with concentrations stays in range
constexpr double most_quotient = 180;
}  // namespace

void Network::Impl::compile_blocks(const LawEdges& law) {
  const auto& edges = spec.graph.edges;
  auto joins = [&](std::size_t i) {  // edge i continues the fan-in that edge i - 1 belongs to
    const GraphEdge &before = edges[law.edges[i - 1]], &here = edges[law.edges[i]];
    return here.target == before.target && here.source == before.source + 1 &&
           spec.graph.nodes[here.source].clamped == spec.graph.nodes[before.source].clamped;
  };
  const bool concentrations =
      law.law->kernels != nullptr && law.law->kernels->shared == kernels::NodeQuantity::concentration;
  auto finish = [&](EdgeBlock block) {
    const double T = spec.nodes[block.fan_in ? block.target : block.target_of.front()].T;
    block.inverse = 1 / (spec.kT * T);
    for (std::size_t i = 0; i < block.count; ++i) {
      const GraphEdge& edge = edges[law.edges[block.first + i]];
      const NodeProperties &s = spec.nodes[edge.source], &t = spec.nodes[edge.target];
      block.equal_T = block.equal_T && s.T == T && t.T == T;
      block.inverse_s.push_back(inverse_T[edge.source]);
      block.inverse_t.push_back(inverse_T[edge.target]);
      if (!concentrations) continue;
      const double quotient = (t.mu0 - s.mu0) / spec.kT;
      block.quotient.push_back(std::exp(quotient));
      block.extreme = block.extreme || !(std::abs(quotient) <= most_quotient);
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
  for (std::size_t i = 0; i < law.law->parameters.size(); ++i) {
    if (law.offset[i] >= 0) values[i] = theta[law.offset[i] + static_cast<std::int64_t>(place_of_edge[edge])];
  }
  return values;
}

EdgeCurrent Network::Impl::edge_of_block(const EdgeBlock& block, std::size_t i, const double* theta,
                                         const double* mu) const {
  const std::size_t e = of(block.law).edges[block.first + i];
  const GraphEdge& ends = spec.graph.edges[e];
  return edge_current(block.law, edge_values(theta, e).data(), end(ends.source, mu[ends.source]),
                      end(ends.target, mu[ends.target]), spec.kT, spec.c_ref);
}

}  // namespace ness::sim
