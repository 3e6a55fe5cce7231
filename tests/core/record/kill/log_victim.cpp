// Appends rows whose values are functions of their index, until it is killed; prints the number of committed
// rows to standard output. Used by log_kill.py.
//   log_victim write LOG GROUP_ROWS    makes LOG, or continues it
//   log_victim check LOG               opens LOG by the reader: prints rows, steps, damaged rows, rows beyond
//   the counts
#include <cstdio>
#include <exception>
#include <string>
#include <sys/stat.h>

#include "ness/record/log.hpp"

namespace {

using namespace ness;

constexpr Eigen::Index n_read = 5;

LogHeader header(const std::shared_ptr<const PatternSet>& set) {
  LogHeader result;
  result.title = "kill test";
  result.pattern_sets = {set};
  for (const char* name : {"in0", "in1"}) {
    Terminal terminal;
    terminal.name = name;
    terminal.clamped = true;
    result.info.terminals.push_back(terminal);
  }
  for (Eigen::Index i = 0; i < n_read; ++i) {
    Terminal terminal;
    terminal.name = "free" + std::to_string(i);
    result.info.terminals.push_back(terminal);
  }
  result.info.outputs = {6};
  result.info.parameters.resize(3);
  return result;
}

Vector ramp(Eigen::Index n, double first) {
  return Vector::LinSpaced(n, first, first + static_cast<double>(n) - 1);
}

void append_row(LogWriter& log, const std::shared_ptr<const PatternSet>& set, std::uint64_t i) {
  const auto x = static_cast<double>(i);
  Drive drive;
  drive.theta.digest = i * 0x9E3779B97F4A7C15u;
  drive.clamp = {set, i % 4};
  drive.label = {Label::Purpose::train, static_cast<std::uint32_t>(i % 3), i / 7, i};
  if (i % 3 == 1) drive.nudge = ramp(2, x);
  if (i % 5 == 2) drive.theta.overrides = {{1, x}, {2, -x}};
  Relaxation relaxation;
  relaxation.potential = ramp(n_read, x);
  if (i % 2 == 1) relaxation.sigma = ramp(n_read, -x);
  relaxation.timing = {x, x + 0.25, x + 0.5, 1 / (x + 1)};
  log.append(drive, relaxation, i % 11 == 10 ? "fault " + std::to_string(i) : "");
}

void append_step(LogWriter& log, std::uint64_t i) {
  StepReport step;
  step.step = i;
  step.loss = 1 / (static_cast<double>(i) + 1);
  log.append(step, ramp(3, static_cast<double>(i)));
}

[[noreturn]] void write_forever(const std::string& path, std::uint64_t group_rows) {
  const auto set = std::make_shared<DensePatterns>("four", RowMatrix::Random(4, 2));
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  // The first run writes in its own thread, later ones in the log's thread.
  LogOptions options;
  options.background = exists;
  LogWriter log =
      exists ? LogWriter(path, LogWriter::Continue{}, options) : LogWriter(path, header(set), options);
  while (true) {
    for (std::uint64_t k = 0; k < group_rows; ++k) {
      const std::uint64_t i = log.rows();
      append_row(log, set, i);
      if (i % 7 == 6) append_step(log, i / 7);
    }
    log.commit();
    std::printf("%llu\n", static_cast<unsigned long long>(log.rows()));
    std::fflush(stdout);
  }
}

int check(const std::string& path) {
  const LogReader log(path);
  std::printf("%llu %llu %zu %llu\n", static_cast<unsigned long long>(log.rows()),
              static_cast<unsigned long long>(log.steps()), log.damaged_rows().size(),
              static_cast<unsigned long long>(log.ragged().rows));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string act = argc > 2 ? argv[1] : "";
  try {
    if (act == "check") return check(argv[2]);
    if (act == "write" && argc > 3) write_forever(argv[2], std::stoull(argv[3]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "log_victim: %s\n", error.what());
    return 1;
  }
  std::fprintf(stderr, "log_victim write LOG GROUP_ROWS | check LOG\n");
  return 2;
}
