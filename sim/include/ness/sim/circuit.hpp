// A circuit: the network as a bench of instruments meets it, in volts, amperes and seconds.
//
// Every node is free and has a capacity; what is connected to it decides the rest. A source is a Norton leak (through its lead),
// or, in compliance, a current; a meter is a leak through its input resistance. Emulated instruments share one circuit, so that
// each loads what the others read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ness/sim/network.hpp"

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
  double level = 0;                                          ///< V or A (out of the instrument, into the node)
  double limit = std::numeric_limits<double>::infinity();    ///< compliance: |A| of a voltage source, |V| of a current source
  double shunt = 0;                                          ///< S to ground behind the lead: a meter's input
  bool operator==(const PortState&) const = default;
};

/// A change of what is imposed on a circuit.
struct CircuitChange {
  double time = 0;           ///< s
  bool parameter = false;    ///< a parameter, or a port
  std::size_t index = 0;     ///< of it
  PortState state;           ///< of the port, from now on
  double value = 0;          ///< of the parameter, from now on
};

class Circuit {
 public:
  /// `spec` in units of kT and unit current; its clamped nodes become free ones without a leak, whose potential is what is
  /// connected to them (a node without any leak has an insulation of 10 Pohm). `capacity` [nodes] in farads, > 0. Rests at t = 0 with every node at its mu_init. Throws
  /// std::invalid_argument.
  Circuit(NetworkSpec spec, const CircuitScale& scale, const std::vector<double>& capacity);
  ~Circuit();
  Circuit(const Circuit&) = delete;
  Circuit& operator=(const Circuit&) = delete;

  const Network& network() const;
  const CircuitScale& scale() const;
  double time() const;  ///< s

  /// Connects terminals to a node through a lead (ohms, > 0); open at first. Returns the port's number.
  std::size_t attach(std::uint32_t node, double lead);
  void drive(std::size_t port, const PortState& state);
  const PortState& driven(std::size_t port) const;

  /// Parameters in the network's own order and units (gates move these).
  void set_parameter(std::size_t index, double value);
  double parameter(std::size_t index) const;

  /// Told of every change of a port or parameter, as it happens: a record of what instruments did.
  void watch(std::function<void(const CircuitChange&)> watcher);

  /// Follows the circuit to time `t` (s), not before the present. Throws std::runtime_error if it cannot be followed.
  void advance(double t);

  double node_voltage(std::uint32_t node) const;
  double voltage(std::size_t port) const;   ///< V at the instrument's terminals, before the lead
  double current(std::size_t port) const;   ///< A out of the instrument
  bool limited(std::size_t port) const;     ///< in compliance
  /// Integrals since t = 0, of which differences are means over an aperture: V s at the node's end of the lead, V s at the
  /// terminals, A s.
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
