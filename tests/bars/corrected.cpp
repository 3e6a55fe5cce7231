// Bar of asymmetry-corrected equilibrium propagation: random networks of quantum dots with negative
// differential conductance, so far from reciprocal that centred equilibrium propagation has an error of 0.1
// or more. Prints one line of JSON per size and bias of the networks.
//   ness-bar-corrected [NETWORKS]
#include <algorithm>
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

// True if, at one of these states, some edge of the network conducts less at larger bias.
bool has_ndc(const Network& network, const Minibatch& batch, std::span<const std::vector<Relaxation>> rows) {
  Vector scratch;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Boundary boundary = boundary_of(network, batch.free_drive(i), scratch);
    const Vector mu = network.node_potentials(boundary, rows[i][0].potential);
    for (std::size_t e = 0; e < network.spec().edges.size(); ++e) {
      const EdgeCurrent I = network.edge(e, boundary, mu);
      if (I.by_source < 0 || I.by_target > 0) return true;
    }
  }
  return false;
}

struct Found {
  // Networks with an error of 0.1 or more; of these, networks with a sample whose rounds do not contract.
  std::uint64_t networks = 0, left_out = 0;
  std::vector<double> plain, asymmetry;
  std::vector<std::vector<double>> corrected;  // for each number of rounds
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t wanted = argc > 1 ? std::stoull(argv[1]) : 100;
  const std::vector<std::uint32_t> rounds{2, 3, 4, 6};
  constexpr double beta = 1e-3;
  for (const auto& layers : std::vector<std::vector<std::uint32_t>>{{2, 2, 1}, {3, 6, 2}, {4, 10, 5}}) {
    for (const double level : {3.0, 6.0}) {
      Found found;
      found.corrected.resize(rounds.size());
      std::uint64_t drawn = 0;
      for (; found.networks < wanted && drawn < 100 * wanted; ++drawn) {
        const std::uint64_t seed = 1000 + drawn;
        const auto network = std::make_shared<const Network>(random_dots(layers, seed, 1.5));
        Random random(seed, 41);
        Dataset data;
        RowMatrix levels(4, layers.front());
        data.targets.resize(4, layers.back());
        for (double& x : levels.reshaped()) x = random.uniform(-level, level);
        for (double& t : data.targets.reshaped()) t = random.normal();
        data.rows = {0, 1, 2, 3};
        data.inputs = std::make_shared<DensePatterns>("random", levels);
        Minibatch batch;
        batch.data = &data;
        batch.samples = {0, 1, 2, 3};
        batch.theta = Parameters::of(network->theta());
        Simulation device(network);
        const auto model = std::make_shared<NetworkModel>(network);
        const SquaredError loss;
        const auto exactly = adjoint(model);
        const auto rows = relax_chains(device, exactly->chains(device.info(), batch, loss));
        const Gradient exact = exactly->form(device.info(), batch, loss, rows);
        const Gradient plain = estimate(device, *equilibrium_propagation(model, {.beta = beta}), batch, loss);
        if (exact.left_out + plain.left_out > 0 || !has_ndc(*network, batch, rows)) continue;
        const double error = (plain.value - exact.value).norm() / exact.value.norm();
        if (!(error >= 0.1)) continue;
        ++found.networks;
        found.plain.push_back(error);
        bool contracts = true;
        for (std::size_t r = 0; r < rounds.size(); ++r) {
          const Gradient corrected = estimate(
              device, *corrected_propagation(model, {.beta = beta, .rounds = rounds[r]}), batch, loss);
          if (r == 0) found.asymmetry.push_back(corrected.asymmetry);
          contracts = contracts && corrected.left_out == 0;
          if (corrected.left_out == 0)
            found.corrected[r].push_back((corrected.value - exact.value).norm() / exact.value.norm());
        }
        found.left_out += !contracts;
      }
      std::cout << nlohmann::json{{"layers", layers},
                                  {"level", level},
                                  {"drawn", drawn},
                                  {"networks", found.networks},
                                  {"left_out", found.left_out},
                                  {"asymmetry", found.asymmetry},
                                  {"plain", found.plain},
                                  {"rounds", rounds},
                                  {"corrected", found.corrected}}
                << std::endl;
    }
  }
  return 0;
}
