#include "fuzz.hpp"

#include <catch2/catch.hpp>

#include "ness/files/experiment.hpp"
#include "ness/files/network_file.hpp"

using namespace ness;

TEST_CASE("damaged network files are read or refused, and nothing else") {
  const std::string valid = R"({"nodes": [{"clamped": true, "T": 1}, )"
                            R"({"g": 0.25, "mu_ref": -1, "capacity": 1, "mu0": 0, "mu_init": 0}],
    "edges": [{"source": 0, "target": 1, "law": "quantum-dot", "gamma": 1, "a": 0.5, "b": 1.8}], )"
                            R"("outputs": [1], "kT": 1, "c_ref": 1})";
  CHECK(network_from_json(valid, "valid.json").graph.nodes.size() == 2);
  Random random(3);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = fuzz::damaged(valid, random);
    fuzz::answered([&] { network_from_json(text, "damaged.json"); }, refused);
  }
  CHECK(refused > 2000);
}

TEST_CASE("damaged experiment files are read or refused, and nothing else") {
  const std::string valid = R"toml(title = "t"
seed = 1
[network]
law = "quantum-dot"
layers = [1, 2, 1]
[parameters.gamma]
log-normal = [0.0, 0.5]
[parameters.a]
normal = [0, 1]
[parameters.b]
value = 0.5
range = [-2, 2]
[task]
kind = "regression"
formula = "exp(-x^2/10)*sin(5*x)"
domain = [-3, 3]
points = 6
[estimator]
kind = "adjoint"
[optimizer]
kind = "adam"
rate = 0.02
[training]
epochs = 6
)toml";
  CHECK(experiment_from_text(valid, "valid.toml").title == "t");
  Random random(4);
  int refused = 0;
  for (int i = 0; i < 1500; ++i) {
    const std::string text = fuzz::damaged(valid, random);
    // Huge sizes from the damage are refused by limits, not tried.
    fuzz::answered([&] { experiment_from_text(text, "damaged.toml"); }, refused);
  }
  CHECK(refused > 700);
}
