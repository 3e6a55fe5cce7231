#include "log_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <limits>
#include <sys/stat.h>
#include <unistd.h>

#include "hdf5_write_driver.hpp"
#include "log_checks.hpp"
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
Handle create_whole(Calls& calls, Durability durability, WriterLock& lock,
                    const std::function<void(hid_t file)>& fill) {
  const std::string part = calls.path() + ".part";
  // The name is locked: what stands there is left by a process that was killed, or a link that was put there.
  ::unlink(part.c_str());
  bool named = false;
  try {
    Handle file = hdf5::create_file(calls, part);
    lock.take(part);
    const hdf5::CheckPlaces places = log_layout::create_checks(calls, file, [&] { fill(file); });
    file.close("close the new file");
    const hdf5::Put put = [&lock](std::uint64_t place, const void* bytes, std::size_t count) {
      return hdf5::write_at(lock.file(), place, bytes, count);
    };
    // All that is in the file now is header: rows come behind it.
    if (!hdf5::write_places(put, places) || !hdf5::cover_all(lock.file(), places) ||
        (durability == Durability::fsync && ::fsync(lock.file()) != 0))
      calls.fail("write the new file", std::strerror(errno));
    give_name(calls, part);
    named = true;
    file = hdf5::open_to_write(calls);
    return file;
  } catch (...) {
    ::unlink((named ? calls.path() : part).c_str());
    throw;
  }
}

// The name of a new file is on the disk, too.
void sync_directory(Calls& calls) {
  const std::string directory = std::filesystem::absolute(calls.path()).parent_path();
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  // Not every file system can do it.
  if (!synced && reason != EINVAL) calls.fail("sync its directory", std::strerror(reason));
}

// To a new file of that name.
void copy_file(int from, std::uint64_t bytes, const std::string& name) {
  const int to = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  std::vector<std::byte> part(std::size_t{1} << 20);
  bool done = to >= 0;
  for (std::uint64_t place = 0; done && place < bytes; place += part.size()) {
    const std::size_t count = std::min<std::uint64_t>(part.size(), bytes - place);
    done = hdf5::read_at(from, place, part.data(), count) && hdf5::write_at(to, place, part.data(), count);
  }
  const int reason = errno;
  if (to >= 0) ::close(to);
  if (!done) throw LogError("cannot write '" + name + "': " + std::strerror(reason));
}

void refuse_missing_or_truncated(const std::string& path) {
  if (const std::uint64_t missing = log_layout::stored_end(path).missing(); missing > 0) {
    throw LogError(log_layout::truncation(path, missing));
  }
}

// The last writes of a killed writer may be beyond the stored end. In a file without checks they may be
// referred to, and HDF5 would use that space again; in one with checks nothing refers to them.
Handle open_whole(Calls& calls, int descriptor) {
  {
    const Handle look = hdf5::open_to_read(calls);
    log_layout::check_format(calls, look);
  }
  log_layout::complete_last_flush(descriptor, calls.path());
  const log_layout::StoredEnd found = log_layout::stored_end(descriptor, calls.path());
  if (!hdf5::find_checks(descriptor).known()) log_layout::mend_end(calls.path(), found);
  else if (found.offset > 0 && found.size > found.end) log_layout::cut(descriptor, calls.path(), found.end);
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
      file_(create_whole(calls_, options.durability, lock_,
                         [&](hid_t file) {
                           log_layout::create(
                               calls_, file, header,
                               log_layout::layout_of(header.info, options.outputs_only, options.full_theta),
                               options);
                         })),
      layout_(log_layout::read_layout(calls_, file_)),
      sets_(log_layout::read_pattern_sets(calls_, file_)),
      relaxations_(table<LogRow>(log_layout::relaxations_group, 0)),
      training_(table<log_layout::StepRecord>(log_layout::training_group, 0)),
      epochs_(table<log_layout::EpochRecord>(log_layout::epochs_group, 0)),
      checkpoints_(table<Checkpoint>(log_layout::checkpoints_group, 0)) {
  if (options.durability == Durability::fsync) sync_directory(calls_);
  header_ = std::make_unique<LogHeader>(header);
  options_ = options;
  open_counts(options);
}

LogFile::LogFile(const std::string& path, CopyOf from, std::vector<std::string>& lost)
    : calls_((refuse_existing(path), path), Calls::Use::writing),
      lock_(path),
      file_(create_whole(calls_, Durability::group, lock_,
                         [&](hid_t file) {
                           lost = log_layout::create_copy(calls_, file, from.calls, from.file, from.layout);
                         })),
      layout_(log_layout::read_layout(calls_, file_)),
      sets_(log_layout::read_pattern_sets(calls_, file_)),
      relaxations_(table<LogRow>(log_layout::relaxations_group, 0)),
      training_(table<log_layout::StepRecord>(log_layout::training_group, 0)),
      epochs_(table<log_layout::EpochRecord>(log_layout::epochs_group, 0)),
      checkpoints_(table<Checkpoint>(log_layout::checkpoints_group, 0)) {
  open_counts({});
}

LogFile::LogFile(const std::string& path, const LogOptions& options)
    : calls_((refuse_missing_or_truncated(path), path), Calls::Use::writing),
      lock_(path),
      file_(open_whole(calls_, lock_.file())),
      counts_(log_layout::read_counts(calls_, file_)),
      layout_(log_layout::read_layout(calls_, file_)),
      sets_(log_layout::read_pattern_sets(calls_, file_)),
      relaxations_(table<LogRow>(log_layout::relaxations_group, counts_.relaxations)),
      training_(table<log_layout::StepRecord>(log_layout::training_group, counts_.steps)),
      epochs_(table<log_layout::EpochRecord>(log_layout::epochs_group, counts_.epochs)),
      checkpoints_(table<Checkpoint>(log_layout::checkpoints_group, counts_.checkpoints)) {
  if (counts_.relaxations > 0) recorded_ = last_recorded();
  LogHeader header = log_layout::read_header(calls_, file_, layout_, sets_);
  const auto& held = header.pattern_sets;
  // Sets that are not in the file are not known here.
  if (layout_.version == log_layout::format && std::find(held.begin(), held.end(), nullptr) == held.end()) {
    header_ = std::make_unique<LogHeader>(std::move(header));
    options_.full_theta = layout_.theta_width > 0 ? std::numeric_limits<std::uint64_t>::max() : 0;
  }
  write_exit(ExitStatus::running, "", "");
  open_counts(options);
}

void LogFile::open_counts(const LogOptions& options) {
  hdf5::DriverFile* const driver = hdf5::driver_file(file_);
  if (driver == nullptr) calls_.fail("open the file", "it is written by another driver");
  checked_ = driver->places().known();
  if (!checked_ && options.durability == Durability::fsync)
    calls_.fail("keep log.durability = \"fsync\"",
                "it was begun by an older program, and has no journal: begin a new log");
  synced_ = options.durability == Durability::fsync;
  driver->sync(synced_);
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

std::uint64_t LogFile::paths(std::uint64_t most) {
  hdf5::TableReader reader(calls_, hdf5::open_group(calls_, file_, log_layout::relaxations_group),
                           log_layout::shape<LogRow>(layout_), counts_.relaxations, 8192);
  std::uint64_t found = 0;
  if (reader.list_length("path") == 0) return found;
  for (std::uint64_t i = 0; i < counts_.relaxations && found < most; ++i) {
    if (!reader.seek(i)) continue;
    LogRow record;
    log_layout::describe(reader, record, layout_);
    if (record.relaxation.path.size() > 0) ++found;
  }
  return found;
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

// In a file without checks HDF5 extends the file, and stores its new end, after it has written references to
// the new part. A kill in between would leave a file that is refused, or a chunk index that points nowhere.
// So both are done before.
void LogFile::flush() {
  hsize_t end = 0;
  calls_(H5Fget_filesize(file_, &end), "size the file");
  const log_layout::StoredEnd found = still_whole();
  if (checked_) {
    log_layout::reach_beyond(calls_, file_, 2 * end);
  } else if ((found.size < end && ::ftruncate(lock_.file(), static_cast<off_t>(end)) != 0) ||
             (end > stored_.end && !log_layout::store_end(lock_.file(), stored_, end))) {
    calls_.fail("extend the file", std::strerror(errno));
  }
  stored_.end = std::max<std::uint64_t>(stored_.end, end);
  calls_(H5Fflush(file_, H5F_SCOPE_GLOBAL), "flush the file");
  if (checked_) stored_ = log_layout::stored_end(lock_.file(), calls_.path());
}

void LogFile::subtract_ends(RowGroup& group) const {
  for (const auto& [table, rows] : {std::pair{&relaxations_, &group.relaxations},
                                    {&training_, &group.training},
                                    {&epochs_, &group.epochs},
                                    {&checkpoints_, &group.checkpoints}})
    table->subtract_ends(*rows);
}

// What was written is still there behind a file that was deleted; of one that was cut, only what is in
// memory.
std::string LogFile::save(RowGroup& group) {
  struct stat status {};
  if (::fstat(lock_.file(), &status) != 0) return {};
  const std::uint64_t rows = group.relaxations.count;
  std::string name = path() + ".saved";
  for (int i = 2; ::access(name.c_str(), F_OK) == 0; ++i) name = path() + ".saved-" + std::to_string(i);
  try {
    if (status.st_nlink == 0) {
      copy_file(lock_.file(), static_cast<std::uint64_t>(status.st_size), name);
      saved_ = std::make_unique<LogFile>(name, LogOptions{});
    } else {
      if (!header_)
        return "; its last " + std::to_string(rows) + " rows are lost: its header is not in memory";
      saved_ = std::make_unique<LogFile>(name, *header_, options_);
      saved_alone_ = true;
      subtract_ends(group);
    }
    saved_->write(group);
    return std::string("; ") + (saved_alone_ ? "the rows that were not in it yet are" : "all of it is") +
           " saved in '" + name + "'";
  } catch (const std::exception& error) {
    return "; what is in memory cannot be saved: " + std::string(error.what());
  }
}

void LogFile::save_too(RowGroup& group) {
  if (!saved_ || group.rows() == 0) return;
  const hdf5::Turn turn;
  try {
    if (saved_alone_) subtract_ends(group);
    saved_->write(group);
  } catch (const std::exception&) {}  // its first error has been reported
}

void LogFile::give_back() {
  if (saved_) {
    try {
      saved_->close(ExitStatus::running, "");
      saved_->give_back();
    } catch (const std::exception&) {}
    const hdf5::Turn turn;
    saved_.reset();
  }
  lock_.release();
}

void LogFile::write(RowGroup& group) {
  const hdf5::Turn turn;
  try {
    still_whole();  // before HDF5 writes over what was found
  } catch (const LogError& error) {
    throw LogError(error.what() + save(group));
  }
  unsent_ += group.bytes();
  // What lies first in the file is lost last, where it is cut: and without a checkpoint all rows are.
  if (relaxations_.rows() == 0 && checkpoints_.rows() == 0) {
    for (TableWriter* table : {&checkpoints_, &epochs_, &training_}) table->reserve();
  }
  checkpoints_.write(group.checkpoints);
  epochs_.write(group.epochs);
  training_.write(group.training);
  relaxations_.write(group.relaxations);
  counts_ = {relaxations_.rows(), training_.rows(), epochs_.rows(), checkpoints_.rows()};
  // With checks the counts are in the file together with what they count. Else they come after it.
  if (!checked_) flush();
  log_layout::write_counts(calls_, committed_, counts_);
  flush();
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
  hdf5::DriverFile& driver = *hdf5::driver_file(file_);
  driver.header(true);
  BenchContinuation timed = now;
  if (timed.time.empty()) timed.time = log_layout::utc_now();
  log_layout::write_continuation(calls_, file_, timed);
  flush();
  driver.header(false);
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

void LogFile::reopen() {
  const hdf5::Turn turn;
  write_exit(ExitStatus::running, "", "");
}

void LogFile::close(ExitStatus status, const std::string& reason) {
  const hdf5::Turn turn;
  if (status != ExitStatus::running) write_exit(status, reason, log_layout::utc_now());
  for (TableWriter* table : {&relaxations_, &training_, &epochs_, &checkpoints_}) table->close();
  flush();
  committed_.close("close '/committed'");
  file_.close("close the file");
  if (synced_ && ::fdatasync(lock_.file()) != 0) calls_.fail("sync the file", std::strerror(errno));
  // HDF5 has stored an end before the part that was extended in advance. At exactly this length, the loss of
  // the last byte is detected.
  const log_layout::StoredEnd end = log_layout::stored_end(lock_.file(), calls_.path());
  if (end.end < end.size) log_layout::cut(lock_.file(), calls_.path(), end.end);
  if (checked_ && !hdf5::settle(lock_.file(), hdf5::find_checks(lock_.file())))
    calls_.fail("end the file", std::strerror(errno));
  if (synced_ && ::fsync(lock_.file()) != 0) calls_.fail("sync the file", std::strerror(errno));
}

}  // namespace ness
