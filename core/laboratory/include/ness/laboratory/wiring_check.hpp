// Checks the wiring of a bench before training: each source is stepped a little, alone, and the changes of
// all readings are compared with those of the simulated network (the twin).
//
// Where all potentials are equal, a wrong cable cannot be detected: a gate changes nothing there, and the
// gates of all edges into one node have the same effect. The sources are therefore stepped around several
// operating points, chosen with the twin so that an exchange of any two cables can be detected. The changes
// of all readings at all points are the channel's *row*. A row may be stronger or weaker than the twin's by a
// stated share, since a twin is approximate; its pattern may not differ.
//
// Sources that hold free terminals on demand are checked last: the held terminal must follow its level, no
// other may follow as much, and the current must fit the twin's conductance.
//
// An exchanged cable also moves the operating point, and with it the rows of all channels. Rows are therefore
// not compared one by one: where some do not fit, the twin is computed with two cables exchanged, a sign
// reversed or a gain wrong; the single mistake that explains most of the measurement is reported, then the
// next.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/device/device.hpp"

namespace ness {

/// A source and its cable. value = offset + gain x level, in kT or in the parameter's unit; a cable in the
/// wrong place carries the level there.
struct WiringChannel {
  std::string name;
  /// Exactly one: the clamped terminal it holds, the parameter it sets
  std::optional<std::uint32_t> terminal, parameter;
  Range tiny;       ///< levels the check may use
  double safe = 0;  ///< the level at rest, in `tiny`
  double gain = 1, offset = 0;
  std::string plug = "";  ///< cables may be mistaken for one another within one kind of plug
};

/// A source that holds a free terminal where a drive asks for it, and is off otherwise.
struct WiringHolder {
  std::string name;
  std::uint32_t terminal = 0;  ///< that can be held, and whose potential is read
  double step = 0.1;           ///< kT either way from where the terminal rests
};

struct WiringCheckOptions {
  std::vector<WiringChannel> channels;
  std::vector<WiringHolder> holders;  ///< checked last, and only if all else is right
  std::vector<std::string> readings;  ///< names of what is read, [n_read]; empty: the terminals'
  /// Returns false for levels of all channels that must not be imposed together; empty: all may be. Called
  /// for each channel's steps around an operating point.
  std::function<bool(const Vector& levels)> allowed;
  std::uint64_t seed = 0;           ///< of the operating points that are tried
  std::size_t points = 4;           ///< operating points at most
  std::size_t tries = 24;           ///< from which they are chosen
  std::size_t repeats = 3;          ///< measurements of a row, at most, until it is clear of noise
  std::size_t noise_readings = 16;  ///< single readings at rest
  double gain_tolerance = 0.5;  ///< a gain may be (1 + this) times too large or too small, also per reading
  /// Part of a row that may be out of proportion to the twin's, as a share of its length
  double pattern_tolerance = 0.5;
  /// Error of the twin's patterns: smaller differences, as a share of a row, decide nothing
  double roughness = 0.1;
  double cross_talk = 0.25;  ///< change of a reading beyond the twin's, as a share of the row's largest entry
  /// kT: length of the shortest row that is judged; raised to what can be seen above noise
  double visible = 3e-3;
  /// Largest current into a source at rest that is accepted, units of current; 0: not checked
  double leakage = 0;
  double short_conductance = 100;  ///< units of current per kT: with more at its terminal a source is shorted
  double open_conductance = 1e-3;  ///< with less its cable is open
  double shortest = 1e-6;          ///< time of the first reading after a step; the device's time unit
  double longest = 60;             ///< time after a step for which its response is followed, at most
  /// Empty if usable; otherwise the reason.
  std::string problem(const DeviceInfo& bench) const;
};

/// The finding for a channel or a reading: the first that applies.
enum class WiringVerdict : std::uint8_t {
  right,
  exchanged,  ///< it responds as another one should
  wrong_sign,
  wrong_gain,
  silent,       ///< no reading changes: open
  limited,      ///< in compliance, or shorted
  cross_talk,   ///< a reading responds that should not
  unexplained,  ///< no single mistake explains the response
  not_judged,   ///< hidden by the fault of another
  not_visible,  ///< within the tiny limits the twin expects no response
};
const char* to_string(WiringVerdict verdict);

struct ChannelReport {
  std::string name;
  WiringVerdict verdict = WiringVerdict::right;
  std::string of;                     ///< exchanged: the channel in whose place its cable is
  std::vector<std::string> answered;  ///< readings that moved with it, the strongest first
  double strength = 0, expected = 0;  ///< length of the row and of the twin's, kT
  double gain = 0;                    ///< measured over expected, signed; 0 where nothing was expected
  double error = 0;                   ///< standard error of `strength`
  double misfit = 0;                  ///< part of the row that is out of proportion to the twin's, as a share
  /// At the source's terminal, units of current per kT, where currents are measured
  std::optional<double> conductance;
};

struct ReadingReport {
  std::string name;
  WiringVerdict verdict = WiringVerdict::right;
  std::string of;
  double offset = 0, offset_error = 0;  ///< mean reading at rest minus the twin's at the levels read back; kT
  double noise = 0;                     ///< standard deviation of one reading, kT
};

/// The response of a reading to a step of an input or of a gate.
struct StepResponse {
  std::string channel, reading;
  double change = 0;          ///< kT, from settled to settled
  std::optional<double> tau;  ///< slowest time constant seen
  /// Upper bound of tau where it was not seen: the reading had settled before the first sample
  double bound = 0;
};

struct WiringReport {
  std::vector<ChannelReport> channels;  ///< the holders follow, where they were looked at
  std::vector<ReadingReport> readings;
  std::vector<StepResponse> steps;
  std::vector<std::string> failures, warnings;  ///< one line each
  /// Pairs of channels whose rows agree at all operating points within the tiny limits: an exchange of their
  /// cables is not detected.
  std::vector<std::pair<std::string, std::string>> undecided;
  std::uint64_t relaxations = 0;
  bool passed() const { return failures.empty(); }
  /// The slowest time constant seen, and the largest bound of those not seen; 0 where there is none.
  double tau() const, tau_bound() const;
  double noise() const;  ///< the largest of all readings
};

/// Checks `bench` against `twin`, a device with the same terminals and parameters that responds as the bench
/// should, starting from rest. `theta`: the parameters at rest, [n_parameters]; for parameters set by
/// channels WiringChannel::safe holds instead. Leaves the bench at rest (every channel at its safe level),
/// but does not make it safe. Throws std::invalid_argument for unusable options, what the devices throw, and
/// Cancelled where `stop` was requested.
WiringReport check_wiring(Device& bench, Device& twin, const Vector& theta, const WiringCheckOptions& options,
                          std::stop_token stop = {});

}  // namespace ness
