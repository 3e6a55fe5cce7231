// Node probing and conductance by voltage on simulated networks, against the exact adjoint of the model.
#include <catch2/catch.hpp>
#include <cmath>

#include "ness/training/dataset.hpp"
#include "ness/training/estimator.hpp"
#include "ness/network/simulation.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {

NetworkSpec random_enzymes(const std::vector<std::uint32_t>& layers, std::uint64_t seed) {
  NetworkSpec spec = random_dots(layers, seed, 0);
  Random random(seed, 78);
  for (auto& edge : spec.edges)
    edge = enzyme(std::exp(random.normal()), std::exp(0.5 * random.normal()), std::exp(0.5 * random.normal()),
                  3);
  return spec;
}

}  // namespace

TEST_CASE(
    "measured Jacobians on dots and enzymes: exact up to the square of the probe, however far from "
    "reciprocal") {
  struct Case {
    const char* what;
    NetworkSpec spec;
    double asymmetry_from, asymmetry_to;
  };
  const Case cases[] = {{"reciprocal (d = 1), with NDC", random_dots({2, 4, 2}, 21, 1.2, 1), 0, 1e-8},
                        {"mildly non-reciprocal", random_dots({2, 4, 2}, 23, 0.5, 0.3), 1e-3, 0.05},
                        {"strongly non-reciprocal", random_dots({2, 4, 2}, 24, 1.5, -1, true), 0.03, 1},
                        {"enzymes", random_enzymes({2, 4, 2}, 25), 1e-3, 1}};
  const SquaredError loss;
  for (const Case& each : cases) {
    const auto network = std::make_shared<const Network>(each.spec);
    Simulation device(network);
    const auto model = std::make_shared<NetworkModel>(network, 1);
    Random random(7, 12);
    Dataset data;
    RowMatrix levels(4, 2);
    data.targets.resize(4, 2);
    Minibatch batch;
    for (Eigen::Index i = 0; i < 4; ++i) {
      for (double& x : levels.row(i)) x = random.uniform(-1.5, 1.5);
      for (double& t : data.targets.row(i)) t = random.normal();
      data.rows.push_back(static_cast<std::uint64_t>(i));
      batch.samples.push_back(static_cast<std::uint64_t>(i));
    }
    data.inputs = std::make_shared<DensePatterns>("random", levels);
    batch.data = &data;
    batch.theta = Parameters::of(network->theta());
    double asymmetry = 0;  // of the model
    for (std::size_t i = 0; i < 4; ++i) {
      const Drive drive = batch.free_drive(i);
      const Matrix G = model->conductance(drive, device.relax(drive).potential);
      asymmetry += (G - G.transpose()).norm() / (G + G.transpose()).norm() / 4;
    }
    CHECK(asymmetry >= each.asymmetry_from);
    CHECK(asymmetry <= each.asymmetry_to);
    const Vector exact = estimate(device, *adjoint(model), batch, loss).value;
    for (const bool voltage : {false, true}) {
      INFO(each.what << (voltage ? ", by voltage" : ", by probing"));
      const auto gradient = [&](double probe, bool central) {
        const auto estimator = voltage ? conductance_by_voltage(model, {.probe = probe, .central = central})
                                       : node_probing(model, {.probe = probe, .central = central});
        const Gradient found = estimate(device, *estimator, batch, loss);
        CHECK(found.left_out == 0);
        CHECK(found.relaxations == 4 * estimator->cost(device.info()));
        return found;
      };
      const auto error = [&](double probe, bool central) {
        return (gradient(probe, central).value - exact).norm() / exact.norm();
      };
      // The next order is smaller by the probe over 1 kT, the scale of the curvature.
      CHECK(std::log2(error(0.02, true) / error(0.01, true)) == Approx(2).margin(0.15));
      CHECK(std::log2(error(2e-3, false) / error(1e-3, false)) == Approx(1).margin(0.15));
      // delta^2 = 1e-8 times third derivatives; errors of the states of 1e-10 over 1e-4.
      const Gradient found = gradient(1e-4, true);
      CHECK((found.value - exact).norm() / exact.norm() < 1e-5);
      CHECK(found.value.dot(exact) / (found.value.norm() * exact.norm()) == Approx(1).margin(1e-9));
      CHECK(found.asymmetry == Approx(asymmetry).margin(1e-5));
      // Chosen instead of given.
      const auto automatic = voltage ? conductance_by_voltage(model, {}) : node_probing(model, {});
      automatic->prepare(device, device.info(), batch, loss, {});
      CHECK((estimate(device, *automatic, batch, loss).value - exact).norm() / exact.norm() < 1e-5);
    }
  }
}
