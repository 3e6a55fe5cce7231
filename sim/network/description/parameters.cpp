// Meaning and range of each entry of theta.
#include <algorithm>
#include <cmath>

#include "description/network_impl.hpp"

namespace ness::sim {

std::int64_t Network::edge_parameter(std::size_t edge, std::size_t which) const {
  const std::int64_t offset = impl_->laws[impl_->law_of_edge[edge]].offset[which];
  return offset < 0 ? -1 : offset + static_cast<std::int64_t>(impl_->place_of_edge[edge]);
}
std::size_t Network::leak_g(std::size_t free_index) const { return impl_->leak_offset + free_index; }
std::size_t Network::leak_mu_ref(std::size_t free_index) const {
  return impl_->leak_offset + impl_->free.size() + free_index;
}

std::vector<ParameterInfo> Network::parameter_info() const {
  std::vector<ParameterInfo> all;
  all.reserve(impl_->n_parameters);
  for (const LawEdges& law : impl_->laws) {
    for (std::size_t i = 0; i < law.law->parameters.size(); ++i) {
      if (law.offset[i] < 0) continue;
      for (const std::uint32_t e : law.edges) {
        ParameterInfo p;
        const LawParameter& parameter = law.law->parameters[i];
        p.kind = parameter.name;
        p.name = p.kind + "[" + std::to_string(e) + "]";
        p.unit = parameter.unit;
        p.scale = parameter.sign == Sign::any ? Scale::linear : Scale::log;
        if (parameter.sign != Sign::any) p.range.low = 0;
        // An infinite inhibition constant has no logarithm, so the optimizer cannot step it.
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
    for (std::size_t i = 0; i < law.law->parameters.size(); ++i) {
      if (law.offset[i] < 0) continue;
      for (std::size_t k = 0; k < law.count(); ++k)
        theta[law.offset[i] + static_cast<std::int64_t>(k)] = impl_->spec.edges[law.edges[k]].p[i];
    }
  }
  for (std::size_t k = 0; k < impl_->free.size(); ++k) {
    theta[static_cast<Eigen::Index>(leak_g(k))] = impl_->spec.nodes[impl_->free[k]].g;
    theta[static_cast<Eigen::Index>(leak_mu_ref(k))] = impl_->spec.nodes[impl_->free[k]].mu_ref;
  }
  return theta;
}

Vector Network::steepness(const double* theta) const { return sim::steepness(*impl_, theta); }

namespace {
Steepness steepness_of(const EdgeLaw& law, const double* p, const EdgeEnd& source, const EdgeEnd& target,
                       double kT) {
  return law.steepness == nullptr ? Steepness{1 / kT, 1 / kT} : law.steepness(p, source, target, kT);
}

std::array<double, most_parameters> values_of(const Network::Impl& impl, const LawEdges& law, std::size_t i,
                                              const double* theta) {
  std::array<double, most_parameters> p;
  for (std::size_t which = 0; which < most_parameters; ++which) {
    p[which] = law.offset[which] < 0 ? impl.spec.edges[law.edges[i]].p[which]
                                     : theta[law.offset[which] + static_cast<std::int64_t>(i)];
  }
  return p;
}
}  // namespace

Vector steepness(const Network::Impl& impl, const double* theta) {
  Vector steepest = Vector::Zero(static_cast<Eigen::Index>(impl.free.size()));
  const auto raise = [&](std::uint32_t node, double by) {
    if (const std::int64_t k = impl.free_index[node]; k >= 0) steepest[k] = std::max(steepest[k], by);
  };
  for (const LawEdges& law : impl.laws) {
    for (std::size_t i = 0; i < law.count(); ++i) {
      const auto [source, target, layer] = impl.spec.graph.edges[law.edges[i]];
      const auto p = values_of(impl, law, i, theta);
      const Steepness of_edge =
          steepness_of(*law.law, p.data(), impl.end(source, 0), impl.end(target, 0), impl.spec.kT);
      raise(source, of_edge.by_source);
      raise(target, of_edge.by_target);
    }
  }
  return steepest;
}

double Network::way(const Workspace& work, const Vector& from, const Vector& to, const Vector& steepness,
                    double least) const {
  const auto bound = [&](std::int64_t k) { return k < 0 ? 0 : steepness[k] * std::abs(to[k] - from[k]); };
  double longest = 0;
  for (const LawEdges& law : impl_->laws) {
    for (std::size_t i = 0; i < law.count(); ++i) {
      const auto [source, target, layer] = impl_->spec.graph.edges[law.edges[i]];
      const std::int64_t s = impl_->free_index[source], t = impl_->free_index[target];
      const double most = bound(s) + bound(t);
      if (most <= std::max(least, longest)) continue;
      if (law.law->way == nullptr) {
        longest = most;
        continue;
      }
      const auto ends = [&](const Vector& state) {
        return std::array<EdgeEnd, 2>{impl_->end(source, s < 0 ? work.state.mu[source] : state[s]),
                                      impl_->end(target, t < 0 ? work.state.mu[target] : state[t])};
      };
      const auto p = values_of(*impl_, law, i, work.boundary->theta);
      longest =
          std::max(longest, law.law->way(p.data(), ends(from), ends(to), impl_->spec.kT, impl_->spec.c_ref));
    }
  }
  return longest;
}

Vector Network::rest() const {
  Vector rest(static_cast<Eigen::Index>(impl_->free.size()));
  for (std::size_t k = 0; k < impl_->free.size(); ++k)
    rest[static_cast<Eigen::Index>(k)] = impl_->spec.nodes[impl_->free[k]].mu_init;
  return rest;
}

}  // namespace ness::sim
