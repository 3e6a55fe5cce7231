#include "ness/bench/sweep.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "ness/device/error.hpp"

using namespace ness;

namespace {

// Two source-meters, a scanner and a DAC on a network of one edge 0 -> 1 and a separate node.
BenchFile bench_of(const std::string& edge, const std::vector<std::string>& set = {}) {
  std::string pattern = (std::filesystem::temp_directory_path() / "ness-sweep-XXXXXX").string();
  struct Directory {
    std::filesystem::path path;
    ~Directory() { std::filesystem::remove_all(path); }
  } directory{::mkdtemp(pattern.data())};
  std::ofstream(directory.path / "edge.json")
      << R"({"nodes": [{"clamped": true}, {}, {"g": 1}], "edges": [{"source": 0, "target": 1, )" << edge
      << R"(}], "outputs": [1]})";
  std::ofstream(directory.path / "bench.toml") << R"([scale]
volts_per_kT = 0.1
amperes_per_unit = 2.5e-6
[instruments.a]
model = "keithley-2400"
[instruments.b]
model = "keithley-2400"
[instruments.scanner]
model = "keysight-daq970a"
[instruments.gates]
model = "qdac-ii"
[wiring.a]
instrument = "a"
node = 0
lead = 30.0
limits = [-2.0, 2.0]
[wiring.b]
instrument = "b"
node = 1
lead = 20.0
limits = [-1.0, 1.0]
[wiring.current]
instrument = "scanner"
channel = 101
node = 1
[wiring.gate]
instrument = "gates"
channel = 1
parameter = "mu_ref[1]"
per_volt = 1.0
limits = [-1.0, 1.0]
[emulation]
network = "edge.json"
noise = false
errors = false
quantised = false
)";
  return load_bench((directory.path / "bench.toml").string(), set);
}

const std::string resistor = R"("law": "linear", "G": 1)";  // 40 kohm

std::vector<SweepPoint> curve_of(const std::vector<double>& amperes, double error) {
  std::vector<SweepPoint> points;
  for (std::size_t i = 0; i < amperes.size(); ++i) {
    SweepPoint point;
    point.level = point.volts = 0.1 * static_cast<double>(i);
    point.amperes = amperes[i];
    point.amperes_error = error;
    points.push_back(point);
  }
  return points;
}

std::string refusal(const SweepOptions& options, const std::vector<std::string>& set = {}) {
  try {
    Sweep(bench_of(resistor, set), options, true);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("slopes are negative by more than their standard errors, or not marked", "[sweep]") {
  auto points = curve_of({0, 3, 2, 1.9, 1, 1.05, 2}, 0.05);
  points[0].volts_error = 0.003;
  mark_slopes(points, 3);
  CHECK(points[0].slope == Approx(30));
  // sqrt(2) x 0.05 A, and 30 S x 3 mV, over 0.1 V.
  CHECK(points[0].slope_error == Approx(std::hypot(std::sqrt(2.0) * 0.05, 30 * 0.003) / 0.1));
  CHECK_FALSE(points[0].ndc);
  CHECK(points[1].ndc);
  CHECK(points[2].slope == Approx(-1));  // -0.1 A within 3 x 0.07 A
  CHECK_FALSE(points[2].ndc);
  CHECK(points[3].ndc);
  CHECK_FALSE(points[4].ndc);
  CHECK(std::isnan(points[6].slope));
  // A slope without mark between two falls belongs to the same region; one after the last fall does not.
  const auto regions = ndc_regions(points, 3);
  REQUIRE(regions.size() == 1);
  CHECK(regions[0].volts.low == Approx(0.1));
  CHECK(regions[0].volts.high == Approx(0.4));
  CHECK(regions[0].at_low == 3);
  CHECK(regions[0].at_high == 1);
  CHECK(regions[0].steepest == Approx(-10));
  // A point in compliance does not belong to the edge's curve.
  points[3].in_compliance = true;
  mark_slopes(points, 3);
  CHECK(std::isnan(points[2].slope));
  CHECK(std::isnan(points[3].slope));
  CHECK(ndc_regions(points, 3).at(0).volts.high == Approx(0.2));
  // Measured downwards, the curve is the same.
  auto down = curve_of({0, 3, 2, 1.9, 1, 1.05, 2}, 0.05);
  std::reverse(down.begin(), down.end());
  mark_slopes(down, 3);
  const auto found = ndc_regions(down, 3);
  REQUIRE(found.size() == 1);
  CHECK(found[0].volts.low == Approx(0.1));
  CHECK(found[0].volts.high == Approx(0.4));
  CHECK(found[0].at_low == 3);
}

TEST_CASE("a sweep with ideal instruments is the edge's law, whatever stands in its lines", "[sweep]") {
  const auto check = [](const std::vector<std::string>& set, const std::string& to) {
    SweepOptions options;
    options.from = "a";
    options.to = to;
    options.first = -0.2;
    options.last = 0.3;
    options.points = 11;
    options.readings = 2;
    Sweep sweep(bench_of(resistor, set), options, true);
    std::size_t told = 0;
    sweep.run([&](const SweepPoint&) { ++told; }, {});
    CHECK(told == 11);
    CHECK(sweep.safe().safe);
    REQUIRE(sweep.points().size() == 11);
    for (const SweepPoint& point : sweep.points()) {
      // Seven digits of 0.3 V and 30 uA: 5e-8 V and 5e-12 A, which in a divider's 9 kohm are the same again,
      // and over its 1 kohm 1e-10 A.
      CHECK(point.amperes == Approx(point.volts / 40e3).margin(1.5e-10));
      CHECK_FALSE(point.in_compliance);
      CHECK_FALSE(point.ndc);
    }
    CHECK(sweep.points().front().level == -0.2);
    CHECK(sweep.points().back().level == 0.3);
    return sweep.points().back().volts;
  };
  // 40 kohm and the leads.
  CHECK(check({}, "b") == Approx(0.3 * 40e3 / (40e3 + 50)).epsilon(1e-6));
  // A tenth behind 900 ohms, 70 and the lead's 30; the preamplifier's 99 ohms behind 1 ohm.
  const std::string preamplifier = "wiring.current.preamplifier={gain=-1e5, input=99.0, bandwidth=1e3}";
  const std::vector<std::string> elements{"wiring.a.divider=[9e3, 1e3]", "wiring.a.series=70.0",
                                          "wiring.a.shunt_capacity=1e-9", preamplifier, "wiring.b.node=2"};
  CHECK(check(elements, "current") == Approx(0.03 * 40e3 / (40e3 + 1100)).epsilon(1e-5));
  // The divider's current is subtracted from that of the swept source-meter, too.
  CHECK(check({"wiring.a.divider=[9e3, 1e3]"}, "b") == Approx(0.03 * 40e3 / (40e3 + 950)).epsilon(1e-5));
}

TEST_CASE("a sweep's default settle time is ten of the slowest time constants", "[sweep]") {
  SweepOptions options;
  options.from = "a";
  options.to = "current";
  options.last = 0.1;
  CHECK(Sweep(bench_of(resistor, {"settle.tau_max=0.01"}), options, true).settle() == Approx(0.1));
  CHECK(Sweep(bench_of(resistor,
                       {"settle.tau_max=0.01", "wiring.a.series=1e6", "wiring.a.shunt_capacity=1e-6"}),
              options, true)
            .settle() == Approx(10));
  options.settle = 0.5;
  CHECK(Sweep(bench_of(resistor), options, true).settle() == 0.5);
}

TEST_CASE("sweeps that cannot be are refused before anything is sent", "[sweep]") {
  using Catch::Contains;
  SweepOptions good;
  good.from = "a";
  good.to = "b";
  good.last = 0.5;
  CHECK(refusal(good) == "accepted");
  const auto with = [&](auto change) {
    SweepOptions options = good;
    change(options);
    return options;
  };
  CHECK_THAT(refusal(with([](auto& o) { o.from = "c"; })), Contains("no [wiring.c]"));
  CHECK_THAT(refusal(with([](auto& o) { o.from = "current"; })), Contains("source-meter"));
  CHECK_THAT(refusal(with([](auto& o) { o.to = "a"; })), Contains("other end"));
  CHECK_THAT(refusal(with([](auto& o) { o.to = "gate"; })), Contains("other end"));
  CHECK_THAT(refusal(with([](auto& o) { o.last = 2.01; })),
             Contains("upper limit of 'a'") && Contains("2.01"));
  CHECK_THAT(refusal(with([](auto& o) { o.last = 0; })), Contains("two different"));
  CHECK_THAT(refusal(with([](auto& o) { o.points = 1; })), Contains("points"));
  CHECK_THAT(refusal(with([](auto& o) { o.readings = 1; })), Contains("readings"));
  CHECK_THAT(refusal(with([](auto& o) { o.hold = {{"b", 0.1}}; })), Contains("a part in it already"));
  CHECK_THAT(refusal(with([](auto& o) { o.hold = {{"current", 0.1}}; })), Contains("is read"));
  CHECK_THAT(refusal(with([](auto& o) { o.hold = {{"gate", 1.5}}; })), Contains("limit of 'gate'"));
  CHECK_THAT(refusal(good, {"wiring.a.limits=[-3.0, 3.0]"}), Contains("range of 2.1 V"));
  CHECK_THAT(refusal(good, {"wiring.a.safe=2.05"}), Contains("safe level"));
  CHECK_THAT(refusal(good, {"wiring.a.gain=2.0"}), Contains("gain of 2"));
  CHECK_THAT(refusal(good, {"wiring.b.limits=[0.1, 1.0]", "wiring.b.safe=0.1"}),
             Contains("lower limit of 'b'"));
  CHECK_THAT(refusal(good, {"limits.pair.difference=[\"a\", \"gate\"]", "limits.pair.range=[-0.4, 0.4]"}),
             Contains("--hold gate="));
  CHECK_THAT(refusal(with([](auto& o) {
                       o.hold = {{"gate", 0.0}};
                     }),
                     {"limits.pair.difference=[\"a\", \"gate\"]", "limits.pair.range=[-0.4, 0.4]"}),
             Contains("'pair'"));
  CHECK_THROWS_WITH(Sweep(bench_of(resistor), good, false), Contains("has no address"));
}

TEST_CASE("a stopped sweep is safe, and keeps what it measured", "[sweep]") {
  SweepOptions options;
  options.from = "a";
  options.to = "b";
  options.last = 0.5;
  options.points = 21;
  Sweep sweep(bench_of(resistor), options, true);
  std::stop_source stop;
  CHECK_THROWS_AS(sweep.run(
                      [&](const SweepPoint& point) {
                        if (point.level > 0.2) stop.request_stop();
                      },
                      stop.get_token()),
                  Cancelled);
  CHECK(sweep.points().size() == 10);  // 0, 25 mV, .. 225 mV
  CHECK(sweep.safe().safe);
  // The same after an exception; then the sweep can be run again.
  CHECK_THROWS_WITH(sweep.run([](const SweepPoint&) { throw std::runtime_error("disk full"); }, {}),
                    "disk full");
  CHECK(sweep.points().size() == 1);
  CHECK(sweep.safe().safe);
  sweep.run({}, {});
  CHECK(sweep.points().size() == 21);
}
