#include "relaxation_fields.hpp"
#include "log_writer_lock.hpp"
#include "ness/device/error.hpp"
#include "ness/record/log.hpp"

namespace ness {
namespace {

// Clips a table; returns the number of rows removed because they were not counted.
template <class Record>
std::uint64_t clip(hdf5::Calls& calls, hid_t file, const log_layout::Layout& layout, const char* name,
                   std::uint64_t counted) {
  const hdf5::Handle group = hdf5::open_group(calls, file, name);
  const hdf5::TableShape shape = log_layout::shape<Record>(layout);
  const std::uint64_t stored = hdf5::stored_rows(calls, group, shape);
  hdf5::clip_table(calls, group, shape, counted);
  return stored - counted;
}

}  // namespace

RepairReport repair_log(const std::string& path) {
  log_layout::stored_end(path);  // throws for files that are not logs, before a lock file is made
  const WriterLock lock(path);
  const log_layout::StoredEnd end = log_layout::stored_end(path);
  log_layout::mend_end(path, end);
  RepairReport report;
  report.padded_bytes = end.missing();
  report.was_truncated = report.padded_bytes > 0;
  {
    const hdf5::Turn turn;
    hdf5::Calls calls(path, hdf5::Calls::Use::writing);
    hdf5::Handle file = hdf5::open_to_write(calls);
    log_layout::check_format(calls, file);
    const log_layout::Counts counts = log_layout::read_counts(calls, file);
    const log_layout::Layout layout = log_layout::read_layout(calls, file);
    report.rows_kept = counts.relaxations;
    report.steps_kept = counts.steps;
    report.rows_clipped =
        clip<LogRow>(calls, file, layout, log_layout::relaxations_group, counts.relaxations);
    report.steps_clipped =
        clip<log_layout::StepRecord>(calls, file, layout, log_layout::training_group, counts.steps);
    clip<log_layout::EpochRecord>(calls, file, layout, log_layout::epochs_group, counts.epochs);
    clip<Checkpoint>(calls, file, layout, log_layout::checkpoints_group, counts.checkpoints);
    calls(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush the file");
    file.close("close the file");
  }
  report.damaged = LogReader(path).damaged_rows();
  return report;
}

}  // namespace ness
