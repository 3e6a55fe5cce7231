// A circuit: the network as instruments on a bench see it, in volts, amperes and seconds.
//
// Every node is free and has a capacity; what is connected to it decides the rest. A source is a Norton leak
// (through its lead), or, in compliance, a current; a meter is a leak through its input resistance. Between
// an instrument and a node there may be line elements: dividers, low-passes, current preamplifiers. Emulated
// instruments share one circuit, so that each loads what the others read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ness/network/network.hpp"

namespace ness::sim {

/// What a potential of kT and a unit of current are on the bench.
struct CircuitScale {
  double volts_per_kT = 0.1;
  double amperes_per_unit = 2.5e-6;
  int carrier = 1;  ///< charge's sign: 1, or -1 for electrons, whose potential falls where the voltage rises
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};

/// What an instrument does at its terminals.
struct PortState {
  enum class Kind : std::uint8_t { open, voltage, current } kind = Kind::open;
  double level = 0;                                        ///< V or A (out of the instrument, into the node)
  double limit = std::numeric_limits<double>::infinity();  ///< compliance: |A| of a voltage source, |V| of a
                                                           ///< current source
  double shunt = 0;                                        ///< S to ground behind the lead: a meter's input
  bool operator==(const PortState&) const = default;
};

/// A change of what is imposed on a circuit.
struct CircuitChange {
  double time = 0;         ///< s
  bool parameter = false;  ///< a parameter, or a port
  std::size_t index = 0;   ///< of it
  PortState state;         ///< of the port, from now on
  double value = 0;        ///< of the parameter, from now on
};

/// Two resistors, ohms: `upper` in the signal's way, `lower` from their tap to ground.
struct Divider {
  double upper = 0, lower = 0;
};

/// A current preamplifier: the node's current flows through its input resistance into a virtual ground; its
/// output, which is what the instrument reads, is gain x that current (positive into it), through a low-pass
/// of first order, + offset.
struct Preamplifier {
  double gain = 1e6;                                           ///< V/A, of either sign
  double input = 10;                                           ///< ohms
  double bandwidth = std::numeric_limits<double>::infinity();  ///< Hz, at -3 dB; infinite: none
  double offset = 0;                                           ///< V at the output
};

/// What a signal passes between an instrument and a node, in this order: the divider, then the low-pass of
/// `series` and `shunt_capacity`, then the preamplifier. A source's signal goes from the instrument to the
/// node, a meter's from the node to the instrument.
struct LineElements {
  std::optional<Divider> divider;
  double series = 0;          ///< ohms
  double shunt_capacity = 0;  ///< F to ground behind `series`
  std::optional<Preamplifier> preamplifier;
  bool any() const { return divider || series > 0 || preamplifier; }
  /// Empty if usable; otherwise the reason: a number out of its range, a capacity without a resistor in front
  /// of it, a divider in front of a preamplifier.
  std::string problem() const;
};

/// Terminals, what stands between them and a node, and the lead (ohms, > 0) at the node's end.
struct Line {
  std::uint32_t node = 0;
  double lead = 1;
  bool reads = false;  ///< the signal goes from the node to the instrument; a preamplifier needs it
  LineElements elements;
};

class Circuit {
 public:
  /// `spec` in units of kT and unit current; its clamped nodes become free ones without a leak, whose
  /// potential is what is connected to them (a node without any leak has an insulation of 10 Pohm).
  /// `capacity` [nodes] in farads, > 0. `lines` are ports 0, 1, ..: the taps and capacitors of their elements
  /// are nodes of the circuit behind those of `spec`, which keep their numbers, as parameters keep their
  /// names. Rests at t = 0 with every node at its mu_init. Throws std::invalid_argument.
  Circuit(NetworkSpec spec, const CircuitScale& scale, const std::vector<double>& capacity,
          const std::vector<Line>& lines = {});
  ~Circuit();
  Circuit(const Circuit&) = delete;
  Circuit& operator=(const Circuit&) = delete;

  const Network& network() const;
  const CircuitScale& scale() const;
  double time() const;  ///< s

  /// Connects terminals to a node of `spec` through a lead (ohms, > 0) alone; open at first. Returns the
  /// port's number.
  std::size_t attach(std::uint32_t node, double lead);
  /// Behind a preamplifier there is nothing to drive: the state has to be open, and its shunt loads the
  /// output alone.
  void drive(std::size_t port, const PortState& state);
  const PortState& driven(std::size_t port) const;

  /// Parameters in the network's own order and units (gates move these).
  void set_parameter(std::size_t index, double value);
  double parameter(std::size_t index) const;

  /// Calls `watcher` with every change of a port or parameter, as it happens: a record of what instruments
  /// did.
  void watch(std::function<void(const CircuitChange&)> watcher);

  /// Follows the circuit to time `t` (s), not before the present. Throws std::runtime_error if it cannot be
  /// followed.
  void advance(double t);

  double node_voltage(std::uint32_t node) const;
  /// V at the instrument's terminals, before the line; of a preamplifier its output
  double voltage(std::size_t port) const;
  double current(std::size_t port) const;  ///< A out of the instrument; of a preamplifier out of its input
  bool limited(std::size_t port) const;    ///< in compliance
  /// Integrals since t = 0, of which differences are means over an aperture: V s at the far end of the lead
  /// (with elements: behind the first resistor), V s at the terminals, A s.
  double sensed_integral(std::size_t port) const;
  double voltage_integral(std::size_t port) const;
  double current_integral(std::size_t port) const;
  /// True since `when` if a port came into compliance at any moment after it.
  bool was_limited(std::size_t port, double when) const;

  /// Changes of boundaries, and steps of the integrator, so far.
  struct Cost {
    std::uint64_t boundaries = 0, steps = 0;
  };
  Cost cost() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ness::sim
