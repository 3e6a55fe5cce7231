// The contract of every device, run for each implementation of Device.
#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "ness/device/device.hpp"
#include "ness/device/error.hpp"

namespace ness::contract {

struct ContractOptions {
  /// After seek(n) the same drive from rest gives the same bits (also with noise). False for hardware.
  bool repeatable_after_seek = true;
  /// Also stops a call half-way. The number of rows that a device still delivers then is not specified, so a
  /// recording of it cannot be replayed: false there.
  bool cancels = true;
  /// Largest difference (kT) between a state and the result of a relaxation that starts from it under the
  /// same drive; only where states are restored. Negative: not tested (noise).
  double restart_tolerance = 1e-9;
  /// Largest difference (kT) between a held terminal and its level. Negative: not tested (noise).
  double hold_tolerance = 1e-9;
  /// Largest current into a terminal that is held at its free potential, together with all others: the exact
  /// current is 0. A conductance times the errors of the potentials.
  double held_current = 1e-7;
};

inline bool same_bits(const Vector& a, const Vector& b) {
  if (a.size() != b.size()) return false;
  for (Eigen::Index i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(double)) != 0) return false;
  }
  return true;
}

inline void check_info(const DeviceInfo& info) {
  CHECK_FALSE(info.identity.empty());
  std::set<std::string> names;
  for (const Terminal& terminal : info.terminals) {
    INFO("terminal " << terminal.name);
    CHECK(names.insert(terminal.name).second);
    CHECK(terminal.level.low <= terminal.level.high);
    if (terminal.clamped) CHECK_FALSE(terminal.can_hold);
  }
  CHECK_FALSE(info.outputs.empty());
  CHECK_NOTHROW(info.output_positions());
  std::set<std::string> parameter_names;
  for (const ParameterInfo& parameter : info.parameters) {
    INFO("parameter " << parameter.name);
    CHECK(parameter_names.insert(parameter.name).second);
    CHECK(parameter.range.low <= parameter.range.high);
    if (parameter.scale == Scale::log) CHECK(parameter.range.low >= 0);
    CHECK_FALSE(parameter.kind.empty());
  }
}

inline void check_row(const DeviceInfo& info, const Drive& drive, const Relaxation& row) {
  const auto read = static_cast<Eigen::Index>(info.read().size());
  CHECK(row.potential.size() == read);
  CHECK((row.sigma.size() == 0 || row.sigma.size() == read));
  CHECK((row.current.size() == 0 || row.current.size() == static_cast<Eigen::Index>(info.terminals.size())));
  CHECK((row.current_sigma.size() == 0 || row.current_sigma.size() == row.current.size()));
  for (Eigen::Index t = 0; t < row.current.size(); ++t) {
    INFO("terminal " << info.terminals[static_cast<std::size_t>(t)].name);
    if (!info.terminals[static_cast<std::size_t>(t)].reads_current) CHECK(std::isnan(row.current[t]));
    if (row.current_sigma.size() > 0 && !std::isnan(row.current_sigma[t])) {
      CHECK(row.current_sigma[t] >= 0);
      CHECK(std::isfinite(row.current[t]));
    }
  }
  for (const Hold& hold : drive.holds) {
    if (!info.terminals[hold.terminal].reads_current || !row.quality.usable()) continue;
    INFO("held terminal " << info.terminals[hold.terminal].name);
    REQUIRE(row.current.size() == static_cast<Eigen::Index>(info.terminals.size()));
    CHECK(std::isfinite(row.current[hold.terminal]));
  }
  CHECK((row.clamp_readback.size() == 0 ||
         row.clamp_readback.size() == static_cast<Eigen::Index>(info.clamped().size())));
  CHECK((row.theta_readback.size() == 0 ||
         row.theta_readback.size() == static_cast<Eigen::Index>(info.parameters.size())));
  CHECK((row.quality.terminal.empty() || row.quality.terminal.size() == static_cast<std::size_t>(read)));
  if (row.quality.usable()) CHECK(row.potential.allFinite());
  CHECK(row.timing.start <= row.timing.settled);
  CHECK(row.timing.settled <= row.timing.read);
}

// Terminals held at their free potentials stay there, and the currents of the holding sources are reported.
inline void check_holds(Device& device, const Drive& good, const Relaxation& settled,
                        const ContractOptions& options) {
  const DeviceInfo& info = device.info();
  const std::vector<std::uint32_t> read = info.read();
  Drive held = good;
  held.start = Present{};
  std::vector<std::size_t> position;
  bool all_measured = info.reads_every_free_potential();
  for (std::size_t k = 0; k < read.size(); ++k) {
    const Terminal& terminal = info.terminals[read[k]];
    const double level = settled.potential[static_cast<Eigen::Index>(k)];
    all_measured = all_measured && terminal.can_hold && terminal.reads_current;
    if (!terminal.can_hold || !terminal.level.contains(level)) continue;
    held.holds.push_back({read[k], level});
    position.push_back(k);
  }
  if (held.holds.empty()) return;
  const Relaxation row = device.relax(held);
  check_row(info, held, row);
  CHECK(row.quality.usable());
  for (std::size_t i = 0; i < position.size() && options.hold_tolerance >= 0; ++i) {
    INFO("held terminal " << info.terminals[held.holds[i].terminal].name);
    CHECK(std::abs(row.potential[static_cast<Eigen::Index>(position[i])] - held.holds[i].level) <=
          options.hold_tolerance);
    if (all_measured && held.holds.size() == read.size())
      CHECK(std::abs(row.current[held.holds[i].terminal]) <= options.held_current);
  }
}

// Misuse throws before anything is imposed, also if only the last of several drives is wrong.
template <class Error = std::invalid_argument>
void check_refused(Device& device, const Drive& good, const Drive& bad, const std::string& message) {
  INFO("expected in the message: " << message);
  const std::vector<Drive> drives{good, bad};
  std::size_t delivered = 0;
  std::string said;
  bool right_type = false;
  try {
    device.relax(drives, [&](std::size_t, const Relaxation&) { ++delivered; });
  } catch (const Error& error) {
    right_type = true;
    said = error.what();
  } catch (const std::exception& error) {
    said = error.what();
  }
  INFO("said: " << said);
  CHECK(right_type);
  CHECK(said.find("drive 1") != std::string::npos);
  CHECK(said.find(message) != std::string::npos);
  CHECK(delivered == 0);
}

inline void check_misuse(Device& device, const Drive& good) {
  const DeviceInfo& info = device.info();
  Drive bad = good;
  bad.theta.base = nullptr;
  check_refused(device, good, bad, "no parameters");
  bad = good;
  bad.theta = Parameters::of(Vector::Zero(good.theta.base->size() + 1));
  check_refused(device, good, bad, "the device has " + std::to_string(info.parameters.size()));
  if (!info.parameters.empty()) {
    bad = good;
    bad.theta = good.theta.with(0, std::numeric_limits<double>::quiet_NaN());
    check_refused(device, good, bad, info.parameters[0].name);
  }
  bad = good;
  bad.clamp.set = nullptr;
  check_refused(device, good, bad, "no input pattern");
  bad = good;
  bad.clamp.row = good.clamp.set->rows();
  check_refused(device, good, bad, "row");
  bad = good;
  bad.clamp = pattern_of(Vector::Zero(good.clamp.set->width() + 1));
  check_refused(device, good, bad, "clamped terminals");
  bad = good;
  bad.observe = At{0, 1};
  check_refused(device, good, bad, "time 0");
  bad = good;
  bad.start = Rest{0};
  check_refused(device, good, bad, "rest rate 0");
  bad = good;
  bad.nudge = Vector::Zero(static_cast<Eigen::Index>(info.nudgeable().size()) + 1);
  check_refused(device, good, bad, "nudge");
  for (std::uint32_t i = 0; i < info.terminals.size(); ++i) {
    if (info.terminals[i].clamped || info.terminals[i].can_hold) continue;
    bad = good;
    bad.holds = {{i, 0}};
    check_refused<Unsupported>(device, good, bad, info.terminals[i].name);
    break;
  }
  bad = good;
  bad.start =
      From{std::make_shared<const Vector>(Vector::Zero(static_cast<Eigen::Index>(info.free().size()) + 1))};
  if (info.restores_state) {
    check_refused(device, good, bad, "free nodes");
  } else {
    check_refused<Unsupported>(device, good, bad, "restore");
  }
}

inline void check_stop(Device& device, const Drive& good, bool half_way) {
  const std::vector<Drive> drives(3, good);
  std::stop_source stop;
  std::size_t delivered = 0;
  if (half_way) {
    try {
      device.relax(
          drives,
          [&](std::size_t, const Relaxation&) {
            ++delivered;
            stop.request_stop();
          },
          stop.get_token());
      CHECK(delivered == drives.size());
    } catch (const Cancelled&) {
      CHECK(delivered < drives.size());
    }
  }
  stop.request_stop();
  delivered = 0;
  CHECK_THROWS_AS(device.relax(
                      drives, [&](std::size_t, const Relaxation&) { ++delivered; }, stop.get_token()),
                  Cancelled);
  CHECK(delivered == 0);
}

/// Runs the whole contract. `good` is a drive from rest, read when settled, under which the device settles.
inline void check_device(Device& device, const Drive& good, const ContractOptions& options = {}) {
  const DeviceInfo& info = device.info();
  check_info(info);
  check_misuse(device, good);
  check_stop(device, good, options.cancels);

  // Order and shapes.
  device.seek(0);
  const std::vector<Drive> drives(3, good);
  std::vector<Relaxation> rows;
  device.relax(drives, [&](std::size_t index, const Relaxation& row) {
    CHECK(index == rows.size());
    rows.push_back(row);
  });
  REQUIRE(rows.size() == drives.size());
  for (const Relaxation& row : rows) {
    check_row(info, good, row);
    CHECK(row.quality.usable());
  }
  if (info.deterministic) CHECK(same_bits(rows[0].potential, rows[2].potential));
  if (options.repeatable_after_seek) {
    device.seek(1);
    CHECK(same_bits(device.relax(good).potential, rows[1].potential));
    device.seek(0);
    CHECK(same_bits(device.relax(good).potential, rows[0].potential));
  }

  // Without drives, relax returns at once.
  device.relax({}, [](std::size_t, const Relaxation&) { FAIL("a relaxation nobody asked for"); });

  // A restored state does not change under its own drive.
  if (info.restores_state && info.reads_every_free_potential() && options.restart_tolerance >= 0) {
    Drive again = good;
    again.start = From{std::make_shared<const Vector>(rows[0].potential)};
    const Relaxation row = device.relax(again);
    CHECK((row.potential - rows[0].potential).cwiseAbs().maxCoeff() <= options.restart_tolerance);
  }
  Drive present = good;
  present.start = Present{};
  check_row(info, present, device.relax(present));
  check_holds(device, good, rows[0], options);
  check_row(info, good, device.relax(good));  // and released again

  CHECK(device.make_safe(std::chrono::milliseconds(1000)).safe);
  CHECK(device.make_safe(std::chrono::milliseconds(1000)).safe);
}

}  // namespace ness::contract
