#include "ness/runs/run.hpp"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

#include "ness/files/network_platform.hpp"

namespace ness {

namespace {

/// The run but for a bench; without a device where the platform has no simulation.
Run made(const Experiment& experiment) {
  Run run;
  run.platform = experiment.platform->made(experiment.seed, experiment.threads);
  const DeviceInfo& info = run.platform.info;
  const bool offset = experiment.twin.any();
  if (run.platform.device && offset)
    run.twin = std::make_unique<TwinDevice>(*run.platform.device, experiment.twin);
  NoiseOptions noise = experiment.noise;
  if (noise.read == 0) noise.read = experiment.twin_read_noise;
  if (run.platform.device && noise.any()) {
    if (!experiment.noise_has_seed) noise.seed = experiment.seed;
    run.noisy = std::make_unique<Noisy>(run.device(), noise);
  }
  run.model = run.platform.model;
  if (run.model && offset) {
    run.model =
        std::make_shared<TwinModel>(run.model, info.parameters, info.clamped().size(), experiment.twin);
  }
  run.estimator = experiment.make_estimator(
      {.model = run.model, .seed = experiment.seed, .unbounded = experiment.training.one_error});
  run.training = experiment.training;
  run.training.threads = experiment.threads;
  run.training.seed = experiment.seed;
  return run;
}

// Initial parameters, within what the device can impose.
void fit(Run& run, const Experiment& experiment, const DeviceInfo& info) {
  run.space =
      std::make_unique<ParameterSpace>(info, experiment.platform->rules(info.parameters, run.platform.theta));
  run.theta = run.space->projected(run.platform.theta);
}

void require_simulation(const Run& run, const Experiment& experiment) {
  if (!run.platform.device)
    throw std::invalid_argument(
        experiment.path + ": what it describes cannot be simulated; expected --device bench or emulated");
}

}  // namespace

namespace {

// What makes the readings of a wire unusable: the range of its meter, the compliance of its source.
std::string limits_of(const BenchInstrument& instrument) {
  const auto number = [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", value);
    return std::string(text);
  };
  switch (instrument.role()) {
    case drivers::Role::scanner:
    case drivers::Role::voltmeter: return ", range " + number(instrument.settings.meter.range) + " V";
    case drivers::Role::source_meter: {
      const drivers::SourceMeterSettings& source = instrument.settings.source;
      return ", compliance " + number(source.compliance) +
             (source.sourced == drivers::Sourced::voltage ? " A" : " V");
    }
    case drivers::Role::dac: return {};
  }
  return {};
}

}  // namespace

std::string Run::terminal_name(std::uint32_t terminal) const {
  const std::string& name = platform.info.terminals.at(terminal).name;
  const std::string node = "node " + std::to_string(terminal);
  std::string wires;
  if (bench.sessions) {
    const BenchFile& file = bench.sessions->file();
    for (const BenchWire& wire : file.wiring) {
      if (!wire.node || *wire.node != terminal) continue;
      const BenchInstrument& instrument = file.instrument(wire);
      wires += (wires.empty() ? "wire '" : " and wire '") + wire.name + "' (" + instrument.name +
               limits_of(instrument) + ", node " + std::to_string(terminal) + ")";
    }
  }
  if (!wires.empty()) return wires;
  return name.empty() || name == node || name == std::to_string(terminal) ? node : node + " (" + name + ")";
}

Run prepare(const Experiment& experiment) {
  Run run = made(experiment);
  require_simulation(run, experiment);
  fit(run, experiment, run.device().info());
  return run;
}

Run prepare(const Experiment& experiment, const BenchFile& bench, DeviceKind kind, Transcript transcript) {
  Run run = made(experiment);
  if (kind == DeviceKind::simulation) {
    require_simulation(run, experiment);
  } else {
    if (experiment.noise.any())
      throw std::invalid_argument(
          "[device] read_noise and its like belong to the simulation: a bench has its own");
    const std::shared_ptr<const sim::Network> network = network_of(run.platform);
    const sim::NetworkSpec* sample = network ? &network->spec() : nullptr;
    run.bench =
        make_bench(bench, kind, {run.platform.info, run.platform.theta, sample}, std::move(transcript));
  }
  fit(run, experiment, run.device().info());
  return run;
}

Run prepare(const Experiment& experiment, const DeviceInfo& recorded) {
  Run run = made(experiment);
  fit(run, experiment, recorded);
  return run;
}

std::vector<std::shared_ptr<const PatternSet>> pattern_sets(const Task& task) {
  std::vector<std::shared_ptr<const PatternSet>> sets;
  for (const Dataset* data : {&task.train, &task.validation, &task.test}) {
    if (data->inputs && std::find(sets.begin(), sets.end(), data->inputs) == sets.end())
      sets.push_back(data->inputs);
  }
  return sets;
}

std::uint64_t steps_per_epoch(const Task& task, const TrainingOptions& options) {
  const std::uint64_t size = task.train.size(),
                      batch = options.batch == 0 ? size : std::min(options.batch, size);
  return batch == 0 ? 0 : (size + batch - 1) / batch;
}

}  // namespace ness
