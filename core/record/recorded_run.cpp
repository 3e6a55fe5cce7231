#include "recorded_run.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ness::log_layout {
namespace {

using hdf5::Calls;
using hdf5::create_group;
using hdf5::exists;
using hdf5::Handle;
using hdf5::open_group;
using hdf5::read_array;
using hdf5::read_number;
using hdf5::read_text;
using hdf5::read_texts;
using hdf5::write_array;
using hdf5::write_number;
using hdf5::write_text;
using hdf5::write_texts;

// ---- data sets ------------------------------------------------------------------------------------------

void write_origin(Calls& calls, hid_t group, const Dataset& data) {
  const SampleOrigin& origin = *data.origin;
  write_text(calls, group, "file", origin.file);
  write_texts(calls, group, "input_column", origin.inputs);
  write_texts(calls, group, "target_column", origin.targets);
  std::vector<std::uint64_t> lines;
  for (const std::uint64_t row : data.rows)
    lines.push_back(row < origin.lines.size() ? origin.lines[row] : 0);
  write_array(calls, group, "line", lines, "1", "line of the file that each sample stands in, from 1");
}

void write_set(Calls& calls, hid_t parent, const RecordedSet& set, const std::string& target_unit,
               std::uint64_t largest_copy) {
  const Dataset& data = set.data;
  const Handle group = create_group(calls, parent, set.name, "NXcollection");
  write_number(calls, group, "pattern_set", set.pattern_set, "1", "its levels: /entry/patterns/<n>");
  write_number(calls, group, "samples", set.samples, "1", "samples of the set");
  write_number(calls, group, "target_size", static_cast<std::uint64_t>(data.targets.cols()), "1",
               "numbers of a target");
  write_number(calls, group, "digest", set.digest, "1",
               "XXH3 (64 bit) of the levels of the pattern set, the rows and the targets together");
  const std::uint64_t widest = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(data.targets.cols()));
  if (set.samples * widest * sizeof(double) > largest_copy) return;
  write_array(calls, group, "row", data.rows, "1", "row of the pattern set that each sample imposes");
  const hsize_t dims[] = {static_cast<hsize_t>(data.targets.rows()),
                          static_cast<hsize_t>(data.targets.cols())};
  hdf5::write_numbers(calls, group, "target", H5T_NATIVE_DOUBLE, data.targets.data(), dims, target_unit,
                      "[samples, target_size]; the class from 0, where targets are classes");
  if (data.origin) write_origin(calls, group, data);
}

std::shared_ptr<const SampleOrigin> read_origin(Calls& calls, hid_t group, const Dataset& data) {
  if (!exists(calls, group, "file")) return nullptr;
  auto origin = std::make_shared<SampleOrigin>();
  origin->file = read_text(calls, group, "file");
  origin->inputs = read_texts(calls, group, "input_column");
  origin->targets = read_texts(calls, group, "target_column");
  const auto lines = read_array<std::uint64_t>(calls, group, "line");
  if (lines.size() != data.size()) calls.fail("read 'line'", "it has not one entry a sample");
  if (data.size() > 0) origin->lines.resize(*std::max_element(data.rows.begin(), data.rows.end()) + 1);
  for (std::size_t i = 0; i < lines.size(); ++i) origin->lines[data.rows[i]] = lines[i];
  return origin;
}

void read_samples(Calls& calls, hid_t group, RecordedSet& set, std::uint64_t pattern_rows) {
  Dataset& data = set.data;
  data.rows = read_array<std::uint64_t>(calls, group, "row");
  if (data.size() != set.samples) calls.fail("read 'row'", "it has not one entry a sample");
  for (const std::uint64_t row : data.rows) {
    if (row >= pattern_rows)
      calls.fail("read 'row'", "row " + std::to_string(row) + " of a pattern set of " +
                                   std::to_string(pattern_rows) + " rows");
  }
  const std::uint64_t size = read_number<std::uint64_t>(calls, group, "target_size");
  const std::uint64_t numbers = hdf5::count_numbers(calls, group, "target");
  if (set.samples > 0 && (size > numbers || size * set.samples != numbers))
    calls.fail("read 'target'", std::to_string(numbers) + " numbers for " + std::to_string(set.samples) +
                                    " samples of " + std::to_string(size));
  data.targets.resize(static_cast<Eigen::Index>(set.samples), static_cast<Eigen::Index>(size));
  hdf5::read_numbers(calls, group, "target", H5T_NATIVE_DOUBLE, data.targets.data(), numbers);
  data.origin = read_origin(calls, group, data);
}

RecordedSet read_set(Calls& calls, hid_t parent, const std::string& name, hid_t patterns,
                     const LogHeader& header) {
  const Handle group = open_group(calls, parent, name);
  RecordedSet set;
  set.name = name;
  set.pattern_set = read_number<std::uint32_t>(calls, group, "pattern_set");
  set.samples = read_number<std::uint64_t>(calls, group, "samples");
  set.digest = read_number<std::uint64_t>(calls, group, "digest");
  if (set.pattern_set >= header.pattern_sets.size())
    calls.fail("read 'pattern_set'", std::to_string(set.pattern_set) + " of " +
                                         std::to_string(header.pattern_sets.size()) + " pattern sets");
  set.data.inputs = header.pattern_sets[set.pattern_set];
  const Handle pattern = open_group(calls, patterns, std::to_string(set.pattern_set));
  if (exists(calls, group, "row"))
    read_samples(calls, group, set, read_number<std::uint64_t>(calls, pattern, "rows"));
  return set;
}

void write_task(Calls& calls, hid_t entry, const RecordedTask& task, const std::string& potential_unit,
                std::uint64_t largest_copy) {
  const Handle group = create_group(calls, entry, "data", "NXcollection");
  write_text(calls, group, "task", task.name);
  write_number(calls, group, "classifies", std::uint8_t{task.classifies}, "1",
               "1: targets are classes; 0: potentials");
  write_number(calls, group, "threshold", task.threshold.value_or(std::numeric_limits<double>::quiet_NaN()),
               potential_unit, "potential between two classes at the one output; not a number: none");
  for (const RecordedSet& set : task.sets)
    write_set(calls, group, set, task.classifies ? "1" : potential_unit, largest_copy);
}

RecordedTask read_task(Calls& calls, hid_t entry, const LogHeader& header) {
  const Handle group = open_group(calls, entry, "data"), patterns = open_group(calls, entry, "patterns");
  RecordedTask task;
  task.name = read_text(calls, group, "task");
  task.classifies = read_number<std::uint8_t>(calls, group, "classifies") != 0;
  if (const double threshold = read_number<double>(calls, group, "threshold"); !std::isnan(threshold))
    task.threshold = threshold;
  for (const char* name : {"train", "validation", "test"}) {
    if (exists(calls, group, name)) task.sets.push_back(read_set(calls, group, name, patterns, header));
  }
  return task;
}

// ---- edges ----------------------------------------------------------------------------------------------

void write_edges(Calls& calls, hid_t entry, const RecordedEdges& edges) {
  const Handle device = open_group(calls, entry, "device");
  const Handle group = create_group(calls, device, "edges", "NXcollection");
  write_array(calls, group, "from", edges.from, "1", "terminal that each edge begins at");
  write_array(calls, group, "to", edges.to, "1", "terminal that it ends at");
  std::vector<std::string> laws;
  std::vector<std::uint32_t> law;
  for (const std::string& name : edges.law) {
    auto place = std::find(laws.begin(), laws.end(), name);
    if (place == laws.end()) place = laws.insert(place, name);
    law.push_back(static_cast<std::uint32_t>(place - laws.begin()));
  }
  write_array(calls, group, "law", law, "1", "its law, an index into law_name");
  write_texts(calls, group, "law_name", laws);
}

RecordedEdges read_edges(Calls& calls, hid_t device) {
  const Handle group = open_group(calls, device, "edges");
  RecordedEdges edges;
  edges.from = read_array<std::uint32_t>(calls, group, "from");
  edges.to = read_array<std::uint32_t>(calls, group, "to");
  const auto law = read_array<std::uint32_t>(calls, group, "law");
  const auto laws = read_texts(calls, group, "law_name");
  for (const std::uint32_t index : law) edges.law.push_back(laws.at(index));
  if (edges.to.size() != edges.from.size() || law.size() != edges.from.size())
    calls.fail("read 'edges'", "its columns differ in length");
  return edges;
}

// ---- where the experiment came from ---------------------------------------------------------------------

void write_source(Calls& calls, hid_t entry, const ExperimentSource& source) {
  const Handle group = create_group(calls, entry, "source", "NXcollection");
  write_text(calls, group, "path", source.path);
  write_text(calls, group, "data", source.data);
  write_texts(calls, group, "set", source.set);
  if (source.seed) write_number(calls, group, "seed", *source.seed, "1", "seed given on the command line");
}

ExperimentSource read_source(Calls& calls, hid_t entry) {
  const Handle group = open_group(calls, entry, "source");
  ExperimentSource source;
  source.path = read_text(calls, group, "path");
  source.data = read_text(calls, group, "data");
  source.set = read_texts(calls, group, "set");
  if (exists(calls, group, "seed")) source.seed = read_number<std::uint64_t>(calls, group, "seed");
  return source;
}

}  // namespace

void write_run(Calls& calls, hid_t entry, const LogHeader& header, std::uint64_t largest_copy) {
  if (header.task) write_task(calls, entry, *header.task, header.info.potential_unit, largest_copy);
  if (header.edges) write_edges(calls, entry, *header.edges);
  if (header.source) write_source(calls, entry, *header.source);
}

void read_run(Calls& calls, hid_t entry, LogHeader& header) {
  if (exists(calls, entry, "data")) header.task = read_task(calls, entry, header);
  const Handle device = open_group(calls, entry, "device");
  if (exists(calls, device, "edges")) header.edges = read_edges(calls, device);
  if (exists(calls, entry, "source")) header.source = read_source(calls, entry);
}

}  // namespace ness::log_layout
