// Node probing and conductance by voltage on the toy network, against its exact adjoint.
#include <algorithm>
#include <cmath>

#include "core/record/log_fixture.hpp"
#include "ness/training/estimator.hpp"
#include "ness/training/estimator_table.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/record/recorder.hpp"
#include "ness/record/replay.hpp"
#include "ness/training/trainer.hpp"
#include "core/training/given_keys.hpp"
#include "core/device/toy_device.hpp"

using namespace log_test;

namespace {

const SquaredError squared;

Dataset three_samples(std::uint32_t outputs) {
  RowMatrix inputs(3, 2), targets(3, outputs);
  inputs << 0.9, -0.6, 1.4, 0.8, -1.1, 0.3;
  for (int i = 0; i < 3; ++i) {
    for (std::uint32_t o = 0; o < outputs; ++o) targets(i, o) = 0.7 * std::cos(1.7 * i + o);
  }
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>("three", inputs);
  set.targets = targets;
  set.rows = {0, 1, 2};
  return set;
}

Minibatch all_of(const Dataset& set, const Vector& theta) {
  Minibatch batch;
  batch.data = &set;
  for (std::uint64_t i = 0; i < set.size(); ++i) batch.samples.push_back(i);
  batch.theta = Parameters::of(theta);
  return batch;
}

double error_of(const Vector& found, const Vector& exact) { return (found - exact).norm() / exact.norm(); }

toy::Options toy_options(double skew, std::vector<std::uint32_t> layers = {2, 3, 2}) {
  toy::Options options;
  options.layers = std::move(layers);
  options.skew = skew;
  options.holds_all = true;
  return options;
}

enum class By { probing, voltage };
struct Way {
  By by = By::probing;
  bool central = true;
  double probe = 1e-3;
  std::uint64_t measure_every = 0;
  std::uint32_t refresh = 1;
  double reset = 0.3;
  PerturbationOptions perturbations = {};
  CurrentLawOptions law = {};
};
std::unique_ptr<Estimator> made(const toy::Network& network, const Way& w) {
  const auto model = toy::model_of(network);
  if (w.by == By::probing)
    return node_probing(model,
                        {w.probe, w.central, w.measure_every, w.refresh, w.reset, w.perturbations, w.law});
  return conductance_by_voltage(
      model, {w.probe, w.central, w.measure_every, w.refresh, w.reset, w.perturbations, w.law});
}

Vector exact_gradient(toy::Network& network, const Minibatch& batch) {
  return estimate(network, *adjoint(toy::model_of(network)), batch, squared).value;
}

// Relaxes, computes the gradient and remembers: a training step without changing theta.
Gradient learned(Device& device, Estimator& estimator, const Minibatch& batch, const DeviceInfo& info) {
  const auto rows = relax_chains(device, estimator.chains(info, batch, squared));
  const Gradient gradient = estimator.form(info, batch, squared, rows);
  estimator.remember(info, batch, squared, rows);
  return gradient;
}

// Records the calls to a device.
class Listening final : public Device {
 public:
  explicit Listening(Device& device) : device_(device) {}
  const DeviceInfo& info() const override { return device_.info(); }
  std::vector<Drive> drives;

 protected:
  void do_relax(std::span<const Drive> asked, const Sink& sink, std::stop_token stop) override {
    drives.insert(drives.end(), asked.begin(), asked.end());
    device_.relax(asked, sink, stop);
  }

 private:
  Device& device_;
};

}  // namespace

TEST_CASE(
    "measured Jacobians: the exact adjoint up to the order of the probe, reciprocal or not, at the cost "
    "stated",
    "[jacobian]") {
  for (const double skew : {0.0, 0.02, 0.15}) {
    toy::Network network(toy_options(skew));
    const Dataset set = three_samples(2);
    const Minibatch batch = all_of(set, network.example_theta(1.0));
    const Vector exact = exact_gradient(network, batch);
    double asymmetry = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const Drive drive = batch.free_drive(i);
      const Matrix G = network.conductance(drive, network.relax(drive).potential);
      asymmetry += (G - G.transpose()).norm() / (G + G.transpose()).norm() / 3;
    }
    for (const By by : {By::probing, By::voltage}) {
      for (const bool central : {true, false}) {
        INFO("skew " << skew << ", " << (by == By::probing ? "probing" : "voltage")
                     << (central ? ", central" : ", one-sided"));
        const auto gradient = [&](double probe) {
          return estimate(network, *made(network, {.by = by, .central = central, .probe = probe}), batch,
                          squared);
        };
        // Error a d^p (1 + b d): over a factor of 2 the order is off by a few per cent.
        const double large = error_of(gradient(0.02).value, exact),
                     small = error_of(gradient(0.01).value, exact);
        CHECK(std::log2(large / small) == Approx(central ? 2 : 1).margin(0.1));
        CHECK(small < (central ? 1e-3 : 0.05));
        const Gradient found = gradient(1e-4);
        CHECK(found.value.dot(exact) / (found.value.norm() * exact.norm()) ==
              Approx(1).margin(central ? 1e-12 : 1e-6));
        // 5 free nodes.
        const double cost = central ? 11 : by == By::probing ? 6 : 7;
        CHECK(found.relaxations == 3 * cost);
        CHECK(made(network, {.by = by, .central = central})->cost(network.info()) == cost);
        // Differences of size 1e-4 give G with an error of that order, or of its square.
        CHECK(found.asymmetry == Approx(asymmetry).margin(central ? 1e-6 : 1e-3));
      }
    }
  }
}

TEST_CASE("without noise the probe that is chosen leaves an error below 1e-5", "[jacobian]") {
  toy::Network network(toy_options(0.1));
  const Dataset set = three_samples(2);
  const Minibatch batch = all_of(set, network.example_theta(0.5));
  const Vector exact = exact_gradient(network, batch);
  for (const By by : {By::probing, By::voltage}) {
    for (const bool central : {true, false}) {
      INFO((by == By::probing ? "probing" : "voltage") << (central ? ", central" : ", one-sided"));
      const auto estimator = made(network, {.by = by, .central = central, .probe = 0});
      CHECK_THROWS_WITH(estimator->chains(network.info(), batch, squared),
                        Catch::Contains("prepare has not chosen it"));
      Listening listening(network);
      const std::uint64_t relaxations = estimator->prepare(listening, listening.info(), batch, squared, {});
      CHECK(relaxations == listening.drives.size());
      for (const Drive& drive : listening.drives) CHECK(drive.label.purpose == Label::Purpose::probe);
      CHECK(error_of(estimate(network, *estimator, batch, squared).value, exact) < 1e-5);
      // The choice is the estimator's state.
      const auto restored = made(network, {.by = by, .central = central, .probe = 0});
      restored->restore(estimator->state());
      CHECK(same_bits(estimate(network, *restored, batch, squared).value,
                      estimate(network, *estimator, batch, squared).value));
    }
  }
}

TEST_CASE("the probe that is chosen under noise is near the best there is", "[jacobian]") {
  toy::Network network(toy_options(0.1));
  const Dataset set = three_samples(2);
  const Minibatch batch = all_of(set, network.example_theta(0.5));
  const Vector exact = exact_gradient(network, batch);
  for (const By by : {By::probing, By::voltage}) {
    NoiseOptions noise;
    // Noise of the currents alone for the held steps: no step size can reduce the effect of noise in the free
    // potentials.
    (by == By::probing ? noise.read : noise.read_current) = 1e-3;
    Noisy noisy(network, noise);
    const auto rms = [&](const Estimator& estimator) {
      double sum = 0;
      for (std::uint64_t k = 0; k < 40; ++k) {
        noisy.seek(100'000 + 1000 * k);
        sum += std::pow(error_of(estimate(noisy, estimator, batch, squared).value, exact), 2);
      }
      return std::sqrt(sum / 40);
    };
    double best = 1e9;
    for (const double size : {0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0})
      best = std::min(best, rms(*made(network, {.by = by, .probe = size})));
    const auto chosen = made(network, {.by = by, .probe = 0});
    chosen->prepare(noisy, noisy.info(), batch, squared, {});
    INFO((by == By::probing ? "probing" : "voltage")
         << ": probe " << chosen->state()[0] << ", best error " << best);
    // A size wrong by a factor of 2 increases an error that falls as 1/d by at most about 2.
    CHECK(rms(*chosen) < 2 * best);
  }
}

TEST_CASE("nudges that go one way only are probed at two sizes, and the order of the error stays",
          "[jacobian]") {
  for (const Range range : {Range{0, 10}, Range{-10, 0}, Range{1e-3, 10}, Range{-1e-4, 10}}) {
    toy::Options options = toy_options(0.1);
    options.nudge = range;
    toy::Network network(options);
    const Dataset set = three_samples(2);
    const Minibatch batch = all_of(set, network.example_theta(1.0));
    const Vector exact = exact_gradient(network, batch);
    const auto error = [&](double probe, bool central) {
      return error_of(
          estimate(network, *made(network, {.central = central, .probe = probe}), batch, squared).value,
          exact);
    };
    INFO("nudges from " << range.low << " to " << range.high);
    CHECK(std::log2(error(0.02, true) / error(0.01, true)) == Approx(2).margin(0.2));
    CHECK(std::log2(error(0.02, false) / error(0.01, false)) == Approx(1).margin(0.1));
  }
  // Less room than requested: the probe is reduced.
  toy::Options options = toy_options(0.1);
  options.nudge = {-1e-3, 2e-3};
  toy::Network network(options);
  const Dataset set = three_samples(2);
  const Minibatch batch = all_of(set, network.example_theta(1.0));
  for (const bool central : {true, false})
    CHECK(error_of(estimate(network, *made(network, {.central = central, .probe = 1}), batch, squared).value,
                   exact_gradient(network, batch)) < (central ? 1e-5 : 1e-2));
}

TEST_CASE("a free state that its sources cannot hold is left out", "[jacobian]") {
  toy::Network network(toy_options(0.1));
  DeviceInfo info = network.info();
  const Dataset set = three_samples(2);
  const Minibatch batch = all_of(set, network.example_theta());
  const Vector potential = network.relax(batch.free_drive(1)).potential;
  info.terminals[3].level = {potential[1] + 1e-3, 50};
  const auto estimator = made(network, {.by = By::voltage});
  const auto rows = relax_chains(network, estimator->chains(info, batch, squared));
  const Gradient gradient = estimator->form(info, batch, squared, rows);
  CHECK(gradient.left_out >= 1);
  CHECK(rows[1].size() == 1);
  CHECK(gradient.used + gradient.left_out == 3);
}

TEST_CASE("up and down change places from node to node", "[jacobian]") {
  toy::Network network(toy_options(0));
  const Dataset set = three_samples(2);
  Minibatch batch = all_of(set, network.example_theta());
  batch.samples = {1};
  Listening listening(network);
  estimate(listening, *made(network, {.probe = 0.25}), batch, squared);
  REQUIRE(listening.drives.size() == 11);
  for (std::size_t k = 0; k < 10; ++k) {
    const Vector& nudge = listening.drives[k + 1].nudge;
    const std::size_t node = k / 2;
    const double sign = k % 2 == node % 2 ? 1 : -1;
    CHECK(nudge == sign * 0.25 * Vector::Unit(5, static_cast<Eigen::Index>(node)));
  }
  listening.drives.clear();
  estimate(listening, *made(network, {.by = By::voltage, .central = false, .probe = 0.25}), batch, squared);
  REQUIRE(listening.drives.size() == 7);
  for (std::size_t k = 1; k < 7; ++k) {
    REQUIRE(listening.drives[k].holds.size() == 5);
    for (std::size_t n = 0; n < 5; ++n)
      CHECK(listening.drives[k].holds[n].level - listening.drives[1].holds[n].level ==
            Approx(k == n + 2 ? 0.25 : 0).margin(1e-15));
  }
}

TEST_CASE("without a model dI/dtheta is measured by held steps", "[jacobian]") {
  for (const double skew : {0.0, 0.15}) {
    toy::Network network(toy_options(skew));
    const Dataset set = three_samples(2);
    const Minibatch batch = all_of(set, network.example_theta(0.5));
    Vector exact = exact_gradient(network, batch);
    exact[exact.size() - 1] = 0;  // a constant of the device
    const double m = static_cast<double>(network.parameters()) - 1;
    for (const bool voltage : {false, true}) {
      for (const bool central : {true, false}) {
        const auto gradient = [&](double step) {
          const CurrentLawOptions law{.measured = true, .step = step, .central = central};
          const auto estimator = voltage ? conductance_by_voltage(nullptr, {.probe = 1e-4, .law = law})
                                         : node_probing(nullptr, {.probe = 1e-4, .law = law});
          const Gradient found = estimate(network, *estimator, batch, squared);
          CHECK(found.relaxations == 3 * estimator->cost(network.info()));
          CHECK(found.relaxations == 3 * (1 + 10 + 1 + (central ? 2 : 1) * m));
          return found.value;
        };
        // The currents of this network are linear in each parameter, except for products within a leak: steps
        // of one parameter are exact up to rounding 1e-16 / 1e-2; the remaining error is the probe's 1e-8.
        CHECK(error_of(gradient(1e-2), exact) < 1e-6);
      }
    }
  }
}

TEST_CASE("measured Jacobians: relaxations that fail, lost branches and drift", "[jacobian]") {
  const Dataset set = three_samples(2);
  for (const By by : {By::probing, By::voltage}) {
    toy::Options options = toy_options(0.1);
    toy::Network sound(options);
    options.fails = [](const Drive& drive) { return drive.label.sample == 1 && drive.label.position == 4; };
    toy::Network network(options);
    const Minibatch batch = all_of(set, network.example_theta());
    Minibatch without = batch;
    without.samples = {0, 2};
    const auto estimator = made(network, {.by = by});
    const Gradient gradient = estimate(network, *estimator, batch, squared);
    CHECK(gradient.used == 2);
    CHECK(gradient.left_out == 1);
    CHECK(same_bits(gradient.value, estimate(sound, *made(sound, {.by = by}), without, squared).value));

    auto rows = relax_chains(sound, estimator->chains(sound.info(), batch, squared));
    rows[2][3].quality.raise(Flag::other_branch);
    rows[2].resize(4);
    CHECK(estimator->form(sound.info(), batch, squared, rows).left_out == 1);
    if (by == By::voltage) {
      rows = relax_chains(sound, estimator->chains(sound.info(), batch, squared));
      rows[0][2].current[4] = std::numeric_limits<double>::quiet_NaN();
      CHECK(estimator->form(sound.info(), batch, squared, rows).left_out == 1);
    }
  }
  // The readings of a device that does not restore states drift by the same step per relaxation.
  toy::Options options = toy_options(0.1);
  options.restores_state = false;
  toy::Network network(options);
  NoiseOptions noise;
  noise.drift_rate = 1e-4;
  Noisy drifting(network, noise);
  const Minibatch batch = all_of(set, network.example_theta());
  PerturbationOptions cancelling;
  cancelling.cancel_drift = true;
  const auto gradient = [&](const PerturbationOptions& perturbations, Device& device) {
    if (&device != &network) drifting.seek(0);
    return estimate(device, *made(network, {.perturbations = perturbations}), batch, squared);
  };
  const Vector still = gradient({}, network).value;
  const Gradient cancelled = gradient(cancelling, drifting);
  CHECK(cancelled.relaxations == 3 * (1 + 10 + 1));
  // Without cancelling, a drift of 1e-4 between readings of +-1e-3 is an error of 5 % of a response. With it,
  // the remaining error is that of the free state, which is read with an offset of up to 36 x 1e-4.
  CHECK(error_of(cancelled.value, still) < 0.02);
  CHECK(error_of(gradient({}, drifting).value, still) > 2 * error_of(cancelled.value, still));
}

TEST_CASE("a probe that loses a branch is tried again with a quarter of it", "[jacobian]") {
  // Nudges of more than 0.2 at the second sample lead to another branch.
  class Folded final : public Device {
   public:
    explicit Folded(Device& device) : device_(device) {}
    const DeviceInfo& info() const override { return device_.info(); }

   protected:
    void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
      device_.relax(
          drives,
          [&](std::size_t i, const Relaxation& row) {
            Relaxation found = row;
            const bool jumps = drives[i].label.sample == 1 && drives[i].nudge.size() > 0 &&
                               drives[i].nudge.cwiseAbs().maxCoeff() > 0.2;
            if (jumps) {
              found.quality.raise(Flag::other_branch);
              found.potential.array() += 3;
            }
            sink(i, found);
          },
          stop);
    }

   private:
    Device& device_;
  };
  toy::Network network(toy_options(0.1));
  Folded folded(network);
  const Dataset set = three_samples(2);
  const Minibatch batch = all_of(set, network.example_theta());
  const auto part = [&](Device& device, double probe, std::uint64_t sample) {
    Minibatch one = batch;
    one.samples = {sample};
    return estimate(device, *made(network, {.probe = probe}), one, squared);
  };
  const Gradient found = estimate(folded, *made(network, {.probe = 0.4}), batch, squared);
  CHECK(found.used == 3);
  CHECK(found.lost == 1);
  CHECK(found.relaxations == 3 * 11 + 2);  // the free state and the first probe of the lost attempt
  const Vector expected =
      (part(network, 0.4, 0).value + part(network, 0.1, 1).value + part(network, 0.4, 2).value) / 3;
  CHECK((found.value - expected).norm() < 1e-12 * expected.norm());
  // A quarter is still too large: the sample is left out.
  CHECK(part(folded, 1, 1).left_out == 1);
}

TEST_CASE("measured Jacobians: what is not possible is said", "[jacobian]") {
  toy::Network network(toy_options(0.1));
  DeviceInfo info = network.info();
  const auto probing = made(network, {}), voltage = made(network, {.by = By::voltage});
  CHECK(probing->unmet_needs(info).empty());
  CHECK(voltage->unmet_needs(info).empty());
  info.terminals[3].nudge = {0, 0};
  CHECK_THAT(probing->unmet_needs(info), Catch::Contains("terminal 3 (hidden1) cannot be nudged"));
  CHECK(voltage->unmet_needs(info).empty());
  info.terminals[6].can_hold = false;
  CHECK_THAT(voltage->unmet_needs(info), Catch::Contains("terminal 6 (out1) cannot be held"));
  info = network.info();
  info.terminals[2].reads_current = false;
  CHECK_THAT(voltage->unmet_needs(info), Catch::Contains("terminal 2 (hidden0) has no current reading"));
  info.terminals[2].reads_potential = false;
  CHECK_THAT(probing->unmet_needs(info), Catch::Contains("terminal 2 (hidden0) has no potential reading"));
  CHECK_THROWS_WITH(node_probing(nullptr, {}), Catch::Contains("node-probing: no model"));
  CHECK_THROWS_WITH(made(network, {.probe = -1}), Catch::Contains("probe -1"));
  CHECK_THROWS_WITH(made(network, {.refresh = 0}), Catch::Contains("refresh 0"));
  CHECK_THROWS_WITH(made(network, {.by = By::voltage, .reset = 0}),
                    Catch::Contains("conductance-by-voltage: reset 0"));
  // 4.2 million samples of 5 x 7 numbers.
  Dataset set = three_samples(2);
  set.rows.assign(4'200'000, 0);
  Minibatch batch = all_of(three_samples(2), network.example_theta());
  batch.data = &set;
  CHECK_THROWS_WITH(
      made(network, {.by = By::voltage, .measure_every = 5})->chains(network.info(), batch, squared),
      Catch::Contains("4200000 samples") && Catch::Contains("1.344 GB"));
}

TEST_CASE("the scatter of a measured Jacobian's gradient is its standard error", "[jacobian]") {
  toy::Network network(toy_options(0.1));
  const Dataset set = three_samples(2);
  const Minibatch batch = all_of(set, network.example_theta(0.2));
  NoiseOptions noise;
  noise.read = noise.read_current = 1e-3;
  Noisy noisy(network, noise);
  for (const By by : {By::probing, By::voltage}) {
    const auto estimator = made(network, {.by = by, .probe = 0.1});
    const DeviceInfo& info = noisy.info();
    constexpr int seeds = 200;
    Vector sum = Vector::Zero(static_cast<Eigen::Index>(network.parameters())), squares = sum, told = sum;
    for (std::uint64_t k = 0; k < seeds; ++k) {
      noisy.seek(1000 * k);
      const auto rows = relax_chains(noisy, estimator->chains(info, batch, squared));
      const Vector found = estimator->form(info, batch, squared, rows).value;
      sum += found;
      squares += found.cwiseAbs2();
      if (k % 10 == 0)
        told += reading_error(*estimator, info, batch, squared, rows, 40, k).cwiseAbs2() / (seeds / 10);
    }
    const double scatter = std::sqrt(((squares - sum.cwiseAbs2() / seeds) / (seeds - 1)).sum());
    INFO((by == By::probing ? "probing" : "voltage"));
    // 200 draws of a dozen independent parts: 3 %. The rows' errors do not include that the Jacobian is taken
    // at a noisy state (1e-3 of curvature).
    CHECK(std::sqrt(told.sum()) == Approx(scatter).epsilon(0.15));
  }
}

// ---- between measurements -------------------------------------------------------------------------------

namespace {

// theta after k steps of a constant change.
Vector moved(const toy::Network& network, double k) {
  Vector theta = network.example_theta(0.5);
  for (Eigen::Index i = 0; i + 1 < theta.size(); ++i)
    theta[i] *= 1 + 0.004 * k * std::sin(1.0 + 1.7 * static_cast<double>(i));
  return theta;
}

}  // namespace

TEST_CASE("a tracked Jacobian follows the parameters at a fraction of the cost", "[jacobian][tracked]") {
  for (const By by : {By::probing, By::voltage}) {
    toy::Network network(toy_options(0.1, {2, 4, 2}));
    const Dataset set = three_samples(2);
    const DeviceInfo& info = network.info();
    constexpr std::uint64_t every = 10;
    const auto tracked = made(network, {.by = by, .measure_every = every, .reset = 1e9});
    // The same without corrections: the Jacobian of the first measurement is kept.
    const auto frozen = made(network, {.by = by, .measure_every = 1000, .reset = 1e9});
    Vector frozen_state;
    std::uint64_t relaxations = 0;
    double worst_tracked = 0, worst_frozen = 0;
    for (std::uint64_t k = 0; k < 2 * every; ++k) {
      const Minibatch batch = all_of(set, moved(network, static_cast<double>(k)));
      const Vector exact = exact_gradient(network, batch);
      const Gradient found = learned(network, *tracked, batch, info);
      relaxations += found.relaxations;
      const bool full = k % every == 0;
      CHECK(found.relaxations == 3u * (full ? 13 : 3));
      CHECK(std::isfinite(found.asymmetry) == full);
      worst_tracked = std::max(worst_tracked, error_of(found.value, exact));
      if (k == 0) {
        learned(network, *frozen, batch, info);
        frozen_state = frozen->state();
      } else if (k < every) {
        // Each visit measures one column and learns from one shift; the rest is that of the first
        // measurement.
        frozen->restore(frozen_state);
        worst_frozen =
            std::max(worst_frozen, error_of(estimate(network, *frozen, batch, squared).value, exact));
      }
    }
    INFO((by == By::probing ? "probing" : "voltage")
         << ": tracked " << worst_tracked << ", frozen " << worst_frozen);
    CHECK(relaxations == 3 * 2 * every * tracked->cost(info));
    CHECK(worst_tracked < 0.7 * worst_frozen);
    CHECK(worst_tracked < 0.05);
  }
}

TEST_CASE("a linear network's shift teaches the response along it exactly", "[jacobian][tracked]") {
  // With alpha = 0 and only leak references changed, dI/dmu is constant: nothing is far from expected, and
  // nothing is reset.
  toy::Network network(toy_options(0));
  const Dataset set = three_samples(2);
  const DeviceInfo& info = network.info();
  for (const By by : {By::probing, By::voltage}) {
    const auto tracked = made(network, {.by = by, .measure_every = 100, .reset = 1e-6});
    Vector theta = network.example_theta(0);
    learned(network, *tracked, all_of(set, theta), info);
    for (int k = 0; k < 6; ++k) {
      for (std::size_t i = 0; i < info.parameters.size(); ++i) {
        if (info.parameters[i].kind == "r")
          theta[static_cast<Eigen::Index>(i)] += 0.1 * std::cos(k + static_cast<double>(i));
      }
      const Minibatch batch = all_of(set, theta);
      const Gradient found = learned(network, *tracked, batch, info);
      CHECK(found.relaxations == 9);
      CHECK(error_of(found.value, exact_gradient(network, batch)) <
            1e-9);  // rounding 1e-16 over probes of 1e-3, several times
    }
  }
}

TEST_CASE("a probe that is off measures again at the next visit", "[jacobian][tracked]") {
  for (const By by : {By::probing, By::voltage}) {
    toy::Network network(toy_options(0.1));
    const Dataset set = three_samples(2);
    const DeviceInfo& info = network.info();
    const auto tracked = made(network, {.by = by, .measure_every = 100});
    const Vector here = network.example_theta(0.5);
    Vector there = here;
    for (std::size_t i = 0; i < info.parameters.size(); ++i) {
      if (info.parameters[i].kind == "k" || info.parameters[i].kind == "g")
        there[static_cast<Eigen::Index>(i)] *= 3;
    }
    CHECK(learned(network, *tracked, all_of(set, here), info).relaxations == 33);
    CHECK(learned(network, *tracked, all_of(set, here), info).relaxations == 9);
    // all conductances tripled: noticed here,
    CHECK(learned(network, *tracked, all_of(set, there), info).relaxations == 9);
    const Gradient again = learned(network, *tracked, all_of(set, there), info);
    CHECK(again.relaxations == 33);  // and measured again here
    CHECK(error_of(again.value, exact_gradient(network, all_of(set, there))) < 1e-5);
    CHECK(learned(network, *tracked, all_of(set, there), info).relaxations == 9);
  }
}

TEST_CASE("noise alone neither resets nor spoils a tracked Jacobian", "[jacobian][tracked]") {
  toy::Network network(toy_options(0.1));
  const Dataset set = three_samples(2);
  const Minibatch batch = all_of(set, network.example_theta(0.2));
  const Vector exact = exact_gradient(network, batch);
  NoiseOptions noise;
  noise.read = noise.read_current = 1e-2;
  Noisy noisy(network, noise);
  for (const By by : {By::probing, By::voltage}) {
    const auto tracked = made(network, {.by = by, .probe = 0.3, .measure_every = 1000}),
               measured = made(network, {.by = by, .probe = 0.3});
    double tracked_error = 0, measured_error = 0;
    constexpr int visits = 60;
    int resets = -1;  // the first visit always measures
    for (int k = 0; k < visits; ++k) {
      const Gradient found = learned(noisy, *tracked, batch, noisy.info());
      resets += found.relaxations > 9 ? 1 : 0;
      tracked_error += std::pow(error_of(found.value, exact), 2) / visits;
      measured_error +=
          std::pow(error_of(estimate(noisy, *measured, batch, squared).value, exact), 2) / visits;
    }
    INFO((by == By::probing ? "probing" : "voltage")
         << ": " << std::sqrt(tracked_error) << ", measured " << std::sqrt(measured_error));
    CHECK(resets <= 3);                         // three standard errors for the probes of 180 visits
    CHECK(tracked_error < 2 * measured_error);  // each with as many readings
  }
}

TEST_CASE("a state is kept bit for bit, and what is no state is refused", "[jacobian][tracked]") {
  toy::Network network(toy_options(0.1));
  const Dataset set = three_samples(2);
  const DeviceInfo& info = network.info();
  for (const By by : {By::probing, By::voltage}) {
    const auto one = made(network, {.by = by, .measure_every = 4}),
               two = made(network, {.by = by, .measure_every = 4});
    for (int k = 0; k < 3; ++k) learned(network, *one, all_of(set, moved(network, k)), info);
    two->restore(one->state());
    CHECK(same_bits(two->state(), one->state()));
    for (int k = 3; k < 9; ++k) {
      const Minibatch batch = all_of(set, moved(network, k));
      CHECK(same_bits(learned(network, *one, batch, info).value, learned(network, *two, batch, info).value));
      CHECK(same_bits(two->state(), one->state()));
    }
    const Vector state = one->state();
    Vector longer(state.size() + 1);
    longer << state, 1;
    for (const Vector& wrong :
         {Vector(), Vector(state.head(state.size() - 1)), longer, Vector(Vector::Constant(1, -1))}) {
      CHECK_THROWS_WITH(two->restore(wrong), Catch::Contains("numbers"));
      CHECK(same_bits(two->state(), state));
    }
    const auto stateless = made(network, {.by = by});
    CHECK(stateless->state().size() == 0);
    CHECK_THROWS_AS(stateless->restore(state), std::invalid_argument);
  }
}

namespace {

// Stores the last checkpoint, and stops after some step.
struct Watch final : TrainingObserver {
  std::vector<Vector> thetas;
  Checkpoint last;
  std::stop_source stop;
  std::uint64_t stop_after = 1'000'000;
  void on_step(const StepReport& report, const Vector& theta) override {
    thetas.push_back(theta);
    if (report.step + 1 == stop_after) stop.request_stop();
  }
  void on_checkpoint(const Checkpoint& checkpoint) override { last = checkpoint; }
};

struct TrackedTraining {
  explicit TrackedTraining(By by) : network(toy_options(0.1, {2, 2, 1})), by(by) {
    noise.read = noise.read_current = 1e-3;
    noise.flicker = 1e-4;
    options.epochs = 10;
    options.batch = 3;
    options.error_draws = 2;
  }
  std::unique_ptr<Estimator> estimator() const {
    return made(network, {.by = by, .probe = 0, .measure_every = 4});
  }
  TrainingSummary train(Device& device, Estimator& estimator, TrainingObserver& observer,
                        std::stop_token stop, const Checkpoint* from = nullptr) const {
    Trainer trainer(device, estimator, task, space, optimizer, options);
    trainer.observe(observer);
    return from != nullptr ? trainer.resume(*from, stop) : trainer.run(network.example_theta(), stop);
  }
  toy::Network network;
  By by;
  NoiseOptions noise;
  TrainingOptions options;
  ParameterSpace space{network.info()};
  OptimizerOptions optimizer;
  Task task = xor_task();
};

}  // namespace

TEST_CASE("a training with a tracked Jacobian is resumed bit for bit", "[jacobian][tracked][resume]") {
  for (const By by : {By::probing, By::voltage}) {
    TrackedTraining training(by);
    Watch whole;
    Noisy first(training.network, training.noise);
    const auto estimator = training.estimator();
    const TrainingSummary expected = training.train(first, *estimator, whole, {});
    for (const std::uint64_t stop_after : {1, 3, 8, 13}) {
      Watch cut, rest;
      cut.stop_after = stop_after;
      Noisy second(training.network, training.noise), third(training.network, training.noise);
      const auto before = training.estimator(), after = training.estimator();
      training.train(second, *before, cut, cut.stop.get_token());
      CHECK(cut.last.estimator.size() > 1);
      const TrainingSummary summary = training.train(third, *after, rest, {}, &cut.last);
      CHECK(same_bits(summary.theta, expected.theta));
      CHECK(summary.relaxations == expected.relaxations);
      CHECK(same_bits(after->state(), estimator->state()));
    }
  }
}

TEST_CASE("a training with a tracked Jacobian re-executes from its log", "[jacobian][tracked]") {
  for (const By by : {By::probing, By::voltage}) {
    const Folder folder;
    TrackedTraining training(by);
    Noisy noisy(training.network, training.noise);
    LogHeader header;
    header.info = noisy.info();
    header.pattern_sets = {training.task.train.inputs};
    TrainingSummary recorded;
    Vector state;
    {
      LogWriter log(folder / "run.h5", header, {});
      Recorder recorder(noisy, log);
      const auto estimator = training.estimator();
      recorded = training.train(recorder, *estimator, recorder, {});
      state = estimator->state();
      log.close(ExitStatus::finished, "");
    }
    const LogReader log(folder / "run.h5");
    Replay replay(log, header.pattern_sets);
    ReplayCheck check(log);
    const auto estimator = training.estimator();
    const TrainingSummary replayed = training.train(replay, *estimator, check, {});
    CHECK(check.steps_compared() == log.steps());
    CHECK(replay.next_row() == log.rows());
    CHECK(same_bits(replayed.theta, recorded.theta));
    CHECK(same_bits(estimator->state(), state));
  }
}

TEST_CASE("the table makes measured Jacobians by name, tracked or not", "[jacobian]") {
  toy::Network network(toy_options(0, {2, 2, 1}));
  const auto cost = [&](const std::string& name, const given::GivenKeys& keys) {
    return given::estimator(name, keys, toy::model_of(network))->cost(network.info());
  };
  CHECK(cost("node-probing", {}) == 7);
  const given::GivenKeys one_sided({{"central", 0}}),
      often({{"central", 0}, {"refresh", 2}, {"measure_every", 5}});
  CHECK(cost("probing", one_sided) == 4);
  CHECK(cost("conductance-by-voltage", {}) == 7);
  CHECK(cost("conductance", one_sided) == 5);
  CHECK(cost("probing-tracked", {}) == Approx((7 + 19 * 3) / 20.0));
  CHECK(cost("conductance-tracked", often) == Approx((5 + 4 * 4) / 5.0));
}
