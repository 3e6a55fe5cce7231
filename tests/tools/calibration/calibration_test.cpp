// Calibration: offsets found to rounding without noise, gauge freedoms named, wrong rows left out, correct
// intervals.
#include "ness/files/network_platform.hpp"
#include "ness/calibration/calibration.hpp"

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "ness/runs/logged_run.hpp"
#include "ness/device/digest.hpp"
#include "ness/device/error.hpp"
#include "ness/device/random.hpp"
#include "ness/record/recorder.hpp"
#include "ness/network/sensitivity.hpp"
#include "ness/network/steady_state.hpp"
#include "serial_noise.hpp"
#include "variance_components.hpp"

using namespace ness;

namespace {

struct TemporaryDirectory {
  std::filesystem::path path;
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ness-calibration-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
};

const std::string dots = R"(seed = 3
[network]
law = "quantum-dot"
layers = [2, 2, 1]
[parameters.gamma]
value = 1.0
range = [0.05, 40.0]
[parameters.a]
normal = [0.0, 1.0]
[parameters.b]
value = 0.0
trainable = false
[parameters.b.layer-2]
value = -1.0
[parameters.g]
value = 0.37
trainable = false
[parameters.mu_ref]
value = 0.0
[task]
kind = "xor"
[estimator]
kind = "ep-centred"
beta = 0.05
[optimizer]
rate = 0.05
[training]
epochs = 60
)";

Experiment load(const std::string& text, const std::vector<std::string>& set = {}) {
  LoadOptions options;
  options.set = set;
  return experiment_from_text(text, "bench.toml", options);
}

/// Trains with a log.
void train(const Experiment& experiment, Run& run, const std::string& path) {
  LogWriter log(path, log_header(experiment, run, "test"), experiment.log);
  Recorder recorder(run.device(), log);
  Trainer trainer(recorder, *run.estimator, *experiment.task, *run.space, experiment.optimizer, run.training);
  trainer.observe(recorder);
  trainer.run(run.theta);
  log.close(ExitStatus::finished, "done");
}

/// A log, the calibration from it, and the experiment that made it.
struct Logged {
  TemporaryDirectory directory;
  Experiment experiment;
  Run run;
  std::unique_ptr<LogReader> log;
  CalibrationData data;

  explicit Logged(const std::vector<std::string>& set, std::uint64_t rows = 500)
      : experiment(load(dots, set)), run(prepare(experiment)) {
    train(experiment, run, path());
    log = std::make_unique<LogReader>(path());
    data = calibration_data(*log, experiment, run, rows);
  }
  std::string path() const { return (directory.path / "run.h5").string(); }
  Calibration calibrated(const CalibrationOptions& options = {}) const {
    return calibrate(*network_of(run.platform), network_description(experiment).simulation.steady_state, data,
                     experiment.twin, options);
  }
};

/// Relaxations of a network whose parameters have offsets, each with other setpoints and inputs.
CalibrationData simulated(const sim::Network& network, const Vector& offset, std::size_t rows) {
  const std::vector<ParameterInfo> parameters = network.parameter_info();
  CalibrationData data;
  for (const std::uint32_t node : network.free())
    data.readings.push_back({node, false, "node-" + std::to_string(node)});
  data.nudged_by_leak.assign(network.free().size(), false);
  data.logged = data.usable = rows;
  Random random(11);
  for (std::size_t i = 0; i < rows; ++i) {
    CalibrationRow row;
    row.row = i;
    Vector theta = network.theta();
    for (Eigen::Index p = 0; p < theta.size(); ++p) {
      const double step = random.normal();
      theta[p] = parameters[static_cast<std::size_t>(p)].scale == Scale::log ? theta[p] * std::exp(0.5 * step)
                                                                             : theta[p] + step;
    }
    row.theta = std::make_shared<const Vector>(theta);
    row.clamp.resize(static_cast<Eigen::Index>(network.clamped().size()));
    for (double& level : row.clamp) level = random.uniform(-2, 3);
    const Vector truth = offset_values(parameters, theta, offset);
    sim::Boundary boundary;
    boundary.theta = truth.data();
    boundary.clamp = row.clamp;
    const sim::SteadyState state = sim::relax(network, boundary, network.rest());
    REQUIRE(state.verdict == sim::Verdict::converged);
    row.reading = state.potential;
    row.sigma = Vector::Constant(row.reading.size(), std::nan(""));
    data.rows.push_back(std::move(row));
  }
  return data;
}

sim::NetworkSpec linear_network(double g) {
  sim::NetworkSpec spec;
  spec.graph = layered({2, 2, 1});
  spec.nodes.resize(5);
  for (std::size_t k = 2; k < 5; ++k) {
    spec.nodes[k].g = g;
    spec.nodes[k].mu_ref = 0.2;
  }
  for (std::size_t e = 0; e < 6; ++e)
    spec.edges.push_back({sim::Law::linear, {0.5 + 0.2 * static_cast<double>(e), 0, 0, 0}});
  return spec;
}

Vector some_offsets(const sim::Network& network) {
  Vector offset(static_cast<Eigen::Index>(network.parameters()));
  for (Eigen::Index i = 0; i < offset.size(); ++i)
    offset[i] = 0.06 * std::cos(1.0 + 1.9 * static_cast<double>(i));
  return offset;
}

std::string why_not(const std::function<void()>& act) {
  try {
    act();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was refused";
}

}  // namespace

TEST_CASE("without noise a logged run gives the offsets of its device back, gains too", "[calibration]") {
  const Logged logged({"device.variation=0.05"});
  CalibrationOptions options;
  SECTION("offsets of parameters") {
    const Calibration found = logged.calibrated(options);
    CHECK(found.converged);
    CHECK(found.rank == 24);
    CHECK(found.not_identified.empty());
    CHECK(found.left_out.empty());
    const Vector truth = logged.run.noisy->variation();
    REQUIRE(truth.cwiseAbs().maxCoeff() > 0.05);
    // States are exact to 1e-14 kT; the worst determined combination has an error 1e4 times that.
    CHECK((found.twin.theta - truth).cwiseAbs().maxCoeff() < 1e-8);
    CHECK(*std::max_element(found.noise.begin(), found.noise.end()) < 1e-10);
    CHECK(std::isnan(found.chi_squared));
  }
  SECTION("on any number of threads the same bits") {
    options.threads = 1;
    const Vector one = logged.calibrated(options).twin.theta;
    options.threads = 3;
    CHECK(logged.calibrated(options).twin.theta == one);
  }
  SECTION("and gains of readings and inputs, where they are asked for") {
    CalibrationData data = logged.data;
    const Vector gain = (Vector(3) << 1.01, 0.98, 1.02).finished(),
                 zero = (Vector(3) << 0.02, -0.01, 0.015).finished();
    for (CalibrationRow& row : data.rows)
      row.reading = (gain.array() * row.reading.array() + zero.array()).matrix();
    // Inputs with two levels: x was recorded where the device was held at gain x + offset.
    const Vector input_gain = (Vector(2) << 0.99, 1.015).finished(),
                 input_zero = (Vector(2) << -0.02, 0.01).finished();
    for (CalibrationRow& row : data.rows)
      row.clamp = ((row.clamp - input_zero).array() / input_gain.array()).matrix();
    options.gains = true;
    CHECK(calibrate(*network_of(logged.run.platform), {}, logged.data, {}, options).rank == 30);
    options.inputs = true;
    const Calibration found = calibrate(*network_of(logged.run.platform), {}, data, {}, options);
    CHECK((found.twin.input_gain - input_gain).cwiseAbs().maxCoeff() < 1e-7);
    CHECK((found.twin.gain - gain).cwiseAbs().maxCoeff() < 1e-7);
    // The zero of potential is not determined: if all inputs, levels a and leak references rise by the same
    // amount, and readings fall by gain times it, the readings are the same.
    CHECK(found.rank == 33);
    REQUIRE(found.not_identified.size() == 1);
    REQUIRE(found.not_identified[0].size() == 2 + 6 + 3 + 3);
    Vector direction = Vector::Zero(34), truth = direction, offset = direction;
    for (const auto& [coefficient, unknown] : found.not_identified[0])
      direction[static_cast<Eigen::Index>(unknown)] = coefficient;
    direction /= direction[6];
    for (std::size_t i = 0; i < 34; ++i) {
      const std::string& name = found.unknowns[i].name;
      const double expected = name.starts_with("offset of in") || name[0] == 'a' || name.starts_with("mu_ref")
                                  ? 1
                              : name.starts_with("offset of") ? -gain[static_cast<Eigen::Index>(i) - 27]
                                                              : 0;
      CHECK(direction[static_cast<Eigen::Index>(i)] == Approx(expected).margin(1e-6));
      CHECK(found.unknowns[i].identified == (expected == 0));
      offset[static_cast<Eigen::Index>(i)] = found.unknowns[i].offset;
    }
    truth << logged.run.noisy->variation(), (gain.array() - 1).matrix(), zero,
        (input_gain.array() - 1).matrix(), input_zero;
    // Everything except that is found.
    const Vector error = offset - truth;
    CHECK((error - direction * (direction.dot(error) / direction.squaredNorm())).cwiseAbs().maxCoeff() <
          1e-7);
    // With exact meters, the inputs are known.
    data = logged.data;
    for (CalibrationRow& row : data.rows)
      row.clamp = ((row.clamp - input_zero).array() / input_gain.array()).matrix();
    options.gains = false;
    const Calibration inputs = calibrate(*network_of(logged.run.platform), {}, data, {}, options);
    CHECK(inputs.rank == 28);
    CHECK((inputs.twin.input_gain - input_gain).cwiseAbs().maxCoeff() < 1e-8);
    CHECK((inputs.twin.input_offset - input_zero).cwiseAbs().maxCoeff() < 1e-8);
    CHECK((inputs.twin.theta - logged.run.noisy->variation()).cwiseAbs().maxCoeff() < 1e-8);
    // The file contains them; and known gains are used, and kept, if they are not fitted again.
    const Experiment twin =
        load(twin_text(logged.experiment, *network_of(logged.run.platform), data, inputs, options, "run.h5"));
    CHECK(twin.twin.input_gain == inputs.twin.input_gain);
    CHECK(twin.twin.input_offset == inputs.twin.input_offset);
    CHECK(twin.twin.gain.size() == 0);
    options.inputs = false;
    const Calibration kept = calibrate(*network_of(logged.run.platform), {}, data, twin.twin, options);
    CHECK(kept.rank == 24);
    CHECK(kept.twin.input_gain == inputs.twin.input_gain);
    CHECK((kept.twin.theta - inputs.twin.theta).cwiseAbs().maxCoeff() < 1e-8);
    CHECK(load(twin_text(twin, *network_of(logged.run.platform), data, kept, options, "run.h5"))
              .twin.input_offset == inputs.twin.input_offset);
  }
}

TEST_CASE("with noise: its size, and errors that fit the intervals", "[calibration]") {
  const Logged logged({"device.variation=0.05", "device.read_noise=1e-3"}, 720);
  const Calibration found = logged.calibrated();
  const Vector truth = logged.run.noisy->variation();
  REQUIRE(found.rank == 24);
  double squares = 0;
  for (std::size_t i = 0; i < 24; ++i) {
    const CalibratedUnknown& unknown = found.unknowns[i];
    REQUIRE(unknown.identified);
    // 24 normal errors beyond 4.5 standard errors: once in 6,000 seeds; the seed is fixed.
    CHECK(std::abs(unknown.offset - truth[static_cast<Eigen::Index>(i)]) < 4.5 * unknown.standard_error);
    squares += std::pow((unknown.offset - truth[static_cast<Eigen::Index>(i)]) / unknown.standard_error, 2);
    // 1.9611: Student's t of 2,136 degrees of freedom at 0.975.
    CHECK((unknown.high - unknown.low) / (2 * unknown.standard_error) == Approx(1.9611).margin(2e-4));
  }
  // Chi-squared of 24 (correlated) numbers: a mean square outside 0.2 to 3 is not due to chance.
  CHECK(squares / 24 > 0.2);
  CHECK(squares / 24 < 3);
  // 720 readings determine their noise to 1/sqrt(1440) = 2.6 %: 4 of these.
  for (const double noise : found.noise) CHECK(noise == Approx(1e-3).epsilon(0.1));
  CHECK(found.degrees_of_freedom == Approx(2160 - 24).epsilon(1e-9));
  // sqrt(2 / 2136) = 0.031: 4 of these.
  CHECK(found.chi_squared == Approx(1).margin(0.12));
}

namespace {

/// Intervals of moved and constant parameters that contain the truth, of how many, over these seeds. The
/// truth is where a setpoint is 0, or 1 in log scale; of what never moved it is at the setpoint.
struct Coverage {
  int covered = 0, all = 0, withheld = 0;
};
Coverage coverage(std::vector<std::string> set, int seeds, const CalibrationOptions& options = {}) {
  Coverage count;
  set.insert(set.end(), {"device.variation=0.05", "device.read_noise=1e-3", "seed=0"});
  for (int seed = 0; seed < seeds; ++seed) {
    set.back() = "seed=" + std::to_string(40 + seed);
    const Logged logged(set, 720);
    const Calibration found = logged.calibrated(options);
    count.withheld += !found.withheld.empty();
    Vector middle = Vector::Zero(logged.data.rows.front().theta->size());
    for (Eigen::Index i = 0; i < middle.size(); ++i) {
      const bool log = found.unknowns[static_cast<std::size_t>(i)].scale == Scale::log;
      for (const CalibrationRow& row : logged.data.rows)
        middle[i] += (log ? std::log((*row.theta)[i]) : (*row.theta)[i]) /
                     static_cast<double>(logged.data.rows.size());
      if (log) middle[i] = std::exp(middle[i]);
    }
    const Vector truth = logged.run.noisy->deviation(middle);
    for (Eigen::Index i = 0; i < truth.size(); ++i) {
      const CalibratedUnknown& unknown = found.unknowns[static_cast<std::size_t>(i)];
      if (!unknown.identified || !found.withheld.empty()) continue;
      ++count.all;
      count.covered += unknown.low <= truth[i] && truth[i] <= unknown.high;
    }
  }
  return count;
}

/// The share of N intervals of 95 % that cover, less 4 of its standard deviations: of the 24 of a seed, whose
/// errors are correlated, some 6 count as independent.
double least_coverage(const Coverage& count) { return 0.95 - 4 * std::sqrt(0.95 * 0.05 / (count.all / 4.0)); }

}  // namespace

TEST_CASE("intervals cover under drift, flicker, gains of gates and cross-talk", "[calibration]") {
  // Beside them the least squares of white noise alone: what the old intervals were.
  CalibrationOptions white;
  white.nuisances = false;
  for (const char* key :
       {"device.drift=2e-4", "device.flicker=3e-3", "device.gate_gain=0.01", "device.cross_talk=0.01"}) {
    INFO(key);
    const Coverage count = coverage({key}, 3);
    CHECK(count.withheld == 0);
    CHECK(count.all == 3 * 24);
    CHECK(count.covered >= least_coverage(count) * count.all);
    // These do not cover, or their residuals are found not to be white.
    const Coverage old = coverage({key}, 2, white);
    CHECK((old.withheld > 0 || old.covered < least_coverage(count) * old.all));
  }
}

TEST_CASE("without drift and nuisances the fit is least squares of white noise", "[calibration]") {
  int none = 0;
  for (const int seed : {0, 1, 2}) {
    const Logged logged({"device.variation=0.05", "device.read_noise=1e-3", "seed=" + std::to_string(seed)},
                        500);
    const Calibration found = logged.calibrated();
    const bool white = found.effects.empty() &&
                       *std::max_element(found.walk.begin(), found.walk.end()) == 0 &&
                       *std::max_element(found.flicker.begin(), found.flicker.end()) == 0;
    none += white;
    if (!white) continue;
    CHECK(found.doubts.empty());
    CHECK(found.widened == 1);
    CalibrationOptions options;
    options.nuisances = false;
    const Calibration plain = logged.calibrated(options);
    CHECK(found.degrees_of_freedom == Approx(plain.degrees_of_freedom).epsilon(1e-9));
    for (std::size_t i = 0; i < found.unknowns.size(); ++i) {
      // Each ends within 1e-2 standard errors of the minimum, and the noise within 1e-3 of itself.
      CHECK(std::abs(found.unknowns[i].offset - plain.unknowns[i].offset) <
            2e-2 * plain.unknowns[i].standard_error);
      CHECK(found.unknowns[i].standard_error == Approx(plain.unknowns[i].standard_error).epsilon(2e-3));
    }
  }
  // Eight kinds and six strengths of correlated noise are each kept in some 8 % of white logs.
  CHECK(none >= 1);
}

TEST_CASE("what the model does not describe is told, and intervals widen or are withheld", "[calibration]") {
  const Logged logged({"device.variation=0.05", "device.read_noise=1e-3"}, 720);
  const auto with = [&](double size) {
    CalibrationData data = logged.data;
    // A term that no network of this kind has.
    for (CalibrationRow& row : data.rows)
      row.reading[1] += size * std::sin(4 * (*row.theta)[7] + row.clamp[0]);
    return calibrate(*network_of(logged.run.platform), {}, data, {}, {});
  };
  CHECK(with(0).doubts.empty());
  CHECK(with(0).withheld.empty());
  const Calibration far = with(0.05);
  REQUIRE_FALSE(far.doubts.empty());
  CHECK(far.widened > 1);
  CHECK_THAT(far.doubts.front(), Catch::Contains("residuals of"));
  CHECK(far.withheld.empty() == (far.widened <= 3));
}

TEST_CASE("the filter of correlated noise is the Cholesky factor of its covariance", "[calibration]") {
  std::vector<std::uint64_t> ordinals;
  for (std::uint64_t i = 0; i < 60; ++i) ordinals.push_back(3 + 2 * i + i * i % 3);
  const auto n = static_cast<Eigen::Index>(ordinals.size());
  RowMatrix columns(n, 2);
  for (Eigen::Index i = 0; i < n; ++i) columns.row(i) << std::sin(0.7 * static_cast<double>(i)), 1;
  for (const SerialNoise noise : {SerialNoise{1, 0.3, 0}, SerialNoise{1, 0, 2}, SerialNoise{1, 0.1, 0.5}}) {
    INFO("walk " << noise.walk << ", flicker " << noise.flicker);
    Matrix covariance(n, n);
    for (Eigen::Index i = 0; i < n; ++i) {
      for (Eigen::Index j = 0; j < n; ++j) {
        const double t = static_cast<double>(ordinals[static_cast<std::size_t>(i)]) + 1,
                     s = static_cast<double>(ordinals[static_cast<std::size_t>(j)]) + 1;
        covariance(i, j) = (i == j) + noise.walk * noise.walk * std::min(t, s);
        for (int octave = 0; octave < 20; ++octave)
          covariance(i, j) +=
              noise.flicker * noise.flicker / 20 * std::exp(-std::abs(t - s) / std::ldexp(1, octave));
      }
    }
    RowMatrix filtered = columns;
    const double log_determinant = whiten(ordinals, noise, filtered);
    const Matrix L = Eigen::LLT<Matrix>(covariance).matrixL();
    const Matrix expected = columns.transpose() * covariance.inverse() * columns,
                 found = filtered.transpose() * filtered;
    // The walk is exact. Ten processes stand in for twenty of flicker: a few per cent, of a noise that is
    // known to 10 %.
    const double error = noise.flicker > 0 ? 0.06 : 1e-10;
    CHECK(log_determinant ==
          Approx(2 * L.diagonal().array().log().sum()).margin(error * static_cast<double>(n) / 4 + 1e-9));
    for (Eigen::Index i = 0; i < 2; ++i) CHECK(found(i, i) == Approx(expected(i, i)).epsilon(error));
  }
}

TEST_CASE("a reading whose unknowns follow its drift drifts as the instrument's others do", "[calibration]") {
  // Three readings of one instrument, each a walk of 0.02 a relaxation beneath white noise of 1. What the
  // second has in common with 12 free slow waves is most of its walk: by itself it seems to have none.
  constexpr Eigen::Index n = 1500, waves = 12;
  constexpr double walk = 0.02;
  const auto blocks = [&](std::array<std::uint32_t, 3> instruments) {
    Random random(5);
    std::vector<ReadingBlock> made(3);
    for (std::size_t r = 0; r < 3; ++r) {
      made[r].instrument = instruments[r];
      made[r].columns = RowMatrix::Zero(n, waves + 1);
      double offset = 0;
      for (Eigen::Index i = 0; i < n; ++i) {
        made[r].ordinals.push_back(static_cast<std::uint64_t>(i));
        offset += walk * random.normal();
        for (Eigen::Index w = 0; w < waves && r == 1; ++w)
          made[r].columns(i, w) = std::cos(M_PI * static_cast<double>(w * i) / n);
        made[r].columns(i, waves) = offset + random.normal();
      }
    }
    return made;
  };
  const auto found = [&](std::array<std::uint32_t, 3> instruments) {
    VarianceComponents of(blocks(instruments), {}, 1e-13);
    Strengths at;
    at.noise.assign(3, SerialNoise{1, 0, 0});
    of.maximise(at, true, true);
    return at;
  };
  const Strengths one = found({0, 0, 0});
  for (const SerialNoise& noise : one.noise) {
    // The logarithms are within three of their own deviation, 0.5, of the instrument's mean.
    CHECK(noise.walk * noise.white > walk * std::exp(-1.5));
    CHECK(noise.walk * noise.white < walk * std::exp(1.5));
  }
  // Alone it is taken for white; and other instruments' drifts are no business of its own.
  CHECK(found({0, 1, 0}).noise[1].walk == 0);
}

TEST_CASE("a mean of few numbers has Student's interval, averaged over their noise", "[calibration]") {
  // Of n normal numbers the mean's distribution is Student's of n - 1 degrees, with a variance of
  // s^2/n x (n - 1)/(n - 3): for 20 numbers 1.12 times what it is with the noise as estimated.
  const Eigen::Index n = GENERATE(20, 40, 100);
  Random random(3);
  std::vector<ReadingBlock> blocks(1);
  blocks[0].columns = RowMatrix::Ones(n, 2);
  for (Eigen::Index i = 0; i < n; ++i) {
    blocks[0].ordinals.push_back(static_cast<std::uint64_t>(i));
    blocks[0].columns(i, 1) = random.normal();
  }
  VarianceComponents of(blocks, {}, 1e-13);
  Strengths at;
  at.noise.assign(1, SerialNoise{1, 0, 0});
  of.scale_noise(at);
  const Vector numbers = blocks[0].columns.col(1);
  const double square = (numbers.array() - numbers.mean()).square().sum() / static_cast<double>(n - 1);
  CHECK(at.noise[0].white == Approx(std::sqrt(square)).epsilon(1e-6));
  const Matrix direction = Matrix::Ones(1, 1);
  const auto freedom = static_cast<double>(n - 1);
  CHECK(of.variances(at, direction)[0] == Approx(square / static_cast<double>(n)).epsilon(1e-6));
  const VarianceComponents::Averaged averaged = of.averaged(at, direction);
  // Three points for the integral over the noise: its skewness, 1/freedom, enters in the second order.
  CHECK(averaged.variance[0] ==
        Approx(square / static_cast<double>(n) * freedom / (freedom - 2)).epsilon(10 / (freedom * freedom)));
  CHECK(averaged.freedom[0] == Approx(freedom).epsilon(6 / freedom));
}

TEST_CASE("what no datum can tell is named", "[calibration]") {
  SECTION("conductances without a current are known up to a common factor") {
    const sim::Network network(linear_network(0.4));
    const CalibrationData data = simulated(network, some_offsets(network), 60);
    const Calibration found = calibrate(network, {}, data, {}, {});
    // I(mu) = 0 is homogeneous in all G and g: adding the same number to all their logarithms changes no
    // potential.
    CHECK(found.rank == network.parameters() - 1);
    REQUIRE(found.not_identified.size() == 1);
    CHECK(found.not_identified[0].size() == 9);  // 6 G, 3 g
    for (const auto& [coefficient, unknown] : found.not_identified[0]) {
      CHECK(coefficient == Approx(1).margin(1e-7));
      CHECK(found.unknowns[unknown].scale == Scale::log);
    }
    const Vector truth = some_offsets(network);
    double mean = 0;
    for (std::size_t i = 0; i < found.unknowns.size(); ++i) {
      const bool conductance = found.unknowns[i].scale == Scale::log;
      CHECK(found.unknowns[i].identified == !conductance);
      if (conductance) mean += truth[static_cast<Eigen::Index>(i)] / 9;
    }
    // Ratios are found, and the undetermined factor is left at 1: the mean of the logarithms' offsets is 0.
    for (std::size_t i = 0; i < found.unknowns.size(); ++i) {
      const double known =
          truth[static_cast<Eigen::Index>(i)] - (found.unknowns[i].scale == Scale::log ? mean : 0);
      CHECK(found.unknowns[i].offset == Approx(known).margin(1e-8));
    }
  }
  SECTION("without leaks: the factor, and each parameter of a leak that is not there") {
    const sim::Network network(linear_network(0));
    Vector truth = some_offsets(network);
    const Calibration found = calibrate(network, {}, simulated(network, truth, 60), {}, {});
    CHECK(found.rank == 5);  // 6 conductances but for a factor
    REQUIRE(found.not_identified.size() == 7);
    std::size_t alone = 0, together = 0;
    for (const Combination& sum : found.not_identified) {
      alone += sum.size() == 1;
      together += sum.size() == 6;
      for (const auto& [coefficient, unknown] : sum) {
        CHECK(coefficient == Approx(1).margin(1e-7));
        CHECK((found.unknowns[unknown].name[0] == 'G') == (sum.size() == 6));
      }
    }
    CHECK(alone == 6);
    CHECK(together == 1);
  }
  SECTION("a measured current makes all conductances known") {
    const sim::Network network(linear_network(0.4));
    CalibrationData data = simulated(network, some_offsets(network), 60);
    data.readings.push_back({0, true, "current at node-0"});
    for (CalibrationRow& row : data.rows) {
      const Vector truth = offset_values(network.parameter_info(), *row.theta, some_offsets(network));
      // Ohm's law at the first input.
      const double current =
          truth[0] * (row.clamp[0] - row.reading[0]) + truth[2] * (row.clamp[0] - row.reading[1]);
      row.reading.conservativeResize(4);
      row.reading[3] = current;
      row.sigma = Vector::Constant(4, std::nan(""));
    }
    const Calibration found = calibrate(network, {}, data, {}, {});
    CHECK(found.rank == network.parameters());
    CHECK((found.twin.theta - some_offsets(network)).cwiseAbs().maxCoeff() < 1e-8);
  }
  SECTION("so does a known injected current; one through a leak that is off does not") {
    for (const bool by_leak : {false, true}) {
      const sim::Network network(linear_network(0.4));
      const Vector offset = some_offsets(network);
      CalibrationData data = simulated(network, offset, 60);
      data.nudged_by_leak.assign(3, by_leak);
      for (CalibrationRow& row : data.rows) {
        row.nudge = (Vector(3) << 0.3, -0.2, 0.5).finished();
        const Vector truth = offset_values(network.parameter_info(), *row.theta, offset);
        sim::Boundary boundary;
        boundary.theta = truth.data();
        boundary.clamp = row.clamp;
        boundary.inject = row.nudge;
        for (std::size_t k = 0; k < 3 && by_leak; ++k)
          boundary.inject[static_cast<Eigen::Index>(k)] *=
              std::exp(offset[static_cast<Eigen::Index>(network.leak_g(k))]);
        row.reading = sim::relax(network, boundary, network.rest()).potential;
      }
      const Calibration found = calibrate(network, {}, data, {}, {});
      CHECK(found.rank == network.parameters() - by_leak);
      if (!by_leak) CHECK((found.twin.theta - offset).cwiseAbs().maxCoeff() < 1e-8);
    }
  }
}

TEST_CASE("held nodes are imposed, not read", "[calibration]") {
  const sim::Network network(linear_network(0.4));
  const Vector offset = some_offsets(network);
  CalibrationData data = simulated(network, offset, 60);
  for (std::size_t i = 0; i < data.rows.size(); i += 2) {
    CalibrationRow& row = data.rows[i];
    const Vector truth = offset_values(network.parameter_info(), *row.theta, offset);
    sim::Boundary boundary;
    boundary.theta = truth.data();
    boundary.clamp = row.clamp;
    boundary.held = row.held = {{1, 0.7}};
    row.reading = sim::relax(network, boundary, network.rest()).potential;
    row.reading[1] = std::nan("");
  }
  const Calibration found = calibrate(network, {}, data, {}, {});
  CHECK(found.numbers == 150);
  CHECK(found.rank == network.parameters() - 1);
  CHECK(found.left_out.empty());
}

TEST_CASE("rows that do not fit are left out and told apart", "[calibration]") {
  // One dot with NDC and a weak leak: at x = 6, stable states at 0.02 and 5.14 kT, and an unstable one
  // between.
  sim::NetworkSpec spec;
  spec.graph = layered({1, 1});
  spec.nodes.resize(2);
  spec.nodes[1].g = 0.02;
  spec.edges.push_back({sim::Law::quantum_dot, {1, 2, 2, 0}});
  const sim::Network network(spec);
  const std::vector<ParameterInfo> parameters = network.parameter_info();
  Vector offset = Vector::Zero(static_cast<Eigen::Index>(network.parameters()));
  offset[1] = 0.05;  // a
  CalibrationData data;
  data.readings.push_back({1, false, "node-1"});
  data.nudged_by_leak = {false};
  Random random(5);
  const auto settle = [&](CalibrationRow& row, double start) {
    const Vector truth = offset_values(parameters, *row.theta, offset);
    sim::Boundary boundary;
    boundary.theta = truth.data();
    boundary.clamp = row.clamp;
    const sim::SteadyState state = sim::relax(network, boundary, Vector::Constant(1, start));
    REQUIRE(state.verdict == sim::Verdict::converged);
    row.reading = state.potential;
  };
  for (std::size_t i = 0; i < 80; ++i) {
    CalibrationRow row;
    row.row = 100 + i;
    Vector theta = network.theta();
    for (Eigen::Index p = 0; p < theta.size(); ++p)
      theta[p] = parameters[static_cast<std::size_t>(p)].scale == Scale::log
                     ? theta[p] * std::exp(0.05 * random.normal())
                     : theta[p] + 0.05 * random.normal();
    row.theta = std::make_shared<const Vector>(theta);
    row.clamp = Vector::Constant(1, random.uniform(5.5, 6.5));
    row.sigma = Vector::Constant(1, 1e-4);
    // Every other row was continued from the upper state.
    row.rest = i % 2 == 0;
    settle(row, row.rest ? 0 : 5);
    REQUIRE((row.reading[0] < 1) == row.rest);
    row.reading[0] += 1e-4 * random.normal();
    data.rows.push_back(std::move(row));
  }
  data.rows[7].rest = true;  // a model started from rest ends in the lower one
  data.rows[30].reading[0] += 0.05;
  const Calibration found = calibrate(network, {}, data, {}, {});
  CHECK(found.converged);
  REQUIRE(found.left_out.size() == 2);
  CHECK(found.left_out[0].row == 107);
  CHECK(found.left_out[0].why == Calibration::LeftOut::Why::other_branch);
  CHECK(found.left_out[1].row == 130);
  CHECK(found.left_out[1].why == Calibration::LeftOut::Why::unexplained);
  CHECK(found.numbers == 78);
  CHECK(found.noise[0] == Approx(1e-4).epsilon(0.4));  // 4 of 1/sqrt(2 x 78)
  // With the start where it was recorded, the row is as good as any other.
  data.rows[7].rest = false;
  CHECK(calibrate(network, {}, data, {}, {}).left_out.size() == 1);
}

TEST_CASE("the fitted twin is an experiment file: its device repeats the log, its model knows the offsets",
          "[calibration]") {
  const Logged logged({"device.variation=0.05"});
  const Calibration found = logged.calibrated();
  const std::string text =
      twin_text(logged.experiment, *network_of(logged.run.platform), logged.data, found, {}, "run.h5");
  Experiment twin = load(text);
  CHECK(twin.noise.variation == 0);
  CHECK(twin.twin.theta == found.twin.theta);
  twin.twin_read_noise = 0;
  Run run = prepare(twin);
  // setpoints of a bench, or of its emulation, are unchanged
  CHECK(network_of(run.platform)->theta() == network_of(logged.run.platform)->theta());
  CHECK(run.theta == logged.run.theta);
  REQUIRE(run.twin);
  for (const CalibrationRow& row : logged.data.rows) {
    if (row.row % 16 != 0) continue;
    Drive drive;
    drive.theta = Parameters::of(*row.theta);
    drive.clamp = pattern_of(row.clamp);
    drive.nudge = row.nudge;
    // Offsets are found to 1e-8, and potentials depend on them by factors of order 1.
    CHECK((run.device().relax(drive).potential - row.reading).cwiseAbs().maxCoeff() < 1e-8);
  }
  // The model's conductance at setpoints is the network's conductance at the true parameters.
  const CalibrationRow& row = logged.data.rows.front();
  Drive drive;
  drive.theta = Parameters::of(*row.theta);
  drive.clamp = pattern_of(row.clamp);
  const Vector truth =
      offset_values(network_of(run.platform)->parameter_info(), *row.theta, logged.run.noisy->variation());
  sim::Boundary boundary;
  boundary.theta = truth.data();
  boundary.clamp = row.clamp;
  CHECK(
      (run.model->conductance(drive, row.reading) + network_of(run.platform)->jacobian(boundary, row.reading))
          .cwiseAbs()
          .maxCoeff() < 1e-7);
  // Calibrated again, no offsets remain; and a second twin replaces the first.
  TemporaryDirectory directory;
  const std::string path = (directory.path / "again.h5").string();
  train(twin, run, path);
  const CalibrationData again = calibration_data(LogReader(path), twin, run, 500);
  const Calibration second = calibrate(*network_of(run.platform), {}, again, twin.twin, {});
  CHECK((second.twin.theta - found.twin.theta).cwiseAbs().maxCoeff() < 1e-8);
  const Experiment replaced = load(twin_text(twin, *network_of(run.platform), again, second, {}, "again.h5"));
  CHECK(replaced.twin.theta == second.twin.theta);
}

TEST_CASE("a table [twin]: gains, noise, and refusals", "[calibration]") {
  const Experiment experiment =
      load(dots +
           "[twin]\nread_noise = 0.01\n[twin.offset]\n\"a[1]\" = 0.25\n[twin.reading-gain]\nnode-3 = "
           "1.5\n[twin.reading-offset]\nnode-4 = 0.125\n[twin.input-gain]\nnode-1 = 2\n");
  CHECK(experiment.twin.theta[7] == 0.25);
  CHECK(experiment.twin.theta.cwiseAbs().sum() == 0.25);
  CHECK(experiment.twin.gain == (Vector(3) << 1, 1.5, 1).finished());
  CHECK(experiment.twin.reading_offset == (Vector(3) << 0, 0, 0.125).finished());
  CHECK(experiment.twin.input_gain == (Vector(2) << 1, 2).finished());
  CHECK(prepare(experiment).noisy != nullptr);
  CHECK(prepare(load(dots)).noisy == nullptr);
  const auto refused = [](const std::string& table) { return why_not([&] { load(dots + table); }); };
  CHECK_THAT(refused("[twin.offset]\n\"a[9]\" = 0.1\n"), Catch::Contains("a[9]"));
  CHECK_THAT(refused("[twin.reading-gain]\nnode-3 = 0\n"), Catch::Contains("twin.reading-gain.node-3"));
  CHECK_THAT(refused("[twin]\noffsets = 1\n"), Catch::Contains("twin.offsets"));
}

TEST_CASE("logs that nothing can be fitted to are refused in one clear line", "[calibration]") {
  const auto refused = [](const std::vector<std::string>& set, std::uint64_t rows = 500) {
    return why_not([&] { Logged(set, rows).calibrated(); });
  };
  CHECK_THAT(refused({"log.rows=outputs", "training.epochs=2"}), Catch::Contains("the outputs alone"));
  CHECK_THAT(
      refused({"device.variation=0.05"}, 7),
      Catch::Contains(
          "too few relaxations: 7 with 21 readings, for 24 unknowns and their noise; expected at least 9"));
  TemporaryDirectory directory;
  const std::string path = (directory.path / "empty.h5").string();
  const Experiment experiment = load(dots);
  Run run = prepare(experiment);
  LogWriter(path, log_header(experiment, run, "test"), experiment.log)
      .close(ExitStatus::finished, "nothing was done");
  CHECK_THAT(why_not([&] { calibration_data(LogReader(path), experiment, run, 10); }),
             Catch::Contains("holds no relaxations"));
  const Logged logged({"training.epochs=2"});
  const Experiment other = load(dots, {"network.layers=[2,3,1]"});
  CHECK_THAT(why_not([&] { calibration_data(*logged.log, other, prepare(other), 10); }),
             Catch::Contains("other parameters or terminals"));
  CalibrationOptions options;
  options.confidence = 1;
  CHECK_THAT(why_not([&] { logged.calibrated(options); }), Catch::Contains("confidence 1"));
}

TEST_CASE("rows are spread over the log, not in step with its chains", "[calibration]") {
  const Logged logged({"device.variation=0.05"}, 240);
  REQUIRE(logged.data.rows.size() == 240);
  REQUIRE(logged.data.usable ==
          60 * 4 * 3);  // each sample free and nudged both ways, from the restored state
  std::size_t nudged = 0;
  for (std::size_t i = 0; i < 240; ++i) {
    CHECK(logged.data.rows[i].row / 3 == i);  // one of each three
    nudged += logged.data.rows[i].nudge.size() > 0;
  }
  // Two thirds of the rows are nudged: 160 of 240, +- 4 x sqrt(240 x 2 / 9).
  CHECK(nudged > 130);
  CHECK(nudged < 190);
}
