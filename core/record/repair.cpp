#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <unistd.h>

#include "log_checks.hpp"
#include "log_file.hpp"
#include "log_writer_lock.hpp"
#include "relaxation_fields.hpp"
#include "ness/device/error.hpp"
#include "ness/record/log.hpp"

namespace ness {
namespace {

using hdf5::Calls;
using hdf5::Handle;
using hdf5::TableReader;
using log_layout::Counts;
using log_layout::Layout;

[[noreturn]] void refuse(const std::string& path, const std::string& reason) {
  throw LogError("cannot repair the log '" + path + "': " + reason);
}

// Puts single wrong bits right; the sectors that stay damaged.
std::vector<hdf5::DamagedSector> mend_sectors(int file, const std::string& path, RepairReport& report) {
  std::vector<hdf5::DamagedSector> damaged = hdf5::damaged_sectors(file, hdf5::find_checks(file));
  std::erase_if(damaged, [&](const hdf5::DamagedSector& one) {
    if (!one.bit) return false;
    if (!hdf5::turn_bit(file, one)) refuse(path, std::strerror(errno));
    report.mended.push_back("bit " + std::to_string(*one.bit % 8) + " of byte " +
                            std::to_string(one.sector * hdf5::sector_bytes + *one.bit / 8));
    return true;
  });
  return damaged;
}

// A file of which one table is read and written.
struct OpenLog {
  Calls& calls;
  hid_t file;
  const Layout& layout;
};

// Puts single wrong bits of rows right.
template <class Record>
void mend_rows(const OpenLog& log, const char* group_name, const char* what, std::uint64_t rows,
               RepairReport& report) {
  const Handle group = hdf5::open_group(log.calls, log.file, group_name);
  TableReader reader(log.calls, hdf5::open_group(log.calls, log.file, group_name),
                     log_layout::shape<Record>(log.layout), rows, 8192);
  for (std::uint64_t i = 0; i < rows; ++i) {
    if (reader.seek(i)) continue;
    const std::optional<TableReader::Mended> mended = reader.mended();
    if (!mended) continue;
    hdf5::write_value(log.calls, group, *mended);
    report.mended.push_back("a bit of '" + mended->column->name + "' of " + what + " " + std::to_string(i));
    reader.forget();
  }
}

// Clips a table; returns the number of rows removed because they were not counted.
template <class Record>
std::uint64_t clip(const OpenLog& log, const char* name, std::uint64_t counted) {
  const Handle group = hdf5::open_group(log.calls, log.file, name);
  const hdf5::TableShape shape = log_layout::shape<Record>(log.layout);
  const std::uint64_t stored = hdf5::stored_rows(log.calls, group, shape);
  hdf5::clip_table(log.calls, group, shape, counted);
  return stored - counted;
}

// Counts, mends and clips where the file is.
void repair_in_place(const std::string& path, RepairReport& report) {
  const hdf5::Turn turn;
  Calls calls(path, Calls::Use::writing);
  Handle file = hdf5::open_to_write(calls);
  log_layout::check_format(calls, file);
  const Counts counts = log_layout::read_counts(calls, file);
  const Layout layout = log_layout::read_layout(calls, file);
  const OpenLog log{calls, file, layout};
  using log_layout::EpochRecord;
  using log_layout::StepRecord;
  mend_rows<LogRow>(log, log_layout::relaxations_group, "row", counts.relaxations, report);
  mend_rows<StepRecord>(log, log_layout::training_group, "step", counts.steps, report);
  mend_rows<EpochRecord>(log, log_layout::epochs_group, "epoch", counts.epochs, report);
  mend_rows<Checkpoint>(log, log_layout::checkpoints_group, "checkpoint", counts.checkpoints, report);
  report.rows_kept = counts.relaxations;
  report.steps_kept = counts.steps;
  report.epochs_kept = counts.epochs;
  report.checkpoints_kept = counts.checkpoints;
  report.rows_clipped = clip<LogRow>(log, log_layout::relaxations_group, counts.relaxations);
  report.steps_clipped = clip<StepRecord>(log, log_layout::training_group, counts.steps);
  report.epochs_clipped = clip<EpochRecord>(log, log_layout::epochs_group, counts.epochs);
  report.checkpoints_clipped = clip<Checkpoint>(log, log_layout::checkpoints_group, counts.checkpoints);
  calls(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush the file");
  file.close("close the file");
}

// A table that is read, and which of its rows are whole.
struct Table {
  TableReader reader;
  std::vector<bool> whole;
  std::uint64_t end = 0;  // rows that are copied

  template <class Record>
  static Table of(const OpenLog& log, const char* group, std::uint64_t rows, Record) {
    return {TableReader(log.calls, hdf5::open_group(log.calls, log.file, group),
                        log_layout::shape<Record>(log.layout), rows, 8192),
            std::vector<bool>(rows), rows};
  }
  void look() {
    for (std::uint64_t i = 0; i < reader.rows(); ++i) whole[i] = reader.seek(i);
    while (end > 0 && !whole[end - 1]) --end;
  }
  /// Ends at the first row from `begin` on that is lost.
  void end_at_loss(std::uint64_t begin) {
    for (std::uint64_t i = begin; i < end; ++i) {
      if (!whole[i]) end = i;
    }
  }
};

struct Tables {
  Table relaxations, training, epochs, checkpoints;
};

Tables tables_of(const OpenLog& log, const Counts& counts) {
  Tables tables{Table::of(log, log_layout::relaxations_group, counts.relaxations, LogRow{}),
                Table::of(log, log_layout::training_group, counts.steps, log_layout::StepRecord{}),
                Table::of(log, log_layout::epochs_group, counts.epochs, log_layout::EpochRecord{}),
                Table::of(log, log_layout::checkpoints_group, counts.checkpoints, Checkpoint{})};
  for (Table* table : {&tables.relaxations, &tables.training, &tables.epochs, &tables.checkpoints})
    table->look();
  return tables;
}

struct Going {
  std::uint64_t row = 0, step = 0, epoch = 0;  // what it needs of each, from the first
};

// What a run that goes on from this checkpoint needs. Rows of failed attempts are not among its relaxations.
Going from_checkpoint(const OpenLog& log, Tables& tables, std::uint64_t index) {
  tables.checkpoints.reader.seek(index);
  Checkpoint checkpoint;
  log_layout::describe(tables.checkpoints.reader, checkpoint, log.layout);
  Going going{checkpoint.relaxations, checkpoint.step, checkpoint.epoch};
  TableReader& rows = tables.relaxations.reader;
  if (rows.list_length("fault") == 0) return going;
  LogRow row;
  for (std::uint64_t i = 0; i < std::min(going.row, rows.rows()); ++i) {
    if (!rows.seek(i)) continue;
    log_layout::describe(rows, row, log.layout);
    if (!row.fault.empty()) ++going.row;
  }
  return going;
}

// What a simulation lost it can compute again: it goes on from the newest checkpoint before which nothing is
// lost, and ends as if nothing had been.
void end_before_the_first_loss(const OpenLog& log, Tables& tables) {
  for (Table* table : {&tables.relaxations, &tables.training, &tables.epochs, &tables.checkpoints})
    table->end_at_loss(0);
  while (tables.checkpoints.end > 0) {
    const Going needs = from_checkpoint(log, tables, tables.checkpoints.end - 1);
    if (needs.row <= tables.relaxations.end && needs.step <= tables.training.end &&
        needs.epoch <= tables.epochs.end)
      break;
    --tables.checkpoints.end;
  }
}

// What a bench measured is not to be had again: all that is whole is kept, and what was learned, the newest
// whole checkpoint; lost rows before it keep their places. It goes on by what follows in the log: there
// nothing may be missing.
void end_after_the_newest_checkpoint(const OpenLog& log, Tables& tables) {
  Going needs;
  if (tables.checkpoints.end > 0) needs = from_checkpoint(log, tables, tables.checkpoints.end - 1);
  const auto end = [](Table& table, std::uint64_t begin) {
    table.end = std::max(table.end, std::min(begin, table.reader.rows()));
    table.end_at_loss(begin);
  };
  end(tables.relaxations, needs.row);
  end(tables.training, needs.step);
  end(tables.epochs, needs.epoch);
}

void copy_rows(LogFile& to, Tables& tables) {
  RowGroup group;
  const auto copy = [&](Table& table, hdf5::TableRows& rows, std::size_t lists) {
    constexpr std::uint64_t together = 8192;
    std::vector<std::uint64_t> ends(lists, 0);
    for (std::uint64_t i = 0; i < table.end; ++i) {
      table.reader.seek(i);
      table.reader.copy_row(rows, ends);
      if (rows.count >= together || rows.bytes() > (std::size_t{16} << 20)) to.write(group);
    }
  };
  copy(tables.checkpoints, group.checkpoints, to.lists_of_checkpoints());
  copy(tables.epochs, group.epochs, to.lists_of_epochs());
  copy(tables.training, group.training, to.lists_of_training());
  copy(tables.relaxations, group.relaxations, to.lists_of_relaxations());
  to.write(group);
}

// The first of these names that is free.
std::string free_name(const std::string& path) {
  for (int i = 1;; ++i) {
    const std::string name = path + (i == 1 ? ".damaged" : ".damaged-" + std::to_string(i));
    if (::access(name.c_str(), F_OK) != 0) return name;
  }
}

void exchange(const std::string& path, const std::string& made, RepairReport& report) {
  report.damaged_file = free_name(path);
  if (::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, report.damaged_file.c_str(), RENAME_NOREPLACE) != 0 &&
      (errno != EINVAL || ::rename(path.c_str(), report.damaged_file.c_str()) != 0))
    refuse(path, "it cannot be kept as '" + report.damaged_file + "': " + std::strerror(errno));
  if (::rename(made.c_str(), path.c_str()) != 0) {
    const int reason = errno;
    ::rename(report.damaged_file.c_str(), path.c_str());
    refuse(path, std::strerror(reason));
  }
}

// Rows mean nothing without it.
void require_header(const std::string& path) {
  try {
    LogReader{path};
  } catch (const LogError& error) {
    std::string reason = error.what();
    reason.resize(std::min(reason.size(), reason.find(hdf5::repair_advice(path))));
    refuse(path, "its header is lost, and with it what its rows mean (" + reason + ")");
  }
}

// Copies what is whole to a new file. `cut`: the end of the old one is lost.
void rebuild(const std::string& path, bool cut, RepairReport& report) {
  const hdf5::Turn turn;
  require_header(path);
  Calls calls(path, Calls::Use::reading);
  const Handle file = hdf5::open_to_read(calls);
  const Counts counts = log_layout::read_counts(calls, file);
  const Layout layout = log_layout::read_layout(calls, file);
  const OpenLog log{calls, file, layout};
  Tables tables = tables_of(log, counts);
  // Among lost rows there may be failed attempts: which row a checkpoint stands before is then not known.
  const bool attempts_known = tables.relaxations.reader.list_length("fault") == 0;
  if (cut && (layout.info.restores_state || !attempts_known)) end_before_the_first_loss(log, tables);
  else if (cut) end_after_the_newest_checkpoint(log, tables);
  const std::string made = path + ".repaired";
  ::unlink(made.c_str());
  try {
    LogFile copy(made, LogFile::CopyOf{calls, file, layout}, report.lost);
    copy_rows(copy, tables);
    // What is lost can be made again: the run has not come to its end.
    if (tables.relaxations.end < counts.relaxations || tables.training.end < counts.steps ||
        tables.checkpoints.end < counts.checkpoints)
      copy.reopen();
    copy.close(ExitStatus::running, "");
    copy.give_back();
  } catch (...) {
    ::unlink(made.c_str());
    throw;
  }
  LogReader{made};  // its header is whole
  exchange(path, made, report);
  report.rows_kept = tables.relaxations.end;
  report.rows_clipped = counts.relaxations - tables.relaxations.end;
  report.steps_kept = tables.training.end;
  report.steps_clipped = counts.steps - tables.training.end;
  report.epochs_kept = tables.epochs.end;
  report.epochs_clipped = counts.epochs - tables.epochs.end;
  report.checkpoints_kept = tables.checkpoints.end;
  report.checkpoints_clipped = counts.checkpoints - tables.checkpoints.end;
}

// The file that is kept is as long as it was.
void take_padding(int file, const log_layout::StoredEnd& found) {
  if (found.missing() > 0) static_cast<void>(::ftruncate(file, static_cast<off_t>(found.size)) == 0);
}

// True where the file, as it is, lacks nothing that a repair in its place would need.
bool whole_but_for_rows(const std::string& path) {
  try {
    const LogReader log(path);
    return log.damaged_rows().empty() && log.damaged_steps().empty() && log.damaged_epochs().empty() &&
           log.damaged_checkpoints().empty();
  } catch (const LogError&) {
    return false;
  }
}

}  // namespace

RepairReport repair_log(const std::string& path) {
  RepairReport report;
  {
    const int file = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    const bool checked = file >= 0 && hdf5::find_checks(file).known();
    if (file >= 0) ::close(file);
    if (!checked) log_layout::stored_end(path);  // throws for what is no log, before a lock file is made
  }
  const WriterLock lock(path);
  log_layout::complete_last_flush(lock.file(), path);
  const bool checked = hdf5::find_checks(lock.file()).known();
  const bool parts_lost = !mend_sectors(lock.file(), path, report).empty();
  const log_layout::StoredEnd end = log_layout::stored_end(lock.file(), path);
  report.padded_bytes = end.missing();
  report.was_truncated = report.padded_bytes > 0;
  if (!checked || report.was_truncated) log_layout::mend_end(path, end);
  else if (end.offset > 0 && end.size > end.end) log_layout::cut(lock.file(), path, end.end);
  // After a cut, tables and their indexes may have lost their ends.
  if (parts_lost || (report.was_truncated && !whole_but_for_rows(path))) {
    try {
      rebuild(path, report.was_truncated, report);
    } catch (...) {
      take_padding(lock.file(), end);
      throw;
    }
    take_padding(lock.file(), end);
  } else {
    repair_in_place(path, report);
    if (checked && !hdf5::settle(lock.file(), hdf5::find_checks(lock.file())))
      refuse(path, std::strerror(errno));
  }
  report.damaged = LogReader(path).damaged_rows();
  return report;
}

}  // namespace ness
