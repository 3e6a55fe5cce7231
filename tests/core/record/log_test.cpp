#include <algorithm>
#include <numeric>

#include "core/record/log_fixture.hpp"

using namespace log_test;

namespace {

Checkpoint checkpoint_of(std::uint64_t i) {
  const Vector optimizer = Vector::LinSpaced(static_cast<Eigen::Index>(i), 0, 1);
  return {i,
          i + 1,
          i + 2,
          vector_of({1, odd_nan(), static_cast<double>(i)}),
          optimizer,
          vector_of({-0.0}),
          vector_of({odd_nan(), static_cast<double>(i)})};
}

// The end of the file as stored in it: superblock version 1, byte 44.
std::uint64_t stored_end(const std::string& file) {
  REQUIRE(file[8] == 1);
  std::uint64_t end = 0;
  for (int i = 7; i >= 0; --i) end = end << 8 | static_cast<unsigned char>(file[44 + i]);
  return end;
}

}  // namespace

TEST_CASE("a log gives back every field of every row, bit for bit") {
  const Folder folder;
  const auto set = small_set();
  constexpr std::uint64_t n = 300;  // more than a block of the reader, and more than a group
  {
    LogOptions options;
    options.group_rows = GENERATE(1, 7, 1000);
    options.background = GENERATE(false, true);
    LogWriter log(folder / "run.h5", small_header(set), options);
    for (std::uint64_t i = 0; i < n; ++i) {
      log.append(drive_of(i, set), relaxation_of(i),
                 i % 50 == 49 ? "the meter did not answer, " + std::to_string(i) : "");
      log.tick();
    }
    CHECK(log.rows() == n);
    log.close(ExitStatus::finished, "all epochs done");
  }
  const LogReader log(folder / "run.h5");
  REQUIRE(log.rows() == n);
  for (std::uint64_t i = 0; i < n; ++i) {
    INFO("row " << i);
    const LogRow row = log.row(i);
    check_row(row, drive_of(i, set), relaxation_of(i));
    CHECK(row.fault == (i % 50 == 49 ? "the meter did not answer, " + std::to_string(i) : ""));
  }
  for (const std::uint64_t i : {299, 0, 150, 149, 151}) {
    INFO("row " << i << ", out of order");
    check_row(log.row(i), drive_of(i, set), relaxation_of(i));
  }
  CHECK(log.failed_rows() == std::vector<std::uint64_t>{49, 99, 149, 199, 249, 299});
  CHECK(log.damaged_rows().empty());
  CHECK(log.ragged().rows == 0);
  CHECK(log.status() == ExitStatus::finished);
  CHECK(log.reason() == "all epochs done");
  CHECK(stored_end(bytes_of(folder / "run.h5")) == fs::file_size(folder / "run.h5"));
}

TEST_CASE("a log gives back its header") {
  const Folder folder;
  LogHeader header = small_header();
  header.bench =
      BenchRecord{"bench.toml",
                  "title = \"\xC2\xB5\"\n",
                  {{"gates", "TCPIP0::192.0.2.11::5025::SOCKET", "QDevil QDAC-II", "QDevil,QDAC-II,7,2"},
                   {"meter", "ASRL/dev/ttyUSB0::INSTR", "Keithley 2400", "KEITHLEY,2400,1,C33"}}};
  write_bytes(folder / "images.gz", "abc");
  header.pattern_sets.push_back(std::make_shared<FilePatterns>(folder / "images.gz"));
  LogWriter(folder / "run.h5", header, {}).close(ExitStatus::cancelled, "");

  const LogReader log(folder / "run.h5");
  CHECK(log.path() == folder / "run.h5");
  CHECK(log.header().title == header.title);
  CHECK(log.header().experiment == header.experiment);
  CHECK(log.header().command == header.command);
  CHECK(log.header().seed == header.seed);
  CHECK(log.header().bench == header.bench);
  CHECK(log.header().versions == header.versions);
  CHECK_FALSE(log.outputs_only());
  CHECK(log.status() == ExitStatus::cancelled);

  const DeviceInfo &info = log.header().info, &expected = header.info;
  CHECK(info.identity == expected.identity);
  CHECK(info.outputs == expected.outputs);
  CHECK(info.environment == expected.environment);
  CHECK(info.restores_state);
  CHECK(info.deterministic);
  CHECK(info.potential_unit == "kT");
  CHECK(info.current_unit == "nA");
  CHECK(info.time_unit == "s");
  CHECK(info.arithmetic == "scalar");
  REQUIRE(info.terminals.size() == expected.terminals.size());
  for (std::size_t i = 0; i < info.terminals.size(); ++i) {
    const Terminal &is = info.terminals[i], &was = expected.terminals[i];
    CHECK(is.name == was.name);
    CHECK(is.clamped == was.clamped);
    CHECK(is.level == was.level);
    CHECK(is.can_hold == was.can_hold);
    CHECK(is.nudge == was.nudge);
    CHECK(is.reads_potential == was.reads_potential);
    CHECK(is.reads_current == was.reads_current);
  }
  REQUIRE(info.parameters.size() == expected.parameters.size());
  for (std::size_t i = 0; i < info.parameters.size(); ++i) {
    const ParameterInfo &is = info.parameters[i], &was = expected.parameters[i];
    CHECK(is.name == was.name);
    CHECK(is.kind == was.kind);
    CHECK(is.unit == was.unit);
    CHECK(is.range == was.range);
    CHECK(is.scale == was.scale);
    CHECK(is.trainable == was.trainable);
    CHECK(is.edge == was.edge);
    CHECK(is.node == was.node);
  }
}

TEST_CASE("a log holds pattern sets that come from no file or are small, and names the file of the others") {
  const Folder folder;
  LogHeader header = small_header();
  write_bytes(folder / "images.gz", "abc");
  header.pattern_sets.push_back(std::make_shared<FilePatterns>(folder / "images.gz"));
  // 6 rows of 2 levels, variants included: one byte less than they take.
  LogWriter(folder / "run.h5", header, {.largest_copy = 6 * 2 * 8 - 1}).close(ExitStatus::finished, "");
  LogWriter(folder / "whole.h5", header, {.largest_copy = 6 * 2 * 8}).close(ExitStatus::finished, "");

  const LogReader log(folder / "run.h5");
  REQUIRE(log.pattern_sets().size() == 2);
  const auto& stored = log.header().pattern_sets[0];
  REQUIRE(stored);
  CHECK(stored->name() == "train");
  CHECK(stored->digest() == header.pattern_sets[0]->digest());
  for (std::uint64_t i = 0; i < 3; ++i)
    CHECK(same_bits(stored->levels(i), header.pattern_sets[0]->levels(i)));
  CHECK(message_of<std::invalid_argument>([&] { stored->levels(3); }) ==
        "row 3 of pattern set 'train', which has 3");
  CHECK(log.pattern_sets()[0].path.empty());
  CHECK(log.pattern_sets()[0].stored);

  CHECK_FALSE(log.header().pattern_sets[1]);
  const LogReader::SetInfo& named = log.pattern_sets()[1];
  CHECK(named.name == "images");
  CHECK(named.path == folder / "images.gz");
  CHECK(named.sha256 ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-4's example
  CHECK(named.encoding == "low + (high - low) p / 255");
  CHECK(named.rows == 6);
  CHECK(named.variants == 3);
  CHECK(named.width == 2);
  CHECK(named.digest == header.pattern_sets[1]->digest());
  CHECK_FALSE(named.stored);

  const LogReader whole(folder / "whole.h5");
  CHECK(whole.pattern_sets()[1].stored);
  CHECK(whole.pattern_sets()[1].path == folder / "images.gz");
  CHECK(whole.pattern_sets()[1].sha256 == named.sha256);
  const auto& copy = whole.header().pattern_sets[1];
  REQUIRE(copy);
  CHECK(copy->base_rows() == 2);
  CHECK(copy->variants() == 3);
  for (std::uint64_t row = 0; row < 6; ++row)
    CHECK(copy->PatternSet::levels(row) == header.pattern_sets[1]->PatternSet::levels(row));
}

namespace {

/// Two sets on one pattern set: rows 2 and 0 with two targets each, from lines of a file; and row 1.
LogHeader header_with_data() {
  LogHeader header = small_header();
  const auto origin = std::make_shared<SampleOrigin>();
  *origin = {"points.csv", {7, 8, 9}, {"x", "y \xC2\xB5"}, {"p", "q"}};
  Dataset train{header.pattern_sets[0], {2, 0}, RowMatrix(2, 2), origin}, test = train;
  train.targets << 0.1, -0.0, 1e-300, 3;
  test.rows = {1};
  test.targets = RowMatrix::Constant(1, 2, 0.25);
  header.task = RecordedTask{
      "csv", {{"train", train, 2, train.digest(), 0}, {"test", test, 1, test.digest(), 0}}, false, 0.5};
  return header;
}

}  // namespace

TEST_CASE("a log holds the data sets: rows, targets and where they come from") {
  const Folder folder;
  const LogHeader header = header_with_data();
  LogWriter(folder / "run.h5", header, {}).close(ExitStatus::finished, "");
  const LogReader log(folder / "run.h5");
  REQUIRE(log.header().task);
  const RecordedTask& task = *log.header().task;
  CHECK(task.name == "csv");
  CHECK_FALSE(task.classifies);
  CHECK(task.threshold == 0.5);
  REQUIRE(task.sets.size() == 2);
  for (std::size_t k = 0; k < 2; ++k) {
    const RecordedSet &is = task.sets[k], &was = header.task->sets[k];
    CHECK(is.name == was.name);
    CHECK(is.whole());
    CHECK(is.digest == was.digest);
    CHECK(is.data.digest() == was.digest);
    CHECK(is.data.rows == was.data.rows);
    for (std::uint64_t i = 0; i < was.data.size(); ++i) {
      CHECK(is.data.where(i) == was.data.where(i));
      CHECK(same_bits(is.data.pattern(i).levels(), was.data.pattern(i).levels()));
      for (std::size_t j = 0; j < 2; ++j) CHECK(same_bits(is.data.target(i)[j], was.data.target(i)[j]));
    }
    REQUIRE(is.data.origin);
    CHECK(is.data.origin->inputs == was.data.origin->inputs);
    CHECK(is.data.origin->targets == was.data.origin->targets);
  }
  CHECK(task.sets[0].data.inputs == task.sets[1].data.inputs);  // one pattern set, as in the run
  CHECK(task.sets[0].data.where(0) == "points.csv:9");
}

TEST_CASE("rows and targets that take too much room are known by their digest alone") {
  const Folder folder;
  const LogHeader header = header_with_data();
  // Those of the training set take 2 x 2 x 8 bytes.
  LogWriter(folder / "run.h5", header, {.largest_copy = 31}).close(ExitStatus::finished, "");
  const LogReader log(folder / "run.h5");
  const RecordedTask& task = *log.header().task;
  CHECK_FALSE(task.sets[0].whole());
  CHECK(task.sets[0].samples == 2);
  CHECK(task.sets[0].data.size() == 0);
  CHECK(task.sets[0].digest == header.task->sets[0].digest);
  CHECK(task.sets[1].whole());
  // Levels that come from no file are there whatever room they take.
  CHECK(log.header().pattern_sets[0]);
}

TEST_CASE("a data set's digest changes with a level, a row, a target and their numbers") {
  const LogHeader header = header_with_data();
  const Dataset& set = header.task->sets[0].data;
  const std::uint64_t was = set.digest();
  Dataset other = set;
  CHECK(other.digest() == was);
  other.targets(1, 1) = 3.0000000000000004;
  CHECK(other.digest() != was);
  other = set;
  other.targets(0, 1) = 0.0;  // it was -0
  CHECK(other.digest() != was);
  other = set;
  other.rows[1] = 1;
  CHECK(other.digest() != was);
  other = set;
  RowMatrix levels(3, 2);
  levels << 0, -0.0, 1, 2, 0.1, 6;
  other.inputs = std::make_shared<DensePatterns>("train", levels);
  CHECK(other.digest() != was);
  other = set;
  other.targets = Eigen::Map<const RowMatrix>(set.targets.data(), 1, 4);
  CHECK(other.digest() != was);
}

TEST_CASE("levels of a data set that are none of the log's are refused before there is a file") {
  const Folder folder;
  LogHeader header = header_with_data();
  header.task->sets[1].pattern_set = 1;
  CHECK(message_of<std::invalid_argument>([&] { LogWriter(folder / "run.h5", header, {}); }) ==
        "the levels of set 'test' of the log's header are none of its pattern sets");
  CHECK_FALSE(std::filesystem::exists(folder / "run.h5"));
}

TEST_CASE("a log holds the edges, and where the experiment came from") {
  const Folder folder;
  LogHeader header = small_header();
  header.edges = RecordedEdges{{0, 1, 2}, {2, 2, 4}, {"quantum-dot", "linear", "quantum-dot"}};
  header.source =
      ExperimentSource{"/somewhere/xor.toml", "/data", {"optimizer.rate=0.1", "title=\"a, b\""}, 7};
  LogWriter(folder / "run.h5", header, {}).close(ExitStatus::finished, "");
  header.source->seed.reset();
  header.source->set.clear();
  LogWriter(folder / "plain.h5", header, {}).close(ExitStatus::finished, "");
  LogWriter(folder / "none.h5", small_header(), {}).close(ExitStatus::finished, "");
  const LogReader log(folder / "run.h5"), plain(folder / "plain.h5"), none(folder / "none.h5");
  CHECK(log.header().edges == header.edges);
  CHECK(plain.header().source == header.source);
  CHECK(log.header().source->seed == 7);
  CHECK(log.header().source->set == std::vector<std::string>{"optimizer.rate=0.1", "title=\"a, b\""});
  CHECK_FALSE(none.header().task);
  CHECK_FALSE(none.header().edges);
  CHECK_FALSE(none.header().source);
}

TEST_CASE("a set with variants and no file is stored with its variants") {
  class Shifted final : public PatternSet {
   public:
    const std::string& name() const override { return name_; }
    std::uint64_t base_rows() const override { return 2; }
    std::uint32_t variants() const override { return 2; }
    std::uint32_t width() const override { return 1; }
    void levels(std::uint64_t row, Eigen::Ref<Vector> out) const override {
      out[0] = 0.1 * static_cast<double>(row);
    }

   private:
    std::string name_ = "shifted";
  };
  const Folder folder;
  const auto set = std::make_shared<Shifted>();
  LogWriter(folder / "run.h5", small_header(set), {}).close(ExitStatus::finished, "");
  const auto stored = LogReader(folder / "run.h5").header().pattern_sets.at(0);
  CHECK(stored->base_rows() == 2);
  CHECK(stored->variants() == 2);
  CHECK(stored->digest() == set->digest());
  for (std::uint64_t i = 0; i < 4; ++i)
    CHECK(same_bits(stored->PatternSet::levels(i), set->PatternSet::levels(i)));
}

TEST_CASE("steps, epochs and checkpoints come back") {
  const Folder folder;
  {
    LogWriter log(folder / "run.h5", small_header(), {});
    for (std::uint64_t i = 0; i < 100; ++i)
      log.append(step_of(i), vector_of({1, static_cast<double>(i), odd_nan()}));
    log.append(EpochReport{.epoch = 0, .loss = 1.5, .correct = 0.25, .samples = 7, .left_out = 2});
    log.append(EpochReport{.epoch = 1,
                           .loss = 1.25,
                           .correct = 0.5,
                           .samples = 9,
                           .validation_loss = 0.75,
                           .validation_accuracy = odd_nan(),
                           .validation_left_out = 3,
                           .validated = true,
                           .best = true,
                           .best_so_far = {BestBy::validation_loss, 0.75, 18, 1}});
    for (std::uint64_t i = 0; i < 5; ++i) log.append(checkpoint_of(i));
    log.close(ExitStatus::finished, "");
  }
  const LogReader log(folder / "run.h5");
  REQUIRE(log.steps() == 100);
  for (std::uint64_t i = 0; i < 100; ++i) {
    const StepReport is = log.step(i), was = step_of(i);
    CHECK(std::tie(is.step, is.epoch, is.loss, is.correct, is.gradient_norm, is.rate, is.relaxations,
                   is.left_out, is.skipped, is.worst, is.theta_before, is.theta_after, is.reading_error,
                   is.whole_error, is.asymmetry, is.offset, is.repeats, is.lost) ==
          std::tie(was.step, was.epoch, was.loss, was.correct, was.gradient_norm, was.rate, was.relaxations,
                   was.left_out, was.skipped, was.worst, was.theta_before, was.theta_after, was.reading_error,
                   was.whole_error, was.asymmetry, was.offset, was.repeats, was.lost));
    CHECK(same_bits(log.theta(i), vector_of({1, static_cast<double>(i), odd_nan()})));
  }
  REQUIRE(log.epochs() == 2);
  CHECK(log.epoch(0).loss == 1.5);
  CHECK_FALSE(log.epoch(0).validated);
  CHECK_FALSE(log.epoch(0).best);
  CHECK(log.epoch(1).epoch == 1);
  CHECK(log.epoch(1).correct == 0.5);
  CHECK(log.epoch(1).validation_loss == 0.75);
  CHECK(same_bits(log.epoch(1).validation_accuracy, odd_nan()));
  CHECK(log.epoch(1).validated);
  CHECK(log.epoch(1).best);
  CHECK(std::isnan(log.epoch(0).validation_loss));  // not validated: no figure
  CHECK(log.epoch(0).samples == 7);
  CHECK(log.epoch(0).left_out == 2);
  CHECK(log.epoch(0).best_so_far.by == BestBy::none);
  CHECK(log.epoch(0).best_so_far.step == Best::unknown);
  CHECK(log.epoch(1).validation_left_out == 3);
  const Best best = log.epoch(1).best_so_far;
  CHECK(best.by == BestBy::validation_loss);
  CHECK(best.loss == 0.75);
  CHECK(best.step == 18);
  CHECK(best.epoch == 1);
  REQUIRE(log.checkpoints() == 5);
  for (const std::uint64_t i : {4, 0, 2}) {
    const Checkpoint is = log.checkpoint(i), was = checkpoint_of(i);
    CHECK(std::tie(is.step, is.epoch, is.relaxations) == std::tie(was.step, was.epoch, was.relaxations));
    CHECK(same_bits(is.theta, was.theta));
    CHECK(same_bits(is.optimizer, was.optimizer));
    CHECK(same_bits(is.trainer, was.trainer));
    CHECK(same_bits(is.estimator, was.estimator));
  }
}

TEST_CASE("long parameter vectors are logged at checkpoints alone") {
  const Folder folder;
  {
    LogOptions options;
    options.full_theta = 2;
    LogWriter log(folder / "run.h5", small_header(), options);
    log.append(step_of(0), vector_of({1, 2, 3}));
    log.append(checkpoint_of(1));
    log.close(ExitStatus::finished, "");
  }
  const LogReader log(folder / "run.h5");
  CHECK(log.theta(0).size() == 0);
  CHECK(log.step(0).theta_after == step_of(0).theta_after);
  CHECK(log.checkpoint(0).theta.size() == 3);
}

TEST_CASE("a log of outputs alone holds their readings, and its info says so") {
  const Folder folder;
  const auto set = small_set();
  {
    LogOptions options;
    options.outputs_only = true;
    LogWriter log(folder / "run.h5", small_header(set), options);
    append_rows(log, set, 0, 8);
    log.close(ExitStatus::finished, "");
  }
  const LogReader log(folder / "run.h5");
  CHECK(log.outputs_only());
  CHECK(log.header().info.read() == std::vector<std::uint32_t>{4});
  CHECK(log.header().info.output_positions() == std::vector<std::uint32_t>{0});
  for (std::uint64_t i = 0; i < 8; ++i) {
    Relaxation expected = relaxation_of(i);  // two terminals are read; the second is the output
    expected.potential = expected.potential.tail(1).eval();
    if (expected.sigma.size() > 0) expected.sigma = expected.sigma.tail(1).eval();
    if (expected.path.size() > 0) expected.path = expected.path.rightCols(1).eval();
    if (!expected.quality.terminal.empty()) expected.quality.terminal = {expected.quality.terminal[1]};
    check_row(log.row(i), drive_of(i, set), expected);
  }
}

TEST_CASE("a device without parameters or readable terminals can be logged") {
  const Folder folder;
  LogHeader header;
  header.info.terminals.resize(1);
  header.info.terminals[0].reads_potential = false;
  header.pattern_sets = {small_set()};
  {
    LogWriter log(folder / "run.h5", header, {});
    Drive drive;
    drive.clamp = {header.pattern_sets[0], 2};
    log.append(drive, {});
    log.append(step_of(3), {});
    log.close(ExitStatus::finished, "");
  }
  const LogReader log(folder / "run.h5");
  CHECK(log.row(0).relaxation.potential.size() == 0);
  CHECK(log.row(0).pattern_row == 2);
  CHECK(log.step(0).step == 3);
}

TEST_CASE("only what is committed exists, and a log can be read while it is written") {
  const Folder folder;
  const auto set = small_set();
  LogWriter log(folder / "run.h5", small_header(set), {});
  CHECK(LogReader(folder / "run.h5").rows() == 0);
  append_rows(log, set, 0, 5);
  log.append(step_of(0), vector_of({1, 2, 3}));
  CHECK(LogReader(folder / "run.h5").rows() == 0);
  log.commit();
  const LogReader first(folder / "run.h5");
  CHECK(first.rows() == 5);
  CHECK(first.steps() == 1);
  append_rows(log, set, 5, 200);
  log.commit();
  const LogReader second(folder / "run.h5");
  CHECK(first.rows() == 5);
  check_row(first.row(4), drive_of(4, set), relaxation_of(4));
  REQUIRE(second.rows() == 200);
  check_row(second.row(199), drive_of(199, set), relaxation_of(199));
  CHECK(second.status() == ExitStatus::running);
  log.close(ExitStatus::failed, "the source-meter left");
  CHECK(second.status() == ExitStatus::running);
  CHECK(LogReader(folder / "run.h5").status() == ExitStatus::failed);
  CHECK(LogReader(folder / "run.h5").reason() == "the source-meter left");
}

TEST_CASE("tick commits by size and by age") {
  const Folder folder;
  const auto set = small_set();
  const auto counted = [&] { return LogReader(folder / "run.h5").rows(); };
  LogOptions options;
  options.group_rows = 3;
  options.group_age = std::chrono::hours(1);
  SECTION("size") {
    LogWriter log(folder / "run.h5", small_header(set), options);
    append_rows(log, set, 0, 2);
    log.tick();
    CHECK(counted() == 0);
    append_rows(log, set, 2, 3);
    log.tick();
    CHECK(counted() == 3);
  }
  SECTION("age") {
    options.group_age = std::chrono::milliseconds(0);  // any age is old enough
    LogWriter log(folder / "run.h5", small_header(set), options);
    append_rows(log, set, 0, 1);
    log.tick();
    CHECK(counted() == 1);
  }
}

TEST_CASE("a log that nobody closed keeps its rows and says that it was cut short") {
  const Folder folder;
  const auto set = small_set();
  {
    LogWriter log(folder / "run.h5", small_header(set), {});
    append_rows(log, set, 0, 9);
  }
  const LogReader log(folder / "run.h5");
  CHECK(log.rows() == 9);
  CHECK(log.status() == ExitStatus::running);
  CHECK_FALSE(fs::exists(folder / "run.h5.lock"));
}

TEST_CASE("a long exit reason is cut between characters") {
  const Folder folder;
  std::string reason = "x";
  std::string kept = reason;
  // Its place was made for ASCII, in which each of these takes six bytes: byte 1024 is within one.
  while (reason.size() < 2000) reason += "\xC2\xB5";
  while (kept.size() + 6 <= 1024) kept += "\\u00b5";
  LogWriter(folder / "run.h5", small_header(), {}).close(ExitStatus::failed, reason);
  CHECK(LogReader(folder / "run.h5").reason() == kept);
}

TEST_CASE("a log is continued after its last counted row") {
  const Folder folder;
  const auto set = small_set();
  {
    LogWriter log(folder / "run.h5", small_header(set), {});
    append_rows(log, set, 0, 100);
    log.append(step_of(0), vector_of({1, 2, 3}));
    log.append(checkpoint_of(2));
    log.close(ExitStatus::cancelled, "Ctrl-C");
  }
  // Another object with equal levels: a resumed run has loaded it again.
  const auto again = small_set();
  {
    LogWriter log(folder / "run.h5", LogWriter::Continue{}, {});
    CHECK(log.rows() == 100);
    CHECK(LogReader(folder / "run.h5").status() == ExitStatus::running);
    append_rows(log, again, 100, 250);
    log.append(step_of(1), vector_of({4, 5, 6}));
    log.append(EpochReport{});
    log.append(checkpoint_of(3));
    log.close(ExitStatus::finished, "");
  }
  const LogReader log(folder / "run.h5");
  REQUIRE(log.rows() == 250);
  for (std::uint64_t i = 0; i < 250; ++i) check_row(log.row(i), drive_of(i, set), relaxation_of(i));
  REQUIRE(log.steps() == 2);
  CHECK(same_bits(log.theta(1), vector_of({4, 5, 6})));
  CHECK(log.epochs() == 1);
  REQUIRE(log.checkpoints() == 2);
  CHECK(same_bits(log.checkpoint(0).optimizer, checkpoint_of(2).optimizer));
  CHECK(same_bits(log.checkpoint(1).optimizer, checkpoint_of(3).optimizer));
  CHECK(log.status() == ExitStatus::finished);
  CHECK(log.reason().empty());
}

TEST_CASE("the log and its reader may be open in one process in either order") {
  const Folder folder;
  const auto set = small_set();
  {
    LogWriter log(folder / "run.h5", small_header(set), {});
    append_rows(log, set, 0, 100);
    log.close(ExitStatus::cancelled, "");
  }
  const LogReader before(folder / "run.h5");
  LogWriter log(folder / "run.h5", LogWriter::Continue{}, {});
  append_rows(log, set, 100, 200);
  log.commit();
  const LogReader after(folder / "run.h5");
  REQUIRE(before.rows() == 100);
  REQUIRE(after.rows() == 200);
  for (std::uint64_t i = 0; i < 100; ++i) check_row(before.row(i), drive_of(i, set), relaxation_of(i));
  check_row(after.row(199), drive_of(199, set), relaxation_of(199));
}

TEST_CASE("an existing file is not overwritten") {
  const Folder folder;
  write_bytes(folder / "run.h5", "precious");
  const std::string message = message_of([&] { LogWriter(folder / "run.h5", small_header(), {}); });
  CHECK_THAT(message, Catch::Contains(folder / "run.h5") && Catch::Contains("exists already"));
  CHECK(bytes_of(folder / "run.h5") == "precious");
  CHECK_FALSE(fs::exists(folder / "run.h5.lock"));
}

TEST_CASE("a second writer is refused, and told who writes") {
  const Folder folder;
  const auto set = small_set();
  LogWriter first(folder / "run.h5", small_header(set), {});
  CHECK(fs::exists(folder / "run.h5.lock"));
  const std::string who = "process " + std::to_string(getpid()) + " on ";
  CHECK_THAT(message_of([&] { LogWriter(folder / "run.h5", LogWriter::Continue{}, {}); }),
             Catch::Contains(folder / "run.h5") && Catch::Contains("is being written by " + who));
  CHECK_THAT(message_of([&] { repair_log(folder / "run.h5"); }),
             Catch::Contains("is being written by " + who));
  append_rows(first, set, 0, 3);
  first.close(ExitStatus::finished, "");
  CHECK_FALSE(fs::exists(folder / "run.h5.lock"));
  CHECK(LogWriter(folder / "run.h5", LogWriter::Continue{}, {}).rows() == 3);
}

TEST_CASE("a lock file left by a killed process keeps nobody out") {
  const Folder folder;
  write_bytes(folder / "run.h5.lock", "process 1 on nowhere");
  LogWriter(folder / "run.h5", small_header(), {}).close(ExitStatus::finished, "");
  CHECK(LogReader(folder / "run.h5").rows() == 0);
}

TEST_CASE("a path that cannot be written is refused with the reason") {
  const Folder folder;
  const std::string path = folder / "no/such/folder/run.h5";
  CHECK_THAT(message_of([&] { LogWriter(path, small_header(), {}); }),
             Catch::Contains(path) && Catch::Contains("No such file or directory"));
}

TEST_CASE("misuse of a log is refused, and leaves it as it was") {
  const Folder folder;
  const auto set = small_set();
  LogHeader header = small_header(set);
  LogWriter log(folder / "run.h5", header, {});
  append_rows(log, set, 0, 1);
  const auto misuse = [](auto&& call) { return message_of<std::invalid_argument>(call); };

  Relaxation short_one = relaxation_of(1);
  short_one.potential.conservativeResize(1);
  CHECK_THAT(misuse([&] { log.append(drive_of(1, set), short_one); }),
             Catch::Contains("potential") && Catch::Contains("1 entries") && Catch::Contains("has 2"));
  Relaxation odd_sigma = relaxation_of(1);
  odd_sigma.sigma = vector_of({1, 2, 3});
  CHECK_THAT(misuse([&] { log.append(drive_of(1, set), odd_sigma); }),
             Catch::Contains("sigma") && Catch::Contains("3 entries"));
  CHECK_THAT(misuse([&] { log.append(drive_of(1, small_set("other")), relaxation_of(1)); }),
             Catch::Contains("'other'"));
  CHECK_THAT(misuse([&] { log.append(step_of(0), vector_of({1})); }),
             Catch::Contains("theta has 1 entries") && Catch::Contains("3 parameters"));

  append_rows(log, set, 1, 2);
  log.close(ExitStatus::finished, "");
  log.close(ExitStatus::failed, "twice");  // idempotent
  CHECK_THAT(misuse([&] { append_rows(log, set, 2, 3); }), Catch::Contains("is closed"));
  const LogReader reader(folder / "run.h5");
  CHECK(reader.rows() == 2);
  CHECK(reader.status() == ExitStatus::finished);
  CHECK_THAT(misuse([&] { reader.row(2); }), Catch::Contains("row 2") && Catch::Contains("which has 2"));
  CHECK_THAT(misuse([&] { reader.step(0); }), Catch::Contains("step 0") && Catch::Contains("which has 0"));

  header.pattern_sets.push_back(nullptr);
  CHECK_THAT(misuse([&] { LogWriter(folder / "b.h5", header, {}); }),
             Catch::Contains("pattern set 1") && Catch::Contains("null"));
  LogOptions options;
  options.group_rows = 0;
  CHECK_THAT(misuse([&] { LogWriter(folder / "b.h5", small_header(), options); }),
             Catch::Contains("group_rows is 0"));
  CHECK_FALSE(fs::exists(folder / "b.h5"));
}
