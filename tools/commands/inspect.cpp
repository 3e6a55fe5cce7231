// ness inspect: what a log holds, and whether it is whole.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "json.hpp"
#include "ness/runs/evaluations.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/progress.hpp"

namespace ness {

namespace {

using Json = nlohmann::ordered_json;

struct InspectOptions {
  std::string log;
  bool repair = false, json = false, quick = false, experiment = false;
  std::uint64_t steps = 0, rows = 0;
};

Json losses(const LogReader& log) {
  Json result = Json::object();
  if (log.steps() == 0) return result;
  double best = std::nan("");
  std::uint64_t best_step = 0;
  for (std::uint64_t i = 0; i < log.steps(); ++i) {
    const double loss = log.step(i).loss;
    if (std::isnan(loss) || loss >= best) continue;
    best = loss;
    best_step = i;
  }
  result["first"] = json_number(log.step(0).loss);
  result["last"] = json_number(log.step(log.steps() - 1).loss);
  result["best"] = json_number(best);
  result["best_step"] = best_step;
  return result;
}

/// How many rows were of each quality.
Json qualities(const LogReader& log, const std::vector<std::uint64_t>& damaged) {
  std::map<std::string, std::uint64_t> histogram;
  for (std::uint64_t i = 0; i < log.rows(); ++i) {
    if (std::binary_search(damaged.begin(), damaged.end(), i)) continue;
    const LogRow row = log.row(i);
    ++histogram[row.fault.empty() ? to_string_flags(row.relaxation.quality.all()) : "failed attempt"];
  }
  Json result = Json::object();
  for (const auto& [flags, count] : histogram) result[flags] = count;
  return result;
}

Json step_json(const StepReport& step) {
  return {{"step", step.step},
          {"epoch", step.epoch},
          {"loss", json_number(step.loss)},
          {"correct", json_number(step.correct)},
          {"gradient_norm", json_number(step.gradient_norm)},
          {"rate", json_number(step.rate)},
          {"relaxations", step.relaxations},
          {"left_out", step.left_out},
          {"skipped", step.skipped},
          {"flags", to_string_flags(step.worst)},
          {"theta_before", digest_text(step.theta_before)},
          {"theta_after", digest_text(step.theta_after)}};
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

Json row_json(const LogRow& row, std::uint64_t index) {
  using Start = LogRow::StartKind;
  return {{"row", index},
          {"purpose", purpose_name(row.label.purpose)},
          {"step", row.label.step},
          {"sample", row.label.sample},
          {"position", row.label.position},
          {"theta", digest_text(row.theta_digest)},
          {"pattern_set", row.pattern_set},
          {"pattern_row", row.pattern_row},
          {"start", row.start == Start::rest ? "rest" : row.start == Start::present ? "present" : "from"},
          {"flags", to_string_flags(row.relaxation.quality.all())},
          {"potential", json_vector(row.relaxation.potential)},
          {"fault", row.fault}};
}

Json repair_json(const RepairReport& report) {
  return {{"was_truncated", report.was_truncated}, {"padded_bytes", report.padded_bytes},
          {"rows_kept", report.rows_kept},         {"rows_clipped", report.rows_clipped},
          {"steps_kept", report.steps_kept},       {"steps_clipped", report.steps_clipped},
          {"damaged_rows", report.damaged}};
}

Json inspected(const LogReader& log, const InspectOptions& options) {
  const LogHeader& header = log.header();
  Json result;
  result["log"] = options.log;
  result["status"] = to_string(log.status());
  result["reason"] = log.reason();
  result["cut_short"] = log.status() == ExitStatus::running;
  result["title"] = header.title;
  result["command"] = header.command;
  result["seed"] = header.seed;
  result["device"] = header.info.identity;
  result["vector_target"] = header.info.arithmetic;
  result["versions"] = Json::object();
  for (const auto& [name, version] : header.versions) result["versions"][name] = version;
  result["terminals"] = header.info.terminals.size();
  result["parameters"] = header.info.parameters.size();
  result["outputs_only"] = log.outputs_only();
  result["pattern_sets"] = Json::array();
  for (const auto& set : log.pattern_sets()) {
    result["pattern_sets"].push_back(
        {{"name", set.name}, {"rows", set.rows}, {"width", set.width}, {"path", set.path}, {"sha256", set.sha256}});
  }
  result["rows"] = log.rows();
  result["steps"] = log.steps();
  result["epochs"] = log.epochs();
  result["checkpoints"] = log.checkpoints();
  result["loss"] = losses(log);
  if (log.checkpoints() > 0) result["last_checkpoint_step"] = log.checkpoint(log.checkpoints() - 1).step;
  const LogReader::Ragged ragged = log.ragged();
  result["ragged"] = {{"rows", ragged.rows}, {"steps", ragged.steps}};
  if (!options.quick) {
    const std::vector<std::uint64_t> damaged = log.damaged_rows();
    result["damaged_rows"] = damaged;
    result["qualities"] = qualities(log, damaged);
  }
  for (std::uint64_t i = log.steps() - std::min(options.steps, log.steps()); i < log.steps(); ++i) {
    result["last_steps"].push_back(step_json(log.step(i)));
  }
  for (std::uint64_t i = log.rows() - std::min(options.rows, log.rows()); i < log.rows(); ++i) {
    result["last_rows"].push_back(row_json(log.row(i), i));
  }
  if (options.experiment) result["experiment"] = header.experiment;
  return result;
}

std::string number_text(const Json& number) { return number.is_null() ? "none" : short_number(number.get<double>()); }

void print_for_people(const Json& log) {
  const auto text = [&](const char* key) { return log[key].get<std::string>(); };
  const auto count = [&](const char* key) { return grouped(log[key].get<std::uint64_t>()); };
  std::printf("%s: \"%s\", seed %s\n", text("log").c_str(), text("title").c_str(), log["seed"].dump().c_str());
  if (log["cut_short"].get<bool>()) {
    std::printf("  status       cut short: no end was recorded (or it is being written now); what is counted is whole\n");
  } else {
    const std::string status = text("status"), reason = text("reason");
    std::printf("  status       %s\n", reason.starts_with(status) ? reason.c_str() : (status + ": " + reason).c_str());
  }
  std::printf("  command      %s\n", text("command").c_str());
  std::printf("  device       %s; %s terminals, %s parameters; vector target %s\n", text("device").c_str(),
              count("terminals").c_str(), count("parameters").c_str(), text("vector_target").c_str());
  for (const Json& set : log["pattern_sets"]) {
    std::printf("  patterns     %s: %s rows of %s levels, %s\n", set["name"].get<std::string>().c_str(),
                set["rows"].dump().c_str(), set["width"].dump().c_str(),
                set["path"].get<std::string>().empty() ? "stored here" : set["path"].get<std::string>().c_str());
  }
  std::printf("  counted      %s relaxations, %s steps, %s epochs, %s checkpoints%s\n", count("rows").c_str(),
              count("steps").c_str(), count("epochs").c_str(), count("checkpoints").c_str(),
              log["outputs_only"].get<bool>() ? "; rows hold the outputs alone" : "");
  if (!log["loss"].empty()) {
    std::printf("  loss         first %s, last %s, best %s (step %s)\n", number_text(log["loss"]["first"]).c_str(),
                number_text(log["loss"]["last"]).c_str(), number_text(log["loss"]["best"]).c_str(),
                log["loss"]["best_step"].dump().c_str());
  }
  if (log.contains("qualities")) {
    for (const auto& [flags, number] : log["qualities"].items()) {
      std::printf("  quality      %s: %s rows\n", flags.c_str(), grouped(number.get<std::uint64_t>()).c_str());
    }
    const Json& damaged = log["damaged_rows"];
    if (damaged.empty()) std::printf("  check        the CRC of every counted row is right\n");
    else std::printf("  check        %zu DAMAGED rows: the first is row %s\n", damaged.size(), damaged[0].dump().c_str());
  }
  if (log["ragged"]["rows"].get<std::uint64_t>() + log["ragged"]["steps"].get<std::uint64_t>() > 0) {
    std::printf("  uncounted    %s rows and %s steps lie beyond the counts: readers ignore them, --resume removes them\n",
                log["ragged"]["rows"].dump().c_str(), log["ragged"]["steps"].dump().c_str());
  }
  for (const char* list : {"last_steps", "last_rows"}) {
    if (!log.contains(list)) continue;
    for (const Json& entry : log[list]) std::printf("  %s\n", entry.dump().c_str());
  }
  if (log.contains("experiment")) std::printf("\n%s", text("experiment").c_str());
}

int inspect(const InspectOptions& options) {
  Json repair;
  if (options.repair) repair = repair_json(repair_log(options.log));
  const LogReader log(options.log);
  Json result = inspected(log, options);
  if (options.json) {
    if (options.repair) result["repair"] = repair;
    std::printf("%s\n", result.dump().c_str());
  } else {
    if (options.repair) {
      std::printf("repaired: %s; %s rows and %s steps kept, %s rows and %s steps beyond the counts removed\n",
                  repair["was_truncated"].get<bool>() ? (repair["padded_bytes"].dump() + " missing bytes were padded").c_str()
                                                      : "the file was not truncated",
                  repair["rows_kept"].dump().c_str(), repair["steps_kept"].dump().c_str(),
                  repair["rows_clipped"].dump().c_str(), repair["steps_clipped"].dump().c_str());
    }
    print_for_people(result);
  }
  return result.contains("damaged_rows") && !result["damaged_rows"].empty() ? ExitCode::failure : ExitCode::success;
}

}  // namespace

void add_inspect(CLI::App& app, Command& command) {
  CLI::App& inspector = *app.add_subcommand("inspect", "what a log holds, how the run ended, and whether every row is whole");
  auto options = std::make_shared<InspectOptions>();
  inspector.add_option("LOG", options->log, "the log; it may be in the making")->required()->type_name("LOG");
  inspector.add_flag("--repair", options->repair,
                     "pad a truncated file to its stored end, and remove what lies beyond the counts");
  inspector.add_option("--steps", options->steps, "show the last N training steps")->type_name("N");
  inspector.add_option("--rows", options->rows, "show the last N relaxations")->type_name("N");
  inspector.add_flag("--experiment", options->experiment, "show the experiment's text");
  inspector.add_flag("--quick", options->quick, "do not read every row: no check, no qualities");
  inspector.add_flag("--json", options->json, "results as one JSON object on standard output");
  inspector.footer(
      "Exit code 0 if every counted row is whole, 1 if one is damaged.\n"
      "\n"
      "Examples:\n"
      "  ness inspect xor.h5 --steps 3\n"
      "  ness inspect broken.h5 --repair");
  inspector.callback([options, &command] {
    command.heeds_stop = options->repair;
    command.run = [options] { return inspect(*options); };
  });
}

}  // namespace ness
