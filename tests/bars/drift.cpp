// Drift bar: XOR networks on a device that does not restore states, whose readings drift by 0.1 kT per epoch
// (all four samples with all their perturbations), each reading in its own direction. Cosine to the exact
// gradient without drift, with drift, and with drift cancelled (free state repeated, linear interpolation).
// Prints one line of JSON per estimator, with the cosines of each network.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>

#include <nlohmann/json.hpp>

#include "core/training/given_keys.hpp"
#include "ness/device/wrapping_device.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/network/simulation.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {

// The simulation behaves as a bench: each relaxation continues from the present state.
class OneState final : public WrappingDevice {
 public:
  explicit OneState(Device& device) : WrappingDevice(device), info_(device.info()) {
    info_.restores_state = false;
  }
  const DeviceInfo& info() const override { return info_; }

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    inner().relax(drives, sink, stop);
  }

 private:
  DeviceInfo info_;
};

double cosine(const Vector& a, const Vector& b) { return a.dot(b) / (a.norm() * b.norm()); }

}  // namespace

int main() {
  Dataset data;
  RowMatrix levels(4, 2);
  levels << 0, 0, 0, 3, 3, 0, 3, 3;
  data.targets.resize(4, 1);
  data.targets << 0, 1, 1, 0;
  data.rows = {0, 1, 2, 3};
  data.inputs = std::make_shared<DensePatterns>("xor", levels);
  const SquaredError loss;
  for (const char* name : {"ep-centred", "ep-one-sided", "probing", "fd-central"}) {
    std::vector<double> still, drifting, cancelled;
    double cost = 0;
    for (std::uint64_t seed = 1000; seed < 1060; ++seed) {
      const auto network = std::make_shared<const Network>(random_dots({2, 2, 1}, seed, 1.0));
      const auto model = std::make_shared<NetworkModel>(network);
      Simulation simulation(network);
      Minibatch batch;
      batch.data = &data;
      batch.samples = {0, 1, 2, 3};
      batch.theta = Parameters::of(network->theta());
      const Gradient exact = estimate(simulation, *adjoint(model), batch, loss);
      const auto found = [&](bool drift, bool cancel) {
        const double references = name == std::string("fd-central") || name == std::string("probing") ? 2 : 1;
        const given::GivenKeys keys({{"beta", 0.05},
                                     {"step", 0.1},
                                     {"probe", 0.1},
                                     {"cancel_drift", cancel ? 1.0 : 0.0},
                                     {"references", references}});
        const auto estimator = given::estimator(name, keys, model);
        OneState bench(simulation);
        cost = estimator->cost(bench.info());
        NoiseOptions noise;
        noise.seed = seed;
        if (drift) noise.drift_rate = 0.1 / (4 * cost);
        Noisy device(bench, noise);
        device.seek(0);
        const Gradient gradient = estimate(device, *estimator, batch, loss);
        return gradient.used == 4 ? cosine(gradient.value, exact.value) : std::nan("");
      };
      const double a = found(false, false), b = found(true, false), c = found(true, true);
      if (exact.left_out > 0 || std::isnan(a) || std::isnan(b) || std::isnan(c)) continue;
      still.push_back(a);
      drifting.push_back(b);
      cancelled.push_back(c);
    }
    std::cout << nlohmann::ordered_json{{"estimator", name},        {"relaxations_a_sample", cost},
                                        {"networks", still.size()}, {"cosine", still},
                                        {"with_drift", drifting},   {"cancelling", cancelled}}
              << std::endl;
  }
  return 0;
}
