// The gradient contraction: parallel over blocks of edges, every parameter summed over the samples in order.
#include <stdexcept>

#include "description/network_impl.hpp"
#include "ness/device/parallel.hpp"

namespace ness::sim {

namespace {
// One sample: all that the blocks of edges need to know about it.
struct SampleState {
  const double* theta = nullptr;
  NodeState state;
  std::vector<double> costate;  // [nodes], 0 at clamped nodes
};

SampleState state_of_sample(const Network::Impl& impl, const Boundary& boundary, const Vector& potential,
                            const Vector& costate) {
  SampleState c;
  const std::size_t n_nodes = impl.spec.graph.nodes.size();
  c.theta = boundary.theta;
  c.state.mu.assign(n_nodes, 0.0);
  c.state.e.assign(n_nodes, 1.0);
  c.state.c.assign(n_nodes, 0.0);
  c.costate.assign(n_nodes, 0.0);
  for (std::size_t i = 0; i < impl.clamped.size(); ++i)
    c.state.mu[impl.clamped[i]] = boundary.clamp[static_cast<Eigen::Index>(i)];
  for (std::size_t k = 0; k < impl.free.size(); ++k) {
    c.state.mu[impl.free[k]] = potential[static_cast<Eigen::Index>(k)];
    c.costate[impl.free[k]] = costate[static_cast<Eigen::Index>(k)];
  }
  fill_nodes(impl, impl.clamped, c.state);
  fill_nodes(impl, impl.free, c.state);
  return c;
}

struct Scratch {
  std::vector<double> gather[4], weight;
};

void add_block(const Network::Impl& impl, const EdgeBlock& block, const SampleState& c, Scratch& scratch,
               double* gradient) {
  const LawEdges& law = impl.of(block.law);
  double* by_parameter[4] = {};
  for (std::size_t i = 0; i < 4; ++i) {
    if (law.offset[i] >= 0)
      by_parameter[i] = gradient + law.offset[i] + static_cast<std::int64_t>(block.first);
  }
  const auto weight = [&](std::size_t i) {
    return block.fan_in ? c.costate[block.source0 + i] - c.costate[block.target]
                        : c.costate[block.source[i]] - c.costate[block.target_of[i]];
  };
  if (!block.vector_code(c.state)) {
    for (std::size_t i = 0; i < block.count; ++i) {
      const EdgeCurrent I = impl.edge_of_block(block, i, c.theta, c.state.mu.data());
      for (std::size_t k = 0; k < 4; ++k) {
        if (by_parameter[k] != nullptr) by_parameter[k][i] -= weight(i) * I.by_parameter[k];
      }
    }
    return;
  }
  const kernels::Edges<double> edges = edges_of(impl, block, c.theta, c.state, scratch.gather);
  if (block.clamped_sources) {
    const double one = -c.costate[block.target];
    kernels::gradient(block.law, edges, &one, true, by_parameter);
    return;
  }
  scratch.weight.resize(block.count);
  for (std::size_t i = 0; i < block.count; ++i) scratch.weight[i] = weight(i);
  kernels::gradient(block.law, edges, scratch.weight.data(), false, by_parameter);
}
}  // namespace

void Network::add_gradient(std::span<const Boundary> boundaries, std::span<const Vector> potential,
                           std::span<const Vector> costate, Eigen::Ref<Vector> gradient,
                           unsigned threads) const {
  const Impl& impl = *impl_;
  if (boundaries.size() != potential.size() || boundaries.size() != costate.size())
    throw std::invalid_argument("network: gradient of samples of unequal number");
  if (static_cast<std::size_t>(gradient.size()) != impl.n_parameters)
    throw std::invalid_argument("network: a gradient of " + std::to_string(gradient.size()) + " for " +
                                std::to_string(impl.n_parameters) + " parameters");
  std::vector<SampleState> samples(boundaries.size());
  for_each_index(boundaries.size(), threads, [&](std::size_t i) {
    samples[i] = state_of_sample(impl, boundaries[i], potential[i], costate[i]);
  });
  for_each_index(impl.blocks.size(), threads, [&](std::size_t b) {
    Scratch scratch;
    for (const SampleState& sample : samples)
      add_block(impl, impl.blocks[b], sample, scratch, gradient.data());
  });
  // The current of a leak, g (mu - mu_ref), flows out of its node.
  for (const SampleState& sample : samples) {
    for (std::size_t k = 0; k < impl.free.size(); ++k) {
      const std::uint32_t node = impl.free[k];
      const auto g = static_cast<Eigen::Index>(leak_g(k)), ref = static_cast<Eigen::Index>(leak_mu_ref(k));
      gradient[g] -= sample.costate[node] * (sample.state.mu[node] - sample.theta[ref]);
      gradient[ref] += sample.costate[node] * sample.theta[g];
    }
  }
}

}  // namespace ness::sim
