#include "ness/files/bench_file.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>

#include "bind_task.hpp"
#include "line_element_keys.hpp"
#include "ness/files/bench_keys.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/files/line_elements.hpp"
#include "ness/device/nearest.hpp"
#include "ness/device/error.hpp"
#include "ness/files/network_file.hpp"
#include "ness/files/parameter_rules.hpp"
#include "ness/files/text_file.hpp"
#include "ness/files/toml_table.hpp"

namespace ness {

namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();
constexpr double not_given = std::numeric_limits<double>::quiet_NaN();
constexpr double standard_tolerance = 2e-2;     // kT, of [settle]
constexpr double standard_line_frequency = 50;  // Hz, of [emulation]

template <typename Read>
void read_section(Table& root, const char* name, const Read& read) {
  if (auto table = root.table(name)) {
    read(*table);
    table->finish();
  }
}

void read_scale(Keys& keys, BenchFile& bench) {
  sim::CircuitScale& scale = bench.scale;
  keys.number("error_share", bench.error_share, Number::positive,
              {"kT",
               "a bench on which an instrument's one-year error is larger (of an injected current in units) "
               "is refused"});
  keys.number("volts_per_kT", scale.volts_per_kT, Number::positive, {"V", "voltage of a kT"});
  keys.number("amperes_per_unit", scale.amperes_per_unit, Number::positive, {"A", "a unit of current"});
  double carrier = scale.carrier;
  if (keys.number("carrier", carrier, Number::finite,
                  {"", "1; -1 where the voltage rises as the potential falls"})) {
    if (carrier != 1 && carrier != -1) {
      keys.fail("carrier", "expected 1, or -1 where the voltage rises as the potential falls");
    }
    scale.carrier = static_cast<int>(carrier);
  }
}

void read_link(Keys& keys, BenchInstrument& instrument) {
  keys.whole("baud", instrument.serial.baud, 1, {"1/s", "of a serial line"});
  keys.number("timeout", instrument.timeout, Number::positive,
              {"s", "for a reply, beside what a measurement takes"});
  keys.choice<std::string>("terminator", instrument.terminator,
                           {{"lf", "\n"}, {"cr", "\r"}, {"crlf", "\r\n"}},
                           {"", "end of a message on a serial line or socket"});
}

constexpr About about_difference{"", "[first, second]: two wires"};
constexpr About about_difference_range{
    "V", "[low, high] of the first's level less the second's, kept at every ramp step"};

std::vector<BenchDifference> read_differences(Table& root, const std::vector<BenchWire>& wiring) {
  std::vector<BenchDifference> differences;
  std::optional<Table> tables = root.table("limits");
  if (!tables) return differences;
  for (const std::string& name : tables->other_tables()) {
    Table table = *tables->table(name);
    BenchDifference difference{name, {}, {}, {}};
    std::vector<std::string> wires;
    table.texts("difference", wires, about_difference);
    if (wires.size() != 2) table.fail("difference", "expected the names of two wires, [\"a\", \"b\"]");
    for (const std::string& wire : wires) {
      if (std::none_of(wiring.begin(), wiring.end(), [&](const BenchWire& w) { return w.name == wire; }))
        table.fail("difference", "there is no [wiring." + wire + "]");
    }
    difference.first = wires[0];
    difference.second = wires[1];
    std::pair<double, double> range;
    if (!table.pair("range", range, about_difference_range) || !(range.first <= range.second)) {
      table.fail("range", "expected [low, high] in volts, low not above high");
    }
    difference.range = {range.first, range.second};
    table.finish();
    differences.push_back(std::move(difference));
  }
  tables->finish();
  return differences;
}

void read_settling(Keys& keys, BenchFile& bench) {
  keys.number("tolerance", bench.settle.tolerance, Number::positive,
              {"kT", "bound on the distance to the steady state at which a reading counts as settled"});
  keys.number("tau_max", bench.settle.tau_max, Number::not_negative,
              {"s", "slowest time constant; `ness check` measures it"});
  keys.number("noise", bench.settle.noise, Number::not_negative, {"kT", "of one reading"});
  std::uint64_t least = bench.settle.least;
  if (keys.whole("readings", least, 4, {"", "from which a verdict is made, at least"})) {
    bench.settle.least = static_cast<std::size_t>(least);
  }
  keys.number("timeout", bench.settle_timeout, Number::positive,
              {"s", "after which a relaxation is timed out"});
  keys.number("rest", bench.rest, Number::not_negative,
              {"s", "waited at rest before a relaxation that starts there; 0: ten times `tau_max`"});
  keys.number("hold", bench.hold, Number::not_negative,
              {"s", "waited after a free node became a held one, or back; 0: as `rest`"});
  const About burst{
      "",
      "readings of each node at the shortest integration after the verdict, which show an oscillation that "
      "averages hide; 0: none"};
  if (keys.whole("burst", bench.burst, 0, 10000, burst) && bench.burst > 0 && bench.burst < 4) {
    keys.fail("burst", "expected 0, or 4 readings and more");
  }
  keys.number("burst_noise", bench.burst_noise, Number::positive, {"kT", "of one of these readings"});
}

constexpr About about_model{"", "which instrument it is"};
constexpr About about_channel{
    "", "of the instrument: of scanners 101 to 120, 201 to 220 or 301 to 320, of a QDAC-II 1 to 24"};
constexpr About about_address{
    "",
    "VISA resource name; emulated it chooses the link alone: TCPIP or none a TCP port, ASRL a "
    "pseudo-terminal, GPIB a Prologix controller in front"};
constexpr About about_instrument{"", "its name in `[instruments]`"};

const InstrumentKind& read_kind(Table& table, std::span<const InstrumentKind> kinds) {
  std::vector<std::pair<std::string, const InstrumentKind*>> named;
  for (const InstrumentKind& kind : kinds) named.emplace_back(kind.name, &kind);
  const InstrumentKind* kind = nullptr;
  if (!table.choice("model", kind, named, about_model))
    table.fail("", "expected model = one of the instruments' names");
  if (const std::string problem = kind->problem(); !problem.empty()) table.fail("model", problem);
  return *kind;
}

// The channel a table names. True where it is named; an instrument with one pair of terminals needs no name.
bool read_channel(Table& table, const InstrumentKind& kind, std::uint32_t& channel) {
  const bool numbered = table.whole("channel", channel, 1, about_channel);
  const InstrumentChannels& channels = kind.channels;
  if (!numbered && channels.several)
    table.fail("", "expected channel = " + channels.words + " of the " + kind.name);
  if (!channels.has(channel)) {
    table.fail("channel", "a " + kind.name + " has no channel " + std::to_string(channel) + "; expected " +
                              channels.words);
  }
  return numbered;
}

std::vector<BenchInstrument> read_instruments(Table& root, std::span<const InstrumentKind> kinds) {
  std::optional<Table> tables = root.table("instruments");
  if (!tables || tables->other_tables().empty())
    root.fail("", "expected at least one table [instruments.NAME]");
  std::vector<BenchInstrument> instruments;
  std::map<std::string, std::string> addresses;
  for (const std::string& name : tables->other_tables()) {
    Table table = *tables->table(name);
    BenchInstrument instrument;
    instrument.name = name;
    instrument.kind = read_kind(table, kinds);
    std::string address;
    if (table.text("address", address, about_address)) {
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
  if (!table.text("instrument", name, about_instrument))
    table.fail("", "expected instrument = the name of one in [instruments]");
  const auto found = std::find_if(instruments.begin(), instruments.end(),
                                  [&](const BenchInstrument& i) { return i.name == name; });
  if (found == instruments.end()) {
    std::vector<std::string> known;
    for (const BenchInstrument& i : instruments) known.push_back(i.name);
    table.fail("instrument", "there is no instrument '" + name + "'; expected " + one_of(known));
  }
  return static_cast<std::size_t>(found - instruments.begin());
}

constexpr About about_node{"", "the node it leads to; either this or `parameter`"};
constexpr About about_parameter{"", "the parameter it sets, such as \"a[0]\"; a DAC's channel"};
constexpr About about_lead{"ohm", "of the wire at the node's end"};
constexpr About about_per_volt{"its unit", "with `parameter`, needed: by how much a volt changes it"};
constexpr About about_wire_offset{"its unit", "the parameter at 0 V"};
constexpr About about_read{"", "of a source-meter: its own voltage is the node's reading"};

// What a level may do, and what stands between node and instrument.
void read_levels(Keys& keys, BenchWire& wire) {
  keys.number(
      "gain", wire.gain, Number::finite,
      {"",
       "of what stands between node and instrument: V (A) at the node = volts + gain x level, or reading"});
  if (wire.gain == 0) keys.fail("gain", "expected a number other than 0");
  keys.number("volts", wire.volts, Number::finite, {"V", "its offset"});
  std::pair<double, double> limits{not_given, not_given}, nudge{not_given, not_given};
  if (keys.pair("limits", limits,
                {"V", "[low, high] of its level (A of a source of current); nothing is moved without"})) {
    if (!(limits.first <= limits.second))
      keys.fail("limits", "expected [low, high] in volts, low not above high");
    wire.limits = Range{limits.first, limits.second};
  }
  keys.number("step", wire.step, Number::positive, {"V", "largest step of a ramp"});
  keys.number("rate", wire.rate, Number::positive, {"V/s", "of a ramp"});
  double safe = 0;
  std::uint32_t order = 0;
  keys.number("safe", safe, Number::finite, {"V", "its safe level"});
  keys.whole("order", order, 0, {"", "in which it is made safe, the smallest first"});
  wire.safe.fill({safe, order, 1, drivers::LastAct::off});
  wire.safe[static_cast<std::size_t>(SafeProfile::emergency)].faster = 10;
  keys.number(
      "tau_input", wire.tau_input, Number::not_negative,
      {"s", "of a reading: how slowly it follows an input; -1, the default: `tau_max` of `[settle]`"});
  keys.number("tau_gate", wire.tau_gate, Number::not_negative,
              {"s", "of a reading: how slowly it follows a gate; -1, the default: `tau_max` of `[settle]`"});
  if (keys.pair("nudge", nudge,
                {"unit current", "[low, high] that may be injected; on the wire of a leak reference"})) {
    if (!wire.parameter.starts_with("mu_ref[")) {
      keys.fail("nudge", "expected on the wire of a leak reference, parameter = \"mu_ref[..]\"");
    }
    if (!(nudge.first < nudge.second))
      keys.fail("nudge", "expected [low, high] in units of current, low below high");
    wire.nudge = Range{nudge.first, nudge.second};
  }
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
    if (!is_new)
      table.fail(numbered ? "channel" : "instrument",
                 "this channel is wired already, in [wiring." + earlier->second + "]");
    std::uint32_t node = 0;
    const bool to_node = table.whole("node", node, 0, about_node),
               to_parameter = table.text("parameter", wire.parameter, about_parameter);
    if (to_node == to_parameter)
      table.fail(
          "", "expected either node = a node's number, or parameter = a parameter's name such as \"a[0]\"");
    if (to_node) {
      wire.node = node;
      table.number("lead", wire.lead, Number::positive, about_lead);
    } else {
      if (!sets_parameters(found->role())) {
        table.fail("parameter",
                   "a " + found->kind.name +
                       " sets no parameters; expected the channel of a DAC, such as the qdac-ii");
      }
      if (!table.number("per_volt", wire.per_volt, Number::finite, about_per_volt))
        table.fail("", "expected per_volt: by how much a volt changes " + wire.parameter);
      if (wire.per_volt == 0) table.fail("per_volt", "expected a number other than 0");
      table.number("offset", wire.offset, Number::finite, about_wire_offset);
    }
    read_line_elements(table, *found, wire);
    read_levels(table, wire);
    if (table.flag("read", wire.read, about_read) &&
        (found->role() != drivers::Role::source_meter || !wire.node)) {
      table.fail("read", "expected on the wire of a source-meter that leads to a node");
    }
    table.finish();
    wiring.push_back(std::move(wire));
  }
  tables->finish();
  return wiring;
}

const BenchWire* wire_called(const std::vector<BenchWire>& wiring, const std::string& name) {
  const auto found =
      std::find_if(wiring.begin(), wiring.end(), [&](const BenchWire& w) { return w.name == name; });
  return found == wiring.end() ? nullptr : &*found;
}

// What a profile says of all wires.
void read_way(Keys& keys, drivers::SafeEntry& entry) {
  keys.number("faster", entry.faster, Number::positive,
              {"", "times the wires' own `rate`; of `emergency` 10"});
  keys.choice<drivers::LastAct>("last", entry.last,
                                {{"off", drivers::LastAct::off},
                                 {"stay", drivers::LastAct::stay},
                                 {"high-impedance", drivers::LastAct::high_impedance}},
                                {"", "what an output does when its level is safe"});
}

// What it says of one wire.
void read_own_way(Keys& keys, drivers::SafeEntry& entry) {
  keys.number("level", entry.level, Number::finite, {"V", "its safe level, in place of `safe`"});
  keys.whole("order", entry.order, 0, {"", "in place of its `order`"});
  read_way(keys, entry);
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
      read_way(*table, common);
      wire.safe[p] = common;
    }
    for (const std::string& name : table->other_tables()) {
      Table own = *table->table(name);
      const auto wire =
          std::find_if(wiring.begin(), wiring.end(), [&](const BenchWire& w) { return w.name == name; });
      if (wire == wiring.end()) own.fail("", "there is no [wiring." + name + "]");
      read_own_way(own, wire->safe[p]);
      own.finish();
    }
    table->finish();
  }
  profiles->finish();
}

constexpr About about_from{"", "a wire whose level is set"};
constexpr About about_to{"", "a wire that sets a parameter"};
constexpr About about_talk{"its unit",
                           "needed: by how much a volt of the first changes the parameter of the second"};

std::vector<BenchTalk> read_cross_talk(Table& root, const std::vector<BenchWire>& wiring) {
  std::vector<BenchTalk> all;
  std::optional<Table> tables = root.table("cross-talk");
  if (!tables) return all;
  for (const std::string& name : tables->other_tables()) {
    Table table = *tables->table(name);
    BenchTalk talk{name, {}, {}, 0};
    if (!table.text("from", talk.from, about_from) || wire_called(wiring, talk.from) == nullptr)
      table.fail("from", "expected the name of a wire whose level is set");
    const BenchWire* to = table.text("to", talk.to, about_to) ? wire_called(wiring, talk.to) : nullptr;
    if (to == nullptr || to->parameter.empty())
      table.fail("to", "expected the name of a wire that sets a parameter");
    if (!table.number("per_volt", talk.per_volt, Number::finite, about_talk))
      table.fail("", "expected per_volt: by how much a volt of '" + talk.from + "' changes " + to->parameter);
    table.finish();
    all.push_back(std::move(talk));
  }
  tables->finish();
  return all;
}

void read_pauses(Keys& keys, BenchFile& bench) {
  keys.number("every", bench.pause_every, Number::positive, {"s", "between looks while the run waits"});
  keys.number("timeout", bench.pause_timeout, Number::not_negative,
              {"s", "of waiting, after which the run ends"});
}

// False where the unit is missing.
bool read_surroundings(Keys& keys, BenchSurroundings& entry) {
  const bool named = keys.text("unit", entry.unit, {"", "needed: what the value is in, such as \"K\""});
  keys.number("gain", entry.gain, Number::finite,
              {"", "value = offset + gain x reading (V; A of a source-meter)"});
  keys.number("offset", entry.offset, Number::finite, {"", "see `gain`"});
  std::pair<double, double> range{-infinite, infinite};
  if (keys.pair("range", range, {"its unit", "[low, high] outside of which the run waits"})) {
    if (!(range.first <= range.second)) keys.fail("range", "expected [low, high], low not above high");
    entry.pause = {range.first, range.second};
  }
  return named;
}

void read_environment(Table& root, BenchFile& bench) {
  std::optional<Table> tables = root.table("environment");
  if (!tables) return;
  read_pauses(*tables, bench);
  for (const std::string& name : tables->other_tables()) {
    Table table = *tables->table(name);
    BenchSurroundings entry;
    entry.name = name;
    entry.instrument = instrument_of(table, bench.instruments);
    const InstrumentKind& kind = bench.instruments[entry.instrument].kind;
    if (!reads(kind.role)) {
      table.fail("instrument",
                 "a " + kind.name +
                     " reads nothing; expected a meter, a scanner, or a source-meter whose current is meant");
    }
    read_channel(table, kind, entry.channel);
    if (!read_surroundings(table, entry))
      table.fail("", "expected unit = what the value is in, such as \"K\"");
    for (const BenchWire& wire : bench.wiring) {
      // Of a source-meter the wire is its level, and what is read its current.
      if (!sets_levels(kind.role) && wire.instrument == entry.instrument && wire.channel == entry.channel)
        table.fail("channel", "this channel is wired already, in [wiring." + wire.name + "]");
    }
    table.finish();
    bench.environment.push_back(std::move(entry));
  }
  tables->finish();
}

constexpr About about_title{"", "in messages"};
constexpr About about_controllers{
    "", "the Prologix controllers that are GPIB boards 0, 1, ..: \"PRLGX-TCPIP0::10.0.0.9::1234::INTFC\""};

void read_controllers(Table& root, BenchFile& bench) {
  std::vector<std::string> names;
  root.texts("controllers", names, about_controllers);
  for (const std::string& name : names) {
    try {
      const protocols::ResourceName resource = protocols::parse_resource_name(name);
      const auto* board = std::get_if<protocols::PrologixName>(&resource);
      if (board == nullptr)
        root.fail(
            "controllers",
            "'" + name + "' is no Prologix controller; expected such as PRLGX-TCPIP0::10.0.0.9::1234::INTFC");
      bench.controllers.push_back(*board);
    } catch (const std::invalid_argument& error) {
      root.fail("controllers", error.what());
    }
  }
}

void check_used(Table& root, const BenchFile& bench) {
  for (std::size_t i = 0; i < bench.instruments.size(); ++i) {
    const bool wired = std::any_of(bench.wiring.begin(), bench.wiring.end(),
                                   [&](const BenchWire& w) { return w.instrument == i; });
    const bool looks = std::any_of(bench.environment.begin(), bench.environment.end(),
                                   [&](const BenchSurroundings& e) { return e.instrument == i; });
    if (!wired && !looks) root.fail("", "nothing is wired to instrument '" + bench.instruments[i].name + "'");
  }
}

void read_check(Keys& keys, CheckSettings& check) {
  if (keys.number("share", check.share, Number::positive,
                  {"", "of its limits by which a level may move from its safe value; at most 0.5"}) &&
      check.share > 0.5) {
    keys.fail("share", "expected at most 0.5: the check is to move little");
  }
  keys.number("leakage", check.leakage, Number::not_negative,
              {"A", "into a source at rest, where none should flow; 0: not judged"});
  keys.number("short", check.short_circuit, Number::positive, {"ohm", "a source that sees less is shorted"});
  keys.number("longest", check.longest, Number::positive,
              {"s", "a step is followed at most; 0, the default: `timeout` of `[settle]`"});
  WiringCheckOptions& o = check.options;
  keys.whole("seed", o.seed, 0, {"", "of the operating points"});
  keys.number("gain_tolerance", o.gain_tolerance, Number::positive,
              {"", "relative: what moves readings by more or less than expected by this much fails"});
  keys.number("pattern_tolerance", o.pattern_tolerance, Number::positive,
              {"", "relative, of a row's readings against each other"});
  keys.number("roughness", o.roughness, Number::positive,
              {"", "below this share of a row there is no verdict"});
  keys.number("cross_talk", o.cross_talk, Number::positive,
              {"", "share of a row from which on cross-talk is reported"});
  keys.number("visible", o.visible, Number::positive, {"kT", "the smallest change that counts as one"});
  std::uint64_t points = o.points, repeats = o.repeats;
  if (keys.whole("points", points, 1, 100, {"", "operating points"}))
    o.points = static_cast<std::size_t>(points);
  if (keys.whole("repeats", repeats, 1, 100, {"", "of each step"}))
    o.repeats = static_cast<std::size_t>(repeats);
  o.tries = std::max(o.tries, o.points);
}

constexpr About about_swapped{
    "",
    "mistakes to rehearse: wires whose cables are exchanged at the sample, [[\"input-0\", \"input-1\"], ..]"};
constexpr About about_open{"", "wires that lead nowhere"};
constexpr About about_shorted{"", "wires that, with their node, touch ground"};
constexpr About about_network{
    "", "a network file (JSON) that stands in for the sample; either this or `experiment`"};
constexpr About about_experiment{
    "", "an experiment file, whose network with its drawn parameters stands in for the sample"};

void read_imperfection(Keys& keys, EmulationOptions& options) {
  sim::Imperfection& i = options.imperfection;
  keys.number("capacity", options.capacity, Number::positive, {"F", "of every node"});
  keys.flag("noise", i.noise, {"", "of the instruments"});
  keys.flag("errors", i.errors, {"", "gains and offsets within the one-year specification"});
  keys.flag("quantised", i.quantised, {"", "readings and levels have their last digits"});
  keys.flag("loading", i.loading, {"", "false: inputs of meters and sources draw nothing"});
  keys.flag("leads", options.leads, {"", "false: wires of 0.1 mohm in place of their `lead`"});
  keys.flag(
      "links", options.links,
      {"", "false: training hands the bytes over within the process, a third faster, with the same bits"});
  keys.whole("seed", i.seed, 0, {"", "of errors and noise"});
  keys.number("line_frequency", i.line_frequency, Number::positive,
              {"Hz", "of the mains, on which integration times depend"});
}

// Mistakes to rehearse, by the names of wires.
void read_mistakes(Table& table, const std::vector<BenchWire>& wiring,
                   const std::vector<BenchInstrument>& instruments, EmulationOptions& options) {
  const auto wire = [&](const std::string& key, const std::string& name) {
    const auto found =
        std::find_if(wiring.begin(), wiring.end(), [&](const BenchWire& w) { return w.name == name; });
    if (found == wiring.end()) table.fail(key, "there is no [wiring." + name + "]");
    return static_cast<std::size_t>(found - wiring.begin());
  };
  std::vector<std::pair<std::string, std::string>> pairs;
  table.pairs_of_texts("swapped", pairs, about_swapped);
  for (const auto& [first, second] : pairs) {
    const std::size_t a = wire("swapped", first), b = wire("swapped", second);
    const auto may_set = [&](std::size_t w) {
      return sets_parameters(instruments[wiring[w].instrument].role());
    };
    if ((!wiring[a].parameter.empty() && !may_set(b)) || (!wiring[b].parameter.empty() && !may_set(a))) {
      table.fail("swapped",
                 "'" + first + "' and '" + second + "' cannot be exchanged: a gate is set by a DAC");
    }
    options.swapped.emplace_back(a, b);
  }
  std::vector<std::string> names;
  table.texts("open", names, about_open);
  for (const std::string& name : names) options.open.push_back(wire("open", name));
  names.clear();
  table.texts("shorted", names, about_shorted);
  for (const std::string& name : names) options.shorted.push_back(wire("shorted", name));
}

std::optional<EmulationOptions> read_emulation(Table& root, const std::string& directory,
                                               const std::vector<BenchWire>& wiring,
                                               const std::vector<BenchInstrument>& instruments,
                                               const sim::NetworkSpec* sample) {
  std::optional<Table> table = root.table("emulation");
  if (!table) return std::nullopt;
  EmulationOptions options;
  std::string network, experiment;
  const bool edge_by_edge = table->text("network", network, about_network),
             drawn_from = table->text("experiment", experiment, about_experiment);
  if (edge_by_edge == drawn_from)
    table->fail("",
                "expected either network = a network file (JSON), or experiment = an experiment file, whose "
                "network stands in for the sample");
  options.imperfection.line_frequency = standard_line_frequency;
  read_imperfection(*table, options);
  read_mistakes(*table, wiring, instruments, options);
  table->finish();
  if (sample != nullptr) {
    options.network = *sample;
  } else if (edge_by_edge) {
    const std::string file = path_from(directory, network);
    options.network = network_from_json(text_of_file(file, "a network file (JSON)"), file);
  } else {
    const Experiment described = load_experiment(path_from(directory, experiment));
    options.network = network_description(described).drawn(described.seed);
  }
  return options;
}

// What is wired has to be there.
void check(Table& root, const BenchFile& bench) {
  if (!bench.emulation) return;
  const sim::NetworkSpec& spec = bench.emulation->network;
  const sim::Circuit circuit(spec, bench.scale,
                             std::vector<double>(spec.nodes.size(), bench.emulation->capacity));
  Table tables = *root.table("wiring");
  for (const BenchWire& wire : bench.wiring) {
    const Table table = *tables.table(wire.name);
    if (wire.node && *wire.node >= spec.nodes.size())
      table.fail("node", "expected a node from 0 to " + std::to_string(spec.nodes.size() - 1) + ", found " +
                             std::to_string(*wire.node));
    if (wire.parameter.empty()) continue;
    std::vector<std::string> names;
    for (const ParameterInfo& parameter : circuit.network().parameter_info()) names.push_back(parameter.name);
    if (std::find(names.begin(), names.end(), wire.parameter) == names.end())
      table.fail("parameter", "the network has no parameter '" + wire.parameter + "'; " +
                                  suggestion(wire.parameter, names));
  }
}

// Roles of instruments, whose models read the same keys.
void list_instruments(const KeyList& top, std::span<const InstrumentKind> kinds) {
  BenchInstrument instrument;
  std::string text;
  KeyList keys = top.table("instruments.NAME", "An instrument, by a name of your own; of all models");
  std::vector<std::pair<std::string, const InstrumentKind*>> named;
  for (const InstrumentKind& kind : kinds) named.emplace_back(kind.name, &kind);
  const InstrumentKind* model = nullptr;
  keys.choice("model", model, named, about_model);
  keys.text("address", text, about_address);
  read_link(keys, instrument);
  std::vector<drivers::Role> listed;
  for (const InstrumentKind& kind : kinds) {
    if (std::find(listed.begin(), listed.end(), kind.role) != listed.end()) continue;
    listed.push_back(kind.role);
    std::string names;
    for (const InstrumentKind& other : kinds) {
      if (other.role == kind.role) names += (names.empty() ? "`" : ", `") + other.name + "`";
    }
    KeyList own =
        top.table("instruments.NAME", "Beside them, of a " + to_string(kind.role) + " (" + names + ")");
    drivers::InstrumentSettings settings;
    kind.read(own, settings);
  }
}

void list_wiring(const KeyList& top) {
  KeyList keys = top.table(
      "wiring.NAME",
      "A channel of an instrument, and the node it leads to, or the parameter its voltage sets. A source of "
      "voltage on a free node holds it where a drive asks for it (its instrument needs `off = "
      "\"high-impedance\"`), a source of current injects");
  BenchWire wire;
  std::string instrument;
  std::uint32_t channel = 1, node = 0;
  double none = not_given;
  keys.text("instrument", instrument, about_instrument);
  keys.whole("channel", channel, 1, about_channel);
  keys.whole("node", node, 0, about_node);
  keys.text("parameter", wire.parameter, about_parameter);
  keys.number("lead", wire.lead, Number::positive, about_lead);
  keys.number("per_volt", none, Number::finite, about_per_volt);
  keys.number("offset", wire.offset, Number::finite, about_wire_offset);
  keys.flag("read", wire.read, about_read);
  read_levels(keys, wire);
  KeyList line =
      top.table("wiring.NAME",
                "Line elements of a node's wire, in this order along the signal, from a source to the "
                "node, from the node to a meter. Emulated they are part of the circuit; on the bench's "
                "side their unloaded gain and offset come on top of `gain` and `volts`. Limits are of "
                "the instrument's level");
  list_line_elements(line);
}

void list_environment(const KeyList& top) {
  BenchFile bench;
  KeyList keys = top.table("environment", "What is read beside every relaxation, and waited for");
  read_pauses(keys, bench);
  KeyList own =
      top.table("environment.NAME", "A reading of the surroundings; `instrument` and `channel` as of a wire");
  BenchSurroundings entry;
  read_surroundings(own, entry);
}

void list_relations(const KeyList& top) {
  std::vector<std::string> wires;
  std::pair<double, double> range{not_given, not_given};
  std::string wire;
  double none = not_given;
  drivers::SafeEntry entry{0, 0, 1, drivers::LastAct::off};
  KeyList limits = top.table("limits.NAME", "A limit on the difference of two wires");
  limits.texts("difference", wires, about_difference);
  limits.pair("range", range, about_difference_range);
  KeyList talk = top.table("cross-talk.NAME", "A wire's voltage that changes the parameter of another wire");
  talk.text("from", wire, about_from);
  talk.text("to", wire, about_to);
  talk.number("per_volt", none, Number::finite, about_talk);
  KeyList profile = top.table("profiles.PROFILE",
                              "PROFILE is `stop`, `cancel` or `emergency`: how a bench is left when a run is "
                              "done, was stopped, has failed");
  read_way(profile, entry);
  KeyList own = top.table("profiles.PROFILE.WIRE", "Of one wire");
  read_own_way(own, entry);
}

void list_emulation(const KeyList& top) {
  KeyList keys =
      top.table("emulation",
                "The circuit that stands in for the sample, and how far the instruments are from ideal ones");
  EmulationOptions options;
  options.imperfection.line_frequency = standard_line_frequency;
  std::string file;
  std::vector<std::pair<std::string, std::string>> pairs;
  std::vector<std::string> names;
  keys.text("network", file, about_network);
  keys.text("experiment", file, about_experiment);
  read_imperfection(keys, options);
  keys.pairs_of_texts("swapped", pairs, about_swapped);
  keys.texts("open", names, about_open);
  keys.texts("shorted", names, about_shorted);
}

}  // namespace

KeyList bench_keys(std::span<const InstrumentKind> kinds) {
  BenchFile bench;
  bench.settle.tolerance = standard_tolerance;
  std::vector<std::string> controllers;
  KeyList top("Tables and keys that are not in this list are refused");
  top.text("title", bench.title, about_title);
  top.texts("controllers", controllers, about_controllers);
  KeyList scale = top.table("scale", "What the network's units are on the bench");
  read_scale(scale, bench);
  list_instruments(top, kinds);
  list_wiring(top);
  list_relations(top);
  list_environment(top);
  KeyList settle = top.table("settle", "When a reading has settled");
  read_settling(settle, bench);
  KeyList check = top.table("check", "Of `ness check`, and of `ness train` before it begins on a bench");
  read_check(check, bench.check);
  list_emulation(top);
  return top;
}

namespace {

BenchFile bench_of(const Document& document, const std::string& path, std::span<const InstrumentKind> kinds,
                   const sim::NetworkSpec* sample) {
  Table root = document.root();
  BenchFile bench;
  bench.path = path;
  bench.text = document.text();
  bench.place = [document](const std::string& key) { return document.place(key); };
  bench.settle.tolerance = standard_tolerance;
  root.text("title", bench.title, about_title);
  read_section(root, "scale", [&](Keys& keys) { read_scale(keys, bench); });
  read_controllers(root, bench);
  bench.instruments = read_instruments(root, kinds);
  bench.wiring = read_wiring(root, bench.instruments);
  read_profiles(root, bench.wiring);
  bench.cross_talk = read_cross_talk(root, bench.wiring);
  read_environment(root, bench);
  check_used(root, bench);
  bench.differences = read_differences(root, bench.wiring);
  read_section(root, "settle", [&](Keys& keys) { read_settling(keys, bench); });
  read_section(root, "check", [&](Keys& keys) { read_check(keys, bench.check); });
  bench.emulation = read_emulation(root, std::filesystem::path(path).parent_path().string(), bench.wiring,
                                   bench.instruments, sample);
  check(root, bench);
  root.finish();
  return bench;
}

}  // namespace

BenchFile load_bench(const std::string& path, const std::vector<std::string>& set,
                     std::span<const InstrumentKind> kinds) {
  Document document = Document::read(path, "a bench file (TOML)");
  for (const std::string& assignment : set) document.set(assignment);
  return bench_of(document, path, kinds, nullptr);
}

BenchFile bench_from_text(const std::string& text, const std::string& path, const sim::NetworkSpec& sample) {
  return bench_of(Document(text, path), path, instrument_kinds(), &sample);
}

}  // namespace ness
