#include "ness/files/experiment.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <stdexcept>

#include "bind_task.hpp"
#include "ness/files/nearest.hpp"
#include "ness/device/error.hpp"
#include "ness/network/vector_target.hpp"
#include "ness/files/network_file.hpp"
#include "ness/files/text_file.hpp"

namespace ness {

namespace {

// ---- the network ---------------------------------------------------------------------------------------------------------

using NodeChange = std::function<void(sim::NodeProperties&)>;

/// `apply` makes a change to every node the table speaks of.
void read_node_properties(Table& table, const std::function<void(const NodeChange&)>& apply) {
  const auto bind = [&](const std::string& key, double sim::NodeProperties::* member, Number must_be) {
    double value = 0;
    if (table.number(key, value, must_be)) apply([&](sim::NodeProperties& node) { node.*member = value; });
  };
  bind("capacity", &sim::NodeProperties::capacity, Number::positive);
  bind("T", &sim::NodeProperties::T, Number::positive);
  bind("mu0", &sim::NodeProperties::mu0, Number::finite);
  bind("mu_init", &sim::NodeProperties::mu_init, Number::finite);
}

/// [network.nodes]: properties of all nodes, refined in [network.nodes.layer-1] and [network.nodes.node-3].
void read_nodes(Table& network, sim::NetworkSpec& spec) {
  std::optional<Table> table = network.table("nodes");
  if (!table) return;
  read_node_properties(*table, [&](const auto& change) {
    for (sim::NodeProperties& node : spec.nodes) change(node);
  });
  const std::vector<std::string> refinements = table->other_tables();
  // Layers before nodes, so that the narrower one has the last word.
  for (const std::string prefix : {"layer-", "node-"}) {
    for (const std::string& name : refinements) {
      if (!name.starts_with(prefix)) continue;
      Table inner = *table->table(name);
      bool any = false;
      read_node_properties(inner, [&](const auto& change) {
        for (std::size_t k = 0; k < spec.nodes.size(); ++k) {
          if (name == prefix + std::to_string(prefix == "layer-" ? spec.graph.nodes[k].layer : k)) {
            change(spec.nodes[k]);
            any = true;
          }
        }
      });
      inner.finish();
      if (!any) inner.fail("", "names no " + prefix.substr(0, prefix.size() - 1) + " of this network, or says nothing of it");
    }
  }
  table->finish();
}

std::vector<sim::Law> read_laws(Table& network, std::size_t edge_layers) {
  std::vector<std::string> names;
  if (!network.texts("law", names)) network.fail("", "expected law = 'linear', 'quantum-dot' or 'enzyme'");
  if (names.size() != 1 && names.size() != edge_layers) {
    network.fail("law", "expected one law, or one for each of the " + std::to_string(edge_layers) + " layers of edges, found " +
                            std::to_string(names.size()));
  }
  std::vector<sim::Law> laws;
  for (std::size_t i = 0; i < edge_layers; ++i) {
    try {
      laws.push_back(sim::law_of(names[names.size() == 1 ? 0 : i]));
    } catch (const std::invalid_argument& error) {
      network.fail("law", error.what());
    }
  }
  return laws;
}

sim::NetworkSpec layered_network(Table& network, const std::vector<std::uint32_t>& layers) {
  sim::NetworkSpec spec;
  try {
    spec.graph = layered(layers);
  } catch (const std::invalid_argument& error) {
    network.fail("layers", error.what());
  }
  spec.nodes.resize(spec.graph.nodes.size());
  spec.edges.resize(spec.graph.edges.size());
  const std::vector<sim::Law> laws = read_laws(network, layers.size() - 1);
  for (std::size_t e = 0; e < spec.edges.size(); ++e) {
    spec.edges[e].law = laws[spec.graph.edges[e].layer - 1];
    spec.edges[e].p = sim::law_info(spec.edges[e].law).defaults;
  }
  return spec;
}

sim::NetworkSpec read_network(Table& root, const std::string& directory, Document& document) {
  std::optional<Table> network = root.table("network");
  if (!network) root.fail("", "expected a table [network] with 'layers' and 'law', or 'file'");
  std::vector<std::uint32_t> layers;
  std::string file, json;
  const bool has_layers = network->wholes("layers", layers);
  const bool has_file = network->text("file", file), has_json = network->text("json", json);
  if (has_layers + has_file + has_json != 1) {
    network->fail("", "expected either 'layers' (with 'law') or 'file', the name of a network file (JSON)");
  }
  sim::NetworkSpec spec;
  if (has_layers) {
    spec = layered_network(*network, layers);
  } else {
    const std::string path = has_file ? path_from(directory, file) : network->dotted("json");
    if (has_file) {
      json = text_of_file(path, "a network file (JSON)");
      // So that the text in the log is the whole experiment.
      document.erase("network.file");
      document.set_text("network.json", json);
    }
    spec = network_from_json(json, path);
  }
  network->number("kT", spec.kT, Number::positive);
  network->number("c_ref", spec.c_ref, Number::positive);
  read_nodes(*network, spec);
  network->finish();
  return spec;
}

void check_shapes(Table& root, const Experiment& experiment) {
  std::size_t inputs = 0;
  for (const GraphNode& node : experiment.network.graph.nodes) inputs += node.clamped;
  const Dataset& train = experiment.task->train;
  const std::size_t outputs = experiment.network.graph.outputs.size();
  const std::string of_task = "of task '" + experiment.task->name + "'";
  if (train.inputs && train.inputs->width() != inputs) {
    root.table("network")->fail("layers", "the network has " + std::to_string(inputs) + " clamped nodes, but the patterns " +
                                              of_task + " have " + std::to_string(train.inputs->width()) + " levels");
  }
  const std::size_t target = experiment.task->loss->target_size(outputs);
  bool fits = static_cast<std::size_t>(train.targets.cols()) == target;
  std::string wanted = std::to_string(train.targets.cols());
  if (fits && experiment.task->loss->classifies() && train.targets.size() > 0) {
    const auto classes = static_cast<std::size_t>(train.targets.maxCoeff()) + 1;
    fits = classes <= outputs;
    wanted = "at least " + std::to_string(classes);
  }
  if (!fits) {
    root.table("network")->fail(
        "layers", "the network has " + std::to_string(outputs) + " outputs, but the targets " + of_task + " need " + wanted);
  }
}

// ---- options: one function a table -----------------------------------------------------------------------------------

template <typename T, typename Read>
void read_optional(std::optional<T>& value, const Read& read) {
  T found{};
  if (read(found)) value = found;
}

void read_estimator(Table& table, Experiment& experiment) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const bool alias : {false, true}) {
    for (const EstimatorEntry& entry : estimator_table()) {
      if (!alias || entry.alias != entry.name) names.emplace_back(alias ? entry.alias : entry.name, entry.name);
    }
  }
  table.choice<std::string>("kind", experiment.estimator, names);
  EstimatorSettings& s = experiment.estimator_settings;
  const auto number = [&](const char* key, std::optional<double>& value, Number must_be) {
    read_optional(value, [&](double& found) { return table.number(key, found, must_be); });
  };
  const auto flag = [&](const char* key, std::optional<bool>& value) { read_optional(value, [&](bool& found) { return table.flag(key, found); }); };
  const auto whole = [&](const char* key, auto& value, std::uint64_t least) {
    read_optional(value, [&](auto& found) { return table.whole(key, found, static_cast<std::decay_t<decltype(found)>>(least)); });
  };
  number("beta", s.beta, Number::not_negative);
  number("nudge", s.nudge, Number::not_negative);
  number("step", s.step, Number::positive);
  number("probe", s.probe, Number::not_negative);
  number("eta", s.eta, Number::positive);
  number("c", s.c, Number::not_negative);
  number("gamma", s.gamma, Number::not_negative);
  number("sigma", s.sigma, Number::positive);
  number("crossover", s.crossover, Number::fraction);
  number("reset", s.reset, Number::positive);
  number("contraction", s.contraction, Number::positive);
  number("block", s.block, Number::not_negative);
  flag("central", s.central);
  flag("blocking", s.blocking);
  whole("rounds", s.rounds, 1);
  whole("refresh", s.refresh, 1);
  whole("directions", s.directions, 1);
  whole("population", s.population, 2);
  whole("parents", s.parents, 1);
  whole("measure_every", s.measure_every, 0);
  read_optional(s.skew_measured, [&](bool& found) { return table.choice<bool>("skew", found, {{"model", false}, {"measured", true}}); });
  whole("references", s.contrasts.references, 0);
  table.flag("cancel_drift", s.contrasts.cancel_drift);
  table.number("return_tolerance", s.contrasts.return_tolerance, Number::or_infinite);
  table.whole("attempts", s.contrasts.attempts, 1);
  table.choice<bool>("law", s.law.measured, {{"model", false}, {"held-steps", true}});
  table.number("law_step", s.law.step, Number::positive);
  table.flag("law_central", s.law.central);
  table.require(s.contrasts.problem());
}

void read_optimizer(Table& table, OptimizerOptions& options) {
  using Kind = OptimizerOptions::Kind;
  table.choice<Kind>("kind", options.kind, {{"sgd", Kind::sgd}, {"momentum", Kind::momentum}, {"adam", Kind::adam}});
  table.number("rate", options.rate, Number::positive);
  table.number("momentum", options.momentum, Number::fraction);
  table.number("beta1", options.beta1, Number::fraction);
  table.number("beta2", options.beta2, Number::fraction);
  table.number("epsilon", options.epsilon, Number::positive);
  table.number("clip", options.clip, Number::not_negative);
  if (auto schedule = table.table("schedule")) {
    using Shape = Schedule::Kind;
    schedule->choice<Shape>("kind", options.schedule.kind,
                            {{"constant", Shape::constant}, {"cosine", Shape::cosine}, {"step", Shape::step}, {"spsa", Shape::spsa}});
    schedule->number("warm_up", options.schedule.warm_up, Number::fraction);
    schedule->number("final_factor", options.schedule.final_factor, Number::not_negative);
    schedule->number("step_every", options.schedule.step_every, Number::positive);
    schedule->number("step_factor", options.schedule.step_factor, Number::positive);
    schedule->number("stability", options.schedule.stability, Number::not_negative);
    schedule->number("power", options.schedule.power, Number::not_negative);
    schedule->finish();
    schedule->require(options.schedule.problem());
  }
  table.require(options.problem());
}

void read_training(Table& table, TrainingOptions& options) {
  using Start = TrainingOptions::StartFrom;
  table.whole("epochs", options.epochs, 1);
  table.whole("batch", options.batch);
  table.choice<Start>("start", options.start, {{"rest", Start::rest}, {"last", Start::last}, {"present", Start::present}});
  table.whole("restart_every", options.restart_every);
  table.number("rest_rate", options.rest_rate, Number::or_infinite);
  table.whole("validate_every", options.validate_every);
  table.whole("patience", options.patience);
  table.number("target_loss", options.target_loss, Number::not_negative);
  table.whole("max_relaxations", options.max_relaxations);
  table.number("max_time", options.max_time, Number::not_negative);
  table.whole("checkpoint_every", options.checkpoint_every, 1);
  table.number("max_left_out", options.max_left_out, Number::fraction);
  table.require(options.problem());
}

void read_noise(Table& table, TrainingOptions& options) {
  using OnNoise = TrainingOptions::OnNoise;
  table.whole("error_draws", options.error_draws);
  table.number("target_error", options.target_error, Number::not_negative);
  table.whole("max_repeats", options.max_repeats, 1);
  table.choice<OnNoise>("when_noise_wins", options.on_noise, {{"step", OnNoise::step}, {"skip", OnNoise::skip}, {"average", OnNoise::average}});
  table.require(options.problem());
}

void read_drift(Table& table, TrainingOptions& options) { table.whole("reference_every", options.reference_every); }

void read_compare(Table& table, Experiment::Compare& compare) {
  table.whole("seeds", compare.seeds, 1);
  table.number("solved", compare.solved, Number::positive);
  const auto known = [&](const std::string& key, const std::string& name) {
    try {
      estimator_entry(name);
    } catch (const std::invalid_argument& error) {
      table.fail(key, error.what());
    }
  };
  if (table.texts("estimators", compare.estimators)) {
    for (const std::string& name : compare.estimators) known("estimators", name);
  }
  if (auto settings = table.table("settings")) {
    for (const std::string& name : settings->keys()) {
      known("settings", name);
      settings->texts(name, compare.settings[name]);
    }
    settings->finish();
  }
}

void read_budget(Table& table, TrainingOptions& options) {
  table.whole("relaxations", options.max_relaxations);
  table.number("time", options.max_time, Number::not_negative);
}

void read_device(Table& table, Experiment& experiment) {
  NoiseOptions& noise = experiment.noise;
  experiment.noise_has_seed = table.whole("noise_seed", noise.seed);
  table.number("read_noise", noise.read, Number::not_negative);
  noise.read_current = noise.read;
  table.number("current_noise", noise.read_current, Number::not_negative);
  table.number("write_noise", noise.write, Number::not_negative);
  table.number("variation", noise.variation, Number::not_negative);
  table.number("drift", noise.drift, Number::not_negative);
  table.number("drift_rate", noise.drift_rate, Number::not_negative);
  table.number("parameter_drift", noise.parameter_drift, Number::not_negative);
  table.number("parameter_drift_rate", noise.parameter_drift_rate, Number::not_negative);
  table.number("flicker", noise.flicker, Number::not_negative);
  table.number("jump_rate", noise.jump_rate, Number::fraction);
  table.number("jump_size", noise.jump_size, Number::not_negative);
  table.texts("jump_kinds", noise.jump_kinds);
  table.number("cross_talk", noise.cross_talk, Number::not_negative);
  table.number("resolution", noise.resolution, Number::not_negative);
  table.number("nudge_resolution", noise.nudge_resolution, Number::not_negative);
  table.flag("readback", noise.readback);
  table.whole("threads", experiment.simulation.threads);
  table.require(noise.problem());
}

std::string vector_target_problem(const std::string& target) {
  const std::vector<std::string> targets = sim::vector_targets();
  if (std::find(targets.begin(), targets.end(), target) != targets.end()) return {};
  std::string here;
  for (const std::string& one : targets) here += (here.empty() ? "" : ", ") + one;
  return "vector_target is '" + target + "'; this machine and program have " + here;
}

void read_solver(Table& table, Experiment& experiment) {
  sim::SimulationOptions& options = experiment.simulation;
  sim::SteadyStateOptions& steady = options.steady_state;
  table.number("path_tolerance", steady.path_tolerance, Number::positive);
  table.number("trust", steady.trust, Number::positive);
  table.number("tolerance", steady.tolerance, Number::positive);
  table.whole("max_steps", steady.max_steps, 1);
  table.number("escape", steady.escape, Number::positive);
  table.flag("newton_first", steady.newton_first);
  table.flag("eigenvalue", steady.eigenvalue);
  table.choice<sim::Batches>("batches", options.batches, {{"off", sim::Batches::off}, {"single", sim::Batches::single_precision}, {"double", sim::Batches::double_precision}});
  if (auto transient = table.table("transient")) {
    transient->number("relative_tolerance", options.transient.relative_tolerance, Number::positive);
    transient->number("absolute_tolerance", options.transient.absolute_tolerance, Number::positive);
    std::uint64_t steps = static_cast<std::uint64_t>(options.transient.max_steps);
    if (transient->whole("max_steps", steps, 1)) options.transient.max_steps = static_cast<long>(steps);
    transient->finish();
    transient->require(options.transient.problem());
  }
  table.require(steady.problem());
  if (table.text("vector_target", experiment.vector_target)) table.require(vector_target_problem(experiment.vector_target));
}

void read_log(Table& table, LogOptions& options) {
  table.choice<bool>("rows", options.outputs_only, {{"all", false}, {"outputs", true}});
  table.whole("group_rows", options.group_rows, 1);
  double seconds = 0;
  if (table.number("group_age", seconds, Number::positive)) {
    if (seconds > 1e6) table.fail("group_age", "expected seconds, at most 1e6");
    options.group_age = std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(seconds * 1000)));
  }
  table.flag("background", options.background);
  table.whole("full_theta", options.full_theta);
}

/// [twin]: what `ness calibrate` found.
void read_twin(Table& table, Experiment& experiment) {
  const sim::Network network(drawn(experiment.network, experiment.parameters, experiment.seed));
  const std::vector<ParameterInfo> parameters = network.parameter_info();
  if (auto offsets = table.table("offset")) {
    Vector theta = Vector::Zero(static_cast<Eigen::Index>(parameters.size()));
    for (std::size_t i = 0; i < parameters.size(); ++i) offsets->number(parameters[i].name, theta[static_cast<Eigen::Index>(i)]);
    offsets->finish();
    experiment.twin.theta = std::move(theta);
  }
  const auto read_nodes = [&](const char* key, const std::vector<std::uint32_t>& nodes, double standard, Number must_be, Vector& values) {
    if (auto of_nodes = table.table(key)) {
      values = Vector::Constant(static_cast<Eigen::Index>(nodes.size()), standard);
      for (std::size_t k = 0; k < nodes.size(); ++k) of_nodes->number("node-" + std::to_string(nodes[k]), values[static_cast<Eigen::Index>(k)], must_be);
      of_nodes->finish();
    }
  };
  read_nodes("reading-gain", network.free(), 1, Number::positive, experiment.twin.gain);
  read_nodes("reading-offset", network.free(), 0, Number::finite, experiment.twin.reading_offset);
  read_nodes("input-gain", network.clamped(), 1, Number::positive, experiment.twin.input_gain);
  read_nodes("input-offset", network.clamped(), 0, Number::finite, experiment.twin.input_offset);
  table.number("read_noise", experiment.twin_read_noise, Number::not_negative);
  table.require(experiment.twin.problem(parameters, network.free().size(), network.clamped().size()));
}

/// An initial value set on the command line replaces the file's, whatever rule that is given by.
void remove_rivals(Document& document, const std::string& assignment) {
  const std::string key = assignment.substr(0, assignment.find_first_of(" ="));
  const auto dot = key.rfind('.');
  const std::vector<std::string>& rules = initial_value_keys();
  if (!key.starts_with("parameters.") || std::find(rules.begin(), rules.end(), key.substr(dot + 1)) == rules.end()) return;
  for (const std::string& rule : rules) document.erase(key.substr(0, dot + 1) + rule);
}

template <typename Read>
void read_section(Table& root, const std::string& name, const Read& read) {
  if (auto table = root.table(name)) {
    read(*table);
    table->finish();
  }
}

Experiment bind(Document document, const std::string& path, const LoadOptions& options) {
  Experiment experiment;
  experiment.path = path;
  Table root = document.root();
  DataPlaces places{std::filesystem::absolute(path).parent_path().string(), options.data, options.recorded_data};
  root.text("title", experiment.title);
  root.whole("seed", experiment.seed);
  if (experiment.title.empty()) experiment.title = std::filesystem::path(path).stem().string();
  // First the names of the tables, so that a misspelt one is not reported as missing.
  for (const char* name : {"network", "parameters", "task", "loss", "estimator", "optimizer", "training", "device", "solver",
                           "log", "evaluation", "noise", "drift", "budget", "compare", "twin"}) {
    root.table(name);
  }
  root.finish();
  read_section(root, "estimator", [&](Table& table) { read_estimator(table, experiment); });
  read_section(root, "optimizer", [&](Table& table) { read_optimizer(table, experiment.optimizer); });
  read_section(root, "training", [&](Table& table) { read_training(table, experiment.training); });
  read_section(root, "noise", [&](Table& table) { read_noise(table, experiment.training); });
  read_section(root, "drift", [&](Table& table) { read_drift(table, experiment.training); });
  read_section(root, "budget", [&](Table& table) { read_budget(table, experiment.training); });
  read_section(root, "compare", [&](Table& table) { read_compare(table, experiment.compare); });
  read_section(root, "device", [&](Table& table) { read_device(table, experiment); });
  read_section(root, "solver", [&](Table& table) { read_solver(table, experiment); });
  read_section(root, "log", [&](Table& table) { read_log(table, experiment.log); });
  read_section(root, "evaluation", [&](Table& table) { table.flag("train", experiment.evaluate_train); });
  experiment.network = read_network(root, places.directory, document);
  experiment.parameters = read_parameter_rules(root, experiment.network);
  if (const std::string problem = drawn(experiment.network, experiment.parameters, experiment.seed).problem();
      !problem.empty()) {
    root.table("network")->fail("", problem);
  }
  read_section(root, "twin", [&](Table& table) { read_twin(table, experiment); });
  experiment.task = read_task(root, places, document);
  check_shapes(root, experiment);
  experiment.text = document.text();
  return experiment;
}

}  // namespace

Experiment load_experiment(const std::string& path, const LoadOptions& options) {
  return experiment_from_text(text_of_file(path, "an experiment file (TOML)"), path, options);
}

Experiment experiment_from_text(const std::string& text, const std::string& path, const LoadOptions& options) {
  Document document(text, path);
  for (const std::string& assignment : options.set) {
    remove_rivals(document, assignment);
    document.set(assignment);
  }
  if (options.seed) document.set("seed=" + std::to_string(*options.seed));
  return bind(std::move(document), path, options);
}

}  // namespace ness
