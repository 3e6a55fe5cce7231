// The only logger of relaxations, so that nobody can forget.
#pragma once

#include "ness/device/device.hpp"
#include "ness/record/log.hpp"
#include "ness/training/trainer.hpp"

namespace ness {

/// A device that writes every relaxation of another to the log, then forwards it: what was reported is logged, whatever
/// happens next. A failed attempt is a row with its fault. Also an observer that logs steps, epochs and checkpoints.
class Recorder final : public Device, public TrainingObserver {
 public:
  /// Keeps references to both.
  Recorder(Device& device, LogWriter& log);
  const DeviceInfo& info() const override { return device_.info(); }
  void seek(std::uint64_t ordinal) override { device_.seek(ordinal); }

  void on_step(const StepReport& report, const Vector& theta) override;
  void on_epoch(const EpochReport& report) override;
  void on_checkpoint(const Checkpoint& checkpoint) override;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;
  SafeReport do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) override;

 private:
  Device& device_;
  LogWriter& log_;
};

}  // namespace ness
