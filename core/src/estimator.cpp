#include "ness/core/estimator.hpp"

#include <stdexcept>

#include "ness/core/error.hpp"

namespace ness {

Drive Minibatch::free_drive(std::size_t i) const {
  Drive drive;
  drive.theta = theta;
  drive.clamp = pattern(i);
  if (!starts.empty()) drive.start = starts[i];
  drive.label = {Label::Purpose::train, 0, step, samples[i]};
  return drive;
}

Gradient estimate(Device& device, const Estimator& estimator, const Minibatch& batch, const Loss& loss, std::stop_token stop) {
  const DeviceInfo& info = device.info();
  if (const std::string unmet = estimator.unmet_needs(info); !unmet.empty()) {
    throw Unsupported(std::string(estimator.name()) + ": " + unmet);
  }
  const std::vector<Chain> chains = estimator.chains(info, batch, loss);
  const std::vector<std::vector<Relaxation>> rows = relax_chains(device, chains, stop);
  return estimator.form(info, batch, loss, rows);
}

}  // namespace ness
