// Settling bar. ness-bar-settling EXPERIMENT BENCH RELAXATIONS: relaxations of networks with random
// parameters on a noisy emulated bench whose slowest time constant is 5 to 20 scans. Counts how often the
// reported potentials are within the reported bound of the exact steady state. Prints a line of JSON.
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "ness/files/bench_file.hpp"
#include "ness/device/random.hpp"
#include "ness/runs/run.hpp"

using namespace ness;

namespace {

constexpr double shortest = 5, longest = 20;  // time constants, in scans

// kT s per unit of current: one farad in the equations of the network.
double farad(const BenchFile& file) { return file.scale.volts_per_kT / file.scale.amperes_per_unit; }

Run made(const Experiment& experiment, const BenchFile& file) {
  return prepare(experiment, file, DeviceKind::emulated);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: ness-bar-settling EXPERIMENT BENCH RELAXATIONS\n";
    return 2;
  }
  const auto wanted = static_cast<std::size_t>(std::atoll(argv[3]));
  BenchFile file =
      load_bench(argv[2], {"emulation.errors=false", "emulation.links=false", "emulation.loading=false",
                           "emulation.leads=false", "settle.timeout=10000"});

  // Duration of a scan.
  double scan = 0;
  {
    const Experiment experiment = load_experiment(argv[1]);
    Run run = made(experiment, file);
    Drive drive;
    drive.theta = Parameters::of(run.theta);
    drive.clamp = {experiment.task->train.inputs, 0};
    for (const std::uint32_t samples : {1U, 11U}) {
      drive.observe = At{0.1, samples};
      const Relaxation row = run.device().relax(drive);
      scan = (row.timing.read - row.timing.settled - (samples == 1 ? 0 : scan)) / (samples == 1 ? 1 : 10);
    }
  }
  file.settle.tau_max = longest * scan;
  file.settle.least = 8;
  file.settle.tolerance = 0.02;

  std::size_t relaxations = 0, within = 0, readings = 0, timed_out = 0;
  std::vector<double> share, scans;
  for (std::uint64_t seed = 1000; relaxations < wanted; ++seed) {
    LoadOptions options;
    options.seed = seed;
    const Experiment experiment = load_experiment(argv[1], options);
    Random random(seed, 99);
    // The capacity sets the slowest time constant to a number of scans at one of the inputs; it differs at
    // the others.
    const Run twin = prepare(experiment);
    Drive drive;
    drive.theta = Parameters::of(twin.theta);
    const auto slowest = [&](std::uint64_t row, Vector& potential) {
      drive.clamp = {experiment.task->train.inputs, row};
      potential = twin.platform.device->relax(drive).potential;
      return Eigen::EigenSolver<Matrix>(twin.model->conductance(drive, potential), false)
          .eigenvalues()
          .real()
          .cwiseAbs()
          .minCoeff();
    };
    Vector exact;
    file.emulation->capacity =
        random.uniform(shortest, longest) * scan * slowest(random.below(4), exact) / farad(file);
    file.settle.noise = seed % 2 == 0 ? 1e-4 : 0;  // known, or to be estimated
    Run run = made(experiment, file);
    for (std::uint64_t row = 0; row < 4 && relaxations < wanted; ++row) {
      const double tau = file.emulation->capacity * farad(file) / slowest(row, exact) / scan;
      if (tau < shortest || tau > longest) continue;
      const Relaxation told = run.device().relax(drive);
      ++relaxations;
      if (!told.quality.usable()) {
        ++timed_out;
        continue;
      }
      const double residual = (told.potential - exact).cwiseAbs().maxCoeff();
      within += residual <= told.timing.bound;
      share.push_back(residual / told.timing.bound);
      scans.push_back((told.timing.settled - told.timing.start) / scan);
      readings += static_cast<std::size_t>(std::llround(scans.back()));
    }
  }
  std::cout
      << nlohmann::ordered_json{{"relaxations", relaxations}, {"within", within}, {"not_settled", timed_out},
                                {"share_of_bound", share},    {"scans", scans},   {"scan_seconds", scan}}
             .dump()
      << '\n';
}
