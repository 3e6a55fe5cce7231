// Speed of logging: rows of a 784-30-10 network through a Recorder, compared with a bare sequential write of
// the same number of bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

#include "ness/record/log.hpp"
#include "ness/device/random.hpp"
#include "ness/record/recorder.hpp"

namespace log_rate {

using namespace ness;

struct Options {
  std::string folder;  ///< where the files are made, and removed again
  std::uint64_t epochs = 4;
  std::uint64_t rows = 60'000;  ///< per epoch; a checkpoint follows each epoch
  std::uint64_t batch = 200;    ///< rows per step
  std::uint32_t pairs = 5;      ///< log and bare write, alternating
  bool background = true;       ///< LogOptions::background
  std::uint64_t group_rows = LogOptions{}.group_rows;
};

/// Medians over the pairs.
struct Result {
  std::uint64_t rows = 0;          ///< logged in each pair
  double bytes = 0;                ///< growth of the log
  double log_seconds = 0;          ///< from the first row to the end of fdatasync
  double bare_seconds = 0;         ///< the same for the bare write
  double ratio = 0;                ///< bare over log, per pair
  double rows_per_second = 0;      ///< with fdatasync
  double appended_per_second = 0;  ///< up to the return of close(), without fdatasync
  double bare_bytes_per_second = 0;
  /// Processor time per row of the relaxing thread, beyond the same relaxations without log.
  double caller_seconds = 0;
  double writer_seconds = 0;  ///< processor time per row of the log's thread
};

inline double seconds_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Returns prepared relaxations at once.
class Ready final : public Device {
 public:
  Ready(std::uint32_t n_in, std::uint32_t n_hidden, std::uint32_t n_out) {
    info_.identity = "answers at once";
    const auto terminals = [&](const char* name, std::uint32_t n, bool clamped) {
      for (std::uint32_t i = 0; i < n; ++i) {
        Terminal terminal;
        terminal.name = name + std::to_string(i);
        terminal.clamped = clamped;
        if (!clamped) terminal.nudge = {-1, 1};
        info_.terminals.push_back(terminal);
      }
    };
    terminals("in", n_in, true);
    terminals("hidden", n_hidden, false);
    terminals("out", n_out, false);
    for (std::uint32_t i = 0; i < n_out; ++i) info_.outputs.push_back(n_in + n_hidden + i);
    const std::uint32_t edges = n_hidden * (n_in + n_out);
    for (const char* kind : {"gamma", "a", "b"}) {
      for (std::uint32_t i = 0; i < edges; ++i)
        info_.parameters.push_back(
            {kind + ("[" + std::to_string(i) + "]"), kind, "1", {}, Scale::linear, true, i, -1});
    }
    Random random(1);
    answers_.resize(1024);
    for (Relaxation& answer : answers_) {
      answer.potential.resize(n_hidden + n_out);
      for (double& potential : answer.potential) potential = random.normal();
      answer.timing.bound = 1e-9 * random.uniform();
    }
  }
  const DeviceInfo& info() const override { return info_; }

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
    for (std::size_t i = 0; i < drives.size(); ++i) sink(i, answers_[made_++ % answers_.size()]);
  }

 private:
  DeviceInfo info_;
  std::vector<Relaxation> answers_;
  std::uint64_t made_ = 0;
};

/// Patterns from a file, which the log names but does not copy.
class Images final : public PatternSet {
 public:
  Images(std::string path, std::uint64_t rows, std::uint32_t width)
      : path_(std::move(path)), rows_(rows), width_(width) {}
  const std::string& name() const override { return name_; }
  std::uint64_t base_rows() const override { return rows_; }
  std::uint32_t width() const override { return width_; }
  void levels(std::uint64_t row, Eigen::Ref<Vector> out) const override {
    out.setConstant(static_cast<double>(row));
  }
  std::optional<Source> source() const override { return Source{path_, "as they are"}; }

 private:
  std::string name_ = "train", path_;
  std::uint64_t rows_;
  std::uint32_t width_;
};

/// The relaxations of some epochs, with the reports to an observer that a training would make.
inline void train(Device& device, TrainingObserver* observer, const std::vector<std::vector<Drive>>& steps,
                  const Parameters& theta, std::uint64_t epochs) {
  Vector outputs(device.info().terminals.size());
  double sum = 0;
  std::uint64_t step = 0, relaxations = 0;
  for (std::uint64_t epoch = 0; epoch < epochs; ++epoch) {
    for (const std::vector<Drive>& drives : steps) {
      device.relax(drives, [&](std::size_t, const Relaxation& row) { sum += row.potential[0]; });
      StepReport report;
      report.step = step++;
      report.epoch = epoch;
      report.loss = sum;
      report.relaxations = relaxations += drives.size();
      report.theta_before = report.theta_after = theta.digest;
      if (observer) observer->on_step(report, *theta.base);
    }
    if (observer) {
      observer->on_epoch({epoch, sum, 0, 0, 0, false, false});
      Checkpoint checkpoint;
      checkpoint.step = step;
      checkpoint.epoch = epoch + 1;
      checkpoint.relaxations = relaxations;
      checkpoint.theta = *theta.base;
      checkpoint.optimizer = Vector::Zero(2 * theta.base->size());
      observer->on_checkpoint(checkpoint);
    }
  }
}

/// Returns when the file's data are on the disk.
inline void sync(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fdatasync(descriptor) == 0;
  if (descriptor >= 0) ::close(descriptor);
  if (!synced) throw std::runtime_error("cannot sync " + path);
}

/// Seconds of writing `bytes` bytes to a new file, fdatasync included.
inline double bare_write(const std::string& path, std::uint64_t bytes) {
  std::vector<std::uint64_t> block(std::size_t{1} << 17);  // 1 MiB
  Random random(2);
  for (std::uint64_t& word : block) word = static_cast<std::uint64_t>(random.uniform() * 0x1p63);
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  const double begin = seconds_of(CLOCK_MONOTONIC);
  bool written = descriptor >= 0;
  for (std::uint64_t at = 0; written && at < bytes;) {
    const ssize_t n = ::write(descriptor, block.data(),
                              std::min<std::uint64_t>(block.size() * sizeof(block[0]), bytes - at));
    written = n > 0;
    at += static_cast<std::uint64_t>(std::max<ssize_t>(n, 0));
  }
  written = written && ::fdatasync(descriptor) == 0;
  const double seconds = seconds_of(CLOCK_MONOTONIC) - begin;
  if (descriptor >= 0) ::close(descriptor);
  std::filesystem::remove(path);
  if (!written) throw std::runtime_error("cannot write " + path);
  return seconds;
}

inline double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x.at(x.size() / 2);
}

inline Result measure(const Options& options) {
  Ready device(784, 30, 10);
  const std::string image_file = options.folder + "/images.gz";
  std::ofstream(image_file) << "stands for a data file\n";
  const auto images = std::make_shared<Images>(image_file, options.rows, 784);
  const Parameters theta =
      Parameters::of(Vector::Random(static_cast<Eigen::Index>(device.info().parameters.size())));
  std::vector<std::vector<Drive>> steps((options.rows + options.batch - 1) / options.batch);
  for (std::uint64_t i = 0; i < options.rows; ++i) {
    Drive drive;
    drive.theta = theta;
    drive.clamp = {images, i};
    drive.label = {Label::Purpose::train, 0, i / options.batch, i};
    steps[i / options.batch].push_back(std::move(drive));
  }
  LogHeader header;
  header.title = "log rate";
  header.info = device.info();
  header.pattern_sets = {images};
  LogOptions log_options;
  log_options.background = options.background;
  log_options.group_rows = options.group_rows;

  Result result;
  result.rows = options.rows * options.epochs;
  const auto rows = static_cast<double>(result.rows);
  std::vector<double> log_seconds, append_seconds, bare_seconds, ratios, callers, writers, bytes;
  for (std::uint32_t pair = 0; pair < options.pairs; ++pair) {
    double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    train(device, nullptr, steps, theta, options.epochs);
    const double unrecorded = seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin;

    const std::string path = options.folder + "/log-rate.h5";
    LogWriter log(path, header, log_options);
    Recorder recorder(device, log);
    sync(path);
    const auto before = static_cast<double>(std::filesystem::file_size(path));
    const double process = seconds_of(CLOCK_PROCESS_CPUTIME_ID), thread = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    begin = seconds_of(CLOCK_MONOTONIC);
    train(recorder, &recorder, steps, theta, options.epochs);
    log.close(ExitStatus::finished, "");
    append_seconds.push_back(seconds_of(CLOCK_MONOTONIC) - begin);
    const double of_thread = seconds_of(CLOCK_THREAD_CPUTIME_ID) - thread,
                 of_process = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - process;
    sync(path);
    log_seconds.push_back(seconds_of(CLOCK_MONOTONIC) - begin);
    callers.push_back((of_thread - unrecorded) / rows);
    writers.push_back((of_process - of_thread) / rows);
    bytes.push_back(static_cast<double>(std::filesystem::file_size(path)) - before);
    std::filesystem::remove(path);
    bare_seconds.push_back(
        bare_write(options.folder + "/log-rate.bare", static_cast<std::uint64_t>(bytes.back())));
    ratios.push_back(bare_seconds.back() / log_seconds.back());
  }
  std::filesystem::remove(image_file);
  result.bytes = median(bytes);
  result.log_seconds = median(log_seconds);
  result.bare_seconds = median(bare_seconds);
  result.ratio = median(ratios);
  result.rows_per_second = rows / result.log_seconds;
  result.appended_per_second = rows / median(append_seconds);
  result.bare_bytes_per_second = result.bytes / result.bare_seconds;
  result.caller_seconds = median(callers);
  result.writer_seconds = median(writers);
  return result;
}

}  // namespace log_rate
