// The only logger of relaxations, so that nobody can forget.
#pragma once

#include "ness/device/wrapping_device.hpp"
#include "ness/record/log.hpp"
#include "ness/training/trainer.hpp"

namespace ness {

/// A device that writes every relaxation of another to the log, then forwards it: what was reported is
/// logged, whatever happens next. A failed attempt is a row with its fault. Also an observer that logs steps,
/// epochs and checkpoints.
class Recorder final : public WrappingDevice, public TrainingObserver {
 public:
  /// Keeps references to both.
  Recorder(Device& device, LogWriter& log);

  /// The first `rows` relaxations of the next call are in the log already: they are forwarded, and not logged
  /// again.
  void pass_over(std::size_t rows) { logged_ = rows; }

  void on_step(const StepReport& report, const Vector& theta) override;
  void on_epoch(const EpochReport& report) override;
  void on_checkpoint(const Checkpoint& checkpoint) override;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;

 private:
  LogWriter& log_;
  std::size_t logged_ = 0;  // of the next call
};

}  // namespace ness
