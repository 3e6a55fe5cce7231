// Progress on standard error: one line rewritten on a terminal, plain lines now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ness/training/trainer.hpp"

namespace ness {

/// Shows epoch, loss, rate of relaxations and time left, as a training observer. The only reader of a clock
/// around training.
class Progress final : public TrainingObserver {
 public:
  /// `quiet`: shows nothing. `first_step`: where a resumed run continues.
  Progress(std::uint64_t epochs, std::uint64_t steps_per_epoch, bool quiet, std::uint64_t first_step = 0);
  ~Progress() override;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// From now on warns, quiet or not, when samples are left out: at once when the reasons change, else now
  /// and then. `name` names the terminals.
  void watch(TerminalName name);

  void on_step(const StepReport& report, const Vector& theta) override;
  void on_epoch(const EpochReport& report) override;

  /// A line of its own, at once: what begins now.
  void say(const std::string& line);
  /// Removes the line: the end.
  void end() { clear(); }
  double seconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  void show(bool now);
  void warn_of_left_out(const StepReport& report);
  void clear();
  bool quiet_, terminal_;
  std::uint64_t epochs_, steps_per_epoch_, first_step_;
  Clock::time_point started_ = Clock::now(), shown_;
  StepReport last_;
  std::uint64_t first_relaxations_ = 0;
  bool any_ = false, line_open_ = false;
  std::string validation_;
  TerminalName name_;
  bool watches_ = false;
  std::vector<LeftOut> warned_of_;  // reasons of the last warning, in order
  std::optional<Clock::time_point> warned_;
  std::uint64_t unsaid_ = 0;  // samples left out since
};

/// "1:23:45", "3:07", "12 s".
std::string duration_text(double seconds);
/// "1,234,567".
std::string grouped(std::uint64_t number);
/// Six significant digits.
std::string short_number(double number);

}  // namespace ness
