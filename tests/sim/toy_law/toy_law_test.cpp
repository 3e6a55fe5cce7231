// A law added by one file and one row: everything that uses the table of laws knows it, and it behaves
// correctly.
#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "ness/files/experiment.hpp"
#include "ness/files/network_file.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/network/simulation.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/network/transient.hpp"
#include "ness/runs/run.hpp"
#include "sim/toy_law/toy_law.hpp"

using namespace ness;
using namespace ness::sim;

// Missing entries of a row are detected at compile time.
namespace {
constexpr LawParameter some_parameters[] = {{.name = "G", .unit = "1", .sign = Sign::not_negative}};
EdgeCurrent some_current(const double*, const EdgeEnd&, const EdgeEnd&, double, double) { return {}; }
static_assert(EdgeLaw{.name = "toy", .parameters = some_parameters}.problem() == "a law without a current");
static_assert(EdgeLaw{.name = "toy", .current = some_current}.problem() == "a law has 1 to 4 parameters");
static_assert(EdgeLaw{.parameters = some_parameters, .current = some_current}.problem() ==
              "a law without a name");

constexpr double G = 1.5, w = 0.8;

// One free node without a leak, and an edge from a clamped node: the injected current flows back through the
// edge.
Network one_edge() {
  return Network(network_from_json(R"({"nodes": [{"clamped": true}, {"capacity": 2}],
    "edges": [{"source": 0, "target": 1, "law": "hopping", "G": 1.5, "w": 0.8}], "outputs": [1]})",
                                   "toy.json"));
}

const std::string experiment = R"(
seed = 4
[network]
law = ["hopping", "quantum-dot"]
layers = [2, 3, 1]
[parameters.G]
value = 1.2
[parameters.w]
uniform = [0.7, 1.3]
[parameters.gamma]
uniform = [0.7, 1.3]
[parameters.a]
uniform = [0.7, 1.3]
[parameters.b]
uniform = [0.7, 1.3]
[parameters.g]
uniform = [0.7, 1.3]
[parameters.mu_ref]
uniform = [0.7, 1.3]
[task]
kind = "xor"
)";
}  // namespace

TEST_CASE("a law with a row is known by its name: in files, in messages, in help") {
  CHECK(law_of("hopping") == Law(hopping_law));
  CHECK(law_names() == "'linear', 'quantum-dot', 'enzyme' or 'hopping'");
  CHECK(description(hopping_law) == "hopping (G, optional w)");
  CHECK_THROWS_WITH(
      network_from_json(
          R"({"nodes": [{}], "edges": [{"source": 0, "target": 0, "law": "diode"}], "outputs": []})",
          "toy.json"),
      Catch::Contains("'enzyme' or 'hopping'"));
  CHECK_THROWS_WITH(network_from_json(R"({"nodes": [{"clamped": true}, {}],
    "edges": [{"source": 0, "target": 1, "law": "hopping", "G": 1, "w": 0}], "outputs": [1]})",
                                      "toy.json"),
                    Catch::Contains("w is 0, expected a finite number > 0"));
}

TEST_CASE("a law with a row is solved as itself: not as a linear one") {
  const Network network = one_edge();
  CHECK_FALSE(network.linear());
  const Vector theta = network.theta();
  for (const double u : {0.1, 3.0, 2000.0}) {
    Boundary b;
    b.theta = theta.data();
    b.clamp = Vector::Constant(1, 0.3);
    b.inject = Vector::Constant(1, u);
    const SteadyState state = relax(network, b, network.rest());
    REQUIRE(state.verdict == Verdict::converged);
    // Newton's steps are limited to 0.5 kT, so a distant state is reached along the relaxation.
    CHECK(state.followed == true);
    CHECK(state.potential[0] == Approx(0.3 + w * std::asinh(u / G)).epsilon(1e-12));
    // In time: C dmu/dt = u - G sinh((mu - x)/w), compared with the state at a late time.
    const double times[] = {100};
    CHECK(follow(network, b, network.rest(), times).front()[0] == Approx(state.potential[0]).epsilon(1e-7));
  }
}

TEST_CASE("a law with a row has parameters, and exact gradients of them") {
  const auto network = std::make_shared<const Network>(one_edge());
  std::vector<std::string> names;
  for (const ParameterInfo& p : network->parameter_info()) names.push_back(p.name);
  CHECK(names == std::vector<std::string>{"G[0]", "w[0]", "g[1]", "mu_ref[1]"});
  CHECK(network->parameter_info()[1].scale == Scale::log);
  const Vector theta = network->theta();
  CHECK(theta[0] == G);
  CHECK(theta[1] == w);
  // mu = x + w asinh(u/G), and dL/dmu = 1.
  const double u = 4, root = std::hypot(1, u / G);
  Boundary b;
  b.theta = theta.data();
  b.clamp = Vector::Constant(1, -0.2);
  b.inject = Vector::Constant(1, u);
  const std::vector<Vector> state{relax(*network, b, network->rest()).potential};
  const auto work = network->workspace();
  network->impose(b, *work);
  Vector unbalanced, costate;
  Jacobian jacobian;
  network->evaluate(*work, state[0], unbalanced, &jacobian);
  REQUIRE(network->factor(*work, jacobian));
  network->solve_transposed(*work, Vector::Ones(1), costate);
  Vector gradient = Vector::Zero(theta.size());
  network->add_gradient(std::vector<Boundary>{b}, state, std::vector<Vector>{costate}, gradient, 1);
  CHECK(gradient[0] == Approx(-w * u / (G * G * root)));
  CHECK(gradient[1] == Approx(std::asinh(u / G)));
  CHECK(gradient[2] == Approx(-state[0][0] * w / (G * root)));
  CHECK(network->clamp_gradient(b, state[0], costate)[0] == Approx(1));
}

TEST_CASE("kinds of a law with a row are drawn from streams of their own") {
  const Run run = prepare(experiment_from_text(experiment, "toy.toml"));
  // All kinds have the same rule: the first numbers of the kinds, mapped to the same interval, must differ.
  std::map<std::string, double> first;
  const std::vector<ParameterInfo> info = network_of(run.platform)->parameter_info();
  for (std::size_t i = 0; i < info.size(); ++i)
    first.emplace(info[i].kind, run.theta[static_cast<Eigen::Index>(i)]);
  CHECK(first.count("w") == 1);
  std::set<double> values;
  for (const auto& [kind, value] : first) values.insert(value);
  CHECK(values.size() == first.size());
  CHECK(first.size() == 7);
}

TEST_CASE("a network with a law of one's own trains a step by the exact adjoint, as by differences") {
  const Experiment toy = experiment_from_text(experiment, "toy.toml");
  Run run = prepare(toy);
  Minibatch batch;
  batch.data = &toy.task->train;
  for (std::uint64_t s = 0; s < toy.task->train.size(); ++s) batch.samples.push_back(s);
  const SquaredError squared;
  const auto estimator = adjoint(run.model);
  batch.theta = Parameters::of(run.theta);
  const Gradient exact = estimate(run.device(), *estimator, batch, squared);
  const auto loss = [&](const Vector& theta) {
    batch.theta = Parameters::of(theta);
    return estimate(run.device(), *estimator, batch, squared).loss;
  };
  const std::vector<ParameterInfo> info = network_of(run.platform)->parameter_info();
  for (Eigen::Index i = 0; i < run.theta.size(); i += 2) {
    INFO(info[static_cast<std::size_t>(i)].name);
    Vector above = run.theta, below = run.theta;
    above[i] += 1e-5, below[i] -= 1e-5;
    // Central differences: 1e-10 of truncation, 1e-11 of rounding.
    CHECK(exact.value[i] == Approx((loss(above) - loss(below)) / 2e-5).margin(1e-8));
  }
  CHECK(loss(run.theta - 0.05 * exact.value) < loss(run.theta));
}
