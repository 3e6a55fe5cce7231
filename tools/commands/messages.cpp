#include "messages.hpp"

#include <cstdlib>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace ness {

void start_messages() {
  auto logger = std::make_shared<spdlog::logger>("ness", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("ness: %v");
  spdlog::set_default_logger(std::move(logger));
}

void inform(const std::string& message) { spdlog::info("{}", message); }

void warn(const std::string& message) { spdlog::warn("warning: {}", message); }

void complain(const std::string& message) {
  std::string line = message;
  for (char& c : line) {
    if (c == '\n') c = ' ';
  }
  spdlog::error("{}", line);
}

std::string called() {
  const char* name = std::getenv("NESS_COMMAND");
  return name != nullptr && *name != '\0' ? name : "ness";
}

}  // namespace ness
