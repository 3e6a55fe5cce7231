#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <unsupported/Eigen/FFT>

#include "core/device/toy_device.hpp"
#include "device_contract.hpp"
#include "ness/device/wrapping_device.hpp"
#include "ness/laboratory/noisy.hpp"

using namespace ness;

namespace {

// Reports what was imposed: every reading and current is 0 (or missing); parameters and levels are recorded.
class Echo final : public Device {
 public:
  // Parameters a, k, T, then further ones of kind "a".
  explicit Echo(std::size_t readings = 2, std::size_t further = 0) {
    info_.identity = "echo";
    info_.deterministic = true;
    info_.outputs = {1};
    info_.terminals.resize(1 + readings);
    info_.terminals[0].name = "in";
    info_.terminals[0].clamped = true;
    info_.terminals[0].level = {-1, 1.05};
    for (std::size_t k = 1; k <= readings; ++k) info_.terminals[k].name = "out " + std::to_string(k);
    info_.terminals[1].can_hold = true;
    info_.terminals[1].level = {-2, 0.97};
    info_.terminals[1].nudge = {-1, 1};
    info_.terminals[2].nudge = {0.02, 0.13};  // one-signed
    info_.parameters = {{"a", "a", "kT", {-2, 2}, Scale::linear, true, -1, -1},
                        {"k", "k", "1", {1e-3, 1e3}, Scale::log, true, -1, -1},
                        {"T", "T", "1", {0, 10}, Scale::linear, false, -1, -1}};
    for (std::size_t i = 0; i < further; ++i)
      info_.parameters.push_back(
          {"a[" + std::to_string(i) + "]", "a", "kT", {-1e6, 1e6}, Scale::linear, true, -1, -1});
    theta = Vector::Zero(static_cast<Eigen::Index>(info_.parameters.size()));
    theta.head(3) << 0.34, 2, 1.23;
  }
  const DeviceInfo& info() const override { return info_; }
  void seek(std::uint64_t ordinal) override { sought = ordinal; }
  Drive drive() const {
    Drive made;
    made.theta = Parameters::of(theta);
    made.clamp = pattern_of(Vector::Constant(1, 0.26));
    return made;
  }
  Vector theta;
  Vector current, current_sigma, sigma;  // of every row
  std::vector<Drive> imposed;
  std::uint64_t sought = 0;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
    for (std::size_t i = 0; i < drives.size(); ++i) {
      imposed.push_back(drives[i]);
      Relaxation row;
      row.potential = Vector::Zero(static_cast<Eigen::Index>(info_.terminals.size()) - 1);
      row.sigma = sigma;
      row.current = current;
      row.current_sigma = current_sigma;
      sink(i, row);
    }
  }

 private:
  DeviceInfo info_;
};

Drive echo_drive() { return Echo().drive(); }

std::vector<Vector> readings(Device& device, const Drive& drive, std::size_t count) {
  std::vector<Vector> all;
  device.relax(std::vector<Drive>(count, drive),
               [&](std::size_t, const Relaxation& row) { all.push_back(row.potential); });
  return all;
}

Vector reading_at(Device& device, const Drive& drive, std::uint64_t ordinal) {
  device.seek(ordinal);
  return device.relax(drive).potential;
}

// Imposed parameters in the relaxations [first, first + count), one row each.
Matrix imposed_rows(Echo& echo, const NoiseOptions& options, const Drive& drive, std::uint64_t first,
                    std::size_t count) {
  Noisy noisy(echo, options);
  noisy.seek(first);
  echo.imposed.clear();
  noisy.relax(std::vector<Drive>(count, drive), [](std::size_t, const Relaxation&) {});
  Matrix rows(static_cast<Eigen::Index>(count), echo.theta.size());
  for (std::size_t i = 0; i < count; ++i)
    rows.row(static_cast<Eigen::Index>(i)) = echo.imposed[i].theta.values().transpose();
  return rows;
}

Vector imposed_at(Echo& echo, const NoiseOptions& options, const Drive& drive, std::uint64_t ordinal) {
  return imposed_rows(echo, options, drive, ordinal, 1).row(0).transpose();
}

// Checks the mean square of n independent normal numbers of deviation s: its standard error is s^2 sqrt(2 /
// n) (chi-squared with n degrees of freedom); five standard errors are exceeded once in 2 million.
void check_deviation(const Vector& numbers, double deviation) {
  const auto n = static_cast<double>(numbers.size());
  const double square = deviation * deviation;
  INFO("deviation " << std::sqrt(numbers.squaredNorm() / n) << " for " << deviation);
  CHECK(std::abs(numbers.squaredNorm() / n - square) < 5 * square * std::sqrt(2 / n));
  CHECK(std::abs(numbers.mean()) < 5 * deviation / std::sqrt(n));
}

// The correlation of independent numbers of mean 0 has the standard error 1 / sqrt(n).
void check_uncorrelated(const Vector& a, const Vector& b) {
  CHECK(std::abs(a.dot(b) / (a.norm() * b.norm())) < 5 / std::sqrt(static_cast<double>(a.size())));
}

// All kinds of noise at once, on an Echo with further parameters.
NoiseOptions everything() {
  NoiseOptions options;
  options.seed = 12;
  options.read = 0.01;
  options.read_current = 0.02;
  options.drift = 0.003;
  options.drift_rate = 1e-4;
  options.flicker = 0.05;
  options.write = 0.01;
  options.variation = 0.02;
  options.parameter_drift = 0.004;
  options.parameter_drift_rate = 1e-5;
  options.jump_rate = 0.1;
  options.jump_size = 0.3;
  options.cross_talk = 0.05;
  options.resolution = 1e-3;
  options.nudge_resolution = 1e-2;
  options.readback = true;
  return options;
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
  options.read_current = 1e-3;
  options.write = 1e-3;
  options.variation = 1e-2;
  options.drift = 1e-3;
  options.drift_rate = 1e-5;
  options.flicker = 1e-2;
  options.parameter_drift = 1e-3;
  options.parameter_drift_rate = 1e-5;
  options.jump_rate = 0.1;
  options.jump_size = 0.1;
  options.jump_kinds = {"r"};
  options.cross_talk = 0.01;
  options.resolution = 1e-3;
  options.nudge_resolution = 1e-3;
  options.readback = true;
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
    noisy.seek(start);  // back and forth on the same device
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

TEST_CASE("currents have noise of their own, where they are measured", "[noisy]") {
  Echo echo;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  echo.current = (Vector(3) << 7, nan, 0).finished();
  NoiseOptions options;
  options.read = 0.1;
  options.read_current = 0.5;
  Noisy noisy(echo, options);
  const int n = 4000;
  Vector first(n), third(n), potential(n);
  noisy.relax(std::vector<Drive>(n, echo.drive()), [&](std::size_t i, const Relaxation& row) {
    const auto at = static_cast<Eigen::Index>(i);
    first[at] = row.current[0] - 7;
    third[at] = row.current[2];
    potential[at] = row.potential[0];
    CHECK(std::isnan(row.current[1]));
    CHECK(std::isnan(row.current_sigma[1]));
    CHECK(row.current_sigma[0] == 0.5);
    CHECK(row.current_sigma[2] == 0.5);
  });
  check_deviation(first, 0.5);
  check_deviation(third, 0.5);
  check_uncorrelated(first, third);
  check_uncorrelated(first, potential);
  // Independent errors add as squares: 0.3, 0.4, 0.5.
  echo.current_sigma = Vector::Constant(3, 0.3);
  echo.sigma = Vector::Constant(2, 0.3);
  options.read = 0.4;
  options.read_current = 0.4;
  const Relaxation row = Noisy(echo, options).relax(echo.drive());
  CHECK(row.current_sigma[0] == Approx(0.5).epsilon(1e-15));
  CHECK(row.sigma[1] == Approx(0.5).epsilon(1e-15));
  // No currents, no noise of currents.
  echo.current = echo.current_sigma = Vector();
  CHECK(Noisy(echo, options).relax(echo.drive()).current.size() == 0);
  CHECK(Noisy(echo, options).relax(echo.drive()).current_sigma.size() == 0);
}

TEST_CASE("read noise alone hands the drives on as they are", "[noisy]") {
  Echo echo;
  NoiseOptions options;
  options.read = 0.1;
  options.drift = 0.1;
  options.flicker = 0.1;
  const Drive drive = echo.drive();
  Noisy(echo, options).relax(drive);
  CHECK(echo.imposed.back().theta.base == drive.theta.base);  // the same vector, not a copy
  CHECK(echo.imposed.back().clamp.set == drive.clamp.set);
}

TEST_CASE("steps of a random walk are independent on every scale", "[noisy]") {
  Echo echo(50);
  NoiseOptions options;
  options.seed = 5;
  options.drift = 0.1;
  Noisy noisy(echo, options);
  const std::vector<Vector> rows = readings(noisy, echo.drive(), 1025);
  for (const std::size_t step : {1u, 2u, 7u, 32u, 64u, 100u}) {
    INFO("steps of " << step);
    const std::size_t count = 1024 / step;
    Vector steps(static_cast<Eigen::Index>(50 * count));
    for (std::size_t i = 0; i < count; ++i)
      steps.segment(static_cast<Eigen::Index>(50 * i), 50) = rows[(i + 1) * step] - rows[i * step];
    check_deviation(steps, 0.1 * std::sqrt(static_cast<double>(step)));
    check_uncorrelated(steps.head(50 * static_cast<Eigen::Index>(count - 1)),
                       steps.tail(50 * static_cast<Eigen::Index>(count - 1)));
  }
  // Any time is reached directly, also a late one: after n + 1 relaxations the deviation is that of sqrt(n +
  // 1) steps.
  Echo wide(4000);
  Noisy late(wide, options);
  for (const std::uint64_t ordinal : {0ull, 12ull, 999999ull, 123456789012ull}) {
    check_deviation(reading_at(late, wide.drive(), ordinal),
                    0.1 * std::sqrt(static_cast<double>(ordinal + 1)));
  }
}

TEST_CASE("steady drift has its rate and a sign for each reading", "[noisy]") {
  Echo echo(400);
  NoiseOptions options;
  options.drift_rate = 0.25;  // exact in binary
  Noisy noisy(echo, options);
  const Vector first = reading_at(noisy, echo.drive(), 0), later = reading_at(noisy, echo.drive(), 1000);
  CHECK(first.cwiseAbs() == Vector::Constant(400, 0.25));
  CHECK(later == 1001 * first);
  CHECK(std::abs((first / 0.25).sum()) <
        5 * std::sqrt(400.0));  // as many up as down, within five standard errors
  options.seed = 1;
  Noisy other(echo, options);
  CHECK(reading_at(other, echo.drive(), 0) != first);
}

TEST_CASE("flicker noise is stationary with the correlation of its octaves", "[noisy]") {
  Echo echo(4000);
  NoiseOptions options;
  options.seed = 9;
  options.flicker = 0.3;
  Noisy noisy(echo, options);
  CHECK_FALSE(noisy.info().deterministic);
  for (const std::uint64_t ordinal : {0ull, 1ull, 6ull, 1000ull, 3000000ull}) {
    const Vector here = reading_at(noisy, echo.drive(), ordinal);
    check_deviation(here, 0.3);
    for (const std::uint64_t lag : {1ull, 3ull, 50ull, 4096ull}) {
      INFO("ordinal " << ordinal << ", lag " << lag);
      const Vector there = reading_at(noisy, echo.drive(), ordinal + lag);
      double correlation = 0;
      for (int k = 0; k < 20; ++k) correlation += std::exp(-static_cast<double>(lag) / std::pow(2.0, k)) / 20;
      // The mean product of n pairs of unit normal numbers of correlation r has the variance (1 + r^2) / n.
      CHECK(std::abs(here.dot(there) / 4000 / 0.09 - correlation) <
            5 * std::sqrt((1 + correlation * correlation) / 4000));
    }
  }
}

TEST_CASE("flicker noise has a spectrum of 1/f over two decades", "[noisy]") {
  const std::size_t readings_count = 32;
  const int n = 1 << 15;
  Echo echo(readings_count);
  NoiseOptions options;
  options.seed = 2;
  options.flicker = 1;
  Noisy noisy(echo, options);
  const std::vector<Vector> rows = readings(noisy, echo.drive(), n);
  // Mean periodogram of all readings, with a Hann window; its mean square 3/8.
  Vector power = Vector::Zero(n);
  Eigen::FFT<double> fft;
  for (std::size_t k = 0; k < readings_count; ++k) {
    std::vector<double> series(n);
    for (int i = 0; i < n; ++i)
      series[i] = rows[i][static_cast<Eigen::Index>(k)] * (0.5 - 0.5 * std::cos(2 * M_PI * i / n));
    std::vector<std::complex<double>> spectrum;
    fft.fwd(spectrum, series);
    for (int i = 0; i < n; ++i) power[i] += std::norm(spectrum[i]) / (n * 0.375 * readings_count);
  }
  // Octave bands from 1/8192 to 1/64 of a cycle per relaxation: 2.1 decades. Exact: per octave an
  // Ornstein-Uhlenbeck process at integer times, (1 - r^2) / (1 + r^2 - 2 r cos 2 pi f).
  double weights = 0, x_mean = 0, y_mean = 0;
  std::vector<std::array<double, 3>> points;
  for (int low = 4; low < 512; low *= 2) {
    double measured = 0, exact = 0, pink = 0;
    for (int m = low; m < 2 * low; ++m) {
      const double f = static_cast<double>(m) / n;
      measured += power[m];
      pink += 1 / f;
      for (int k = 0; k < 20; ++k) {
        const double r = std::exp(-std::pow(0.5, k));
        exact += (1 - r * r) / (1 + r * r - 2 * r * std::cos(2 * M_PI * f)) / 20;
      }
    }
    // A periodogram's value is exponentially distributed, with a relative deviation of 1; with a Hann window
    // neighbouring values correlate by (2/3)^2 and (1/6)^2, so that a mean over many has 1 + 2 (4/9 + 1/36) =
    // 1.94 times the variance.
    const double error = std::sqrt(1.94 / static_cast<double>(low * readings_count));
    INFO("bins from " << low << ": " << measured / exact << " +- " << error);
    // The window's kernel has a variance of 1/3 square bins, which raises S = 1/f at bin m by S'' / (6 S) =
    // 1/(3 m^2).
    CHECK(std::abs(measured / exact - 1) < 5 * error + 1.0 / (3 * low * low));
    const double weight = 1 / (error * error), x = std::log(1.5 * low), y = std::log(measured / pink);
    points.push_back({x, y, weight});
    weights += weight;
    x_mean += weight * x;
    y_mean += weight * y;
  }
  x_mean /= weights;
  y_mean /= weights;
  double xx = 0, xy = 0;
  for (const auto& [x, y, weight] : points) {
    xx += weight * (x - x_mean) * (x - x_mean);
    xy += weight * (x - x_mean) * (y - y_mean);
  }
  const double slope = -1 + xy / xx;
  INFO("slope " << slope << " +- " << 1 / std::sqrt(xx));
  // Five standard errors of the weighted fit, plus 0.02 for the deviation of twenty octaves from 1/f at the
  // edge of the fastest.
  CHECK(std::abs(slope + 1) < 5 / std::sqrt(xx) + 0.02);
}

TEST_CASE("parameters walk and drift away from their setpoints", "[noisy]") {
  Echo echo(2, 4000);
  NoiseOptions options;
  options.seed = 3;
  SECTION("at random") {
    options.parameter_drift = 1e-3;
    CHECK_FALSE(Noisy(echo, options).info().deterministic);
    for (const std::uint64_t ordinal : {0ull, 99ull, 40000ull}) {
      const Vector deviation = imposed_at(echo, options, echo.drive(), ordinal) - echo.theta;
      check_deviation(deviation.tail(4000), 1e-3 * std::sqrt(static_cast<double>(ordinal + 1)));
      CHECK(deviation[2] == 0);  // a constant does not drift
    }
    const Matrix rows = imposed_rows(echo, options, echo.drive(), 500, 3);
    check_deviation((rows.row(1) - rows.row(0)).tail(4000).transpose(), 1e-3);
    check_uncorrelated((rows.row(1) - rows.row(0)).tail(4000).transpose(),
                       (rows.row(2) - rows.row(1)).tail(4000).transpose());
    CHECK(imposed_at(echo, options, echo.drive(), 502) == rows.row(2).transpose());
    // An override deviates as the base does; on a log scale deviations are relative.
    Drive drive = echo.drive();
    drive.theta = drive.theta.with(3, 0.5).with(1, 20);
    const Vector overridden = imposed_at(echo, options, drive, 502);
    CHECK(overridden[3] - 0.5 == Approx(rows(2, 3)).epsilon(1e-9));
    CHECK(overridden[1] / 20 == Approx(rows(2, 1) / 2).epsilon(1e-15));
    CHECK(rows(2, 1) != 2);
  }
  SECTION("steadily") {
    options.parameter_drift_rate = 0x1p-10;
    const Vector first = imposed_at(echo, options, echo.drive(), 0),
                 later = imposed_at(echo, options, echo.drive(), 99);
    CHECK(first.tail(4000).cwiseAbs() == Vector::Constant(4000, 0x1p-10));
    CHECK(later.tail(4000) == 100 * first.tail(4000));
    CHECK(std::abs(first.tail(4000).sum() * 0x1p10) < 5 * std::sqrt(4000.0));
    CHECK(std::abs(std::log(later[1] / 2)) == Approx(100 * 0x1p-10));
    CHECK(later[2] == 1.23);
  }
}

TEST_CASE("charges jump at their rate, by their size, for good", "[noisy]") {
  const std::size_t knobs = 300, n = 400;
  Echo echo(2, knobs);
  NoiseOptions options;
  options.seed = 8;
  options.jump_rate = 0.02;
  options.jump_size = 0.5;
  CHECK_FALSE(Noisy(echo, options).info().deterministic);
  const Matrix rows = imposed_rows(echo, options, echo.drive(), 0, n);
  CHECK(rows.col(1) == Vector::Constant(n, 2));  // a kind that does not jump
  CHECK(rows.col(2) == Vector::Constant(n, 1.23));
  std::vector<double> sizes;
  Vector number = Vector::Zero(n);  // number of jumps at each time
  for (Eigen::Index i = 3; i < rows.cols(); ++i) {
    double before = 0;
    for (Eigen::Index t = 0; t < rows.rows(); ++t) {
      if (rows(t, i) != before) {
        sizes.push_back(rows(t, i) - before);
        ++number[t];
      }
      before = rows(t, i);
    }
  }
  // Binomial: `trials` chances with probability p, five standard errors.
  const double trials = static_cast<double>(knobs * n), p = 0.02;
  CHECK(std::abs(static_cast<double>(sizes.size()) - trials * p) < 5 * std::sqrt(trials * p * (1 - p)));
  check_deviation(Eigen::Map<const Vector>(sizes.data(), static_cast<Eigen::Index>(sizes.size())), 0.5);
  // Uniform in time: the numbers at n times are binomial with `knobs` chances, so their variance is known to
  // sqrt(2 / n) with a kurtosis of 1 / mean.
  const double mean = static_cast<double>(knobs) * p;
  const double variance = (number.array() - mean).square().mean(), expected = mean * (1 - p);
  CHECK(std::abs(variance - expected) < 5 * expected * std::sqrt((2 + 1 / mean) / static_cast<double>(n)));
  CHECK(std::abs(number.head(n / 2).sum() - number.tail(n / 2).sum()) < 5 * std::sqrt(trials * p));
  // The same bits in any order, back and forth on one device.
  Noisy noisy(echo, options);
  for (const std::uint64_t start : {399u, 0u, 200u, 201u, 17u}) {
    noisy.seek(start);
    noisy.relax(echo.drive());
    CHECK(echo.imposed.back().theta.values() == rows.row(static_cast<Eigen::Index>(start)).transpose());
  }
  SECTION("other kinds, constants too") {
    options.jump_kinds = {"k", "T"};
    options.jump_rate = 1;
    options.jump_size = 0.1;
    const Matrix others = imposed_rows(echo, options, echo.drive(), 0, 1000);
    CHECK(others.rightCols(knobs).isZero(0));
    Vector steps(999), relative(999);
    for (Eigen::Index t = 0; t < 999; ++t) {
      relative[t] = std::log(others(t + 1, 1) / others(t, 1));
      steps[t] = others(t + 1, 2) - others(t, 2);
    }
    check_deviation(relative, 0.1);
    CHECK((steps.head(20).array() != 0).all());
  }
  SECTION("kinds the device has not are refused") {
    options.jump_kinds = {"a", "gamma"};
    CHECK_THROWS_WITH(Noisy(echo, options), Catch::Contains("gamma"));
  }
}

TEST_CASE("a gate's gain multiplies its setpoint, or the setpoint's logarithm", "[noisy]") {
  Echo echo(2, 2000);
  NoiseOptions options;
  options.seed = 8;
  options.gate_gain = 0.02;
  const Noisy noisy(echo, options);
  CHECK(noisy.info().deterministic);
  const auto at = [&](double linear, double log) {
    for (Eigen::Index i = 0; i < echo.theta.size(); ++i) {
      if (noisy.info().parameters[static_cast<std::size_t>(i)].trainable)
        echo.theta[i] =
            noisy.info().parameters[static_cast<std::size_t>(i)].scale == Scale::log ? log : linear;
    }
    return imposed_at(echo, options, echo.drive(), 3);
  };
  const Vector one = at(0.5, 3), other = at(-1.5, 0.5), setpoint = echo.theta;
  std::vector<double> gains;
  for (Eigen::Index i = 0; i < setpoint.size(); ++i) {
    const ParameterInfo& info = noisy.info().parameters[static_cast<std::size_t>(i)];
    INFO(info.name);
    if (!info.trainable) {
      CHECK(one[i] == setpoint[i]);
      continue;
    }
    const bool log = info.scale == Scale::log;
    const double gain = log ? std::log(one[i]) / std::log(3.0) - 1 : one[i] / 0.5 - 1;
    gains.push_back(gain);
    // The same gain at another setpoint; rounding of a logarithm's quotient.
    CHECK(other[i] == Approx(log ? std::pow(0.5, 1 + gain) : -1.5 * (1 + gain)).epsilon(1e-14));
    CHECK(noisy.deviation(setpoint)[i] ==
          Approx(log ? gain * std::log(0.5) : -1.5 * gain).epsilon(1e-10).margin(1e-15));
  }
  check_deviation(Eigen::Map<const Vector>(gains.data(), static_cast<Eigen::Index>(gains.size())), 0.02);
}

TEST_CASE("knobs move one another", "[noisy]") {
  const Eigen::Index n = 61;  // a and further ones
  Echo echo(2, static_cast<std::size_t>(n) - 1);
  NoiseOptions options;
  options.seed = 6;
  options.cross_talk = 0.2;
  CHECK(Noisy(echo, options).info().deterministic);
  std::vector<Eigen::Index> knobs{0};
  for (Eigen::Index i = 3; i < echo.theta.size(); ++i) knobs.push_back(i);
  // Its columns, one parameter at a time.
  Matrix coupling(n, n);
  for (Eigen::Index j = 0; j < n; ++j) {
    echo.theta(knobs).setZero();
    echo.theta[knobs[static_cast<std::size_t>(j)]] = 1;
    const Vector imposed = imposed_at(echo, options, echo.drive(), 0);
    coupling.col(j) = imposed(knobs) - echo.theta(knobs);
    CHECK(imposed[1] == 2);  // another kind
    CHECK(imposed[2] == 1.23);
  }
  CHECK(coupling.diagonal().isZero(0));
  std::vector<double> entries, mirrored;
  for (Eigen::Index i = 0; i < n; ++i) {
    for (Eigen::Index j = 0; j < n; ++j) {
      if (i == j) continue;
      entries.push_back(coupling(i, j));
      mirrored.push_back(coupling(j, i));
    }
  }
  const Eigen::Map<const Vector> all(entries.data(), n * (n - 1)), other(mirrored.data(), n * (n - 1));
  check_deviation(all, 0.2 / std::sqrt(60.0));
  CHECK(std::abs(all.dot(other) / all.squaredNorm()) <
        5 * std::sqrt(2 / static_cast<double>(n * (n - 1))));  // not symmetric: each pair occurs twice
  // All parameters together.
  for (Eigen::Index k = 0; k < n; ++k)
    echo.theta[knobs[static_cast<std::size_t>(k)]] = std::sin(1.0 + static_cast<double>(k));
  const Drive drive = echo.drive();
  const Vector imposed = imposed_at(echo, options, drive, 7);
  const Vector expected = echo.theta(knobs) + coupling * echo.theta(knobs);
  CHECK((imposed(knobs) - expected).cwiseAbs().maxCoeff() <
        1e-14);  // rounding of sums of 60 terms of size 0.03
  // An override moves the others in the same way as a new base.
  Drive overridden = drive;
  overridden.theta = drive.theta.with(5, 0.9).with(1, 3);
  Vector changed = echo.theta;
  changed[5] = 0.9;
  changed[1] = 3;
  Drive anew = drive;
  anew.theta = Parameters::of(changed);
  CHECK(imposed_at(echo, options, overridden, 0) == imposed_at(echo, options, anew, 0));
  CHECK(imposed_at(echo, options, overridden, 0)[6] != imposed[6]);
  SECTION("a device is told where that cannot be") {
    Echo alone, many(2, 2000);
    CHECK_THROWS_WITH(Noisy(alone, options), Catch::Contains("cross_talk 0.2") && Catch::Contains("no two"));
    CHECK_THROWS_WITH(Noisy(many, options),
                      Catch::Contains("2001 parameters of kind 'a'") && Catch::Contains("2000"));
  }
}

TEST_CASE("sources round all they impose", "[noisy]") {
  Echo echo;
  NoiseOptions options;
  options.resolution = 0.25;
  Drive drive = echo.drive();
  drive.holds = {{1, 0.4}};
  drive.nudge = (Vector(2) << 0.33, 0.128).finished();
  Noisy(echo, options).relax(drive);
  CHECK(echo.imposed.back().holds == std::vector<Hold>{{1, 0.5}});
  CHECK(echo.imposed.back().nudge == drive.nudge);
  drive.holds = {{1, 0.96}};
  Noisy(echo, options).relax(drive);
  CHECK(echo.imposed.back().holds[0].level == 0.97);  // 1 is out of range
  options.resolution = 0;
  options.nudge_resolution = 0.0625;
  Noisy noisy(echo, options);
  CHECK(noisy.info().deterministic);
  noisy.relax(drive);
  CHECK(echo.imposed.back().nudge == (Vector(2) << 0.3125, 0.125).finished());
  CHECK(echo.imposed.back().holds == drive.holds);
  CHECK(echo.imposed.back().theta.base == drive.theta.base);
  drive.nudge = (Vector(2) << -0.05, 0.025).finished();
  noisy.relax(drive);
  CHECK(echo.imposed.back().nudge ==
        (Vector(2) << -0.0625, 0).finished());  // zero is allowed, though not in [0.02, 0.13]
  options.nudge_resolution = 0.1;
  drive.nudge = (Vector(2) << 0, 0.13).finished();
  Noisy(echo, options).relax(drive);
  CHECK(echo.imposed.back().nudge[1] == Approx(0.1));
  options.nudge_resolution = 0.015;
  drive.nudge[1] = 0.128;
  Noisy(echo, options).relax(drive);
  CHECK(echo.imposed.back().nudge[1] == 0.13);  // 0.135 is out of range
}

TEST_CASE("a readback is what the sources were told", "[noisy]") {
  Echo echo(2, 3);
  NoiseOptions options = everything();
  options.resolution = 0.25;
  Drive drive = echo.drive();
  drive.theta = drive.theta.with(4, 0.6).with(4, 0.7).with(0, 1.95);
  Noisy noisy(echo, options);
  const Vector told = noisy.relax(drive).theta_readback;
  CHECK(told == (Vector(6) << 2, 2, 1.23, 0, 0.75, 0).finished());  // the constant is not written
  CHECK(told != echo.imposed.back().theta.values());
  options.readback = false;
  CHECK(Noisy(echo, options).relax(drive).theta_readback.size() == 0);
  NoiseOptions only;
  only.readback = true;
  CHECK(only.any());
  Noisy ideal(echo, only);
  CHECK(ideal.info().deterministic);
  CHECK(ideal.info().identity == "echo");
  CHECK(ideal.relax(drive).theta_readback == drive.theta.values());
  CHECK(echo.imposed.back().theta.base == drive.theta.base);
}

TEST_CASE("all sources together are the sum of each alone", "[noisy]") {
  Echo echo(20, 40);
  echo.current = Vector::Constant(21, 1.5);
  const NoiseOptions all = everything();
  const Drive drive = echo.drive();
  const std::uint64_t ordinal = 321;
  const auto relaxed = [&](const NoiseOptions& options) {
    Noisy noisy(echo, options);
    noisy.seek(ordinal);
    return noisy.relax(drive);
  };
  const auto only = [&](auto... members) {
    NoiseOptions options;
    options.seed = all.seed;
    ((options.*members = all.*members), ...);
    return options;
  };
  using Options = NoiseOptions;
  // Readings are 0 except for the noise, so sums differ by rounding alone: a few units in the last place of
  // numbers below 1.
  const Vector sum = relaxed(only(&Options::read)).potential + relaxed(only(&Options::drift)).potential +
                     relaxed(only(&Options::drift_rate)).potential +
                     relaxed(only(&Options::flicker)).potential;
  const Relaxation together = relaxed(all);
  CHECK((together.potential - sum).cwiseAbs().maxCoeff() < 1e-15);
  CHECK(together.current == relaxed(only(&Options::read_current)).current);
  CHECK(together.sigma == Vector::Constant(20, 0.01));
  CHECK(together.current_sigma == Vector::Constant(21, 0.02));
  // Parameters: deviations in the parameter's scale. Setpoints are multiples of the resolution, so that
  // rounding and cross-talk add up, too.
  for (Eigen::Index i = 3; i < echo.theta.size(); ++i) echo.theta[i] = 1e-3 * static_cast<double>(i);
  echo.theta[0] = 0.34;
  const Drive written = echo.drive();
  Vector deviations = Vector::Zero(echo.theta.size()), logarithm = deviations;
  for (const NoiseOptions& one :
       {only(&Options::write), only(&Options::variation), only(&Options::parameter_drift),
        only(&Options::parameter_drift_rate), only(&Options::jump_rate, &Options::jump_size),
        only(&Options::cross_talk), only(&Options::resolution)}) {
    const Vector imposed = imposed_at(echo, one, written, ordinal);
    deviations += imposed - echo.theta;
    logarithm[1] += std::log(imposed[1] / 2);
  }
  const Vector imposed = imposed_at(echo, all, written, ordinal);
  CHECK((imposed - echo.theta - deviations).tail(40).cwiseAbs().maxCoeff() <
        1e-14);  // rounding of eight terms of size 1
  CHECK(imposed[2] - 1.23 == Approx(deviations[2]).epsilon(1e-12));
  CHECK(std::log(imposed[1] / 2) == Approx(logarithm[1]).epsilon(1e-12));
}

TEST_CASE("sources of noise are independent of one another", "[noisy]") {
  const Eigen::Index n = 4000;
  Echo echo(n, n);
  echo.current = Vector::Zero(1 + n);
  using Options = NoiseOptions;
  const auto numbers_of = [&](double Options::*member, std::uint64_t ordinal) -> Vector {
    NoiseOptions options;
    options.seed = 31;
    options.jump_rate = member == &Options::jump_size ? 1 : 0;
    options.*member = 0.1;
    Noisy noisy(echo, options);
    noisy.seek(ordinal);
    const Relaxation row = noisy.relax(echo.drive());
    if (!row.potential.isZero(0)) return row.potential;
    if (!row.current.isZero(0)) return row.current.tail(n);
    return echo.imposed.back().theta.base->tail(n);
  };
  // at two neighbouring ordinals, because the first time of a walk is 1
  std::vector<std::array<Vector, 2>> sources;
  for (double Options::*member :
       {&Options::read, &Options::read_current, &Options::drift, &Options::drift_rate, &Options::flicker,
        &Options::write, &Options::variation, &Options::parameter_drift, &Options::parameter_drift_rate,
        &Options::jump_size})
    sources.push_back({numbers_of(member, 0), numbers_of(member, 1)});
  for (std::size_t i = 0; i < sources.size(); ++i) {
    INFO("source " << i);
    check_deviation(sources[i][0], 0.1);
    check_uncorrelated(sources[i][0].head(n - 1), sources[i][0].tail(n - 1));
    for (std::size_t j = 0; j < i; ++j) {
      // There are three channels of parameters before those kept here, and one terminal before the readings.
      for (Eigen::Index shift = 0; shift <= 3; ++shift) {
        INFO("and source " << j << ", shifted by " << shift);
        for (const Vector& a : sources[i]) {
          for (const Vector& b : sources[j]) {
            check_uncorrelated(a.head(n - shift), b.tail(n - shift));
            check_uncorrelated(b.head(n - shift), a.tail(n - shift));
          }
        }
      }
    }
  }
}

TEST_CASE("noise does not depend on how relaxations are batched", "[noisy]") {
  Echo echo(5, 20);
  echo.current = Vector::Zero(6);
  const std::size_t n = 60;
  std::vector<Drive> drives;
  for (std::size_t i = 0; i < n; ++i) {
    Drive drive = drives.empty() || i % 10 == 0 ? echo.drive() : drives.back();
    if (i % 10 == 0) {
      echo.theta.tail(20).array() += 0.01;
      drive.theta = Parameters::of(echo.theta);
    }
    drive.theta.overrides.clear();
    if (i % 3 == 1) drive.theta = drive.theta.with(static_cast<std::uint32_t>(i % 20), 0.5);
    drives.push_back(drive);
  }
  struct Seen {
    std::vector<Vector> theta;
    std::vector<Relaxation> rows;
  };
  const auto run = [&](const NoiseOptions& options, std::size_t batch, std::size_t first) {
    Seen seen;
    Noisy noisy(echo, options);
    noisy.seek(first);
    echo.imposed.clear();
    for (std::size_t at = first; at < n; at += batch) {
      const std::span<const Drive> some(drives.data() + at, std::min(batch, n - at));
      noisy.relax(some, [&](std::size_t, const Relaxation& row) { seen.rows.push_back(row); });
    }
    for (const Drive& drive : echo.imposed) seen.theta.push_back(drive.theta.values());
    return seen;
  };
  NoiseOptions fixed;
  fixed.variation = 0.1;
  fixed.gate_gain = 0.1;
  fixed.cross_talk = 0.1;
  fixed.resolution = 0.001;
  for (const NoiseOptions& options : {everything(), fixed}) {
    const Seen whole = run(options, n, 0);
    for (const std::size_t batch : {1u, 7u, 60u}) {
      for (const std::size_t first : {0u, 23u}) {
        INFO("batches of " << batch << " from " << first);
        const Seen part = run(options, batch, first);
        REQUIRE(part.rows.size() == n - first);
        bool same = true;
        for (std::size_t i = first; i < n; ++i) {
          const Relaxation &a = whole.rows[i], &b = part.rows[i - first];
          same = same && contract::same_bits(whole.theta[i], part.theta[i - first]) &&
                 contract::same_bits(a.potential, b.potential) && contract::same_bits(a.current, b.current) &&
                 contract::same_bits(a.theta_readback, b.theta_readback);
        }
        CHECK(same);
      }
    }
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
  using Options = NoiseOptions;
  const std::pair<double Options::*, std::string> all[] = {
      {&Options::read, "read"},
      {&Options::read_current, "read_current"},
      {&Options::drift, "drift"},
      {&Options::drift_rate, "drift_rate"},
      {&Options::flicker, "flicker"},
      {&Options::write, "write"},
      {&Options::variation, "variation"},
      {&Options::gate_gain, "gate_gain"},
      {&Options::parameter_drift, "parameter_drift"},
      {&Options::parameter_drift_rate, "parameter_drift_rate"},
      {&Options::jump_rate, "jump_rate"},
      {&Options::jump_size, "jump_size"},
      {&Options::cross_talk, "cross_talk"},
      {&Options::resolution, "resolution"},
      {&Options::nudge_resolution, "nudge_resolution"}};
  for (const auto& [member, name] : all) {
    for (const double value : {-0.5, std::numeric_limits<double>::infinity()}) {
      NoiseOptions one;
      one.*member = value;
      CHECK(one.problem().starts_with(name + (value < 0 ? " -0.5;" : " inf;")));
    }
    // Each option alone is noise, except jumps without rate or without size.
    NoiseOptions one;
    one.*member = 0.5;
    CHECK(one.problem().empty());
    CHECK(one.any() == !name.starts_with("jump"));
    CHECK(one.varies_in_time() == (one.any() && name != "variation" && name != "gate_gain" &&
                                   name != "cross_talk" && !name.ends_with("resolution")));
  }
  NoiseOptions jumping;
  jumping.jump_rate = 1.5;
  CHECK(jumping.problem().find("jump_rate 1.5") == 0);
  jumping.jump_rate = jumping.jump_size = 1;
  CHECK(jumping.problem().empty());
  CHECK(jumping.any());
  CHECK(jumping.varies_in_time());
  jumping.jump_kinds.clear();
  CHECK(jumping.problem().find("jump_kinds") == 0);
  NoiseOptions none;
  Noisy silent(echo, none);
  CHECK_FALSE(none.any());
  CHECK_THROWS_WITH(silent.seek(std::uint64_t{1} << 62), Catch::Contains("4611686018427387904"));
}

TEST_CASE("the mean of several readings has less noise than one, by the root of their number", "[noise]") {
  toy::Network network;
  NoiseOptions options;
  options.read = 0.1;
  options.seed = 3;
  Noisy device(network, options);
  Drive drive;
  drive.theta = Parameters::of(network.example_theta());
  drive.clamp = pattern_of(Vector{{0.5, 1.0}});
  const Vector clean = network.relax(drive).potential;
  for (const std::uint32_t samples : {1u, 25u}) {
    drive.observe = At{1, samples};
    constexpr int runs = 2000;
    double squares = 0;
    for (int i = 0; i < runs; ++i) {
      const Relaxation row = device.relax(drive);
      squares += (row.potential - clean).squaredNorm() / static_cast<double>(clean.size());
      CHECK(row.sigma[0] == Approx(0.1 / std::sqrt(samples)));
    }
    // 6000 numbers: their mean square has a standard error of 1.8 %.
    CHECK(squares / runs == Approx(0.01 / samples).epsilon(0.09));
  }
}

TEST_CASE("readings that are kept one by one have the noise of single ones, and the same mean", "[noise]") {
  toy::Network network;
  /// The toy's readings do not move: a path is its potential, again and again.
  class Repeating final : public WrappingDevice {
   public:
    explicit Repeating(Device& device) : WrappingDevice(device), info_(device.info()) {
      info_.reads_path = true;
    }
    const DeviceInfo& info() const override { return info_; }

   protected:
    void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
      inner().relax(
          drives_without_path(drives),
          [&](std::size_t i, const Relaxation& relaxation) {
            Relaxation row = relaxation;
            const At& at = std::get<At>(drives[i].observe);
            if (at.path) row.path = row.potential.transpose().replicate(at.samples, 1);
            sink(i, row);
          },
          stop);
    }

   private:
    static std::vector<Drive> drives_without_path(std::span<const Drive> drives) {
      std::vector<Drive> altered(drives.begin(), drives.end());
      for (Drive& drive : altered) std::get<At>(drive.observe).path = false;
      return altered;
    }
    DeviceInfo info_;
  } repeating(network);
  NoiseOptions options;
  options.read = 0.1;
  options.drift = 0.01;
  options.seed = 3;
  Noisy kept(repeating, options), plain(repeating, options);
  Drive drive;
  drive.theta = Parameters::of(network.example_theta());
  drive.clamp = pattern_of(Vector{{0.5, 1.0}});
  constexpr std::uint32_t samples = 5;
  constexpr int runs = 2000;
  double squares = 0, products = 0;
  for (int i = 0; i < runs; ++i) {
    drive.observe = At{1, samples};
    const Relaxation without = plain.relax(drive);
    drive.observe = At{1, samples, 0, At::Mode::serial, true};
    const Relaxation row = kept.relax(drive);
    REQUIRE(row.path.rows() == samples);
    CHECK(row.potential == without.potential);
    CHECK((row.path.colwise().mean().transpose() - row.potential).cwiseAbs().maxCoeff() < 1e-14);
    // Differences of two readings: drift, which is common to all of one relaxation, drops out.
    for (Eigen::Index k = 0; k < row.path.cols(); ++k) {
      const double first = row.path(0, k) - row.path(1, k), second = row.path(1, k) - row.path(2, k);
      squares += first * first;
      products += first * second;
    }
  }
  const double count = runs * static_cast<double>(network.info().read().size());
  // Independent readings: variance 2 sigma^2, and covariance -sigma^2 of neighbouring differences. The
  // standard error of both is 0.02 sigma^2 sqrt(6000 / count); 5 of them.
  CHECK(squares / count == Approx(0.02).margin(5 * 0.02 * 0.02 * std::sqrt(6000 / count)));
  CHECK(products / count == Approx(-0.01).margin(5 * 0.02 * 0.02 * std::sqrt(6000 / count)));
}
