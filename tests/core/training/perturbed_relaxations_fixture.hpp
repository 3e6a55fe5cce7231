// Devices between an estimator and the toy network: one records calls, one alters readings.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "core/device/toy_device.hpp"
#include "ness/training/estimator.hpp"

namespace perturbations_test {

using namespace ness;

/// Forwards drives, records them and their rows, and may alter the rows; `ordinal` counts the rows of this
/// device.
class Between final : public Device {
 public:
  using Change = std::function<void(std::uint64_t ordinal, const Drive&, Relaxation&)>;
  explicit Between(Device& device, Change change = {}) : device_(device), change_(std::move(change)) {}
  const DeviceInfo& info() const override { return device_.info(); }
  std::vector<Drive> drives;
  std::vector<Relaxation> rows;

 protected:
  void do_relax(std::span<const Drive> asked, const Sink& sink, std::stop_token stop) override {
    device_.relax(
        asked,
        [&](std::size_t index, const Relaxation& made) {
          Relaxation row = made;
          if (change_) change_(rows.size(), asked[index], row);
          drives.push_back(asked[index]);
          rows.push_back(row);
          sink(index, row);
        },
        stop);
  }

 private:
  Device& device_;
  Change change_;
};

/// Two inputs, three samples.
inline Dataset small_set(std::uint32_t outputs = 1) {
  RowMatrix inputs(3, 2), targets(3, outputs);
  inputs << 0.9, -0.6, 1.4, 0.8, -1.1, 0.3;
  for (int i = 0; i < 3; ++i) {
    for (std::uint32_t o = 0; o < outputs; ++o) targets(i, o) = 0.7 * std::cos(1.7 * i + o);
  }
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>("small", inputs);
  set.targets = targets;
  set.rows = {0, 1, 2};
  return set;
}

inline Minibatch batch_of(const Dataset& set, const Vector& theta,
                          std::vector<std::uint64_t> samples = {0, 1, 2}) {
  Minibatch batch;
  batch.data = &set;
  batch.samples = std::move(samples);
  batch.theta = Parameters::of(theta);
  return batch;
}

inline double error_of(const Vector& estimate, const Vector& exact) {
  return (estimate - exact).norm() / exact.norm();
}

/// Standard deviation of gradients [draws], over all parameters: sqrt(sum of variances).
inline double scatter_of(const std::vector<Vector>& gradients) {
  Vector mean = Vector::Zero(gradients.front().size());
  for (const Vector& g : gradients) mean += g / static_cast<double>(gradients.size());
  double sum = 0;
  for (const Vector& g : gradients) sum += (g - mean).squaredNorm();
  return std::sqrt(sum / static_cast<double>(gradients.size() - 1));
}

}  // namespace perturbations_test
