#include "ness/record/log.hpp"

#include <optional>
#include <stdexcept>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "group_thread.hpp"
#include "log_file.hpp"
#include "relaxation_fields.hpp"
#include "ness/device/error.hpp"

namespace ness {
namespace {

// Upper limit of the memory of rows not yet committed, for any group size.
constexpr std::size_t most_pending_bytes = std::size_t{64} << 20;

void check(const LogHeader& header, const LogOptions& options) {
  for (std::size_t i = 0; i < header.pattern_sets.size(); ++i) {
    if (!header.pattern_sets[i]) {
      throw std::invalid_argument("pattern set " + std::to_string(i) + " of the log's header is null");
    }
  }
  for (const RecordedSet& set : header.task ? header.task->sets : std::vector<RecordedSet>{}) {
    if (set.pattern_set < header.pattern_sets.size() &&
        set.data.inputs == header.pattern_sets[set.pattern_set])
      continue;
    throw std::invalid_argument("the levels of set '" + set.name +
                                "' of the log's header are none of its pattern sets");
  }
  if (options.group_rows == 0) {
    throw std::invalid_argument("LogOptions::group_rows is 0; at least 1 is needed");
  }
  for (const std::uint32_t output : header.info.outputs) {
    if (output >= header.info.terminals.size()) {
      throw std::invalid_argument("output " + std::to_string(output) +
                                  " of the log's header is none of the device's " +
                                  std::to_string(header.info.terminals.size()) + " terminals");
    }
  }
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
  template <class... From>
  explicit Impl(const LogOptions& log_options, const From&... from)
      : options(log_options),
        file(from...),
        relaxations(file.encoder_of_relaxations()),
        training(file.encoder_of_training()),
        epochs(file.encoder_of_epochs()),
        checkpoints(file.encoder_of_checkpoints()),
        rows(file.rows()) {
    if (!options.clock) options.clock = wall_clock();
    opened = now = options.clock->now();
    age = std::chrono::duration<double>(options.group_age).count();
    if (options.durability == Durability::relaxation) options.group_rows = 1;
    group_rows = options.group_rows;
    group_bytes = most_pending_bytes;
    if (options.background && options.group_rows > 1) {
      // One half of the uncommitted rows is filled while the other half is written.
      group_rows = (group_rows + 1) / 2;
      group_bytes /= 2;
      try {
        thread.emplace([this](RowGroup& full) { file.write(full); });
      } catch (const std::system_error& error) {
        throw LogError(file.complaint(std::string("failed to start its thread: ") + error.what()));
      }
    }
  }

  void submit() {
    if (group.rows() == 0) return;
    if (thread) {
      thread->hand_over(group);
    } else {
      file.write(group);
    }
  }

  void commit() {
    submit();
    if (!thread) return;
    thread->wait();
    raise_failure();
  }

  void tick() {
    const std::uint64_t waiting = group.rows();
    if (waiting == 0) return;
    if (!std::exchange(fresh, false)) now = options.clock->now();
    if (waiting >= group_rows || now - oldest >= age || group.bytes() >= group_bytes) submit();
  }

  void close(ExitStatus status, const std::string& reason) {
    commit();
    file.close(status, reason);
  }

  void remember(const std::shared_ptr<const PatternSet>& set, std::uint32_t index) {
    known_sets.emplace(set.get(), index);
    held_sets.push_back(set);
  }

  std::uint32_t index_of(const std::shared_ptr<const PatternSet>& set) {
    if (!set) throw std::invalid_argument("a drive to be logged has no pattern set");
    if (set.get() == last_set) return last_index;
    const auto known = known_sets.find(set.get());
    last_index = known != known_sets.end() ? known->second : look_up(set);
    last_set = set.get();
    return last_index;
  }

  // Pattern sets of a continued log, or equal to one of its sets.
  std::uint32_t look_up(const std::shared_ptr<const PatternSet>& set) {
    const std::vector<LogReader::SetInfo>& sets = file.pattern_sets();
    for (std::size_t i = 0; i < sets.size(); ++i) {
      if (sets[i].name == set->name() && sets[i].rows == set->rows() && sets[i].digest == set->digest()) {
        remember(set, static_cast<std::uint32_t>(i));
        return static_cast<std::uint32_t>(i);
      }
    }
    throw std::invalid_argument("pattern set '" + set->name() + "' is none of those that the log '" +
                                file.path() + "' was made with");
  }

  void read_clock() {
    now = options.clock->now();
    fresh = true;
  }

  template <class Row>
  void append(hdf5::TableEncoder& encoder, hdf5::TableRows& to, const Row& row) {
    if (group.rows() == 0) {
      if (!fresh) read_clock();
      oldest = now;
    }
    encoder.begin_row(to);
    log_layout::describe(encoder, row, file.layout());
    encoder.end_row();
  }

  // A failure in the background is thrown once, as it was; later calls only report that it occurred.
  void raise_failure() {
    if (thread && failure.empty() && thread->failed()) std::rethrow_exception(thread->failure());
  }

  // After any failure to take over or write rows, the file is not changed any more.
  template <class Action>
  void guarded(Action&& action) {
    if (closed) throw std::invalid_argument("the log '" + file.path() + "' is closed");
    if (!failure.empty())
      throw LogError(file.complaint("nothing is written after an earlier failure: " + failure));
    try {
      // A row is taken over even now: it is saved where the others of its group are.
      action();
      raise_failure();
    } catch (const std::invalid_argument&) {
      throw;  // refused before any row was taken over
    } catch (const LogError& error) {
      failure = error.what();
      file.save_too(group);
      throw;
    } catch (const std::exception& error) {
      failure = error.what();
      throw LogError(file.complaint("failed to append: " + failure));
    }
  }

  LogOptions options;
  std::uint64_t paths = 0;  // relaxations with a path so far
  LogFile file;
  hdf5::TableEncoder relaxations, training, epochs, checkpoints;
  RowGroup group;  // being filled
  std::uint64_t rows;
  std::uint64_t group_rows = 0;  // a group of this size is written,
  std::size_t group_bytes = 0;
  double age = 0;  // or a group of this age
  // Seconds: opening of the log, last reading of the clock, begin of the group.
  double opened = 0, now = 0, oldest = 0;
  bool fresh = false;  // `now` belongs to the row just appended
  log_layout::Given::Scratch scratch;
  std::unordered_map<const PatternSet*, std::uint32_t> known_sets;
  // kept alive, so that an address identifies a set
  std::vector<std::shared_ptr<const PatternSet>> held_sets;
  const PatternSet* last_set = nullptr;
  std::uint32_t last_index = 0;
  std::string failure;
  bool closed = false;
  std::optional<GroupThread> thread;  // ends before the file is destroyed
};

LogWriter::LogWriter(const std::string& path, const LogHeader& header, const LogOptions& options) {
  check(header, options);
  const hdf5::Turn turn;
  impl_ = std::make_unique<Impl>(options, path, header, options);
  for (std::size_t i = 0; i < header.pattern_sets.size(); ++i) {
    impl_->remember(header.pattern_sets[i], static_cast<std::uint32_t>(i));
  }
}

LogWriter::LogWriter(const std::string& path, Continue, const LogOptions& options) {
  check({}, options);
  const hdf5::Turn turn;
  impl_ = std::make_unique<Impl>(options, path, options);
  impl_->paths = impl_->file.paths(options.paths);
}

LogWriter::~LogWriter() {
  if (!impl_->closed && impl_->failure.empty()) {
    try {
      close(ExitStatus::running, "");  // the log then shows that no end of the run was reported
    } catch (const std::exception&) {}
  }
  impl_->thread.reset();
  const hdf5::Turn turn;
  impl_.reset();
}

void LogWriter::append(const Drive& drive, const Relaxation& relaxation, const std::string& fault) {
  impl_->guarded([&] {
    Impl& log = *impl_;
    log_layout::Given given{drive, relaxation, log.index_of(drive.clamp.set), fault};
    log_layout::check_fits(log.file.layout(), given);
    log.read_clock();
    given.recorded = log.file.recorded() + (log.now - log.opened);
    given.scratch = &log.scratch;
    if (relaxation.path.size() > 0) given.keeps_path = log.paths++ < log.options.paths;
    log.append(log.relaxations, log.group.relaxations, given);
    ++log.rows;
  });
}

void LogWriter::append(const StepReport& step, const Vector& theta) {
  impl_->guarded([&] {
    if (const std::uint64_t width = impl_->file.layout().theta_width;
        width > 0 && static_cast<std::uint64_t>(theta.size()) != width) {
      throw std::invalid_argument("a step's theta has " + std::to_string(theta.size()) +
                                  " entries, the device of the log has " + std::to_string(width) +
                                  " parameters");
    }
    impl_->append(impl_->training, impl_->group.training, log_layout::StepView{step, theta});
  });
}

void LogWriter::append(const EpochReport& epoch) {
  impl_->guarded([&] {
    impl_->append(impl_->epochs, impl_->group.epochs,
                  log_layout::record_of(epoch, impl_->file.layout().version));
  });
}

void LogWriter::append(const Checkpoint& checkpoint) {
  impl_->guarded([&] { impl_->append(impl_->checkpoints, impl_->group.checkpoints, checkpoint); });
}

void LogWriter::commit() {
  impl_->guarded([&] { impl_->commit(); });
}

void LogWriter::submit() {
  impl_->guarded([&] { impl_->submit(); });
}

void LogWriter::tick() {
  impl_->guarded([&] { impl_->tick(); });
}

void LogWriter::bench_now(const BenchContinuation& now) {
  impl_->guarded([&] {
    impl_->commit();
    impl_->file.write(now);
  });
}

void LogWriter::settings_at_end(const std::vector<BenchRecord::Statements>& settings) {
  impl_->guarded([&] {
    impl_->commit();
    impl_->file.write_settings_at_end(settings);
  });
}

void LogWriter::close(ExitStatus status, const std::string& reason) {
  if (impl_->closed) return;
  if (impl_->failure.empty()) {
    impl_->guarded([&] { impl_->close(status, reason); });
  }
  impl_->closed = true;
  impl_->file.give_back();
}

std::uint64_t LogWriter::rows() const { return impl_->rows; }

}  // namespace ness
