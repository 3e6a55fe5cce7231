// Calibration bar: for each seed, one logged run of a device whose parameters have offsets; the calibration
// of its log is compared with the true offsets. The device is the simulation with the shortcomings of
// [device], or, with --bench, the emulated bench, whose instruments have errors drawn from that seed. Prints
// a line of JSON per seed: for each unknown whether it was identified, whether its interval contains the
// truth, the width of the interval, and the width that the Cramer-Rao bound of the simulated noise allows.
//
// The bound is computed here, apart from the calibration's own model: the derivatives of the true states by
// whatever the simulation makes wrong, whitened by a dense Cholesky factor of the true covariance (white
// noise, random walk, all 20 octaves of flicker), what is drawn with a known deviation as an unknown with
// that prior.
//   ness-bar-calibrate EXPERIMENT.toml --seeds N [--first K] --scratch DIRECTORY [--rows N] [--bench FILE]
//   [--bounds N] [--white] [--set key=value]...
#include <Eigen/Cholesky>
#include <Eigen/QR>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "ness/calibration/calibration.hpp"
#include "ness/device/random.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/network/sensitivity.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/record/recorder.hpp"
#include "ness/runs/logged_run.hpp"

namespace {
using nlohmann::json;
using ness::Matrix;
using ness::Vector;

/// What a device really is: value = gain setpoint + offset (log scale: setpoint^gain exp(offset)) + zero, and
/// cross-talk; levels and readings have gains and offsets.
struct Truth {
  Vector offset;  // [n_parameters] in its scale, at the middle of the log's setpoints
  /// Standard deviations from which it was drawn, of what the bound takes for unknown.
  double gate_gain = 0, log_gate_zero = 0, cross_talk = 0;  // of each pair
  double input_gain = 0, input_offset = 0;
  /// Gain and offset common to all potentials (one meter), and of each
  double meter_gain = 0, meter_offset = 0, reading_offset = 0, current_gain = 0, current_offset = 0;
  std::function<Vector(const Vector& setpoint)> values;
  std::vector<bool> moves;    // parameters: what never moved tells nothing of its gate
  std::vector<double> white;  // of each reading
  double walk = 0, flicker = 0;
};

double uniform_error(std::uint64_t seed, std::uint32_t what, std::uint32_t instrument) {
  return 2 * ness::uniform_at(seed, what, 0x2000000 + instrument) - 1;
}

std::vector<bool> moving(const ness::CalibrationData& data) {
  std::vector<bool> moves(static_cast<std::size_t>(data.rows.front().theta->size()), false);
  for (const ness::CalibrationRow& row : data.rows) {
    for (std::size_t i = 0; i < moves.size(); ++i) {
      const auto at = static_cast<Eigen::Index>(i);
      moves[i] = moves[i] || (*row.theta)[at] != (*data.rows.front().theta)[at];
    }
  }
  return moves;
}

/// Of each parameter the middle of the log's setpoints, where offsets are told; geometric in log scale.
Vector middle(const ness::CalibrationData& data, const std::vector<ness::ParameterInfo>& infos) {
  Vector sum = Vector::Zero(static_cast<Eigen::Index>(infos.size()));
  for (Eigen::Index i = 0; i < sum.size(); ++i) {
    const bool log = infos[static_cast<std::size_t>(i)].scale == ness::Scale::log;
    for (const ness::CalibrationRow& row : data.rows)
      sum[i] += (log ? std::log((*row.theta)[i]) : (*row.theta)[i]) / static_cast<double>(data.rows.size());
    if (log) sum[i] = std::exp(sum[i]);
  }
  return sum;
}

Truth simulated(const ness::Experiment& experiment, const ness::Run& run, const ness::CalibrationData& data) {
  const std::vector<bool> moves = moving(data);
  Truth truth;
  const auto& infos = run.noisy->info().parameters;
  truth.moves = moves;
  truth.offset = run.noisy->deviation(middle(data, infos));
  truth.values = [&run, infos](const Vector& setpoint) {
    return ness::offset_values(infos, setpoint, run.noisy->deviation(setpoint));
  };
  truth.gate_gain = experiment.noise.gate_gain;
  truth.cross_talk = experiment.noise.cross_talk;
  truth.white.assign(data.readings.size(), experiment.noise.read);
  truth.walk = experiment.noise.drift;
  truth.flicker = experiment.noise.flicker;
  return truth;
}

/// The errors of the emulated instruments, as sim/emulators/README.md states them: gates by a DAC of 2 V
/// whose gain is off by up to 1e-4 and zero by 4e-5 V, inputs by source-meters (2e-4, 6e-4 V), potentials by
/// one meter (4e-5, 7e-6 V; 3e-6 V each channel), currents by the source-meters (2.5e-4, 6e-9 A).
Truth emulated(const ness::BenchFile& bench, const std::vector<ness::ParameterInfo>& infos,
               const ness::CalibrationData& data, std::uint64_t seed) {
  Truth truth;
  truth.moves = moving(data);
  ness::TwinOffsets of;
  of.theta = Vector::Zero(static_cast<Eigen::Index>(infos.size()));
  of.gate_gain = of.gate_zero = of.theta;
  const double u = 1 / std::sqrt(3.0);  // of a number uniform in [-1, 1]
  for (const ness::BenchWire& wire : bench.wiring) {
    if (wire.parameter.empty()) continue;
    const auto at =
        std::find_if(infos.begin(), infos.end(),
                     [&](const ness::ParameterInfo& info) { return info.name == wire.parameter; }) -
        infos.begin();
    const auto instrument = static_cast<std::uint32_t>(wire.instrument);
    const double gain = 1e-4 * uniform_error(seed, wire.channel, instrument);
    const double zero =
        wire.per_volt * 2e-5 * 2 * uniform_error(seed, 100 + wire.channel, instrument) - wire.offset * gain;
    if (infos[static_cast<std::size_t>(at)].scale == ness::Scale::log) {
      of.theta[at] = std::log1p(gain);
      of.gate_zero[at] = zero;
      truth.log_gate_zero = std::hypot(wire.per_volt * 4e-5, wire.offset * 1e-4) * u;
    } else {
      of.theta[at] = zero;
      of.gate_gain[at] = gain;
      truth.gate_gain = 1e-4 * u;
    }
  }
  truth.values = [infos, of](const Vector& setpoint) { return ness::imposed_values(infos, setpoint, of); };
  const Vector at = middle(data, infos), value = truth.values(at);
  truth.offset = value - at;
  for (Eigen::Index i = 0; i < at.size(); ++i) {
    if (infos[static_cast<std::size_t>(i)].scale == ness::Scale::log)
      truth.offset[i] = std::log(value[i] / at[i]);
  }
  const double kT = bench.scale.volts_per_kT, unit = bench.scale.amperes_per_unit;
  truth.input_gain = 2e-4 * u;
  truth.input_offset = 600e-6 / kT * u;
  truth.meter_gain = 40e-6 * u;
  truth.meter_offset = 7e-6 / kT * u;
  truth.reading_offset = 3e-6 / kT * u;
  truth.current_gain = 2.5e-4 * u;
  truth.current_offset = 6e-9 / unit * u;
  return truth;
}

/// Standard errors [n_parameters] of the offsets at the Cramer-Rao bound.
Vector bound(const ness::sim::Network& network, const ness::CalibrationData& data, const Truth& truth) {
  const std::vector<ness::ParameterInfo> infos = network.parameter_info();
  const auto p = static_cast<Eigen::Index>(infos.size());
  const auto n = static_cast<Eigen::Index>(data.rows.size()),
             readings = static_cast<Eigen::Index>(data.readings.size());
  // What is drawn: a column each, in units of its deviation.
  struct Drawn {
    double deviation;
    std::function<double(const Vector& by_value, const Vector& by_level, const ness::CalibrationRow& row,
                         const Vector& setpoint, Eigen::Index reading, double read)>
        slope;
  };
  const Vector mid = middle(data, infos);
  std::vector<Drawn> drawn;
  for (Eigen::Index i = 0; i < p; ++i) {
    const ness::ParameterInfo& info = infos[static_cast<std::size_t>(i)];
    if (!truth.moves[static_cast<std::size_t>(i)]) continue;
    const bool log = info.scale == ness::Scale::log;
    if (truth.gate_gain > 0 && !(log && truth.log_gate_zero > 0))
      drawn.push_back(
          {truth.gate_gain, [=](const auto& v, const auto&, const auto&, const auto& s, auto, auto) {
             return v[i] * (log ? s[i] * std::log(s[i] / mid[i]) : s[i] - mid[i]);
           }});
    if (truth.log_gate_zero > 0 && log)
      drawn.push_back({truth.log_gate_zero, [=](const auto& v, const auto&, const auto&, const auto& s, auto,
                                                auto) { return v[i] * (1 - s[i] / mid[i]); }});
    if (truth.cross_talk == 0 || log) continue;
    std::vector<Eigen::Index> others;
    for (Eigen::Index j = 0; j < p; ++j) {
      const ness::ParameterInfo& other = infos[static_cast<std::size_t>(j)];
      if (j != i && other.trainable && other.kind == info.kind) others.push_back(j);
    }
    for (const Eigen::Index j : others) {
      if (!truth.moves[static_cast<std::size_t>(j)]) continue;
      drawn.push_back({truth.cross_talk / std::sqrt(static_cast<double>(others.size())),
                       [=](const auto& v, const auto&, const auto&, const auto& s, auto, auto) {
                         return v[i] * (s[j] - mid[j]);
                       }});
    }
  }
  const auto clamped = static_cast<Eigen::Index>(network.clamped().size());
  for (Eigen::Index c = 0; c < clamped; ++c) {
    if (truth.input_gain > 0)
      drawn.push_back({truth.input_gain, [=](const auto&, const auto& l, const auto& row, const auto&, auto,
                                             auto) { return l[c] * row.clamp[c]; }});
    if (truth.input_offset > 0)
      drawn.push_back({truth.input_offset, [=](const auto&, const auto& l, const auto&, const auto&, auto,
                                               auto) { return l[c]; }});
  }
  const auto is_current = [&](Eigen::Index r) { return data.readings[static_cast<std::size_t>(r)].current; };
  if (truth.meter_gain > 0) {
    drawn.push_back({truth.meter_gain, [=](const auto&, const auto&, const auto&, const auto&, auto r,
                                           double read) { return is_current(r) ? 0 : read; }});
    drawn.push_back({truth.meter_offset, [=](const auto&, const auto&, const auto&, const auto&, auto r,
                                             double) { return is_current(r) ? 0.0 : 1.0; }});
    for (Eigen::Index k = 0; k < readings; ++k) {
      drawn.push_back({is_current(k) ? truth.current_offset : truth.reading_offset,
                       [=](const auto&, const auto&, const auto&, const auto&, auto r, double) {
                         return r == k ? 1.0 : 0.0;
                       }});
      if (is_current(k))
        drawn.push_back({truth.current_gain, [=](const auto&, const auto&, const auto&, const auto&, auto r,
                                                 double read) { return r == k ? read : 0; }});
    }
  }
  const auto m = static_cast<Eigen::Index>(drawn.size());
  Matrix all = Matrix::Zero(n * readings + m, m + p);
  const ness::sim::Network::WorkspacePtr work = network.workspace();
  for (Eigen::Index i = 0; i < n; ++i) {
    const ness::CalibrationRow& row = data.rows[static_cast<std::size_t>(i)];
    Vector setpoint = *row.theta;
    ness::sim::Boundary boundary;
    boundary.clamp = row.clamp;
    boundary.inject = row.nudge;
    for (std::size_t k = 0; k < data.nudged_by_leak.size() && row.nudge.size() > 0; ++k) {
      if (!data.nudged_by_leak[k]) continue;
      const auto at = static_cast<Eigen::Index>(k);
      setpoint[static_cast<Eigen::Index>(network.leak_mu_ref(k))] +=
          row.nudge[at] / setpoint[static_cast<Eigen::Index>(network.leak_g(k))];
      boundary.inject[at] = 0;
    }
    const Vector theta = truth.values(setpoint);
    boundary.theta = theta.data();
    // Where it was read is where the state is, as near as its noise.
    Vector start = Vector::Zero(static_cast<Eigen::Index>(network.free().size()));
    for (Eigen::Index r = 0; r < readings; ++r) {
      if (is_current(r)) continue;
      start[std::lower_bound(network.free().begin(), network.free().end(),
                             data.readings[static_cast<std::size_t>(r)].node) -
            network.free().begin()] = row.reading[r];
    }
    const ness::sim::SteadyState state = ness::sim::relax(network, boundary, start, {}, true, *work);
    const ness::sim::Linearisation at = ness::sim::linearised(network, boundary, state.potential);
    const ness::sim::Sensitivity s = ness::sim::sensitivity(network, boundary, at);
    for (Eigen::Index r = 0; r < readings; ++r) {
      if (!std::isfinite(row.reading[r])) continue;
      const auto node = data.readings[static_cast<std::size_t>(r)].node;
      Vector by_value, by_level;
      if (is_current(r)) {
        by_value = (at.by_potential.row(node) * s.by_parameter + at.by_parameter.row(node)).transpose();
        by_level = (at.by_potential.row(node) * s.by_clamp + at.by_clamp.row(node)).transpose();
      } else {
        const auto k =
            std::lower_bound(network.free().begin(), network.free().end(), node) - network.free().begin();
        by_value = s.by_parameter.row(k).transpose();
        by_level = s.by_clamp.row(k).transpose();
      }
      auto line = all.row(r * n + i);
      for (Eigen::Index d = 0; d < m; ++d) {
        const Drawn& one = drawn[static_cast<std::size_t>(d)];
        line[d] = one.deviation * one.slope(by_value, by_level, row, setpoint, r, row.reading[r]);
      }
      for (Eigen::Index j = 0; j < p; ++j)
        line[m + j] =
            by_value[j] * (infos[static_cast<std::size_t>(j)].scale == ness::Scale::log ? theta[j] : 1);
      line /= truth.white[static_cast<std::size_t>(r)];
    }
  }
  if (truth.walk > 0 || truth.flicker > 0) {
    const double white = truth.white.front();
    Matrix covariance(n, n);
    for (Eigen::Index i = 0; i < n; ++i) {
      for (Eigen::Index j = 0; j <= i; ++j) {
        const double earlier = static_cast<double>(data.rows[static_cast<std::size_t>(j)].row) + 1,
                     apart = static_cast<double>(data.rows[static_cast<std::size_t>(i)].row) + 1 - earlier;
        double sum = (i == j ? white * white : 0) + truth.walk * truth.walk * earlier;
        for (int octave = 0; octave < 20 && truth.flicker > 0; ++octave)
          sum += truth.flicker * truth.flicker / 20 * std::exp(-std::ldexp(apart, -octave));
        covariance(i, j) = sum / (white * white);
      }
    }
    const Eigen::LLT<Matrix> factor(covariance);
    for (Eigen::Index r = 0; r < readings; ++r) {
      Matrix block = all.middleRows(r * n, n);
      factor.matrixL().solveInPlace(block);
      all.middleRows(r * n, n) = block;
    }
  }
  all.bottomLeftCorner(m, m).setIdentity();
  const Eigen::HouseholderQR<Matrix> qr(all);
  const Matrix R = qr.matrixQR().block(m, m, p, p).triangularView<Eigen::Upper>();
  return R.triangularView<Eigen::Upper>().solve(Matrix(Matrix::Identity(p, p))).rowwise().norm();
}

struct Job {
  ness::Experiment experiment;
  std::optional<ness::BenchFile> bench;
  std::uint64_t rows = 2000;
  bool nuisances = true, bounds = true;
  std::string scratch;
};

json one_seed(Job job, std::uint64_t seed) {
  ness::Experiment& experiment = job.experiment;
  experiment.seed = seed;
  experiment.threads = 1;
  if (job.bench) job.bench->emulation->imperfection.seed = seed;
  const auto began = std::chrono::steady_clock::now();
  ness::Run run = job.bench ? ness::prepare(experiment, *job.bench, ness::DeviceKind::emulated)
                            : ness::prepare(experiment);
  if (!job.bench && !run.noisy) throw std::invalid_argument("expected [device] variation and read_noise");
  const std::string path = job.scratch + "/calibrate-" + std::to_string(seed) + ".h5";
  std::filesystem::remove(path);
  {
    ness::LogWriter log(path, ness::log_header(experiment, run, "ness-bar-calibrate"), experiment.log);
    ness::Recorder recorder(run.device(), log);
    ness::Trainer trainer(recorder, *run.estimator, *experiment.task, *run.space, experiment.optimizer,
                          run.training);
    trainer.observe(recorder);
    trainer.run(run.theta);
    log.close(ness::ExitStatus::finished, "");
  }
  const auto trained = std::chrono::steady_clock::now();
  const ness::LogReader log(path);
  const ness::CalibrationData data = ness::calibration_data(log, experiment, run, job.rows);
  ness::CalibrationOptions options;
  options.threads = 1;
  options.nuisances = job.nuisances;
  if (job.bench) {
    // What data sheets say of meters and sources; of the DAC, whose is not public, nothing.
    const Truth sheet = emulated(*job.bench, run.platform.info.parameters, data, seed);
    const auto state = [&](ness::NuisanceKind kind, double deviation) {
      options.stated[static_cast<std::size_t>(kind)] = deviation;
    };
    state(ness::NuisanceKind::meter_gain, sheet.meter_gain);
    state(ness::NuisanceKind::meter_zero, sheet.meter_offset);
    // Above 10 Gohm.
    state(ness::NuisanceKind::meter_load,
          1e-10 * job.bench->scale.volts_per_kT / job.bench->scale.amperes_per_unit);
    state(ness::NuisanceKind::reading_offset, sheet.reading_offset);
    state(ness::NuisanceKind::current_gain, sheet.current_gain);
    state(ness::NuisanceKind::current_offset, sheet.current_offset);
    state(ness::NuisanceKind::input_gain, sheet.input_gain);
    state(ness::NuisanceKind::input_offset, sheet.input_offset);
  }
  const ness::sim::Network& network = *network_of(run.platform);
  const ness::Calibration found =
      ness::calibrate(network, network_description(experiment).simulation.steady_state, data, {}, options);
  const auto fitted = std::chrono::steady_clock::now();
  Truth truth = job.bench ? emulated(*job.bench, run.platform.info.parameters, data, seed)
                          : simulated(experiment, run, data);
  if (job.bench) truth.white = found.noise;  // of a mean over scans, which settling decided on
  json line = {{"seed", seed},
               {"rows", data.rows.size()},
               {"usable", data.usable},
               {"converged", found.converged},
               {"withheld", found.withheld},
               {"widened", found.widened},
               {"left_out", found.left_out.size()},
               {"chi_squared", found.chi_squared},
               {"rank", found.rank},
               {"noise", found.noise},
               {"walk", found.walk},
               {"flicker", found.flicker},
               {"nuisance", found.nuisance},
               {"rounds", found.rounds}};
  double moved = 0;
  for (const ness::CalibrationRow& row : data.rows)
    moved = std::max(moved, (*row.theta - run.theta).cwiseAbs().maxCoeff());
  line["moved"] = moved;
  const Vector least = job.bounds ? bound(network, data, truth) : Vector();
  const auto ended = std::chrono::steady_clock::now();
  const auto seconds = [](auto from, auto to) { return std::chrono::duration<double>(to - from).count(); };
  line["seconds"] = {seconds(began, trained), seconds(trained, fitted), seconds(fitted, ended)};
  for (Eigen::Index i = 0; i < truth.offset.size(); ++i) {
    const ness::CalibratedUnknown& unknown = found.unknowns[static_cast<std::size_t>(i)];
    const double true_offset = truth.offset[i];
    json one = {{"name", unknown.name}, {"identified", unknown.identified}};
    if (unknown.identified && found.withheld.empty()) {
      one["covered"] = unknown.low <= true_offset && true_offset <= unknown.high;
      one["width"] = unknown.high - unknown.low;
      one["error"] = (unknown.offset - true_offset) / unknown.standard_error;
      // 95 % of a normal distribution
      if (job.bounds) one["bound"] = 2 * 1.959963984540054 * least[i];
    }
    line["unknowns"].push_back(one);
  }
  std::filesystem::remove(path);
  std::filesystem::remove(path + ".lock");
  return line;
}
}  // namespace

int main(int argc, char** argv) try {
  ness::LoadOptions load;
  std::string path;
  std::uint64_t seeds = 100, first = 0, bounds = 1000000;
  Job job;
  std::string bench;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    auto value = [&]() -> std::string {
      if (i + 1 >= argc) throw std::invalid_argument(word + " needs a value");
      return argv[++i];
    };
    if (word == "--seeds") seeds = std::stoull(value());
    else if (word == "--first") first = std::stoull(value());
    else if (word == "--rows") job.rows = std::stoull(value());
    else if (word == "--bounds") bounds = std::stoull(value());
    else if (word == "--white") job.nuisances = false;
    else if (word == "--bench") bench = value();
    else if (word == "--scratch") job.scratch = value();
    else if (word == "--set") load.set.push_back(value());
    else path = word;
  }
  if (job.scratch.empty()) throw std::invalid_argument("--scratch DIRECTORY is needed");
  job.experiment = ness::load_experiment(path, load);
  if (!bench.empty()) job.bench = ness::load_bench(bench);
  std::atomic<std::uint64_t> next{0};
  std::mutex printing;
  std::exception_ptr failed;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = next++; i < seeds; i = next++) {
        try {
          Job one = job;
          one.bounds = i < bounds;
          const std::string line = one_seed(std::move(one), first + i).dump();
          const std::scoped_lock lock(printing);
          std::cout << line << std::endl;
        } catch (...) {
          const std::scoped_lock lock(printing);
          failed = std::current_exception();
          next = seeds;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (failed) std::rethrow_exception(failed);
  return 0;
} catch (const std::exception& error) {
  std::cerr << "ness-bar-calibrate: " << error.what() << "\n";
  return 1;
}
