#include "messages.hpp"

#include <cstdio>
#include <cstdlib>

namespace ness {

namespace {

// One call a message: lines of several threads do not mix.
void say(const std::string& message) { std::fputs(("ness: " + message + "\n").c_str(), stderr); }

}  // namespace

void inform(const std::string& message) { say(message); }

void warn(const std::string& message) { say("warning: " + message); }

void complain(const std::string& message) {
  std::string line = message;
  for (char& c : line) {
    if (c == '\n') c = ' ';
  }
  say(line);
}

std::string called() {
  const char* name = std::getenv("NESS_COMMAND");
  return name != nullptr && *name != '\0' ? name : "ness";
}

}  // namespace ness
