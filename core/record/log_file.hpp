// The file of a log, for writing: groups of rows are written, and each is counted when complete.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "log_layout.hpp"
#include "log_writer_lock.hpp"

namespace ness {

/// Rows of all tables that are committed together.
struct RowGroup {
  hdf5::TableRows relaxations, training, epochs, checkpoints;

  std::uint64_t rows() const { return relaxations.count + training.count + epochs.count + checkpoints.count; }
  std::size_t bytes() const {
    return relaxations.bytes() + training.bytes() + epochs.bytes() + checkpoints.bytes();
  }
};

/// To be called by one thread at a time, and not after a call that threw. Destroy it while holding a Turn.
class LogFile {
 public:
  /// Makes the file with all groups and datasets.
  LogFile(const std::string& path, const LogHeader& header, const LogOptions& options);
  struct CopyOf {
    hdf5::Calls& calls;
    hid_t file;
    const log_layout::Layout& layout;
  };
  /// Makes the file as a copy of another log, without its rows. `lost`: parts that could not be copied.
  LogFile(const std::string& path, CopyOf from, std::vector<std::string>& lost);
  /// The run has no end any more: it can be continued.
  void reopen();
  /// Opens an existing log, and clips it to its counted rows.
  LogFile(const std::string& path, const LogOptions& options);
  ~LogFile() = default;
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  const std::string& path() const { return calls_.path(); }
  const log_layout::Layout& layout() const { return layout_; }
  const std::vector<LogReader::SetInfo>& pattern_sets() const { return sets_; }
  /// `recorded` of the last row, from an earlier run.
  double recorded() const { return recorded_; }
  /// Rows with a path; the count stops at `most`.
  std::uint64_t paths(std::uint64_t most);
  hdf5::TableEncoder encoder_of_relaxations() const { return encoder(relaxations_); }
  hdf5::TableEncoder encoder_of_training() const { return encoder(training_); }
  hdf5::TableEncoder encoder_of_epochs() const { return encoder(epochs_); }
  hdf5::TableEncoder encoder_of_checkpoints() const { return encoder(checkpoints_); }
  std::uint64_t rows() const { return relaxations_.rows(); }
  std::size_t lists_of_relaxations() const { return relaxations_.shape().lists.size(); }
  std::size_t lists_of_training() const { return training_.shape().lists.size(); }
  std::size_t lists_of_epochs() const { return epochs_.shape().lists.size(); }
  std::size_t lists_of_checkpoints() const { return checkpoints_.shape().lists.size(); }

  /// Writes the group, counts it, and empties it. Where the file has been deleted, replaced or cut, the group
  /// is saved in a file beside it, LOG.saved, with all else that can be: the LogError says so.
  void write(RowGroup& group);
  /// Adds a later group to the saved file, if there is one.
  void save_too(RowGroup& group);
  /// While no rows are pending.
  void write(const BenchContinuation& now);
  void write_settings_at_end(const std::vector<BenchRecord::Statements>& settings);
  void close(ExitStatus status, const std::string& reason);
  /// Releases the lock: another writer may then open the file.
  void give_back();
  /// "cannot write the log 'x.h5': .."
  std::string complaint(std::string_view reason) const { return calls_.complaint(reason); }

 private:
  template <class Record>
  hdf5::TableWriter table(const char* group, std::uint64_t rows);
  static hdf5::TableEncoder encoder(const hdf5::TableWriter& table) { return {table.shape(), table.ends()}; }
  void open_counts(const LogOptions& options);
  double last_recorded();
  void flush();
  log_layout::StoredEnd still_whole();
  std::string save(RowGroup& group);
  void subtract_ends(RowGroup& group) const;
  void write_exit(ExitStatus status, const std::string& reason, const std::string& end_time);

  hdf5::Calls calls_;
  WriterLock lock_;
  hdf5::Handle file_;
  log_layout::Counts counts_;
  log_layout::Layout layout_;
  std::vector<LogReader::SetInfo> sets_;
  hdf5::TableWriter relaxations_, training_, epochs_, checkpoints_;
  hdf5::Handle committed_;
  std::size_t unsent_ = 0;        // bytes written since the kernel was last told to start writing
  log_layout::StoredEnd stored_;  // the largest end so far
  double recorded_ = 0;
  bool checked_ = false;  // the file has checks
  // To save what is in memory where the file is lost.
  std::unique_ptr<const LogHeader> header_;
  LogOptions options_;
  std::unique_ptr<LogFile> saved_;
  bool saved_alone_ = false;  // without the rows of before
  bool synced_ = false;
};

}  // namespace ness
