#include "ness/files/bench_file.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "ness/bench/emulation.hpp"
#include "ness/device/error.hpp"
#include "ness/protocols/session.hpp"
#include "ness/bench/virtual_time_links.hpp"

using namespace ness;

namespace {

struct Scratch {
  std::filesystem::path path;
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ness-bench-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
    std::ofstream(path / "resistor.json") << R"({"nodes": [{"clamped": true}, {}],
    "edges": [{"source": 0, "target": 1, "law": "linear", "G": 1}], "outputs": [1]})";
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  std::string write(const std::string& text) const {
    std::ofstream(path / "bench.toml") << text;
    return (path / "bench.toml").string();
  }
};

const std::string good = R"([scale]
volts_per_kT = 0.1
amperes_per_unit = 2.5e-6
[instruments.source]
model = "keithley-2400"
address = "GPIB0::24::INSTR"
[instruments.dac]
model = "qdac-ii"
[wiring.left]
instrument = "source"
node = 0
lead = 2.0
[wiring.gate]
instrument = "dac"
channel = 3
parameter = "G[0]"
per_volt = 2.0
offset = 1.0
[emulation]
network = "resistor.json"
noise = false
)";

std::string refusal(const std::string& text, const std::vector<std::string>& set = {}) {
  const Scratch scratch;
  try {
    load_bench(scratch.write(text), set);
  } catch (const FileError& error) {
    return error.what();
  }
  return "accepted";
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  text.replace(text.find(from), from.size(), to);
  return text;
}

}  // namespace

TEST_CASE("a bench file becomes instruments, wires and a circuit") {
  const Scratch scratch;
  const BenchFile bench = load_bench(scratch.write(good), {"emulation.errors=false"});
  REQUIRE(bench.instruments.size() == 2);
  CHECK(bench.instruments[0].kind.name == "keithley-2400");
  CHECK(bench.instruments[0].role() == drivers::Role::source_meter);
  CHECK(to_string(*bench.instruments[0].address) == "GPIB0::24::INSTR");
  REQUIRE(bench.wiring.size() == 2);
  CHECK(bench.wiring[0].node == 0u);
  CHECK(bench.wiring[0].lead == 2);
  CHECK(bench.wiring[1].parameter == "G[0]");
  CHECK(bench.wiring[1].channel == 3);
  const Emulation emulation = emulate(bench);
  CHECK(emulation.instruments.size() == 2);
  CHECK(emulation.controllers.size() == 1);
  // The gate is at 0 V at rest: the conductance is its offset, not the network file's value.
  CHECK(emulation.bench->circuit().parameter(0) == Approx(1));
}

TEST_CASE("inputs load the circuit and wires have resistance, unless the file says not") {
  const Scratch scratch;
  // 0.5 V through a lead of 10 kohm, an edge of 40 kohm (one unit), and a node with a leak of one unit and a
  // meter of 10 Mohm.
  const std::string text = R"([instruments.source]
model = "keithley-2400"
[instruments.meter]
model = "agilent-34401a"
[wiring.left]
instrument = "source"
node = 0
lead = 1e4
[wiring.right]
instrument = "meter"
node = 1
lead = 1.0
[emulation]
network = "resistor.json"
noise = false
errors = false
quantised = false
)";
  std::ofstream(scratch.path / "resistor.json") << R"({"nodes": [{"clamped": true}, {"g": 1}],
    "edges": [{"source": 0, "target": 1, "law": "linear", "G": 1}], "outputs": [1]})";
  for (const bool loading : {true, false}) {
    for (const bool leads : {true, false}) {
      const BenchFile bench =
          load_bench(scratch.write(text), {std::string("emulation.loading=") + (loading ? "true" : "false"),
                                           std::string("emulation.leads=") + (leads ? "true" : "false")});
      const Emulation emulation = emulate(bench);
      VirtualTimeLinks links(bench, emulation);
      protocols::Session source(links.to(0), {}), meter(links.to(1), {});
      source.write("*RST;:SENS:CURR:PROT 1E-4;:SOUR:VOLT 0.5;:OUTP ON");
      source.wait_complete();
      meter.write("CONF:VOLT:DC 1");
      const double lead = leads ? 1e4 : 1e-4, input = loading ? 1e-7 : 0;  // ohms, siemens
      const double through = 1 / (lead + 4e4), away = 2.5e-5 + input / (1 + input * (leads ? 1.0 : 1e-4));
      const double node = 0.5 * through / (through + away),
                   terminals = node / (1 + input * (leads ? 1.0 : 1e-4));
      CAPTURE(loading, leads);
      // The node's insulation is 1e-16 S; the rest is rounding.
      CHECK(meter.query_number("READ?", protocols::Milliseconds(5000)) == Approx(terminals).epsilon(1e-10));
    }
  }
}

TEST_CASE("a wrong bench file is refused with its line, its key and what was expected") {
  CHECK(refusal(good) == "accepted");
  CHECK_THAT(refusal(with(good, "keithley-2400", "keithley-2401")),
             Catch::Contains("bench.toml:5") && Catch::Contains("keithley-2400"));
  CHECK_THAT(refusal(with(good, "GPIB0::24", "GPIB0::31")),
             Catch::Contains("bench.toml:6") && Catch::Contains("0 to 30"));
  CHECK_THAT(refusal(with(good, "instrument = \"dac\"", "instrument = \"dca\"")),
             Catch::Contains("no instrument 'dca'"));
  CHECK_THAT(refusal(with(good, "channel = 3", "channel = 25")),
             Catch::Contains("no channel 25") && Catch::Contains("1 to 24"));
  CHECK_THAT(refusal(with(good, "channel = 3\n", "")), Catch::Contains("expected channel = 1 to 24"));
  CHECK_THAT(refusal(with(good, "node = 0", "node = 2")), Catch::Contains("node from 0 to 1"));
  CHECK_THAT(refusal(with(good, "node = 0", "node = 0\nparameter = \"G[0]\"")),
             Catch::Contains("either node"));
  CHECK_THAT(refusal(with(good, "G[0]", "G[1]")),
             Catch::Contains("no parameter 'G[1]'") && Catch::Contains("G[0]"));
  CHECK_THAT(refusal(with(good, "per_volt = 2.0\n", "")), Catch::Contains("expected per_volt"));
  CHECK_THAT(refusal(with(good, "per_volt = 2.0", "per_volt = 0.0")), Catch::Contains("other than 0"));
  CHECK_THAT(refusal(with(good, "volts_per_kT = 0.1", "volts_per_kT = -0.1")),
             Catch::Contains("bench.toml:2"));
  CHECK_THAT(refusal(with(good, "[emulation]",
                          "[wiring.again]\ninstrument = \"dac\"\nchannel = 3\nnode = 1\n[emulation]")),
             Catch::Contains("wired already") && Catch::Contains("wiring.gate"));
  CHECK_THAT(refusal(with(good, "[wiring.left]", "[instruments.idle]\nmodel = \"qdac-ii\"\n[wiring.left]")),
             Catch::Contains("nothing is wired to instrument 'idle'"));
  CHECK_THAT(refusal(with(
                 good, "[instruments.dac]",
                 "[instruments.twin]\nmodel = \"keithley-2400\"\naddress = \"GPIB::24\"\n[instruments.dac]")),
             Catch::Contains("'source' is at this address"));
  CHECK_THAT(refusal(with(good, "node = 0\nlead", "parameter = \"G[0]\"\nper_volt = 1.0\nlead")),
             Catch::Contains("sets no parameters"));
  CHECK_THAT(refusal(with(good, "resistor.json", "nowhere.json")), Catch::Contains("nowhere.json"));
  CHECK_THAT(refusal(with(good, "noise", "nois")), Catch::Contains("nois"));
  CHECK_THAT(refusal("title = \"x\"\n"), Catch::Contains("[instruments.NAME]"));
  CHECK_THAT(refusal(good, {"emulation.capacity=0"}), Catch::Contains("emulation.capacity"));
  CHECK_THAT(refusal(good, {"scale.carrier=2"}), Catch::Contains("expected 1, or -1"));
  BenchFile bare;
  bare.path = "bare.toml";
  CHECK_THROWS_WITH(emulate(bare), Catch::Contains("[emulation]"));
}
