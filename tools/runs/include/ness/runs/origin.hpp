// Parameters taken over from another log.
#pragma once

#include <string>

#include "ness/record/log.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/run.hpp"

namespace ness {

/// A log's parameters as those of a run's device: matched by name, in any order. Throws
/// std::invalid_argument, naming `log`, where a name is on one side alone, or a value is not within the
/// device's range (of a trained parameter: the experiment's, too).
Vector theta_for(Run& run, const DeviceInfo& logged, const Vector& theta, const std::string& log);

/// What "LOG", "LOG@STEP", "LOG@best" or "LOG@last" names, as the first parameters of a run. Throws LogError
/// where the log does not hold them, std::invalid_argument as theta_for.
LogOrigin origin_of(const std::string& what, Run& run);

/// A run that is rebuilt from its log begins with the parameters that it began with.
void begin_as_logged(Run& run, const LogHeader& header);

}  // namespace ness
