#include "ness/record/replay.hpp"

#include <algorithm>
#include <bit>
#include <initializer_list>
#include <iomanip>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "ness/device/error.hpp"
#include "ness/record/recorder.hpp"
#include "relaxation_fields.hpp"

namespace ness {
namespace {

std::string hexadecimal(std::uint64_t value) {
  std::ostringstream text;
  text << "0x" << std::hex << std::setw(16) << std::setfill('0') << value;
  return text.str();
}

std::string text_of(double value) {
  std::ostringstream text;
  text << std::setprecision(17) << value;
  if (value != value) text << " (" << hexadecimal(std::bit_cast<std::uint64_t>(value)) << ")";
  return text.str();
}

bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

// Compares present values with recorded ones, and throws at the first difference.
class Comparison {
 public:
  Comparison(std::string what, std::uint64_t index, std::string remark = {})
      : where_(std::move(what) + " " + std::to_string(index)), remark_(std::move(remark)) {}

  void digest(const std::string& field, std::uint64_t is, std::uint64_t recorded) const {
    if (is != recorded) differ(field, hexadecimal(is), hexadecimal(recorded));
  }
  void count(const std::string& field, std::uint64_t is, std::uint64_t recorded) const {
    if (is != recorded) differ(field, std::to_string(is), std::to_string(recorded));
  }
  void number(const std::string& field, double is, double recorded) const {
    if (!same_bits(is, recorded)) differ(field, text_of(is), text_of(recorded));
  }
  void text(const std::string& field, const std::string& is, const std::string& recorded) const {
    if (is != recorded) differ(field, is, recorded);
  }
  void vector(const char* field, const Vector& is, const Vector& recorded) const {
    count("the number of entries of " + std::string(field), static_cast<std::uint64_t>(is.size()),
          static_cast<std::uint64_t>(recorded.size()));
    for (Eigen::Index i = 0; i < is.size(); ++i) {
      if (!same_bits(is[i], recorded[i]))
        differ(field + ("[" + std::to_string(i) + "]"), text_of(is[i]), text_of(recorded[i]));
    }
  }

 private:
  [[noreturn]] void differ(const std::string& field, const std::string& is,
                           const std::string& recorded) const {
    throw ReplayMismatch(where_ + ": " + field + " is " + is + ", recorded " + recorded + remark_);
  }
  std::string where_, remark_;
};

// Compares what a device reads again with the readings of a row, bit by bit. What was imposed has been
// compared before.
struct Reread {
  const Comparison& same;
  const log_layout::Given& given;
  const LogRow& row;

  template <class Give, class Place>
  void field(const log_layout::FieldText& text, const Give& give, const Place& place,
             log_layout::Value<Give> = {}) {
    if (*text.compared != 0) return;
    const auto is = give(given);
    const auto recorded = static_cast<log_layout::Value<Give>>(place.get(row));
    if constexpr (std::is_same_v<log_layout::Value<Give>, double>) same.number(text.name, is, recorded);
    else same.count(text.name, is, recorded);
  }
  template <class Give, class Place>
  void list(const log_layout::FieldText& text, const Give& give, const Place& place) {
    if (*text.compared != 0) return;
    const auto is = give(given);
    const auto& recorded = place.get(row);
    const auto size = static_cast<std::size_t>(is.size());
    same.count("the number of entries of " + std::string(text.name), size,
               static_cast<std::size_t>(recorded.size()));
    for (std::size_t i = 0; i < size; ++i) {
      const std::string name = text.name + ("[" + std::to_string(i) + "]");
      if constexpr (std::is_same_v<log_layout::Entry<Give>, double>) same.number(name, is[i], recorded[i]);
      else same.count(name, static_cast<std::uint64_t>(is[i]), static_cast<std::uint64_t>(recorded[i]));
    }
  }
  template <class Give, class Place>
  void readings(const log_layout::FieldText& text, const Give& give, const Place& place, std::uint64_t) {
    list(text, give, place);
  }
};

// Compares the fields of a drive with those of a row, bit by bit.
struct Compared {
  const Comparison& same;
  const log_layout::Given& given;
  const LogRow& row;

  template <class Give, class Place>
  void field(const log_layout::FieldText& text, const Give& give, const Place& place,
             log_layout::Value<Give> = {}) {
    using log_layout::Shown;
    if (*text.compared == 0) return;
    const auto is = give(given);
    const auto recorded = static_cast<log_layout::Value<Give>>(place.get(row));
    if constexpr (std::is_same_v<log_layout::Value<Give>, double>) {
      same.number(text.compared, is, recorded);
    } else {
      switch (text.shown) {
        case Shown::number: return same.count(text.compared, is, recorded);
        case Shown::hexadecimal: return same.digest(text.compared, is, recorded);
        case Shown::start:
          return named(text, is, recorded, {"from rest", "from the present state", "from a restored state"});
        case Shown::observe: return named(text, is, recorded, {"when settled", "at a time"});
        case Shown::mode: return named(text, is, recorded, {"serial", "repeat"});
        case Shown::purpose:
          return named(text, is, recorded, {"none", "train", "validation", "test", "probe"});
      }
    }
  }
  template <class Give, class Place>
  void list(const log_layout::FieldText& text, const Give& give, const Place& place) {
    if (*text.compared == 0) return;
    const auto is = give(given);
    const auto& recorded = place.get(row);
    const auto size = static_cast<std::size_t>(is.size());
    same.count("the number of entries of " + std::string(text.compared), size,
               static_cast<std::size_t>(recorded.size()));
    for (std::size_t i = 0; i < size; ++i) {
      const std::string name = text.compared + ("[" + std::to_string(i) + "]");
      if constexpr (std::is_same_v<log_layout::Entry<Give>, double>) same.number(name, is[i], recorded[i]);
      else same.count(name, is[i], recorded[i]);
    }
  }
  template <class Give, class Place>
  void readings(const log_layout::FieldText&, const Give&, const Place&, std::uint64_t) {}

 private:
  void named(const log_layout::FieldText& text, std::size_t is, std::size_t recorded,
             std::initializer_list<const char*> names) const {
    const auto name = [&](std::size_t i) { return i < names.size() ? names.begin()[i] : std::to_string(i); };
    same.text(text.compared, name(is), name(recorded));
  }
};

void check_sets(const LogReader& log, const std::vector<std::shared_ptr<const PatternSet>>& sets) {
  const auto& recorded = log.pattern_sets();
  if (sets.size() != recorded.size()) {
    throw LogError("the log '" + log.path() + "' was recorded with " + std::to_string(recorded.size()) +
                   " pattern sets, the experiment has " + std::to_string(sets.size()));
  }
  for (std::size_t i = 0; i < sets.size(); ++i) {
    if (!sets[i]) throw std::invalid_argument("pattern set " + std::to_string(i) + " of a replay is null");
    if (sets[i]->digest() != recorded[i].digest || sets[i]->rows() != recorded[i].rows) {
      const auto named = [](const std::string& name, std::uint64_t digest, std::uint64_t rows) {
        return "'" + name + "' (digest " + hexadecimal(digest) + ", " + std::to_string(rows) + " rows)";
      };
      throw LogError("pattern set " + named(sets[i]->name(), sets[i]->digest(), sets[i]->rows()) +
                     " is not the one the log '" + log.path() +
                     "' was recorded with: " + named(recorded[i].name, recorded[i].digest, recorded[i].rows) +
                     (recorded[i].path.empty()
                          ? ""
                          : " from " + recorded[i].path + " with SHA-256 " + recorded[i].sha256));
    }
  }
}

// The readings of `info`, selected from those of `device`: all, or only the outputs if the log has only
// those.
Relaxation restricted(const Relaxation& all, const DeviceInfo& device, const DeviceInfo& info) {
  const std::vector<std::uint32_t> have = device.read(), wanted = info.read();
  if (have.size() == wanted.size()) return all;
  Relaxation some = all;
  some.potential.resize(static_cast<Eigen::Index>(wanted.size()));
  if (all.path.rows() > 0) some.path.resize(all.path.rows(), static_cast<Eigen::Index>(wanted.size()));
  some.sigma.resize(all.sigma.size() > 0 ? static_cast<Eigen::Index>(wanted.size()) : 0);
  some.quality.terminal.clear();
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto from = std::find(have.begin(), have.end(), wanted[i]) - have.begin();
    some.potential[static_cast<Eigen::Index>(i)] = all.potential[from];
    if (all.path.rows() > 0) some.path.col(static_cast<Eigen::Index>(i)) = all.path.col(from);
    if (all.sigma.size() > 0) some.sigma[static_cast<Eigen::Index>(i)] = all.sigma[from];
    if (!all.quality.terminal.empty())
      some.quality.terminal.push_back(all.quality.terminal[static_cast<std::size_t>(from)]);
  }
  return some;
}

}  // namespace

Replay::Replay(const LogReader& log, std::vector<std::shared_ptr<const PatternSet>> sets,
               std::uint64_t first_row, Device* then)
    : log_(log), sets_(std::move(sets)), info_(log.header().info), failed_(log.failed_rows()), then_(then) {
  check_sets(log_, sets_);
  seek(first_row);
}

Replay::Replay(const LogReader& log, std::vector<std::shared_ptr<const PatternSet>> sets,
               std::uint64_t first_row, Recorder* then)
    : Replay(log, std::move(sets), first_row, static_cast<Device*>(then)) {
  recorder_ = then;
}

void Replay::seek(std::uint64_t ordinal) {
  ordinal_ = ordinal;
  live_ = false;
  row_ = ordinal;
  for (const std::uint64_t failed : failed_) {
    if (failed < row_) ++row_;
  }
  row_ = std::min(row_, log_.rows());
  pass_over_failed();
}

void Replay::pass_over_failed() {
  while (std::binary_search(failed_.begin(), failed_.end(), row_)) ++row_;
}

std::uint32_t Replay::index_of(const Pattern& pattern) const {
  for (std::size_t i = 0; i < sets_.size(); ++i) {
    if (sets_[i] == pattern.set) return static_cast<std::uint32_t>(i);
  }
  for (std::size_t i = 0; i < sets_.size(); ++i) {
    const bool equal = sets_[i]->name() == pattern.set->name() && sets_[i]->digest() == pattern.set->digest();
    if (equal) return static_cast<std::uint32_t>(i);
  }
  throw ReplayMismatch("row " + std::to_string(row_) + ": the pattern set '" + pattern.set->name() +
                       "' is none of the recorded ones");
}

void Replay::compare(const Drive& drive, const LogRow& row) const {
  const char* remark =
      " (the log holds the outputs alone: what is computed from other potentials cannot be replayed)";
  const Comparison same("row", row_, log_.outputs_only() ? remark : "");
  const std::uint32_t set = index_of(drive.clamp);
  const auto pattern = [&](std::uint64_t index, std::uint64_t of_row) {
    return "row " + std::to_string(of_row) + " of '" + (index < sets_.size() ? sets_[index]->name() : "?") +
           "'";
  };
  same.text("clamp", pattern(set, drive.clamp.row), pattern(row.pattern_set, row.pattern_row));
  same.count("pattern set", set, row.pattern_set);
  const Relaxation none;
  const log_layout::Given given{drive, none, set};
  Compared fields{same, given, row};
  log_layout::each_field(fields, log_layout::Layout{});
}

void Replay::compare_again(const Drive& drive, const Relaxation& again, std::uint64_t row) {
  const LogRow recorded = log_.row(row);
  const Comparison same(
      "row", row,
      " (the device has relaxed it again, together with the other drives of its group: this "
      "is another program or device, or the row was made in another group)");
  const Relaxation relaxation = restricted(again, then_->info(), info_);
  log_layout::Given given{drive, relaxation, recorded.pattern_set, recorded.fault, recorded.recorded};
  given.keeps_path = recorded.relaxation.path.size() > 0;
  Reread readings{same, given, recorded};
  try {
    log_layout::each_field(readings, log_layout::Layout{});
  } catch (const ReplayMismatch& mismatch) {
    if (!other_bits_) throw;
    compares_ = false;
    other_bits_(mismatch.what());
  }
}

void Replay::do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  std::vector<std::uint64_t> answered;  // rows
  answered.reserve(drives.size());
  for (std::size_t i = 0; i < drives.size(); ++i) {
    if (stop.stop_requested()) throw Cancelled();
    if (row_ >= log_.rows()) return go_on(drives, answered, sink, stop);
    const LogRow row = log_.row(row_);
    compare(drives[i], row);
    answered.push_back(row_);
    ++row_;
    ++ordinal_;
    pass_over_failed();
    sink(i, row.relaxation);
  }
  if (everything_) relax_again(drives, answered, sink, stop);
}

void Replay::refuse_to_go_on() const {
  const bool ends_failed = !failed_.empty() && failed_.back() + 1 == log_.rows();
  const std::string failure =
      ends_failed ? "; the last attempt failed: " + log_.row(failed_.back()).fault : "";
  throw ReplayMismatch("the log '" + log_.path() + "' ends after " + std::to_string(log_.rows()) +
                       " rows; relaxation " + std::to_string(ordinal_) + " is not recorded" + failure);
}

// A device of one state has lost that in which the group began.
bool Replay::repeats(std::span<const Drive> drives) const {
  return then_->info().restores_state && std::none_of(drives.begin(), drives.end(), [](const Drive& drive) {
           return std::holds_alternative<Present>(drive.start);
         });
}

// The whole group. The rows that have answered are compared; what follows is handed on, unless the device is
// there for nothing but the comparison.
void Replay::relax_again(std::span<const Drive> drives, std::span<const std::uint64_t> answered,
                         const Sink& sink, std::stop_token stop) {
  if (!live_) then_->seek(ordinal_ - answered.size());
  live_ = true;
  if (recorder_ != nullptr) recorder_->pass_over(answered.size());
  then_->relax(
      drives,
      [&](std::size_t index, const Relaxation& relaxation) {
        if (index < answered.size()) {
          if (compares_) compare_again(drives[index], relaxation, answered[index]);
        } else if (!everything_) {
          ++ordinal_;
          sink(index, restricted(relaxation, then_->info(), info_));
        }
      },
      stop);
}

void Replay::go_on(std::span<const Drive> drives, std::span<const std::uint64_t> answered, const Sink& sink,
                   std::stop_token stop) {
  if (then_ == nullptr) refuse_to_go_on();
  if (everything_) {
    relax_again(drives, answered, sink, stop);
    refuse_to_go_on();
  }
  if (answered.empty() || repeats(drives)) return relax_again(drives, answered, sink, stop);
  if (!live_) then_->seek(ordinal_);
  live_ = true;
  then_->relax(
      drives.subspan(answered.size()),
      [&](std::size_t index, const Relaxation& relaxation) {
        ++ordinal_;
        sink(answered.size() + index, restricted(relaxation, then_->info(), info_));
      },
      stop);
}

SafeReport Replay::do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) {
  return then_ == nullptr ? SafeReport{} : then_->make_safe(budget, profile);
}

ReplayCheck::ReplayCheck(const LogReader& log, std::uint64_t first_step, TrainingObserver* then)
    : log_(log), first_step_(first_step), then_(then) {}

void ReplayCheck::on_step(const StepReport& report, const Vector& theta) {
  const std::uint64_t index = first_step_ + compared_;
  if (index >= log_.steps()) {
    if (then_ == nullptr) {
      throw ReplayMismatch("the log '" + log_.path() + "' ends after " + std::to_string(log_.steps()) +
                           " steps; step " + std::to_string(report.step) + " is not recorded");
    }
    then_->on_step(report, theta);
    return;
  }
  const StepReport recorded = log_.step(index);
  const Comparison same("step", index);
  same.count("the step's number", report.step, recorded.step);
  same.digest("theta digest before", report.theta_before, recorded.theta_before);
  same.number("loss", report.loss, recorded.loss);
  same.number("gradient norm", report.gradient_norm, recorded.gradient_norm);
  same.number("error from readings", report.reading_error, recorded.reading_error);
  if (log_.format() >= 5) same.number("whole error", report.whole_error, recorded.whole_error);
  same.digest("theta digest after", report.theta_after, recorded.theta_after);
  same.digest("the digest of theta", digest(theta), recorded.theta_after);
  same.count("relaxations", report.relaxations, recorded.relaxations);
  same.count("samples left out", report.left_out, recorded.left_out);
  ++compared_;
}

void ReplayCheck::on_epoch(const EpochReport& report) {
  // Before format 5 the loss of an epoch was the mean of its steps, and no best parameters were kept without
  // a validation set.
  if (report.epoch < log_.epochs() && log_.format() >= 5) {
    const EpochReport recorded = log_.epoch(report.epoch);
    const Comparison same("epoch", report.epoch);
    same.count("the epoch's number", report.epoch, recorded.epoch);
    same.number("loss", report.loss, recorded.loss);
    same.count("samples", report.samples, recorded.samples);
    same.count("samples left out", report.left_out, recorded.left_out);
    same.number("validation loss", report.validation_loss, recorded.validation_loss);
    same.text("what the best parameters are chosen by", to_string(report.best_so_far.by),
              to_string(recorded.best_so_far.by));
    same.number("best loss", report.best_so_far.loss, recorded.best_so_far.loss);
    same.count("step of the best parameters", report.best_so_far.step, recorded.best_so_far.step);
  }
  if (then_ != nullptr && report.epoch >= log_.epochs()) then_->on_epoch(report);
}

void ReplayCheck::on_checkpoint(const Checkpoint& checkpoint) {
  if (then_ == nullptr) return;
  if (log_.checkpoints() > 0) {
    // A run stopped during validation has a checkpoint after the same step, but before the end of the epoch.
    const Checkpoint last = log_.checkpoint(log_.checkpoints() - 1);
    if (std::pair(checkpoint.epoch, checkpoint.step) <= std::pair(last.epoch, last.step)) return;
  }
  then_->on_checkpoint(checkpoint);
}

}  // namespace ness
