#include "ness/runs/changes.hpp"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <stdexcept>

#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"
#include "ness/files/experiment.hpp"
#include "ness/files/text_file.hpp"
#include "ness/network/vector_target.hpp"
#include "ness/runs/logged_run.hpp"

namespace ness {

namespace {

// ---- data -----------------------------------------------------------------------------------------------

bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

std::string counted(std::uint64_t count, const char* of) { return std::to_string(count) + " " + of; }

/// One set, then and now.
class SetComparison {
 public:
  SetComparison(const RecordedSet& then, std::uint64_t levels_then, const Dataset& now)
      : then_(then), levels_then_(levels_then), now_(now), key_("data." + then.name) {}

  std::vector<Difference> differences() {
    if (then_.digest == now_.digest()) return {};
    if (then_.samples != now_.size()) {
      add(".rows", counted(then_.samples, "samples"), counted(now_.size(), "samples"));
      return found_;
    }
    if (then_.data.size() != then_.samples) {
      add("", "digest " + digest_text(then_.digest), "digest " + digest_text(now_.digest()));
      return found_;
    }
    compare_inputs();
    compare_targets();
    return found_;  // empty: the digest is also of rows of the pattern set that are not of this set
  }

 private:
  void add(const std::string& of, const std::string& then, const std::string& now,
           const std::string& where = {}) {
    found_.push_back({key_ + of, then, now, where});
  }

  std::string place(std::uint64_t sample, bool target, std::size_t column) const {
    const auto& origin = now_.origin ? now_.origin : then_.data.origin;
    std::string name = (target ? "target " : "level ") + std::to_string(column);
    if (origin) {
      const std::vector<std::string>& names = target ? origin->targets : origin->inputs;
      if (column < names.size()) name = "column '" + names[column] + "'";
    }
    return (now_.origin ? now_ : then_.data).where(sample) + ", " + name;
  }

  /// The first of the entries that differ, and how many do.
  template <class Then, class Now>
  void compare_entries(const char* of, bool target, std::size_t columns, const Then& then, const Now& now) {
    std::uint64_t count = 0;
    Difference first;
    for (std::uint64_t sample = 0; sample < then_.samples; ++sample) {
      const auto a = then(sample), b = now(sample);
      for (std::size_t column = 0; column < columns; ++column) {
        if (same_bits(a[column], b[column])) continue;
        if (count++ == 0)
          first = {key_ + of, number_text(a[column]), number_text(b[column]), place(sample, target, column)};
      }
    }
    if (count == 0) return;
    if (count > 1) first.where += "; the first of " + std::to_string(count);
    found_.push_back(first);
  }

  void compare_inputs() {
    if (!then_.data.inputs) {
      if (levels_then_ != now_.inputs->digest())
        add(".inputs", "digest " + digest_text(levels_then_), "digest " + digest_text(now_.inputs->digest()));
      return;
    }
    const PatternSet &then = *then_.data.inputs, &now = *now_.inputs;
    if (then.width() != now.width())
      return add(".inputs", counted(then.width(), "levels a sample"),
                 counted(now.width(), "levels a sample"));
    if (then.variants() != now.variants())
      return add(".inputs", counted(then.variants(), "variants"), counted(now.variants(), "variants"));
    const auto levels = [](const Dataset& of) {
      return [&of](std::uint64_t sample) {
        const Vector row = of.pattern(sample).levels();
        return std::vector<double>(row.begin(), row.end());
      };
    };
    compare_entries(".inputs", false, then.width(), levels(then_.data), levels(now_));
  }

  void compare_targets() {
    const auto then = then_.data.targets.cols(), now = now_.targets.cols();
    if (then != now)
      return add(".targets", counted(static_cast<std::uint64_t>(then), "targets a sample"),
                 counted(static_cast<std::uint64_t>(now), "targets a sample"));
    compare_entries(
        ".targets", true, static_cast<std::size_t>(then),
        [&](std::uint64_t sample) { return then_.data.target(sample); },
        [&](std::uint64_t sample) { return now_.target(sample); });
  }

  const RecordedSet& then_;
  std::uint64_t levels_then_;  // digest
  const Dataset& now_;
  std::string key_;
  std::vector<Difference> found_;
};

// ---- the experiment -------------------------------------------------------------------------------------

/// Its keys as a log holds them, as far as that can be said without its data: files by their absolute paths,
/// the network in it, what was learned from the data as it was then.
std::vector<Difference> key_differences(const std::string& then_text, Document now, const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  constexpr About nothing{"", ""};
  Table root = now.root();
  if (auto task = root.table("task")) {
    for (const char* key : {"train", "test"}) {
      std::string file;
      if (task->has(key) && task->text(key, file, nothing) && !file.empty())
        now.set_text(task->dotted(key), path_from(directory, file));
    }
  }
  if (auto network = root.table("network"); network && network->has("file")) {
    std::string file;
    network->text("file", file, nothing);
    const std::string text = text_of_file(path_from(directory, file), "a network file");
    now.erase("network.file");
    now.set_text("network.json", text);
  }
  std::vector<Difference> found = experiment_differences(then_text, now.text(), path);
  std::erase_if(found, [](const Difference& one) {
    return one.now.empty() && (one.key == "task.standard" || one.key == "task.labels");
  });
  return found;
}

}  // namespace

std::vector<Difference> data_differences(const LogReader& log, const Task& now) {
  const std::optional<RecordedTask>& recorded = log.header().task;
  if (!recorded) return {};
  std::vector<Difference> all;
  for (const auto& [name, set] : {std::pair<std::string, const Dataset*>{"train", &now.train},
                                  {"validation", &now.validation},
                                  {"test", &now.test}}) {
    const auto then = std::find_if(recorded->sets.begin(), recorded->sets.end(),
                                   [&name = name](const RecordedSet& one) { return one.name == name; });
    const bool was = then != recorded->sets.end() && then->samples > 0;
    const bool is = set->inputs && set->size() > 0;
    if (was && is) {
      const std::uint64_t levels = log.pattern_sets()[then->pattern_set].digest;
      for (Difference& one : SetComparison(*then, levels, *set).differences()) all.push_back(std::move(one));
    } else if (was != is) {
      all.push_back({"data." + name,
                     was ? counted(then->samples, "samples") : "",
                     is ? counted(set->size(), "samples") : "",
                     {}});
    }
  }
  return all;
}

std::vector<Difference> program_differences(const LogReader& log) {
  const auto versions = [](const std::vector<std::pair<std::string, std::string>>& of) {
    Values values;
    for (const auto& [software, version] : of) values["versions." + software] = version;
    return values;
  };
  std::vector<Difference> found = differences(versions(log.header().versions), versions(program_versions()));
  const std::string& recorded = log.header().info.arithmetic;
  const std::string here = sim::vector_target();
  if (!recorded.empty() && recorded != here && sim::equal_vector_target(recorded).empty())
    found.push_back({"device.arithmetic", recorded, here, {}});
  return found;
}

Changes changes_since(const LogReader& log, const std::shared_ptr<const Task>& logged,
                      const std::string& data) {
  Changes changes;
  changes.program = program_differences(log);
  const std::optional<ExperimentSource>& source = log.header().source;
  std::error_code none;
  // A pipe is read once.
  if (!source || !std::filesystem::is_regular_file(source->path, none)) return changes;
  const std::string& path = source->path;
  LoadOptions load{source->set, source->seed, data.empty() ? source->data : data};
  for (const LogReader::SetInfo& set : log.pattern_sets()) {
    if (load.recorded_data.empty() && !set.path.empty())
      load.recorded_data = std::filesystem::path(set.path).parent_path().string();
  }
  const std::string& then = log.header().experiment;
  const auto note = [&](const std::string& reason) {
    changes.notes.push_back(path + " cannot be read as it was when " + log.path() + " was begun (" + reason +
                            "): the run goes on as it was logged");
  };
  try {
    const Experiment now = load_experiment(path, load);
    changes.experiment = experiment_differences(then, now.text, path);
    changes.data = data_differences(log, *now.task);
    return changes;
  } catch (const std::exception& error) {
    note(error.what());
  }
  try {
    const std::string text = text_of_file(path, "an experiment file (TOML)");
    Document document = experiment_document(text, path, load);
    try {
      load.recorded_task = logged;
      document = Document(experiment_from_text(text, path, load).text, path);
    } catch (const std::exception&) {
    }  // its keys do not fit together any more: they are compared as they are
    changes.experiment = key_differences(then, document, path);
  } catch (const std::exception&) {}  // noted
  return changes;
}

std::vector<std::string> require_unchanged(const Changes& changes, std::span<const std::string> allowed,
                                           const std::string& log, bool more_may_be_found) {
  struct Section {
    const std::vector<Difference>& found;
    const char* name;
    bool logged;  // the run goes on with what the log holds
    const char *before, *after;
  };
  const Section sections[] = {
      {changes.bench, "bench", false, "the bench differs: ", ""},
      {changes.experiment, "experiment", true,
       "the experiment differs: ", "; the run goes on as it was logged"},
      {changes.data, "data set", true, "the data differ: ", "; the run goes on with those of its log"},
      {changes.program, "program", false, "the program differs: ", "; the run goes on with this one"},
  };
  std::vector<std::string> accepted;
  std::string refused, keys, another;  // the kind refused first
  bool logged = false;
  std::vector<bool> used(allowed.size(), false);
  for (const Section& section : sections) {
    for (const Difference& one : section.found) {
      bool allows = false;
      for (std::size_t i = 0; i < allowed.size(); ++i) {
        if (!named(one.key, allowed.subspan(i, 1))) continue;
        allows = used[i] = true;
      }
      if (allows) {
        accepted.push_back(section.before + one.text() + section.after);
      } else {
        refused += (refused.empty() ? " " : "; ") + one.text();
        keys += (keys.empty() ? "" : ",") + one.key;
        if (another.empty()) another = section.name;
        logged = logged || section.logged;
      }
    }
  }
  if (!refused.empty()) {
    std::string message =
        log + ": its run was begun with another " + another + " than is there now:" + refused;
    if (logged)
      message +=
          ". A run has one experiment and one data set: with --changed it goes on as it was logged, whatever "
          "the files say now. What changes them is a new run: ness train --from " +
          log + " EXPERIMENT";
    throw FileError(message + ". If that is meant: --changed " + keys);
  }
  for (std::size_t i = 0; i < allowed.size() && !more_may_be_found; ++i) {
    if (!used[i])
      throw FileError("--changed " + allowed[i] + ": nothing differs there from what " + log +
                      " was begun with");
  }
  return accepted;
}

}  // namespace ness
