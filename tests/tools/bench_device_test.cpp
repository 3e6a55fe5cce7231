// Bench files made Devices: what their wires and line elements come to.
#include "bench_device.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "ness/core/dataset.hpp"
#include "ness/sim/simulation.hpp"

using namespace ness;

namespace {

// 40 kohm from an input, which a source-meter holds, to a node that a preamplifier's virtual ground draws down; a scanner reads both.
BenchFile bench_of(const std::string& source, int carrier) {
  std::string pattern = (std::filesystem::temp_directory_path() / "ness-device-XXXXXX").string();
  struct Directory {
    std::filesystem::path path;
    ~Directory() { std::filesystem::remove_all(path); }
  } directory{::mkdtemp(pattern.data())};
  std::ofstream(directory.path / "net.json") << R"({"nodes": [{"clamped": true}, {}], "edges": [{"source": 0, "target": 1, "law": "linear", "G": 1}], "outputs": [1]})";
  std::ofstream(directory.path / "bench.toml") << "[scale]\nvolts_per_kT = 0.1\namperes_per_unit = 2.5e-6\ncarrier = " << carrier << R"(
[instruments.source]
model = "keithley-2400"
compliance = 1e-2
[instruments.scanner]
model = "keysight-daq970a"
range = 10.0
[wiring.drive]
instrument = "source"
node = 0
limits = [-2.0, 2.0]
step = 2.0
rate = 1e3
)" << source << R"(
[wiring.potential]
instrument = "scanner"
channel = 101
node = 1
[wiring.current]
instrument = "scanner"
channel = 102
node = 1
preamplifier = {gain = -1e5, input = 10.0}
[settle]
readings = 4
[emulation]
network = "net.json"
noise = false
errors = false
quantised = false
links = false
)";
  return load_bench((directory.path / "bench.toml").string());
}

struct Made {
  std::shared_ptr<const sim::Network> network;
  std::unique_ptr<sim::Simulation> simulation;
  BenchDevice device;

  explicit Made(const BenchFile& file) : network(std::make_shared<sim::Network>(file.emulation->network)), simulation(std::make_unique<sim::Simulation>(network, sim::SimulationOptions{})) {
    device = make_bench(file, DeviceKind::emulated, *network, simulation->info());
  }
  Relaxation relax(double kT) {
    RowMatrix levels(1, 1);
    levels << kT;
    Drive drive;
    drive.theta = Parameters::of(network->theta());
    drive.clamp = {std::make_shared<DensePatterns>("one", levels), 0};
    return device.bench->relax(drive);
  }
};

}  // namespace

TEST_CASE("what a preamplifier draws leaves the network: currents add up to nothing, whatever the carrier", "[bench]") {
  for (const int carrier : {1, -1}) {
    Made made(bench_of("", carrier));
    const Relaxation row = made.relax(3);
    REQUIRE(row.quality.usable());
    // 0.3 V over 40 kohm, a lead of 1 ohm at each end, and 10 ohm: in units of 2.5 uA.
    const double I = 0.3 / 40012.0 / 2.5e-6;
    CHECK(row.current[0] == Approx(I).epsilon(1e-4));
    CHECK(row.current[1] == Approx(-I).epsilon(1e-4));
    CHECK(row.clamp_readback[0] == Approx(3).epsilon(1e-4));
    CHECK(row.potential[0] == Approx(3 * 11 / 40012.0).epsilon(1e-2));
  }
}

TEST_CASE("behind a divider the source's own current is not the terminal's", "[bench]") {
  Made made(bench_of("divider = [900.0, 100.0]\n", 1));
  const DeviceInfo& info = made.device.bench->info();
  CHECK_FALSE(info.terminals[0].reads_current);
  CHECK(info.terminals[0].level.high == Approx(2));  // 2 V x 0.1
  const Relaxation row = made.relax(1.5);
  CHECK(std::isnan(row.current[0]));
  // 1.5 V in front of 900 and 100 ohm: 0.15 V behind 90 ohm.
  CHECK(row.current[1] == Approx(-0.15 / (40012.0 + 90) / 2.5e-6).epsilon(1e-4));
}
