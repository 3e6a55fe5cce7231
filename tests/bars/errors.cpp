// Bar of the errors that gradients state: each estimator, in its modes, on small noisy networks of quantum
// dots at several parameter points. A gradient is measured 2,000 times with new noise, once with the same
// random directions and once with new ones, and the root mean square of the stated errors is compared with
// the scatter. Prints one line of JSON per estimator and mode.
//
//    ness-bar-errors [REPEATS [ESTIMATOR]]
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "core/training/given_keys.hpp"
#include "core/training/gradient_scatter.hpp"
#include "ness/network/simulation.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {

struct Point {
  std::shared_ptr<const Network> network;
  Dataset data;
};

// Unequal gates, barriers, leaks, temperatures and capacities.
Point made(const std::vector<std::uint32_t>& layers, std::uint64_t seed) {
  Point point;
  point.network = std::make_shared<const Network>(random_dots(layers, seed, 0.7, 0.8, true));
  Random random(seed, 32);
  const auto inputs = static_cast<Eigen::Index>(layers.front()),
             outputs = static_cast<Eigen::Index>(layers.back());
  RowMatrix levels(3, inputs);
  point.data.targets.resize(3, outputs);
  for (double& x : levels.reshaped()) x = random.uniform(-3, 3);
  for (double& t : point.data.targets.reshaped()) t = random.normal();
  point.data.rows = {0, 1, 2};
  point.data.inputs = std::make_shared<DensePatterns>("random", levels);
  return point;
}

struct Mode {
  std::string estimator, name;
  std::map<std::string, double> numbers = {};
  std::map<std::string, std::string> choices = {};
  unsigned passes = 1, visits = 1;
  std::vector<std::uint32_t> layers = {2, 2, 1};
  double move = 0;
};

const std::vector<Mode> modes{
    {"adjoint", ""},
    {"finite-differences-forward", ""},
    {"finite-differences-central", ""},
    {"equilibrium-propagation-one-sided", ""},
    {"equilibrium-propagation-one-sided", "large nudges", {{"beta", 1}}},
    {"equilibrium-propagation-centred", ""},
    {"equilibrium-propagation-centred", "large nudges", {{"beta", 1}}},
    {"equilibrium-propagation-centred", "two outputs, large nudges", {{"beta", 1}}, {}, 1, 1, {2, 3, 2}},
    {"equilibrium-propagation-centred", "drift cancelled", {{"references", 1}, {"cancel_drift", 1}}},
    {"equilibrium-propagation-centred", "dI/dtheta by held steps", {}, {{"law", "held-steps"}}},
    {"equilibrium-propagation-centred", "4 passes", {}, {}, 4},
    {"equilibrium-propagation-random-sign", ""},
    {"equilibrium-propagation-random-sign", "large nudges", {{"beta", 1}}},
    {"equilibrium-propagation-random-sign", "4 passes", {{"beta", 1}}, {}, 4},
    {"equilibrium-propagation-richardson", ""},
    {"equilibrium-propagation-corrected", ""},
    {"equilibrium-propagation-corrected", "large nudges", {{"beta", 0.5}}},
    {"equilibrium-propagation-corrected",
     "measured at every step",
     {{"measure_every", 1}},
     {{"skew", "measured"}}},
    {"equilibrium-propagation-corrected",
     "measured at times",
     {{"measure_every", 5}},
     {{"skew", "measured"}},
     1,
     4},
    {"coupled-learning", ""},
    {"coupled-learning", "one-sided", {{"central", 0}}},
    {"coupled-learning", "small steps", {{"eta", 0.03}}},
    {"coupled-learning", "two outputs", {}, {}, 1, 1, {2, 3, 2}},
    {"coupled-learning", "two outputs, one-sided", {{"central", 0}}, {}, 1, 1, {2, 3, 2}},
    {"node-probing", ""},
    {"node-probing", "one-sided", {{"central", 0}}},
    {"node-probing-tracked", "", {{"measure_every", 10}}},
    {"node-probing-tracked", "between measurements", {{"measure_every", 10}}, {}, 1, 5},
    {"node-probing-tracked",
     "between measurements, parameters move",
     {{"measure_every", 10}},
     {},
     1,
     5,
     {2, 2, 1},
     0.01},
    {"conductance-by-voltage", ""},
    {"conductance-by-voltage", "one-sided", {{"central", 0}}},
    {"conductance-by-voltage-tracked", "", {{"measure_every", 10}}, {}, 1, 5},
    {"spsa", "", {{"directions", 1}}},
    {"spsa", "4 directions", {{"directions", 4}}},
    {"spsa", "1 direction, 4 passes", {{"directions", 1}}, {}, 4},
    {"walsh", ""},
};

nlohmann::ordered_json of(const std::vector<scatter::Found>& points,
                          scatter::Stated scatter::Found::*figure) {
  nlohmann::ordered_json line;
  bool stated = true;
  for (const scatter::Found& found : points) stated = stated && (found.*figure).is_stated();
  line["stated"] = stated;
  for (const scatter::Found& found : points) {
    const scatter::Stated& errors = found.*figure;
    line["scatter"].push_back(found.scatter);
    line["error_of_scatter"].push_back(std::sqrt(found.spread / found.repeats) / 2);
    if (!stated) continue;
    // Of the stated error over the scatter.
    line["ratio"].push_back(errors.root_mean_square() / found.scatter);
    line["median"].push_back(errors.quantile(0.5) / found.scatter);
    line["from"].push_back(errors.quantile(0.1) / found.scatter);
    line["to"].push_back(errors.quantile(0.9) / found.scatter);
  }
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  const auto repeats = static_cast<unsigned>(argc > 1 ? std::atoi(argv[1]) : 2000);
  const std::string only = argc > 2 ? argv[2] : "";
  const SquaredError loss;
  for (const Mode& mode : modes) {
    if (!only.empty() && only != mode.estimator) continue;
    std::map<std::string, double> numbers{{"beta", 0.05}, {"step", 0.05}, {"probe", 0.1},    {"eta", 0.2},
                                          {"c", 0.05},    {"gamma", 0},   {"law_step", 0.1}, {"rounds", 3}};
    for (const auto& [key, value] : mode.numbers) numbers[key] = value;
    std::vector<scatter::Found> readings, whole;
    std::vector<double> norms;
    std::string unstated;
    for (std::uint64_t seed = 1000; seed < 1003; ++seed) {
      const Point point = made(mode.layers, seed);
      Simulation device(point.network);
      const auto model = std::make_shared<NetworkModel>(point.network);
      scatter::Measurement how{.device = device,
                               .noise = {.seed = 1'000'000 * seed, .read = 1e-3, .read_current = 1e-3},
                               .estimator =
                                   [&] {
                                     return given::estimator(mode.estimator,
                                                             given::GivenKeys(numbers, mode.choices), model);
                                   },
                               .batch = {},
                               .loss = loss,
                               .passes = mode.passes,
                               .visits = mode.visits,
                               .move = mode.move,
                               .stated_of = std::max(1u, repeats / 500)};
      how.batch.data = &point.data;
      how.batch.samples = {0, 1, 2};
      how.batch.theta = Parameters::of(point.network->theta());
      unstated = how.estimator()->unstated(device.info());
      readings.push_back(scatter::repeated(how, repeats, false));
      // Without directions of its own an estimator scatters by readings alone.
      whole.push_back(how.estimator()->repeats() == Estimator::Repeats::random
                          ? scatter::repeated(how, repeats, true)
                          : readings.back());
      norms.push_back(whole.back().mean_norm);
    }
    nlohmann::ordered_json line{{"estimator", mode.estimator}, {"mode", mode.name}, {"repeats", repeats}};
    if (!unstated.empty()) line["unstated"] = unstated;
    line["gradient"] = norms;
    line["readings"] = of(readings, &scatter::Found::readings);
    line["whole"] = of(whole, &scatter::Found::whole);
    std::cout << line.dump() << std::endl;
  }
}
