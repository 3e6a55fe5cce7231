#include "ness/training/estimator.hpp"

#include <algorithm>
#include <stdexcept>

#include "ness/device/error.hpp"
#include "ness/device/random.hpp"

namespace ness {

Drive Minibatch::free_drive(std::size_t i) const {
  Drive drive;
  drive.theta = theta;
  drive.clamp = pattern(i);
  if (!starts.empty()) drive.start = starts[i];
  drive.observe = observe;
  drive.label = {Label::Purpose::train, 0, step, samples[i]};
  return drive;
}

std::uint64_t Estimator::prepare(Device&, const DeviceInfo&, const Minibatch&, const Loss&, std::stop_token) {
  return 0;
}

void Estimator::remember(const DeviceInfo&, const Minibatch&, const Loss&,
                         std::span<const std::vector<Relaxation>>) {}

Vector Estimator::state() const { return {}; }

void Estimator::restore(const Vector& state) {
  if (state.size() == 0) return;
  throw std::invalid_argument(std::string(name()) + ": it has no state, but " + std::to_string(state.size()) +
                              " numbers of one were recorded");
}

Gradient estimate(Device& device, const Estimator& estimator, const Minibatch& batch, const Loss& loss,
                  std::stop_token stop) {
  const DeviceInfo& info = device.info();
  if (const std::string unmet = estimator.unmet_needs(info); !unmet.empty()) {
    throw Unsupported(std::string(estimator.name()) + ": " + unmet);
  }
  const std::vector<Chain> chains = estimator.chains(info, batch, loss);
  const std::vector<std::vector<Relaxation>> rows = relax_chains(device, chains, stop);
  return estimator.form(info, batch, loss, rows);
}

Vector standard_error(const Estimator& estimator, const DeviceInfo& info, const Minibatch& batch,
                      const Loss& loss, std::span<const std::vector<Relaxation>> rows, std::uint32_t draws,
                      std::uint64_t seed) {
  const bool known = std::any_of(rows.begin(), rows.end(), [](const auto& chain) {
    return std::any_of(chain.begin(), chain.end(), [](const Relaxation& row) {
      return row.sigma.size() > 0 || row.current_sigma.size() > 0;
    });
  });
  if (!known || draws == 0) return {};
  const Gradient measured = estimator.form(info, batch, loss, rows);
  if (measured.used == 0 || measured.next) return {};
  Vector squares = Vector::Zero(measured.value.size());
  std::uint32_t formed = 0;
  for (std::uint32_t draw = 0; draw < draws; ++draw) {
    std::vector<std::vector<Relaxation>> redrawn(rows.begin(), rows.end());
    std::uint64_t ordinal = 0;
    for (auto& chain : redrawn) {
      for (Relaxation& row : chain) {
        std::uint32_t channel = draw << 16;
        for (Eigen::Index k = 0; k < row.sigma.size(); ++k)
          row.potential[k] += row.sigma[k] * normal_at(seed, ordinal, channel++);
        for (Eigen::Index k = 0; k < row.current_sigma.size(); ++k)
          row.current[k] += row.current_sigma[k] * normal_at(seed, ordinal, channel++);
        ++ordinal;
      }
    }
    const Gradient other = estimator.form(info, batch, loss, redrawn);
    // A different set of used samples is not an effect of reading errors on the gradient.
    if (other.used != measured.used) continue;
    squares += (other.value - measured.value).cwiseAbs2();
    ++formed;
  }
  if (formed == 0) return {};
  return (squares / formed).cwiseSqrt();
}

}  // namespace ness
