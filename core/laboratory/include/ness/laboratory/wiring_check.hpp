// Is everything wired as the files say? Before a bench is trained on, each source is moved alone, a little, and what answers is
// compared with what the simulated network (the twin) says should.
//
// A cable in the wrong place is not seen where every potential is equal: there a gate changes nothing, and gates of edges into one
// node all push that node alike. So the sources are moved around several operating points, which the twin chooses such that
// exchanging any two cables would show; what a channel does at all of them together is its *row*. A row may be stronger or
// weaker than the twin says, by the stated share: the twin of a real sample is rough. Its pattern may not differ.
//
// Sources that hold free terminals on demand are looked at last: a terminal that is held goes where its level goes, no other does as
// much, and what it takes is the twin's conductance.
//
// An exchanged cable also moves the operating point, and with it everybody's row. Rows are therefore not compared one by one: where
// some do not fit, the twin is driven as if two cables were exchanged, a sign turned, a gain wrong; the one mistake that explains
// what was measured is named, then the next.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/device/device.hpp"

namespace ness {

/// A source: something with a level on a cable. value = offset + gain x level, in kT or in the parameter's unit; a cable in the wrong
/// place carries its level there.
struct WiringChannel {
  std::string name;
  std::optional<std::uint32_t> terminal, parameter;  ///< exactly one: the clamped terminal it holds, the parameter it sets
  Range tiny;                   ///< levels the check may use
  double safe = 0;              ///< the level at rest, in `tiny`
  double gain = 1, offset = 0;
  std::string plug = "";        ///< cables may be mistaken for one another within one kind of plug
};

/// A source that holds a free terminal where a drive asks for it, and is off otherwise.
struct WiringHolder {
  std::string name;
  std::uint32_t terminal = 0;   ///< that can be held, and whose potential is read
  double step = 0.1;            ///< kT either way from where the terminal rests
};

struct WiringCheckOptions {
  std::vector<WiringChannel> channels;
  std::vector<WiringHolder> holders;   ///< looked at last, where all else is right
  std::vector<std::string> readings;   ///< names of what is read, [n_read]; empty: the terminals'
  /// False for levels of all channels that must not be imposed together; empty: all may. Asked with a channel at a time beside the
  /// operating point.
  std::function<bool(const Vector& levels)> allowed;
  std::uint64_t seed = 0;              ///< of the operating points that are tried
  std::size_t points = 4;              ///< operating points at most
  std::size_t tries = 24;              ///< from which they are chosen
  std::size_t repeats = 3;             ///< measurements of a row at most, until it is clear
  std::size_t noise_readings = 16;     ///< single readings at rest
  double gain_tolerance = 0.5;         ///< a gain may be (1 + this) times too large or too small, also per reading
  double pattern_tolerance = 0.5;      ///< what of a row may be in no proportion to the twin's, as a share of its length
  double roughness = 0.1;              ///< differences of a row's pattern below this share may be the twin's own error: no verdict is built on less
  double cross_talk = 0.25;            ///< answers of a reading beyond the twin's, as a share of the row's largest
  double visible = 3e-3;               ///< kT: a row below this, in all readings and points together, says nothing; raised to what the noise hides
  double leakage = 0;                  ///< current into a source at rest, where none should flow; units of current, 0: not judged
  double short_conductance = 100;      ///< units of current per kT: a source that sees more is shorted
  double open_conductance = 1e-3;      ///< and one that sees less leads nowhere
  double shortest = 1e-6;              ///< first time after a step at which is read; the device's time unit
  double longest = 60;                 ///< a step that takes longer is not followed to its end
  /// Empty if usable; otherwise the reason.
  std::string problem(const DeviceInfo& bench) const;
};

/// What a channel or a reading turned out to be. Also of the whole row where several things are wrong: the first that holds.
enum class WiringVerdict : std::uint8_t {
  right,
  exchanged,    ///< it answers as another
  wrong_sign,
  wrong_gain,
  silent,       ///< nothing answers: open
  limited,      ///< in compliance, or shorted
  cross_talk,   ///< a reading answers that should not
  unexplained,  ///< answers as no single mistake would make it
  not_judged,   ///< another's fault hides it
  not_visible,  ///< the twin expects no answer within the tiny limits
};
const char* to_string(WiringVerdict verdict);

struct ChannelReport {
  std::string name;
  WiringVerdict verdict = WiringVerdict::right;
  std::string of;                     ///< exchanged: whose place its cable is in
  std::vector<std::string> answered;  ///< readings that moved with it, the strongest first
  double strength = 0, expected = 0;  ///< length of the row and of the twin's, kT
  double gain = 0;                    ///< measured by expected, signed; 0 where nothing was expected
  double error = 0;                   ///< standard error of `strength`
  double misfit = 0;                  ///< what of the row is in no proportion to the twin's, as a share
  std::optional<double> conductance;  ///< of what a source sees, units of current per kT, where currents are measured
};

struct ReadingReport {
  std::string name;
  WiringVerdict verdict = WiringVerdict::right;
  std::string of;
  double offset = 0, offset_error = 0;  ///< mean at rest minus the twin's, at the levels that were read back; kT
  double noise = 0;                     ///< standard deviation of one reading, kT
};

/// How a reading follows a step of an input or of a gate.
struct StepResponse {
  std::string channel, reading;
  double change = 0;              ///< kT, from settled to settled
  std::optional<double> tau;      ///< slowest time constant seen
  double bound = 0;               ///< tau is at most this, where it was not seen: settled before there was a reading
};

struct WiringReport {
  std::vector<ChannelReport> channels;  ///< the holders follow, where they were looked at
  std::vector<ReadingReport> readings;
  std::vector<StepResponse> steps;
  std::vector<std::string> failures, warnings;  ///< one clear line each
  /// Pairs of channels that no operating point within the tiny limits told apart: an exchange of these would go unnoticed.
  std::vector<std::pair<std::string, std::string>> undecided;
  std::uint64_t relaxations = 0;
  bool passed() const { return failures.empty(); }
  /// The slowest time constant seen, and the largest bound of those not seen; 0 where there is none.
  double tau() const, tau_bound() const;
  double noise() const;  ///< the largest of all readings
};

/// Checks `bench` against `twin`: a device with the same terminals and parameters that answers as the bench should, from
/// rest. `theta`: the parameters at rest, [n_parameters]; those of channels count as WiringChannel::safe says.
/// It leaves the bench at rest (every channel at its safe level), not made safe. Throws std::invalid_argument for options that cannot be, and what the
/// devices throw; Cancelled where `stop` was requested.
WiringReport check_wiring(Device& bench, Device& twin, const Vector& theta, const WiringCheckOptions& options, std::stop_token stop = {});

}  // namespace ness
