// The part of a log that is written before the first row.
#include <algorithm>

#include "recorded_run.hpp"
#include "relaxation_fields.hpp"
#include "ness/record/file_digest.hpp"
#include "ness/device/error.hpp"

namespace ness::log_layout {
namespace {

using hdf5::create_group;
using hdf5::open_group;
using hdf5::read_array;
using hdf5::read_text;
using hdf5::read_texts;
using hdf5::write_array;
using hdf5::write_text;
using hdf5::write_texts;

constexpr std::size_t status_room = 16, reason_room = 1024, time_room = 32;

// One field of many objects, as a column.
template <class T, class Things, class Field>
std::vector<T> column(const Things& things, Field field) {
  std::vector<T> values;
  values.reserve(things.size());
  for (const auto& thing : things) {
    values.push_back(static_cast<T>(field(thing)));
  }
  return values;
}

template <class Things, class Field>
std::vector<std::string> texts(const Things& things, Field field) {
  return column<std::string>(things, field);
}

// The levels of all rows, as stored in a log.
class StoredPatterns final : public PatternSet {
 public:
  StoredPatterns(std::string name, RowMatrix levels, std::uint32_t variants)
      : name_(std::move(name)), levels_(std::move(levels)), variants_(variants) {}
  const std::string& name() const override { return name_; }
  std::uint64_t base_rows() const override { return static_cast<std::uint64_t>(levels_.rows()) / variants_; }
  std::uint32_t variants() const override { return variants_; }
  std::uint32_t width() const override { return static_cast<std::uint32_t>(levels_.cols()); }
  void levels(std::uint64_t row, Eigen::Ref<Vector> out) const override {
    if (row >= rows()) {
      throw std::invalid_argument("row " + std::to_string(row) + " of pattern set '" + name_ +
                                  "', which has " + std::to_string(rows()));
    }
    out = levels_.row(static_cast<Eigen::Index>(row)).transpose();
  }

 private:
  std::string name_;
  RowMatrix levels_;
  std::uint32_t variants_;
};

void write_terminals(Calls& calls, hid_t device, const DeviceInfo& info) {
  const Handle group = create_group(calls, device, "terminals", "NXcollection");
  const auto& t = info.terminals;
  write_texts(calls, group, "name", texts(t, [](const Terminal& x) { return x.name; }));
  const auto flag = [&](const char* name, const char* meaning, auto field) {
    write_array(calls, group, name, column<std::uint8_t>(t, field), "1", meaning);
  };
  const auto number = [&](const char* name, const std::string& unit, const char* meaning, auto field) {
    write_array(calls, group, name, column<double>(t, field), unit, meaning);
  };
  flag("clamped", "1: an input, held in every relaxation", [](const Terminal& x) { return x.clamped; });
  number("level_low", info.potential_unit, "lowest level it may be held at",
         [](const Terminal& x) { return x.level.low; });
  number("level_high", info.potential_unit, "highest level it may be held at",
         [](const Terminal& x) { return x.level.high; });
  flag("can_hold", "1: a free terminal that can be held", [](const Terminal& x) { return x.can_hold; });
  number("nudge_low", info.current_unit, "lowest current that may be injected",
         [](const Terminal& x) { return x.nudge.low; });
  number("nudge_high", info.current_unit, "highest current that may be injected",
         [](const Terminal& x) { return x.nudge.high; });
  flag("reads_potential", "1: its potential is read", [](const Terminal& x) { return x.reads_potential; });
  flag("reads_current", "1: its current is read", [](const Terminal& x) { return x.reads_current; });
}

void read_terminals(Calls& calls, hid_t device, DeviceInfo& info) {
  const Handle group = open_group(calls, device, "terminals");
  const auto names = read_texts(calls, group, "name");
  const auto clamped = read_array<std::uint8_t>(calls, group, "clamped");
  const auto can_hold = read_array<std::uint8_t>(calls, group, "can_hold");
  const auto reads_potential = read_array<std::uint8_t>(calls, group, "reads_potential");
  const auto reads_current = read_array<std::uint8_t>(calls, group, "reads_current");
  const auto level_low = read_array<double>(calls, group, "level_low"),
             level_high = read_array<double>(calls, group, "level_high");
  const auto nudge_low = read_array<double>(calls, group, "nudge_low"),
             nudge_high = read_array<double>(calls, group, "nudge_high");
  for (std::size_t i = 0; i < names.size(); ++i) {
    info.terminals.push_back({names[i],
                              clamped.at(i) != 0,
                              {level_low.at(i), level_high.at(i)},
                              can_hold.at(i) != 0,
                              {nudge_low.at(i), nudge_high.at(i)},
                              reads_potential.at(i) != 0,
                              reads_current.at(i) != 0});
  }
}

void write_parameters(Calls& calls, hid_t device, const DeviceInfo& info) {
  const Handle group = create_group(calls, device, "parameters", "NXcollection");
  const auto& p = info.parameters;
  const std::string own_unit = "as unit";
  write_texts(calls, group, "name", texts(p, [](const ParameterInfo& x) { return x.name; }));
  write_texts(calls, group, "kind", texts(p, [](const ParameterInfo& x) { return x.kind; }));
  write_texts(calls, group, "unit", texts(p, [](const ParameterInfo& x) { return x.unit; }));
  write_array(calls, group, "low", column<double>(p, [](const ParameterInfo& x) { return x.range.low; }),
              own_unit, "lowest value");
  write_array(calls, group, "high", column<double>(p, [](const ParameterInfo& x) { return x.range.high; }),
              own_unit, "highest value");
  write_array(calls, group, "scale", column<std::uint8_t>(p, [](const ParameterInfo& x) { return x.scale; }),
              "1", "0: stepped on its value, 1: on its logarithm");
  write_array(calls, group, "trainable",
              column<std::uint8_t>(p, [](const ParameterInfo& x) { return x.trainable; }), "1",
              "0: a constant of the device");
  write_array(calls, group, "edge", column<std::int64_t>(p, [](const ParameterInfo& x) { return x.edge; }),
              "1", "edge it belongs to, or -1");
  write_array(calls, group, "node", column<std::int64_t>(p, [](const ParameterInfo& x) { return x.node; }),
              "1", "node it belongs to, or -1");
  write_array(calls, group, "resolution",
              column<double>(p, [](const ParameterInfo& x) { return x.resolution; }), own_unit,
              "smallest step its source can make; 0: none is known");
}

void read_parameters(Calls& calls, hid_t device, DeviceInfo& info) {
  const Handle group = open_group(calls, device, "parameters");
  const auto names = read_texts(calls, group, "name"), kinds = read_texts(calls, group, "kind"),
             units = read_texts(calls, group, "unit");
  const auto low = read_array<double>(calls, group, "low"), high = read_array<double>(calls, group, "high");
  const auto scale = read_array<std::uint8_t>(calls, group, "scale"),
             trainable = read_array<std::uint8_t>(calls, group, "trainable");
  const auto edge = read_array<std::int64_t>(calls, group, "edge"),
             node = read_array<std::int64_t>(calls, group, "node");
  const auto resolution = read_array<double>(calls, group, "resolution");
  for (std::size_t i = 0; i < names.size(); ++i) {
    info.parameters.push_back({names[i],
                               kinds.at(i),
                               units.at(i),
                               {low.at(i), high.at(i)},
                               static_cast<Scale>(scale.at(i)),
                               trainable.at(i) != 0,
                               edge.at(i),
                               node.at(i),
                               resolution.at(i)});
  }
}

void write_environment(Calls& calls, hid_t device, const DeviceInfo& info) {
  const Handle group = create_group(calls, device, "environment", "NXcollection");
  if (info.environment.empty()) return;
  write_texts(calls, group, "name", texts(info.environment, [](const EnvironmentInfo& x) { return x.name; }));
  write_texts(calls, group, "unit", texts(info.environment, [](const EnvironmentInfo& x) { return x.unit; }));
}

void read_environment(Calls& calls, hid_t device, DeviceInfo& info) {
  const Handle group = open_group(calls, device, "environment");
  if (!hdf5::exists(calls, group, "name")) return;
  const auto names = read_texts(calls, group, "name"), units = read_texts(calls, group, "unit");
  for (std::size_t i = 0; i < names.size(); ++i) info.environment.push_back({names[i], units.at(i)});
}

void write_device(Calls& calls, hid_t entry, const DeviceInfo& info) {
  const Handle group = create_group(calls, entry, "device", "NXcollection");
  write_text(calls, group, "identity", info.identity);
  write_terminals(calls, group, info);
  write_array(calls, group, "outputs", info.outputs, "1", "terminals whose potentials are the result");
  write_parameters(calls, group, info);
  write_environment(calls, group, info);
  hdf5::write_number(calls, group, "restores_state", std::uint8_t{info.restores_state}, "1",
                     "1: it can start from a given state");
  hdf5::write_number(calls, group, "reads_serial", std::uint8_t{info.reads_serial}, "1",
                     "1: several readings of one relaxation, at stated times");
  hdf5::write_number(calls, group, "reads_repeat", std::uint8_t{info.reads_repeat}, "1",
                     "1: several readings, each of a relaxation of its own");
  hdf5::write_number(calls, group, "reads_path", std::uint8_t{info.reads_path}, "1",
                     "1: readings at stated times can be kept one by one");
  hdf5::write_number(calls, group, "deterministic", std::uint8_t{info.deterministic}, "1",
                     "1: the same drive and start give the same bits");
  write_text(calls, group, "potential_unit", info.potential_unit);
  write_text(calls, group, "current_unit", info.current_unit);
  write_text(calls, group, "time_unit", info.time_unit);
  write_text(calls, group, "arithmetic", info.arithmetic);
}

DeviceInfo read_device(Calls& calls, hid_t entry) {
  const Handle group = open_group(calls, entry, "device");
  DeviceInfo info;
  info.identity = read_text(calls, group, "identity");
  read_terminals(calls, group, info);
  info.outputs = read_array<std::uint32_t>(calls, group, "outputs");
  read_parameters(calls, group, info);
  read_environment(calls, group, info);
  info.restores_state = hdf5::read_number<std::uint8_t>(calls, group, "restores_state") != 0;
  info.deterministic = hdf5::read_number<std::uint8_t>(calls, group, "deterministic") != 0;
  if (hdf5::exists(calls, group, "reads_serial")) {  // since format 4
    info.reads_serial = hdf5::read_number<std::uint8_t>(calls, group, "reads_serial") != 0;
    info.reads_repeat = hdf5::read_number<std::uint8_t>(calls, group, "reads_repeat") != 0;
    info.reads_path = hdf5::read_number<std::uint8_t>(calls, group, "reads_path") != 0;
  }
  info.potential_unit = read_text(calls, group, "potential_unit");
  info.current_unit = read_text(calls, group, "current_unit");
  info.time_unit = read_text(calls, group, "time_unit");
  info.arithmetic = read_text(calls, group, "arithmetic");
  return info;
}

void write_levels(Calls& calls, hid_t group, const PatternSet& set, const std::string& unit) {
  RowMatrix levels(static_cast<Eigen::Index>(set.rows()), static_cast<Eigen::Index>(set.width()));
  Vector row(set.width());
  for (std::uint64_t i = 0; i < set.rows(); ++i) {
    set.levels(i, row);
    levels.row(static_cast<Eigen::Index>(i)) = row.transpose();
  }
  const hsize_t dims[] = {set.rows(), set.width()};
  hdf5::write_numbers(calls, group, "levels", H5T_NATIVE_DOUBLE, levels.data(), dims, unit,
                      "[rows, clamped terminals]");
}

void write_pattern_sets(Calls& calls, hid_t entry, const LogHeader& header, std::uint64_t largest_copy) {
  const Handle group = create_group(calls, entry, "patterns", "NXcollection");
  for (std::size_t i = 0; i < header.pattern_sets.size(); ++i) {
    const PatternSet& set = *header.pattern_sets[i];
    const Handle one = create_group(calls, group, std::to_string(i), "NXcollection");
    write_text(calls, one, "name", set.name());
    hdf5::write_number(calls, one, "digest", set.digest(), "1", "XXH3 (64 bit) of the levels");
    hdf5::write_number(calls, one, "rows", set.rows(), "1", "patterns, variants included");
    hdf5::write_number(calls, one, "variants", set.variants(), "1", "variants of each pattern");
    hdf5::write_number(calls, one, "width", set.width(), "1", "levels of a pattern");
    const auto source = set.source();
    if (source) {
      write_text(calls, one, "path", source->path);
      write_text(calls, one, "sha256", sha256_of_file(source->path));
      write_text(calls, one, "encoding", source->encoding);
    }
    if (!source || set.rows() * set.width() * sizeof(double) <= largest_copy)
      write_levels(calls, one, set, header.info.potential_unit);
  }
}

std::shared_ptr<const PatternSet> read_levels(Calls& calls, hid_t file, std::size_t index,
                                              const LogReader::SetInfo& set) {
  const Handle group = open_group(calls, file, "entry/patterns/" + std::to_string(index));
  RowMatrix levels(static_cast<Eigen::Index>(set.rows), static_cast<Eigen::Index>(set.width));
  hdf5::read_numbers(calls, group, "levels", H5T_NATIVE_DOUBLE, levels.data(), set.rows * set.width);
  return std::make_shared<StoredPatterns>(set.name, std::move(levels), set.variants);
}

void create_tables(Calls& calls, hid_t entry, const Layout& layout, const LogOptions& options) {
  // A bench's rows are few and committed one by one, so its chunks are small.
  const std::uint64_t rows = options.group_rows > 64 ? 8192 : 1024;
  const Handle relaxations = create_group(calls, entry, "relaxations", "NXcollection");
  hdf5::write_attribute(calls, relaxations, "outputs_only", std::uint64_t{layout.outputs_only});
  write_array(calls, relaxations, "potential_terminal", layout.info.read(), "1",
              "terminal of each column of potential");
  hdf5::create_table(calls, relaxations, shape<LogRow>(layout), {256 * 1024, rows, rows});

  const Handle training = create_group(calls, entry, "training", "NXdata");
  hdf5::write_attribute(calls, training, "theta_width", layout.theta_width);
  hdf5::create_table(calls, training, shape<StepRecord>(layout), {256 * 1024, 1024, 1024});
  const Handle epochs = create_group(calls, entry, "epochs", "NXdata");
  hdf5::create_table(calls, epochs, shape<EpochRecord>(layout), {256 * 1024, 256, 256});
  for (const auto& [group, axis] : {std::pair<hid_t, const char*>{training, "step"}, {epochs, "epoch"}}) {
    hdf5::write_attribute(calls, group, "signal", "loss");
    hdf5::write_attribute(calls, group, "axes", axis);
    hdf5::write_attribute(calls, group, std::string(axis) + "_indices", std::uint64_t{0});
  }
  const Handle checkpoints = create_group(calls, entry, "checkpoints", "NXcollection");
  const std::uint64_t entries = std::clamp<std::uint64_t>(layout.info.parameters.size(), 1024, 32768);
  hdf5::create_table(calls, checkpoints, shape<Checkpoint>(layout), {256 * 1024, 64, entries});
}

// Rewritten in place during the run, within a page: a kill must not split the write.
void create_counts(Calls& calls, hid_t file) {
  write_array(calls, file, "committed", std::vector<std::uint64_t>(4), "1",
              "rows that exist: relaxations, steps, epochs, checkpoints");
  constexpr haddr_t page = 4096, size = 4 * sizeof(std::uint64_t);
  const haddr_t place = H5Dget_offset(hdf5::open_dataset(calls, file, "committed"));
  if (place == HADDR_UNDEF || place % page + size > page) {
    calls.fail("make '/committed'", "it lies across two pages, at byte " + std::to_string(place));
  }
}

}  // namespace

namespace {

// What comes before all else; the group of everything else.
Handle create_entry(Calls& calls, hid_t file, std::uint64_t version) {
  hdf5::write_attribute(calls, file, "NX_class", "NXroot");
  hdf5::write_attribute(calls, file, "default", "entry");
  hdf5::write_attribute(calls, file, "ness_log_format", version);
  create_counts(calls, file);
  Handle entry = create_group(calls, file, "entry", "NXentry");
  hdf5::write_attribute(calls, entry, "default", "training");
  return entry;
}

}  // namespace

std::vector<std::string> create_copy(Calls& calls, hid_t file, Calls& from_calls, hid_t from,
                                     const Layout& layout) {
  const Handle entry = create_entry(calls, file, layout.version);
  const Handle old_entry = open_group(from_calls, from, "entry");
  std::vector<std::string> lost;
  for (const std::string& name : hdf5::members(from_calls, old_entry)) {
    const std::string path = "/entry/" + name;
    if (path == relaxations_group || path == training_group || path == epochs_group ||
        path == checkpoints_group)
      continue;
    if (H5Ocopy(old_entry, name.c_str(), entry, name.c_str(), H5P_DEFAULT, H5P_DEFAULT) >= 0) continue;
    lost.push_back(path);
    if (hdf5::exists(calls, entry, name))
      calls(H5Ldelete(entry, name.c_str(), H5P_DEFAULT), "leave out '" + path + "'");
  }
  LogOptions options;
  const Handle crc = hdf5::open_dataset(from_calls, from, std::string(relaxations_group) + "/crc32");
  options.group_rows = hdf5::chunk_rows(from_calls, crc) > 1024 ? options.group_rows : 1;
  create_tables(calls, entry, layout, options);
  return lost;
}

void create(Calls& calls, hid_t file, const LogHeader& header, const Layout& layout,
            const LogOptions& options) {
  const Handle entry = create_entry(calls, file, format);
  write_text(calls, entry, "title", header.title);
  write_text(calls, entry, "program_name", "ness");
  write_text(calls, entry, "start_time", utc_now());
  write_text(calls, entry, "end_time", "", time_room);
  write_text(calls, entry, "experiment", header.experiment);
  write_text(calls, entry, "command", header.command);
  hdf5::write_number(calls, entry, "seed", header.seed, "1", "seed of every random number of the run");
  write_text(calls, entry, "exit_status", to_string(ExitStatus::running), status_room);
  write_text(calls, entry, "exit_reason", "", reason_room);
  {
    const Handle versions = create_group(calls, entry, "versions", "NXcollection");
    write_texts(calls, versions, "software", texts(header.versions, [](const auto& x) { return x.first; }));
    write_texts(calls, versions, "version", texts(header.versions, [](const auto& x) { return x.second; }));
  }
  write_device(calls, entry, header.info);
  if (header.bench) write_bench(calls, entry, "bench", *header.bench);
  if (header.from) write_origin(calls, entry, *header.from);
  write_pattern_sets(calls, entry, header, options.largest_copy);
  write_run(calls, entry, header, options.largest_copy);
  create_tables(calls, entry, layout, options);
}

void check_format(Calls& calls, hid_t file) {
  if (!hdf5::has_attribute(calls, file, "ness_log_format")) {
    throw LogError("'" + calls.path() + "' is an HDF5 file, but not a Ness log");
  }
  if (const std::uint64_t found = hdf5::read_number_attribute(calls, file, "ness_log_format");
      found < oldest_format || found > format) {
    throw LogError("the log '" + calls.path() + "' has format version " + std::to_string(found) +
                   ", this program reads versions " + std::to_string(oldest_format) + " to " +
                   std::to_string(format));
  }
}

Layout read_layout(Calls& calls, hid_t file) {
  const Handle entry = open_group(calls, file, "entry");
  const bool outputs_only =
      hdf5::read_number_attribute(calls, open_group(calls, entry, "relaxations"), "outputs_only") != 0;
  Layout layout = layout_of(read_device(calls, entry), outputs_only, 0);
  layout.version = hdf5::read_number_attribute(calls, file, "ness_log_format");
  layout.theta_width =
      hdf5::read_number_attribute(calls, open_group(calls, entry, "training"), "theta_width");
  return layout;
}

std::vector<LogReader::SetInfo> read_pattern_sets(Calls& calls, hid_t file) {
  const Handle group = open_group(calls, file, "entry/patterns");
  std::vector<LogReader::SetInfo> sets;
  while (hdf5::exists(calls, group, std::to_string(sets.size()))) {
    const Handle one = open_group(calls, group, std::to_string(sets.size()));
    LogReader::SetInfo set;
    set.name = read_text(calls, one, "name");
    set.digest = hdf5::read_number<std::uint64_t>(calls, one, "digest");
    set.rows = hdf5::read_number<std::uint64_t>(calls, one, "rows");
    set.variants = hdf5::read_number<std::uint32_t>(calls, one, "variants");
    set.width = hdf5::read_number<std::uint32_t>(calls, one, "width");
    if (hdf5::exists(calls, one, "path")) {
      set.path = read_text(calls, one, "path");
      set.sha256 = read_text(calls, one, "sha256");
      set.encoding = read_text(calls, one, "encoding");
    }
    set.stored = hdf5::exists(calls, one, "levels");
    sets.push_back(std::move(set));
  }
  return sets;
}

LogHeader read_header(Calls& calls, hid_t file, const Layout& layout,
                      const std::vector<LogReader::SetInfo>& sets) {
  const Handle entry = open_group(calls, file, "entry");
  LogHeader header;
  header.title = read_text(calls, entry, "title");
  header.experiment = read_text(calls, entry, "experiment");
  header.command = read_text(calls, entry, "command");
  header.seed = hdf5::read_number<std::uint64_t>(calls, entry, "seed");
  const Handle group = open_group(calls, entry, "versions");
  const auto software = read_texts(calls, group, "software"), version = read_texts(calls, group, "version");
  for (std::size_t i = 0; i < software.size(); ++i) {
    header.versions.emplace_back(software[i], version.at(i));
  }
  header.info = layout.info;
  read_benches(calls, entry, header);
  header.from = read_origin(calls, entry);
  for (std::size_t i = 0; i < sets.size(); ++i) {
    header.pattern_sets.push_back(sets[i].stored ? read_levels(calls, file, i, sets[i]) : nullptr);
  }
  read_run(calls, entry, header);
  return header;
}

}  // namespace ness::log_layout
