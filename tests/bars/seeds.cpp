// Trains an experiment with many seeds in parallel, and prints one line of JSON per seed: the end of the
// training, and the losses from cold starts.
//   ness-seeds EXPERIMENT.toml --seeds N [--first K] [--set key=value]... [--data DIR] [--lines]
// --lines: also the lines of the data file that make up each set.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <exception>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "ness/files/network_platform.hpp"
#include "ness/files/experiment.hpp"
#include "ness/runs/run.hpp"

namespace {
using nlohmann::json;

json number(double x) { return std::isfinite(x) ? json(x) : json(nullptr); }

json evaluated(ness::Device& device, const ness::Vector& theta, const ness::Dataset& data,
               const ness::Task& task, ness::Label::Purpose purpose) {
  const ness::Evaluation e =
      ness::evaluate(device, ness::Parameters::of(theta), data, *task.loss, {ness::Rest{}}, purpose, 0);
  return {{"loss", number(e.loss)},
          {"accuracy", number(e.accuracy)},
          {"failures", e.failures},
          {"samples", e.samples}};
}

// Edges with a negative differential conductance, source or drain side, at one of the training states: NDC in
// the sense of Eq. 9.
std::size_t ndc_edges(const ness::Run& run, ness::Device& device, const ness::Vector& theta,
                      const ness::Task& task) {
  std::vector<bool> ndc(network_of(run.platform)->spec().edges.size(), false);
  ness::Drive drive;
  drive.theta = ness::Parameters::of(theta);
  for (std::uint64_t i = 0; i < task.train.size(); ++i) {
    drive.clamp = task.train.pattern(i);
    const ness::Relaxation row = device.relax(drive);
    ness::Vector scratch;
    const ness::sim::Boundary boundary = ness::sim::boundary_of(*network_of(run.platform), drive, scratch);
    const ness::Vector mu = network_of(run.platform)->node_potentials(boundary, row.potential);
    for (std::size_t e = 0; e < ndc.size(); ++e) {
      const ness::sim::EdgeCurrent I = network_of(run.platform)->edge(e, boundary, mu);
      if (I.by_source < 0 || I.by_target > 0) ndc[e] = true;
    }
  }
  return static_cast<std::size_t>(std::count(ndc.begin(), ndc.end(), true));
}

json lines_of(const ness::Dataset& data) {
  json lines = json::array();
  for (std::uint64_t i = 0; data.origin && i < data.size(); ++i)
    lines.push_back(data.origin->lines.at(data.rows[i]));
  return lines;
}

json one_seed(ness::Experiment experiment, std::uint64_t seed, bool lines) {
  experiment.seed = seed;
  experiment.threads = 1;
  ness::Run run = ness::prepare(experiment);
  const ness::Task& task = *experiment.task;
  ness::Trainer trainer(run.device(), *run.estimator, task, *run.space, experiment.optimizer, run.training);
  const ness::TrainingSummary summary = trainer.run(run.theta);
  const bool validated = task.validation.size() > 0;
  json line = {{"seed", seed},
               {"epochs", summary.epochs},
               {"relaxations", summary.relaxations},
               {"left_out", summary.left_out},
               {"parameters", "last"}};
  line["train"] = evaluated(run.device(), summary.theta, task.train, task, ness::Label::Purpose::probe);
  if (validated)
    line["validation"] =
        evaluated(run.device(), summary.theta, task.validation, task, ness::Label::Purpose::validation);
  // Nothing was held out where the test data are the training data.
  if (task.test.size() > 0 && !same_samples(task.train, task.test))
    line["test"] = evaluated(run.device(), summary.theta, task.test, task, ness::Label::Purpose::test);
  if (task.train.size() <= 64) line["ndc_edges"] = ndc_edges(run, run.device(), summary.theta, task);
  if (task.train.targets.cols() == 1 && !task.loss->classifies() && task.train.inputs->width() <= 2)
    line["isotonic_bound"] = ness::isotonic_bound(task.train);
  if (lines)
    line["lines"] = {{"train", lines_of(task.train)},
                     {"validation", lines_of(task.validation)},
                     {"test", lines_of(task.test)}};
  return line;
}
}  // namespace

int main(int argc, char** argv) try {
  ness::LoadOptions load;
  std::string path;
  std::uint64_t seeds = 8, first = 0;
  bool lines = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    auto value = [&]() -> std::string {
      if (i + 1 >= argc) throw std::invalid_argument(word + " needs a value");
      return argv[++i];
    };
    if (word == "--seeds") seeds = std::stoull(value());
    else if (word == "--first") first = std::stoull(value());
    else if (word == "--set") load.set.push_back(value());
    else if (word == "--data") load.data = value();
    else if (word == "--lines") lines = true;
    else path = word;
  }
  const ness::Experiment experiment = ness::load_experiment(path, load);
  std::atomic<std::uint64_t> next{0};
  std::mutex printing;
  std::exception_ptr failed;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = next++; i < seeds; i = next++) {
        try {
          const std::string line = one_seed(experiment, first + i, lines).dump();
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
  std::cerr << "ness-seeds: " << error.what() << "\n";
  return 1;
}
