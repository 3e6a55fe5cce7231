#include "ness/training/estimator.hpp"

#include <algorithm>
#include <cmath>
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

std::string Estimator::unstated(const DeviceInfo&) const { return {}; }

namespace {

// For estimators whose perturbations do not depend on readings.
class PlainErrors final : public ReadingErrors {
 public:
  PlainErrors(const Estimator& estimator, const DeviceInfo& info, const Minibatch& batch, const Loss& loss)
      : estimator_(estimator), info_(info), batch_(batch), loss_(loss) {}
  Gradient form(std::vector<std::vector<Relaxation>> redrawn, const std::function<double()>&) const override {
    return estimator_.form(info_, batch_, loss_, redrawn);
  }

 private:
  const Estimator& estimator_;
  const DeviceInfo& info_;
  const Minibatch& batch_;
  const Loss& loss_;
};

}  // namespace

std::unique_ptr<const ReadingErrors> Estimator::errors_of_readings(
    const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
    std::span<const std::vector<Relaxation>>) const {
  return std::make_unique<PlainErrors>(*this, info, batch, loss);
}

Vector Estimator::whole_error(const DeviceInfo&, const Minibatch&, const Loss&,
                              std::span<const std::vector<Relaxation>>, const Gradient&,
                              const Vector& reading_error) const {
  return reading_error;
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

namespace {

constexpr double redraw = 0.125;  // of a standard error: small steps keep the changes linear

bool known_errors(std::span<const std::vector<Relaxation>> rows) {
  return std::any_of(rows.begin(), rows.end(), [](const auto& chain) {
    return std::any_of(chain.begin(), chain.end(), [](const Relaxation& row) {
      return row.sigma.size() > 0 || row.current_sigma.size() > 0;
    });
  });
}

}  // namespace

Vector reading_error(const Estimator& estimator, const DeviceInfo& info, const Minibatch& batch,
                     const Loss& loss, std::span<const std::vector<Relaxation>> rows, std::uint32_t draws,
                     std::uint64_t seed) {
  if (draws == 0 || !known_errors(rows) || !estimator.unstated(info).empty()) return {};
  const Gradient measured = estimator.form(info, batch, loss, rows);
  if (measured.used == 0 || measured.next) return {};
  const std::unique_ptr<const ReadingErrors> errors = estimator.errors_of_readings(info, batch, loss, rows);
  if (!errors) return {};
  Vector squares = Vector::Zero(measured.value.size());
  std::uint32_t formed = 0;
  for (std::uint32_t draw = 0; draw < draws; ++draw) {
    std::vector<std::vector<Relaxation>> redrawn(rows.begin(), rows.end());
    std::uint64_t ordinal = 0;
    std::uint32_t channel = 0;
    constexpr std::uint32_t most_channels = 1u << 16;
    const auto normal = [&] {
      if (channel == most_channels) {
        channel = 0;
        ++ordinal;
      }
      return redraw * normal_at(seed, ordinal, (draw << 16) + channel++);
    };
    for (auto& chain : redrawn) {
      for (Relaxation& row : chain) {
        channel = 0;
        for (Eigen::Index k = 0; k < row.sigma.size(); ++k) row.potential[k] += row.sigma[k] * normal();
        for (Eigen::Index k = 0; k < row.current_sigma.size(); ++k) {
          const double by = row.current_sigma[k] * normal();
          if (std::isfinite(by)) row.current[k] += by;
        }
        ++ordinal;
      }
    }
    channel = 0;
    const Gradient other = errors->form(std::move(redrawn), normal);
    // A different set of used samples is not an effect of reading errors on the gradient.
    if (other.used != measured.used || !other.value.allFinite()) continue;
    squares += (other.value - measured.value).cwiseAbs2();
    ++formed;
  }
  if (formed == 0) return {};
  return (squares / formed).cwiseSqrt() / redraw;
}

void state_errors(Gradient& gradient, const Estimator& estimator, const DeviceInfo& info,
                  const Minibatch& batch, const Loss& loss, std::span<const std::vector<Relaxation>> rows,
                  std::uint32_t draws, std::uint64_t seed) {
  gradient.reading_error = reading_error(estimator, info, batch, loss, rows, draws, seed);
  gradient.whole_error = {};
  if (gradient.used == 0) return;
  const bool exact = gradient.reading_error.size() == 0 && info.deterministic && !known_errors(rows);
  // Without random directions nothing scatters on a deterministic device: there is nothing to state.
  if (exact && estimator.repeats() != Estimator::Repeats::random) return;
  gradient.whole_error =
      estimator.whole_error(info, batch, loss, rows, gradient,
                            exact ? Vector(Vector::Zero(gradient.value.size())) : gradient.reading_error);
}

}  // namespace ness
