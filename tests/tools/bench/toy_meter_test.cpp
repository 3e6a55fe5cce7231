// An instrument model added by one file and one row: a voltmeter with its own commands, its driver and its
// emulator.
#include <array>
#include <catch2/catch.hpp>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "ness/bench/bench_device.hpp"
#include "ness/device/error.hpp"
#include "ness/files/instrument_kind.hpp"
#include "ness/network/simulation.hpp"

using namespace ness;

namespace {

std::string text_of(double value) {
  std::array<char, 40> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

// The driver: GATE sets seconds, and VAL? queries the mean voltage over them.
class ToyMeter final : public drivers::Voltmeter {
 public:
  explicit ToyMeter(std::unique_ptr<protocols::Session> session) : Voltmeter(std::move(session)) {}
  std::string model() const override { return "Toy meter"; }
  void require(const drivers::MeterSettings& settings) const override {
    if (settings.range > 5) throw std::invalid_argument(address() + ": Toy meter: it reads up to 5 V");
  }
  double reading_error(const drivers::MeterSettings&, double) const override { return 1e-6; }
  void configure(const drivers::MeterSettings& settings) override {
    gate_ = settings.cycles / settings.line_frequency;
    session_->write("GATE " + text_of(gate_));
    confirm("GATE?", gate_, 1e-9);
    openings_ = session_->openings();
  }
  void arm() override {
    drivers::require_same_link(*session_, openings_);
    session_->ask("VAL?");
  }
  drivers::MeterReading fetch() override {
    return {protocols::parse_number(
                session_->receive(drivers::Milliseconds(static_cast<std::int64_t>(gate_ * 1e3) + 1))),
            false};
  }
  std::vector<drivers::MeterReading> burst(std::size_t count) override {
    std::vector<drivers::MeterReading> readings;
    for (std::size_t i = 0; i < count; ++i) {
      arm();
      readings.push_back(fetch());
    }
    return readings;
  }
  double measurement_time() const override { return gate_; }
  std::vector<drivers::Statement> settings() override { return answers({{"gate (s)", "GATE?"}}); }

 private:
  bool recognises(const std::string& maker, const std::string& model) const override {
    return maker == "Toys" && model == "METER";
  }
  double gate_ = 1;
  std::uint64_t openings_ = 0;
};

// The emulator: the same commands, implemented separately.
class EmulatedToyMeter final : public sim::EmulatedInstrument {
 public:
  EmulatedToyMeter(sim::Circuit& circuit, std::size_t port, std::vector<std::string>& heard)
      : circuit_(circuit), port_(port), heard_(heard) {}
  void receive(std::string_view bytes, double now) override {
    for (const char c : bytes) {
      if (c != '\n') line_ += c;
      else command(std::exchange(line_, {}), now);
    }
  }
  double next_event() const override { return due_; }
  void run(double now) override {
    if (now < due_) return;
    output_ += text_of((circuit_.voltage_integral(port_) - integral_) / (now - began_)) + '\n';
    due_ = never;
  }
  std::string take_output() override { return std::exchange(output_, {}); }
  void device_clear() override { due_ = never; }
  std::uint8_t serial_poll() override { return 0; }
  void talk_without_query() override {}

 private:
  void command(const std::string& line, double now) {
    heard_.push_back(line);
    if (line == "*IDN?") output_ += "Toys,METER,0,1\n";
    else if (line == "SYST:ERR?") output_ += "0,\"No error\"\n";
    else if (line == "GATE?") output_ += text_of(gate_) + '\n';
    else if (line.starts_with("GATE ")) gate_ = std::stod(line.substr(5));
    else if (line == "VAL?") {
      began_ = now;
      integral_ = circuit_.voltage_integral(port_);
      due_ = now + gate_;
    }
  }

  sim::Circuit& circuit_;
  std::size_t port_;
  std::vector<std::string>& heard_;
  std::string line_, output_;
  double gate_ = 0.1, began_ = 0, due_ = never, integral_ = 0;
};

std::vector<std::string> heard;  // messages to all emulated toy meters

// The row.
InstrumentKind toy_meter() {
  return {"toy-meter",
          drivers::Role::voltmeter,
          {},
          drivers::read_meter,
          [](std::unique_ptr<protocols::Session> session) {
            return std::make_unique<ToyMeter>(std::move(session));
          },
          [](const EmulatedWiring& wiring) {
            return std::make_unique<EmulatedToyMeter>(wiring.circuit, wiring.ports.at(0).port, heard);
          }};
}

std::vector<InstrumentKind> with(InstrumentKind kind) {
  std::vector<InstrumentKind> kinds = instrument_kinds();
  kinds.push_back(std::move(kind));
  return kinds;
}

// A resistor of 40 kohm from a source-meter to a node with a leak of 40 kohm, which the toy reads.
BenchFile bench_of(const std::vector<InstrumentKind>& kinds, const std::string& more = "") {
  std::string pattern = (std::filesystem::temp_directory_path() / "ness-toy-XXXXXX").string();
  struct Directory {
    std::filesystem::path path;
    ~Directory() { std::filesystem::remove_all(path); }
  } directory{::mkdtemp(pattern.data())};
  std::ofstream(directory.path / "net.json") << R"({"nodes": [{"clamped": true}, {"g": 1}],
    "edges": [{"source": 0, "target": 1, "law": "linear", "G": 1}], "outputs": [1]})";
  std::ofstream(directory.path / "bench.toml") << R"([instruments.source]
model = "keithley-2400"
compliance = 1e-3
[instruments.toy]
model = "toy-meter"
range = 2.0
nplc = 2.0
)" << more << R"([wiring.drive]
instrument = "source"
node = 0
limits = [-1.0, 1.0]
step = 1.0
rate = 1e3
[wiring.potential]
instrument = "toy"
node = 1
[settle]
readings = 4
[emulation]
network = "net.json"
noise = false
errors = false
quantised = false
)";
  return load_bench((directory.path / "bench.toml").string(), {}, kinds);
}

std::string refusal(const std::vector<InstrumentKind>& kinds) {
  try {
    bench_of(kinds);
  } catch (const FileError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("a model of instrument is one row: read from a bench file, driven, emulated", "[bench][kinds]") {
  const BenchFile file = bench_of(with(toy_meter()));
  CHECK(file.instruments[1].kind.name == "toy-meter");
  CHECK(file.instruments[1].settings.meter.cycles == 2);
  for (const bool links : {false, true}) {
    heard.clear();
    BenchFile linked = file;
    linked.emulation->links = links;
    const auto network = std::make_shared<sim::Network>(file.emulation->network);
    const sim::Simulation simulation(network, sim::SimulationOptions{});
    BenchDevice device =
        make_bench(linked, DeviceKind::emulated, {simulation.info(), network->theta(), &network->spec()});
    CHECK_THAT(device.bench->info().identity, Catch::Contains("toy = toy-meter"));
    RowMatrix levels(1, 1);
    levels << 4.0;
    Drive drive;
    drive.theta = Parameters::of(network->theta());
    drive.clamp = {std::make_shared<DensePatterns>("one", levels), 0};
    const Relaxation row = device.bench->relax(drive);
    REQUIRE(row.quality.usable());
    CHECK(row.potential[0] == Approx(2).epsilon(1e-4));  // a half: the resistor and the leak are equal
    CHECK(std::count(heard.begin(), heard.end(), "GATE 0.04") == 1);  // 2 cycles of 50 Hz
    CHECK(std::count(heard.begin(), heard.end(), "VAL?") >= 4);
  }
}

TEST_CASE("a model that is no row, or whose row cannot be used, is refused by its name", "[bench][kinds]") {
  CHECK_THAT(refusal(instrument_kinds()), Catch::Contains("toy-meter"));
  InstrumentKind unknown_role = toy_meter();
  unknown_role.role = static_cast<drivers::Role>(200);
  CHECK_THAT(refusal(with(unknown_role)), Catch::Contains("toy-meter") && Catch::Contains("no use for"));
  InstrumentKind incomplete = toy_meter();
  incomplete.emulator = nullptr;
  CHECK_THAT(refusal(with(incomplete)), Catch::Contains("toy-meter") && Catch::Contains("lacks"));

  // A row whose driver class does not match its role.
  InstrumentKind misplaced = toy_meter();
  misplaced.role = drivers::Role::source_meter;
  BenchFile file = bench_of(with(toy_meter()));
  file.instruments[1].kind = misplaced;
  file.wiring[1].limits = Range{-1, 1};
  const auto network = std::make_shared<sim::Network>(file.emulation->network);
  const sim::Simulation simulation(network, sim::SimulationOptions{});
  CHECK_THROWS_WITH(
      make_bench(file, DeviceKind::emulated, {simulation.info(), network->theta(), &network->spec()}),
      Catch::Contains("toy-meter") && Catch::Contains("source-meter"));
  // A role that a bench does not use.
  file.instruments[1].kind = unknown_role;
  CHECK_THROWS_WITH(
      make_bench(file, DeviceKind::emulated, {simulation.info(), network->theta(), &network->spec()}),
      Catch::Contains("no use for"));
}

TEST_CASE("every row of the table can be used, under a name of its own", "[bench][kinds]") {
  std::vector<std::string> names;
  for (const InstrumentKind& kind : instrument_kinds()) {
    CHECK(kind.problem() == "");
    CHECK(std::count(names.begin(), names.end(), kind.name) == 0);
    names.push_back(kind.name);
    // The settings of a file without keys equal those of a caller who gives none.
    NoKeys none;
    drivers::InstrumentSettings settings;
    kind.read(none, settings);
    CHECK(settings.source.range == drivers::SourceMeterSettings().range);
    CHECK(settings.meter.range == drivers::MeterSettings().range);
    CHECK(settings.dac.range == drivers::DacSettings().range);
  }
  CHECK(names.size() == 6);
}

TEST_CASE("an address that no emulated link stands in for is refused", "[bench][links]") {
  BenchFile file = bench_of(with(toy_meter()));
  BenchInstrument& toy = file.instruments[1];
  CHECK(emulated_link(toy) == EmulatedLink::socket);
  toy.address = protocols::parse_resource_name("ASRL/dev/ttyUSB0::INSTR");
  CHECK(emulated_link(toy) == EmulatedLink::serial_line);
  toy.address = protocols::parse_resource_name("GPIB0::5::INSTR");
  CHECK(emulated_link(toy) == EmulatedLink::gpib);
  for (const char* address : {"USB0::0x05E6::0x2450::04012345::INSTR", "GPIB0::INTFC"}) {
    toy.address = protocols::parse_resource_name(address);
    CHECK_THROWS_WITH(emulated_link(toy),
                      Catch::Contains("'toy'") && Catch::Contains(to_string(*toy.address)));
  }
}
