#include "ness/record/replay.hpp"

#include "ness/device/wrapping_device.hpp"
#include "ness/record/recorder.hpp"
#include "core/record/scripted_device.hpp"

using namespace log_test;

namespace {

const Device::Sink ignore = [](std::size_t, const Relaxation&) {};

// Records rows [0, n) of a scripted device; `failing` attempts are repeated.
void record(const std::string& path, const std::shared_ptr<const PatternSet>& set, std::uint64_t n,
            LogOptions options = {}, std::map<std::uint64_t, std::string> failing = {}) {
  LogWriter log(path, small_header(set), options);
  Scripted device;
  device.failing = std::move(failing);
  Recorder recorder(device, log);
  while (device.next < n) {
    try {
      recorder.relax(drives_of(device.next, n, set), ignore);
    } catch (const std::runtime_error&) {}
  }
  for (std::uint64_t i = 0; i < 5; ++i) {
    StepReport step = step_of(i);
    step.theta_after = digest(vector_of({1, 2, static_cast<double>(i)}));
    recorder.on_step(step, vector_of({1, 2, static_cast<double>(i)}));
  }
  recorder.on_epoch({.epoch = 0, .loss = 1});
  recorder.on_checkpoint({5, 1, n, vector_of({1, 2, 3}), {}, {}});
  log.close(ExitStatus::finished, "");
}

std::string mismatch(Device& device, const Drive& drive) {
  return message_of<ReplayMismatch>([&] { device.relax(drive); });
}

std::string hexadecimal(std::uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof(text), "0x%016llx", static_cast<unsigned long long>(value));
  return text;
}

// Records the forwarded relaxations.
struct Noted {
  std::vector<std::size_t> indices;
  std::vector<Relaxation> relaxations;
  Device::Sink sink() {
    return [this](std::size_t index, const Relaxation& relaxation) {
      indices.push_back(index);
      relaxations.push_back(relaxation);
    };
  }
};

struct NotingObserver final : TrainingObserver {
  std::vector<std::uint64_t> steps, epochs, checkpoints;
  void on_step(const StepReport& report, const Vector&) override { steps.push_back(report.step); }
  void on_epoch(const EpochReport& report) override { epochs.push_back(report.epoch); }
  void on_checkpoint(const Checkpoint& checkpoint) override { checkpoints.push_back(checkpoint.step); }
};

StepReport recorded_step(std::uint64_t i) {
  StepReport step = step_of(i);
  step.theta_after = digest(vector_of({1, 2, static_cast<double>(i)}));
  return step;
}

}  // namespace

TEST_CASE("a replay answers as the device did, bit for bit") {
  const Folder folder;
  const auto set = small_set();
  record(folder / "run.h5", set, 60);
  const LogReader log(folder / "run.h5");
  // A set loaded again, with the same levels, counts as the same set.
  Replay replay(log, {GENERATE(false, true) ? small_set() : set});
  CHECK(replay.info().identity == small_info().identity);
  CHECK(replay.info().restores_state);
  Noted noted;
  replay.relax(drives_of(0, 25, set), noted.sink());
  CHECK(replay.next_row() == 25);
  replay.relax(drives_of(25, 60, set), noted.sink());
  REQUIRE(noted.relaxations.size() == 60);
  CHECK(noted.indices[24] == 24);
  CHECK(noted.indices[25] == 0);
  for (std::uint64_t i = 0; i < 60; ++i) {
    CHECK(same_bits(noted.relaxations[i].potential, relaxation_of(i).potential));
    CHECK(same_bits(noted.relaxations[i].current, relaxation_of(i).current));
    CHECK(noted.relaxations[i].quality.terminal == relaxation_of(i).quality.terminal);
  }
}

TEST_CASE("a drive that differs from the recorded one is refused with the row and the difference") {
  const Folder folder;
  const auto set = small_set();
  record(folder / "run.h5", set, 20);
  const LogReader log(folder / "run.h5");
  Replay replay(log, {set});
  const auto at = [&](std::uint64_t i) {
    replay.seek(i);
    return drive_of(i, set);
  };
  Drive drive;

  drive = at(17);
  const std::uint64_t recorded = drive.theta.digest;
  drive.theta = Parameters::of(vector_of({1, 17.5, 3}));
  drive.theta.overrides = drive_of(17, set).theta.overrides;
  CHECK(mismatch(replay, drive) ==
        "row 17: theta digest is " + hexadecimal(drive.theta.digest) + ", recorded " + hexadecimal(recorded));

  drive = at(6);
  drive.nudge[2] = 0.5;
  CHECK(mismatch(replay, drive) == "row 6: nudge[2] is 0.5, recorded 0.14285714285714285");
  drive = at(6);
  drive.nudge[1] = 0.0;  // -0 was recorded
  CHECK(mismatch(replay, drive) == "row 6: nudge[1] is 0, recorded -0");
  drive = at(6);
  drive.nudge.resize(0);
  CHECK(mismatch(replay, drive) == "row 6: the number of entries of nudge is 0, recorded 3");

  drive = at(5);
  drive.clamp.row = 1;
  CHECK(mismatch(replay, drive) == "row 5: clamp is row 1 of 'train', recorded row 2 of 'train'");
  drive = at(5);
  drive.clamp = pattern_of(vector_of({0, 0}));
  CHECK(mismatch(replay, drive) == "row 5: the pattern set 'single' is none of the recorded ones");

  drive = at(7);
  drive.theta.overrides.pop_back();
  CHECK(mismatch(replay, drive) == "row 7: the number of entries of override parameter is 1, recorded 2");
  drive = at(7);
  drive.theta.overrides[1].first = 2;
  CHECK(mismatch(replay, drive) == "row 7: override parameter[1] is 2, recorded 1");
  drive = at(7);
  drive.theta.overrides[0].second = 2;
  CHECK(mismatch(replay, drive) == "row 7: override[0] is 2, recorded 1.1000000000000001");
  drive = at(7);
  drive.holds[0].level = 4;
  CHECK(mismatch(replay, drive) == "row 7: hold level[0] is 4, recorded 0.3666666666666667");
  drive = at(7);
  drive.holds.clear();
  CHECK(mismatch(replay, drive) == "row 7: the number of entries of hold terminal is 0, recorded 1");

  drive = at(9);
  drive.start = Rest{};
  CHECK(mismatch(replay, drive) == "row 9: start is from rest, recorded from the present state");
  drive = at(8);
  drive.start = Rest{2};
  CHECK(mismatch(replay, drive) == "row 8: the rate from rest is 2, recorded inf");
  drive = at(10);
  const Vector other = vector_of({10, 0, 2});
  drive.start = From{std::make_shared<const Vector>(other)};
  CHECK(mismatch(replay, drive) == "row 10: start digest is " + hexadecimal(digest(other)) + ", recorded " +
                                       hexadecimal(digest(vector_of({10, 0, 1}))));

  drive = at(3);
  drive.observe = Settled{};
  CHECK(mismatch(replay, drive) == "row 3: reading is when settled, recorded at a time");
  drive = at(3);
  drive.observe = At{4, 8, 1.5};
  CHECK(mismatch(replay, drive) == "row 3: samples of a reading is 8, recorded 7");
  drive.observe = At{4, 7, 2};
  CHECK(mismatch(replay, drive) == "row 3: time between readings is 2, recorded 1.5");
  drive = at(19);
  drive.observe = At{20, 3, 0, At::Mode::serial};
  CHECK(mismatch(replay, drive) == "row 19: mode of reading is serial, recorded repeat");

  drive = at(4);
  drive.label.sample = 5;
  CHECK(mismatch(replay, drive) == "row 4: label sample is 5, recorded 16");
  drive = at(4);
  drive.label.purpose = Label::Purpose::train;
  CHECK(mismatch(replay, drive) == "row 4: label purpose is train, recorded probe");

  CHECK(same_bits(replay.relax(at(4)).potential, relaxation_of(4).potential));
}

TEST_CASE("a replay ends with the log") {
  const Folder folder;
  const auto set = small_set();
  record(folder / "run.h5", set, 10);
  const LogReader log(folder / "run.h5");
  Replay replay(log, {set});
  Noted noted;
  const std::string message =
      message_of<ReplayMismatch>([&] { replay.relax(drives_of(0, 12, set), noted.sink()); });
  CHECK(noted.relaxations.size() == 10);
  CHECK_THAT(message, Catch::Contains(folder / "run.h5") && Catch::Contains("ends after 10 rows") &&
                          Catch::Contains("relaxation 10"));
  CHECK(replay.make_safe(std::chrono::milliseconds(1)).safe);
}

TEST_CASE("a replay goes on with a device where the log ends, within a call too") {
  const Folder folder;
  const auto set = small_set();
  record(folder / "run.h5", set, 10);
  const LogReader log(folder / "run.h5");
  Scripted device;
  Replay replay(log, {set}, 7, &device);
  CHECK(replay.next_row() == 7);
  Noted noted;
  replay.relax(drives_of(7, 14, set), noted.sink());
  CHECK(noted.indices == std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6});
  CHECK(device.made == 4);
  CHECK(device.next == 14);  // the device was set to continue with relaxation 10
  for (std::uint64_t i = 0; i < 7; ++i)
    CHECK(same_bits(noted.relaxations[i].potential, relaxation_of(7 + i).potential));
  replay.relax(drive_of(14, set));
  CHECK(device.next == 15);

  replay.seek(20);  // beyond the record
  CHECK(same_bits(replay.relax(drive_of(20, set)).potential, relaxation_of(20).potential));
  CHECK(device.made == 6);
  replay.seek(2);
  CHECK(replay.next_row() == 2);
  CHECK(same_bits(replay.relax(drive_of(2, set)).potential, relaxation_of(2).potential));
  CHECK(device.made == 6);
  CHECK_FALSE(replay.make_safe(std::chrono::milliseconds(1)).safe);
}

TEST_CASE("a resumed run appends to the log that it replays") {
  const Folder folder;
  const auto set = small_set();
  record(folder / "run.h5", set, 10);
  const LogReader log(folder / "run.h5");
  {
    LogWriter writer(folder / "run.h5", LogWriter::Continue{}, {});
    Scripted device;
    Recorder recorder(device, writer);
    Replay replay(log, {set}, 8, &recorder);
    replay.relax(drives_of(8, 15, set), ignore);
    CHECK(device.made == 5);
    writer.close(ExitStatus::finished, "");
  }
  const LogReader whole(folder / "run.h5");
  REQUIRE(whole.rows() == 15);
  for (std::uint64_t i = 0; i < 15; ++i) check_row(whole.row(i), drive_of(i, set), relaxation_of(i));
}

namespace {

// Drives that start from a state that the device can be brought to.
std::vector<Drive> restored_drives(std::uint64_t first, std::uint64_t end,
                                   const std::shared_ptr<const PatternSet>& set) {
  std::vector<Drive> drives = drives_of(first, end, set);
  for (Drive& drive : drives) {
    if (std::holds_alternative<Present>(drive.start)) drive.start = Rest{};
  }
  return drives;
}

void record_restored(const std::string& path, const std::shared_ptr<const PatternSet>& set, std::uint64_t n) {
  LogWriter log(path, small_header(set), {});
  Scripted device;
  Recorder(device, log).relax(restored_drives(0, n, set), ignore);
  log.close(ExitStatus::running, "");
}

// Answers that differ by the last bit where the group is another.
class Grouping final : public Device {
 public:
  const DeviceInfo& info() const override { return info_; }
  void seek(std::uint64_t ordinal) override { next = ordinal; }
  std::uint64_t next = 0;
  std::vector<std::size_t> groups;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
    groups.push_back(drives.size());
    for (std::size_t i = 0; i < drives.size(); ++i) {
      Relaxation row = relaxation_of(next++);
      row.potential[0] = static_cast<double>(drives.size());
      sink(i, row);
    }
  }

 private:
  DeviceInfo info_ = small_info();
};

}  // namespace

TEST_CASE("a group whose rows run out is relaxed again as a whole, and logged once") {
  const Folder folder;
  const auto set = small_set();
  {
    LogWriter log(folder / "run.h5", small_header(set), {});
    Grouping device;
    Recorder recorder(device, log);
    recorder.relax(restored_drives(0, 4, set), ignore);
    // The process dies within the second group of six.
    struct Killed {};
    CHECK_THROWS_AS(recorder.relax(restored_drives(4, 10, set),
                                   [](std::size_t index, const Relaxation&) {
                                     if (index == 2) throw Killed{};
                                   }),
                    Killed);
  }
  {
    const LogReader log(folder / "run.h5");
    REQUIRE(log.rows() == 7);
    LogWriter writer(folder / "run.h5", LogWriter::Continue{}, {});
    Grouping device;
    Recorder recorder(device, writer);
    Replay replay(log, {set}, 0, &recorder);
    replay.relax(restored_drives(0, 4, set), ignore);
    CHECK(device.groups.empty());
    Noted noted;
    replay.relax(restored_drives(4, 10, set), noted.sink());
    CHECK(device.groups == std::vector<std::size_t>{6});
    CHECK(device.next == 10);
    CHECK(noted.indices == std::vector<std::size_t>{0, 1, 2, 3, 4, 5});
    for (const Relaxation& row : noted.relaxations) CHECK(row.potential[0] == 6);
    replay.relax(restored_drives(10, 12, set), ignore);
    CHECK(device.groups == std::vector<std::size_t>{6, 2});
    writer.close(ExitStatus::finished, "");
  }
  const LogReader whole(folder / "run.h5");
  REQUIRE(whole.rows() == 12);
  for (std::uint64_t i = 0; i < 12; ++i) {
    Relaxation row = relaxation_of(i);
    row.potential[0] = i < 4 ? 4 : i < 10 ? 6 : 2;
    check_row(whole.row(i), restored_drives(i, i + 1, set)[0], row);
  }
  SECTION("and everything again, where that is asked for") {
    Grouping device;
    Replay replay(whole, {set}, 0, &device);
    replay.relax_everything_again();
    replay.relax(restored_drives(0, 4, set), ignore);
    CHECK(device.groups == std::vector<std::size_t>{4});
    CHECK_THAT(message_of<ReplayMismatch>([&] { replay.relax(restored_drives(4, 9, set), ignore); }),
               Catch::StartsWith("row 4: potential[0] is 5, recorded 6 ("));
  }
}

TEST_CASE("rows that the device does not give again are refused, or reported where that is asked for") {
  const Folder folder;
  const auto set = small_set();
  record_restored(folder / "run.h5", set, 5);
  const LogReader log(folder / "run.h5");
  Grouping device;
  Replay replay(log, {set}, 0, &device);
  CHECK_THAT(message_of<ReplayMismatch>([&] { replay.relax(restored_drives(0, 8, set), ignore); }),
             Catch::StartsWith("row 0: potential[0] is 8, recorded 0.29999999999999999 (the device has"));
  Replay lenient(log, {set}, 0, &device);
  std::vector<std::string> said;
  lenient.report_other_bits([&](const std::string& difference) { said.push_back(difference); });
  Noted noted;
  lenient.relax(restored_drives(0, 8, set), noted.sink());
  CHECK(same_bits(noted.relaxations.at(4).potential, relaxation_of(4).potential));
  CHECK(noted.relaxations.at(5).potential[0] == 8);
  REQUIRE(said.size() == 1);
  CHECK_THAT(said[0], Catch::StartsWith("row 0: potential[0] is 8, recorded 0.2999"));
}

TEST_CASE("a device of one state goes on with what is missing of a group") {
  const Folder folder;
  const auto set = small_set();
  DeviceInfo info = small_info();
  info.restores_state = false;
  class Bench final : public WrappingDevice {
   public:
    Bench(Device& inner, DeviceInfo info) : WrappingDevice(inner), info_(std::move(info)) {}
    const DeviceInfo& info() const override { return info_; }

   protected:
    void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
      pass_on(inner(), drives, sink, stop);
    }

   private:
    DeviceInfo info_;
  };
  const auto drives = [&](std::uint64_t first, std::uint64_t end) {
    std::vector<Drive> some = restored_drives(first, end, set);
    for (Drive& drive : some) {
      if (std::holds_alternative<From>(drive.start)) drive.start = Rest{};
    }
    return some;
  };
  Scripted device;
  Bench bench(device, info);
  {
    LogHeader header = small_header(set);
    header.info = info;
    LogWriter log(folder / "run.h5", header, {});
    Recorder(bench, log).relax(drives(0, 5), ignore);
  }
  const LogReader log(folder / "run.h5");
  Replay replay(log, {set}, 0, &bench);
  device.made = 0;
  replay.relax(drives(0, 8), ignore);
  CHECK(device.made == 3);
  CHECK(device.next == 8);
}

TEST_CASE("rows of failed attempts are passed over") {
  const Folder folder;
  const auto set = small_set();
  record(folder / "run.h5", set, 10, {}, {{0, "no answer"}, {4, "no answer"}, {9, "in compliance"}});
  const LogReader log(folder / "run.h5");
  REQUIRE(log.rows() == 13);
  CHECK(log.failed_rows() == std::vector<std::uint64_t>{0, 5, 11});
  Replay replay(log, {set});
  Noted noted;
  replay.relax(drives_of(0, 10, set), noted.sink());
  REQUIRE(noted.relaxations.size() == 10);
  for (std::uint64_t i = 0; i < 10; ++i)
    CHECK(same_bits(noted.relaxations[i].potential, relaxation_of(i).potential));
  for (const std::uint64_t i : {0, 3, 4, 5, 9}) {
    Replay from(log, {set}, i);
    CHECK(same_bits(from.relax(drive_of(i, set)).potential, relaxation_of(i).potential));
  }
}

TEST_CASE("a log that ends with a failed attempt says so, or goes on with a device") {
  const Folder folder;
  const auto set = small_set();
  {
    LogWriter writer(folder / "run.h5", small_header(set), {});
    Scripted device;
    device.failing[3] = "the cryostat is warm";
    Recorder recorder(device, writer);
    CHECK_THROWS(recorder.relax(drives_of(0, 5, set), ignore));
    writer.close(ExitStatus::failed, "");
  }
  const LogReader log(folder / "run.h5");
  Replay alone(log, {set});
  CHECK_THAT(message_of<ReplayMismatch>([&] { alone.relax(drives_of(0, 5, set), ignore); }),
             Catch::Contains("relaxation 3 is not recorded") && Catch::Contains("the cryostat is warm"));
  Scripted device;
  Replay replay(log, {set}, 0, &device);
  Noted noted;
  replay.relax(drives_of(0, 5, set), noted.sink());
  CHECK(device.made == 2);
  CHECK(same_bits(noted.relaxations.at(3).potential, relaxation_of(3).potential));
}

TEST_CASE("a replay stops on request between rows") {
  const Folder folder;
  const auto set = small_set();
  record(folder / "run.h5", set, 10);
  const LogReader log(folder / "run.h5");
  Replay replay(log, {set});
  std::stop_source source;
  std::size_t delivered = 0;
  CHECK_THROWS_AS(replay.relax(
                      drives_of(0, 10, set),
                      [&](std::size_t, const Relaxation&) {
                        if (++delivered == 3) source.request_stop();
                      },
                      source.get_token()),
                  Cancelled);
  CHECK(delivered == 3);
}

TEST_CASE("a replay with other pattern sets is refused") {
  const Folder folder;
  record(folder / "run.h5", small_set(), 3);
  const LogReader log(folder / "run.h5");
  RowMatrix levels(3, 2);
  levels << 0, 0.0, 1, 2, 0.1, 5;  // recorded with -0
  const auto other = std::make_shared<DensePatterns>("train", levels);
  CHECK_THAT(message_of([&] { Replay(log, {other}); }),
             Catch::Contains(hexadecimal(other->digest())) &&
                 Catch::Contains(hexadecimal(small_set()->digest())) && Catch::Contains("'train'"));
  CHECK_THAT(message_of([&] { Replay(log, {}); }),
             Catch::Contains("with 1 pattern sets") && Catch::Contains("the experiment has 0"));
}

TEST_CASE(
    "the replay of a log of outputs alone reads the outputs alone, and a difference is explained by that") {
  const Folder folder;
  const auto set = small_set();
  LogOptions options;
  options.outputs_only = true;
  record(folder / "run.h5", set, 10, options);
  const LogReader log(folder / "run.h5");
  Scripted device;
  Replay replay(log, {set}, 0, &device);
  CHECK_FALSE(replay.info().reads_every_free_potential());
  CHECK(replay.info().read() == std::vector<std::uint32_t>{4});
  Noted noted;
  replay.relax(drives_of(0, 12, set), noted.sink());  // the last two come from the device, which reads more
  for (std::uint64_t i = 0; i < 12; ++i) {
    CHECK(same_bits(noted.relaxations[i].potential, relaxation_of(i).potential.tail(1)));
    CHECK(same_bits(noted.relaxations[i].sigma,
                    relaxation_of(i).sigma.tail(std::min<Eigen::Index>(relaxation_of(i).sigma.size(), 1))));
  }
  replay.seek(1);
  Drive drive = drive_of(1, set);
  drive.label.sample = 9;
  CHECK_THAT(mismatch(replay, drive),
             Catch::Contains("row 1: label sample is 9, recorded 1") && Catch::Contains("outputs alone"));
}

TEST_CASE("a replay check compares the steps") {
  const Folder folder;
  record(folder / "run.h5", small_set(), 3);
  const LogReader log(folder / "run.h5");
  const auto theta = [](std::uint64_t i) { return vector_of({1, 2, static_cast<double>(i)}); };
  const auto difference = [](ReplayCheck& check, const StepReport& report, const Vector& at) {
    return message_of<ReplayMismatch>([&] { check.on_step(report, at); });
  };
  ReplayCheck check(log, 2);
  check.on_step(recorded_step(2), theta(2));
  CHECK(check.steps_compared() == 1);

  StepReport report = recorded_step(3);
  report.loss = std::nextafter(report.loss, 0);
  CHECK_THAT(difference(check, report, theta(3)),
             Catch::Contains("step 3: loss is 0.249999") && Catch::Contains("recorded 0.25"));
  report = recorded_step(3);
  report.theta_before = 1;
  CHECK(difference(check, report, theta(3)) ==
        "step 3: theta digest before is " + hexadecimal(1) + ", recorded " + hexadecimal(10));
  report = recorded_step(3);
  report.theta_after = 1;
  CHECK_THAT(difference(check, report, theta(3)),
             Catch::Contains("step 3: theta digest after is " + hexadecimal(1)));
  CHECK_THAT(difference(check, recorded_step(3), theta(4)),
             Catch::Contains("step 3: the digest of theta is " + hexadecimal(digest(theta(4)))));
  report = recorded_step(3);
  report.relaxations = 13;
  CHECK(difference(check, report, theta(3)) == "step 3: relaxations is 13, recorded 12");
  CHECK(difference(check, recorded_step(4), theta(4)) == "step 3: the step's number is 4, recorded 3");

  check.on_step(recorded_step(3), theta(3));
  check.on_step(recorded_step(4), theta(4));
  CHECK(check.steps_compared() == 3);
  CHECK_THAT(difference(check, recorded_step(5), theta(5)),
             Catch::Contains("ends after 5 steps; step 5 is not recorded"));
}

TEST_CASE("a replay check hands on what lies beyond the record") {
  const Folder folder;
  record(folder / "run.h5", small_set(), 3);
  const LogReader log(folder / "run.h5");
  NotingObserver then;
  ReplayCheck check(log, 4, &then);
  check.on_step(recorded_step(4), vector_of({1, 2, 4}));
  check.on_epoch({.epoch = 0, .loss = 1});
  check.on_checkpoint({5, 1, 3, {}, {}, {}});
  CHECK((then.steps.empty() && then.epochs.empty() && then.checkpoints.empty()));
  check.on_step(recorded_step(5), vector_of({1, 2, 5}));
  check.on_epoch({.epoch = 1, .loss = 1});
  check.on_checkpoint({5, 2, 3, {}, {}, {}});  // the same step, after the end of its epoch
  check.on_checkpoint({6, 2, 4, {}, {}, {}});
  CHECK(then.steps == std::vector<std::uint64_t>{5});
  CHECK(then.epochs == std::vector<std::uint64_t>{1});
  CHECK(then.checkpoints == std::vector<std::uint64_t>{5, 6});
  CHECK(check.steps_compared() == 1);
}

TEST_CASE("a replay check compares what an epoch showed, and the choice of the best parameters") {
  const Folder folder;
  record(folder / "run.h5", small_set(), 3);
  const LogReader log(folder / "run.h5");
  const auto said = [&](const EpochReport& report) {
    ReplayCheck check(log);
    return message_of<ReplayMismatch>([&] { check.on_epoch(report); });
  };
  ReplayCheck(log).on_epoch({.epoch = 0, .loss = 1});
  CHECK_THAT(said({.epoch = 0, .loss = 2}), Catch::Contains("epoch 0: loss is 2, recorded 1"));
  CHECK_THAT(said({.epoch = 0, .loss = 1, .samples = 3}), Catch::Contains("samples is 3, recorded 0"));
  CHECK_THAT(said({.epoch = 0, .loss = 1, .left_out = 3}), Catch::Contains("samples left out is 3"));
  CHECK_THAT(said({.epoch = 0, .loss = 1, .best_so_far = {BestBy::training_loss, 1, 4, 0}}),
             Catch::Contains("chosen by is training loss, recorded none"));
  const double none = std::numeric_limits<double>::quiet_NaN();
  CHECK_THAT(said({.epoch = 0, .loss = 1, .best_so_far = {BestBy::none, none, 4, 0}}),
             Catch::Contains("step of the best parameters is 4"));
}
