// Messages to the person at the terminal: on standard error, each beginning with "ness: ".
#pragma once

#include <string>

namespace ness {

void inform(const std::string& message);
void warn(const std::string& message);
/// An error, on one line.
void complain(const std::string& message);

/// How the user calls this command, for commands that are printed to be typed: $NESS_COMMAND (tools/run sets
/// it), else "ness".
std::string called();

}  // namespace ness
