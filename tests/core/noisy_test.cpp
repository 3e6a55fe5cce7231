#include <catch2/catch.hpp>
#include <cmath>

#include "core/toy_device.hpp"
#include "device_contract.hpp"
#include "ness/core/noisy.hpp"

using namespace ness;

namespace {

// Reports what was imposed: every reading is 0, parameters and levels are kept.
class Echo final : public Device {
 public:
  Echo() {
    info_.identity = "echo";
    info_.deterministic = true;
    info_.outputs = {1};
    info_.terminals.resize(3);
    info_.terminals[0].name = "in";
    info_.terminals[0].clamped = true;
    info_.terminals[0].level = {-1, 1.05};
    info_.terminals[1].name = "out";
    info_.terminals[2].name = "other";
    info_.parameters = {{"a", "a", "kT", {-2, 2}, Scale::linear, true, -1, -1},
                        {"k", "k", "1", {1e-3, 1e3}, Scale::log, true, -1, -1},
                        {"T", "T", "1", {0, 10}, Scale::linear, false, -1, -1}};
  }
  const DeviceInfo& info() const override { return info_; }
  void seek(std::uint64_t ordinal) override { sought = ordinal; }
  std::vector<Drive> imposed;
  std::uint64_t sought = 0;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
    for (std::size_t i = 0; i < drives.size(); ++i) {
      imposed.push_back(drives[i]);
      Relaxation row;
      row.potential = Vector::Zero(2);
      sink(i, row);
    }
  }

 private:
  DeviceInfo info_;
};

Drive echo_drive() {
  Drive drive;
  drive.theta = Parameters::of((Vector(3) << 0.34, 2, 1.23).finished());
  drive.clamp = pattern_of(Vector::Constant(1, 0.26));
  return drive;
}

std::vector<Vector> readings(Device& device, const Drive& drive, std::size_t count) {
  std::vector<Vector> all;
  device.relax(std::vector<Drive>(count, drive), [&](std::size_t, const Relaxation& row) { all.push_back(row.potential); });
  return all;
}

}  // namespace

TEST_CASE("a noisy device keeps the device contract", "[noisy]") {
  toy::Network network;
  Drive drive;
  drive.theta = Parameters::of(network.example_theta());
  drive.clamp = pattern_of((Vector(2) << 0.5, -1).finished());
  NoiseOptions options;
  options.seed = 4;
  options.read = 1e-3;
  options.write = 1e-3;
  options.variation = 1e-2;
  options.drift = 1e-3;
  options.resolution = 1e-3;
  Noisy noisy(network, options);
  CHECK_FALSE(noisy.info().deterministic);
  contract::ContractOptions contract;
  contract.restart_tolerance = -1;
  contract.hold_tolerance = -1;
  contract::check_device(noisy, drive, contract);
  Noisy silent(network, {});
  CHECK(silent.info().deterministic);
  CHECK(silent.info().identity == network.info().identity);
  CHECK(silent.relax(drive).potential == network.relax(drive).potential);
}

TEST_CASE("read noise has its standard deviation, reported as the readings' error", "[noisy]") {
  Echo echo;
  NoiseOptions options;
  options.read = 0.5;
  Noisy noisy(echo, options);
  const int n = 4000;
  double square = 0, lag = 0;
  const std::vector<Vector> rows = readings(noisy, echo_drive(), n);
  for (int i = 0; i < n; ++i) {
    square += rows[i].squaredNorm() / (2 * n);
    if (i > 0) lag += rows[i][0] * rows[i - 1][0] / n;
  }
  CHECK(std::abs(square - 0.25) < 5 * 0.25 * std::sqrt(2.0 / (2 * n)));  // five standard errors
  CHECK(std::abs(lag) < 5 * 0.25 / std::sqrt(n));
  CHECK(noisy.relax(echo_drive()).sigma == Vector::Constant(2, 0.5));
}

TEST_CASE("drift is a random walk, the same however it is come by", "[noisy]") {
  Echo echo;
  NoiseOptions options;
  options.drift = 0.1;
  Noisy noisy(echo, options);
  const int n = 3000;
  const std::vector<Vector> rows = readings(noisy, echo_drive(), n);
  double square = 0;
  for (int i = 1; i < n; ++i) square += (rows[i] - rows[i - 1]).squaredNorm() / (2 * n);
  CHECK(std::abs(square - 0.01) < 5 * 0.01 * std::sqrt(2.0 / (2 * n)));
  for (const std::uint64_t start : {2500u, 100u, 101u}) {
    Noisy resumed(echo, options);
    resumed.seek(start);
    CHECK(echo.sought == start);
    CHECK(resumed.relax(echo_drive()).potential == rows[start]);
    CHECK(resumed.relax(echo_drive()).potential == rows[start + 1]);
    noisy.seek(start);  // back and forth on one device
    CHECK(noisy.relax(echo_drive()).potential == rows[start]);
  }
}

TEST_CASE("writing rounds, deviates and stays in range", "[noisy]") {
  Echo echo;
  Drive drive = echo_drive();
  SECTION("resolution") {
    NoiseOptions options;
    options.resolution = 0.1;
    Noisy noisy(echo, options);
    drive.theta.overrides = {{0, -0.17}};
    noisy.relax(drive);
    const Vector theta = echo.imposed.back().theta.values();
    CHECK(theta[0] == Approx(-0.2));
    CHECK(theta[1] == Approx(2));
    CHECK(theta[2] == 1.23);  // a constant is not written
    CHECK(echo.imposed.back().clamp.levels()[0] == Approx(0.3));
    drive.clamp = pattern_of(Vector::Constant(1, 1.05));
    noisy.relax(drive);
    CHECK(echo.imposed.back().clamp.levels()[0] == 1.05);  // 1.1 is out of range
  }
  SECTION("write noise, relative on a log scale") {
    NoiseOptions options;
    options.write = 0.05;
    Noisy noisy(echo, options);
    const int n = 4000;
    noisy.relax(std::vector<Drive>(n, drive), [](std::size_t, const Relaxation&) {});
    double linear = 0, log = 0;
    for (const Drive& one : echo.imposed) {
      const Vector theta = one.theta.values();
      linear += std::pow(theta[0] - 0.34, 2) / n;
      log += std::pow(std::log(theta[1] / 2), 2) / n;
      CHECK(theta[2] == 1.23);
    }
    CHECK(std::abs(linear - 0.0025) < 5 * 0.0025 * std::sqrt(2.0 / n));
    CHECK(std::abs(log - 0.0025) < 5 * 0.0025 * std::sqrt(2.0 / n));
  }
  SECTION("variation is one device's, constants included") {
    NoiseOptions options;
    options.variation = 0.05;
    Noisy noisy(echo, options);
    CHECK(noisy.info().deterministic);
    drive.theta.overrides = {{0, 1.0}};
    noisy.relax(drive);
    noisy.relax(echo_drive());
    const Vector first = echo.imposed[0].theta.values(), second = echo.imposed[1].theta.values();
    CHECK(first[0] - 1.0 == Approx(second[0] - 0.34));
    CHECK(first[1] == second[1]);
    CHECK(first[1] != 2);
    CHECK(first[2] != 1.23);
    options.seed = 1;
    Noisy another(echo, options);
    another.relax(echo_drive());
    CHECK(echo.imposed[2].theta.values()[1] != first[1]);
    options.variation = 1000;
    Noisy wild(echo, options);
    wild.relax(echo_drive());
    CHECK(std::abs(echo.imposed.back().theta.values()[0]) == 2);  // at the end of the range
  }
}

TEST_CASE("unusable noise options are refused", "[noisy]") {
  Echo echo;
  NoiseOptions options;
  options.drift = -1;
  CHECK_THROWS_WITH(Noisy(echo, options), Catch::Contains("drift -1"));
  options.drift = 0;
  options.read = NAN;
  CHECK_THROWS_WITH(Noisy(echo, options), Catch::Contains("read nan"));
}
