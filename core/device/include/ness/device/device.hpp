// The device: something that, given everything imposed on it, relaxes and is read.
//
// The simulated network, a bench of instruments and the replay of a log are devices; a training loop cannot
// tell them apart. To make one: derive from Device, return a DeviceInfo, and implement do_relax. relax() has
// checked every drive against the info before do_relax is called, so an implementation needs no checks of its
// own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/device/drive.hpp"
#include "ness/device/relaxation.hpp"

namespace ness {

/// A closed interval.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool contains(double x) const { return x >= low && x <= high; }  // false for NaN
  bool empty() const { return !(low < high); }
  bool operator==(const Range&) const = default;
};

/// A node reachable from outside, and what can be done with it. Capability is data.
struct Terminal {
  std::string name;
  bool clamped = false;         ///< an input: held in every relaxation by Drive::clamp
  Range level = {};             ///< levels it may be held at (kT)
  bool can_hold = false;        ///< a free terminal that Drive::holds may hold
  Range nudge{0, 0};            ///< currents that may be injected; empty: none. May be one-signed.
  bool reads_potential = true;  ///< free terminals: Relaxation::potential has a reading
  bool reads_current = false;
};

/// How a parameter is stepped: on its value, or on its logarithm (then it is positive).
enum class Scale : std::uint8_t { linear, log };

/// One entry of theta.
struct ParameterInfo {
  std::string name;  ///< unique, "gamma[3]"
  std::string kind;  ///< "gamma", "a", "b", "G", "Vf", "g", "mu_ref", ..
  std::string unit;  ///< "kT", "1"
  Range range;       ///< what the device can impose
  Scale scale = Scale::linear;
  bool trainable = true;   ///< false: a constant of the device
  std::int64_t edge = -1;  ///< the edge it belongs to, or -1
  std::int64_t node = -1;  ///< the node (leak) it belongs to, or -1
  double resolution = 0;   ///< smallest step its source can make; 0: none is known
};

/// Something of the surroundings that is read beside every relaxation: a temperature, a field, a leakage
/// current.
struct EnvironmentInfo {
  std::string name, unit;
  bool operator==(const EnvironmentInfo&) const = default;
};

/// What a device is and can do.
struct DeviceInfo {
  std::string identity;                ///< what stands behind it, for the log
  std::vector<Terminal> terminals;     ///< in node order
  std::vector<std::uint32_t> outputs;  ///< terminals whose potentials are the result, in readout order
  std::vector<ParameterInfo> parameters;
  std::vector<EnvironmentInfo> environment;  ///< of Relaxation::environment
  bool restores_state = false;               ///< Start may be From
  bool reads_serial = true;                  ///< Observe may be At with several serial readings
  bool reads_repeat = false;                 ///< Observe may be At with several repeated readings
  bool reads_path = false;                   ///< Observe may be At with `path`
  bool deterministic = false;                ///< the same drive from the same start gives the same bits
  /// A dot's current is a number of particles per time; the paper takes hbar = 1 (Eqs. D1, D11), so that
  /// gamma and currents are in units of kT/hbar, and times in units of hbar/kT.
  std::string potential_unit = "kT", current_unit = "kT/hbar", time_unit = "hbar/kT";
  std::string arithmetic;  ///< vector target of the arithmetic; equal bits are promised within one

  // Index lists, in terminal order. Each walks the terminals: keep the result where it is used often.
  std::vector<std::uint32_t> clamped() const;  ///< clamped terminals
  std::vector<std::uint32_t> free() const;     ///< all others
  /// Free terminals with a readable potential: Relaxation::potential
  std::vector<std::uint32_t> read() const;
  std::vector<std::uint32_t> nudgeable() const;  ///< terminals that Drive::nudge injects at
  /// For each output its position in Relaxation::potential. Throws Unsupported if an output is not read.
  std::vector<std::uint32_t> output_positions() const;
  bool reads_every_free_potential() const;
};

/// Throws std::invalid_argument (Unsupported where the device cannot do it at all) saying which field is
/// wrong, its value, and what is allowed. `where` begins the message, e.g. "drive 3".
void check_drive(const DeviceInfo& info, const Drive& drive, const std::string& where);

/// Ways to leave a device, each with levels, ramps and last acts of its own on a bench: the work is done;
/// someone asked to stop; something failed.
enum class SafeProfile : std::uint8_t { stop, cancel, emergency };
const char* to_string(SafeProfile profile);

/// What make_safe found.
struct SafeReport {
  bool safe = true;
  /// Channels that could not be brought to safety, each with its last known level
  std::vector<std::string> stuck;
  /// One line: "safe", or what is stuck where.
  std::string message() const;
};

struct ParameterRanges;

class Device {
 public:
  /// Receives relaxations in index order, on the caller's thread, as they happen.
  using Sink = std::function<void(std::size_t index, const Relaxation&)>;

  virtual ~Device() = default;
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// Its parameters stay what they are.
  virtual const DeviceInfo& info() const = 0;

  /// Relaxes under each drive, in order. All drives are checked before the first is imposed (misuse throws,
  /// nothing was switched on). Throws Cancelled if `stop` was requested before all were delivered; what was
  /// delivered stands.
  void relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop = {});
  /// One relaxation.
  Relaxation relax(const Drive& drive);

  /// Brings the device to a safe profile. Never throws; may be called again. `budget`: how long something
  /// that does not answer is waited for; what answers is brought to its end.
  SafeReport make_safe(std::chrono::milliseconds budget, SafeProfile profile = SafeProfile::stop) noexcept;

  /// The next relaxation is number `ordinal` of the experiment. Devices with counter-based noise draw from
  /// there; others need not care.
  virtual void seek(std::uint64_t ordinal) { static_cast<void>(ordinal); }

 protected:
  virtual void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) = 0;
  /// Relaxes another device under drives that this one's relax() has checked: for a device whose info() is
  /// the other's. Checking them anew would cost as much as logging them.
  static void pass_on(Device& to, std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
    to.deliver(drives, sink, stop);
  }
  virtual SafeReport do_make_safe(std::chrono::milliseconds budget, SafeProfile profile);

 private:
  void deliver(std::span<const Drive> drives, const Sink& sink, std::stop_token stop);
  std::shared_ptr<ParameterRanges> ranges_;  // of the parameters; made by the first relaxation
};

}  // namespace ness
