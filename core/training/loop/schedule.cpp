#include "ness/training/schedule.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "ness/device/number_text.hpp"

namespace ness {
namespace {

void require(bool usable, const std::string& name, double value, const std::string& needed) {
  if (usable && std::isfinite(value)) return;
  throw std::invalid_argument("schedule: " + name + " " + number_text(value) + "; it must be " + needed);
}

ScheduleShape read_constant(Keys&) { return constant_rate(); }

ScheduleShape read_cosine(Keys& keys) {
  double final_factor = 0;
  keys.number("final_factor", final_factor, Number::not_negative,
              {"", "factor on the rate at the end of the run"});
  return cosine_rate(final_factor);
}

ScheduleShape read_step(Keys& keys) {
  double every = 0.5, factor = 0.1;
  keys.number(
      "step_every", every, Number::positive,
      {"fraction of the run", "after which the rate is multiplied by `step_factor`, again and again"});
  keys.number("step_factor", factor, Number::positive, {"", "factor on the rate each time"});
  return stepped_rate(every, factor);
}

ScheduleShape read_spsa(Keys& keys) {
  double stability = 0.1, power = 0.602;
  keys.number("stability", stability, Number::not_negative,
              {"fraction of the run", "A of Spall's gains, ((A + 1) / (A + k + 1))^power at step k"});
  keys.number("power", power, Number::not_negative, {"", "exponent of Spall's gains"});
  return spsa_rate(stability, power);
}

constexpr std::array table{
    ScheduleEntry{"constant", "the rate itself", read_constant},
    ScheduleEntry{"cosine", "a half-period of the cosine, down to `final_factor`", read_cosine},
    ScheduleEntry{"step", "smaller by a factor after each share of the run", read_step},
    ScheduleEntry{"spsa", "gains of stochastic approximation (Spall 1992)", read_spsa},
};

}  // namespace

std::span<const ScheduleEntry> schedule_table() { return table; }

ScheduleShape constant_rate() {
  return [](const RunPosition&) { return 1.0; };
}

ScheduleShape cosine_rate(double final_factor) {
  require(final_factor >= 0, "final_factor", final_factor, "finite and >= 0");
  return [final_factor](const RunPosition& at) {
    const double progress = std::min(1.0, (at.step - at.warm_up) / (at.total - at.warm_up));
    return final_factor + (1 - final_factor) * (1 + std::cos(std::numbers::pi * progress)) / 2;
  };
}

ScheduleShape stepped_rate(double every, double factor) {
  require(every > 0, "step_every", every, "a fraction of the run, > 0");
  require(factor > 0, "step_factor", factor, "finite and > 0");
  return [every, factor](const RunPosition& at) {
    const double passed = std::floor(at.step / (every * at.total) + 1e-9);  // 0.3 / 0.1 must give 3
    return std::pow(factor, passed);
  };
}

ScheduleShape spsa_rate(double stability, double power) {
  require(stability >= 0, "stability", stability, "a fraction of the run, >= 0");
  require(power >= 0, "power", power, "finite and >= 0");
  return [stability, power](const RunPosition& at) {
    const double A = stability * at.total;
    return std::pow((A + 1) / (A + std::floor(at.step - at.warm_up) + 1), power);
  };
}

std::string Schedule::problem() const {
  if (warm_up >= 0 && warm_up < 1) return {};
  return "warm_up " + number_text(warm_up) + "; it must be a fraction of the run, 0 <= warm_up < 1";
}

double Schedule::factor(std::uint64_t step, std::uint64_t total) const {
  if (total == 0) return 1;
  const double now = static_cast<double>(step), all = static_cast<double>(total), warm = warm_up * all;
  if (now < warm) return std::min(1.0, (now + 1) / warm);
  return shape({now, warm, all});
}

void Schedule::read(Keys& keys) {
  keys.number("warm_up", warm_up, Number::fraction,
              {"fraction of the run", "over which the rate grows linearly from its first step on, below 1"});
}

}  // namespace ness
