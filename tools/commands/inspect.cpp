// ness inspect: what a log holds, and whether it is whole.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <stdexcept>

#include "command.hpp"
#include "results.hpp"
#include "ness/device/digest.hpp"
#include "ness/runs/evaluations.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/progress.hpp"
#include "ness/device/error.hpp"

namespace ness {

namespace {

struct InspectOptions {
  std::string log;
  bool repair = false, json = false, quick = false, experiment = false, bench = false;
  std::uint64_t steps = 0, rows = 0;
};

/// What `read` returns; nothing where the log is damaged there. That is reported elsewhere.
template <class Read>
auto if_whole(const Read& read) -> std::optional<decltype(read())> {
  try {
    return read();
  } catch (const LogError&) {
    return std::nullopt;
  }
}

/// Losses of minibatches. One over fewer samples than its minibatch has is marked, and is not the best.
Report losses(const LogReader& log) {
  Report result = Report::table();
  if (log.steps() == 0) return result;
  double best = std::nan("");
  std::uint64_t best_step = 0, partial = 0;
  for (std::uint64_t i = 0; i < log.steps(); ++i) {
    const auto step = if_whole([&] { return log.step(i); });
    if (!step) continue;
    if (step->left_out > 0) ++partial;
    if (!std::isfinite(step->loss) || step->left_out > 0 || step->loss >= best) continue;
    best = step->loss;
    best_step = i;
  }
  for (const auto& [name, at] : {std::pair{"first", std::uint64_t{0}}, {"last", log.steps() - 1}}) {
    const auto step = if_whole([&] { return log.step(at); });
    result[name] = step ? step->loss : std::nan("");
    if (step && step->left_out > 0) result[std::string(name) + "_left_out"] = step->left_out;
  }
  if (std::isfinite(best)) {
    result["best"] = best;
    result["best_step"] = best_step;
    const auto checkpoint = if_whole([&] { return checkpoint_at(log, best_step); });
    if (checkpoint && *checkpoint) result["best_checkpoint"] = **checkpoint;
  }
  if (partial > 0) result["steps_of_a_part"] = partial;
  return result;
}

/// The bench of the run, and what its instruments said they are.
Report statements_json(const BenchRecord::Statements& all) {
  Report result = Report::table();
  for (const auto& [name, value] : all) result[name] = value;
  return result;
}

Report check_json(const BenchCheck& check) {
  Report wires = Report::list(), readings = wires, steps = wires;
  for (const BenchCheck::Wire& one : check.wires) {
    Report wire{{"name", one.name},         {"verdict", one.verdict},   {"answered", one.answered},
                {"strength", one.strength}, {"expected", one.expected}, {"error", one.error},
                {"gain", one.gain},         {"misfit", one.misfit}};
    if (!one.of.empty()) wire["of"] = one.of;
    if (one.conductance) wire["conductance"] = *one.conductance;
    wires.add(std::move(wire));
  }
  for (const BenchCheck::Reading& one : check.readings) {
    Report reading{{"name", one.name},
                   {"verdict", one.verdict},
                   {"offset", one.offset},
                   {"offset_error", one.offset_error},
                   {"noise", one.noise}};
    if (!one.of.empty()) reading["of"] = one.of;
    readings.add(std::move(reading));
  }
  for (const BenchCheck::Step& one : check.steps) {
    Report step{{"channel", one.channel}, {"reading", one.reading}, {"change", one.change}};
    if (one.tau) step["tau"] = *one.tau;
    else step["faster_than"] = one.bound;
    steps.add(std::move(step));
  }
  return {{"wires", wires},
          {"readings", readings},
          {"steps", steps},
          {"warnings", check.warnings},
          {"undecided", check.undecided},
          {"relaxations", check.relaxations}};
}

/// `whole`: with the file, the settings, and what the check found.
Report bench_json(const BenchRecord& bench, bool whole) {
  Report result{{"path", bench.path}};
  for (const BenchRecord::Instrument& one : bench.instruments) {
    Report instrument{
        {"name", one.name}, {"model", one.model}, {"address", one.address}, {"identity", one.identity}};
    if (!one.calibration.empty()) instrument["calibration"] = statements_json(one.calibration);
    if (whole) {
      instrument["settings_start"] = statements_json(one.settings_start);
      instrument["settings_end"] = statements_json(one.settings_end);
    }
    result["instruments"].add(std::move(instrument));
  }
  if (!whole) return result;
  if (bench.check) result["check"] = check_json(*bench.check);
  result["file"] = bench.text;
  return result;
}

/// The best parameters, as the run chose them; an empty table where it chose none.
Report best_of_run(const LogReader& log) {
  Report result = Report::table();
  if (log.epochs() == 0 || log.format() < 5) return result;
  const auto epoch = if_whole([&] { return log.epoch(log.epochs() - 1); });
  if (!epoch) return result;
  const Best best = epoch->best_so_far;
  if (best.by == BestBy::none) return result;
  result = {{"by", to_string(best.by)}, {"loss", best.loss}, {"step", best.step}, {"epoch", best.epoch}};
  const auto checkpoint = if_whole([&] { return checkpoint_at(log, best.step); });
  if (checkpoint && *checkpoint) result["checkpoint"] = **checkpoint;
  return result;
}

/// The loss of the last epoch: the mean over its samples.
Report last_epoch(const LogReader& log) {
  Report result = Report::table();
  if (log.epochs() == 0) return result;
  const auto found = if_whole([&] { return log.epoch(log.epochs() - 1); });
  if (!found) return result;
  const EpochReport& epoch = *found;
  result["epoch"] = epoch.epoch;
  result["loss"] = epoch.loss;
  if (log.format() < 5) return result;
  result["samples"] = epoch.samples;
  result["left_out"] = epoch.left_out;
  if (epoch.left_out > 0) result["loss_is_of_a_part"] = true;
  if (epoch.validated) result["validation_loss"] = epoch.validation_loss;
  if (epoch.validation_left_out > 0) result["validation_left_out"] = epoch.validation_left_out;
  return result;
}

/// How many rows were of each quality.
Report qualities(const LogReader& log, const std::vector<std::uint64_t>& damaged) {
  std::map<std::string, std::uint64_t> histogram;
  for (std::uint64_t i = 0; i < log.rows(); ++i) {
    if (std::binary_search(damaged.begin(), damaged.end(), i)) continue;
    const LogRow row = log.row(i);
    ++histogram[row.fault.empty() ? to_string_flags(row.relaxation.quality.all()) : "failed attempt"];
  }
  Report result = Report::table();
  for (const auto& [flags, count] : histogram) result[flags] = count;
  return result;
}

/// The data sets of the run. `check`: those that are whole in the log are compared with their digests.
Report sets_of(const LogReader& log, bool check) {
  Report all = Report::list();
  if (!log.header().task) return all;
  for (const RecordedSet& set : log.header().task->sets) {
    const LogReader::SetInfo& levels = log.pattern_sets()[set.pattern_set];
    Report one{{"name", set.name},
               {"samples", set.samples},
               {"pattern_set", set.pattern_set},
               {"levels_stored", levels.stored},
               {"targets_stored", set.data.size() == set.samples},
               {"file", levels.path},
               {"digest", digest_text(set.digest)}};
    if (check && set.whole()) one["intact"] = set.data.digest() == set.digest;
    all.add(one);
  }
  return all;
}

bool damaged_data(const Report& log) {
  const Report::List& sets = log["data"].values();
  return std::any_of(sets.begin(), sets.end(),
                     [](const Report& set) { return set.contains("intact") && !set["intact"].truth(); });
}

Report step_json(const StepReport& step) {
  Report result{{"step", step.step},
                {"epoch", step.epoch},
                {"loss", step.loss},
                {"correct", step.correct},
                {"gradient_norm", step.gradient_norm},
                {"rate", step.rate},
                {"relaxations", step.relaxations},
                {"left_out", step.left_out},
                {"skipped", step.skipped},
                {"flags", to_string_flags(step.worst)},
                {"theta_before", digest_text(step.theta_before)},
                {"theta_after", digest_text(step.theta_after)}};
  // An error that is not stated has no field.
  if (std::isfinite(step.reading_error)) result["reading_error"] = step.reading_error;
  if (std::isfinite(step.whole_error)) result["whole_error"] = step.whole_error;
  return result;
}

const char* purpose_name(Label::Purpose purpose) {
  switch (purpose) {
    case Label::Purpose::none: return "none";
    case Label::Purpose::train: return "train";
    case Label::Purpose::validation: return "validation";
    case Label::Purpose::test: return "test";
    case Label::Purpose::probe: return "probe";
  }
  return "unknown";
}

/// The potentials of a row in order; where some were not read, those that were by their position.
Report readings(const Vector& potential) {
  if (potential.allFinite()) return report_of(potential);
  Report some = Report::table();
  for (Eigen::Index i = 0; i < potential.size(); ++i) {
    if (std::isfinite(potential[i])) some[std::to_string(i)] = potential[i];
  }
  return some;
}

Report row_json(const LogRow& row, std::uint64_t index) {
  using Start = LogRow::StartKind;
  return {{"row", index},
          {"purpose", purpose_name(row.label.purpose)},
          {"step", row.label.step},
          {"sample", row.label.sample},
          {"position", row.label.position},
          {"theta", digest_text(row.theta_digest)},
          {"pattern_set", row.pattern_set},
          {"pattern_row", row.pattern_row},
          {"start", row.start == Start::rest      ? "rest"
                    : row.start == Start::present ? "present"
                                                  : "from"},
          {"flags", to_string_flags(row.relaxation.quality.all())},
          {"potential", readings(row.relaxation.potential)},
          {"fault", row.fault}};
}

Report repair_json(const RepairReport& report) {
  Report result{{"was_truncated", report.was_truncated},
                {"padded_bytes", report.padded_bytes},
                {"rows_kept", report.rows_kept},
                {"rows_clipped", report.rows_clipped},
                {"steps_kept", report.steps_kept},
                {"steps_clipped", report.steps_clipped},
                {"epochs_kept", report.epochs_kept},
                {"epochs_clipped", report.epochs_clipped},
                {"checkpoints_kept", report.checkpoints_kept},
                {"checkpoints_clipped", report.checkpoints_clipped},
                {"damaged_rows", report.damaged}};
  result["mended"] = Report::list();
  for (const std::string& one : report.mended) result["mended"].add(one);
  result["lost"] = Report::list();
  for (const std::string& one : report.lost) result["lost"].add(one);
  if (!report.damaged_file.empty()) result["damaged_file"] = report.damaged_file;
  return result;
}

Report inspected(const LogReader& log, const InspectOptions& options) {
  const LogHeader& header = log.header();
  Report result;
  result["log"] = options.log;
  result["status"] = to_string(log.status());
  result["reason"] = log.reason();
  result["cut_short"] = log.status() == ExitStatus::running;
  result["title"] = header.title;
  result["command"] = header.command;
  result["seed"] = header.seed;
  result["device"] = header.info.identity;
  result["vector_target"] = header.info.arithmetic;
  result["versions"] = Report::table();
  for (const auto& [name, version] : header.versions) result["versions"][name] = version;
  result["terminals"] = header.info.terminals.size();
  result["parameters"] = header.info.parameters.size();
  result["outputs_only"] = log.outputs_only();
  result["pattern_sets"] = Report::list();
  for (const auto& set : log.pattern_sets()) {
    result["pattern_sets"].add({{"name", set.name},
                                {"rows", set.rows},
                                {"width", set.width},
                                {"stored", set.stored},
                                {"path", set.path},
                                {"sha256", set.sha256}});
  }
  result["data"] = sets_of(log, !options.quick);
  if (header.edges) result["edges"] = header.edges->from.size();
  if (header.source) {
    Report source{{"path", header.source->path}, {"set", header.source->set}};
    if (header.source->seed) source["seed"] = *header.source->seed;
    result["experiment_file"] = source;
  }
  result["rows"] = log.rows();
  result["steps"] = log.steps();
  result["epochs"] = log.epochs();
  result["checkpoints"] = log.checkpoints();
  result["loss"] = losses(log);
  result["last_epoch"] = last_epoch(log);
  result["best"] = best_of_run(log);
  if (log.checkpoints() > 0) {
    if (const auto last = if_whole([&] { return log.checkpoint(log.checkpoints() - 1); }))
      result["last_checkpoint_step"] = last->step;
  }
  const LogReader::Ragged ragged = log.ragged();
  result["ragged"] = {{"rows", ragged.rows}, {"steps", ragged.steps}};
  if (!options.quick) {
    const std::vector<std::uint64_t> damaged = log.damaged_rows();
    result["damaged_rows"] = damaged;
    result["damaged_steps"] = log.damaged_steps();
    result["damaged_epochs"] = log.damaged_epochs();
    result["damaged_checkpoints"] = log.damaged_checkpoints();
    result["damaged_parts"] = Report::list();
    for (const std::string& part : log.damaged_parts()) result["damaged_parts"].add(part);
    result["qualities"] = qualities(log, damaged);
  }
  for (std::uint64_t i = log.steps() - std::min(options.steps, log.steps()); i < log.steps(); ++i) {
    if (const auto step = if_whole([&] { return log.step(i); })) result["last_steps"].add(step_json(*step));
  }
  for (std::uint64_t i = log.rows() - std::min(options.rows, log.rows()); i < log.rows(); ++i) {
    if (const auto row = if_whole([&] { return log.row(i); })) result["last_rows"].add(row_json(*row, i));
  }
  if (options.experiment) result["experiment"] = header.experiment;
  if (header.from)
    result["from"] = {{"path", header.from->path},
                      {"parameters", header.from->kind},
                      {"step", header.from->step},
                      {"theta_digest", digest_text(digest(header.from->theta))}};
  if (options.bench && !header.bench)
    throw std::invalid_argument(
        log.path() + ": holds no bench file: its run was a simulation, or was made before logs held them");
  if (header.bench) result["bench"] = bench_json(*header.bench, options.bench);
  for (const BenchContinuation& one : header.continued) {
    Report now = bench_json(one.bench, options.bench);
    now["time"] = one.time;
    now["first_row"] = one.first_row;
    now["differences"] = one.differences;
    result["bench"]["continued"].add(std::move(now));
  }
  return result;
}

std::string number_text(const Report& number) {
  return number.is_nothing() ? "none" : short_number(number.number());
}

void print_losses(const Report& log) {
  const Report& loss = log["loss"];
  const auto part = [&loss](const char* key) {
    return loss.contains(key) ? " of a part (" + loss[key].json() + " left out)" : std::string();
  };
  std::printf("  loss         of a step: first %s%s, last %s%s", number_text(loss["first"]).c_str(),
              part("first_left_out").c_str(), number_text(loss["last"]).c_str(),
              part("last_left_out").c_str());
  if (loss.contains("best")) {
    std::printf(
        ", lowest %s (step %s%s)", number_text(loss["best"]).c_str(), loss["best_step"].json().c_str(),
        loss.contains("best_checkpoint") ? (", checkpoint " + loss["best_checkpoint"].json()).c_str() : "");
  }
  std::printf("\n");
  if (loss.contains("steps_of_a_part"))
    std::printf("  left out     samples in %s of the steps: their losses are those of the other samples\n",
                grouped(loss["steps_of_a_part"].count()).c_str());
  const Report& epoch = log["last_epoch"];
  if (epoch.contains("samples")) {
    std::printf("  last epoch   loss %s, the mean over %s samples%s\n", number_text(epoch["loss"]).c_str(),
                grouped(epoch["samples"].count()).c_str(),
                epoch["left_out"].count() > 0
                    ? ("; " + grouped(epoch["left_out"].count()) + " were left out").c_str()
                    : "");
  }
  const Report& best = log["best"];
  if (!best.fields().empty()) {
    std::printf(
        "  best         %s %s, parameters after %s steps%s\n", best["by"].text().c_str(),
        number_text(best["loss"]).c_str(), grouped(best["step"].count()).c_str(),
        best.contains("checkpoint") ? (" (checkpoint " + best["checkpoint"].json() + ")").c_str() : "");
  }
}

/// What differs between the start and the end is marked; what was set to one value all the time is one line.
void print_settings(const Report& bench) {
  if (!bench.contains("instruments")) return;
  for (const Report& one : bench["instruments"].values()) {
    std::printf("\n  settings of %s\n", one["name"].text().c_str());
    if (one.contains("calibration")) {
      for (const auto& [name, value] : one["calibration"].fields())
        std::printf("    %-28s %s\n", name.c_str(), value.text().c_str());
    }
    const Report &start = one["settings_start"], &end = one["settings_end"];
    for (const auto& [name, value] : start.fields()) {
      const std::string now = end.contains(name) ? end[name].text() : value.text();
      std::printf("    %-28s %s%s\n", name.c_str(), value.text().c_str(),
                  now == value.text() ? "" : (" at the start, " + now + " at the end").c_str());
    }
    for (const auto& [name, value] : end.fields()) {
      if (!start.contains(name)) std::printf("    %-28s %s at the end\n", name.c_str(), value.text().c_str());
    }
    if (end.fields().empty()) std::printf("    (not read at the end: the run did not come to it)\n");
  }
}

void print_check(const Report& check) {
  std::printf("\n  check of the cables, %s relaxations\n", grouped(check["relaxations"].count()).c_str());
  for (const Report& wire : check["wires"].values())
    std::printf("    %-16s %-14s gain %s, %s kT of %s expected\n", wire["name"].text().c_str(),
                wire["verdict"].text().c_str(), number_text(wire["gain"]).c_str(),
                number_text(wire["strength"]).c_str(), number_text(wire["expected"]).c_str());
  for (const Report& reading : check["readings"].values())
    std::printf("    %-16s %-14s offset %s +- %s kT, noise %s kT\n", reading["name"].text().c_str(),
                reading["verdict"].text().c_str(), number_text(reading["offset"]).c_str(),
                number_text(reading["offset_error"]).c_str(), number_text(reading["noise"]).c_str());
  for (const Report& warning : check["warnings"].values()) std::printf("    %s\n", warning.text().c_str());
}

void print_bench(const Report& bench) {
  print_settings(bench);
  if (bench.contains("check")) print_check(bench["check"]);
  if (bench.contains("continued")) {
    for (const Report& one : bench["continued"].values()) {
      std::printf("\n  continued at %s, from row %s\n", one["time"].text().c_str(),
                  one["first_row"].json().c_str());
      for (const Report& line : one["differences"].values())
        std::printf("    changed: %s\n", line.text().c_str());
      print_settings(one);
      if (one.contains("check")) print_check(one["check"]);
      if (!one["differences"].values().empty()) std::printf("\n%s", one["file"].text().c_str());
    }
  }
  std::printf("\n%s", bench["file"].text().c_str());
}

void print_for_people(const Report& log) {
  const auto text = [&](const char* key) { return log[key].text(); };
  const auto count = [&](const char* key) { return grouped(log[key].count()); };
  std::printf("%s: \"%s\", seed %s\n", text("log").c_str(), text("title").c_str(),
              log["seed"].json().c_str());
  if (log["cut_short"].truth()) {
    std::printf(
        "  status       cut short: no end was recorded (or it is being written now); what is counted is "
        "whole\n");
  } else {
    const std::string status = text("status"), reason = text("reason");
    std::printf("  status       %s\n",
                reason.starts_with(status) ? reason.c_str() : (status + ": " + reason).c_str());
  }
  std::printf("  command      %s\n", text("command").c_str());
  std::printf("  device       %s; %s terminals, %s parameters; vector target %s\n", text("device").c_str(),
              count("terminals").c_str(), count("parameters").c_str(), text("vector_target").c_str());
  if (log.contains("from")) {
    const Report& from = log["from"];
    std::printf("  begun with   the parameters of %s (%s, after %s steps), digest %s\n",
                from["path"].text().c_str(), from["parameters"].text().c_str(),
                grouped(from["step"].count()).c_str(), from["theta_digest"].text().c_str());
  }
  if (log.contains("bench") && log["bench"].contains("instruments")) {
    for (const Report& one : log["bench"]["instruments"].values()) {
      std::printf("  instrument   %s: %s at %s\n", one["name"].text().c_str(), one["identity"].text().c_str(),
                  one["address"].text().c_str());
    }
  }
  for (const Report& set : log["pattern_sets"].values()) {
    const std::string& path = set["path"].text();
    const std::string origin =
        set["stored"].truth() ? "stored here" + (path.empty() ? "" : ", from " + path) : path;
    std::printf("  patterns     %s: %s rows of %s levels, %s\n", set["name"].text().c_str(),
                set["rows"].json().c_str(), set["width"].json().c_str(), origin.c_str());
  }
  for (const Report& set : log["data"].values()) {
    const bool levels = set["levels_stored"].truth(), targets = set["targets_stored"].truth();
    const bool damaged = set.contains("intact") && !set["intact"].truth();
    const std::string from =
        set["file"].text().empty() ? "made again from the experiment" : set["file"].text();
    std::printf("  data         %s: %s samples, %s, digest %s%s\n", set["name"].text().c_str(),
                set["samples"].json().c_str(),
                levels && targets ? "levels and targets stored here"
                : levels          ? ("levels stored here, targets by reference: " + from).c_str()
                : targets         ? ("targets stored here, levels by reference: " + from).c_str()
                                  : ("by reference: " + from).c_str(),
                set["digest"].text().c_str(), damaged ? ", DAMAGED" : "");
  }
  std::printf("  counted      %s relaxations, %s steps, %s epochs, %s checkpoints%s\n", count("rows").c_str(),
              count("steps").c_str(), count("epochs").c_str(), count("checkpoints").c_str(),
              log["outputs_only"].truth() ? "; rows hold the outputs alone" : "");
  if (!log["loss"].fields().empty()) print_losses(log);
  if (log.contains("qualities")) {
    for (const auto& [flags, number] : log["qualities"].fields()) {
      std::printf("  quality      %s: %s rows\n", flags.c_str(), grouped(number.count()).c_str());
    }
    bool whole = true;
    for (const auto& [key, what] : {std::pair{"damaged_rows", "row"},
                                    {"damaged_steps", "step"},
                                    {"damaged_epochs", "epoch"},
                                    {"damaged_checkpoints", "checkpoint"}}) {
      const auto& damaged = log[key].values();
      if (damaged.empty()) continue;
      whole = false;
      std::printf("  check        %zu DAMAGED %s%s: the first is %s\n", damaged.size(), what,
                  damaged.size() == 1 ? "" : "s", damaged[0].json().c_str());
    }
    for (const Report& part : log["damaged_parts"].values()) {
      whole = false;
      std::printf("  check        DAMAGED bookkeeping or header: %s\n", part.text().c_str());
    }
    if (whole) std::printf("  check        every CRC of header, bookkeeping and counted rows is right\n");
  }
  if (log["ragged"]["rows"].count() + log["ragged"]["steps"].count() > 0) {
    std::printf(
        "  uncounted    %s rows and %s steps lie beyond the counts: readers ignore them, --resume removes "
        "them\n",
        log["ragged"]["rows"].json().c_str(), log["ragged"]["steps"].json().c_str());
  }
  for (const char* list : {"last_steps", "last_rows"}) {
    if (!log.contains(list)) continue;
    for (const Report& entry : log[list].values()) std::printf("  %s\n", entry.json().c_str());
  }
  if (log.contains("experiment")) std::printf("\n%s", text("experiment").c_str());
  if (log.contains("bench") && log["bench"].contains("file")) print_bench(log["bench"]);
}

void print_repair(const Report& repair) {
  const auto count = [&](const char* key) { return grouped(repair[key].count()); };
  std::printf("repaired: %s; kept %s rows, %s steps, %s epochs, %s checkpoints\n",
              repair["was_truncated"].truth()
                  ? (count("padded_bytes") + " bytes are missing at its end").c_str()
                  : "the file was not truncated",
              count("rows_kept").c_str(), count("steps_kept").c_str(), count("epochs_kept").c_str(),
              count("checkpoints_kept").c_str());
  std::uint64_t removed = 0;
  for (const char* key : {"rows_clipped", "steps_clipped", "epochs_clipped", "checkpoints_clipped"})
    removed += repair[key].count();
  if (removed > 0)
    std::printf("  removed      %s rows, %s steps, %s epochs, %s checkpoints, beyond the counts or lost\n",
                count("rows_clipped").c_str(), count("steps_clipped").c_str(),
                count("epochs_clipped").c_str(), count("checkpoints_clipped").c_str());
  for (const Report& one : repair["mended"].values())
    std::printf("  put right    one wrong bit: %s\n", one.text().c_str());
  for (const Report& one : repair["lost"].values()) std::printf("  LOST         %s\n", one.text().c_str());
  if (repair.contains("damaged_file"))
    std::printf("  the file as it was is %s\n", repair["damaged_file"].text().c_str());
}

/// Whether something that was looked at is damaged.
bool damaged(const Report& log) {
  for (const char* key :
       {"damaged_rows", "damaged_steps", "damaged_epochs", "damaged_checkpoints", "damaged_parts"}) {
    if (log.contains(key) && !log[key].values().empty()) return true;
  }
  return false;
}

int inspect(const InspectOptions& options) {
  Report repair;
  if (options.repair) repair = repair_json(repair_log(options.log));
  const LogReader log(options.log);
  Report result = inspected(log, options);
  if (options.json) {
    if (options.repair) result["repair"] = repair;
    result.print_json();
  } else {
    if (options.repair) print_repair(repair);
    print_for_people(result);
  }
  return damaged(result) || damaged_data(result) ? ExitCode::failure : ExitCode::success;
}

}  // namespace

void declare_inspect(Options& line, const Command& command) {
  auto options = std::make_shared<InspectOptions>();
  line.add("LOG", options->log, "the log; it may be in the making").required().value_name("LOG");
  line.flag(
      "--repair", options->repair,
      "make a damaged file whole: single wrong bits are put right, a file that was cut is replaced by what "
      "is whole in it (and kept as LOG.damaged), what lies beyond the counts is removed");
  line.add("--steps", options->steps, "show the last N training steps").value_name("N");
  line.add("--rows", options->rows, "show the last N relaxations").value_name("N");
  line.flag("--experiment", options->experiment, "show the experiment's text");
  line.flag("--bench", options->bench,
            "show the bench that the run was made with: what its instruments were set to at the start and at "
            "the end, what its check found, what changed when the run went on, and its file");
  line.flag("--quick", options->quick, "do not read every row: no check, no qualities");
  line.flag("--json", options->json, "results as one JSON object on standard output");
  line.footer(
      "Exit code 0 if all that is counted is whole, 1 if some of it is damaged.\n"
      "\n"
      "Examples:\n"
      "  ness inspect xor.h5 --steps 3\n"
      "  ness inspect broken.h5 --repair");
  line.action([options, &command] {
    if (!options->repair) command.leave_at_first();
    return inspect(*options);
  });
}

}  // namespace ness
