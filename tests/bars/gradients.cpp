// Estimator bar: each estimator against the exact adjoint, on reciprocal (d = 1), mildly and strongly
// non-reciprocal quantum dots, and on enzymes: angle, relative error, order of the error in the size of the
// perturbations, and cost. Prints one line of JSON per case.
#include <algorithm>
#include <cmath>
#include <functional>
#include <iostream>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "core/training/given_keys.hpp"
#include "ness/network/simulation.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {

double median(std::vector<double> x) {
  if (x.empty()) return std::nan("");
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

NetworkSpec random_enzymes(std::uint64_t seed) {
  NetworkSpec spec;
  spec.graph = layered({3, 4, 2});
  Random random(seed, 78);
  for (const GraphNode& node : spec.graph.nodes) {
    NodeProperties p;
    if (!node.clamped) p.g = std::exp(-1 + 0.5 * random.normal());
    spec.nodes.push_back(p);
  }
  const auto drawn = [&] { return std::exp(0.5 * random.normal()); };
  for (std::size_t e = 0; e < spec.graph.edges.size(); ++e) {
    const double Vf = drawn(), Ka = drawn(), Kb = drawn();
    spec.edges.push_back(enzyme(Vf, Ka, Kb, 2 * drawn()));
  }
  return spec;
}

struct Case {
  std::string kind;
  std::shared_ptr<const Network> network;
  Dataset data;
};

Case made(const std::string& kind, std::uint64_t seed) {
  Case c;
  c.kind = kind;
  double span = 3;
  NetworkSpec spec;
  if (kind == "reciprocal dots (d = 1)") spec = random_dots({3, 4, 2}, seed, 1.2, 1);
  if (kind == "mildly non-reciprocal dots") spec = random_dots({3, 4, 2}, seed, 0.5), span = 1;
  if (kind == "strongly non-reciprocal dots") {
    spec = random_dots({3, 4, 2}, seed, 1.5);
    for (auto& edge : spec.edges) edge.p[0] *= 4;  // dots dominate the leaks, which are reciprocal
    span = 6;
  }
  if (kind == "enzymes") spec = random_enzymes(seed), span = 2;
  c.network = std::make_shared<const Network>(spec);
  Random random(seed, 31);
  RowMatrix levels(3, 3);
  c.data.targets.resize(3, 2);
  for (double& x : levels.reshaped()) x = random.uniform(-span, span);
  for (double& t : c.data.targets.reshaped()) t = random.normal();
  c.data.rows = {0, 1, 2};
  c.data.inputs = std::make_shared<DensePatterns>("random", levels);
  return c;
}

// Keys that set the size of an estimator's perturbations, for all estimators.
given::GivenKeys sized(double size) {
  return given::GivenKeys({{"beta", 0.2 * size},
                           {"step", size},
                           {"probe", size},
                           {"eta", size},
                           {"c", size},
                           {"law_step", 1e-3},
                           {"rounds", 6}});
}

}  // namespace

int main() {
  const std::vector<double> sizes{0.1, 0.05, 0.025, 1e-3};
  for (const std::string kind :
       {"reciprocal dots (d = 1)", "mildly non-reciprocal dots", "strongly non-reciprocal dots", "enzymes"}) {
    for (const EstimatorEntry& entry : estimator_table()) {
      if (entry.name == "evolution") continue;  // has no gradient
      std::vector<std::vector<double>> error(sizes.size());
      std::vector<double> cosine, asymmetry, angle;
      double cost = 0, counted = 0, left_out = 0;
      const bool by_lot = entry.name == "spsa";
      std::string refused;
      for (std::uint64_t seed = 1000; seed < 1020; ++seed) {
        const Case c = made(kind, seed);
        Simulation device(c.network);
        const auto model = std::make_shared<NetworkModel>(c.network);
        Minibatch batch;
        batch.data = &c.data;
        batch.samples = {0, 1, 2};
        batch.theta = Parameters::of(c.network->theta());
        const SquaredError loss;
        const Gradient exact = estimate(device, *adjoint(model), batch, loss);
        if (exact.left_out > 0) continue;
        Drive drive = batch.free_drive(0);
        const Matrix G = model->conductance(drive, device.relax(drive).potential);
        asymmetry.push_back((G - G.transpose()).norm() / (G + G.transpose()).norm());
        for (std::size_t i = 0; i < sizes.size(); ++i) {
          const auto estimator = given::estimator(std::string(entry.name), sized(sizes[i]), model);
          refused = estimator->unmet_needs(device.info());
          if (!refused.empty()) break;
          // Estimates with random directions are averaged over many steps: the remaining error is bias, and
          // scatter / sqrt(steps).
          Vector mean = Vector::Zero(exact.value.size());
          const int steps = by_lot ? 2000 : 1;
          Gradient found;
          for (int k = 0; k < steps; ++k) {
            batch.step = static_cast<std::uint64_t>(k);
            found = estimate(device, *estimator, batch, loss);
            mean += found.value / steps;
          }
          batch.step = 0;
          if (found.left_out > 0) {
            left_out += 1;
            continue;
          }
          error[i].push_back((mean - exact.value).norm() / exact.value.norm());
          if (i + 1 < sizes.size()) continue;
          cosine.push_back(mean.dot(exact.value) / (mean.norm() * exact.value.norm()));
          const Vector a = mean.normalized(), b = exact.value.normalized();
          angle.push_back(2 * std::atan2((a - b).norm(), (a + b).norm()));
          cost = estimator->cost(device.info());
          counted = static_cast<double>(found.relaxations) / 3;
        }
      }
      nlohmann::ordered_json line{{"network", kind}, {"estimator", entry.name}};
      if (!refused.empty()) {
        line["refused"] = refused;
      } else {
        std::vector<double> medians;
        for (const auto& e : error) medians.push_back(median(e));
        // The order in the size; it is meaningless for pure rounding errors and for biased estimates.
        line.update({{"size", sizes},
                     {"relative_error", medians},
                     {"errors", error.back()},
                     {"slope", std::log2(medians[0] / medians[1])},
                     {"cosine", median(cosine)},
                     {"angle", angle},
                     {"asymmetry", asymmetry},
                     {"cost", cost},
                     {"counted", counted},
                     {"left_out", left_out}});
      }
      std::cout << line << std::endl;
    }
  }
  return 0;
}
