#include "common_options.hpp"
#include "messages.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/mistakes.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "ness/device/error.hpp"

namespace ness {

void CommonOptions::add_set(Options& line) {
  line.add("--set", set,
           "set any key of the experiment, as in --set optimizer.rate=0.01; may be given again and again")
      .value_name("KEY=VALUE")
      .one_at_a_time();
  line.add("--seed", seed, "seed of initial parameters, order of samples and noise, instead of the file's")
      .value_name("N")
      .checked([](const std::string& text) {
        const bool whole =
            !text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos;
        return whole ? std::string() : "expected a whole number >= 0, found " + text;
      });
}

void CommonOptions::add_data(Options& line) {
  line.add("--data", data,
           "where data directories such as mnist/ are; else $NESS_DATA, ./data, ../shared/data")
      .value_name("DIR");
}

void CommonOptions::add_threads(Options& line) {
  line.add("--threads", threads,
           "threads to compute with; default: all cores. The results do not depend on it")
      .value_name("N")
      .within(1u, 4096u);
}

Experiment CommonOptions::recorded(const LogReader& log, const LoadOptions& load) const {
  Experiment experiment = with_threads(experiment_of(log, load));
  for (const std::string& note : experiment.notes) warn(log.path() + ": " + note);
  return experiment;
}

void CommonOptions::add_json(Options& line) {
  line.flag("--json", json, "results as one JSON object on standard output");
}

void add_bench_file(Options& line, std::string& path) {
  line.add("BENCH", path, "bench file (TOML)").required().value_name("FILE");
}

void add_set_of_bench(Options& line, std::vector<std::string>& set) {
  line.add("--set", set, "set any key of the bench file; may be repeated")
      .value_name("KEY=VALUE")
      .one_at_a_time();
}

bool told_mistakes(const Experiment& experiment, const Run& run, std::vector<std::string>* told) {
  bool fine = true;
  for (const Mistake& mistake : mistakes(experiment, run)) {
    if (mistake.refused) complain(mistake.text());
    else warn(mistake.text());
    if (told != nullptr) told->push_back(mistake.text());
    fine = fine && !mistake.refused;
  }
  return fine;
}

void refuse_existing_log(const std::string& path, const std::string& advice) {
  if (std::filesystem::exists(std::filesystem::symlink_status(path))) {
    throw LogError(path + ": exists already, and is not overwritten; " + advice);
  }
  // Found now, not when a bench is live.
  const std::filesystem::path directory = std::filesystem::absolute(path).parent_path();
  if (::access(directory.c_str(), W_OK | X_OK) != 0) {
    throw LogError(path + ": no log can be made in " + directory.string() + ": " + std::strerror(errno));
  }
}

}  // namespace ness
