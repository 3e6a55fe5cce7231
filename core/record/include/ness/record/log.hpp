// The log: one HDF5 file a run, one row a relaxation, one row a training step.
//
// What exists is what is counted: rows are written and flushed, then the counts in /committed are written in
// place and flushed. A reader clips to the counts; so does a resumed run. A process that dies leaves a file
// that opens and whose counted rows are whole.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ness/device/clock.hpp"
#include "ness/training/dataset.hpp"
#include "ness/device/device.hpp"
#include "ness/training/trainer.hpp"

namespace ness {

/// What the check of a bench's cables found before a run (`ness check`).
struct BenchCheck {
  struct Wire {                                    ///< that sets a level
    std::string name, verdict, of;                 ///< of: like which other it responds
    std::string answered;                          ///< readings that moved with it, the strongest first
    double strength = 0, expected = 0, error = 0;  ///< kT; error: of the strength
    double gain = 0, misfit = 0;
    std::optional<double> conductance;  ///< units of current per kT
    friend bool operator==(const Wire&, const Wire&) = default;
  };
  struct Reading {
    std::string name, verdict, of;
    double offset = 0, offset_error = 0, noise = 0;  ///< kT
    friend bool operator==(const Reading&, const Reading&) = default;
  };
  struct Step {
    std::string channel, reading;
    double change = 0;          ///< kT
    std::optional<double> tau;  ///< the slowest time constant seen, in the device's unit of time
    double bound = 0;           ///< of a time constant that was too fast to be seen
    friend bool operator==(const Step&, const Step&) = default;
  };
  std::vector<Wire> wires;
  std::vector<Reading> readings;
  std::vector<Step> steps;
  std::vector<std::string> warnings;
  std::vector<std::string> undecided;  ///< pairs of wires whose exchange would not be seen, "a, b"
  std::uint64_t noise_readings = 0;    ///< readings that each noise, and each offset, is of
  std::uint64_t relaxations = 0;
  friend bool operator==(const BenchCheck&, const BenchCheck&) = default;
};

/// The bench that a run was made on, as it was at its start: enough to say what was done in volts.
struct BenchRecord {
  std::string path, text;  ///< of the bench file
  /// Names and values, as the instrument answered: {"compliance (A)", "+1.000000E-04"}.
  using Statements = std::vector<std::pair<std::string, std::string>>;
  struct Instrument {
    std::string name;  ///< in the bench file
    std::string address, model;
    std::string identity;            ///< its answer to *IDN?
    Statements calibration = {};     ///< empty: it keeps no record
    Statements settings_start = {};  ///< read back before the first relaxation
    /// Read back when the bench had been made safe; empty: the run did not come to its end. An instrument
    /// that did not answer then has one, "no answer", with the reason.
    Statements settings_end = {};
    friend bool operator==(const Instrument&, const Instrument&) = default;
  };
  std::vector<Instrument> instruments;
  std::optional<BenchCheck> check = {};  ///< none where the run began without
  friend bool operator==(const BenchRecord&, const BenchRecord&) = default;
};

/// A set of samples that a run was made with.
struct RecordedSet {
  std::string name;  ///< "train", "validation" or "test"
  /// To be written: whole. Read back: `inputs` is null where the log names their file and does not hold their
  /// levels; `rows` and `targets` are empty where the log does not hold them (LogOptions::largest_copy).
  Dataset data;
  std::uint64_t samples = 0;
  std::uint64_t digest = 0;       ///< Dataset::digest
  std::uint32_t pattern_set = 0;  ///< index into LogHeader::pattern_sets
  /// Whether it can be trained on with nothing but the log.
  bool whole() const { return data.inputs && data.size() == samples; }
};

/// The task of a run: its sets, and what is known of the loss without the experiment's [loss].
struct RecordedTask {
  std::string name;                 ///< Task::name
  std::vector<RecordedSet> sets;    ///< those that the task has
  bool classifies = false;          ///< targets are classes; else potentials
  std::optional<double> threshold;  ///< Loss::threshold
};

/// The edges of the network that was run, [edges]; nodes are terminals of the device, by their index.
struct RecordedEdges {
  std::vector<std::uint32_t> from, to;
  std::vector<std::string> law;
  friend bool operator==(const RecordedEdges&, const RecordedEdges&) = default;
};

/// Where the experiment's text came from: by this a run that goes on sees whether it has changed.
struct ExperimentSource {
  std::string path;                   ///< of the experiment file, absolute; empty: it came from no file
  std::string data;                   ///< root of the data directories that was given, absolute; or empty
  std::vector<std::string> set;       ///< keys that were set beside the file: "optimizer.rate=0.01"
  std::optional<std::uint64_t> seed;  ///< given beside the file
  friend bool operator==(const ExperimentSource&, const ExperimentSource&) = default;
};

/// The bench on which a run went on.
struct BenchContinuation {
  BenchRecord bench;
  std::uint64_t first_row = 0;           ///< the first that was made on it
  std::string time;                      ///< when, UTC; to be written: empty means the present
  std::vector<std::string> differences;  ///< from the bench before, that were allowed; a line each
  friend bool operator==(const BenchContinuation&, const BenchContinuation&) = default;
};

/// Where a run's first parameters came from: another log.
struct LogOrigin {
  std::string path;  ///< as given
  std::string kind;  ///< "last", "best" or "step"
  std::uint64_t step = 0;
  Vector theta;  ///< the run's first parameters, in the order of its own device
};

/// What a log says of its run before the first row.
struct LogHeader {
  std::string title;       ///< of the experiment
  std::string experiment;  ///< the experiment file's whole text, as run
  std::string command;     ///< how it was started
  std::uint64_t seed = 0;
  std::vector<std::pair<std::string, std::string>> versions;    ///< software, version
  DeviceInfo info;                                              ///< of the device that is recorded
  std::optional<BenchRecord> bench;                             ///< none in simulation, and in older logs
  std::vector<BenchContinuation> continued;                     ///< each time the run went on on a bench
  std::optional<LogOrigin> from;                                ///< none: the experiment's own parameters
  std::vector<std::shared_ptr<const PatternSet>> pattern_sets;  ///< every set that drives will refer to
  std::optional<RecordedTask> task;        ///< none where nothing is learned, and in logs before format 6
  std::optional<RecordedEdges> edges;      ///< none where the device is no network, and before format 6
  std::optional<ExperimentSource> source;  ///< none before format 6
};

/// What a row that is committed survives.
enum class Durability : std::uint8_t {
  group,       ///< the death of the process; in groups of `group_rows`
  relaxation,  ///< the same, each row before the next begins: as if group_rows were 1
  fsync        ///< the loss of power too: each group is on the disk when it is committed
};

struct LogOptions {
  /// Rows hold the potentials of the outputs alone: smaller, but gradients cannot be re-formed
  bool outputs_only = false;
  std::uint64_t group_rows = 16384;  ///< rows that may not be committed yet: those which a crash can lose; 1:
                                     ///< each before the next begins (a bench)
  std::chrono::milliseconds group_age{
      2000};  ///< a row that comes when the oldest of its group is this old ends the group
  /// Groups are written by a thread of the log's own while the next is filled: each has half of group_rows,
  /// and who appends waits where both are full. Not where group_rows is 1. False: by whoever appends.
  bool background = false;
  std::shared_ptr<const Clock> clock{};  ///< of ages, and of the column `recorded`; null: the wall's
  Durability durability = Durability::group;
  std::uint64_t full_theta = 4096;  ///< steps log the whole parameter vector where it is no longer than this
  /// Relaxations whose path (At::path) is logged, from the first on, those of an earlier run included
  std::uint64_t paths = 1000;
  /// Bytes. Levels of a pattern set, all variants, are in the log where they take no more than this, or come
  /// from no file; else the set is named by its file, that file's SHA-256 and a digest. Targets and rows of a
  /// data set are in the log where each takes no more; else it holds their digest alone.
  std::uint64_t largest_copy = std::uint64_t{16} << 20;
};

/// How a run ended, as the log says. A log without it (running) was cut short.
enum class ExitStatus : std::uint8_t { running, finished, cancelled, failed };
const char* to_string(ExitStatus status);

/// Writes a log. Not copyable; one at a time on a file (a companion lock file keeps a second writer out). Its
/// calls are one thread's; what goes wrong in the background is thrown by the next of them.
class LogWriter {
 public:
  /// Creates the file with all groups and datasets. Throws LogError if it exists, or cannot be made.
  LogWriter(const std::string& path, const LogHeader& header, const LogOptions& options);
  /// Opens a log to continue it: trims it to its counted rows. Shape and pattern sets are the file's; of the
  /// options only the group's size and age count. Throws LogError if there is no such log, it is truncated,
  /// or another writer has it.
  struct Continue {};
  LogWriter(const std::string& path, Continue, const LogOptions& options);
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  /// Appends one row. Throws LogError; then nothing further is written. `fault`: why the attempt failed, if
  /// it did. Throws std::invalid_argument where the relaxation does not fit the device, or the pattern set is
  /// none of the header's.
  void append(const Drive& drive, const Relaxation& relaxation, const std::string& fault = {});
  void append(const StepReport& step, const Vector& theta);
  void append(const EpochReport& epoch);
  void append(const Checkpoint& checkpoint);
  /// Writes and flushes what is pending, then counts it; it is counted when this returns.
  void commit();
  /// Commits what is pending; in the background without waiting for it.
  void submit();
  /// Submits if the group is large or old enough: called by the recorder after each row.
  void tick();
  /// Records the bench on which a log that was opened to continue it goes on. To be called before anything is
  /// appended.
  void bench_now(const BenchContinuation& now);
  /// Records what the instruments of the bench are set to when it is safe: one a BenchRecord::instruments, of
  /// the bench that was last recorded. What is longer than at the start of the run is cut. Does nothing in a
  /// log that holds no bench.
  void settings_at_end(const std::vector<BenchRecord::Statements>& settings);
  /// Commits, records how the run ended, and closes. Idempotent; of a log that failed, it only gives the lock
  /// back.
  void close(ExitStatus status, const std::string& reason);
  std::uint64_t rows() const;  ///< appended so far, those of an earlier run included

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A row as recorded.
struct LogRow {
  std::uint64_t theta_digest = 0;
  std::vector<std::pair<std::uint32_t, double>> overrides;
  std::uint32_t pattern_set = 0;  ///< index into the header's sets
  std::uint64_t pattern_row = 0;
  std::vector<Hold> holds;
  Vector nudge;  ///< empty: none
  enum class StartKind : std::uint8_t { rest, present, from } start = StartKind::rest;
  /// Rest::rate; infinite: a step, or no start from rest
  double rest_rate = std::numeric_limits<double>::infinity();
  std::uint64_t start_digest = 0;  ///< of From::potential
  bool at = false;
  At observe;
  Label label;
  Relaxation relaxation;
  std::string fault;
  double recorded = 0;  ///< s since the run was started
};

/// Reads a log, clipped to its counted rows. Throws LogError: not a log, damaged (says whether `ness inspect
/// --repair` can help), another version. May read a log that is being written.
class LogReader {
 public:
  explicit LogReader(const std::string& path);
  ~LogReader();
  LogReader(LogReader&&) noexcept;

  const std::string& path() const;
  /// Pattern_sets only where they are stored in the file; else null pointers
  const LogHeader& header() const;
  struct SetInfo {
    std::string name, path, sha256, encoding;  ///< path empty: the levels come from no file
    bool stored = false;                       ///< the log holds the levels
    std::uint64_t digest = 0, rows = 0;        ///< rows: variants included
    std::uint32_t width = 0, variants = 1;
  };
  const std::vector<SetInfo>& pattern_sets() const;
  std::uint64_t format() const;  ///< version of the log's format
  bool outputs_only() const;
  std::uint64_t rows() const;
  std::uint64_t steps() const;
  std::uint64_t epochs() const;
  std::uint64_t checkpoints() const;
  // Readings throw std::invalid_argument for an index that is not counted, LogError for a row whose CRC
  // fails.
  LogRow row(std::uint64_t index) const;                          ///< buffered: reading in order is fast
  std::optional<LogRow> row_if_whole(std::uint64_t index) const;  ///< nothing where its CRC fails
  StepReport step(std::uint64_t index) const;
  Vector theta(std::uint64_t step) const;  ///< after the step; empty where the log holds only digests
  EpochReport epoch(std::uint64_t index) const;
  Checkpoint checkpoint(std::uint64_t index) const;
  ExitStatus status() const;
  std::string reason() const;
  /// Rows of failed attempts (with a fault), in order; of damaged rows it is not known.
  std::vector<std::uint64_t> failed_rows() const;
  /// Checks the CRC of every counted row; the indices of rows that fail. A row whose bookkeeping of variable
  /// parts is damaged may take its successor with it.
  std::vector<std::uint64_t> damaged_rows() const;
  /// The same of steps, epochs and checkpoints.
  std::vector<std::uint64_t> damaged_steps() const;
  std::vector<std::uint64_t> damaged_epochs() const;
  std::vector<std::uint64_t> damaged_checkpoints() const;
  /// Parts of HDF5's bookkeeping or of the header whose CRC fails: "bytes 8192 to 12287". Of the whole file,
  /// needed or not. Empty in logs from before such CRCs.
  std::vector<std::string> damaged_parts() const;
  struct Ragged {  ///< what lies beyond the counts
    std::uint64_t rows = 0, steps = 0;
  };
  Ragged ragged() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct RepairReport {
  bool was_truncated = false;  ///< the file was shorter than its stored end and was padded
  std::uint64_t padded_bytes = 0;
  std::uint64_t rows_kept = 0, rows_clipped = 0, steps_kept = 0, steps_clipped = 0;
  std::uint64_t epochs_kept = 0, epochs_clipped = 0, checkpoints_kept = 0, checkpoints_clipped = 0;
  std::vector<std::uint64_t> damaged;  ///< kept rows that are lost: their CRC fails
  std::vector<std::string> mended;     ///< single wrong bits that were put right: where
  std::vector<std::string> lost;       ///< parts of the header that could not be copied
  /// What can be read was copied to a new file. This is the old one, as it was but for mended bits;
  /// empty: the file was repaired in its place
  std::string damaged_file;
};
/// Makes a log whole again. A single wrong bit is put right wherever a CRC tells which it is. A file that was
/// cut, or whose bookkeeping is lost, is replaced by a copy of what is whole; the old one is kept as
/// LOG.damaged. A simulation (a device that restores states) that was cut keeps what lies before the first
/// loss, and goes on from the newest checkpoint there: it ends as if nothing had been lost. A bench
/// (but for one with failed attempts) keeps all that is whole and goes on from the newest whole checkpoint;
/// lost rows before it keep their places, and are reported as damaged. Columns are clipped to the counts.
/// Throws LogError if it is no log, or its header is lost.
RepairReport repair_log(const std::string& path);

}  // namespace ness
