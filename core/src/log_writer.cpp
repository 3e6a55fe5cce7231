#include "ness/core/log.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_map>

#include "log_layout.hpp"
#include "log_writer_lock.hpp"
#include "ness/core/error.hpp"

namespace ness {
namespace {

using hdf5::Calls;
using hdf5::Handle;
using hdf5::TableWriter;
using log_layout::Counts;
using log_layout::Layout;
using Clock = std::chrono::steady_clock;

// Rows wait in memory until they are committed: however large a group is asked for, not more than this.
constexpr std::size_t most_pending_bytes = std::size_t{64} << 20;

void check(const LogHeader& header, const LogOptions& options) {
  for (std::size_t i = 0; i < header.pattern_sets.size(); ++i) {
    if (!header.pattern_sets[i]) {
      throw std::invalid_argument("pattern set " + std::to_string(i) + " of the log's header is null");
    }
  }
  if (options.group_rows == 0) {
    throw std::invalid_argument("LogOptions::group_rows is 0; at least 1 is needed");
  }
  for (const std::uint32_t output : header.info.outputs) {
    if (output >= header.info.terminals.size()) {
      throw std::invalid_argument("output " + std::to_string(output) + " of the log's header is none of the device's " +
                                  std::to_string(header.info.terminals.size()) + " terminals");
    }
  }
}

void refuse_existing(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    throw LogError("the log '" + path + "' exists already, and is not overwritten: give another name, or continue it");
  }
}

// The file with all its groups and datasets appears under its name when it is whole, or not at all.
Handle create_whole(Calls& calls, const LogHeader& header, const LogOptions& options) {
  const std::string part = calls.path() + ".part";
  try {
    Handle file = hdf5::create_file(calls, part);
    log_layout::create(calls, file, header, log_layout::layout_of(header.info, options.outputs_only, options.full_theta),
                       options);
    calls(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush the new file");
    refuse_existing(calls.path());  // since rename replaces
    if (::rename(part.c_str(), calls.path().c_str()) != 0) {
      calls.fail("give the new file its name", std::strerror(errno));
    }
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

// What a killed writer wrote last may lie beyond the end that it stored; HDF5 would give that space away again.
Handle open_whole(Calls& calls) {
  {
    const Handle look = hdf5::open_to_read(calls);
    log_layout::check_format(calls, look);
  }
  log_layout::mend_end(calls.path(), log_layout::stored_end(calls.path()));
  return hdf5::open_to_write(calls);
}

}  // namespace

const char* to_string(ExitStatus status) {
  switch (status) {
    case ExitStatus::running: return "running";
    case ExitStatus::finished: return "finished";
    case ExitStatus::cancelled: return "cancelled";
    case ExitStatus::failed: return "failed";
  }
  return "unknown";
}

struct LogWriter::Impl {
  struct New {};
  struct Old {};
  Impl(const std::string& path, New, const LogHeader& header, const LogOptions& log_options)
      : calls((refuse_existing(path), path), Calls::Use::writing),
        lock(path),
        options(log_options),
        file(create_whole(calls, header, options)),
        layout(log_layout::read_layout(calls, file)),
        sets(log_layout::read_pattern_sets(calls, file)),
        relaxations(table<log_layout::RelaxationRecord>(log_layout::relaxations_group, 0)),
        training(table<log_layout::StepRecord>(log_layout::training_group, 0)),
        epochs(table<log_layout::EpochRecord>(log_layout::epochs_group, 0)),
        checkpoints(table<Checkpoint>(log_layout::checkpoints_group, 0)) {
    for (std::size_t i = 0; i < header.pattern_sets.size(); ++i) {
      remember(header.pattern_sets[i], static_cast<std::uint32_t>(i));
    }
    open_counts();
  }

  Impl(const std::string& path, Old, const LogOptions& log_options)
      : calls((refuse_missing_or_truncated(path), path), Calls::Use::writing),
        lock(path),
        options(log_options),
        file(open_whole(calls)),
        counts(log_layout::read_counts(calls, file)),
        layout(log_layout::read_layout(calls, file)),
        sets(log_layout::read_pattern_sets(calls, file)),
        relaxations(table<log_layout::RelaxationRecord>(log_layout::relaxations_group, counts.relaxations)),
        training(table<log_layout::StepRecord>(log_layout::training_group, counts.steps)),
        epochs(table<log_layout::EpochRecord>(log_layout::epochs_group, counts.epochs)),
        checkpoints(table<Checkpoint>(log_layout::checkpoints_group, counts.checkpoints)) {
    if (counts.relaxations > 0) {
      recorded_before = last_recorded();
    }
    write_exit(ExitStatus::running, "", "");
    open_counts();
  }

  ~Impl() {
    if (descriptor >= 0) ::close(descriptor);
  }

  template <class Record>
  TableWriter table(const char* group, std::uint64_t rows) {
    return {calls, hdf5::open_group(calls, file, group), log_layout::shape<Record>(layout), rows};
  }

  void open_counts() {
    committed = hdf5::open_dataset(calls, file, "committed");
    descriptor = ::open(calls.path().c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) calls.fail("open the file", std::strerror(errno));
    stored = log_layout::stored_end(calls.path());
    flush();
  }

  double last_recorded() {
    hdf5::TableReader reader(calls, hdf5::open_group(calls, file, log_layout::relaxations_group),
                             log_layout::shape<log_layout::RelaxationRecord>(layout), counts.relaxations, 1);
    if (!reader.seek(counts.relaxations - 1)) return 0;  // damaged: its time is not worth refusing for
    log_layout::describe(reader, record, layout);
    return record.recorded;
  }

  // HDF5 extends the file, and stores its new end, after writing what refers to it: a kill in between would leave a file that
  // is refused, or whose index of chunks leads nowhere. So both are done ahead.
  void flush() {
    hsize_t end = 0;
    calls(H5Fget_filesize(file, &end), "size the file");
    struct stat status {};
    if (::fstat(descriptor, &status) != 0 ||
        (static_cast<hsize_t>(status.st_size) < end && ::ftruncate(descriptor, static_cast<off_t>(end)) != 0) ||
        (end > stored.end && !log_layout::store_end(descriptor, stored, end))) {
      calls.fail("extend the file", std::strerror(errno));
    }
    stored.end = std::max<std::uint64_t>(stored.end, end);
    calls(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush the file");
  }

  std::uint64_t pending() const {
    return relaxations.pending() + training.pending() + epochs.pending() + checkpoints.pending();
  }

  void commit() {
    if (pending() == 0) return;
    for (TableWriter* table : {&relaxations, &training, &epochs, &checkpoints}) table->write();
    flush();
    counts = {relaxations.rows(), training.rows(), epochs.rows(), checkpoints.rows()};
    log_layout::write_counts(calls, committed, counts);
    calls(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush '/committed'");
  }

  void tick() {
    const std::uint64_t waiting = pending();
    if (waiting == 0) return;
    if (waiting >= options.group_rows || Clock::now() - oldest >= options.group_age ||
        relaxations.pending_bytes() >= most_pending_bytes) {
      commit();
    }
  }

  void write_exit(ExitStatus status, const std::string& reason, const std::string& end_time) {
    hdf5::rewrite_text(calls, file, "entry/exit_status", to_string(status));
    hdf5::rewrite_text(calls, file, "entry/exit_reason", reason);
    hdf5::rewrite_text(calls, file, "entry/end_time", end_time);
  }

  void close(ExitStatus status, const std::string& reason) {
    commit();
    if (status != ExitStatus::running) write_exit(status, reason, log_layout::utc_now());
    flush();
    for (TableWriter* table : {&relaxations, &training, &epochs, &checkpoints}) table->close();
    committed.close("close '/committed'");
    file.close("close the file");
    // HDF5 has stored an end before what was extended ahead; a file of that length shows the loss of its last byte.
    const log_layout::StoredEnd end = log_layout::stored_end(calls.path());
    if (end.end < end.size && ::ftruncate(descriptor, static_cast<off_t>(end.end)) != 0) {
      calls.fail("end the file", std::strerror(errno));
    }
  }

  void remember(const std::shared_ptr<const PatternSet>& set, std::uint32_t index) {
    known_sets.emplace(set.get(), index);
    held_sets.push_back(set);
  }

  std::uint32_t index_of(const std::shared_ptr<const PatternSet>& set) {
    if (!set) throw std::invalid_argument("a drive to be logged has no pattern set");
    if (const auto known = known_sets.find(set.get()); known != known_sets.end()) return known->second;
    for (std::size_t i = 0; i < sets.size(); ++i) {
      if (sets[i].name == set->name() && sets[i].rows == set->rows() && sets[i].digest == set->digest()) {
        remember(set, static_cast<std::uint32_t>(i));
        return static_cast<std::uint32_t>(i);
      }
    }
    throw std::invalid_argument("pattern set '" + set->name() + "' is none of those that the log '" + calls.path() +
                                "' was made with");
  }

  template <class Record>
  void append(TableWriter& table, Record& row) {
    if (pending() == 0) oldest = Clock::now();
    table.begin_row();
    log_layout::describe(table, row, layout);
    table.end_row();
  }

  // Whatever goes wrong while rows are taken over or written, the file is left as it is from then on.
  template <class Action>
  void guarded(Action&& action) {
    if (closed) throw std::invalid_argument("the log '" + calls.path() + "' is closed");
    if (!failure.empty()) throw LogError(calls.complaint("nothing is written after an earlier failure: " + failure));
    hdf5::ready();
    try {
      action();
    } catch (const std::invalid_argument&) {
      throw;  // refused before anything was taken over
    } catch (const LogError& error) {
      failure = error.what();
      throw;
    } catch (const std::exception& error) {
      failure = error.what();
      calls.fail("append", failure);
    }
  }

  Calls calls;
  WriterLock lock;
  LogOptions options;
  Handle file;
  Counts counts;
  Layout layout;
  std::vector<LogReader::SetInfo> sets;
  TableWriter relaxations, training, epochs, checkpoints;
  Handle committed;
  int descriptor = -1;
  log_layout::StoredEnd stored;  // its end is the furthest so far
  log_layout::RelaxationRecord record;
  log_layout::StepRecord step_record;
  std::unordered_map<const PatternSet*, std::uint32_t> known_sets;
  std::vector<std::shared_ptr<const PatternSet>> held_sets;  // an address stays that of its set
  Clock::time_point opened = Clock::now(), oldest;
  double recorded_before = 0;  // seconds, by an earlier run
  std::string failure;
  bool closed = false;
};

LogWriter::LogWriter(const std::string& path, const LogHeader& header, const LogOptions& options) {
  check(header, options);
  impl_ = std::make_unique<Impl>(path, Impl::New{}, header, options);
}

LogWriter::LogWriter(const std::string& path, Continue, const LogOptions& options) {
  check({}, options);
  impl_ = std::make_unique<Impl>(path, Impl::Old{}, options);
}

LogWriter::~LogWriter() {
  if (impl_->closed || !impl_->failure.empty()) return;
  try {
    close(ExitStatus::running, "");  // nobody said how the run ended, and the log says just that
  } catch (const std::exception&) {
  }
}

void LogWriter::append(const Drive& drive, const Relaxation& relaxation, const std::string& fault) {
  impl_->guarded([&] {
    log_layout::fill(impl_->record, impl_->layout, drive, impl_->index_of(drive.clamp.set), relaxation, fault);
    impl_->record.recorded = impl_->recorded_before + std::chrono::duration<double>(Clock::now() - impl_->opened).count();
    impl_->append(impl_->relaxations, impl_->record);
  });
}

void LogWriter::append(const StepReport& step, const Vector& theta) {
  impl_->guarded([&] {
    if (const std::uint64_t width = impl_->layout.theta_width; width > 0 && static_cast<std::uint64_t>(theta.size()) != width) {
      throw std::invalid_argument("a step's theta has " + std::to_string(theta.size()) +
                                  " entries, the device of the log has " + std::to_string(width) + " parameters");
    }
    impl_->step_record.report = step;
    impl_->step_record.theta = theta;
    impl_->append(impl_->training, impl_->step_record);
  });
}

void LogWriter::append(const EpochReport& epoch) {
  impl_->guarded([&] {
    log_layout::EpochRecord record{epoch, epoch.validated, epoch.best};
    impl_->append(impl_->epochs, record);
  });
}

void LogWriter::append(const Checkpoint& checkpoint) {
  impl_->guarded([&] {
    Checkpoint copy = checkpoint;
    impl_->append(impl_->checkpoints, copy);
  });
}

void LogWriter::commit() {
  impl_->guarded([&] { impl_->commit(); });
}

void LogWriter::tick() {
  impl_->guarded([&] { impl_->tick(); });
}

void LogWriter::close(ExitStatus status, const std::string& reason) {
  if (impl_->closed) return;
  if (impl_->failure.empty()) {
    impl_->guarded([&] { impl_->close(status, reason); });
  }
  impl_->closed = true;
  impl_->lock.release();
}

std::uint64_t LogWriter::rows() const { return impl_->relaxations.rows(); }

}  // namespace ness
