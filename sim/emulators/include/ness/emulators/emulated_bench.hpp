// Emulated instruments at one circuit, moved through time together.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "ness/emulators/circuit.hpp"
#include "ness/emulators/emulated_instrument.hpp"

namespace ness::sim {

/// Instruments that share a circuit, moved through time together.
class EmulatedBench {
 public:
  explicit EmulatedBench(std::unique_ptr<Circuit> circuit) : circuit_(std::move(circuit)) {}
  Circuit& circuit() { return *circuit_; }
  EmulatedInstrument& add(std::unique_ptr<EmulatedInstrument> instrument);
  double time() const { return circuit_->time(); }
  double next_event() const;
  /// Follows circuit and instruments to `t`: every event at its own time, in order; at one time in the order
  /// they were added.
  void advance(double t);

 private:
  std::unique_ptr<Circuit> circuit_;
  std::vector<std::unique_ptr<EmulatedInstrument>> instruments_;
};

}  // namespace ness::sim
