// Bench files: instruments, and what their channels are wired to. TOML, read strictly.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ness/protocols/resource_name.hpp"
#include "ness/sim/circuit.hpp"
#include "ness/sim/emulated_instrument.hpp"

namespace ness {

/// Models, by the names they have in bench files.
enum class InstrumentModel : std::uint8_t { keithley_2400, keysight_34970a, keysight_daq970a, agilent_34401a, keysight_34461a, qdac2 };
const std::vector<std::pair<std::string, InstrumentModel>>& instrument_models();
const std::string& to_string(InstrumentModel model);

/// [instruments.NAME]
struct BenchInstrument {
  std::string name;
  InstrumentModel model = InstrumentModel::keithley_2400;
  /// Where it is. None: only emulated, on a TCP port.
  std::optional<protocols::ResourceName> address;
};

/// [wiring.NAME]: one channel of one instrument, and the node it leads to, or the parameter its voltage sets.
struct BenchWire {
  std::string name;
  std::size_t instrument = 0;      ///< index into BenchFile::instruments
  std::uint32_t channel = 1;
  std::optional<std::uint32_t> node;
  double lead = 1;                 ///< ohms
  std::string parameter;           ///< "a[0]"; empty: a node
  double per_volt = 1, offset = 0; ///< parameter = offset + per_volt x voltage
};

/// [emulation]: the circuit that stands in for the sample, and how far the instruments are from ideal ones.
struct EmulationOptions {
  sim::NetworkSpec network;
  double capacity = 1e-9;          ///< F, of every node
  sim::Imperfection imperfection;  ///< of all; each has its own number
};

struct BenchFile {
  std::string path, title;
  sim::CircuitScale scale;
  std::vector<BenchInstrument> instruments;
  std::vector<BenchWire> wiring;
  std::optional<EmulationOptions> emulation;
};

/// Reads a bench file. Throws FileError, one line: file, line, key, what was expected and what was found: also for a channel wired
/// twice, an instrument nothing is wired to, a node or parameter the network has not.
BenchFile load_bench(const std::string& path, const std::vector<std::string>& set = {});

}  // namespace ness
