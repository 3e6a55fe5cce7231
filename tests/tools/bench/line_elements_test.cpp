#include "ness/files/line_elements.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numbers>

#include "ness/bench/emulation.hpp"
#include "ness/device/error.hpp"

using namespace ness;

namespace {

// A source-meter and a scanner at the two ends of 40 kohm; `source` and `meter` are added to their wires.
BenchFile bench_of(const std::string& source, const std::string& meter, const std::string& instrument = "") {
  std::string pattern = (std::filesystem::temp_directory_path() / "ness-lines-XXXXXX").string();
  const std::filesystem::path directory = ::mkdtemp(pattern.data());
  std::ofstream(directory / "resistor.json") << R"({"nodes": [{"clamped": true}, {"g": 1}],
    "edges": [{"source": 0, "target": 1, "law": "linear", "G": 1}], "outputs": [1]})";
  std::ofstream(directory / "bench.toml") << "[instruments.source]\nmodel = \"keithley-2400\"\n"
                                          << instrument << R"(
[instruments.meter]
model = "keysight-daq970a"
[instruments.dac]
model = "qdac-ii"
[wiring.drive]
instrument = "source"
node = 0
lead = 2.0
)" << source << "\n[wiring.read]\ninstrument = \"meter\"\nchannel = 101\nnode = 1\nlead = 3.0\n"
                                          << meter << R"(
[wiring.gate]
instrument = "dac"
channel = 1
parameter = "G[0]"
per_volt = 1.0
offset = 1.0
[emulation]
network = "resistor.json"
errors = false
)";
  struct Removed {
    std::filesystem::path path;
    ~Removed() { std::filesystem::remove_all(path); }
  } removed{directory};
  return load_bench((directory / "bench.toml").string());
}

std::string refusal(const std::string& source, const std::string& meter, const std::string& instrument = "") {
  try {
    bench_of(source, meter, instrument);
  } catch (const FileError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("line elements are read from a wire, and reckoned with", "[line]") {
  const BenchFile plain = bench_of("", "");
  const LineScale nothing = line_scale(plain.wiring[0], drivers::Role::source_meter);
  CHECK_FALSE(plain.wiring[0].elements.any());
  CHECK(nothing.gain == 1);
  CHECK(nothing.volts == 0);
  CHECK(nothing.resistance == 2);
  CHECK(std::isinf(line_scale(plain.wiring[1], drivers::Role::scanner).resistance));

  const BenchFile divided =
      bench_of("divider = [9e3, 1e3]\nseries = 100.0\nshunt_capacity = 1e-6\ngain = 2.0\nvolts = 0.5",
               "divider = [9e6, 1e6]");
  const LineScale source = line_scale(divided.wiring[0], drivers::Role::source_meter);
  CHECK(source.gain == Approx(0.2));  // a tenth, twice
  CHECK(source.volts == 0.5);
  CHECK(source.resistance == Approx(2 + 100 + 900));
  CHECK(source.time_constant == Approx(1000 * 1e-6));
  CHECK(source.amperes_per_volt == 0);
  const LineScale meter = line_scale(divided.wiring[1], drivers::Role::scanner);
  CHECK(meter.gain == Approx(10));
  CHECK(meter.resistance == Approx(10e6 + 3));

  const BenchFile amplified =
      bench_of("", "preamplifier = {gain = -1e6, input = 47.0, bandwidth = 1e3, offset = 0.01}");
  const LineScale current = line_scale(amplified.wiring[1], drivers::Role::scanner);
  CHECK(current.amperes_per_volt == -1e-6);
  CHECK(current.zero == 0.01);
  CHECK(current.resistance == 50);
  // 1 uA into the input: 50 uV at the node, -1 V + 10 mV at the output.
  CHECK(current.volts + current.gain * (-1 + 0.01) == Approx(50e-6));
  CHECK(current.time_constant == Approx(1 / (2 * std::numbers::pi * 1e3)));
}

TEST_CASE("what the laboratory's side reckons with is what the emulated circuit does", "[line]") {
  const BenchFile file = bench_of("divider = [9e3, 1e3]", "divider = [1e7, 1e7]");
  const Emulation emulation = emulate(file);
  sim::Circuit& circuit = emulation.bench->circuit();
  circuit.drive(0, {sim::PortState::Kind::voltage, 1.0});
  circuit.advance(0.1);
  const LineScale source = line_scale(file.wiring[0], drivers::Role::source_meter),
                  meter = line_scale(file.wiring[1], drivers::Role::scanner);
  // The edge, and the leak of one unit parallel to the meter's load: 25 uS each.
  const double load = 40e3 + 1 / (25e-6 + 1 / meter.resistance),
               I = (source.volts + source.gain * 1.0) / (source.resistance + load);
  CHECK(circuit.node_voltage(0) == Approx(I * load).epsilon(1e-8));
  // except for the 3 ohms of the lead
  CHECK(meter.volts + meter.gain * circuit.voltage(1) == Approx(circuit.node_voltage(1)).epsilon(1e-6));
}

TEST_CASE("line elements that do not belong there are refused, with file, line and key", "[line]") {
  using Catch::Contains;
  CHECK_THAT(refusal("divider = [0.0, 1.0]", ""),
             Contains("wiring.drive.divider") && Contains("R1 in the signal's way"));
  CHECK_THAT(refusal("divider = 3.0", ""), Contains("divider"));
  CHECK_THAT(refusal("series = 0.0", ""), Contains("series"));
  CHECK_THAT(refusal("shunt_capacity = 1e-9", ""), Contains("shunt_capacity") && Contains("no low-pass"));
  CHECK_THAT(refusal("preamplifier = {gain = 1e6}", ""),
             Contains("meter or scanner") && Contains("keithley-2400"));
  CHECK_THAT(refusal("", "preamplifier = {input = 10.0}"), Contains("gain = V/A"));
  CHECK_THAT(refusal("", "preamplifier = {gain = 0.0}"), Contains("other than 0"));
  CHECK_THAT(refusal("", "preamplifier = {gain = 1e6, band = 10.0}"), Contains("band"));
  CHECK_THAT(refusal("", "preamplifier = {gain = 1e6}\ndivider = [1.0, 1.0]"), Contains("nothing to divide"));
  CHECK_THAT(refusal("series = 10.0", "", "four_wire = true"), Contains("senses at the node"));
  CHECK_THAT(refusal("",
                     "[wiring.other]\ninstrument = \"dac\"\nchannel = 2\nparameter = \"G[0]\"\nper_volt = "
                     "1.0\nseries = 10.0"),
             Contains("wiring.other.series") && Contains("per_volt"));
  CHECK(refusal("divider = [9e3, 1e3]", "preamplifier = {gain = 1e6}\nseries = 10.0") == "accepted");
}
