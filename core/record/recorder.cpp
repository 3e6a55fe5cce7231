#include "ness/record/recorder.hpp"

#include <exception>
#include <limits>
#include <utility>

#include "ness/device/error.hpp"

namespace ness {
namespace {

Relaxation failed_attempt(const DeviceInfo& info) {
  Relaxation relaxation;
  relaxation.potential.setConstant(static_cast<Eigen::Index>(info.read().size()),
                                   std::numeric_limits<double>::quiet_NaN());
  relaxation.quality.raise(Flag::invalid);
  return relaxation;
}

// The device's error must be reported even if its row cannot be written: the log then refuses all further
// rows.
void record_failure(LogWriter& log, const DeviceInfo& info, const Drive& drive,
                    const std::string& fault) noexcept {
  try {
    log.append(drive, failed_attempt(info), fault);
    log.commit();
  } catch (const std::exception&) {}
}

}  // namespace

Recorder::Recorder(Device& device, LogWriter& log) : WrappingDevice(device), log_(log) {}

void Recorder::do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  const std::size_t logged = std::exchange(logged_, 0);
  std::size_t delivered = 0;
  bool in_device = true;  // errors of the log or the sink are not failures of the device
  try {
    pass_on(
        inner(), drives,
        [&](std::size_t index, const Relaxation& relaxation) {
          in_device = false;
          if (index >= logged) {
            log_.append(drives[index], relaxation);
            log_.tick();
          }
          ++delivered;
          sink(index, relaxation);
          in_device = true;
        },
        stop);
  } catch (const Cancelled&) {
    throw;
  } catch (const std::exception& error) {
    if (in_device && delivered < drives.size()) record_failure(log_, info(), drives[delivered], error.what());
    throw;
  } catch (...) {
    if (in_device && delivered < drives.size())
      record_failure(log_, info(), drives[delivered], "unknown error");
    throw;
  }
}

void Recorder::on_step(const StepReport& report, const Vector& theta) {
  log_.append(report, theta);
  log_.tick();
}

void Recorder::on_epoch(const EpochReport& report) {
  log_.append(report);
  log_.tick();
}

void Recorder::on_checkpoint(const Checkpoint& checkpoint) {
  log_.append(checkpoint);
  log_.submit();
}

}  // namespace ness
