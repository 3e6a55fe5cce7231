#include "log_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relaxation_fields.hpp"
#include "ness/device/error.hpp"

namespace ness {
namespace {

using hdf5::Calls;
using hdf5::Handle;
using hdf5::TableWriter;

void refuse_existing(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    throw LogError("the log '" + path +
                   "' exists already, and is not overwritten: give another name, or continue it");
  }
}

// Gives a new file its name, unless that has been given meanwhile.
void give_name(Calls& calls, const std::string& part) {
  const char* const name = calls.path().c_str();
  if (::renameat2(AT_FDCWD, part.c_str(), AT_FDCWD, name, RENAME_NOREPLACE) == 0) return;
  int reason = errno;
  refuse_existing(calls.path());
  // Not every file system can refuse to replace a file.
  if (reason == EINVAL) {
    if (::rename(part.c_str(), name) == 0) return;
    reason = errno;
  }
  calls.fail("give the new file its name", std::strerror(reason));
}

// Makes the file with all groups and datasets. It appears under its name only when complete.
Handle create_whole(Calls& calls, const LogHeader& header, const LogOptions& options, WriterLock& lock) {
  const std::string part = calls.path() + ".part";
  // The name is locked: what stands there is left by a process that was killed, or a link that was put there.
  ::unlink(part.c_str());
  try {
    Handle file = hdf5::create_file(calls, part);
    lock.take(part);
    log_layout::create(calls, file, header,
                       log_layout::layout_of(header.info, options.outputs_only, options.full_theta), options);
    calls(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush the new file");
    give_name(calls, part);
    return file;
  } catch (...) {
    ::unlink(part.c_str());
    throw;
  }
}

void refuse_missing_or_truncated(const std::string& path) {
  if (const std::uint64_t missing = log_layout::stored_end(path).missing(); missing > 0) {
    throw LogError(log_layout::truncation(path, missing));
  }
}

// The last writes of a killed writer may be beyond the stored end; HDF5 would use that space again.
Handle open_whole(Calls& calls) {
  {
    const Handle look = hdf5::open_to_read(calls);
    log_layout::check_format(calls, look);
  }
  log_layout::mend_end(calls.path(), log_layout::stored_end(calls.path()));
  return hdf5::open_to_write(calls);
}

}  // namespace

template <class Record>
TableWriter LogFile::table(const char* group, std::uint64_t rows) {
  return {calls_, hdf5::open_group(calls_, file_, group), log_layout::shape<Record>(layout_), rows};
}

LogFile::LogFile(const std::string& path, const LogHeader& header, const LogOptions& options)
    : calls_((refuse_existing(path), path), Calls::Use::writing),
      lock_(path),
      file_(create_whole(calls_, header, options, lock_)),
      layout_(log_layout::read_layout(calls_, file_)),
      sets_(log_layout::read_pattern_sets(calls_, file_)),
      relaxations_(table<LogRow>(log_layout::relaxations_group, 0)),
      training_(table<log_layout::StepRecord>(log_layout::training_group, 0)),
      epochs_(table<log_layout::EpochRecord>(log_layout::epochs_group, 0)),
      checkpoints_(table<Checkpoint>(log_layout::checkpoints_group, 0)) {
  open_counts();
}

LogFile::LogFile(const std::string& path)
    : calls_((refuse_missing_or_truncated(path), path), Calls::Use::writing),
      lock_(path),
      file_(open_whole(calls_)),
      counts_(log_layout::read_counts(calls_, file_)),
      layout_(log_layout::read_layout(calls_, file_)),
      sets_(log_layout::read_pattern_sets(calls_, file_)),
      relaxations_(table<LogRow>(log_layout::relaxations_group, counts_.relaxations)),
      training_(table<log_layout::StepRecord>(log_layout::training_group, counts_.steps)),
      epochs_(table<log_layout::EpochRecord>(log_layout::epochs_group, counts_.epochs)),
      checkpoints_(table<Checkpoint>(log_layout::checkpoints_group, counts_.checkpoints)) {
  if (counts_.relaxations > 0) recorded_ = last_recorded();
  write_exit(ExitStatus::running, "", "");
  open_counts();
}

void LogFile::open_counts() {
  committed_ = hdf5::open_dataset(calls_, file_, "committed");
  stored_ = log_layout::stored_end(lock_.file(), calls_.path());
  flush();
}

double LogFile::last_recorded() {
  hdf5::TableReader reader(calls_, hdf5::open_group(calls_, file_, log_layout::relaxations_group),
                           log_layout::shape<LogRow>(layout_), counts_.relaxations, 1);
  if (!reader.seek(counts_.relaxations - 1)) return 0;  // damaged: its time is not worth refusing the file
  LogRow record;
  log_layout::describe(reader, record, layout_);
  return record.recorded;
}

// What others did to the file while it is written would otherwise show when it is read, when all is lost.
log_layout::StoredEnd LogFile::still_whole() {
  struct stat status {};
  if (::fstat(lock_.file(), &status) != 0) calls_.fail("look at the file", std::strerror(errno));
  if (status.st_nlink == 0) calls_.fail("go on", "it has been deleted, or another file has taken its name");
  const log_layout::StoredEnd found = log_layout::stored_end(lock_.file(), calls_.path());
  if (found.size < stored_.end) {
    calls_.fail("go on", "something else has cut it: it has " + std::to_string(found.size) + " bytes, of " +
                             std::to_string(stored_.end) + " written");
  }
  return found;
}

// HDF5 extends the file, and stores its new end, after it has written references to the new part. A kill in
// between would leave a file that is refused, or a chunk index that points nowhere. So both are done before.
void LogFile::flush() {
  hsize_t end = 0;
  calls_(H5Fget_filesize(file_, &end), "size the file");
  if ((still_whole().size < end && ::ftruncate(lock_.file(), static_cast<off_t>(end)) != 0) ||
      (end > stored_.end && !log_layout::store_end(lock_.file(), stored_, end))) {
    calls_.fail("extend the file", std::strerror(errno));
  }
  stored_.end = std::max<std::uint64_t>(stored_.end, end);
  calls_(H5Fflush(file_, H5F_SCOPE_GLOBAL), "flush the file");
}

void LogFile::write(RowGroup& group) {
  const hdf5::Turn turn;
  still_whole();  // before HDF5 writes over what was found
  unsent_ += group.bytes();
  relaxations_.write(group.relaxations);
  training_.write(group.training);
  epochs_.write(group.epochs);
  checkpoints_.write(group.checkpoints);
  flush();
  counts_ = {relaxations_.rows(), training_.rows(), epochs_.rows(), checkpoints_.rows()};
  log_layout::write_counts(calls_, committed_, counts_);
  calls_(H5Fflush(file_, H5F_SCOPE_GLOBAL), "flush '/committed'");
  // Starts the transfer to the disk while more is written: less is lost in a power failure, and a sync at the
  // end is short. File systems without this call write when they choose.
  constexpr std::size_t enough = std::size_t{4} << 20;
  if (unsent_ < enough) return;
  unsent_ = 0;
  ::sync_file_range(lock_.file(), 0, 0, SYNC_FILE_RANGE_WRITE);
}

// Groups made when a log goes on: nothing refers to them until they are flushed, before the first row.
void LogFile::write(const BenchContinuation& now) {
  const hdf5::Turn turn;
  still_whole();
  if (!now.time.empty()) {
    log_layout::write_continuation(calls_, file_, now);
  } else {
    BenchContinuation timed = now;
    timed.time = log_layout::utc_now();
    log_layout::write_continuation(calls_, file_, timed);
  }
  flush();
}

void LogFile::write_settings_at_end(const std::vector<BenchRecord::Statements>& settings) {
  const hdf5::Turn turn;
  still_whole();
  log_layout::rewrite_settings_at_end(calls_, file_, settings);
  flush();
}

void LogFile::write_exit(ExitStatus status, const std::string& reason, const std::string& end_time) {
  hdf5::rewrite_text(calls_, file_, "entry/exit_status", to_string(status));
  hdf5::rewrite_text(calls_, file_, "entry/exit_reason", reason);
  hdf5::rewrite_text(calls_, file_, "entry/end_time", end_time);
}

void LogFile::close(ExitStatus status, const std::string& reason) {
  const hdf5::Turn turn;
  if (status != ExitStatus::running) write_exit(status, reason, log_layout::utc_now());
  flush();
  for (TableWriter* table : {&relaxations_, &training_, &epochs_, &checkpoints_}) table->close();
  committed_.close("close '/committed'");
  file_.close("close the file");
  // HDF5 has stored an end before the part that was extended in advance. At exactly this length, the loss of
  // the last byte is detected.
  const log_layout::StoredEnd end = log_layout::stored_end(lock_.file(), calls_.path());
  if (end.end < end.size && ::ftruncate(lock_.file(), static_cast<off_t>(end.end)) != 0) {
    calls_.fail("end the file", std::strerror(errno));
  }
}

}  // namespace ness
