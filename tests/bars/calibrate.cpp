// Calibration bar: for each seed, one logged run of a device whose parameters have offsets ([device]
// variation); the calibration of its log is compared with the true offsets. Prints a line of JSON per seed:
// for each unknown whether it was identified, whether its interval contains the truth, and the width of the
// interval.
//   ness-bar-calibrate EXPERIMENT.toml --seeds N [--first K] --scratch DIRECTORY [--rows N] [--set
//   key=value]...
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "ness/files/network_platform.hpp"
#include "ness/calibration/calibration.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/record/recorder.hpp"

namespace {
using nlohmann::json;

json one_seed(ness::Experiment experiment, std::uint64_t seed, std::uint64_t rows,
              const std::string& scratch) {
  experiment.seed = seed;
  experiment.threads = 1;
  ness::Run run = ness::prepare(experiment);
  if (!run.noisy) throw std::invalid_argument("expected [device] variation and read_noise");
  const std::string path = scratch + "/calibrate-" + std::to_string(seed) + ".h5";
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
  const ness::LogReader log(path);
  const ness::CalibrationData data = ness::calibration_data(log, experiment, run, rows);
  ness::CalibrationOptions options;
  options.threads = 1;
  const ness::Calibration found = ness::calibrate(
      *network_of(run.platform), network_description(experiment).simulation.steady_state, data, {}, options);
  const ness::Vector truth = run.noisy->variation();
  json line = {{"seed", seed},
               {"rows", data.rows.size()},
               {"converged", found.converged},
               {"left_out", found.left_out.size()},
               {"chi_squared", found.chi_squared},
               {"rank", found.rank},
               {"noise", found.noise},
               {"rounds", found.rounds}};
  double moved = 0;
  for (const ness::CalibrationRow& row : data.rows)
    moved = std::max(moved, (*row.theta - run.theta).cwiseAbs().maxCoeff());
  line["moved"] = moved;
  for (std::size_t i = 0; i < found.unknowns.size(); ++i) {
    const ness::CalibratedUnknown& unknown = found.unknowns[i];
    const double true_offset = truth[static_cast<Eigen::Index>(i)];
    json one = {{"name", unknown.name}, {"identified", unknown.identified}};
    if (unknown.identified) {
      one["covered"] = unknown.low <= true_offset && true_offset <= unknown.high;
      one["width"] = unknown.high - unknown.low;
      one["error"] = (unknown.offset - true_offset) / unknown.standard_error;
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
  std::string path, scratch;
  std::uint64_t seeds = 100, first = 0, rows = 2000;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    auto value = [&]() -> std::string {
      if (i + 1 >= argc) throw std::invalid_argument(word + " needs a value");
      return argv[++i];
    };
    if (word == "--seeds") seeds = std::stoull(value());
    else if (word == "--first") first = std::stoull(value());
    else if (word == "--rows") rows = std::stoull(value());
    else if (word == "--scratch") scratch = value();
    else if (word == "--set") load.set.push_back(value());
    else path = word;
  }
  if (scratch.empty()) throw std::invalid_argument("--scratch DIRECTORY is needed");
  const ness::Experiment experiment = ness::load_experiment(path, load);
  std::atomic<std::uint64_t> next{0};
  std::mutex printing;
  std::exception_ptr failed;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = next++; i < seeds; i = next++) {
        try {
          const std::string line = one_seed(experiment, first + i, rows, scratch).dump();
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
