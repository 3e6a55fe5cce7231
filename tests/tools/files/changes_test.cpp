// What has changed since a log was begun, and what a log's own data are good for.
#include "ness/runs/changes.hpp"

#include <catch2/catch.hpp>

#include <filesystem>
#include <unistd.h>

#include "ness/device/error.hpp"
#include "ness/files/experiment.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/training/image_task.hpp"

namespace ness {

namespace {

const std::string xor_text =
    "[network]\nlaw = \"linear\"\nlayers = [2, 1]\n[parameters.G]\nvalue = 1.0\n[parameters.g]\nvalue = 1.0\n"
    "[parameters.mu_ref]\nvalue = 0.0\n[task]\nkind = \"xor\"\n";

/// A log of this header's run, without rows; its file goes with it.
class Log {
 public:
  explicit Log(const LogHeader& header, std::uint64_t largest_copy = LogOptions{}.largest_copy)
      : path_(
            (std::filesystem::temp_directory_path() / ("ness-changes-" + std::to_string(::getpid()) + ".h5"))
                .string()) {
    std::filesystem::remove(path_);
    LogOptions options;
    options.largest_copy = largest_copy;
    LogWriter(path_, header, options).close(ExitStatus::finished, "");
  }
  ~Log() { std::filesystem::remove(path_); }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  LogReader reader() const { return LogReader(path_); }

 private:
  std::string path_;
};

LogHeader header_of(const std::string& text) {
  const Experiment experiment = experiment_from_text(text, "e.toml");
  Run run = prepare(experiment);
  return log_header(experiment, run, "ness train");
}

std::vector<std::string> said(const std::vector<Difference>& found) {
  std::vector<std::string> all;
  for (const Difference& one : found) all.push_back(one.text());
  return all;
}

std::string refusal(const Changes& changes, const std::vector<std::string>& allowed,
                    bool more_may_be_found = false) {
  try {
    require_unchanged(changes, allowed, "run.h5", more_may_be_found);
  } catch (const FileError& error) {
    return error.what();
  }
  return "nothing was refused";
}

}  // namespace

TEST_CASE("another program is a change, this one is none", "[changes]") {
  LogHeader header = header_of(xor_text);
  CHECK(program_differences(Log(header).reader()).empty());
  const std::string now = header.versions.at(0).second;
  header.versions.at(0).second = "0.0.9";
  header.info.arithmetic = "AVX9";
  const std::vector<std::string> found = said(program_differences(Log(header).reader()));
  REQUIRE(found.size() == 2);
  CHECK(found[0] == "versions.ness: 0.0.9 then, " + now + " now");
  CHECK(found[1].starts_with("device.arithmetic: AVX9 then, "));
}

TEST_CASE("a log that has no source compares the program alone", "[changes]") {
  const LogHeader header = header_of(xor_text);
  CHECK_FALSE(header.source);
  const Changes changes = changes_since(Log(header).reader(), nullptr);
  CHECK(changes.experiment.empty());
  CHECK(changes.data.empty());
  CHECK(changes.notes.empty());
}

TEST_CASE("data are compared sample by sample", "[changes]") {
  const LogHeader header = header_of(xor_text);
  const Log log(header);
  const LogReader reader = log.reader();
  const std::shared_ptr<const Task> then = task_of(reader);
  REQUIRE(then);
  CHECK(then->loss->name() == "squared-error");
  CHECK(then->loss->threshold() == 0.5);
  CHECK(data_differences(reader, *then).empty());

  Task now = *then;
  now.train.targets(2, 0) = 0.75;
  now.train.targets(3, 0) = -0.0;  // it was 0
  CHECK(
      said(data_differences(reader, now)) ==
      std::vector<std::string>{"data.train.targets (sample 2, target 0; the first of 2): 1 then, 0.75 now"});
  now = *then;
  RowMatrix levels(4, 2);
  levels << 0, 0, 0, 3, 3, 0, 3, 3.5;
  now.train.inputs = std::make_shared<DensePatterns>("train", levels);
  CHECK(said(data_differences(reader, now)) ==
        std::vector<std::string>{"data.train.inputs (sample 3, level 1): 3 then, 3.5 now"});
  now = *then;
  now.train = then->train.subset(std::vector<std::uint64_t>{0, 1, 2});
  now.test = {};
  now.validation = then->train;
  CHECK(said(data_differences(reader, now)) ==
        std::vector<std::string>{"data.train.rows: 4 samples then, 3 samples now",
                                 "data.validation: nothing then, 4 samples now",
                                 "data.test: 4 samples then, nothing now"});
  now = *then;
  now.train.inputs = std::make_shared<DensePatterns>("train", RowMatrix::Zero(4, 3));
  now.train.targets = RowMatrix::Zero(4, 2);
  CHECK(said(data_differences(reader, now)) ==
        std::vector<std::string>{"data.train.inputs: 2 levels a sample then, 3 levels a sample now",
                                 "data.train.targets: 1 targets a sample then, 2 targets a sample now"});
}

TEST_CASE("of data that are not copied the digest is compared", "[changes]") {
  const LogHeader header = header_of(xor_text);
  const Log log(header, 16);  // targets take 32 bytes
  const LogReader reader = log.reader();
  CHECK_FALSE(task_of(reader));
  Task now = *experiment_from_text(xor_text, "e.toml").task;
  CHECK(data_differences(reader, now).empty());
  now.train.targets(0, 0) = 2;
  const std::vector<std::string> found = said(data_differences(reader, now));
  REQUIRE(found.size() == 1);
  CHECK(found[0] == "data.train: digest " + digest_text(header.task->sets.at(0).digest) + " then, digest " +
                        digest_text(now.train.digest()) + " now");
}

TEST_CASE("what the experiment makes again otherwise than it was is refused", "[changes]") {
  LogHeader header = header_of(xor_text);
  CHECK_NOTHROW(experiment_of(Log(header, 16).reader()));
  header.task->sets.at(1).digest ^= 1;
  try {
    experiment_of(Log(header, 16).reader());
    FAIL("it was not refused");
  } catch (const LogError& error) {
    CHECK_THAT(error.what(), Catch::Contains("set 'test': digest ") && Catch::Contains(" then, "));
  }
  // A set that is in the log whole and is not what its digest says is damage.
  try {
    experiment_of(Log(header).reader());
    FAIL("it was not refused");
  } catch (const LogError& error) {
    CHECK_THAT(error.what(), Catch::Contains("is damaged: its set 'test' has digest "));
  }
}

TEST_CASE("a log's loss is that of its targets, or the one that [loss] names", "[changes]") {
  LogHeader header = header_of(xor_text);
  CHECK(experiment_of(Log(header).reader()).task->loss->threshold() == 0.5);
  CHECK(experiment_of(Log(header).reader(), {{"task.target_high=3.0"}, {}, {}}).task->loss->threshold() ==
        1.5);
  header.task->classifies = true;
  header.task->threshold.reset();
  header.experiment.replace(header.experiment.find("[2, 1]"), 6, "[2, 2]");  // an output a class
  header.experiment += "[loss]\nscale = 4.0\n";
  const auto loss = experiment_of(Log(header).reader()).task->loss;
  CHECK(loss->name() == "cross-entropy");
  Vector outputs(2);
  outputs << 0.5, 0;
  const std::vector<double> target{1};
  CHECK(loss->value(outputs, target) == CrossEntropy(4).value(outputs, target));
}

TEST_CASE("changes are refused in one message, and allowed by name", "[changes]") {
  Changes changes;
  changes.experiment = {{"optimizer.rate", "0.1", "0.2"}};
  changes.data = {{"data.train.targets", "1", "0", "points.csv:5, column 'y'"}};
  changes.program = {{"versions.ness", "0.0.9", "0.1.0"}};
  CHECK(
      refusal(changes, {}) ==
      "run.h5: its run was begun with another experiment than is there now: optimizer.rate: 0.1 then, 0.2 "
      "now; data.train.targets (points.csv:5, column 'y'): 1 then, 0 now; versions.ness: 0.0.9 then, 0.1.0 "
      "now. A run has one experiment and one data set: with --changed it goes on as it was logged, whatever "
      "the files say now. What changes them is a new run: ness train --from run.h5 EXPERIMENT. If that is "
      "meant: --changed optimizer.rate,data.train.targets,versions.ness");
  CHECK_THAT(refusal(changes, {"optimizer", "versions"}),
             Catch::Contains("another data set") &&
                 Catch::EndsWith("If that is meant: --changed data.train.targets"));
  CHECK_THAT(refusal(changes, {"optimizer", "data"}),
             Catch::Contains("another program") && !Catch::Contains("--from"));
  const std::vector<std::string> all{"optimizer", "data", "versions.ness"};
  CHECK(require_unchanged(changes, all, "run.h5") ==
        std::vector<std::string>{
            "the experiment differs: optimizer.rate: 0.1 then, 0.2 now; the run goes on as it was logged",
            "the data differ: data.train.targets (points.csv:5, column 'y'): 1 then, 0 now; the run goes on "
            "with those of its log",
            "the program differs: versions.ness: 0.0.9 then, 0.1.0 now; the run goes on with this one"});
  const std::vector<std::string> more{"optimizer", "data", "versions", "instruments.meter.identity"};
  CHECK(refusal(changes, more) ==
        "--changed instruments.meter.identity: nothing differs there from what run.h5 was begun with");
  CHECK(refusal(changes, more, true) == "nothing was refused");  // the instruments have not been asked yet
  changes.experiment.clear();
  changes.data.clear();
  CHECK_THAT(refusal(changes, {}), Catch::Contains("another program") && !Catch::Contains("--from"));
}

}  // namespace ness
