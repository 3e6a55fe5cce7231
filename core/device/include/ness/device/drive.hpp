// A drive: everything imposed on a device during one relaxation.
//
// All that is imposed are fields of one value, so nothing can be forgotten, reordered or stale.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "ness/device/pattern.hpp"
#include "ness/device/vector.hpp"

namespace ness {

/// The parameter vector imposed, [n_parameters], in device coordinates: a base by reference and what differs
/// from it.
struct Parameters {
  std::shared_ptr<const Vector> base;
  std::vector<std::pair<std::uint32_t, double>> overrides;  ///< (index, value); the last of an index counts
  std::uint64_t digest = 0;                                 ///< of base

  /// Shares `theta` and digests it once.
  static Parameters of(Vector theta);
  /// A copy of these with one more override.
  Parameters with(std::uint32_t index, double value) const;
  /// The full vector, overrides applied.
  Vector values() const;
  double operator[](std::uint32_t index) const;
};

/// A terminal that is normally free, held at a level (kT) in this relaxation.
struct Hold {
  std::uint32_t terminal = 0;
  double level = 0;
  bool operator==(const Hold&) const = default;
};

/// From rest: every free node at its rest potential, then the drive is imposed. With a finite rate, clamped
/// levels move from 0 to their values at `rate` (kT per unit time), all at once; infinite: they step.
struct Rest {
  double rate = std::numeric_limits<double>::infinity();
};
/// From whatever state the device is in.
struct Present {};
/// From a restored state: the potentials of all free nodes, [n_free]. Only where DeviceInfo::restores_state.
struct From {
  std::shared_ptr<const Vector> potential;
};
using Start = std::variant<Rest, Present, From>;

/// Read when settled.
struct Settled {};
/// Read at a time after the start (units of the device's time), settled or not; the mean of `samples`
/// readings.
///
/// serial: the readings follow one another in one relaxation, the first at `time`, then one every `every` (0:
/// as closely as the device reads). repeat: each reading is at `time` of a relaxation of its own, which
/// starts as the drive says (from rest, or from a restored state): readings that do not depend on one
/// another. A device states which it offers (DeviceInfo).
struct At {
  enum class Mode : std::uint8_t { serial, repeat };
  double time = 0;
  std::uint32_t samples = 1;
  double every = 0;  ///< between serial readings, units of the device's time
  Mode mode = Mode::serial;
  bool path = false;  ///< every reading is kept beside their mean: Relaxation::path
  bool operator==(const At&) const = default;
};
using Observe = std::variant<Settled, At>;

/// Who asked for a relaxation: not imposed, but logged with it.
struct Label {
  enum class Purpose : std::uint8_t { none, train, validation, test, probe };
  Purpose purpose = Purpose::none;
  std::uint32_t position = 0;  ///< in its chain: 0 is the free relaxation
  std::uint64_t step = 0;      ///< the training step it belongs to
  std::uint64_t sample = 0;    ///< index of the sample in its data set
};

/// Everything imposed during one relaxation.
struct Drive {
  Parameters theta;
  Pattern clamp;            ///< levels of the clamped terminals
  std::vector<Hold> holds;  ///< further terminals held
  Vector nudge;  ///< [n_nudgeable] injected currents u, into the network positive; empty means all zero
  Start start = Rest{};
  Observe observe = Settled{};
  Label label;
};

}  // namespace ness
