#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "commands.hpp"
#include "ness/device/error.hpp"

namespace ness {

void CommonOptions::add_set(CLI::App& app) {
  // One value an option, so that a key never swallows the next argument.
  app.add_option("--set", set, "set any key of the experiment, as in --set optimizer.rate=0.01; may be given again and again")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--seed", seed, "seed of initial parameters, order of samples and noise, instead of the file's")
      ->type_name("N")
      ->check([](const std::string& text) {
        const bool whole = !text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos;
        return whole ? std::string() : "expected a whole number >= 0, found " + text;
      });
}

void CommonOptions::add_data(CLI::App& app) {
  app.add_option("--data", data, "where data directories such as mnist/ are; else $NESS_DATA, ./data, ../shared/data")
      ->type_name("DIR");
}

void CommonOptions::add_threads(CLI::App& app) {
  app.add_option("--threads", threads, "threads to compute with; default: all cores. The results do not depend on it")
      ->type_name("N")
      ->check(CLI::Range(1u, 4096u));
}

void CommonOptions::add_json(CLI::App& app) { app.add_flag("--json", json, "results as one JSON object on standard output"); }

void refuse_existing_log(const std::string& path, const std::string& advice) {
  if (std::filesystem::exists(std::filesystem::symlink_status(path))) {
    throw LogError(path + ": exists already, and is not overwritten; " + advice);
  }
  // Found now, not when a bench is live.
  const std::filesystem::path directory = std::filesystem::absolute(path).parent_path();
  if (::access(directory.c_str(), W_OK | X_OK) != 0) throw LogError(path + ": no log can be made in " + directory.string() + ": " + std::strerror(errno));
}

}  // namespace ness
