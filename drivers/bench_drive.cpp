// From drives to levels.
#include <algorithm>
#include <cmath>

#include "bench_impl.hpp"
#include "ness/device/error.hpp"
#include "ness/device/ramp.hpp"
#include "number.hpp"

namespace ness::drivers {

// Levels for a drive, with inputs, holds and injected currents scaled by `share` (0: at rest); parameters are
// not scaled.
std::vector<double> Bench::Impl::levels_of(const Drive& drive, double share) const {
  std::vector<double> targets = levels.present();
  Vector inputs(static_cast<Eigen::Index>(clamped.size()));
  drive.clamp.set->levels(drive.clamp.row, inputs);
  const auto set = [&](std::size_t c, double at_terminal) {
    targets[c] = (at_terminal - channel(c).offset) / channel(c).gain;
  };
  for (std::size_t i = 0; i < clamped.size(); ++i)
    set(channel_of_terminal.at(clamped[i]), volts_of_kT(share * inputs[static_cast<Eigen::Index>(i)]));
  for (const Hold& held : drive.holds) set(channel_of_terminal.at(held.terminal), volts_of_kT(held.level));

  Vector values(static_cast<Eigen::Index>(gates.size()));
  for (std::size_t g = 0; g < gates.size(); ++g)
    values[static_cast<Eigen::Index>(g)] = drive.theta[gates[g].first];
  for (std::size_t i = 0; i < nudgeable.size(); ++i) {
    const double u = drive.nudge.size() > 0 ? share * drive.nudge[static_cast<Eigen::Index>(i)] : 0;
    if (nudge_gate[i]) values[static_cast<Eigen::Index>(*nudge_gate[i])] += u / nudge_conductance[i];
    else set(channel_of_terminal.at(nudgeable[i]), amperes_of_units(u));
  }
  // Solve for the gates' levels, after subtracting the cross-talk of the other channels.
  Vector rest = values - gate_zero;
  for (std::size_t c = 0; c < targets.size(); ++c) {
    if (!channel(c).parameter) rest -= targets[c] * coupling.col(static_cast<Eigen::Index>(c));
  }
  Vector own = rest;
  if (!gates.empty()) of_gates.solve(rest, own);
  for (std::size_t g = 0; g < gates.size(); ++g) targets[gates[g].second] = own[static_cast<Eigen::Index>(g)];
  return targets;
}

// Values of the parameters from the readback of their channels' levels; constants are unchanged.
Vector Bench::Impl::parameters_now(const DeviceInfo& info) const {
  Vector theta(static_cast<Eigen::Index>(info.parameters.size()));
  for (std::size_t i = 0; i < info.parameters.size(); ++i)
    theta[static_cast<Eigen::Index>(i)] = info.parameters[i].range.low;
  const Vector values =
      gate_zero + coupling * Eigen::Map<const Vector>(levels.present().data(),
                                                      static_cast<Eigen::Index>(levels.present().size()));
  for (std::size_t g = 0; g < gates.size(); ++g) theta[gates[g].first] = values[static_cast<Eigen::Index>(g)];
  return theta;
}

// Device::relax checks single ranges; here cross-talk and cross-limits are included.
void Bench::Impl::check(std::span<const Drive> drives) const {
  for (std::size_t i = 0; i < drives.size(); ++i) {
    for (const double share : {0.0, 1.0}) {
      if (share == 0 && !std::holds_alternative<Rest>(drives[i].start)) continue;
      if (const std::string broken = levels.broken(levels_of(drives[i], share)); !broken.empty()) {
        throw std::invalid_argument("drive " + std::to_string(i) + (share == 0 ? ", at rest: " : ": ") +
                                    broken);
      }
    }
  }
}

void Bench::Impl::go(const std::vector<double>& targets, std::stop_token stop) {
  for (const std::size_t c : levels.go(targets, stop)) {
    const bool input = channel(c).terminal.has_value() && !injects(c);
    (input ? input_moved : gate_moved) = true;
  }
}

// Switches on the free terminals held in this drive, at their present potentials, and the others off. True if
// any changed: such a change is slow.
bool Bench::Impl::hold(const Drive& drive) {
  bool changed = false;
  for (std::size_t c = 0; c < settings.channels.size(); ++c) {
    if (!channel(c).on_demand) continue;
    const bool wanted = std::any_of(drive.holds.begin(), drive.holds.end(),
                                    [&](const Hold& h) { return h.terminal == *channel(c).terminal; });
    if (wanted == levels.is_on(c)) continue;
    changed = input_moved = true;
    if (!wanted) {
      levels.switch_off(c);
      continue;
    }
    const auto known = last_volts.find(*channel(c).terminal);
    levels.switch_on(c,
                     ((known == last_volts.end() ? 0 : known->second) - channel(c).offset) / channel(c).gain);
  }
  return changed;
}

void Bench::Impl::impose(const Drive& drive, std::stop_token stop) {
  if (hold(drive)) clock->wait(settings.hold_time, stop);
  const Rest* rest = std::get_if<Rest>(&drive.start);
  if (rest != nullptr) {
    go(levels_of(drive, 0), stop);
    clock->wait(settings.rest_time, stop);
    if (std::isfinite(rest->rate)) {
      // All inputs together, at the given rate, in steps short compared with the network's response time.
      Vector inputs(static_cast<Eigen::Index>(clamped.size()));
      drive.clamp.set->levels(drive.clamp.row, inputs);
      const double farthest = inputs.size() > 0 ? inputs.cwiseAbs().maxCoeff() : 0,
                   duration = ramp_time(inputs, rest->rate);
      const auto pieces = static_cast<int>(std::clamp(std::ceil(farthest / 0.1), 1.0, 1000.0));
      for (int i = 1; i < pieces; ++i) {
        go(levels_of(drive, static_cast<double>(i) / pieces), stop);
        clock->wait(duration / pieces, stop);
      }
    }
  }
  go(levels_of(drive, 1), stop);
}

}  // namespace ness::drivers
