#include "ness/device/device.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"
#include "ness/device/vector_loops.hpp"

namespace ness {
namespace {

std::string terminal_text(const DeviceInfo& info, std::uint32_t terminal) {
  return "terminal " + std::to_string(terminal) + " (" + info.terminals[terminal].name + ")";
}

bool unbounded(const Range& range) {
  return std::isinf(range.low) && std::isinf(range.high) && range.low < range.high;
}

}  // namespace

// Ranges of the parameters. ParameterInfo objects are many and large, so neighbours with equal ranges are
// stored together, for all calls.
struct ParameterRanges {
  explicit ParameterRanges(const std::vector<ParameterInfo>& parameters)
      : of(parameters.data()), count(parameters.size()) {
    for (const ParameterInfo& parameter : parameters) {
      const Range& range = parameter.range;
      if (runs.empty() || runs.back().range.low != range.low || runs.back().range.high != range.high)
        runs.push_back({0, range});
      ++runs.back().count;
    }
  }
  bool are_of(const std::vector<ParameterInfo>& parameters) const {
    return of == parameters.data() && count == parameters.size();
  }
  bool contain(const Vector& values) const {
    const double* at = values.data();
    for (const Run& run : runs) {
      if (vector_loops::outside(run.count, at, run.range.low, run.range.high) > 0) return false;
      at += run.count;
    }
    return true;
  }

  struct Run {
    std::size_t count;
    Range range;
  };
  const ParameterInfo* of;
  std::size_t count;
  std::vector<Run> runs;
  std::weak_ptr<const Vector> passed;  // the last base found to be within them
};

namespace {

// Checks drives against one info. Objects shared by many drives of a call (the parameter base, a pattern) are
// checked once.
class DriveCheck {
 public:
  explicit DriveCheck(const DeviceInfo& info, ParameterRanges* ranges = nullptr)
      : info_(info), ranges_(ranges), clamped_(info.clamped()), nudgeable_(info.nudgeable()) {
    for (const std::uint32_t terminal : clamped_)
      levels_bounded_ = levels_bounded_ || !unbounded(info.terminals[terminal].level);
  }

  void operator()(const Drive& drive, const std::string& where) {
    theta(drive.theta, where);
    clamp(drive.clamp, where);
    holds(drive.holds, where);
    nudge(drive.nudge, where);
    start(drive.start, where);
    if (const At* at = std::get_if<At>(&drive.observe)) observe(*at, drive.start, where);
  }

 private:
  [[noreturn]] static void refuse(const std::string& where, const std::string& why) {
    throw std::invalid_argument(where + ": " + why);
  }
  [[noreturn]] static void unsupported(const std::string& where, const std::string& why) {
    throw Unsupported(where + ": " + why);
  }

  void parameter(std::size_t index, double value, const std::string& where) const {
    const ParameterInfo& parameter = info_.parameters[index];
    if (parameter.range.contains(value)) return;
    refuse(where, "parameter " + std::to_string(index) + " (" + parameter.name + ") is " +
                      number_text(value) + ", outside its range " + range_text(parameter.range));
  }

  bool within_ranges(const std::shared_ptr<const Vector>& base) const {
    if (!ranges_) return false;
    if (ranges_->passed.lock() == base) return true;
    if (!ranges_->contain(*base)) return false;
    ranges_->passed = base;
    return true;
  }

  void theta(const Parameters& theta, const std::string& where) {
    const std::size_t count = info_.parameters.size();
    if (!theta.base) refuse(where, "no parameters are given; the device has " + std::to_string(count));
    if (static_cast<std::size_t>(theta.base->size()) != count) {
      refuse(where, std::to_string(theta.base->size()) + " parameters are given; the device has " +
                        std::to_string(count));
    }
    if (theta.base.get() != last_base_ && !known_bases_.contains(theta.base.get())) {
      if (!within_ranges(theta.base)) {
        for (std::size_t i = 0; i < count; ++i)
          parameter(i, (*theta.base)[static_cast<Eigen::Index>(i)], where);
      }
      known_bases_.insert(theta.base.get());
    }
    last_base_ = theta.base.get();
    for (const auto& [index, value] : theta.overrides) {
      if (index >= count) {
        refuse(where, "override of parameter " + std::to_string(index) + "; the device has " +
                          std::to_string(count));
      }
      parameter(index, value, where);
    }
  }

  void clamp(const Pattern& pattern, const std::string& where) {
    if (!pattern.set) refuse(where, "no input pattern is given");
    if (pattern.set->width() != clamped_.size()) {
      refuse(where, "pattern set '" + pattern.set->name() + "' has " + std::to_string(pattern.set->width()) +
                        " levels a row; the device has " + std::to_string(clamped_.size()) +
                        " clamped terminals");
    }
    if (pattern.row >= pattern.set->rows()) {
      refuse(where, "row " + std::to_string(pattern.row) + " of pattern set '" + pattern.set->name() +
                        "', which has " + std::to_string(pattern.set->rows()) + " rows");
    }
    if (!levels_bounded_ || (pattern.set.get() == known_set_ && pattern.row == known_row_)) return;
    levels_.resize(static_cast<Eigen::Index>(clamped_.size()));
    pattern.set->levels(pattern.row, levels_);
    for (std::size_t i = 0; i < clamped_.size(); ++i) {
      const Range& range = info_.terminals[clamped_[i]].level;
      const double level = levels_[static_cast<Eigen::Index>(i)];
      if (range.contains(level)) continue;
      refuse(where, "level " + number_text(level) + " for " + terminal_text(info_, clamped_[i]) + " (row " +
                        std::to_string(pattern.row) + " of pattern set '" + pattern.set->name() +
                        "'), outside its range " + range_text(range));
    }
    known_set_ = pattern.set.get();
    known_row_ = pattern.row;
  }

  void holds(const std::vector<Hold>& holds, const std::string& where) const {
    for (std::size_t i = 0; i < holds.size(); ++i) {
      const Hold& hold = holds[i];
      if (hold.terminal >= info_.terminals.size()) {
        refuse(where, "hold of terminal " + std::to_string(hold.terminal) + "; the device has " +
                          std::to_string(info_.terminals.size()) + " terminals");
      }
      const Terminal& terminal = info_.terminals[hold.terminal];
      if (terminal.clamped)
        refuse(where, terminal_text(info_, hold.terminal) + " is clamped already; it cannot be held as well");
      if (!terminal.can_hold) unsupported(where, terminal_text(info_, hold.terminal) + " cannot be held");
      if (!std::isfinite(hold.level) || !terminal.level.contains(hold.level)) {
        refuse(where, "hold level " + number_text(hold.level) + " for " +
                          terminal_text(info_, hold.terminal) + ", outside its range " +
                          range_text(terminal.level));
      }
      for (std::size_t j = 0; j < i; ++j) {
        if (holds[j].terminal == hold.terminal)
          refuse(where, terminal_text(info_, hold.terminal) + " is held twice");
      }
    }
  }

  void nudge(const Vector& nudge, const std::string& where) const {
    if (nudge.size() == 0) return;
    if (static_cast<std::size_t>(nudge.size()) != nudgeable_.size()) {
      const std::string have = std::to_string(nudge.size()) + " nudge currents are given; ";
      if (nudgeable_.empty()) unsupported(where, have + "no terminal of the device can be nudged");
      refuse(where,
             have + "the device has " + std::to_string(nudgeable_.size()) + " terminals that can be nudged");
    }
    for (std::size_t i = 0; i < nudgeable_.size(); ++i) {
      const double current = nudge[static_cast<Eigen::Index>(i)];
      const Range& range = info_.terminals[nudgeable_[i]].nudge;
      // Zero is always allowed: it is the free phase, even if the range has only one sign.
      if (current == 0 || (std::isfinite(current) && range.contains(current))) continue;
      refuse(where, "nudge " + number_text(current) + " at " + terminal_text(info_, nudgeable_[i]) +
                        ", outside its range " + range_text(range));
    }
  }

  void observe(const At& at, const Start& start, const std::string& where) const {
    if (!(at.time > 0) || std::isinf(at.time)) {
      refuse(where, "read at time " + number_text(at.time) + "; a finite time > 0 is needed");
    }
    if (at.samples == 0) refuse(where, "read as the mean of 0 samples; at least 1 is needed");
    if (!(at.every >= 0) || std::isinf(at.every)) {
      refuse(where, "a reading every " + number_text(at.every) +
                        "; a finite time >= 0 is needed (0: as closely as can be)");
    }
    if (at.path && !info_.reads_path) unsupported(where, "the device does not keep single readings");
    if (at.samples == 1) return;
    switch (at.mode) {
      case At::Mode::serial:
        if (!info_.reads_serial)
          unsupported(where, "the device does not read several times in one relaxation");
        return;
      case At::Mode::repeat:
        if (!info_.reads_repeat)
          unsupported(where, "the device does not repeat a relaxation for each reading");
        if (at.every > 0)
          refuse(where,
                 "a reading every " + number_text(at.every) + ", repeated: that belongs to serial readings");
        if (std::holds_alternative<Present>(start)) {
          refuse(where,
                 "repeated readings from the present state: after the first it is another; start from rest");
        }
        return;
    }
  }

  void start(const Start& start, const std::string& where) const {
    if (const Rest* rest = std::get_if<Rest>(&start)) {
      if (!(rest->rate > 0))
        refuse(where, "rest rate " + number_text(rest->rate) + "; it must be > 0 (infinite: a step)");
      return;
    }
    const From* from = std::get_if<From>(&start);
    if (!from) return;
    if (!info_.restores_state)
      unsupported(where, "the device cannot start from a given state (it does not restore states)");
    if (!from->potential) refuse(where, "the start has no potentials");
    const std::size_t free_count = info_.terminals.size() - clamped_.size();
    if (static_cast<std::size_t>(from->potential->size()) != free_count) {
      refuse(where, "the start has " + std::to_string(from->potential->size()) +
                        " potentials; the device has " + std::to_string(free_count) + " free nodes");
    }
    for (Eigen::Index i = 0; i < from->potential->size(); ++i) {
      if (std::isfinite((*from->potential)[i])) continue;
      refuse(where, "potential " + std::to_string(i) + " of the start is " +
                        number_text((*from->potential)[i]) + "; it must be finite");
    }
  }

  const DeviceInfo& info_;
  ParameterRanges* ranges_;
  std::vector<std::uint32_t> clamped_, nudgeable_;
  bool levels_bounded_ = false;
  // Drives keep their bases alive, so within a call an address identifies a vector.
  std::unordered_set<const Vector*> known_bases_;
  const Vector* last_base_ = nullptr;
  const PatternSet* known_set_ = nullptr;
  std::uint64_t known_row_ = 0;
  Vector levels_;
};

template <class Condition>
std::vector<std::uint32_t> indices_where(const std::vector<Terminal>& terminals, Condition condition) {
  std::vector<std::uint32_t> found;
  for (std::uint32_t i = 0; i < terminals.size(); ++i) {
    if (condition(terminals[i])) found.push_back(i);
  }
  return found;
}

}  // namespace

std::vector<std::uint32_t> DeviceInfo::clamped() const {
  return indices_where(terminals, [](const Terminal& t) { return t.clamped; });
}

std::vector<std::uint32_t> DeviceInfo::free() const {
  return indices_where(terminals, [](const Terminal& t) { return !t.clamped; });
}

std::vector<std::uint32_t> DeviceInfo::read() const {
  return indices_where(terminals, [](const Terminal& t) { return !t.clamped && t.reads_potential; });
}

std::vector<std::uint32_t> DeviceInfo::nudgeable() const {
  return indices_where(terminals, [](const Terminal& t) { return !t.clamped && !t.nudge.empty(); });
}

std::vector<std::uint32_t> DeviceInfo::output_positions() const {
  std::vector<std::int64_t> position(terminals.size(), -1);
  std::int64_t next = 0;
  for (const std::uint32_t terminal : read()) position[terminal] = next++;
  std::vector<std::uint32_t> found;
  for (const std::uint32_t output : outputs) {
    if (output >= terminals.size()) {
      throw Unsupported("output terminal " + std::to_string(output) + "; the device has " +
                        std::to_string(terminals.size()) + " terminals");
    }
    if (position[output] < 0)
      throw Unsupported("output " + terminal_text(*this, output) + " has no potential reading");
    found.push_back(static_cast<std::uint32_t>(position[output]));
  }
  return found;
}

bool DeviceInfo::reads_every_free_potential() const {
  for (const Terminal& terminal : terminals) {
    if (!terminal.clamped && !terminal.reads_potential) return false;
  }
  return true;
}

void check_drive(const DeviceInfo& info, const Drive& drive, const std::string& where) {
  DriveCheck check(info);
  check(drive, where);
}

void Device::relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  if (drives.empty()) return;
  if (!ranges_ || !ranges_->are_of(info().parameters))
    ranges_ = std::make_shared<ParameterRanges>(info().parameters);
  DriveCheck check(info(), ranges_.get());
  for (std::size_t i = 0; i < drives.size(); ++i) check(drives[i], "drive " + std::to_string(i));
  deliver(drives, sink, stop);
}

void Device::deliver(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  if (stop.stop_requested()) throw Cancelled();
  std::size_t expected = 0;
  const Sink in_order = [&](std::size_t index, const Relaxation& relaxation) {
    if (index != expected || index >= drives.size()) {
      throw std::logic_error("device '" + info().identity + "' delivered relaxation " +
                             std::to_string(index) + " where " + std::to_string(expected) + " of " +
                             std::to_string(drives.size()) + " was due");
    }
    ++expected;
    sink(index, relaxation);
  };
  do_relax(drives, in_order, stop);
  if (expected == drives.size()) return;
  if (stop.stop_requested()) throw Cancelled();
  throw std::logic_error("device '" + info().identity + "' delivered " + std::to_string(expected) + " of " +
                         std::to_string(drives.size()) + " relaxations");
}

Relaxation Device::relax(const Drive& drive) {
  Relaxation result;
  relax({&drive, 1}, [&](std::size_t, const Relaxation& relaxation) { result = relaxation; });
  return result;
}

const char* to_string(SafeProfile profile) {
  switch (profile) {
    case SafeProfile::stop: return "stop";
    case SafeProfile::cancel: return "cancel";
    case SafeProfile::emergency: return "emergency";
  }
  return "unknown";
}

std::string SafeReport::message() const {
  if (safe && stuck.empty()) return "safe";
  // Entries are "channel at level: why"; entries with the same reason are joined.
  std::string all = "NOT SAFE", reason;
  for (std::size_t i = 0; i < stuck.size(); ++i) {
    const std::size_t colon = std::min(stuck[i].find(": "), stuck[i].size());
    const std::string why = stuck[i].substr(colon);
    if (i > 0) all += why == reason ? ", " : reason + "; ";
    else all += ": ";
    all += stuck[i].substr(0, colon);
    reason = why;
  }
  return all + reason;
}

SafeReport Device::make_safe(std::chrono::milliseconds budget, SafeProfile profile) noexcept {
  SafeReport failed;
  failed.safe = false;
  try {
    return do_make_safe(budget, profile);
  } catch (const std::exception& error) {
    try {
      failed.stuck.push_back(std::string("making safe failed: ") + error.what());
    } catch (...) {  // out of memory: only the flag can report it
    }
  } catch (...) {
    try {
      failed.stuck.emplace_back("making safe failed for an unknown reason");
    } catch (...) {}
  }
  return failed;
}

SafeReport Device::do_make_safe(std::chrono::milliseconds, SafeProfile) { return {}; }

}  // namespace ness
