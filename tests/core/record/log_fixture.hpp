// Logs for tests: a temporary folder, a header, and rows in which every field has a different value.
#pragma once

#include <catch2/catch.hpp>

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>

#include "ness/device/digest.hpp"
#include "ness/record/log.hpp"
#include "support.hpp"

namespace log_test {

using namespace ness;
using namespace support;

/// Two clamped terminals, three free ones, of which the second is not read and the last is the output.
inline DeviceInfo small_info() {
  DeviceInfo info;
  info.identity = "a device of the log's tests, \xC2\xB5";
  for (const char* name : {"in0", "in1", "hidden0", "hidden1", "out"}) {
    Terminal terminal;
    terminal.name = name;
    terminal.clamped = terminal.name.starts_with("in");
    terminal.level = {-5, 5};
    terminal.can_hold = terminal.name == "hidden0";
    if (!terminal.clamped) terminal.nudge = {-1, 2};
    terminal.reads_potential = terminal.name != "hidden1";
    terminal.reads_current = terminal.clamped;
    info.terminals.push_back(terminal);
  }
  info.terminals[4].level = {};  // unbounded
  info.outputs = {4};
  info.parameters = {{"gamma[0]", "gamma", "1", {1e-3, 1e3}, Scale::log, true, 0, -1},
                     {"a[0]", "a", "kT", {}, Scale::linear, true, 0, -1},
                     {"g[2]", "g", "1", {0, 4}, Scale::linear, false, -1, 2}};
  info.environment = {{"temperature", "K"}, {"leakage", "A"}};
  info.restores_state = true;
  info.deterministic = true;
  info.reads_repeat = true;
  info.reads_path = true;
  info.current_unit = "nA";
  info.time_unit = "s";
  info.arithmetic = "scalar";
  return info;
}

inline std::shared_ptr<const PatternSet> small_set(const std::string& name = "train") {
  RowMatrix levels(3, 2);
  levels << 0, -0.0, 1, 2, 0.1, 5;
  return std::make_shared<DensePatterns>(name, levels);
}

/// A set from a file, with variants.
class FilePatterns final : public PatternSet {
 public:
  explicit FilePatterns(std::string path) : path_(std::move(path)) {}
  const std::string& name() const override { return name_; }
  std::uint64_t base_rows() const override { return 2; }
  std::uint32_t variants() const override { return 3; }
  std::uint32_t width() const override { return 2; }
  void levels(std::uint64_t row, Eigen::Ref<Vector> out) const override {
    out.setConstant(static_cast<double>(row));
  }
  std::optional<Source> source() const override { return Source{path_, "low + (high - low) p / 255"}; }

 private:
  std::string name_ = "images", path_;
};

inline LogHeader small_header(std::shared_ptr<const PatternSet> set = small_set()) {
  LogHeader header;
  header.title = "exclusive or";
  header.experiment = "[task]\nname = \"xor\"  # \xC2\xB5\n";
  header.command = "ness train xor.toml";
  header.seed = 0xFEDCBA9876543210;
  header.versions = {{"ness", "0.1.0"}, {"hdf5", "1.10.8"}};
  header.info = small_info();
  header.pattern_sets = {std::move(set)};
  return header;
}

/// Row i: its values, and which optional fields it has, depend on i. It is valid for small_info().
inline Drive drive_of(std::uint64_t i, const std::shared_ptr<const PatternSet>& set) {
  const auto x = static_cast<double>(i);
  const double y = 1 + 1 / (x + 3);  // within every range
  Drive drive;
  drive.theta = Parameters::of(vector_of({1, x, 3}));
  drive.clamp = {set, i % set->rows()};
  if (i % 2 == 1) drive.theta.overrides = {{2, y}, {1, -0.0}};
  if (i % 3 == 1) drive.holds = {{2, y / 3}};
  if (i % 4 >= 2) drive.nudge = vector_of({y, -0.0, 1 / (x + 1)});
  if (i % 4 == 1) drive.start = Present{};
  if (i % 4 == 2) drive.start = From{std::make_shared<const Vector>(vector_of({x, 0, 1}))};
  if (i % 8 == 4) drive.start = Rest{0.5};
  if (i % 5 == 3) drive.observe = At{x + 1, 7, x / 2, At::Mode::serial, i % 2 == 1};
  if (i % 10 == 9 && !std::holds_alternative<Present>(drive.start))
    drive.observe = At{x + 1, 3, 0, At::Mode::repeat};
  drive.label = {static_cast<Label::Purpose>(i % 5), static_cast<std::uint32_t>(i % 3), i / 3, i * i};
  return drive;
}

inline Relaxation relaxation_of(std::uint64_t i) {
  const auto x = static_cast<double>(i);
  Relaxation relaxation;
  relaxation.potential = vector_of({x + 0.3, -0.0});
  if (i % 3 == 2) relaxation.potential[1] = odd_nan();
  if (i % 2 == 0) relaxation.sigma = vector_of({x, std::numeric_limits<double>::denorm_min()});
  if (i % 3 == 0) relaxation.current = vector_of({1, 2, x, odd_nan(), 5});
  if (i % 4 == 0) relaxation.clamp_readback = vector_of({x, 1});
  if (i % 5 == 0) relaxation.theta_readback = vector_of({1, 2, x});
  if (i % 7 != 0) relaxation.environment = vector_of({0.1 + x, odd_nan()});
  if (i % 4 == 3) relaxation.quality.terminal = {0, bit(Flag::over_range)};
  if (i % 7 == 6) relaxation.quality.raise(Flag::other_branch);
  relaxation.timing = {x, x + 1, x + 2, 1e-9 * x};
  if (i % 10 == 3) {
    relaxation.path = RowMatrix::Constant(7, 2, x / 3);
    relaxation.path(6, 1) = odd_nan();
    relaxation.path(0, 1) = -0.0;
  }
  return relaxation;
}

inline void check_row(const LogRow& row, const Drive& drive, const Relaxation& relaxation,
                      std::uint32_t set = 0) {
  CHECK(row.theta_digest == drive.theta.digest);
  REQUIRE(row.overrides.size() == drive.theta.overrides.size());
  for (std::size_t k = 0; k < row.overrides.size(); ++k) {
    CHECK(row.overrides[k].first == drive.theta.overrides[k].first);
    CHECK(same_bits(row.overrides[k].second, drive.theta.overrides[k].second));
  }
  CHECK(row.pattern_set == set);
  CHECK(row.pattern_row == drive.clamp.row);
  CHECK(row.holds == drive.holds);
  CHECK(same_bits(row.nudge, drive.nudge));
  CHECK(static_cast<std::size_t>(row.start) == drive.start.index());
  const Rest* rest = std::get_if<Rest>(&drive.start);
  CHECK(same_bits(row.rest_rate, rest ? rest->rate : std::numeric_limits<double>::infinity()));
  const From* from = std::get_if<From>(&drive.start);
  CHECK(row.start_digest == (from ? digest(*from->potential) : 0));
  const At* at = std::get_if<At>(&drive.observe);
  CHECK(row.at == (at != nullptr));
  CHECK(same_bits(row.observe.time, at ? at->time : At{}.time));
  CHECK(row.observe == (at ? *at : At{}));
  CHECK(row.label.purpose == drive.label.purpose);
  CHECK(row.label.position == drive.label.position);
  CHECK(row.label.step == drive.label.step);
  CHECK(row.label.sample == drive.label.sample);
  CHECK(same_bits(row.relaxation.potential, relaxation.potential));
  CHECK(same_bits(row.relaxation.sigma, relaxation.sigma));
  REQUIRE(row.relaxation.path.rows() == relaxation.path.rows());
  for (Eigen::Index i = 0; i < relaxation.path.rows(); ++i)
    CHECK(same_bits(row.relaxation.path.row(i).transpose(), relaxation.path.row(i).transpose()));
  CHECK(same_bits(row.relaxation.current, relaxation.current));
  CHECK(same_bits(row.relaxation.clamp_readback, relaxation.clamp_readback));
  CHECK(same_bits(row.relaxation.theta_readback, relaxation.theta_readback));
  CHECK(same_bits(row.relaxation.environment, relaxation.environment));
  CHECK(row.relaxation.quality.whole == relaxation.quality.whole);
  CHECK(row.relaxation.quality.terminal == relaxation.quality.terminal);
  CHECK(same_bits(row.relaxation.timing.start, relaxation.timing.start));
  CHECK(same_bits(row.relaxation.timing.settled, relaxation.timing.settled));
  CHECK(same_bits(row.relaxation.timing.read, relaxation.timing.read));
  CHECK(same_bits(row.relaxation.timing.bound, relaxation.timing.bound));
}

inline StepReport step_of(std::uint64_t i) {
  const auto x = static_cast<double>(i);
  StepReport step;
  step.step = i;
  step.epoch = i / 10;
  step.loss = 1 / (x + 1);
  step.correct = 0.25;
  step.gradient_norm = x + 0.5;
  step.rate = 1e-3;
  step.reading_error = x + 0.125;
  step.whole_error = x + 0.0625;
  step.asymmetry = 0.01 * x;
  step.offset = -x;
  step.relaxations = 4 * i;
  step.repeats = 3;
  step.left_out = 5;
  step.lost = 2;
  step.skipped = static_cast<std::uint32_t>(i % 2);
  step.worst = 6;
  step.theta_before = i + 7;
  step.theta_after = i + 8;
  return step;
}

inline void append_rows(LogWriter& log, const std::shared_ptr<const PatternSet>& set, std::uint64_t first,
                        std::uint64_t end) {
  for (std::uint64_t i = first; i < end; ++i) log.append(drive_of(i, set), relaxation_of(i));
}

}  // namespace log_test
