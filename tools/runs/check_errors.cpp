#include "check_errors.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "ness/drivers/bench.hpp"
#include "ness/drivers/role.hpp"
#include "ness/files/instrument_kind.hpp"
#include "ness/files/toml_table.hpp"
#include "ness/laboratory/wiring_check.hpp"

namespace ness {

namespace {

constexpr double combined_errors = 4;

std::optional<double> number_of(const std::string& toml) {
  if (toml.empty()) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(toml.c_str(), &end);
  return *end == '\0' && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::string unquoted(const std::string& name) {
  return name.size() > 1 && name.front() == '"' && name.back() == '"' ? name.substr(1, name.size() - 2)
                                                                      : name;
}

struct Side {
  Values keys;
  const BenchCheck* check;  // its own, or the other side's; null: neither was checked

  std::string text(const std::string& key) const {
    const auto found = keys.find(key);
    return found == keys.end() ? "" : found->second;
  }

  // Whether a wire reads, and sets nothing: the check writes volts to these alone.
  bool only_reads(const std::string& wire) const {
    const std::string instrument = unquoted(text("wiring." + wire + ".instrument"));
    const std::string model = unquoted(text("instruments." + instrument + ".model"));
    for (const InstrumentKind& kind : instrument_kinds()) {
      if (kind.name == model) return !drivers::sets_levels(kind.role);
    }
    return false;
  }

  std::optional<double> error_of_volts(const std::string& wire, double volts) const {
    if (check == nullptr || !only_reads(wire)) return std::nullopt;
    const auto reading =
        std::find_if(check->readings.begin(), check->readings.end(),
                     [&](const BenchCheck::Reading& one) { return one.name == unquoted(wire); });
    if (reading == check->readings.end()) return std::nullopt;
    const double volts_per_kT =
        number_of(text("scale.volts_per_kT")).value_or(drivers::BenchScale{}.volts_per_kT);
    // Three digits: uniform within half a step of the last.
    const double step = volts == 0 ? 0 : std::pow(10, std::floor(std::log10(std::abs(volts))) - 2);
    return std::hypot(reading->offset_error * volts_per_kT, step / std::sqrt(12.0));
  }

  double error_of_noise(double noise) const {
    const std::uint64_t readings = check != nullptr && check->noise_readings > 1
                                       ? check->noise_readings
                                       : WiringCheckOptions{}.noise_readings;
    const auto n = static_cast<double>(readings);
    return noise * std::sqrt(3 * n - 4) / (2 * (n - 1));
  }

  // `wire` empty: of the slowest of all.
  double error_of_tau(const std::string& wire, double tau) const {
    double in_noise = 0;
    if (check != nullptr) {
      double noise = 0, change = 0;
      for (const BenchCheck::Reading& reading : check->readings) {
        if (wire.empty() || reading.name == unquoted(wire)) noise = std::max(noise, reading.noise);
      }
      for (const BenchCheck::Step& step : check->steps) {
        if (!step.tau || (!wire.empty() && step.reading != unquoted(wire))) continue;
        change = change == 0 ? std::abs(step.change) : std::min(change, std::abs(step.change));
      }
      if (change > 0) in_noise = 7 * noise / change;
    }
    return tau * std::hypot(0.02, in_noise);
  }
};

std::optional<double> error_of(const Side& side, const std::string& key, double value) {
  if (key == "settle.noise") return side.error_of_noise(value);
  if (key == "settle.tau_max") return side.error_of_tau("", value);
  constexpr std::string_view wiring = "wiring.";
  if (!key.starts_with(wiring)) return std::nullopt;
  const std::size_t dot = key.rfind('.');
  if (dot < wiring.size()) return std::nullopt;
  const std::string wire = key.substr(wiring.size(), dot - wiring.size()), what = key.substr(dot + 1);
  if (what == "volts") return side.error_of_volts(wire, value);
  if (what == "tau_input" || what == "tau_gate") return side.error_of_tau(wire, value);
  return std::nullopt;
}

}  // namespace

std::vector<Difference> beyond_errors(std::vector<Difference> all, const BenchRecord& then,
                                      const BenchRecord& now) {
  const BenchCheck* const of_then = then.check ? &*then.check : nullptr;
  const BenchCheck* const of_now = now.check ? &*now.check : nullptr;
  const Side before{Document(then.text, then.path).values(), of_then != nullptr ? of_then : of_now};
  const Side after{Document(now.text, now.path).values(), of_now != nullptr ? of_now : of_then};
  std::erase_if(all, [&](Difference& one) {
    const bool volts = one.key.ends_with(".volts");  // 0 where there is no such key
    const std::optional<double> a = volts && one.then.empty() ? 0.0 : number_of(one.then),
                                b = volts && one.now.empty() ? 0.0 : number_of(one.now);
    if (!a || !b) return false;
    // An error that is a share of the value is that of one value, which both would be: their mean. That of
    // the larger would let a noise grow without a difference.
    const double then_value = volts ? *a : (*a + *b) / 2, now_value = volts ? *b : then_value;
    const std::optional<double> error_then = error_of(before, one.key, then_value),
                                error_now = error_of(after, one.key, now_value);
    if (!error_then || !error_now) return false;
    const double combined = std::hypot(*error_then, *error_now);
    if (std::abs(*a - *b) <= combined_errors * combined) return true;
    char text[80];
    std::snprintf(text, sizeof text, "more than 4 combined standard errors of %.3g apart", combined);
    one.where = text;
    return false;
  });
  return all;
}

}  // namespace ness
