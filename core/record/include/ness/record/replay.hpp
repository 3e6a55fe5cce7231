// A log as a device: an experiment re-executes from what was recorded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "ness/device/device.hpp"
#include "ness/record/log.hpp"
#include "ness/training/trainer.hpp"

namespace ness {

class Recorder;

/// Answers each drive with the next recorded row, after comparing the drive with the recorded one field by
/// field (bits, not tolerances). A difference throws ReplayMismatch with the row and the difference. When the
/// rows run out: continues on `then` if given (a resumed run), else throws ReplayMismatch. Rows of failed
/// attempts answered nothing, and are passed over.
///
/// The drives of one call are a group. A device may relax those of a group together, and what it finds then
/// depends on which they are: by rounding, where a simulation relaxes in batches. So where the rows run out
/// within a group, `then` relaxes the whole group again: what is recorded of it is compared, every reading
/// bit by bit, and a difference throws ReplayMismatch; the rest goes on. A resumed run is then bit for bit
/// what it would have been. Not repeated are groups on a device that restores no states, and groups with a
/// start from the present state: a bench, which relaxes its drives one after another, has but one state, and
/// goes on with what is missing.
class Replay final : public Device {
 public:
  /// `sets` are the pattern sets of the experiment, in the header's order. Throws LogError where their
  /// digests differ from the recorded ones. Begins with relaxation number `first_row`
  /// (Checkpoint::relaxations). Keeps references to the log and to `then`.
  Replay(const LogReader& log, std::vector<std::shared_ptr<const PatternSet>> sets,
         std::uint64_t first_row = 0, Device* then = nullptr);
  /// Goes on with a device that is recorded: what it relaxes again is not recorded again.
  Replay(const LogReader& log, std::vector<std::shared_ptr<const PatternSet>> sets, std::uint64_t first_row,
         Recorder* then);
  /// From now on a row of a group that is relaxed again, and is not found as it is recorded, does not throw:
  /// the first one is reported, as the error would have been, and the recorded rows stand. That is so where
  /// the program, its vector target or the machine is another than the one that recorded: bits may differ.
  void report_other_bits(std::function<void(const std::string&)> report) { other_bits_ = std::move(report); }
  /// From now on `then` relaxes every group again, and every row is compared with what it finds.
  void relax_everything_again() { everything_ = true; }
  /// As recorded; of an outputs-only log, only the outputs are readable.
  const DeviceInfo& info() const override { return info_; }
  /// The row of the log that answers next; that of `then` when it is log.rows().
  std::uint64_t next_row() const { return row_; }
  void seek(std::uint64_t ordinal) override;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;
  SafeReport do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) override;

 private:
  void pass_over_failed();
  std::uint32_t index_of(const Pattern& pattern) const;
  void compare(const Drive& drive, const LogRow& row) const;
  void compare_again(const Drive& drive, const Relaxation& again, std::uint64_t row);
  bool repeats(std::span<const Drive> drives) const;
  void relax_again(std::span<const Drive> drives, std::span<const std::uint64_t> answered, const Sink& sink,
                   std::stop_token stop);
  void go_on(std::span<const Drive> drives, std::span<const std::uint64_t> answered, const Sink& sink,
             std::stop_token stop);
  [[noreturn]] void refuse_to_go_on() const;
  const LogReader& log_;
  std::vector<std::shared_ptr<const PatternSet>> sets_;
  DeviceInfo info_;
  std::vector<std::uint64_t> failed_;  // rows
  std::uint64_t row_ = 0, ordinal_ = 0;
  Device* then_;
  Recorder* recorder_ = nullptr;  // the same, if it records
  bool live_ = false;             // `then` knows the ordinal
  bool compares_ = true, everything_ = false;
  std::function<void(const std::string&)> other_bits_;
};

/// Compares every step with the recorded one: digests of theta before and after (also of the vector itself),
/// loss, gradient norm, relaxations; and of every epoch its loss and the choice of the best parameters. A
/// difference throws ReplayMismatch with the step or epoch. Steps, epochs and
/// checkpoints beyond the record go on to `then`, if given (a resumed run logs them).
class ReplayCheck final : public TrainingObserver {
 public:
  ReplayCheck(const LogReader& log, std::uint64_t first_step = 0, TrainingObserver* then = nullptr);
  void on_step(const StepReport& report, const Vector& theta) override;
  void on_epoch(const EpochReport& report) override;
  void on_checkpoint(const Checkpoint& checkpoint) override;
  std::uint64_t steps_compared() const { return compared_; }

 private:
  const LogReader& log_;
  std::uint64_t first_step_, compared_ = 0;
  TrainingObserver* then_;
};

}  // namespace ness
