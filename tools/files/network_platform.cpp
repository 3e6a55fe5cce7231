#include "ness/files/network_platform.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <stdexcept>

#include "ness/device/number_text.hpp"
#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"
#include "ness/files/network_file.hpp"
#include "ness/files/text_file.hpp"
#include "ness/network/vector_target.hpp"

namespace ness {

namespace {

// ---- [network] ------------------------------------------------------------------------------------------

using NodeChange = std::function<void(sim::NodeProperties&)>;

/// `apply` makes a change to every node the table speaks of.
void read_node_properties(Keys& keys, const std::function<void(const NodeChange&)>& apply) {
  const auto bind = [&](const std::string& key, double sim::NodeProperties::*member, Number must_be,
                        const About& about) {
    double value = sim::NodeProperties{}.*member;
    if (keys.number(key, value, must_be, about))
      apply([&](sim::NodeProperties& node) { node.*member = value; });
  };
  bind("capacity", &sim::NodeProperties::capacity, Number::positive,
       {"", "charge a unit of potential; the volume, where an enzyme's edge ends"});
  bind("T", &sim::NodeProperties::T, Number::positive, {"", "relative temperature of the node"});
  bind("mu0", &sim::NodeProperties::mu0, Number::finite, {"kT", "standard potential"});
  bind("mu_init", &sim::NodeProperties::mu_init, Number::finite,
       {"kT", "potential at rest, where relaxations begin"});
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
      if (!any)
        inner.fail("", "names no " + prefix.substr(0, prefix.size() - 1) +
                           " of this network, or says nothing of it");
    }
  }
  table->finish();
}

constexpr About about_law{
    "", "of the edges: `linear`, `quantum-dot` or `enzyme`; or one for each layer of edges"};

std::vector<sim::Law> read_laws(Table& network, std::size_t edge_layers) {
  std::vector<std::string> names;
  if (!network.texts("law", names, about_law)) network.fail("", "expected law = " + sim::law_names());
  if (names.size() != 1 && names.size() != edge_layers) {
    network.fail("law", "expected one law, or one for each of the " + std::to_string(edge_layers) +
                            " layers of edges, found " + std::to_string(names.size()));
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
    spec.edges[e].p = spec.edges[e].law->defaults();
  }
  return spec;
}

/// What [network] is made from: one of the three.
struct NetworkSource {
  std::vector<std::uint32_t> layers;
  std::string file, json;
  bool has_layers = false, has_file = false, has_json = false;
};

void read_network_source(Keys& keys, NetworkSource& from) {
  from.has_layers = keys.wholes(
      "layers", from.layers,
      {"", "nodes of each layer, the input (clamped) first, the output last, joined layer by layer"});
  from.has_file = keys.text("file", from.file,
                            {"", "instead of `layers` and `law`: a network file, as `ness solve` reads it"});
  from.has_json =
      keys.text("json", from.json, {"", "a network file's text, as logs hold it instead of `file`"});
}

void read_units(Keys& keys, sim::NetworkSpec& spec) {
  keys.number("kT", spec.kT, Number::positive, {"", "thermal energy at T = 1, in the unit of potentials"});
  keys.number("c_ref", spec.c_ref, Number::positive, {"", "reference concentration (enzymes)"});
}

sim::NetworkSpec read_network(Table& root, const PlatformContext& context) {
  std::optional<Table> network = root.table("network");
  NetworkSource from;
  read_network_source(*network, from);
  if (from.has_layers + from.has_file + from.has_json != 1) {
    network->fail("", "expected either 'layers' (with 'law') or 'file', the name of a network file (JSON)");
  }
  sim::NetworkSpec spec;
  if (from.has_layers) {
    spec = layered_network(*network, from.layers);
  } else {
    const std::string path =
        from.has_file ? path_from(context.directory, from.file) : network->dotted("json");
    if (from.has_file) {
      from.json = text_of_file(path, std::string(network_platform.files));
      // So that the text in the log is the whole experiment.
      context.document.erase("network.file");
      context.document.set_text("network.json", from.json);
    }
    spec = network_from_json(from.json, path);
  }
  read_units(*network, spec);
  read_nodes(*network, spec);
  network->finish();
  return spec;
}

// ---- [solver] -------------------------------------------------------------------------------------------

std::string vector_target_problem(const std::string& target) {
  const std::vector<std::string> targets = sim::vector_targets();
  if (std::find(targets.begin(), targets.end(), target) != targets.end()) return {};
  std::string here;
  for (const std::string& one : targets) here += (here.empty() ? "" : ", ") + one;
  return "vector_target is '" + target + "'; this machine and program have " + here;
}

void read_transient(Keys& keys, sim::TransientOptions& transient) {
  keys.number("relative_tolerance", transient.relative_tolerance, Number::positive,
              {"", "of potentials, a time step"});
  keys.number("absolute_tolerance", transient.absolute_tolerance, Number::positive,
              {"kT", "of potentials, a time step"});
  std::uint64_t steps = static_cast<std::uint64_t>(transient.max_steps);
  if (keys.whole("max_steps", steps, 1, {"", "time steps of one relaxation at most"})) {
    transient.max_steps = static_cast<long>(steps);
  }
  keys.require(transient.problem());
}

constexpr About about_transient{"", "Relaxations that are followed in time: inputs that rise at a rate"};

void read_steady_state(Keys& keys, sim::SteadyStateOptions& steady) {
  keys.number("path_tolerance", steady.path_tolerance, Number::positive,
              {"kT", "error of a time step while a relaxation is followed"});
  keys.number("path_reach", steady.path_reach, Number::positive,
              {"", "how far a time step may move the arguments of an edge's exponentials"});
  keys.number(
      "margin", steady.margin, Number::positive,
      {"kT", "states that smaller disturbances on the way would have led to another branch are flagged"});
  keys.number("trust", steady.trust, Number::positive, {"kT", "how far Newton's iteration may move in all"});
  keys.number("tolerance", steady.tolerance, Number::positive,
              {"kT", "size of Newton's last correction; the error that is left is of its square"});
  keys.whole("max_steps", steady.max_steps, 1, {"", "time steps after which a limit cycle is looked for"});
  keys.number("escape", steady.escape, Number::positive,
              {"kT", "a potential further from rest has diverged"});
  keys.flag("newton_first", steady.newton_first, {"", "from a restored state Newton is tried at once"});
  keys.flag("eigenvalue", steady.eigenvalue, {"", "the slowest eigenvalue is computed at each steady state"});
}

void read_solver(Keys& keys, NetworkDescription& read) {
  sim::SimulationOptions& options = read.simulation;
  read_steady_state(keys, options.steady_state);
  keys.choice<sim::Batches>(
      "batches", options.batches,
      {{"off", sim::Batches::off},
       {"single", sim::Batches::single_precision},
       {"double", sim::Batches::double_precision}},
      {"", "many samples are relaxed side by side, in this precision; quantum dots alone"});
  if (const auto transient = keys.inner("transient", about_transient)) {
    read_transient(*transient, options.transient);
    transient->finish();
  }
  keys.require(options.steady_state.problem());
  const About about{"", "instruction set of the arithmetic, such as `AVX2`", "the best this machine has"};
  keys.text("vector_target", read.vector_target, about);
}

}  // namespace

sim::SimulationOptions solver_options(const std::vector<std::string>& settings) {
  Document document("", "--set");
  for (const std::string& setting : settings) document.set(setting);
  Table root = document.root();
  NetworkDescription description;
  if (auto table = root.table("solver")) {
    read_solver(*table, description);
    table->finish();
  }
  root.finish();
  return description.simulation;
}

namespace {
std::shared_ptr<const PlatformDescription> read(Table& root, const PlatformContext& context) {
  auto description = std::make_shared<NetworkDescription>();
  if (auto table = root.table("solver")) {
    read_solver(*table, *description);
    std::string& target = description->vector_target;
    // Of an earlier program or another machine: with equal bits where that can be, else with the best there
    // is.
    if (!target.empty() && context.other_targets && !vector_target_problem(target).empty())
      target = sim::equal_vector_target(target);
    else if (!target.empty()) table->require(vector_target_problem(target));
    table->finish();
  }
  description->network = read_network(root, context);
  // Levels, readings, noise, targets and volts_per_kT of an experiment are all in one unit, and called kT.
  if (const std::string ignored = description->network.ignored(); !ignored.empty() && !context.other_targets)
    root.table("network")->fail("", ignored);
  if (description->network.kT != 1 && !context.other_targets) {
    root.table("network")->fail(
        "kT", "kT is " + number_text(description->network.kT) +
                  ", expected 1: an experiment's potentials are in units of kT; divide those "
                  "of the network by it, and multiply conductances");
  }
  description->parameters = read_parameter_rules(root, description->network);
  if (const std::string problem = description->drawn(context.seed).problem(); !problem.empty()) {
    root.table("network")->fail("", problem);
  }
  return description;
}

void list(const KeyList& top) {
  KeyList network =
      top.table("network", "The network: layers that are joined one to the next, or a network file");
  std::vector<std::string> law;
  network.texts("law", law, about_law);
  NetworkSource source;
  read_network_source(network, source);
  sim::NetworkSpec spec;
  read_units(network, spec);
  KeyList nodes =
      top.table("network.nodes",
                "Of all free nodes; refined in `[network.nodes.layer-N]` (the input is layer 0) and "
                "`[network.nodes.node-N]`, the narrower one last");
  read_node_properties(nodes, [](const NodeChange&) {});
  list_parameter_keys(top);
  KeyList solver = top.table("solver", "How a simulation finds steady states");
  NetworkDescription none;
  read_solver(solver, none);
}

constexpr std::array<std::string_view, 2> tables{"parameters", "solver"};

}  // namespace

const PlatformEntry network_platform{.name = "network",
                                     .size_key = "layers",
                                     .files = "a network file (JSON)",
                                     .tables = tables,
                                     .read = read,
                                     .list = list};

std::size_t NetworkDescription::inputs() const {
  return static_cast<std::size_t>(std::count_if(network.graph.nodes.begin(), network.graph.nodes.end(),
                                                [](const GraphNode& node) { return node.clamped; }));
}

std::size_t NetworkDescription::outputs() const { return network.graph.outputs.size(); }

Platform NetworkDescription::made(std::uint64_t seed, unsigned threads) const {
  if (!vector_target.empty()) sim::force_vector_target(vector_target);
  const auto built = std::make_shared<const sim::Network>(drawn(seed));
  sim::SimulationOptions options = simulation;
  options.threads = threads;
  auto device = std::make_unique<sim::Simulation>(built, options);
  Platform platform;
  platform.info = device->info();
  platform.device = std::move(device);
  platform.model = std::make_shared<sim::NetworkModel>(built, threads, simulation.batches);
  platform.theta = built->theta();
  return platform;
}

std::vector<ParameterRule> NetworkDescription::rules(const std::vector<ParameterInfo>& info,
                                                     const Vector& theta) const {
  return training_rules(info, theta, network.graph, parameters);
}

namespace {

// One sentence a key: how many values its range clips, and the first of them.
void find_clipped(const NetworkDescription& network, std::uint64_t seed, std::vector<Mistake>& found) {
  std::vector<ClippedValue> clipped;
  ness::drawn(network.network, network.parameters, seed, &clipped);
  std::vector<std::string> keys;
  for (const ClippedValue& one : clipped) {
    if (std::find(keys.begin(), keys.end(), one.key) == keys.end()) keys.push_back(one.key);
  }
  for (const std::string& key : keys) {
    const auto same = [&key](const ClippedValue& one) { return one.key == key; };
    const ClippedValue& first = *std::find_if(clipped.begin(), clipped.end(), same);
    const auto count = std::count_if(clipped.begin(), clipped.end(), same);
    const std::string range =
        "'range', " + number_text(first.range.low) + " to " + number_text(first.range.high);
    if (first.drawn) {
      found.push_back({false, key,
                       std::to_string(count) + (count == 1 ? " drawn value lies" : " drawn values lie") +
                           " outside " + range + ", and " + (count == 1 ? "is" : "are") +
                           " moved to its end; the first is " + first.parameter + " = " +
                           number_text(first.value)});
    } else {
      found.push_back({true, key,
                       "the initial value " + number_text(first.value) + " of " + first.parameter +
                           " is outside " + range + "; expected a value within"});
    }
  }
}

// Nodes that a chain of edges joins to `from`, against no direction.
std::vector<bool> reached(const Graph& graph, const std::vector<bool>& from) {
  std::vector<bool> there = from;
  for (bool more = true; more;) {
    more = false;
    for (const GraphEdge& edge : graph.edges) {
      if (there[edge.source] == there[edge.target]) continue;
      there[edge.source] = there[edge.target] = more = true;
    }
  }
  return there;
}

void find_unjoined(const Graph& graph, std::vector<Mistake>& found) {
  std::vector<bool> inputs(graph.nodes.size());
  for (std::size_t k = 0; k < inputs.size(); ++k) inputs[k] = graph.nodes[k].clamped;
  const std::vector<bool> there = reached(graph, inputs);
  for (const std::uint32_t output : graph.outputs) {
    if (there[output]) continue;
    found.push_back(
        {true, "network",
         "no edges join output node " + std::to_string(output) + " to any input: it cannot depend on them"});
  }
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const auto touches = [k](const GraphEdge& edge) { return edge.source == k || edge.target == k; };
    if (!inputs[k] || std::any_of(graph.edges.begin(), graph.edges.end(), touches)) continue;
    found.push_back({false, "network",
                     "no edge leads from input node " + std::to_string(k) + ": its levels have no effect"});
  }
}

}  // namespace

std::vector<Mistake> NetworkDescription::mistakes(std::uint64_t seed) const {
  std::vector<Mistake> found;
  find_clipped(*this, seed, found);
  find_unjoined(network.graph, found);
  return found;
}

const NetworkDescription& network_description(const Experiment& experiment) {
  const auto* network = dynamic_cast<const NetworkDescription*>(experiment.platform.get());
  if (network == nullptr)
    throw FileError(experiment.path + ": expected an experiment on a network, with a table [network]");
  return *network;
}

std::shared_ptr<const sim::Network> network_of(const Platform& platform) {
  const auto* simulation = dynamic_cast<const sim::Simulation*>(platform.device.get());
  return simulation ? simulation->network() : nullptr;
}

}  // namespace ness
