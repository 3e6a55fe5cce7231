// Whether a bench is still the one of a log, and parameters taken over from a log.
#include "ness/runs/bench_record.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <string>

#include "ness/device/error.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/runs/origin.hpp"

using namespace ness;

namespace {

// A meter and a source-meter that read, and what the check of their wires found.
BenchRecord bench_of(const std::string& settle, const std::string& volts, bool checked = true) {
  BenchRecord bench{"bench.toml",
                    "[scale]\nvolts_per_kT = 0.01\n[settle]\n" + settle +
                        "\n[instruments.meter]\nmodel = \"keysight-daq970a\"\n"
                        "[instruments.source]\nmodel = \"keithley-2400\"\n"
                        "[wiring.read]\ninstrument = \"meter\"\n" +
                        volts + "\n[wiring.both]\ninstrument = \"source\"\nvolts = 1e-3\n",
                    {}};
  if (!checked) return bench;
  BenchCheck check;
  check.readings = {{"read", "right", "", 1e-3, 1e-3, 4e-3}, {"both", "right", "", 1e-3, 1e-3, 4e-3}};
  check.steps = {{"both", "read", 4.0, 0.01, 0}};
  check.noise_readings = 16;
  bench.check = check;
  return bench;
}

std::string first(const BenchRecord& then, const BenchRecord& now) {
  const std::vector<Difference> all = bench_differences(then, now);
  return all.empty() ? "none" : all.front().text();
}

}  // namespace

TEST_CASE("what a check writes differs beyond 4 combined standard errors", "[bench][record]") {
  // 1e-3 kT are 1e-5 V; two of them 1.41e-5 V, and four times that 5.66e-5 V.
  const BenchRecord then = bench_of("noise = 4e-3", "volts = 2.00e-3");
  CHECK(first(then, bench_of("noise = 4e-3", "volts = 2.05e-3")) == "none");
  CHECK(first(then, bench_of("noise = 4e-3", "volts = 1.95e-3")) == "none");
  CHECK_THAT(first(then, bench_of("noise = 4e-3", "volts = 2.07e-3")),
             Catch::StartsWith("wiring.read.volts (more than 4 combined standard errors of 1.4") &&
                 Catch::EndsWith("apart): 0.002 then, 0.00207 now"));
  // Of a bench that was not checked yet the error is taken to be the same; of two, there is none.
  CHECK(first(then, bench_of("noise = 4e-3", "volts = 2.05e-3", false)) == "none");
  CHECK(first(bench_of("noise = 4e-3", "volts = 2.00e-3", false),
              bench_of("noise = 4e-3", "volts = 2.05e-3", false)) ==
        "wiring.read.volts: 0.002 then, 0.00205 now");
  // No key: 0 V.
  CHECK(first(bench_of("noise = 4e-3", ""), bench_of("noise = 4e-3", "volts = 5e-5")) == "none");
  CHECK_THAT(first(bench_of("noise = 4e-3", ""), bench_of("noise = 4e-3", "volts = 5e-4")),
             Catch::Contains("nothing then, 5e-04 now"));
  // What a wire that sets a level adds is no finding of the check.
  BenchRecord moved = then;
  moved.text.replace(moved.text.find("volts = 1e-3"), 12, "volts = 1.001e-3");
  CHECK(first(then, moved) == "wiring.both.volts: 0.001 then, 0.001001 now");
}

TEST_CASE("a noise has the error of so many readings, a time constant 2 % and what noise adds",
          "[bench][record]") {
  const std::string volts = "volts = 2e-3";
  // sqrt(3 x 16 - 4) / 30 is 22 % of the mean of both, 31 % combined: up to 4.3 times as much.
  CHECK(first(bench_of("noise = 4e-3", volts), bench_of("noise = 8e-3", volts)) == "none");
  CHECK(first(bench_of("noise = 4e-3", volts), bench_of("noise = 1.7e-2", volts)) == "none");
  CHECK_THAT(first(bench_of("noise = 4e-3", volts), bench_of("noise = 1.8e-2", volts)),
             Catch::StartsWith("settle.noise (more than 4 combined standard errors of 0.00344 apart"));
  // 7 x 4e-3 / 4 is 0.7 %; with 2 % they are 2.1 %, of two time constants 3 %, four times that 12 %.
  CHECK(first(bench_of("tau_max = 0.010", volts), bench_of("tau_max = 0.0111", volts)) == "none");
  CHECK_THAT(first(bench_of("tau_max = 0.010", volts), bench_of("tau_max = 0.0115", volts)),
             Catch::StartsWith("settle.tau_max (more than 4 combined standard errors of 0.0003"));
  CHECK(first(bench_of("", volts + "\ntau_input = 0.01"), bench_of("", volts + "\ntau_input = 0.0105")) ==
        "none");
  CHECK_THAT(first(bench_of("", volts + "\ntau_gate = 0.01"), bench_of("", volts + "\ntau_gate = 0.02")),
             Catch::StartsWith("wiring.read.tau_gate (more than 4 combined"));
  // One that was not there has no value to compare with; other keys are compared as they are.
  CHECK(first(bench_of("", volts), bench_of("tau_max = 0.01", volts)) ==
        "settle.tau_max: nothing then, 0.01 now");
  CHECK(first(bench_of("tolerance = 0.01", volts), bench_of("tolerance = 0.0101", volts)) ==
        "settle.tolerance: 0.01 then, 0.0101 now");
}

TEST_CASE("a bench file that a log holds needs no other file", "[bench][record]") {
  const BenchFile file = load_bench(NESS_EXPERIMENTS "/bench-emulated.toml");
  const BenchFile again = bench_from_text(file.text, "/nowhere/bench.toml", file.emulation->network);
  CHECK(again.text == file.text);
  CHECK(again.path == "/nowhere/bench.toml");
  CHECK(again.wiring.size() == file.wiring.size());
  REQUIRE(again.emulation);
  CHECK(again.emulation->network.edges.size() == file.emulation->network.edges.size());
  CHECK_THROWS_WITH(bench_from_text("[wiring", "/nowhere/bench.toml", file.emulation->network),
                    Catch::Contains("/nowhere/bench.toml"));
}

TEST_CASE("a log's parameters are matched by name, and refused where they do not fit", "[origin]") {
  Run run = prepare(load_experiment(NESS_EXPERIMENTS "/xor-bench.toml"));
  DeviceInfo logged = run.device().info();
  std::reverse(logged.parameters.begin(), logged.parameters.end());
  const Vector theta = run.theta.reverse();
  CHECK(theta_for(run, logged, theta, "twin.h5") == run.theta);

  const auto refusal = [&](const DeviceInfo& info, const Vector& values) -> std::string {
    try {
      theta_for(run, info, values, "twin.h5");
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "accepted";
  };
  const std::size_t n = logged.parameters.size();
  DeviceInfo other = logged;
  for (std::size_t i = 0; i < 6; ++i) other.parameters[i].name = "x[" + std::to_string(i) + "]";
  const std::string of = "6 of " + std::to_string(n) + " (";
  CHECK_THAT(refusal(other, theta),
             Catch::StartsWith("twin.h5: its parameters are not those of this device") &&
                 Catch::Contains("the device lacks " + of + "x[0], x[1], x[2], x[3], ..)") &&
                 Catch::Contains("the log lacks " + of));
  other = logged;
  other.parameters[1].name = other.parameters[0].name;
  CHECK_THAT(refusal(other, theta), Catch::Contains("two parameters '"));

  // Beyond the experiment's range of a trained parameter, [-9.5, 9.5] for a.
  const auto place = std::find_if(logged.parameters.begin(), logged.parameters.end(),
                                  [](const ParameterInfo& one) { return one.name == "a[2]"; });
  REQUIRE(place != logged.parameters.end());
  Vector far = theta;
  far[place - logged.parameters.begin()] = 9.6;
  CHECK_THAT(refusal(logged, far),
             Catch::StartsWith("twin.h5: a[2] is 9.6 there, outside of its range here, [-9.5, 9.5]"));
  far[place - logged.parameters.begin()] = 9.5;
  CHECK(refusal(logged, far) == "accepted");
  far[place - logged.parameters.begin()] = std::nan("");
  CHECK_THAT(refusal(logged, far), Catch::Contains("a[2] is nan"));
  CHECK_THROWS_AS(theta_for(run, logged, theta.head(2), "twin.h5"), LogError);
}
