// The fields of a row of relaxations. Each is listed once, with its meaning, its source and its destination.
//
// To log another quantity of a drive or a relaxation, add a member to Drive or Relaxation, a member to
// LogRow, and one line to each_field. The writer, the reader, the documentation of the log's format and the
// comparison in a replay use this list.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "ness/device/digest.hpp"
#include "ness/record/log.hpp"
#include "log_layout.hpp"

namespace ness::log_layout {

/// The source of one row.
struct Given {
  const Drive& drive;
  const Relaxation& relaxation;
  std::uint32_t pattern_set = 0;
  std::string_view fault = {};
  double recorded = 0;  ///< s since the start of the run
  bool keeps_path = true;
  struct Scratch {  ///< for readings of which only the outputs are logged
    std::vector<double> numbers;
    std::vector<std::uint16_t> flags;
    std::vector<double>& of(double) { return numbers; }
    std::vector<std::uint16_t>& of(std::uint16_t) { return flags; }
  };
  Scratch* scratch = nullptr;
};

/// Format of a value in the message that a replay found another value.
enum class Shown : std::uint8_t { number, hexadecimal, start, observe, mode, purpose };

/// Description of a field.
struct FieldText {
  const char* name;  ///< name of its dataset
  std::string_view unit;
  const char* meaning;
  /// Its name in a replay's comparison with the record; empty: not compared.
  const char* compared = "";
  Shown shown = Shown::number;
  std::uint64_t since = 1;  ///< version of the format that introduced it
};

/// Destination of a field in a LogRow.
template <class Member>
struct In {
  explicit In(Member of) : member(std::move(of)) {}
  Member member;
  template <class T>
  void set(LogRow& row, T&& value) const {
    auto& place = member(row);
    place = static_cast<std::remove_reference_t<decltype(place)>>(std::forward<T>(value));
  }
  decltype(auto) get(const LogRow& row) const { return member(row); }
};

/// A field that is one member of each entry of a list in a LogRow.
template <class List, class Entry>
struct Each {
  List list;
  Entry entry;
  template <class Values>
  void set(LogRow& row, const Values& values) const {
    auto& all = list(row);
    if (all.size() < values.size()) all.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) entry(all[i]) = values[i];
  }
  auto get(const LogRow& row) const {
    std::vector<std::remove_cvref_t<decltype(entry(list(row)[0]))>> values;
    for (const auto& one : list(row)) values.push_back(entry(one));
    return values;
  }
};
template <class List, class Entry>
Each(List, Entry) -> Each<List, Entry>;

inline At at_of(const Drive& drive) {
  const At* at = std::get_if<At>(&drive.observe);
  return at != nullptr ? *at : At{};
}

inline std::span<const double> all_of(const Vector& values) {
  return {values.data(), static_cast<std::size_t>(values.size())};
}

template <class List, class Entry>
auto each_of(const List& list, Entry entry) {
  std::vector<std::remove_cvref_t<decltype(entry(list[0]))>> values;
  values.reserve(list.size());
  for (const auto& one : list) values.push_back(entry(one));
  return values;
}

/// The readings of a path, one after another; of the outputs alone, where only they are logged.
inline std::vector<double> path_of(const Given& given, const Layout& layout) {
  const RowMatrix& path = given.relaxation.path;
  if (!given.keeps_path || path.size() == 0) return {};
  if (!layout.outputs_only) return {path.data(), path.data() + path.size()};
  std::vector<double> values;
  for (Eigen::Index i = 0; i < path.rows(); ++i) {
    for (const std::uint32_t k : layout.selected) values.push_back(path(i, k));
  }
  return values;
}

/// Destination of a path. Its row has been given its potentials, which say how many readings there are at a
/// time.
struct Path {
  void set(LogRow& row, const std::vector<double>& values) const {
    const Eigen::Index width = row.relaxation.potential.size();
    const auto size = static_cast<Eigen::Index>(values.size());
    if (size == 0 || width == 0 || size % width != 0) return row.relaxation.path.resize(0, width);
    row.relaxation.path = Eigen::Map<const RowMatrix>(values.data(), size / width, width);
  }
  std::span<const double> get(const LogRow& row) const {
    return {row.relaxation.path.data(), static_cast<std::size_t>(row.relaxation.path.size())};
  }
};

inline constexpr const char* per_parameter_unit = "as /entry/device/parameters/unit";

template <class Archive>
void imposed_fields(Archive& a, const Layout& layout) {
  const std::string& potential = layout.info.potential_unit;
  const auto first = [](auto& pair) -> auto& { return pair.first; };
  const auto second = [](auto& pair) -> auto& { return pair.second; };
  const auto terminal = [](auto& hold) -> auto& { return hold.terminal; };
  const auto level = [](auto& hold) -> auto& { return hold.level; };
  const auto overrides = [](auto& r) -> auto& { return r.overrides; };
  const auto holds = [](auto& r) -> auto& { return r.holds; };

  a.field(
      {"theta_digest", "1", "XXH3 (64 bit) of the parameter vector imposed, before overrides", "theta digest",
       Shown::hexadecimal},
      [](const Given& g) { return g.drive.theta.digest; },
      In([](auto& r) -> auto& { return r.theta_digest; }));
  a.list(
      {"override_index", "1", "parameters that differ from the vector in this relaxation",
       "override parameter"},
      [&](const Given& g) { return each_of(g.drive.theta.overrides, first); }, Each{overrides, first});
  a.list(
      {"override_value", per_parameter_unit, "values of the parameters in override_index", "override"},
      [&](const Given& g) { return each_of(g.drive.theta.overrides, second); }, Each{overrides, second});
  a.field(
      {"pattern_set", "1", "pattern set clamped: /entry/patterns/<n>"},
      [](const Given& g) { return g.pattern_set; }, In([](auto& r) -> auto& { return r.pattern_set; }));
  a.field(
      {"pattern_row", "1", "row of that pattern set"}, [](const Given& g) { return g.drive.clamp.row; },
      In([](auto& r) -> auto& { return r.pattern_row; }));
  a.list(
      {"hold_terminal", "1", "free terminals held in this relaxation", "hold terminal"},
      [&](const Given& g) { return each_of(g.drive.holds, terminal); }, Each{holds, terminal});
  a.list(
      {"hold_level", potential, "levels of the terminals in hold_terminal", "hold level"},
      [&](const Given& g) { return each_of(g.drive.holds, level); }, Each{holds, level});
  a.list(
      {"nudge", layout.info.current_unit,
       "injected currents, into the network positive, in the order of the nudgeable terminals; none: zero",
       "nudge"},
      [](const Given& g) { return all_of(g.drive.nudge); }, In([](auto& r) -> auto& { return r.nudge; }));
}

template <class Archive>
void start_fields(Archive& a, const Layout& layout) {
  a.field(
      {"start", "1", "0 from rest, 1 from the present state, 2 from a restored state", "start", Shown::start},
      [](const Given& g) { return static_cast<std::uint8_t>(g.drive.start.index()); },
      In([](auto& r) -> auto& { return r.start; }));
  a.field(
      {"rest_rate", layout.rate_unit, "rate at which clamped levels move from rest; inf: a step",
       "the rate from rest"},
      [](const Given& g) {
        const Rest* rest = std::get_if<Rest>(&g.drive.start);
        return rest != nullptr ? rest->rate : std::numeric_limits<double>::infinity();
      },
      In([](auto& r) -> auto& { return r.rest_rate; }), std::numeric_limits<double>::infinity());
  a.field(
      {"start_digest", "1", "XXH3 (64 bit) of the restored potentials; 0: none", "start digest",
       Shown::hexadecimal},
      [](const Given& g) {
        const From* from = std::get_if<From>(&g.drive.start);
        return from != nullptr && from->potential ? digest(*from->potential) : std::uint64_t{0};
      },
      In([](auto& r) -> auto& { return r.start_digest; }));
}

template <class Archive>
void observe_fields(Archive& a, const Layout& layout) {
  const std::string& time = layout.info.time_unit;
  a.field(
      {"observe", "1", "0 read when settled, 1 read at a time", "reading", Shown::observe},
      [](const Given& g) { return static_cast<std::uint8_t>(g.drive.observe.index()); },
      In([](auto& r) -> auto& { return r.at; }));
  a.field(
      {"observe_time", time, "time of the first reading after the start, where it is read at a time",
       "the time of reading"},
      [](const Given& g) { return at_of(g.drive).time; },
      In([](auto& r) -> auto& { return r.observe.time; }));
  a.field(
      {"observe_samples", "1", "readings that potential is the mean of, where it is read at a time",
       "samples of a reading"},
      [](const Given& g) { return at_of(g.drive).samples; },
      In([](auto& r) -> auto& { return r.observe.samples; }), std::uint32_t{1});
  a.field(
      {"observe_every", time, "time between readings; 0: as closely as the device reads",
       "time between readings", Shown::number, 4},
      [](const Given& g) { return at_of(g.drive).every; },
      In([](auto& r) -> auto& { return r.observe.every; }));
  a.field(
      {"observe_mode", "1", "0 readings of one relaxation, 1 each of a relaxation of its own",
       "mode of reading", Shown::mode, 4},
      [](const Given& g) { return static_cast<std::uint8_t>(at_of(g.drive).mode); },
      In([](auto& r) -> auto& { return r.observe.mode; }));
  a.field(
      {"observe_path", "1", "1: every reading is kept, see path", "whether readings are kept", Shown::number,
       4},
      [](const Given& g) { return static_cast<std::uint8_t>(at_of(g.drive).path); },
      In([](auto& r) -> auto& { return r.observe.path; }));
}

template <class Archive>
void label_fields(Archive& a) {
  a.field(
      {"purpose", "1", "0 none, 1 train, 2 validation, 3 test, 4 probe", "label purpose", Shown::purpose},
      [](const Given& g) { return static_cast<std::uint8_t>(g.drive.label.purpose); },
      In([](auto& r) -> auto& { return r.label.purpose; }));
  a.field(
      {"position", "1", "position in its chain; 0: the free relaxation", "label position"},
      [](const Given& g) { return g.drive.label.position; },
      In([](auto& r) -> auto& { return r.label.position; }));
  a.field(
      {"step", "1", "training step it belongs to", "label step"},
      [](const Given& g) { return g.drive.label.step; }, In([](auto& r) -> auto& { return r.label.step; }));
  a.field(
      {"sample", "1", "sample of its data set", "label sample"},
      [](const Given& g) { return g.drive.label.sample; },
      In([](auto& r) -> auto& { return r.label.sample; }));
}

template <class Archive>
void reading_fields(Archive& a, const Layout& layout) {
  const std::string &potential = layout.info.potential_unit, &current = layout.info.current_unit;
  a.readings(
      {"potential", potential, "potentials read of the terminals /entry/relaxations/potential_terminal"},
      [](const Given& g) { return all_of(g.relaxation.potential); },
      In([](auto& r) -> auto& { return r.relaxation.potential; }), layout.read_width);
  a.readings(
      {"sigma", potential, "standard errors of potential, where measured"},
      [](const Given& g) { return all_of(g.relaxation.sigma); },
      In([](auto& r) -> auto& { return r.relaxation.sigma; }), 0);
  a.list(
      {"path", potential,
       "readings whose mean is the potential, those of one time after another, in order of time; none: not "
       "kept",
       "", Shown::number, 4},
      [&](const Given& g) { return path_of(g, layout); }, Path{});
  a.list(
      {"current", current, "measured currents into the network, of all terminals, where measured"},
      [](const Given& g) { return all_of(g.relaxation.current); },
      In([](auto& r) -> auto& { return r.relaxation.current; }));
  a.list(
      {"current_sigma", current, "standard errors of current, where known"},
      [](const Given& g) { return all_of(g.relaxation.current_sigma); },
      In([](auto& r) -> auto& { return r.relaxation.current_sigma; }));
  a.list(
      {"clamp_readback", potential, "measured levels of the clamped terminals, where measured"},
      [](const Given& g) { return all_of(g.relaxation.clamp_readback); },
      In([](auto& r) -> auto& { return r.relaxation.clamp_readback; }));
  a.list(
      {"theta_readback", per_parameter_unit, "measured parameters, where measured"},
      [](const Given& g) { return all_of(g.relaxation.theta_readback); },
      In([](auto& r) -> auto& { return r.relaxation.theta_readback; }));
  a.list(
      {"environment", "as /entry/device/environment/unit", "of the surroundings, where measured"},
      [](const Given& g) { return all_of(g.relaxation.environment); },
      In([](auto& r) -> auto& { return r.relaxation.environment; }));
}

template <class Archive>
void outcome_fields(Archive& a, const Layout& layout) {
  const std::string &potential = layout.info.potential_unit, &time = layout.info.time_unit;
  a.field(
      {"flags", "1",
       "quality, 0: settled, or read at a stated time without a verdict; else a sum of 1 drifting, 2 timed "
       "out, 4 in compliance, 8 over range, 16 invalid, 32 "
       "oscillating, "
       "64 other branch, 128 no stable state, 256 not converged"},
      [](const Given& g) { return g.relaxation.quality.whole; },
      In([](auto& r) -> auto& { return r.relaxation.quality.whole; }));
  a.readings(
      {"terminal_flags", "1", "flags of each potential; none: all settled"},
      [](const Given& g) { return std::span<const std::uint16_t>(g.relaxation.quality.terminal); },
      In([](auto& r) -> auto& { return r.relaxation.quality.terminal; }), 0);
  a.field(
      {"time_start", time, "device time at which the drive was complete"},
      [](const Given& g) { return g.relaxation.timing.start; },
      In([](auto& r) -> auto& { return r.relaxation.timing.start; }));
  a.field(
      {"time_settled", time, "device time of the verdict"},
      [](const Given& g) { return g.relaxation.timing.settled; },
      In([](auto& r) -> auto& { return r.relaxation.timing.settled; }));
  a.field(
      {"time_read", time, "device time of the last reading"},
      [](const Given& g) { return g.relaxation.timing.read; },
      In([](auto& r) -> auto& { return r.relaxation.timing.read; }));
  a.field(
      {"time_bound", potential, "bound on the distance to the steady state at the verdict"},
      [](const Given& g) { return g.relaxation.timing.bound; },
      In([](auto& r) -> auto& { return r.relaxation.timing.bound; }));
  a.list(
      {"fault", "1", "why the attempt failed, UTF-8; none: it did not"},
      [](const Given& g) { return g.fault; }, In([](auto& r) -> auto& { return r.fault; }));
  a.field(
      {"recorded", "s", "wall time of the record since the run was started"},
      [](const Given& g) { return g.recorded; }, In([](auto& r) -> auto& { return r.recorded; }));
}

/// Visits the fields in the order of the file. The archive has
///   field(text, give, place[, blank])    a number per row: give(Given) is its value, place its destination;
///                                        `blank` takes no space
///   list(text, give, place)              any number of values per row
///   readings(text, give, place, width)   a list of the terminals that are read, or of the outputs where only
///                                        they are logged; `width` > 0: this number in every row
template <class Archive>
void each_field(Archive& a, const Layout& layout) {
  imposed_fields(a, layout);
  start_fields(a, layout);
  observe_fields(a, layout);
  label_fields(a);
  reading_fields(a, layout);
  outcome_fields(a, layout);
}
/// Throws std::invalid_argument if the relaxation does not fit the device of the log, or needs a field that
/// the log's format does not have.
void check_fits(const Layout& layout, const Given& given);

template <class Give>
using Value = std::remove_cvref_t<std::invoke_result_t<const Give&, const Given&>>;
template <class Give>
using Entry = std::remove_cvref_t<decltype(std::declval<Value<Give>>()[0])>;

/// The archive that collects the columns.
struct FieldShape {
  hdf5::TableShape& shape;
  const Layout& layout;

  template <class Give, class Place>
  void field(const FieldText& text, const Give&, const Place&, Value<Give> blank = {}) {
    Value<Give> value{};
    if (text.since <= layout.version) shape.scalar(text.name, text.unit, text.meaning, value, blank);
  }
  template <class Give, class Place>
  void list(const FieldText& text, const Give&, const Place&) {
    if (text.since > layout.version) return;
    std::vector<Entry<Give>> values;
    shape.list(text.name, text.unit, text.meaning, values);
  }
  template <class Give, class Place>
  void readings(const FieldText& text, const Give& give, const Place& place, std::uint64_t width) {
    if (width == 0) return list(text, give, place);
    Vector values;
    shape.row(text.name, text.unit, text.meaning, values, width);
  }
};

/// The archive that encodes a row.
struct FieldEncoder {
  hdf5::TableEncoder& encoder;
  const Given& given;
  const Layout& layout;

  template <class Give, class Place>
  void field(const FieldText& text, const Give& give, const Place&, Value<Give> = {}) {
    if (text.since <= layout.version) encoder.scalar(text.name, text.unit, text.meaning, give(given));
  }
  template <class Give, class Place>
  void list(const FieldText& text, const Give& give, const Place&) {
    if (text.since > layout.version) return;
    encoder.list(text.name, text.unit, text.meaning, give(given));
  }
  template <class Give, class Place>
  void readings(const FieldText& text, const Give& give, const Place&, std::uint64_t width) {
    auto values = give(given);
    if (layout.outputs_only && !values.empty()) {
      auto& own = given.scratch->of(Entry<Give>{});
      own.clear();
      for (const std::uint32_t i : layout.selected) own.push_back(values[i]);
      values = own;
    }
    if (width > 0) encoder.row(text.name, text.unit, text.meaning, values, width);
    else encoder.list(text.name, text.unit, text.meaning, values);
  }
};

/// The archive that decodes a row.
struct FieldDecoder {
  hdf5::TableReader& reader;
  LogRow& row;
  const Layout& layout;

  template <class Give, class Place>
  void field(const FieldText& text, const Give&, const Place& place, Value<Give> = {}) {
    if (text.since > layout.version) return;
    Value<Give> value{};
    reader.scalar(text.name, text.unit, text.meaning, value);
    place.set(row, value);
  }
  template <class Give, class Place>
  void list(const FieldText& text, const Give&, const Place& place) {
    if (text.since > layout.version) return;
    if constexpr (requires { place.member; }) {
      reader.list(text.name, text.unit, text.meaning, place.member(row));
    } else {
      std::vector<Entry<Give>> values;
      reader.list(text.name, text.unit, text.meaning, values);
      place.set(row, values);
    }
  }
  template <class Give, class Place>
  void readings(const FieldText& text, const Give& give, const Place& place, std::uint64_t width) {
    if constexpr (std::is_same_v<Entry<Give>, double>) {
      if (width > 0) return reader.row(text.name, text.unit, text.meaning, place.member(row), width);
    }
    list(text, give, place);
  }
};

// Called by the code of tables for a row of relaxations; log_layout.hpp has the other tables.
inline void describe(hdf5::TableShape& shape, LogRow&, const Layout& layout) {
  FieldShape fields{shape, layout};
  each_field(fields, layout);
}
inline void describe(hdf5::TableEncoder& encoder, const Given& given, const Layout& layout) {
  FieldEncoder fields{encoder, given, layout};
  each_field(fields, layout);
}
inline void describe(hdf5::TableReader& reader, LogRow& row, const Layout& layout) {
  FieldDecoder fields{reader, row, layout};
  each_field(fields, layout);
}

}  // namespace ness::log_layout
