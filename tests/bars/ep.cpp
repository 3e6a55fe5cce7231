// Bar of equilibrium propagation: its error relative to the exact adjoint as a function of beta, on
// reciprocal (d = 1), linear and non-reciprocal (d = 0) networks, with equal and unequal capacities. Prints
// one line of JSON per case.
#include <cmath>
#include <iostream>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "ness/training/estimator.hpp"
#include "ness/network/simulation.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {
ness::EquilibriumPropagationOptions::Form form_of(bool centred) {
  return centred ? ness::EquilibriumPropagationOptions::Form::centred
                 : ness::EquilibriumPropagationOptions::Form::one_sided;
}

// Of each 3-6-2 network [network][beta]: errors of EP relative to the exact gradient, and cosines to it.
struct Found {
  std::vector<std::vector<double>> error, cosine;
};

Found compare(const std::string& kind, bool centred, const std::vector<double>& betas) {
  Found found;
  for (std::uint64_t seed = 1000; seed < 1020; ++seed) {
    NetworkSpec spec = random_dots({3, 6, 2}, seed, 1.2, kind.starts_with("reciprocal") ? 1 : 0);
    Random random(seed, 31);
    if (kind.starts_with("linear")) {
      for (auto& edge : spec.edges) edge = linear(std::exp(random.normal()));
    }
    if (kind.ends_with("unequal capacities")) {
      Random capacities(seed, 32);  // separate stream: all other numbers are as with equal capacities
      for (auto& node : spec.nodes) node.capacity = std::exp(capacities.normal());
    }
    const auto network = std::make_shared<const Network>(spec);
    Simulation device(network);
    const auto model = std::make_shared<NetworkModel>(network);
    Dataset data;
    RowMatrix levels(4, 3);
    data.targets.resize(4, 2);
    for (double& x : levels.reshaped()) x = random.uniform(-3, 3);
    for (double& t : data.targets.reshaped()) t = random.normal();
    data.rows = {0, 1, 2, 3};
    data.inputs = std::make_shared<DensePatterns>("random", levels);
    Minibatch batch;
    batch.data = &data;
    batch.samples = {0, 1, 2, 3};
    batch.theta = Parameters::of(network->theta());
    const SquaredError loss;
    const Gradient exact = estimate(device, *adjoint(model), batch, loss);
    std::vector<double> error, cosine;
    for (const double beta : betas) {
      const Gradient ep =
          estimate(device, *equilibrium_propagation(model, {beta, form_of(centred)}), batch, loss);
      if (ep.left_out > 0 || exact.left_out > 0) break;
      error.push_back((ep.value - exact.value).norm() / exact.value.norm());
      cosine.push_back(ep.value.dot(exact.value) / (ep.value.norm() * exact.value.norm()));
    }
    if (error.size() < betas.size()) continue;
    found.error.push_back(error);
    found.cosine.push_back(cosine);
  }
  return found;
}
}  // namespace

int main() {
  const std::vector<double> betas{0.1, 0.03, 0.01, 0.003};
  for (const std::string kind :
       {"reciprocal", "reciprocal, unequal capacities", "linear", "linear, unequal capacities",
        "non-reciprocal", "non-reciprocal, unequal capacities"}) {
    for (const bool centred : {false, true}) {
      const Found found = compare(kind, centred, betas);
      // The order, where higher orders have become small and rounding is not visible yet.
      std::vector<double> slopes;
      for (const auto& e : found.error)
        slopes.push_back(std::log(e[1] / e[3]) / std::log(betas[1] / betas[3]));
      std::cout << nlohmann::json{{"network", kind},        {"estimator", centred ? "centred" : "one-sided"},
                                  {"beta", betas},          {"relative_error", found.error},
                                  {"cosine", found.cosine}, {"slope", slopes}}
                << std::endl;
    }
  }
  return 0;
}
