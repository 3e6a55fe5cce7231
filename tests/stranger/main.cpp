// A divider on a bench: one input, one output y = x G / (G + 1), G trained so that an input of 2 gives 1.5 (G = 3).
#include <ness/core/trainer.hpp>

#include <cmath>
#include <iostream>

class Divider final : public ness::Device {
 public:
  Divider() {
    info_.identity = "voltage divider";
    info_.terminals = {{.name = "in", .clamped = true}, {.name = "out"}};
    info_.outputs = {1};
    info_.parameters = {{.name = "G", .kind = "G", .unit = "1", .range = {1e-3, 1e3}, .scale = ness::Scale::log}};
  }
  const ness::DeviceInfo& info() const override { return info_; }

 protected:
  void do_relax(std::span<const ness::Drive> drives, const Sink& sink, std::stop_token) override {
    for (std::size_t i = 0; i < drives.size(); ++i) {
      const double G = drives[i].theta[0];
      ness::Relaxation reading;
      reading.potential = ness::Vector::Constant(1, drives[i].clamp.levels()[0] * G / (G + 1));
      sink(i, reading);
    }
  }
  ness::DeviceInfo info_;
};

int main() {
  Divider device;
  ness::Task task;
  task.train = {std::make_shared<ness::DensePatterns>("two", ness::RowMatrix::Constant(1, 1, 2.0)), {0}, ness::RowMatrix::Constant(1, 1, 1.5)};
  task.loss = std::make_shared<ness::SquaredError>();
  const auto estimator = ness::finite_differences({});
  const ness::ParameterSpace space(device.info());
  ness::Trainer trainer(device, *estimator, task, space, {.rate = 0.1}, {.epochs = 400});
  const ness::TrainingSummary summary = trainer.run(ness::Vector::Constant(1, 1.0));
  std::cout << summary.message() << "\nG = " << summary.theta[0] << "\n";
  return std::abs(summary.theta[0] - 3) < 1e-3 ? 0 : 1;
}
