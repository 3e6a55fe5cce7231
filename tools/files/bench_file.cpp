#include "ness/files/bench_file.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include "bind_task.hpp"
#include "ness/files/experiment.hpp"
#include "ness/files/line_elements.hpp"
#include "ness/files/nearest.hpp"
#include "ness/device/error.hpp"
#include "ness/files/network_file.hpp"
#include "ness/files/parameter_rules.hpp"
#include "ness/files/text_file.hpp"
#include "ness/files/toml_table.hpp"

namespace ness {

namespace {

sim::CircuitScale read_scale(Table& root, BenchFile& bench) {
  sim::CircuitScale scale;
  if (auto table = root.table("scale")) {
    table->number("error_share", bench.error_share, Number::positive);
    table->number("volts_per_kT", scale.volts_per_kT, Number::positive);
    table->number("amperes_per_unit", scale.amperes_per_unit, Number::positive);
    double carrier = scale.carrier;
    if (table->number("carrier", carrier)) {
      if (carrier != 1 && carrier != -1) table->fail("carrier", "expected 1, or -1 where the voltage rises as the potential falls");
      scale.carrier = static_cast<int>(carrier);
    }
    table->finish();
  }
  return scale;
}

void read_link(Table& table, BenchInstrument& instrument) {
  table.whole("baud", instrument.serial.baud, 1);
  table.number("timeout", instrument.timeout, Number::positive);
  table.choice<std::string>("terminator", instrument.terminator, {{"lf", "\n"}, {"cr", "\r"}, {"crlf", "\r\n"}});
}

std::vector<BenchDifference> read_differences(Table& root, const std::vector<BenchWire>& wiring) {
  std::vector<BenchDifference> differences;
  std::optional<Table> tables = root.table("limits");
  if (!tables) return differences;
  for (const std::string& name : tables->other_tables()) {
    Table table = *tables->table(name);
    BenchDifference difference{name, {}, {}, {}};
    std::vector<std::string> wires;
    table.texts("difference", wires);
    if (wires.size() != 2) table.fail("difference", "expected the names of two wires, [\"a\", \"b\"]");
    for (const std::string& wire : wires) {
      if (std::none_of(wiring.begin(), wiring.end(), [&](const BenchWire& w) { return w.name == wire; })) table.fail("difference", "there is no [wiring." + wire + "]");
    }
    difference.first = wires[0];
    difference.second = wires[1];
    std::pair<double, double> range;
    if (!table.pair("range", range) || !(range.first <= range.second)) table.fail("range", "expected [low, high] in volts, low not above high");
    difference.range = {range.first, range.second};
    table.finish();
    differences.push_back(std::move(difference));
  }
  tables->finish();
  return differences;
}

void read_settling(Table& root, BenchFile& bench) {
  bench.settle.tolerance = 2e-2;
  std::optional<Table> table = root.table("settle");
  if (!table) return;
  table->number("tolerance", bench.settle.tolerance, Number::positive);
  table->number("tau_max", bench.settle.tau_max, Number::not_negative);
  table->number("noise", bench.settle.noise, Number::not_negative);
  std::uint64_t least = bench.settle.least;
  if (table->whole("readings", least, 4)) bench.settle.least = static_cast<std::size_t>(least);
  table->number("timeout", bench.settle_timeout, Number::positive);
  table->number("rest", bench.rest, Number::not_negative);
  table->number("hold", bench.hold, Number::not_negative);
  if (table->whole("burst", bench.burst, 0, 10000) && bench.burst > 0 && bench.burst < 4) table->fail("burst", "expected 0, or 4 readings and more");
  table->number("burst_noise", bench.burst_noise, Number::positive);
  table->finish();
}

const InstrumentKind& read_kind(Table& table, std::span<const InstrumentKind> kinds) {
  std::vector<std::pair<std::string, const InstrumentKind*>> named;
  for (const InstrumentKind& kind : kinds) named.emplace_back(kind.name, &kind);
  const InstrumentKind* kind = nullptr;
  if (!table.choice("model", kind, named)) table.fail("", "expected model = one of the instruments' names");
  if (const std::string problem = kind->problem(); !problem.empty()) table.fail("model", problem);
  return *kind;
}

// The channel a table names. True where it is named; an instrument with one pair of terminals needs no name.
bool read_channel(Table& table, const InstrumentKind& kind, std::uint32_t& channel) {
  const bool numbered = table.whole("channel", channel, 1);
  const InstrumentChannels& channels = kind.channels;
  if (!numbered && channels.several) table.fail("", "expected channel = " + channels.words + " of the " + kind.name);
  if (!channels.has(channel)) {
    table.fail("channel", "a " + kind.name + " has no channel " + std::to_string(channel) + "; expected " + channels.words);
  }
  return numbered;
}

std::vector<BenchInstrument> read_instruments(Table& root, std::span<const InstrumentKind> kinds) {
  std::optional<Table> tables = root.table("instruments");
  if (!tables || tables->other_tables().empty()) root.fail("", "expected at least one table [instruments.NAME]");
  std::vector<BenchInstrument> instruments;
  std::map<std::string, std::string> addresses;
  for (const std::string& name : tables->other_tables()) {
    Table table = *tables->table(name);
    BenchInstrument instrument;
    instrument.name = name;
    instrument.kind = read_kind(table, kinds);
    std::string address;
    if (table.text("address", address)) {
      try {
        instrument.address = protocols::parse_resource_name(address);
      } catch (const std::invalid_argument& error) {
        table.fail("address", error.what());
      }
      const auto [earlier, is_new] = addresses.emplace(to_string(*instrument.address), name);
      if (!is_new) table.fail("address", "instrument '" + earlier->second + "' is at this address");
    }
    read_link(table, instrument);
    instrument.kind.read(table, instrument.settings);
    table.finish();
    instruments.push_back(std::move(instrument));
  }
  tables->finish();
  return instruments;
}

std::size_t instrument_of(Table& table, const std::vector<BenchInstrument>& instruments) {
  std::string name;
  if (!table.text("instrument", name)) table.fail("", "expected instrument = the name of one in [instruments]");
  const auto found = std::find_if(instruments.begin(), instruments.end(), [&](const BenchInstrument& i) { return i.name == name; });
  if (found == instruments.end()) {
    std::vector<std::string> known;
    for (const BenchInstrument& i : instruments) known.push_back(i.name);
    table.fail("instrument", "there is no instrument '" + name + "'; expected " + one_of(known));
  }
  return static_cast<std::size_t>(found - instruments.begin());
}

std::vector<BenchWire> read_wiring(Table& root, const std::vector<BenchInstrument>& instruments) {
  std::optional<Table> tables = root.table("wiring");
  if (!tables || tables->other_tables().empty()) root.fail("", "expected at least one table [wiring.NAME]");
  std::vector<BenchWire> wiring;
  std::map<std::pair<std::size_t, std::uint32_t>, std::string> taken;
  for (const std::string& name : tables->other_tables()) {
    Table table = *tables->table(name);
    BenchWire wire;
    wire.name = name;
    wire.instrument = instrument_of(table, instruments);
    const BenchInstrument* found = &instruments[wire.instrument];
    const bool numbered = read_channel(table, found->kind, wire.channel);
    const auto [earlier, is_new] = taken.emplace(std::pair{wire.instrument, wire.channel}, name);
    if (!is_new) table.fail(numbered ? "channel" : "instrument", "this channel is wired already, in [wiring." + earlier->second + "]");
    std::uint32_t node = 0;
    const bool to_node = table.whole("node", node), to_parameter = table.text("parameter", wire.parameter);
    if (to_node == to_parameter) table.fail("", "expected either node = a node's number, or parameter = a parameter's name such as \"a[0]\"");
    if (to_node) {
      wire.node = node;
      table.number("lead", wire.lead, Number::positive);
    } else {
      if (!sets_parameters(found->role())) {
        table.fail("parameter", "a " + found->kind.name + " sets no parameters; expected the channel of a DAC, such as the qdac-ii");
      }
      if (!table.number("per_volt", wire.per_volt)) table.fail("", "expected per_volt: by how much a volt changes " + wire.parameter);
      if (wire.per_volt == 0) table.fail("per_volt", "expected a number other than 0");
      table.number("offset", wire.offset);
    }
    read_line_elements(table, *found, wire);
    table.number("gain", wire.gain);
    if (wire.gain == 0) table.fail("gain", "expected a number other than 0");
    table.number("volts", wire.volts);
    std::pair<double, double> pair;
    if (table.pair("limits", pair)) {
      if (!(pair.first <= pair.second)) table.fail("limits", "expected [low, high] in volts, low not above high");
      wire.limits = Range{pair.first, pair.second};
    }
    table.number("step", wire.step, Number::positive);
    table.number("rate", wire.rate, Number::positive);
    double safe = 0;
    std::uint32_t order = 0;
    table.number("safe", safe);
    table.whole("order", order);
    wire.safe.fill({safe, order, 1, drivers::LastAct::off});
    wire.safe[static_cast<std::size_t>(SafeProfile::emergency)].faster = 10;
    if (table.flag("read", wire.read) && (found->role() != drivers::Role::source_meter || !wire.node)) table.fail("read", "expected on the wire of a source-meter that leads to a node");
    table.number("tau_input", wire.tau_input, Number::not_negative);
    table.number("tau_gate", wire.tau_gate, Number::not_negative);
    if (table.pair("nudge", pair)) {
      if (!wire.parameter.starts_with("mu_ref[")) table.fail("nudge", "expected on the wire of a leak reference, parameter = \"mu_ref[..]\"");
      if (!(pair.first < pair.second)) table.fail("nudge", "expected [low, high] in units of current, low below high");
      wire.nudge = Range{pair.first, pair.second};
    }
    table.finish();
    wiring.push_back(std::move(wire));
  }
  tables->finish();
  return wiring;
}

const BenchWire* wire_called(const std::vector<BenchWire>& wiring, const std::string& name) {
  const auto found = std::find_if(wiring.begin(), wiring.end(), [&](const BenchWire& w) { return w.name == name; });
  return found == wiring.end() ? nullptr : &*found;
}

void read_safe_entry(Table& table, drivers::SafeEntry& entry) {
  table.whole("order", entry.order);
  table.number("faster", entry.faster, Number::positive);
  table.choice<drivers::LastAct>("last", entry.last, {{"off", drivers::LastAct::off}, {"stay", drivers::LastAct::stay}, {"high-impedance", drivers::LastAct::high_impedance}});
}

// [profiles.NAME] says what is other than `safe` and `order` of the wires; [profiles.NAME.WIRE] for one wire.
void read_profiles(Table& root, std::vector<BenchWire>& wiring) {
  std::optional<Table> profiles = root.table("profiles");
  if (!profiles) return;
  for (const SafeProfile profile : {SafeProfile::stop, SafeProfile::cancel, SafeProfile::emergency}) {
    std::optional<Table> table = profiles->table(to_string(profile));
    if (!table) continue;
    const auto p = static_cast<std::size_t>(profile);
    for (BenchWire& wire : wiring) {
      drivers::SafeEntry common = wire.safe[p];
      table->number("faster", common.faster, Number::positive);
      table->choice<drivers::LastAct>("last", common.last, {{"off", drivers::LastAct::off}, {"stay", drivers::LastAct::stay}, {"high-impedance", drivers::LastAct::high_impedance}});
      wire.safe[p] = common;
    }
    for (const std::string& name : table->other_tables()) {
      Table own = *table->table(name);
      const auto wire = std::find_if(wiring.begin(), wiring.end(), [&](const BenchWire& w) { return w.name == name; });
      if (wire == wiring.end()) own.fail("", "there is no [wiring." + name + "]");
      own.number("level", wire->safe[p].level);
      read_safe_entry(own, wire->safe[p]);
      own.finish();
    }
    table->finish();
  }
  profiles->finish();
}

std::vector<BenchTalk> read_cross_talk(Table& root, const std::vector<BenchWire>& wiring) {
  std::vector<BenchTalk> all;
  std::optional<Table> tables = root.table("cross-talk");
  if (!tables) return all;
  for (const std::string& name : tables->other_tables()) {
    Table table = *tables->table(name);
    BenchTalk talk{name, {}, {}, 0};
    if (!table.text("from", talk.from) || wire_called(wiring, talk.from) == nullptr) table.fail("from", "expected the name of a wire whose level is set");
    const BenchWire* to = table.text("to", talk.to) ? wire_called(wiring, talk.to) : nullptr;
    if (to == nullptr || to->parameter.empty()) table.fail("to", "expected the name of a wire that sets a parameter");
    if (!table.number("per_volt", talk.per_volt)) table.fail("", "expected per_volt: by how much a volt of '" + talk.from + "' changes " + to->parameter);
    table.finish();
    all.push_back(std::move(talk));
  }
  tables->finish();
  return all;
}

void read_environment(Table& root, BenchFile& bench) {
  std::optional<Table> tables = root.table("environment");
  if (!tables) return;
  tables->number("every", bench.pause_every, Number::positive);
  tables->number("timeout", bench.pause_timeout, Number::not_negative);
  for (const std::string& name : tables->other_tables()) {
    Table table = *tables->table(name);
    BenchSurroundings entry;
    entry.name = name;
    entry.instrument = instrument_of(table, bench.instruments);
    const InstrumentKind& kind = bench.instruments[entry.instrument].kind;
    if (!reads(kind.role)) {
      table.fail("instrument", "a " + kind.name + " reads nothing; expected a meter, a scanner, or a source-meter whose current is meant");
    }
    read_channel(table, kind, entry.channel);
    if (!table.text("unit", entry.unit)) table.fail("", "expected unit = what the value is in, such as \"K\"");
    table.number("gain", entry.gain);
    table.number("offset", entry.offset);
    std::pair<double, double> range;
    if (table.pair("range", range)) {
      if (!(range.first <= range.second)) table.fail("range", "expected [low, high], low not above high");
      entry.pause = {range.first, range.second};
    }
    for (const BenchWire& wire : bench.wiring) {
      // Of a source-meter the wire is its level, and what is read its current.
      if (!sets_levels(kind.role) && wire.instrument == entry.instrument && wire.channel == entry.channel) table.fail("channel", "this channel is wired already, in [wiring." + wire.name + "]");
    }
    table.finish();
    bench.environment.push_back(std::move(entry));
  }
  tables->finish();
}

void read_controllers(Table& root, BenchFile& bench) {
  std::vector<std::string> names;
  root.texts("controllers", names);
  for (const std::string& name : names) {
    try {
      const protocols::ResourceName resource = protocols::parse_resource_name(name);
      const auto* board = std::get_if<protocols::PrologixName>(&resource);
      if (board == nullptr) root.fail("controllers", "'" + name + "' is no Prologix controller; expected such as PRLGX-TCPIP0::10.0.0.9::1234::INTFC");
      bench.controllers.push_back(*board);
    } catch (const std::invalid_argument& error) {
      root.fail("controllers", error.what());
    }
  }
}

void check_used(Table& root, const BenchFile& bench) {
  for (std::size_t i = 0; i < bench.instruments.size(); ++i) {
    const bool wired = std::any_of(bench.wiring.begin(), bench.wiring.end(), [&](const BenchWire& w) { return w.instrument == i; });
    const bool looks = std::any_of(bench.environment.begin(), bench.environment.end(), [&](const BenchSurroundings& e) { return e.instrument == i; });
    if (!wired && !looks) root.fail("", "nothing is wired to instrument '" + bench.instruments[i].name + "'");
  }
}

CheckSettings read_check(Table& root) {
  CheckSettings check;
  std::optional<Table> table = root.table("check");
  if (!table) return check;
  if (table->number("share", check.share, Number::positive) && check.share > 0.5) table->fail("share", "expected at most 0.5: the check is to move little");
  table->number("leakage", check.leakage, Number::not_negative);
  table->number("short", check.short_circuit, Number::positive);
  table->number("longest", check.longest, Number::positive);
  WiringCheckOptions& o = check.options;
  table->whole("seed", o.seed);
  table->number("gain_tolerance", o.gain_tolerance, Number::positive);
  table->number("pattern_tolerance", o.pattern_tolerance, Number::positive);
  table->number("roughness", o.roughness, Number::positive);
  table->number("cross_talk", o.cross_talk, Number::positive);
  table->number("visible", o.visible, Number::positive);
  std::uint64_t points = o.points, repeats = o.repeats;
  if (table->whole("points", points, 1, 100)) o.points = static_cast<std::size_t>(points);
  if (table->whole("repeats", repeats, 1, 100)) o.repeats = static_cast<std::size_t>(repeats);
  o.tries = std::max(o.tries, o.points);
  table->finish();
  return check;
}

// Mistakes to rehearse, by the names of wires.
void read_mistakes(Table& table, const std::vector<BenchWire>& wiring, const std::vector<BenchInstrument>& instruments, EmulationOptions& options) {
  const auto wire = [&](const std::string& key, const std::string& name) {
    const auto found = std::find_if(wiring.begin(), wiring.end(), [&](const BenchWire& w) { return w.name == name; });
    if (found == wiring.end()) table.fail(key, "there is no [wiring." + name + "]");
    return static_cast<std::size_t>(found - wiring.begin());
  };
  std::vector<std::pair<std::string, std::string>> pairs;
  table.pairs_of_texts("swapped", pairs);
  for (const auto& [first, second] : pairs) {
    const std::size_t a = wire("swapped", first), b = wire("swapped", second);
    const auto may_set = [&](std::size_t w) { return sets_parameters(instruments[wiring[w].instrument].role()); };
    if ((!wiring[a].parameter.empty() && !may_set(b)) || (!wiring[b].parameter.empty() && !may_set(a))) {
      table.fail("swapped", "'" + first + "' and '" + second + "' cannot be exchanged: a gate is set by a DAC");
    }
    options.swapped.emplace_back(a, b);
  }
  std::vector<std::string> names;
  table.texts("open", names);
  for (const std::string& name : names) options.open.push_back(wire("open", name));
  names.clear();
  table.texts("shorted", names);
  for (const std::string& name : names) options.shorted.push_back(wire("shorted", name));
}

std::optional<EmulationOptions> read_emulation(Table& root, const std::string& directory, const std::vector<BenchWire>& wiring, const std::vector<BenchInstrument>& instruments) {
  std::optional<Table> table = root.table("emulation");
  if (!table) return std::nullopt;
  EmulationOptions options;
  std::string network, experiment;
  const bool edge_by_edge = table->text("network", network), drawn_from = table->text("experiment", experiment);
  if (edge_by_edge == drawn_from) table->fail("", "expected either network = a network file (JSON), or experiment = an experiment file, whose network stands in for the sample");
  options.imperfection.line_frequency = 50;
  table->number("capacity", options.capacity, Number::positive);
  table->flag("noise", options.imperfection.noise);
  table->flag("errors", options.imperfection.errors);
  table->flag("quantised", options.imperfection.quantised);
  table->flag("loading", options.imperfection.loading);
  table->flag("leads", options.leads);
  table->flag("links", options.links);
  table->whole("seed", options.imperfection.seed);
  table->number("line_frequency", options.imperfection.line_frequency, Number::positive);
  read_mistakes(*table, wiring, instruments, options);
  table->finish();
  if (edge_by_edge) {
    const std::string file = path_from(directory, network);
    options.network = network_from_json(text_of_file(file, "a network file (JSON)"), file);
  } else {
    const Experiment described = load_experiment(path_from(directory, experiment));
    options.network = drawn(described.network, described.parameters, described.seed);
  }
  return options;
}

// What is wired has to be there.
void check(Table& root, const BenchFile& bench) {
  if (!bench.emulation) return;
  const sim::NetworkSpec& spec = bench.emulation->network;
  const sim::Circuit circuit(spec, bench.scale, std::vector<double>(spec.nodes.size(), bench.emulation->capacity));
  Table tables = *root.table("wiring");
  for (const BenchWire& wire : bench.wiring) {
    const Table table = *tables.table(wire.name);
    if (wire.node && *wire.node >= spec.nodes.size()) table.fail("node", "expected a node from 0 to " + std::to_string(spec.nodes.size() - 1) + ", found " + std::to_string(*wire.node));
    if (wire.parameter.empty()) continue;
    std::vector<std::string> names;
    for (const ParameterInfo& parameter : circuit.network().parameter_info()) names.push_back(parameter.name);
    if (std::find(names.begin(), names.end(), wire.parameter) == names.end()) table.fail("parameter", "the network has no parameter '" + wire.parameter + "'; " + suggestion(wire.parameter, names));
  }
}

}  // namespace

BenchFile load_bench(const std::string& path, const std::vector<std::string>& set, std::span<const InstrumentKind> kinds) {
  Document document = Document::read(path, "a bench file (TOML)");
  for (const std::string& assignment : set) document.set(assignment);
  Table root = document.root();
  BenchFile bench;
  bench.path = path;
  root.text("title", bench.title);
  bench.scale = read_scale(root, bench);
  read_controllers(root, bench);
  bench.instruments = read_instruments(root, kinds);
  bench.wiring = read_wiring(root, bench.instruments);
  read_profiles(root, bench.wiring);
  bench.cross_talk = read_cross_talk(root, bench.wiring);
  read_environment(root, bench);
  check_used(root, bench);
  bench.differences = read_differences(root, bench.wiring);
  read_settling(root, bench);
  bench.check = read_check(root);
  bench.emulation = read_emulation(root, std::filesystem::path(path).parent_path().string(), bench.wiring, bench.instruments);
  check(root, bench);
  root.finish();
  return bench;
}

}  // namespace ness
