#include "ness/laboratory/wiring_check.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ness/device/number_text.hpp"
#include "wiring/check.hpp"

namespace ness {

std::string WiringCheckOptions::problem(const DeviceInfo& bench) const {
  if (channels.empty()) return "no channels to move";
  for (const WiringChannel& channel : channels) {
    const std::string name = "channel '" + channel.name + "': ";
    if (channel.terminal.has_value() == channel.parameter.has_value())
      return name + "it holds a terminal or sets a parameter, one of the two";
    if (channel.terminal &&
        (*channel.terminal >= bench.terminals.size() || !bench.terminals[*channel.terminal].clamped))
      return name + "terminal " + std::to_string(*channel.terminal) + " is no input";
    if (channel.parameter && *channel.parameter >= bench.parameters.size())
      return name + "there is no parameter " + std::to_string(*channel.parameter);
    if (!(channel.tiny.low < channel.tiny.high) || !std::isfinite(channel.tiny.low) ||
        !std::isfinite(channel.tiny.high))
      return name + "its limits " + range_text(channel.tiny) + " leave no room to move";
    if (!channel.tiny.contains(channel.safe))
      return name + "its safe level " + number_text(channel.safe) + " is outside " + range_text(channel.tiny);
    if (channel.gain == 0 || !std::isfinite(channel.gain) || !std::isfinite(channel.offset))
      return name + "its level moves nothing";
  }
  for (const WiringHolder& holder : holders) {
    const std::string name = "holder '" + holder.name + "': ";
    if (holder.terminal >= bench.terminals.size() || !bench.terminals[holder.terminal].can_hold)
      return name + "terminal " + std::to_string(holder.terminal) + " cannot be held";
    if (!bench.terminals[holder.terminal].reads_potential)
      return name + "nothing reads its terminal " + std::to_string(holder.terminal);
    if (!(holder.step > 0) || !std::isfinite(holder.step))
      return name + "a step of " + number_text(holder.step) + " kT; expected a finite number > 0";
  }
  if (!readings.empty() && readings.size() != bench.read().size())
    return std::to_string(readings.size()) + " names for " + std::to_string(bench.read().size()) +
           " readings";
  if (bench.read().empty()) return "nothing is read";
  if (points == 0 || tries < points) return "expected at least one operating point, and as many tries";
  if (repeats == 0 || noise_readings < 4)
    return "expected at least one measurement of a row, and four readings for their noise";
  for (const auto& [name, share] : {std::pair{"gain tolerance", gain_tolerance},
                                    {"pattern tolerance", pattern_tolerance},
                                    {"roughness", roughness},
                                    {"cross-talk", cross_talk},
                                    {"visible", visible}}) {
    if (!(share > 0) || !std::isfinite(share))
      return std::string(name) + " " + number_text(share) + "; expected a finite number > 0";
  }
  if (!(leakage >= 0)) return "leakage " + number_text(leakage) + "; expected a number >= 0";
  if (!(shortest > 0) || !(longest > shortest) || !std::isfinite(longest))
    return "times after a step from " + number_text(shortest) + " to " + number_text(longest) +
           "; expected 0 < shortest < longest";
  return {};
}

const char* to_string(WiringVerdict verdict) {
  switch (verdict) {
    case WiringVerdict::right: return "right";
    case WiringVerdict::exchanged: return "exchanged";
    case WiringVerdict::wrong_sign: return "wrong sign";
    case WiringVerdict::wrong_gain: return "wrong gain";
    case WiringVerdict::silent: return "silent";
    case WiringVerdict::limited: return "in compliance";
    case WiringVerdict::cross_talk: return "cross-talk";
    case WiringVerdict::unexplained: return "unexplained";
    case WiringVerdict::not_judged: return "not judged";
    case WiringVerdict::not_visible: return "not visible";
  }
  return "";
}

double WiringReport::tau() const {
  double slowest = 0;
  for (const StepResponse& step : steps) slowest = std::max(slowest, step.tau.value_or(0));
  return slowest;
}

double WiringReport::tau_bound() const {
  double largest = 0;
  for (const StepResponse& step : steps) largest = std::max(largest, step.tau ? 0 : step.bound);
  return largest;
}

double WiringReport::noise() const {
  double largest = 0;
  for (const ReadingReport& reading : readings) largest = std::max(largest, reading.noise);
  return largest;
}

WiringReport check_wiring(Device& bench, Device& twin, const Vector& theta, const WiringCheckOptions& options,
                          std::stop_token stop) {
  if (const std::string problem = options.problem(bench.info()); !problem.empty())
    throw std::invalid_argument("wiring check: " + problem);
  if (theta.size() != static_cast<Eigen::Index>(bench.info().parameters.size()) ||
      theta.size() != static_cast<Eigen::Index>(twin.info().parameters.size())) {
    throw std::invalid_argument("wiring check: " + std::to_string(theta.size()) +
                                " parameters at rest; the bench has " +
                                std::to_string(bench.info().parameters.size()) + ", the twin " +
                                std::to_string(twin.info().parameters.size()));
  }
  return wiring::Check(bench, twin, theta, options, stop).run();
}

}  // namespace ness
