#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "forming.hpp"
#include "number_text.hpp"

namespace ness {
namespace {

// The values at which one parameter is probed. One for forward differences, two for central ones.
struct Probe {
  std::uint32_t parameter = 0;
  double here = 0;
  double first = 0, second = 0;
};

class FiniteDifferences final : public Estimator {
 public:
  explicit FiniteDifferences(const FiniteDifferenceOptions& options) : options_(options) {
    if (!(options.step > 0) || std::isinf(options.step)) {
      throw std::invalid_argument("finite differences: step " + number_text(options.step) + "; it must be finite and > 0");
    }
  }

  std::string_view name() const override {
    return options_.central ? "finite-differences-central" : "finite-differences-forward";
  }

  std::string unmet_needs(const DeviceInfo& info) const override {
    for (const std::uint32_t parameter : options_.parameters) {
      if (parameter >= info.parameters.size()) {
        return "parameter " + std::to_string(parameter) + " is to be differenced; the device has " +
               std::to_string(info.parameters.size());
      }
      if (!info.parameters[parameter].trainable) {
        return "parameter " + std::to_string(parameter) + " (" + info.parameters[parameter].name +
               ") is a constant of the device";
      }
    }
    return unmet_by_outputs(info);
  }

  std::uint64_t cost(const DeviceInfo& info) const override { return 1 + per_parameter() * chosen(info).size(); }

  std::vector<Chain> chains(const DeviceInfo& info, const Minibatch& batch, const Loss&) const override {
    const auto probes = std::make_shared<const std::vector<Probe>>(probes_of(info, batch.theta));
    std::vector<Chain> all;
    all.reserve(batch.samples.size());
    for (std::size_t i = 0; i < batch.samples.size(); ++i) {
      all.emplace_back([probes, &batch, i, each = per_parameter()](std::span<const Relaxation> so_far) -> std::optional<Drive> {
        if (!so_far.empty() && !so_far.back().quality.usable()) return std::nullopt;
        Drive drive = batch.free_drive(i);
        if (so_far.empty()) return drive;
        const std::size_t made = so_far.size() - 1;
        if (made == each * probes->size()) return std::nullopt;
        const Probe& probe = (*probes)[made / each];
        drive.theta = drive.theta.with(probe.parameter, made % each == 0 ? probe.first : probe.second);
        return drive;
      });
    }
    return all;
  }

  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    const std::vector<Probe> probes = probes_of(info, batch.theta);
    Forming forming(info, batch, loss, rows);
    Vector sum = Vector::Zero(static_cast<Eigen::Index>(info.parameters.size()));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (!complete(rows[i], probes.size())) {
        forming.leave_out();
        continue;
      }
      const double free = forming.loss_at(i, 0);
      for (std::size_t k = 0; k < probes.size(); ++k) {
        const std::size_t at = 1 + k * per_parameter();
        sum[probes[k].parameter] +=
            slope(probes[k], free, forming.loss_at(i, at), options_.central ? forming.loss_at(i, at + 1) : 0);
      }
      forming.use(i);
    }
    return forming.finish(std::move(sum));
  }

 private:
  std::size_t per_parameter() const { return options_.central ? 2 : 1; }

  std::vector<std::uint32_t> chosen(const DeviceInfo& info) const {
    if (!options_.parameters.empty()) return options_.parameters;
    std::vector<std::uint32_t> all;
    for (std::uint32_t i = 0; i < info.parameters.size(); ++i) {
      if (info.parameters[i].trainable) all.push_back(i);
    }
    return all;
  }

  std::vector<Probe> probes_of(const DeviceInfo& info, const Parameters& theta) const {
    const Vector values = theta.values();
    std::vector<Probe> probes;
    for (const std::uint32_t parameter : chosen(info))
      probes.push_back(probe(info.parameters[parameter], parameter, values[parameter]));
    return probes;
  }

  Probe probe(const ParameterInfo& info, std::uint32_t parameter, double here) const {
    const double step = info.scale == Scale::log ? options_.step * std::abs(here) : options_.step;
    if (!std::isfinite(here) || here + step == here) {
      throw std::invalid_argument("finite differences: parameter " + info.name + " = " + number_text(here) +
                                  " cannot be stepped by " + number_text(step));
    }
    const auto reached = [&](double first, double second) { return info.range.contains(first) && info.range.contains(second); };
    // One-sided ones of central differences are at h and 2 h: the error stays of the order of h^2.
    const double up = here + step, down = here - step;
    if (options_.central) {
      if (reached(up, down)) return {parameter, here, up, down};
      if (reached(up, here + 2 * step)) return {parameter, here, up, here + 2 * step};
      if (reached(down, here - 2 * step)) return {parameter, here, down, here - 2 * step};
    } else {
      if (reached(up, up)) return {parameter, here, up, up};
      if (reached(down, down)) return {parameter, here, down, down};
    }
    throw std::invalid_argument("finite differences: the range " + range_text(info.range) +
                                " of parameter " + info.name +
                                " has no room for a step of " + number_text(step));
  }

  // dL/dtheta from the parabola through the three points, or from the line through two.
  double slope(const Probe& probe, double free, double first, double second) const {
    const double d1 = probe.first - probe.here;
    if (!options_.central) return (first - free) / d1;
    const double d2 = probe.second - probe.here;
    if ((d1 > 0) != (d2 > 0)) return (first - second) / (probe.first - probe.second);
    return (d2 * d2 * (first - free) - d1 * d1 * (second - free)) / (d1 * d2 * (d2 - d1));
  }

  bool complete(const std::vector<Relaxation>& rows, std::size_t probes) const {
    if (rows.size() != 1 + per_parameter() * probes) return false;
    for (const Relaxation& row : rows) {
      if (!row.quality.usable()) return false;
    }
    return true;
  }

  FiniteDifferenceOptions options_;
};

}  // namespace

std::unique_ptr<Estimator> finite_differences(const FiniteDifferenceOptions& options) {
  return std::make_unique<FiniteDifferences>(options);
}

}  // namespace ness
