#include "ness/runs/origin.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>
#include <vector>

#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"

namespace ness {

namespace {

std::map<std::string, std::size_t> places(const DeviceInfo& info, const std::string& whose) {
  std::map<std::string, std::size_t> all;
  for (std::size_t i = 0; i < info.parameters.size(); ++i) {
    if (!all.emplace(info.parameters[i].name, i).second)
      throw std::invalid_argument(whose + " has two parameters '" + info.parameters[i].name +
                                  "': they cannot be told apart by name");
  }
  return all;
}

// The names of `one` that `other` lacks: "3 of 12 (a[5], a[6], ..)"; empty: none.
std::string missing(const DeviceInfo& one, const std::map<std::string, std::size_t>& other) {
  constexpr std::size_t shown = 4;
  std::size_t count = 0;
  std::string names;
  for (const ParameterInfo& parameter : one.parameters) {
    if (other.contains(parameter.name)) continue;
    if (count < shown) names += (names.empty() ? "" : ", ") + parameter.name;
    ++count;
  }
  if (count == 0) return {};
  return std::to_string(count) + " of " + std::to_string(one.parameters.size()) + " (" + names +
         (count > shown ? ", .." : "") + ")";
}

// LOG and what stands behind its @.
std::pair<std::string, std::string> parts_of(const std::string& what) {
  const std::size_t at = what.rfind('@');
  if (at == std::string::npos || std::filesystem::exists(what)) return {what, "last"};
  const std::string which = what.substr(at + 1);
  const bool step =
      !which.empty() && which.size() < 19 && which.find_first_not_of("0123456789") == std::string::npos;
  if (!step && which != "best" && which != "last")
    throw std::invalid_argument("--from " + what + ": expected LOG, LOG@STEP, LOG@best or LOG@last, found @" +
                                which);
  return {what.substr(0, at), which};
}

}  // namespace

Vector theta_for(Run& run, const DeviceInfo& logged, const Vector& theta, const std::string& log) {
  const DeviceInfo info = run.space->narrowed(run.device().info());
  const auto there = places(logged, log), here = places(info, "the device");
  const std::string not_here = missing(logged, here), not_there = missing(info, there);
  if (!not_here.empty() || !not_there.empty()) {
    throw std::invalid_argument(
        log + ": its parameters are not those of this device:" +
        (not_here.empty() ? "" : " the device lacks " + not_here + " of the log's") +
        (!not_here.empty() && !not_there.empty() ? ", and" : "") +
        (not_there.empty() ? "" : " the log lacks " + not_there + " of the device's"));
  }
  if (theta.size() != static_cast<Eigen::Index>(logged.parameters.size()))
    throw LogError(log + ": holds " + std::to_string(theta.size()) + " values of " +
                   std::to_string(logged.parameters.size()) + " parameters");
  Vector taken(theta.size());
  std::string first;
  std::size_t outside = 0;
  for (std::size_t i = 0; i < info.parameters.size(); ++i) {
    const ParameterInfo& parameter = info.parameters[i];
    const double value = theta[static_cast<Eigen::Index>(there.at(parameter.name))];
    taken[static_cast<Eigen::Index>(i)] = value;
    if (parameter.range.contains(value)) continue;
    if (outside++ > 0) continue;
    first = parameter.name + " is " + number_text(value) + " there, outside of its range here, " +
            range_text(parameter.range);
    if (parameter.range.low == parameter.range.high)
      first += " (nothing sets it on this bench: it has the value that the experiment gives it)";
  }
  if (outside > 0)
    throw std::invalid_argument(log + ": " + first +
                                (outside > 1 ? "; and so are " + std::to_string(outside - 1) + " more" : ""));
  return taken;
}

LogOrigin origin_of(const std::string& what, Run& run) {
  const auto [path, which] = parts_of(what);
  const LogReader log(path);
  LoggedTheta found;
  if (which == "best") {
    constexpr std::uint64_t names_best = 5;  // the format since which a log needs no experiment for it
    found = best_logged_theta(log, log.format() >= names_best ? Experiment{} : experiment_of(log));
  } else if (which == "last") {
    found = logged_theta(log);
  } else {
    found = step_logged_theta(log, std::stoull(which));
  }
  return {path, found.kind, found.step, theta_for(run, log.header().info, found.theta, path)};
}

void begin_as_logged(Run& run, const LogHeader& header) {
  if (!header.from) return;
  if (header.from->theta.size() != run.theta.size())
    throw LogError("the log's run began with " + std::to_string(header.from->theta.size()) +
                   " parameters, its device has " + std::to_string(run.theta.size()));
  run.theta = header.from->theta;
}

}  // namespace ness
