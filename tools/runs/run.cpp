#include "ness/runs/run.hpp"

#include <algorithm>
#include <stdexcept>

#include "ness/network/vector_target.hpp"

namespace ness {

namespace {

Run simulated(const Experiment& experiment) {
  Run run;
  if (!experiment.vector_target.empty()) sim::force_vector_target(experiment.vector_target);
  run.network = std::make_shared<sim::Network>(drawn(experiment.network, experiment.parameters, experiment.seed));
  run.simulation = std::make_unique<sim::Simulation>(run.network, experiment.simulation);
  if (experiment.twin.any()) run.twin = std::make_unique<TwinDevice>(*run.simulation, experiment.twin);
  NoiseOptions noise = experiment.noise;
  if (noise.read == 0) noise.read = experiment.twin_read_noise;
  if (noise.any()) {
    if (!experiment.noise_has_seed) noise.seed = experiment.seed;
    run.noisy = std::make_unique<Noisy>(run.device(), noise);
  }
  run.model = std::make_shared<sim::NetworkModel>(run.network, experiment.simulation.threads, experiment.simulation.batches);
  if (experiment.twin.any()) run.model = std::make_shared<TwinModel>(run.model, run.network->parameter_info(), run.network->clamped().size(), experiment.twin);
  run.estimator = experiment.make_estimator({.model = run.model, .seed = experiment.seed});
  run.training = experiment.training;
  run.training.threads = experiment.simulation.threads;
  run.training.seed = experiment.seed;
  return run;
}

// Initial parameters, within what the device can impose.
void fit(Run& run, const Experiment& experiment, const DeviceInfo& info) {
  run.theta = run.network->theta();
  run.space = std::make_unique<ParameterSpace>(
      info, training_rules(info.parameters, run.theta, experiment.network.graph, experiment.parameters));
  run.theta = run.space->projected(run.theta);
}

}  // namespace

Run prepare(const Experiment& experiment) {
  Run run = simulated(experiment);
  fit(run, experiment, run.device().info());
  return run;
}

Run prepare(const Experiment& experiment, const BenchFile& bench, DeviceKind kind, Transcript transcript) {
  Run run = simulated(experiment);
  if (kind != DeviceKind::simulation) {
    if (experiment.noise.any()) throw std::invalid_argument("[device] read_noise and its like belong to the simulation: a bench has its own");
    run.bench = make_bench(bench, kind, *run.network, run.simulation->info(), std::move(transcript));
  }
  fit(run, experiment, run.device().info());
  return run;
}

Run prepare(const Experiment& experiment, const DeviceInfo& recorded) {
  Run run = simulated(experiment);
  fit(run, experiment, recorded);
  return run;
}

std::vector<std::shared_ptr<const PatternSet>> pattern_sets(const Task& task) {
  std::vector<std::shared_ptr<const PatternSet>> sets;
  for (const Dataset* data : {&task.train, &task.validation, &task.test}) {
    if (data->inputs && std::find(sets.begin(), sets.end(), data->inputs) == sets.end()) sets.push_back(data->inputs);
  }
  return sets;
}

std::uint64_t steps_per_epoch(const Task& task, const TrainingOptions& options) {
  const std::uint64_t size = task.train.size(), batch = options.batch == 0 ? size : std::min(options.batch, size);
  return batch == 0 ? 0 : (size + batch - 1) / batch;
}

}  // namespace ness
