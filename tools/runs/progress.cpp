#include "ness/runs/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace ness {

Progress::Progress(std::uint64_t epochs, std::uint64_t steps_per_epoch, bool quiet, std::uint64_t first_step)
    : quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      epochs_(epochs),
      steps_per_epoch_(steps_per_epoch),
      first_step_(first_step) {
  shown_ = started_;
}

Progress::~Progress() { clear(); }

double Progress::seconds() const { return std::chrono::duration<double>(Clock::now() - started_).count(); }

void Progress::on_step(const StepReport& report, const Vector&) {
  if (!any_) {
    // The rate is over what this process did: a first step's own relaxations are those since the one before
    // it.
    first_relaxations_ = report.step == 0 ? 0 : report.relaxations;
    any_ = true;
  }
  last_ = report;
  if (watches_ && report.left_out > 0) warn_of_left_out(report);
  show(false);
}

void Progress::watch(TerminalName name) {
  name_ = std::move(name);
  watches_ = true;
}

void Progress::warn_of_left_out(const StepReport& report) {
  constexpr double soon = 10, later = 60;  // s
  unsaid_ += report.left_out;
  // New reasons are said soon, the same ones again later.
  std::vector<LeftOut> causes = report.causes;
  for (LeftOut& cause : causes) cause.samples = 0;
  std::sort(causes.begin(), causes.end(), [](const LeftOut& a, const LeftOut& b) {
    return std::pair(a.terminal, a.flags) < std::pair(b.terminal, b.flags);
  });
  const auto time = Clock::now();
  if (warned_) {
    const double since = std::chrono::duration<double>(time - *warned_).count();
    if (since < (causes == warned_of_ ? later : soon)) return;
  }
  clear();
  std::fprintf(
      stderr, "ness: warning: step %llu: %u of %u samples left out: %s%s\n",
      static_cast<unsigned long long>(report.step), report.left_out, report.left_out + report.samples,
      left_out_text(report.causes, name_).c_str(),
      unsaid_ > report.left_out ? ("; " + grouped(unsaid_) + " since the last warning").c_str() : "");
  warned_ = time;
  warned_of_ = std::move(causes);
  unsaid_ = 0;
}

void Progress::on_epoch(const EpochReport& report) {
  if (!report.validated) return;
  validation_ =
      "  validation " +
      (std::isfinite(report.validation_loss) ? short_number(report.validation_loss) : "none settled") +
      (report.validation_left_out > 0 ? " of a part" : "") + (report.best ? " (best)" : "");
}

void Progress::say(const std::string& line) {
  if (quiet_) return;
  clear();
  std::fprintf(stderr, "%s\n", line.c_str());
}

void Progress::clear() {
  if (!line_open_) return;
  std::fputs("\r\033[K", stderr);
  line_open_ = false;
}

void Progress::show(bool now) {
  if (quiet_) return;
  const auto time = Clock::now();
  const double since = std::chrono::duration<double>(time - shown_).count();
  if (!now && since < (terminal_ ? 0.1 : 5.0)) return;
  shown_ = time;
  const double elapsed = seconds();
  const double done = static_cast<double>(last_.step + 1 - first_step_);
  const double left = static_cast<double>(epochs_ * steps_per_epoch_ - last_.step - 1) * elapsed / done;
  const double rate = static_cast<double>(last_.relaxations - first_relaxations_) / elapsed;
  std::string line = "epoch " + std::to_string(last_.epoch + 1) + "/" + std::to_string(epochs_);
  if (steps_per_epoch_ > 1) {
    line += "  step " + std::to_string(last_.step - last_.epoch * steps_per_epoch_ + 1) + "/" +
            std::to_string(steps_per_epoch_);
  }
  const std::string part = last_.left_out > 0 ? " of " + std::to_string(last_.samples) + "/" +
                                                    std::to_string(last_.samples + last_.left_out)
                                              : "";
  line += (std::isfinite(last_.loss) ? "  loss " + short_number(last_.loss) + part : "  no loss") +
          validation_ + "  " + grouped(static_cast<std::uint64_t>(std::llround(rate))) + " relaxations/s  " +
          duration_text(left) + " left";
  if (terminal_) {
    std::fprintf(stderr, "\r%s\033[K", line.c_str());
    line_open_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
}

std::string duration_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  const auto whole = static_cast<long>(std::llround(seconds));
  char text[48];
  if (whole < 60) std::snprintf(text, sizeof text, seconds < 10 ? "%.1f s" : "%.0f s", seconds);
  else if (whole < 3600) std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  else std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  return text;
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::ptrdiff_t i = static_cast<std::ptrdiff_t>(text.size()) - 3; i > 0; i -= 3) {
    text.insert(static_cast<std::size_t>(i), 1, ',');
  }
  return text;
}

std::string short_number(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", number);
  return text;
}

}  // namespace ness
