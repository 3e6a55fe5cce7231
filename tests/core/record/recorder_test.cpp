#include "ness/record/recorder.hpp"

#include "core/record/scripted_device.hpp"

using namespace log_test;

namespace {

struct Bench {
  explicit Bench(std::uint64_t group_rows = 1)
      : log(folder / "run.h5", small_header(set), options(group_rows)), recorder(device, log) {}
  static LogOptions options(std::uint64_t group_rows) {
    LogOptions result;
    result.group_rows = group_rows;
    result.group_age = std::chrono::hours(1);
    return result;
  }
  std::uint64_t counted() const { return LogReader(folder / "run.h5").rows(); }

  Folder folder;
  std::shared_ptr<const PatternSet> set = small_set();
  Scripted device;
  LogWriter log;
  Recorder recorder;
};

const Device::Sink ignore = [](std::size_t, const Relaxation&) {};

}  // namespace

TEST_CASE("a recorder logs what the device answers, and forwards it") {
  Bench bench(4);
  std::vector<std::size_t> indices;
  bench.recorder.relax(drives_of(0, 10, bench.set), [&](std::size_t index, const Relaxation& relaxation) {
    indices.push_back(index);
    CHECK(same_bits(relaxation.potential, relaxation_of(index).potential));
  });
  CHECK(indices == std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(bench.counted() == 8);  // in groups of four
  bench.log.close(ExitStatus::finished, "");
  const LogReader log(bench.folder / "run.h5");
  REQUIRE(log.rows() == 10);
  for (std::uint64_t i = 0; i < 10; ++i) check_row(log.row(i), drive_of(i, bench.set), relaxation_of(i));
  CHECK(log.failed_rows().empty());
}

TEST_CASE("with groups of one a row is committed before it is forwarded") {
  Bench bench;
  bench.recorder.relax(drives_of(0, 3, bench.set),
                       [&](std::size_t index, const Relaxation&) { CHECK(bench.counted() == index + 1); });
  CHECK(bench.counted() == 3);
}

TEST_CASE("a failed attempt is a row with its fault, and the error goes on") {
  Bench bench(1000);
  bench.device.failing[2] = "source-meter 'gate' did not answer within 2 s";
  std::size_t forwarded = 0;
  const std::string message = message_of<std::runtime_error>([&] {
    bench.recorder.relax(drives_of(0, 5, bench.set), [&](std::size_t, const Relaxation&) { ++forwarded; });
  });
  CHECK(message == "source-meter 'gate' did not answer within 2 s");
  CHECK(forwarded == 2);
  CHECK(bench.counted() == 3);  // committed at once, although the group is not full

  const LogReader log(bench.folder / "run.h5");
  check_row(log.row(1), drive_of(1, bench.set), relaxation_of(1));
  const LogRow failed = log.row(2);
  CHECK(failed.fault == message);
  CHECK(failed.theta_digest == drive_of(2, bench.set).theta.digest);
  CHECK(same_bits(failed.nudge, drive_of(2, bench.set).nudge));
  CHECK(failed.relaxation.potential.size() == 2);
  CHECK(failed.relaxation.potential.array().isNaN().all());
  CHECK(failed.relaxation.quality.whole == bit(Flag::invalid));
  CHECK(log.failed_rows() == std::vector<std::uint64_t>{2});
}

TEST_CASE("a stop is no failure: what was delivered is logged, and nothing else") {
  Bench bench(1000);
  std::stop_source source;
  CHECK_THROWS_AS(bench.recorder.relax(
                      drives_of(0, 5, bench.set),
                      [&](std::size_t index, const Relaxation&) {
                        if (index == 1) source.request_stop();
                      },
                      source.get_token()),
                  Cancelled);
  bench.log.close(ExitStatus::cancelled, "");
  CHECK(bench.counted() == 2);
  CHECK(LogReader(bench.folder / "run.h5").failed_rows().empty());
}

TEST_CASE("an error of whoever listens is no failure of the device") {
  Bench bench(1000);
  CHECK_THROWS_AS(bench.recorder.relax(drives_of(0, 5, bench.set),
                                       [&](std::size_t index, const Relaxation&) {
                                         if (index == 1) throw std::logic_error("the listener");
                                       }),
                  std::logic_error);
  bench.log.close(ExitStatus::failed, "");
  CHECK(bench.counted() == 2);
  CHECK(LogReader(bench.folder / "run.h5").failed_rows().empty());
}

TEST_CASE("misuse is refused before anything is imposed or logged") {
  Bench bench;
  std::vector<Drive> drives = drives_of(0, 3, bench.set);
  drives[2].clamp.row = 99;
  CHECK_THROWS_AS(bench.recorder.relax(drives, ignore), std::invalid_argument);
  CHECK(bench.device.made == 0);
  CHECK(bench.counted() == 0);
}

TEST_CASE("a recorder logs steps, epochs and checkpoints, and commits checkpoints") {
  Bench bench(1000);
  bench.recorder.on_step(step_of(0), vector_of({1, 2, 3}));
  bench.recorder.on_epoch({.epoch = 0, .loss = 1.5});
  CHECK(LogReader(bench.folder / "run.h5").steps() == 0);
  bench.recorder.on_checkpoint({1, 1, 0, vector_of({1, 2, 3}), {}, {}});
  const LogReader log(bench.folder / "run.h5");
  CHECK(log.steps() == 1);
  CHECK(log.epochs() == 1);
  CHECK(log.checkpoints() == 1);
  CHECK(same_bits(log.theta(0), vector_of({1, 2, 3})));
}

TEST_CASE("a recorder is the device it records in everything else") {
  Bench bench;
  CHECK(&bench.recorder.info() == &bench.device.info());
  bench.recorder.seek(7);
  CHECK(bench.device.next == 7);
  const SafeReport report = bench.recorder.make_safe(std::chrono::milliseconds(250), SafeProfile::cancel);
  CHECK(bench.device.safe_profile == SafeProfile::cancel);
  CHECK_THAT(report.message(), Catch::Contains("NOT SAFE") && Catch::Contains("gate 3 at 0.2 V"));
  CHECK_FALSE(report.safe);
  CHECK(report.stuck == std::vector<std::string>{"gate 3 at 0.2 V"});
  CHECK(bench.device.safe_budget == std::chrono::milliseconds(250));
}

TEST_CASE("readings kept one by one are logged with the first relaxations, as many as are asked for") {
  Folder folder;
  const std::shared_ptr<const PatternSet> set = small_set();
  const std::vector<std::uint64_t> with_path{3, 13, 23};
  for (const bool outputs_only : {false, true}) {
    const std::string path = folder / (outputs_only ? "outputs.h5" : "all.h5");
    LogOptions options;
    options.paths = 2;
    options.outputs_only = outputs_only;
    {
      LogWriter log(path, small_header(set), options);
      for (const std::uint64_t i : with_path) log.append(drive_of(i, set), relaxation_of(i));
      log.append(drive_of(4, set), relaxation_of(4));
      log.close(ExitStatus::finished, "");
    }
    const LogReader log(path);
    for (std::uint64_t row = 0; row < 4; ++row) {
      const RowMatrix kept = log.row(row).relaxation.path;
      CHECK(kept.rows() == (row < 2 ? 7 : 0));
      if (row >= 2) continue;
      const RowMatrix whole = relaxation_of(with_path[row]).path;
      const RowMatrix expected = outputs_only ? RowMatrix(whole.col(1)) : whole;  // the output is the last
      REQUIRE(kept.cols() == expected.cols());
      for (Eigen::Index i = 0; i < 7; ++i)
        CHECK(same_bits(kept.row(i).transpose(), expected.row(i).transpose()));
    }
  }
}

TEST_CASE("a continued log keeps as many paths in all as are asked for") {
  Folder folder;
  const std::shared_ptr<const PatternSet> set = small_set();
  LogOptions options;
  options.paths = 2;
  {
    LogWriter log(folder / "run.h5", small_header(set), options);
    log.append(drive_of(3, set), relaxation_of(3));
    log.append(drive_of(4, set), relaxation_of(4));
    log.close(ExitStatus::running, "");
  }
  {
    LogWriter log(folder / "run.h5", LogWriter::Continue{}, options);
    for (const std::uint64_t i : {13, 23}) log.append(drive_of(i, set), relaxation_of(i));
    log.close(ExitStatus::finished, "");
  }
  const LogReader log(folder / "run.h5");
  REQUIRE(log.rows() == 4);
  for (const auto& [row, readings] : {std::pair{0, 7}, {1, 0}, {2, 7}, {3, 0}})
    CHECK(log.row(static_cast<std::uint64_t>(row)).relaxation.path.rows() == readings);
}
