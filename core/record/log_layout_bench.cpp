// What a log says of the bench of its run, and of where its parameters came from.
#include <algorithm>
#include <cmath>
#include <limits>

#include "log_layout.hpp"
#include "ness/device/digest.hpp"

namespace ness::log_layout {
namespace {

using hdf5::create_group;
using hdf5::exists;
using hdf5::open_group;
using hdf5::read_array;
using hdf5::read_text;
using hdf5::read_texts;
using hdf5::write_array;
using hdf5::write_text;
using hdf5::write_texts;
using Instrument = BenchRecord::Instrument;
using Statements = BenchRecord::Statements;

// Of a value at the end: as long as the longest message that says why there is none.
constexpr std::size_t value_room = 200;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

template <class Things, class Field>
auto column(const Things& things, Field field) {
  std::vector<std::decay_t<decltype(field(things.front()))>> values;
  values.reserve(things.size());
  for (const auto& thing : things) values.push_back(field(thing));
  return values;
}

// An instrument's group has its name, as far as HDF5 takes it, and no other has it: "a/b" is a path there,
// and the columns stand beside the groups.
std::string group_of(const std::vector<std::string>& names, std::size_t i) {
  const auto plain = [&](std::size_t k) {
    std::string name = names[k];
    std::replace(name.begin(), name.end(), '/', '_');
    return name;
  };
  const std::string name = plain(i);
  bool taken = name.empty() || name == ".";
  for (const char* dataset : {"name", "address", "model", "identity"}) taken = taken || name == dataset;
  for (std::size_t k = 0; k < i && !taken; ++k) taken = plain(k) == name;
  return taken ? name + " (" + std::to_string(i) + ")" : name;
}

std::vector<std::string> names_of(const std::vector<Instrument>& instruments) {
  return column(instruments, [](const Instrument& one) { return one.name; });
}

void write_statements(Calls& calls, hid_t parent, const std::string& name, const Statements& all,
                      std::size_t name_room = 0, std::size_t room = 0, std::size_t rows = 0) {
  const Handle group = create_group(calls, parent, name, "NXcollection");
  write_texts(calls, group, "name", column(all, [](const auto& one) { return one.first; }), name_room, rows);
  write_texts(calls, group, "value", column(all, [](const auto& one) { return one.second; }), room, rows);
}

Statements read_statements(Calls& calls, hid_t parent, const std::string& name) {
  if (!exists(calls, parent, name)) return {};
  const Handle group = open_group(calls, parent, name);
  const auto names = read_texts(calls, group, "name"), values = read_texts(calls, group, "value");
  Statements all;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!names[i].empty()) all.emplace_back(names[i], values.at(i));
  }
  return all;
}

void write_instruments(Calls& calls, hid_t bench, const std::vector<Instrument>& instruments) {
  if (instruments.empty()) return;
  const Handle all = create_group(calls, bench, "instruments", "NXcollection");
  const std::vector<std::string> names = names_of(instruments);
  write_texts(calls, all, "name", names);
  write_texts(calls, all, "address", column(instruments, [](const Instrument& x) { return x.address; }));
  write_texts(calls, all, "model", column(instruments, [](const Instrument& x) { return x.model; }));
  write_texts(calls, all, "identity", column(instruments, [](const Instrument& x) { return x.identity; }));
  for (std::size_t i = 0; i < instruments.size(); ++i) {
    const Instrument& one = instruments[i];
    const Handle group = create_group(calls, all, group_of(names, i), "NXcollection");
    write_statements(calls, group, "calibration", one.calibration);
    write_statements(calls, group, "settings_start", one.settings_start);
    std::size_t longest = 32;
    for (const auto& [name, value] : one.settings_start) longest = std::max(longest, name.size());
    write_statements(calls, group, "settings_end", one.settings_end, longest, value_room,
                     std::max<std::size_t>(one.settings_start.size(), 1));
  }
}

void read_instruments(Calls& calls, hid_t bench, std::vector<Instrument>& instruments) {
  if (!exists(calls, bench, "instruments")) return;
  const Handle all = open_group(calls, bench, "instruments");
  const auto names = read_texts(calls, all, "name"), addresses = read_texts(calls, all, "address"),
             models = read_texts(calls, all, "model"), identities = read_texts(calls, all, "identity");
  for (std::size_t i = 0; i < names.size(); ++i) {
    Instrument one{names[i], addresses.at(i), models.at(i), identities.at(i)};
    if (const std::string name = group_of(names, i); exists(calls, all, name)) {
      const Handle group = open_group(calls, all, name);
      one.calibration = read_statements(calls, group, "calibration");
      one.settings_start = read_statements(calls, group, "settings_start");
      one.settings_end = read_statements(calls, group, "settings_end");
    }
    instruments.push_back(std::move(one));
  }
}

std::optional<double> stated(double number) {
  return std::isnan(number) ? std::nullopt : std::optional(number);
}

void write_check(Calls& calls, hid_t bench, const BenchCheck& check) {
  using Wire = BenchCheck::Wire;
  using Reading = BenchCheck::Reading;
  using Step = BenchCheck::Step;
  const Handle group = create_group(calls, bench, "check", "NXcollection");
  write_texts(calls, group, "warnings", check.warnings);
  write_texts(calls, group, "undecided", check.undecided);
  hdf5::write_number(calls, group, "noise_readings", check.noise_readings, "1",
                     "readings that each noise, and each offset, is of");
  hdf5::write_number(calls, group, "relaxations", check.relaxations, "1", "relaxations that it took");
  const auto& wires = check.wires;
  const Handle of_wires = create_group(calls, group, "wires", "NXcollection");
  write_texts(calls, of_wires, "name", column(wires, [](const Wire& x) { return x.name; }));
  write_texts(calls, of_wires, "verdict", column(wires, [](const Wire& x) { return x.verdict; }));
  write_texts(calls, of_wires, "of", column(wires, [](const Wire& x) { return x.of; }));
  write_texts(calls, of_wires, "answered", column(wires, [](const Wire& x) { return x.answered; }));
  write_array(calls, of_wires, "strength", column(wires, [](const Wire& x) { return x.strength; }), "kT",
              "how far the readings moved with it, together (Euclidean)");
  write_array(calls, of_wires, "expected", column(wires, [](const Wire& x) { return x.expected; }), "kT",
              "how far those of the simulated network do");
  write_array(calls, of_wires, "error", column(wires, [](const Wire& x) { return x.error; }), "kT",
              "standard error of strength");
  write_array(calls, of_wires, "gain", column(wires, [](const Wire& x) { return x.gain; }), "1",
              "measured over expected, signed; 0 where nothing was expected");
  write_array(calls, of_wires, "misfit", column(wires, [](const Wire& x) { return x.misfit; }), "1",
              "part that is out of proportion to the expected");
  write_array(calls, of_wires, "conductance",
              column(wires, [](const Wire& x) { return x.conductance.value_or(nan); }),
              "units of current per kT", "at its terminal; not a number: not measured");
  const auto& readings = check.readings;
  const Handle of_readings = create_group(calls, group, "readings", "NXcollection");
  write_texts(calls, of_readings, "name", column(readings, [](const Reading& x) { return x.name; }));
  write_texts(calls, of_readings, "verdict", column(readings, [](const Reading& x) { return x.verdict; }));
  write_texts(calls, of_readings, "of", column(readings, [](const Reading& x) { return x.of; }));
  write_array(calls, of_readings, "offset", column(readings, [](const Reading& x) { return x.offset; }), "kT",
              "mean reading at rest minus the simulated network's");
  write_array(calls, of_readings, "offset_error",
              column(readings, [](const Reading& x) { return x.offset_error; }), "kT",
              "standard error of offset");
  write_array(calls, of_readings, "noise", column(readings, [](const Reading& x) { return x.noise; }), "kT",
              "standard deviation of one reading");
  const auto& steps = check.steps;
  const Handle of_steps = create_group(calls, group, "steps", "NXcollection");
  write_texts(calls, of_steps, "channel", column(steps, [](const Step& x) { return x.channel; }));
  write_texts(calls, of_steps, "reading", column(steps, [](const Step& x) { return x.reading; }));
  write_array(calls, of_steps, "change", column(steps, [](const Step& x) { return x.change; }), "kT",
              "of the reading, from settled to settled");
  write_array(calls, of_steps, "tau", column(steps, [](const Step& x) { return x.tau.value_or(nan); }), "s",
              "slowest time constant; not a number: too fast to be seen");
  write_array(calls, of_steps, "bound", column(steps, [](const Step& x) { return x.bound; }), "s",
              "what a time constant that was not seen is at most");
}

std::optional<BenchCheck> read_check(Calls& calls, hid_t bench) {
  if (!exists(calls, bench, "check")) return std::nullopt;
  const Handle group = open_group(calls, bench, "check");
  BenchCheck check;
  check.warnings = read_texts(calls, group, "warnings");
  check.undecided = read_texts(calls, group, "undecided");
  check.noise_readings = hdf5::read_number<std::uint64_t>(calls, group, "noise_readings");
  check.relaxations = hdf5::read_number<std::uint64_t>(calls, group, "relaxations");
  {
    const Handle of = open_group(calls, group, "wires");
    const auto name = read_texts(calls, of, "name"), verdict = read_texts(calls, of, "verdict"),
               like = read_texts(calls, of, "of"), answered = read_texts(calls, of, "answered");
    const auto numbers = [&](const char* column) { return read_array<double>(calls, of, column); };
    const auto strength = numbers("strength"), expected = numbers("expected"), error = numbers("error"),
               gain = numbers("gain"), misfit = numbers("misfit"), conductance = numbers("conductance");
    for (std::size_t i = 0; i < name.size(); ++i)
      check.wires.push_back({name[i], verdict.at(i), like.at(i), answered.at(i), strength.at(i),
                             expected.at(i), error.at(i), gain.at(i), misfit.at(i),
                             stated(conductance.at(i))});
  }
  {
    const Handle of = open_group(calls, group, "readings");
    const auto name = read_texts(calls, of, "name"), verdict = read_texts(calls, of, "verdict"),
               like = read_texts(calls, of, "of");
    const auto offset = read_array<double>(calls, of, "offset"),
               error = read_array<double>(calls, of, "offset_error"),
               noise = read_array<double>(calls, of, "noise");
    for (std::size_t i = 0; i < name.size(); ++i)
      check.readings.push_back({name[i], verdict.at(i), like.at(i), offset.at(i), error.at(i), noise.at(i)});
  }
  const Handle of = open_group(calls, group, "steps");
  const auto channel = read_texts(calls, of, "channel"), reading = read_texts(calls, of, "reading");
  const auto change = read_array<double>(calls, of, "change"), tau = read_array<double>(calls, of, "tau"),
             bound = read_array<double>(calls, of, "bound");
  for (std::size_t i = 0; i < channel.size(); ++i)
    check.steps.push_back({channel[i], reading.at(i), change.at(i), stated(tau.at(i)), bound.at(i)});
  return check;
}

BenchRecord read_bench(Calls& calls, hid_t group) {
  BenchRecord bench{read_text(calls, group, "path"), read_text(calls, group, "file"), {}};
  read_instruments(calls, group, bench.instruments);
  bench.check = read_check(calls, group);
  return bench;
}

constexpr const char* continued = "continued";

}  // namespace

void write_bench(Calls& calls, hid_t parent, const std::string& name, const BenchRecord& bench) {
  const Handle group = create_group(calls, parent, name, "NXcollection");
  write_text(calls, group, "path", bench.path);
  write_text(calls, group, "file", bench.text);
  write_instruments(calls, group, bench.instruments);
  if (bench.check) write_check(calls, group, *bench.check);
}

void write_continuation(Calls& calls, hid_t file, const BenchContinuation& now) {
  const Handle entry = open_group(calls, file, "entry");
  // A log of before benches were logged, or of a run that began in simulation, has none.
  const Handle bench = exists(calls, entry, "bench") ? open_group(calls, entry, "bench")
                                                     : create_group(calls, entry, "bench", "NXcollection");
  const Handle all = exists(calls, bench, continued) ? open_group(calls, bench, continued)
                                                     : create_group(calls, bench, continued, "NXcollection");
  std::size_t count = 0;
  while (exists(calls, all, std::to_string(count))) ++count;
  const std::string name = std::to_string(count);
  write_bench(calls, all, name, now.bench);
  const Handle one = open_group(calls, all, name);
  hdf5::write_number(calls, one, "first_row", now.first_row, "1", "first relaxation that was made on it");
  write_text(calls, one, "time", now.time);
  write_texts(calls, one, "differences", now.differences);
}

void read_benches(Calls& calls, hid_t entry, LogHeader& header) {
  if (!exists(calls, entry, "bench")) return;
  const Handle bench = open_group(calls, entry, "bench");
  if (exists(calls, bench, "file")) header.bench = read_bench(calls, bench);
  if (!exists(calls, bench, continued)) return;
  const Handle all = open_group(calls, bench, continued);
  for (std::size_t i = 0; exists(calls, all, std::to_string(i)); ++i) {
    const Handle one = open_group(calls, all, std::to_string(i));
    // A process that was killed while it wrote the last has left a part of it, and no row was made then.
    if (!exists(calls, one, "differences")) return;
    header.continued.push_back({read_bench(calls, one),
                                hdf5::read_number<std::uint64_t>(calls, one, "first_row"),
                                read_text(calls, one, "time"), read_texts(calls, one, "differences")});
  }
}

void rewrite_settings_at_end(Calls& calls, hid_t file, const std::vector<Statements>& settings) {
  const Handle entry = open_group(calls, file, "entry");
  if (!exists(calls, entry, "bench")) return;
  std::string path = "bench";
  for (std::size_t i = 0;; ++i) {
    const std::string next = std::string("bench/") + continued;
    if (!exists(calls, open_group(calls, entry, "bench"), continued) ||
        !exists(calls, open_group(calls, entry, next), std::to_string(i)))
      break;
    path = next + '/' + std::to_string(i);
  }
  const Handle bench = open_group(calls, entry, path);
  if (!exists(calls, bench, "instruments")) return;
  const Handle all = open_group(calls, bench, "instruments");
  const std::vector<std::string> names = read_texts(calls, all, "name");
  for (std::size_t i = 0; i < std::min(names.size(), settings.size()); ++i) {
    const Handle one = open_group(calls, all, group_of(names, i));
    const Handle end = open_group(calls, one, "settings_end");
    hdf5::rewrite_texts(calls, end, "value", column(settings[i], [](const auto& x) { return x.second; }));
    hdf5::rewrite_texts(calls, end, "name", column(settings[i], [](const auto& x) { return x.first; }));
  }
}

void write_origin(Calls& calls, hid_t entry, const LogOrigin& from) {
  const Handle group = create_group(calls, entry, "from", "NXcollection");
  write_text(calls, group, "path", from.path);
  write_text(calls, group, "kind", from.kind);
  hdf5::write_number(calls, group, "step", from.step, "1", "steps that had been made to them");
  hdf5::write_number(calls, group, "digest", digest(from.theta), "1", "XXH3 (64 bit) of theta");
  write_array(calls, group, "theta",
              std::vector<double>(from.theta.data(), from.theta.data() + from.theta.size()),
              "as /entry/device/parameters/unit", "the run's first parameters");
}

std::optional<LogOrigin> read_origin(Calls& calls, hid_t entry) {
  if (!exists(calls, entry, "from")) return std::nullopt;
  const Handle group = open_group(calls, entry, "from");
  LogOrigin from{read_text(calls, group, "path"),
                 read_text(calls, group, "kind"),
                 hdf5::read_number<std::uint64_t>(calls, group, "step"),
                 {}};
  const std::vector<double> theta = read_array<double>(calls, group, "theta");
  from.theta = Eigen::Map<const Vector>(theta.data(), static_cast<Eigen::Index>(theta.size()));
  if (const auto stored = hdf5::read_number<std::uint64_t>(calls, group, "digest");
      stored != digest(from.theta))
    calls.fail("read '/entry/from'", "the parameters in it are not those of their digest");
  return from;
}

}  // namespace ness::log_layout
