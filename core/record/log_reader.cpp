#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "relaxation_fields.hpp"
#include "log_writer_lock.hpp"
#include "sector_checks.hpp"
#include "ness/device/error.hpp"
#include "ness/record/log.hpp"

namespace ness {
namespace {

using hdf5::Calls;
using hdf5::Handle;
using hdf5::TableReader;
using log_layout::Counts;
using log_layout::Layout;

void check_whole(const std::string& path) {
  if (const std::uint64_t missing = log_layout::stored_end(path).missing(); missing > 0) {
    throw LogError(log_layout::truncation(path, missing));
  }
}

ExitStatus status_named(const std::string& name, const std::string& path) {
  for (const ExitStatus status :
       {ExitStatus::running, ExitStatus::finished, ExitStatus::cancelled, ExitStatus::failed}) {
    if (name == to_string(status)) return status;
  }
  throw LogError("the log '" + path + "' has exit status '" + name +
                 "'; running, finished, cancelled or failed was expected");
}

}  // namespace

struct LogReader::Impl {
  // Rows counted before the file is opened are complete in it. A running writer may extend the file after the
  // count.
  Impl(const std::string& path, const Counts& to_be_read)
      : calls((check_whole(path), path), Calls::Use::reading),
        file(hdf5::open_to_read(calls)),
        layout((log_layout::check_format(calls, file), log_layout::read_layout(calls, file))),
        counts(to_be_read),
        sets(log_layout::read_pattern_sets(calls, file)),
        header(log_layout::read_header(calls, file, layout, sets)),
        relaxations(table<LogRow>(log_layout::relaxations_group, counts.relaxations, 8192)),
        training(table<log_layout::StepRecord>(log_layout::training_group, counts.steps, 4096)),
        epochs(table<log_layout::EpochRecord>(log_layout::epochs_group, counts.epochs, 4096)),
        checkpoints(table<Checkpoint>(log_layout::checkpoints_group, counts.checkpoints, 1)),
        status(status_named(hdf5::read_text(calls, file, "entry/exit_status"), path)),
        reason(hdf5::read_text(calls, file, "entry/exit_reason")) {}

  template <class Record>
  TableReader table(const char* group, std::uint64_t rows, std::uint64_t largest_block) {
    return {calls, hdf5::open_group(calls, file, group), log_layout::shape<Record>(layout), rows,
            largest_block};
  }

  template <class Record>
  Record read(TableReader& table, std::uint64_t index, const char* what) {
    if (index >= table.rows()) {
      throw std::invalid_argument(std::string(what) + " " + std::to_string(index) + " of the log '" +
                                  calls.path() + "', which has " + std::to_string(table.rows()));
    }
    if (!table.seek(index)) {
      const std::string which = std::string(what) + " " + std::to_string(index);
      throw LogError("the log '" + calls.path() + "' is damaged: " +
                     (table.unread().empty() ? "the CRC of " + which + " fails"
                                             : which + " cannot be read: " + table.unread()) +
                     hdf5::repair_advice(calls.path()));
    }
    Record record;
    log_layout::describe(table, record, layout);
    return record;
  }

  static Counts count(const std::string& path) {
    check_whole(path);
    Calls calls(path, Calls::Use::reading);
    const Handle file = hdf5::open_to_read(calls);
    log_layout::check_format(calls, file);
    return log_layout::read_counts(calls, file);
  }

  static std::unique_ptr<Impl> open(const std::string& path) {
    const hdf5::Turn turn;
    try {
      const Counts counts = count(path);
      return std::make_unique<Impl>(path, counts);
    } catch (const std::out_of_range&) {  // columns of the header differ in length
      throw LogError(
          "the log '" + path +
          "' is damaged: columns of its header differ in length, and a repair cannot restore them");
    }
  }

  Calls calls;
  Handle file;
  Layout layout;
  Counts counts;
  std::vector<SetInfo> sets;
  LogHeader header;
  TableReader relaxations, training, epochs, checkpoints;
  ExitStatus status;
  std::string reason;
};

LogReader::LogReader(const std::string& path) {
  // While a log is being written, reading can fall between two writes that belong together; a few more
  // attempts then.
  constexpr int tries = 8;
  for (int i = 1;; ++i) {
    try {
      impl_ = Impl::open(path);
      return;
    } catch (const LogError&) {
      if (i == tries || !WriterLock::held(path)) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(i));
    }
  }
}

LogReader::~LogReader() {
  const hdf5::Turn turn;
  impl_.reset();
}
LogReader::LogReader(LogReader&&) noexcept = default;

const std::string& LogReader::path() const { return impl_->calls.path(); }
const LogHeader& LogReader::header() const { return impl_->header; }
const std::vector<LogReader::SetInfo>& LogReader::pattern_sets() const { return impl_->sets; }
std::uint64_t LogReader::format() const { return impl_->layout.version; }
bool LogReader::outputs_only() const { return impl_->layout.outputs_only; }
std::uint64_t LogReader::rows() const { return impl_->counts.relaxations; }
std::uint64_t LogReader::steps() const { return impl_->counts.steps; }
std::uint64_t LogReader::epochs() const { return impl_->counts.epochs; }
std::uint64_t LogReader::checkpoints() const { return impl_->counts.checkpoints; }
ExitStatus LogReader::status() const { return impl_->status; }
std::string LogReader::reason() const { return impl_->reason; }

LogRow LogReader::row(std::uint64_t index) const {
  return impl_->read<LogRow>(impl_->relaxations, index, "row");
}

std::optional<LogRow> LogReader::row_if_whole(std::uint64_t index) const {
  if (index < rows() && !impl_->relaxations.seek(index)) return std::nullopt;
  return row(index);
}

StepReport LogReader::step(std::uint64_t index) const {
  return impl_->read<log_layout::StepRecord>(impl_->training, index, "step").report;
}

Vector LogReader::theta(std::uint64_t step) const {
  return impl_->read<log_layout::StepRecord>(impl_->training, step, "step").theta;
}

EpochReport LogReader::epoch(std::uint64_t index) const {
  return log_layout::report_of(impl_->read<log_layout::EpochRecord>(impl_->epochs, index, "epoch"));
}

Checkpoint LogReader::checkpoint(std::uint64_t index) const {
  return impl_->read<Checkpoint>(impl_->checkpoints, index, "checkpoint");
}

std::vector<std::uint64_t> LogReader::failed_rows() const {
  std::vector<std::uint64_t> failed;
  if (impl_->relaxations.list_length("fault") == 0) return failed;
  for (std::uint64_t i = 0; i < rows(); ++i) {
    const std::optional<LogRow> whole = row_if_whole(i);
    if (whole && !whole->fault.empty()) failed.push_back(i);
  }
  return failed;
}

namespace {

std::vector<std::uint64_t> damaged_in(TableReader& table) {
  std::vector<std::uint64_t> damaged;
  for (std::uint64_t i = 0; i < table.rows(); ++i) {
    if (!table.seek(i)) damaged.push_back(i);
  }
  return damaged;
}

}  // namespace

std::vector<std::uint64_t> LogReader::damaged_rows() const { return damaged_in(impl_->relaxations); }
std::vector<std::uint64_t> LogReader::damaged_steps() const { return damaged_in(impl_->training); }
std::vector<std::uint64_t> LogReader::damaged_epochs() const { return damaged_in(impl_->epochs); }
std::vector<std::uint64_t> LogReader::damaged_checkpoints() const { return damaged_in(impl_->checkpoints); }

std::vector<std::string> LogReader::damaged_parts() const {
  std::vector<std::string> damaged;
  const int file = ::open(path().c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw LogError("cannot read the log '" + path() + "': " + std::strerror(errno));
  for (const hdf5::DamagedSector& one : hdf5::damaged_sectors(file, hdf5::find_checks(file)))
    damaged.push_back(hdf5::bytes_of_sector(one.sector));
  ::close(file);
  return damaged;
}

LogReader::Ragged LogReader::ragged() const {
  const hdf5::Turn turn;
  Impl& log = *impl_;
  const auto beyond = [&](const char* group, const hdf5::TableShape& shape, std::uint64_t counted) {
    return hdf5::stored_rows(log.calls, hdf5::open_group(log.calls, log.file, group), shape) - counted;
  };
  return {
      beyond(log_layout::relaxations_group, log_layout::shape<LogRow>(log.layout), log.counts.relaxations),
      beyond(log_layout::training_group, log_layout::shape<log_layout::StepRecord>(log.layout),
             log.counts.steps)};
}

}  // namespace ness
