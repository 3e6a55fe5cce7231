#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "ness/device/chain.hpp"
#include "ness/training/dataset.hpp"
#include "ness/device/error.hpp"
#include "ness/training/estimator.hpp"
#include "ness/training/gradient_check.hpp"
#include "ness/record/log.hpp"
#include "ness/record/recorder.hpp"
#include "ness/record/replay.hpp"
#include "ness/network/simulation.hpp"
#include "device_contract.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {
EquilibriumPropagationOptions::Form form_of(bool centred) {
  return centred ? EquilibriumPropagationOptions::Form::centred
                 : EquilibriumPropagationOptions::Form::one_sided;
}

std::shared_ptr<const Network> shared(NetworkSpec spec) {
  return std::make_shared<const Network>(std::move(spec));
}

Drive drive_of(const Network& network, const Vector& clamp) {
  Drive drive;
  drive.theta = Parameters::of(network.theta());
  drive.clamp = pattern_of(clamp);
  return drive;
}

// Four random patterns with random targets.
Dataset data_for(const Network& network, std::uint64_t seed) {
  Random random(seed, 12);
  Dataset data;
  RowMatrix levels(4, static_cast<Eigen::Index>(network.clamped().size()));
  data.targets.resize(4, static_cast<Eigen::Index>(network.spec().graph.outputs.size()));
  for (Eigen::Index i = 0; i < 4; ++i) {
    for (double& x : levels.row(i)) x = random.uniform(-3, 3);
    for (double& t : data.targets.row(i)) t = random.normal();
    data.rows.push_back(static_cast<std::uint64_t>(i));
  }
  data.inputs = std::make_shared<DensePatterns>("random", levels);
  return data;
}

Minibatch whole(const Dataset& data, const Network& network) {
  Minibatch batch;
  batch.data = &data;
  for (std::uint64_t i = 0; i < data.size(); ++i) batch.samples.push_back(i);
  batch.theta = Parameters::of(network.theta());
  return batch;
}

double relative(const Vector& estimate, const Vector& truth) {
  return (estimate - truth).norm() / truth.norm();
}
}  // namespace

TEST_CASE("the simulated network keeps the device contract, all laws together") {
  const auto network = shared(mixed());
  Simulation device(network);
  contract::check_device(device, drive_of(*network, Vector{{1.2, -0.4}}));
}

TEST_CASE(
    "the simulated network keeps the contract behind a recorder, and the replay of that log keeps it too") {
  const auto network = shared(random_dots({2, 3, 1}, 31, 1.5));
  Simulation device(network);
  const Drive good = drive_of(*network, Vector{{1.2, -0.4}});
  std::string directory = (std::filesystem::temp_directory_path() / "ness-contract-XXXXXX").string();
  REQUIRE(::mkdtemp(directory.data()) != nullptr);
  const std::string path = directory + "/run.h5";
  contract::ContractOptions options;
  // A replay needs the calls of the recording: none that stops half-way, none that goes back to an earlier
  // row.
  options.cancels = false;
  options.repeatable_after_seek = false;
  LogHeader header;
  header.info = device.info();
  header.pattern_sets = {good.clamp.set};
  {
    LogWriter log(path, header, {});
    Recorder recorder(device, log);
    contract::check_device(recorder, good, options);
    log.close(ExitStatus::finished, "contract");
  }
  const LogReader log(path);
  CHECK(log.rows() > 3);
  Replay replay(log, header.pattern_sets);
  contract::check_device(replay, good, options);
  std::filesystem::remove_all(directory);
}

TEST_CASE("a batch gives the same bits on one thread and on two, and as single relaxations") {
  const auto network = shared(random_dots({4, 6, 2}, 3, 2, 0, true));
  SimulationOptions one, two;
  one.threads = 1;
  two.threads = 2;
  Simulation first(network, one), second(network, two);
  std::vector<Drive> drives;
  Random random(6);
  for (int i = 0; i < 600; ++i)
    drives.push_back(
        drive_of(*network, Vector{{random.normal(), random.normal(), random.normal(), random.normal()}}));
  std::vector<Vector> a, b;
  first.relax(drives, [&](std::size_t i, const Relaxation& r) {
    CHECK(i == a.size());
    a.push_back(r.potential);
  });
  second.relax(drives, [&](std::size_t i, const Relaxation& r) {
    CHECK(i == b.size());
    b.push_back(r.potential);
  });
  REQUIRE(a.size() == 600);
  CHECK(a == b);
  CHECK(first.relax(drives[17]).potential == a[17]);
}

TEST_CASE("starts: rest, a slow ramp, the present state, a restored state") {
  const auto network = shared(mixed());
  Simulation device(network);
  Drive drive = drive_of(*network, Vector{{1.2, -0.4}});
  const Relaxation rest = device.relax(drive);
  REQUIRE(rest.quality.usable());
  CHECK(rest.timing.bound < 1e-8);
  Drive ramp = drive;
  ramp.start = Rest{0.1};
  const Relaxation slow = device.relax(ramp);
  CHECK(slow.timing.start == Approx(12));                                 // 1.2 kT at 0.1 kT per unit time
  CHECK((slow.potential - rest.potential).cwiseAbs().maxCoeff() < 1e-9);  // one stable state here
  Drive stay = drive;
  stay.start = Present{};
  CHECK((device.relax(stay).potential - rest.potential).cwiseAbs().maxCoeff() < 1e-12);
  Drive restored = drive;
  restored.start = From{std::make_shared<const Vector>(rest.potential)};
  CHECK((device.relax(restored).potential - rest.potential).cwiseAbs().maxCoeff() < 1e-12);
  Drive wrong = drive;
  wrong.start = From{std::make_shared<const Vector>(Vector::Zero(3))};
  CHECK_THROWS_AS(device.relax(wrong), std::invalid_argument);
}

TEST_CASE("observed at a time, a relaxation is the transient, with the distance from rest as its bound") {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.5, 0, 3));
  add_edge(spec, 0, 1, linear(2));
  spec.graph.outputs = {1};
  const auto network = shared(spec);
  Simulation device(network);
  Drive drive = drive_of(*network, Vector::Constant(1, 1.5));
  drive.observe = At{1.0, 4};
  const Relaxation row = device.relax(drive);
  const double final_value = 1.5 * 2 / 2.5, expected = final_value * (1 - std::exp(-2.5 / 3));
  CHECK(row.potential[0] == Approx(expected).margin(1e-6));
  CHECK(row.timing.bound == Approx(final_value - expected).margin(1e-6));
}

TEST_CASE(
    "serial readings are averaged over their times, repeated ones are all the first; the network goes on "
    "from the last") {
  // A node with a leak behind a conductor relaxes as mu(t) = end (1 - exp(-t / tau)), end = x G / (G + g),
  // tau = C / (G + g).
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.5, 0, 3));
  add_edge(spec, 0, 1, linear(2));
  spec.graph.outputs = {1};
  const auto network = shared(spec);
  Simulation device(network);
  const double end = 1.5 * 2 / 2.5, tau = 3 / 2.5;
  const auto mu = [&](double t) { return end * (1 - std::exp(-t / tau)); };
  Drive drive = drive_of(*network, Vector::Constant(1, 1.5));
  drive.observe = At{0.5, 3, 0.25, At::Mode::serial};
  const Relaxation serial = device.relax(drive);
  CHECK(serial.potential[0] == Approx((mu(0.5) + mu(0.75) + mu(1.0)) / 3).margin(1e-7));
  CHECK(serial.timing.settled == 0.5);
  CHECK(serial.timing.read == 1.0);
  CHECK(serial.timing.bound == Approx(end - mu(1.0)).margin(1e-6));
  // From the state at its last reading, not from the mean.
  Drive on = drive;
  on.start = Present{};
  on.observe = At{0.5, 1};
  CHECK(device.relax(on).potential[0] == Approx(mu(1.5)).margin(1e-7));

  drive.observe = At{0.5, 3, 0, At::Mode::repeat};
  const Relaxation repeated = device.relax(drive);
  CHECK(repeated.potential[0] == Approx(mu(0.5)).margin(1e-7));
  CHECK(repeated.timing.read == 0.5);
}

TEST_CASE("gradients of what is read at a time: every member of a chain starts as its free relaxation did") {
  // L = (mu(t) - 1)^2 of the node above; by hand d mu / dG = end' (1 - e) + end (t / C) e, e = exp(-t (G + g)
  // / C), end' = x g / (G + g)^2.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.5, 0, 3));
  add_edge(spec, 0, 1, linear(2));
  spec.graph.outputs = {1};
  const auto network = shared(spec);
  const double x = 1.5, G = 2, g = 0.5, C = 3, t = 0.8, e = std::exp(-t * (G + g) / C), end = x * G / (G + g);
  const double mu = end * (1 - e), by_G = x * g / ((G + g) * (G + g)) * (1 - e) + end * t / C * e;
  Dataset data;
  data.inputs = std::make_shared<DensePatterns>("one", RowMatrix::Constant(1, 1, x));
  data.rows = {0};
  data.targets = RowMatrix::Constant(1, 1, 1.0);
  Simulation device(network);
  Minibatch batch;
  batch.data = &data;
  batch.samples = {0};
  batch.theta = Parameters::of(network->theta());
  batch.observe = At{t, 2, 0, At::Mode::repeat};
  const SquaredError loss;
  FiniteDifferenceOptions options;
  options.perturbations.references = 1;  // a reference must not be taken for a lost branch
  const Gradient gradient = estimate(device, *finite_differences(options), batch, loss);
  REQUIRE(gradient.used == 1);
  const auto info = network->parameter_info();
  std::size_t index = 0;
  while (info[index].kind != "G") ++index;
  // Central differences of 1e-4 of G: an error of 1e-8, plus that of the integration, 1e-8 of mu, over 4e-4.
  CHECK(gradient.value[static_cast<Eigen::Index>(index)] == Approx(2 * (mu - 1) * by_G).epsilon(2e-4));
}

TEST_CASE("a restored start whose branch has ended settles elsewhere and says so") {
  // The node of steady_state_test: its low branch, with the dot empty, has ended at x = 3.5.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.5, -5));
  add_edge(spec, 0, 1, quantum_dot(6, 22, -3));
  spec.graph.outputs = {1};
  const auto network = shared(spec);
  Simulation device(network);
  const Relaxation low = device.relax(drive_of(*network, Vector::Constant(1, 0.0)));
  REQUIRE(low.potential[0] < -4);
  // At 3.5 the dot's level crosses the node's potential there: its differential conductance is negative, and
  // the node rises until the level meets the source.
  Drive jump = drive_of(*network, Vector::Constant(1, 3.5));
  jump.start = From{std::make_shared<const Vector>(low.potential)};
  const Relaxation high = device.relax(jump);
  CHECK(high.potential[0] > low.potential[0] + 1);
  CHECK(high.quality.has(Flag::other_branch));
  CHECK(high.quality.usable());
  // From there, a small change of the input is a small change of the state.
  Drive on = drive_of(*network, Vector::Constant(1, 3.6));
  on.start = From{std::make_shared<const Vector>(high.potential)};
  CHECK(device.relax(on).quality.whole == 0);
}

TEST_CASE("a stop is answered between groups, after whole rows") {
  const auto network = shared(random_dots({2, 2, 1}, 1, 1));
  Simulation device(network);
  std::vector<Drive> drives(2000, drive_of(*network, Vector{{1.0, 2.0}}));
  std::stop_source source;
  std::size_t seen = 0;
  CHECK_THROWS_AS(device.relax(
                      drives,
                      [&](std::size_t, const Relaxation&) {
                        if (++seen == 10) source.request_stop();
                      },
                      source.get_token()),
                  Cancelled);
  CHECK(seen >= 10);
  CHECK(seen < drives.size());
}

TEST_CASE("the model's conductance and costates are those of its equations") {
  const auto network = shared(mixed());
  const NetworkModel model(network, 1);
  const Drive drive = drive_of(*network, Vector{{1.2, -0.4}});
  Vector potential(4), c(4), costate;
  potential << 0.3, -0.2, 0.8, 0.1;
  c << 0, 0, 1, -2;
  const Matrix G = model.conductance(drive, potential);
  model.costates(std::span(&drive, 1), std::span(&potential, 1), std::span(&c, 1), std::span(&costate, 1));
  CHECK((-G.transpose() * costate - c).cwiseAbs().maxCoeff() < 1e-13);
}

TEST_CASE(
    "a held node tells the current its holder supplies: what the edges and the leak carry away, less what is "
    "injected") {
  const auto network = shared(mixed());
  Simulation device(network);
  const Drive free = drive_of(*network, Vector{{1.2, -0.4}});
  CHECK(device.relax(free).current.size() == 0);  // nothing is held, so no current is measured
  Vector theta;
  Random random(8);
  for (const bool at_a_time : {false, true}) {
    for (const std::size_t held : {1, 2, 4}) {
      Drive drive = free;
      drive.nudge = Vector{{0.1, 0, -0.2, 0.05}};
      for (std::size_t k = 0; k < held; ++k)
        drive.holds.push_back({static_cast<std::uint32_t>(5 - k), random.normal()});
      if (at_a_time) drive.observe = At{1e4, 1};
      const Relaxation row = device.relax(drive);
      REQUIRE(row.quality.usable());
      REQUIRE(row.current.size() == 6);
      REQUIRE(row.current_sigma.size() == 0);
      // By the scalar laws, edge by edge. A node that is not held is at rest to 1e-8 kT (transients: 1e-6)
      // times conductances of order 1.
      const Boundary boundary = boundary_of(*network, drive, theta);
      const Vector edges = network->edge_currents(boundary, row.potential),
                   mu = network->node_potentials(boundary, row.potential);
      const double settled = at_a_time ? 1e-5 : 1e-7;
      double supplied = 0, carried_away = 0;
      for (std::size_t t = 0; t < 6; ++t) {
        double out = 0;
        for (std::size_t e = 0; e < network->spec().graph.edges.size(); ++e) {
          const GraphEdge& edge = network->spec().graph.edges[e];
          if (edge.source == t) out += edges[static_cast<Eigen::Index>(e)];
          if (edge.target == t) out -= edges[static_cast<Eigen::Index>(e)];
        }
        const bool is_held = std::any_of(drive.holds.begin(), drive.holds.end(),
                                         [&](const Hold& h) { return h.terminal == t; });
        if (t >= 2) {
          const NodeProperties& node = network->spec().nodes[t];
          const double leak = node.g * (mu[static_cast<Eigen::Index>(t)] - node.mu_ref),
                       u = drive.nudge[static_cast<Eigen::Index>(t - 2)];
          if (is_held)
            CHECK(row.current[static_cast<Eigen::Index>(t)] == Approx(out + leak - u).margin(1e-13));
          else CHECK(out + leak - u == Approx(0).margin(settled));
          carried_away += leak - u;
        }
        CHECK(std::isnan(row.current[static_cast<Eigen::Index>(t)]) == !is_held);
        supplied += is_held ? row.current[static_cast<Eigen::Index>(t)] : t < 2 ? out : 0;
      }
      // Currents from holding sources and inputs leave through leaks and injections: their sum is conserved.
      CHECK(supplied == Approx(carried_away).margin(4 * settled));
      for (const Hold& hold : drive.holds)
        CHECK(row.potential[static_cast<Eigen::Index>(hold.terminal - 2)] == hold.level);
    }
  }
}

TEST_CASE(
    "currents at held potentials: none where the free network settled, their slopes are those of the model, "
    "and nothing relaxes") {
  const auto network = shared(mixed());
  Simulation device(network);
  const NetworkModel model(network, 1);
  const Drive free = drive_of(*network, Vector{{1.2, -0.4}});
  const Vector mu = device.relax(free).potential;
  const auto held = [&](const Vector& level, const Parameters& theta) {
    Drive drive = free;
    drive.theta = theta;
    drive.start = Present{};
    for (std::uint32_t k = 0; k < 4; ++k) drive.holds.push_back({k + 2, level[k]});
    const Relaxation row = device.relax(drive);
    CHECK(row.potential == level);
    CHECK(row.timing.read == row.timing.start);
    CHECK(row.timing.bound == 0);
    return Vector(row.current.tail(4));
  };
  // Newton's last step is below 1e-8 kT; its square remains
  CHECK(held(mu, free.theta).cwiseAbs().maxCoeff() < 1e-8);
  // Central differences: an error of delta^2 / 6 third derivatives, of order 1 to 10.
  Matrix slope(4, 4);
  const double delta = 1e-3;
  for (Eigen::Index k = 0; k < 4; ++k) {
    const Vector step = delta * Vector::Unit(4, k);
    slope.col(k) = (held(mu + step, free.theta) - held(mu - step, free.theta)) / (2 * delta);
  }
  const Matrix G = model.conductance(free, mu);
  CHECK((slope + G).cwiseAbs().maxCoeff() < 1e-5);
  CHECK((slope + G).cwiseAbs().maxCoeff() > 1e-12);  // differences, not exact derivatives
  // With a stepped parameter: -lambda^T dI/dtheta is what the model adds.
  const Vector lambda = Vector{{0.3, -1.0, 0.7, 0.2}};
  Vector gradient = Vector::Zero(static_cast<Eigen::Index>(network->parameters()));
  model.add_gradient(std::span(&free, 1), std::span(&mu, 1), std::span(&lambda, 1), gradient);
  for (std::uint32_t i = 0; i < network->parameters(); ++i) {
    const double at = free.theta[i], h = 1e-4;
    if (std::isinf(at)) continue;  // an enzyme without inhibition
    const Vector dI = (held(mu, free.theta.with(i, at + h)) - held(mu, free.theta.with(i, at - h))) / (2 * h);
    CHECK(-lambda.dot(dI) == Approx(gradient[i]).margin(1e-6));
  }
}

TEST_CASE(
    "the adjoint agrees with extrapolated central differences of re-settled states: dots, enzymes, unequal "
    "capacities") {
  for (const auto& network :
       {shared(random_dots({2, 2, 1}, 11, 1.5, 0, true)), shared(random_dots({3, 5, 2}, 12, 1)),
        shared(random_dots({2, 4, 1}, 13, 1, 1, true)), shared(mixed())}) {
    Simulation device(network);
    const auto model = std::make_shared<NetworkModel>(network);
    const Dataset data = data_for(*network, 4);
    const Minibatch batch = whole(data, *network);
    const SquaredError loss;
    GradientCheckOptions options;
    const GradientCheck check = check_gradient(device, *adjoint(model), batch, loss, options);
    CHECK(check.estimate.left_out == 0);
    // Differences: truncation h^4 = 1e-16 times fifth derivatives, errors of the states 1e-15 over h = 1e-4:
    // 1e-11; near folds more.
    CHECK(check.relative_error < 1e-7);
    CHECK(check.cosine == Approx(1).margin(1e-12));
    CHECK(check.relaxations == 4);
  }
}

TEST_CASE(
    "equilibrium propagation: error of order beta one-sided and beta^2 centred on a reciprocal network with "
    "NDC") {
  const auto network = shared(random_dots({2, 5, 2}, 21, 1.2, 1, false));
  Simulation device(network);
  const auto model = std::make_shared<NetworkModel>(network);
  const Dataset data = data_for(*network, 5);
  const Minibatch batch = whole(data, *network);
  const SquaredError loss;
  const Vector exact = estimate(device, *adjoint(model), batch, loss).value;
  for (const bool centred : {false, true}) {
    std::vector<double> error;
    for (const double beta : {0.02, 0.01})
      error.push_back(relative(
          estimate(device, *equilibrium_propagation(model, {beta, form_of(centred)}), batch, loss).value,
          exact));
    const double slope = std::log2(error[0] / error[1]);
    INFO("errors " << error[0] << ", " << error[1]);
    CHECK(slope == Approx(centred ? 2 : 1).margin(0.15));  // the next order is smaller by beta
    CHECK(error[1] < (centred ? 1e-3 : 0.1));
  }
}

TEST_CASE(
    "equilibrium propagation on a linear network is exact to round-off at any beta, with unequal capacities "
    "too") {
  NetworkSpec spec = random_dots({2, 3, 2}, 22, 0);
  Random random(3);
  for (auto& edge : spec.edges) edge = linear(std::exp(random.normal()));
  for (auto& node : spec.nodes) node.capacity = std::exp(2 * random.normal());
  const auto network = shared(spec);
  Simulation device(network);
  const auto model = std::make_shared<NetworkModel>(network);
  const Dataset data = data_for(*network, 6);
  const Minibatch batch = whole(data, *network);
  const SquaredError loss;
  const Vector exact = estimate(device, *adjoint(model), batch, loss).value;
  for (const double beta : {1e-2, 1.0}) {
    // Errors of the states are 1e-15, shifts are of order beta: 1e-13 at the smallest.
    CHECK(relative(estimate(device,
                            *equilibrium_propagation(model,
                                                     {beta, EquilibriumPropagationOptions::Form::one_sided}),
                            batch, loss)
                       .value,
                   exact) < 1e-11);
    CHECK(relative(
              estimate(device,
                       *equilibrium_propagation(model, {beta, EquilibriumPropagationOptions::Form::centred}),
                       batch, loss)
                  .value,
              exact) < 1e-11);
  }
}

TEST_CASE("unequal capacities change no gradient of equilibrium propagation") {
  NetworkSpec spec = random_dots({2, 4, 2}, 23, 1);
  const auto equal = shared(spec);
  Random random(3);
  for (auto& node : spec.nodes) node.capacity = std::exp(random.normal());
  const auto unequal = shared(spec);
  const Dataset data = data_for(*equal, 7);
  const SquaredError loss;
  std::vector<Vector> gradients;
  for (const auto& network : {equal, unequal}) {
    Simulation device(network);
    gradients.push_back(
        estimate(device,
                 *equilibrium_propagation(std::make_shared<NetworkModel>(network),
                                          {1e-3, EquilibriumPropagationOptions::Form::centred}),
                 whole(data, *network), loss)
            .value);
  }
  CHECK(relative(gradients[1], gradients[0]) < 1e-9);
}

TEST_CASE("readings at stated times can be kept one by one: the charging of a capacity", "[simulation]") {
  // C dmu/dt = G (x - mu), from 0: mu = x (1 - exp(-G t/C)).
  NetworkSpec spec;
  spec.graph.nodes.resize(2);
  spec.graph.nodes[0].clamped = true;
  spec.graph.edges.resize(1);
  spec.graph.edges[0].source = 0;
  spec.graph.edges[0].target = 1;
  spec.graph.outputs = {1};
  spec.nodes.resize(2);
  spec.nodes[1].capacity = 2;
  spec.nodes[1].g = 0;
  spec.edges.resize(1);
  spec.edges[0].law = Law::linear;
  spec.edges[0].p = {0.5, 0, 0, 0};
  const auto network = std::make_shared<const Network>(spec);
  Simulation device(network, {.threads = 1});
  CHECK(device.info().reads_path);
  Drive drive;
  drive.theta = Parameters::of(network->theta());
  drive.clamp = pattern_of(Vector{{3.0}});
  drive.observe = At{1, 4, 0.5, At::Mode::serial, true};
  const Relaxation row = device.relax(drive);
  REQUIRE(row.path.rows() == 4);
  REQUIRE(row.path.cols() == 1);
  for (int i = 0; i < 4; ++i)
    CHECK(row.path(i, 0) == Approx(3 * (1 - std::exp(-0.25 * (1 + 0.5 * i)))).epsilon(1e-6));
  CHECK(row.potential[0] == Approx(row.path.mean()).epsilon(1e-14));
  drive.observe = At{1, 3, 0, At::Mode::repeat, true};
  const RowMatrix repeated = device.relax(drive).path;
  REQUIRE(repeated.rows() == 3);
  CHECK(repeated == RowMatrix::Constant(3, 1, repeated(0, 0)));
  CHECK(repeated(0, 0) == Approx(3 * (1 - std::exp(-0.25))).epsilon(1e-6));
  drive.observe = At{1, 3};
  CHECK(device.relax(drive).path.size() == 0);
  // Held: nothing moves.
  drive.holds = {{1, 0.7}};
  drive.observe = At{1, 2, 0.5, At::Mode::serial, true};
  CHECK(device.relax(drive).path == RowMatrix::Constant(2, 1, 0.7));
}
