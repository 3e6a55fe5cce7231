// Layout of a log. The writer, the reader and the repair share only this.
//
//   /                      NXroot, ness_log_format
//   /committed             [4] rows that exist: relaxations, steps, epochs, checkpoints; written in place
//   /entry                 NXentry: title, start_time, end_time, command, experiment, seed, exit_status,
//   exit_reason, ..
// /entry/versions        software and version, as two columns
//   /entry/device          identity, terminals, parameters, outputs: DeviceInfo
//   /entry/bench           the bench: its file, its instruments and their settings, what its check found
//   /entry/bench/continued/<n>  the same, each time the run went on
//   /entry/from            the log that the first parameters came from
//   /entry/patterns/<n>    each pattern set: its levels, or the file it comes from
//   /entry/data/<set>      each data set: rows of a pattern set, and targets
//   /entry/relaxations     a table: one row a relaxation
//   /entry/training        a table: one row a step; NXdata, so that a viewer plots the loss
//   /entry/epochs          a table: one row an epoch
//   /entry/checkpoints     a table: one row a checkpoint
//   /checks                CRCs of what is no row (sector_checks.hpp)
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "hdf5_table.hpp"
#include "ness/record/log.hpp"

namespace ness::log_layout {

using hdf5::Calls;
using hdf5::Handle;

/// Version 2 added the environment; 3: errors of currents and of gradients, the estimator's state; 4: time
/// between readings, and their mode; 5: the whole error of gradients; of an epoch its samples, what was left
/// out, the best parameters; 6: data sets, edges, where the experiment came from.
constexpr std::uint64_t format = 6, oldest_format = 3;

/// The counts in /committed.
struct Counts {
  std::uint64_t relaxations = 0, steps = 0, epochs = 0, checkpoints = 0;
};
Counts read_counts(Calls& calls, hid_t file);
void write_counts(Calls& calls, hid_t committed, const Counts& counts);

/// The shape of the tables, according to the header.
struct Layout {
  std::uint64_t version = format;  ///< of the file's format
  DeviceInfo info;                 ///< as recorded; restricted to the outputs where only they are logged
  bool outputs_only = false;
  std::uint64_t device_reads = 0;       ///< potentials that the device reads
  std::uint64_t read_width = 0;         ///< columns of potential
  std::vector<std::uint32_t> selected;  ///< their positions in Relaxation::potential
  std::uint64_t theta_width = 0;        ///< columns of theta in a step; 0: only digests
  std::string rate_unit;                ///< of Rest::rate
};
Layout layout_of(const DeviceInfo& info, bool outputs_only, std::uint64_t full_theta);

/// Makes every group and dataset, with /committed zero.
void create(Calls& calls, hid_t file, const LogHeader& header, const Layout& layout,
            const LogOptions& options);
/// The same as a copy of another log, without its rows. Returns the parts that could not be copied.
std::vector<std::string> create_copy(Calls& calls, hid_t file, Calls& from_calls, hid_t from,
                                     const Layout& layout);
/// Throws LogError unless the file is a log of a format that can be read.
void check_format(Calls& calls, hid_t file);
Layout read_layout(Calls& calls, hid_t file);
std::vector<LogReader::SetInfo> read_pattern_sets(Calls& calls, hid_t file);
/// The header; pattern sets that are not stored in the file are null.
LogHeader read_header(Calls& calls, hid_t file, const Layout& layout,
                      const std::vector<LogReader::SetInfo>& sets);

/// The bench of a run, in a new group of `parent`; the bench to which it has changed; what its instruments
/// say at the end. (log_layout_bench.cpp)
void write_bench(Calls& calls, hid_t parent, const std::string& name, const BenchRecord& bench);
void write_continuation(Calls& calls, hid_t file, const BenchContinuation& now);
void rewrite_settings_at_end(Calls& calls, hid_t file, const std::vector<BenchRecord::Statements>& settings);
void read_benches(Calls& calls, hid_t entry, LogHeader& header);
/// Where the first parameters came from.
void write_origin(Calls& calls, hid_t entry, const LogOrigin& from);
std::optional<LogOrigin> read_origin(Calls& calls, hid_t entry);

/// The end of a file, as stored in it. HDF5 refuses a file that is shorter, and addresses beyond the end.
struct StoredEnd {
  std::uint64_t size = 0;    ///< of the file
  std::uint64_t end = 0;     ///< as stored
  std::uint64_t offset = 0;  ///< position of the stored end; 0: not the superblock version of logs

  std::uint64_t missing() const { return offset > 0 && end > size ? end - size : 0; }
};
/// Throws LogError if the file cannot be read, is not HDF5, or its first sector is damaged.
StoredEnd stored_end(const std::string& path);
/// The same for a file that is open for reading, without a look at the checks; the path is for messages.
StoredEnd stored_end(int descriptor, const std::string& path);
/// Makes a file, which must not be open in HDF5, consistent with its stored end: pads it, or includes what
/// was written beyond. Throws LogError.
void mend_end(const std::string& path, const StoredEnd& found);
/// Stores the end in an open file, before HDF5 does: HDF5 stores it only after everything beyond the old end
/// is written.
bool store_end(int descriptor, const StoredEnd& where, std::uint64_t end);
/// The message about a file that lacks this number of bytes.
std::string truncation(const std::string& path, std::uint64_t missing);

/// "2026-01-31T12:00:00Z".
std::string utc_now();

template <class Row, class... Types>
concept OneOf = (std::same_as<std::remove_const_t<Row>, Types> || ...);

/// A row of training.
struct StepRecord {
  StepReport report;
  Vector theta;
};

struct StepView {
  const StepReport& report;
  const Vector& theta;
};

template <class Archive, OneOf<StepRecord, StepView> Row>
void describe(Archive& a, Row& r, const Layout& layout) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  auto& s = r.report;
  a.scalar("step", "1", "training step", s.step);
  a.scalar("epoch", "1", "its epoch", s.epoch);
  a.scalar("loss", "1",
           "mean loss of the samples of the minibatch that could be used (all, if left_out is 0); not a "
           "number: none could",
           s.loss);
  a.scalar("correct", "1", "fraction of these samples classified correctly", s.correct);
  a.scalar("gradient_norm", "1",
           "Euclidean norm of the gradient in the optimizer's coordinates, before clipping", s.gradient_norm);
  a.scalar("rate", "1", "learning rate", s.rate);
  a.scalar("relaxations", "1", "relaxations made so far", s.relaxations);
  a.scalar("standard_error", "1",
           "error of the gradient from readings, random directions fixed (Euclidean norm, as gradient_norm); "
           "not a number: not stated",
           s.reading_error, nan);
  if (layout.version >= 5) {
    a.scalar(
        "whole_error", "1",
        "what the gradient scatters by in all, random directions in it (as standard_error); not a number: "
        "not stated",
        s.whole_error, nan);
  }
  a.scalar("asymmetry", "1", "|G - G^T| / |G + G^T| as measured; not a number: not measured", s.asymmetry,
           nan);
  a.scalar(
      "offset", layout.info.potential_unit,
      "how far a reading of the reference relaxation has drifted, the largest; not a number: not followed",
      s.offset, nan);
  a.scalar("repeats", "1", "times the minibatch was relaxed", s.repeats);
  a.scalar("left_out", "1", "samples left out", s.left_out);
  a.scalar("lost", "1", "chains that did not return to their branch", s.lost);
  a.scalar("skipped", "1", "1: the parameters were not stepped", s.skipped);
  a.scalar("worst", "1", "all quality flags met (bits as in /entry/relaxations/flags)", s.worst);
  a.scalar("theta_before", "1", "XXH3 (64 bit) of the parameters before the step", s.theta_before);
  a.scalar("theta_after", "1", "XXH3 (64 bit) of the parameters after the step", s.theta_after);
  a.row("theta", "as /entry/device/parameters/unit", "parameters after the step", r.theta,
        layout.theta_width);
}

/// A row of epochs; truth values are numbers.
struct EpochRecord {
  EpochReport report;
  std::uint8_t validated = 0, best = 0, best_by = 0;
};
/// As a log of that format holds it.
EpochRecord record_of(const EpochReport& report, std::uint64_t version);
EpochReport report_of(const EpochRecord& record);

template <class Archive, OneOf<EpochRecord> Row>
void describe(Archive& a, Row& r, const Layout& layout) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const bool before = layout.version < 5;
  const double blank = before ? 0 : nan;
  auto& e = r.report;
  a.scalar("epoch", "1", "epoch that ended", e.epoch);
  a.scalar(
      "loss", "1",
      "mean training loss of its samples, each at the parameters of its step (format 3 and 4: mean of "
      "its steps); it is that of the training set if left_out is 0; not a number: no sample could be used",
      e.loss);
  a.scalar("correct", "1", "fraction of these samples that were correct", e.correct);
  a.scalar("validation_loss", "1", "validation loss; not a number: not validated (format 3 and 4: 0)",
           e.validation_loss, blank);
  a.scalar("validation_accuracy", "1", "validation accuracy, likewise", e.validation_accuracy, blank);
  a.scalar("validated", "1", "1: it was validated", r.validated);
  a.scalar("best", "1", "1: the best loss so far, by best_by (format 3 and 4: the best validation loss)",
           r.best);
  if (before) return;
  a.scalar("samples", "1", "samples that its loss is the mean of", e.samples);
  a.scalar("left_out", "1", "samples that were left out of its loss", e.left_out);
  a.scalar("validation_left_out", "1", "samples that were left out of the validation loss",
           e.validation_left_out);
  a.scalar("best_by", "1",
           "what the best parameters so far were chosen by: 0 there are none, 1 training loss of an epoch, 2 "
           "validation loss",
           r.best_by);
  a.scalar("best_loss", "1", "that loss; not a number: there are none", e.best_so_far.loss, nan);
  a.scalar("best_step", "1", "steps made to them", e.best_so_far.step, Best::unknown);
  a.scalar("best_epoch", "1", "epoch that showed the loss", e.best_so_far.epoch);
}

template <class Archive, OneOf<Checkpoint> Row>
void describe(Archive& a, Row& c, const Layout&) {
  a.scalar("step", "1", "the next step", c.step);
  a.scalar("epoch", "1", "its epoch", c.epoch);
  a.scalar("relaxations", "1", "relaxations made before it", c.relaxations);
  a.list("theta", "as /entry/device/parameters/unit", "parameters", c.theta);
  a.list("optimizer", "1", "state of the optimizer", c.optimizer);
  a.list("trainer", "1", "the trainer's own numbers", c.trainer);
  a.list("estimator", "1", "state of the estimator", c.estimator);
}

/// The columns of the table whose rows are Records.
template <class Record>
hdf5::TableShape shape(const Layout& layout) {
  hdf5::TableShape columns;
  Record record;
  describe(columns, record, layout);
  columns.finish();
  return columns;
}

constexpr const char* relaxations_group = "/entry/relaxations";
constexpr const char* training_group = "/entry/training";
constexpr const char* epochs_group = "/entry/epochs";
constexpr const char* checkpoints_group = "/entry/checkpoints";

}  // namespace ness::log_layout
