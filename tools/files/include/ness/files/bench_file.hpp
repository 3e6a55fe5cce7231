// Bench files: instruments, and what their channels are wired to. TOML, read strictly.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ness/laboratory/settling.hpp"
#include "ness/laboratory/wiring_check.hpp"
#include "ness/drivers/bench.hpp"
#include "ness/protocols/resource_name.hpp"
#include "ness/protocols/transport.hpp"
#include "ness/emulators/circuit.hpp"
#include "ness/emulators/emulated_instrument.hpp"
#include "ness/files/instrument_kind.hpp"

namespace ness {

/// [instruments.NAME]
struct BenchInstrument {
  std::string name;
  InstrumentKind kind;  ///< a copy of its model's row
  /// Where it is. None: only emulated, on a TCP port.
  std::optional<protocols::ResourceName> address;
  protocols::SerialSettings serial;
  std::string terminator = "\n";
  double timeout = 2;  ///< s to wait for a reply, beside what a measurement takes
  drivers::InstrumentSettings settings;

  drivers::Role role() const { return kind.role; }
};

/// [wiring.NAME]: one channel of one instrument, and the node it leads to, or the parameter its voltage sets.
struct BenchWire {
  std::string name;
  std::size_t instrument = 0;  ///< index into BenchFile::instruments
  std::uint32_t channel = 1;
  std::optional<std::uint32_t> node;
  double lead = 1;                  ///< ohms
  sim::LineElements elements;       ///< between instrument and lead
  std::string parameter;            ///< "a[0]"; empty: a node
  double per_volt = 1, offset = 0;  ///< parameter = offset + per_volt x voltage
  double gain = 1, volts = 0;    ///< of what stands between node and instrument: V (A) at the node = volts +
                                 ///< gain x level (or x reading)
  std::optional<Range> limits;   ///< V (A of a source of current), of a level
  double step = 0.1, rate = 10;  ///< V a ramp step, V/s
  std::array<drivers::SafeEntry, 3> safe;  ///< by SafeProfile
  bool read = false;                       ///< of a source-meter: its own voltage is the node's reading
  double tau_input = -1, tau_gate = -1;    ///< s, of a reading; < 0: that of [settle]
  std::optional<Range> nudge;              ///< currents to inject through this leak reference, in units
};

/// [limits.NAME]: low <= V of the first wire - V of the second <= high.
struct BenchDifference {
  std::string name, first, second;
  Range range;
};

/// [cross-talk.NAME]: a wire's voltage also changes the parameter of another wire.
struct BenchTalk {
  std::string name, from, to;
  double per_volt = 0;
};

/// [environment.NAME]: a reading of the surroundings.
struct BenchSurroundings {
  std::string name, unit;
  std::size_t instrument = 0;
  std::uint32_t channel = 1;
  double gain = 1, offset = 0;  ///< value = offset + gain x reading
  Range pause;                  ///< outside of it the run waits
};

/// [emulation]: the circuit that stands in for the sample, and how far the instruments are from ideal ones.
struct EmulationOptions {
  sim::NetworkSpec network;
  double capacity = 1e-9;          ///< F, of every node
  sim::Imperfection imperfection;  ///< of all; each has its own number
  bool leads = true;               ///< false: wires of 0.1 mohm, whatever they say
  bool links = true;               ///< virtual time too goes through sockets and pseudo-terminals
  // Mistakes to rehearse: the cables at the sample differ from [wiring]. Indices of wires.
  std::vector<std::pair<std::size_t, std::size_t>> swapped;  ///< pairs whose cables are exchanged
  std::vector<std::size_t> open;                             ///< leads that lead nowhere
  std::vector<std::size_t> shorted;                          ///< leads, with their nodes, that touch ground
};

/// [check]: how `ness check` moves and judges; levels in V.
struct CheckSettings {
  double share = 0.05;         ///< of its limits a level may move from its safe value, either way
  double leakage = 5e-7;       ///< A
  double short_circuit = 400;  ///< ohms: a source that sees less is shorted
  double longest = 0;          ///< s a step is followed at most; 0: the settle timeout
  WiringCheckOptions options;  ///< seed, tolerances and counts; no channels
};

struct BenchFile {
  std::string path, title;
  std::string text;  ///< the whole file, with what was set on the command line
  /// Where a key is, for messages: "bench.toml:12: key 'wiring.a-0.limits'", or the table that would hold it.
  std::function<std::string(const std::string& key)> place;
  sim::CircuitScale scale;
  double error_share = 0.05;                         ///< kT: what an instrument's error may come to
  std::vector<protocols::PrologixName> controllers;  ///< of GPIB boards
  std::vector<BenchInstrument> instruments;
  std::vector<BenchWire> wiring;
  std::vector<BenchTalk> cross_talk;
  std::vector<BenchSurroundings> environment;
  std::vector<BenchDifference> differences;
  /// The instrument of a wire.
  const BenchInstrument& instrument(const BenchWire& wire) const { return instruments[wire.instrument]; }
  SettleOptions settle;                            ///< kT
  double settle_timeout = 60, rest = 0, hold = 0;  ///< s
  std::uint64_t burst = 0;                         ///< readings that look for oscillation; 0: none do
  double burst_noise = 1e-2;                       ///< kT
  double pause_every = 1, pause_timeout = 600;     ///< s
  CheckSettings check;
  std::optional<EmulationOptions> emulation;
};

/// Reads a bench file. Throws FileError, one line: file, line, key, what was expected and what was found:
/// also for a channel wired twice, an instrument nothing is wired to, a node or parameter that the network
/// does not have. `kinds`: the models that may be named.
BenchFile load_bench(const std::string& path, const std::vector<std::string>& set = {},
                     std::span<const InstrumentKind> kinds = instrument_kinds());
/// The bench file that a log holds: `text`, of the file that was at `path`. `sample` stands in for the
/// network of [emulation], whose file need not be there any more. Throws as load_bench.
BenchFile bench_from_text(const std::string& text, const std::string& path, const sim::NetworkSpec& sample);

}  // namespace ness
