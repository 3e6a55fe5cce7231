#include "messages.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cstdlib>
#include <memory>

namespace ness {

namespace {

// One line a message, whole, from whichever thread.
spdlog::logger& messages() {
  static spdlog::logger logger = [] {
    spdlog::logger made("ness", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern("ness: %v");
    made.flush_on(spdlog::level::info);
    return made;
  }();
  return logger;
}

}  // namespace

void inform(const std::string& message) { messages().info("{}", message); }

void warn(const std::string& message) { messages().warn("warning: {}", message); }

void complain(const std::string& message) {
  std::string line = message;
  for (char& c : line) {
    if (c == '\n') c = ' ';
  }
  messages().error("{}", line);
}

std::string called() {
  const char* name = std::getenv("NESS_COMMAND");
  return name != nullptr && *name != '\0' ? name : "ness";
}

}  // namespace ness
