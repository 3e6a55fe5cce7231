// Kinds of estimators, optimizers, schedules, losses and tasks: each reads only its own keys, and a new one
// is one row.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "ness/device/error.hpp"
#include "ness/files/experiment.hpp"
#include "ness/files/key_names.hpp"
#include "ness/runs/comparison.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/runs/run.hpp"

using namespace ness;

namespace {

const std::string base = R"(title = "kinds"
[network]
law = "linear"
layers = [2, 1]
[parameters.G]
value = 1.0
[parameters.g]
value = 1.0
[parameters.mu_ref]
value = 0.0
[task]
kind = "xor"
)";

Experiment load(const std::string& text, const LoadOptions& options = {}) {
  return experiment_from_text(text, "kinds.toml", options);
}

std::string refusal(const std::string& text, const LoadOptions& options = {}) {
  try {
    load(text, options);
  } catch (const FileError& error) {
    return error.what();
  }
  return "nothing was refused";
}

std::string refusal(const std::string& text, const std::vector<std::string>& set) {
  LoadOptions options;
  options.set = set;
  return refusal(text, options);
}

// ---- one more of each kind, as a user would add it ------------------------------------------------------

/// A constant gradient, independent of the measurement.
class Constant final : public Estimator {
 public:
  explicit Constant(double value) : value_(value) {}
  std::string_view name() const override { return "constant"; }
  std::string unmet_needs(const DeviceInfo&) const override { return {}; }
  double cost(const DeviceInfo&) const override { return 1; }
  std::vector<Chain> chains(const DeviceInfo&, const Minibatch& batch, const Loss&) const override {
    std::vector<Chain> all;
    for (std::size_t i = 0; i < batch.samples.size(); ++i) {
      all.push_back([&batch, i](std::span<const Relaxation> rows) -> std::optional<Drive> {
        if (!rows.empty()) return std::nullopt;
        return batch.free_drive(i);
      });
    }
    return all;
  }
  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss&,
                std::span<const std::vector<Relaxation>>) const override {
    Gradient gradient;
    gradient.value = Vector::Constant(static_cast<Eigen::Index>(info.parameters.size()), value_);
    gradient.used = gradient.relaxations = batch.samples.size();
    return gradient;
  }

 private:
  double value_;
};

EstimatorMaker read_constant(Keys& keys) {
  double value = 1;
  keys.number("value", value, Number::finite, {"", "of each component of the gradient"});
  return [value](const EstimatorContext&) { return std::make_unique<Constant>(value); };
}

/// Steps of constant size, against the sign of the gradient.
class SignSteps final : public Optimizer {
 public:
  SignSteps(double size, std::size_t parameters) : step_size_(size), parameters_(parameters) {}
  void begin(double, double factor) override { factor_ = factor; }
  void move(Part part, const double* gradient, double* dw) override {
    for (std::size_t i = 0; i < part.end - part.begin; ++i)
      dw[i] = gradient[i] > 0 ? -factor_ * step_size_ : factor_ * step_size_;
  }
  Vector state() const override { return {}; }
  void restore(const Vector&) override {}

 protected:
  std::size_t size() const override { return parameters_; }

 private:
  double step_size_, factor_ = 1;
  std::size_t parameters_;
};

OptimizerMaker read_sign(Keys& keys) {
  double size = 0.5;
  keys.number("size", size, Number::positive, {"", "of a step"});
  return [size](const OptimizerOptions&, const ParameterSpace& space) {
    return std::make_unique<SignSteps>(size, space.size());
  };
}

ScheduleShape read_halves(Keys& keys) {
  std::uint64_t every = 1;
  keys.whole("every", every, 1, {"steps", "after which the rate is halved"});
  return [every](const RunPosition& at) {
    return std::pow(0.5, std::floor(at.step / static_cast<double>(every)));
  };
}

/// The fourth power of the error.
class Quartic final : public Loss {
 public:
  std::string name() const override { return "quartic"; }
  std::size_t target_size(std::size_t outputs) const override { return outputs; }
  double value(const VectorView& output, std::span<const double> target, Vector* gradient) const override {
    double sum = 0;
    if (gradient) gradient->resize(output.size());
    for (Eigen::Index i = 0; i < output.size(); ++i) {
      const double error = output[i] - target[static_cast<std::size_t>(i)];
      sum += std::pow(error, 4);
      if (gradient) (*gradient)[i] = 4 * std::pow(error, 3);
    }
    return sum;
  }
};

std::shared_ptr<const Loss> read_quartic(Keys&) { return std::make_shared<Quartic>(); }

TaskMaker read_copy(Keys& keys) {
  double level = 1;
  keys.number("level", level, Number::finite, {"kT", "of the inputs, and the target"});
  return [level](const TaskContext&) {
    Task task = xor_task(level, level, level, level);
    task.name = "copy";
    return task;
  };
}

template <typename Row>
std::vector<Row> with(std::span<const Row> rows, const Row& more) {
  std::vector<Row> all(rows.begin(), rows.end());
  all.push_back(more);
  return all;
}

/// The tables of Ness, each with one additional row.
struct MoreKinds {
  std::vector<EstimatorEntry> estimators = with(estimator_table(), {.name = "constant",
                                                                    .alias = "const",
                                                                    .needs = "nothing",
                                                                    .cost = "1",
                                                                    .source = "",
                                                                    .read = read_constant});
  std::vector<OptimizerEntry> optimizers = with(optimizer_table(), {"sign", "steps of one size", read_sign});
  std::vector<ScheduleEntry> schedules =
      with(schedule_table(), {"halves", "halved again and again", read_halves});
  std::vector<LossEntry> losses =
      with(loss_table(), {"quartic", "the fourth power of the error", false, read_quartic});
  std::vector<TaskEntry> tasks =
      with(task_table(), {"copy", "all inputs and the output at one level", read_copy});
  LoadOptions options() const {
    LoadOptions made;
    made.kinds = {platform_table(), estimators, optimizers, schedules, losses, tasks};
    return made;
  }
};

const std::string unread =
    ": kind = 'adjoint' does not read it; kinds that do: 'equilibrium-propagation-one-sided', "
    "'equilibrium-propagation-centred', 'equilibrium-propagation-random-sign', "
    "'equilibrium-propagation-richardson', 'equilibrium-propagation-corrected'";

}  // namespace

TEST_CASE("a key that the chosen kind does not read is refused, with the kinds that read it", "[kinds]") {
  CHECK(refusal(base + "[estimator]\nkind = \"adjoint\"\nbeta = 0.1\n") ==
        "kinds.toml:15: key 'estimator.beta'" + unread);
  CHECK(refusal(base + "[estimator]\nbeta = 0.1\n") == "kinds.toml:14: key 'estimator.beta'" + unread);
  CHECK(refusal(base, {"estimator.beta=0.1"}) == "--set estimator.beta=0.1: key 'estimator.beta'" + unread);
  CHECK(refusal(base + "[estimator]\nkind = \"evolution\"\nreferences = 1\n")
            .find("'evolution' does not read it") != std::string::npos);
  CHECK(refusal(base + "[estimator]\nkind = \"spsa\"\nlaw = \"model\"\n").find("'spsa' does not read it") !=
        std::string::npos);
  CHECK(refusal(base + "[estimator]\nbetta = 0.1\n").find("key 'estimator.betta': unknown key") !=
        std::string::npos);
  CHECK(refusal(base + "[optimizer]\nkind = \"sgd\"\nmomentum = 0.5\n") ==
        "kinds.toml:15: key 'optimizer.momentum': kind = 'sgd' does not read it; kinds that do: 'momentum'");
  CHECK(refusal(base + "[optimizer.schedule]\npower = 0.5\n") ==
        "kinds.toml:14: key 'optimizer.schedule.power': kind = 'constant' does not read it; kinds that do: "
        "'spsa'");
  CHECK(refusal(base + "[loss]\nscale = 2\n") ==
        "kinds.toml:14: key 'loss.scale': kind = 'squared-error' does not read it; kinds that do: "
        "'cross-entropy'");
  CHECK(refusal(base + "points = 2\n") ==
        "kinds.toml:13: key 'task.points': kind = 'xor' does not read it; kinds that do: 'regression'");
}

TEST_CASE("every kind reads what it lists, with its defaults where nothing is given", "[kinds]") {
  const auto names = [](const char* estimator) { return key_names(estimator_entry(estimator).read); };
  using Names = std::set<std::string>;
  CHECK(names("adjoint").empty());
  CHECK(names("evolution") == Names{"population", "parents", "sigma", "crossover"});
  CHECK(names("fd-central") == Names{"step", "references", "cancel_drift", "return_tolerance", "attempts"});
  CHECK(names("coupled") == Names{"eta", "central", "references", "cancel_drift", "return_tolerance",
                                  "attempts", "law", "law_step", "law_central"});
  const Run run = prepare(load(base));
  for (const EstimatorEntry& entry : estimator_table()) {
    const auto made = estimator_maker(entry.name)({.model = run.model});
    INFO(entry.name);
    CHECK(made->cost(run.platform.info) > 0);
    // The same as the estimator from a file without keys.
    CHECK(prepare(load(base, {.set = {"estimator.kind=" + std::string(entry.alias)}, .seed = {}, .data = {}}))
              .estimator->name() == made->name());
  }
}

TEST_CASE("a kind set on the command line takes the place of the file's, with its keys", "[kinds]") {
  const std::string nudged =
      base + "[estimator]\nkind = \"ep-centred\"\nbeta = 0.1\nattempts = 3\n[optimizer]\nbeta2 = 0.9\n";
  LoadOptions options;
  options.set = {"estimator.kind=spsa", "optimizer.kind=momentum"};
  const Experiment experiment = load(nudged, options);
  CHECK(experiment.estimator == "spsa");
  CHECK(experiment.text.find("beta") == std::string::npos);
  CHECK(experiment.text.find("attempts = 3") != std::string::npos);
  CHECK(experiment.notes.empty());
  CHECK(load(experiment.text).estimator == "spsa");  // the text stored in a log has no such key
  options.set.push_back("estimator.nudge=0.1");
  CHECK(refusal(nudged, options).find("key 'estimator.nudge': kind = 'spsa' does not read it") !=
        std::string::npos);
}

TEST_CASE("[compare] speaks for the keys of the kinds it compares", "[kinds]") {
  const std::string both = base + "[estimator]\nkind = \"probing\"\nprobe = 0.1\nbeta = 0.05\n";
  CHECK(refusal(both).find("key 'estimator.beta'") != std::string::npos);
  CHECK(load(both + "[compare]\nseeds = 2\n").estimator == "node-probing");
  CHECK(load(both + "[compare]\nestimators = [\"probing\", \"ep-centred\"]\n").text.find("beta = 0.05") !=
        std::string::npos);
  CHECK(refusal(both + "[compare]\nestimators = [\"probing\", \"spsa\"]\n").find("key 'estimator.beta'") !=
        std::string::npos);
  // Also without [compare], `ness compare` gives each kind exactly those keys of the file that it reads.
  LoadOptions options;
  options.set = {"estimator.probe=0.2"};
  const Experiment own = load(base + "[estimator]\nkind = \"probing\"\n", options);
  const Experiment compared = load(base + "[estimator]\nkind = \"probing\"\n",
                                   with_estimator(options, own, estimator_entry("ep-centred")));
  CHECK(compared.estimator == "equilibrium-propagation-centred");
  CHECK(
      refusal(base + "[estimator]\nprobbe = 1\n", with_estimator(options, own, estimator_entry("ep-centred")))
          .find("unknown key") != std::string::npos);
}

TEST_CASE("logs that were written when such keys were passed over still load, and say so", "[kinds]") {
  const std::string old =
      base + "[estimator]\nkind = \"adjoint\"\nbeta = 0.1\n[optimizer]\nkind = \"sgd\"\nmomentum = 0.5\n" +
      "[loss]\nscale = 2.0\n[training]\nmax_relaxations = 5\n[budget]\nrelaxations = 9\n";
  CHECK(refusal(old) != "nothing was refused");
  const std::string path =
      std::filesystem::temp_directory_path() / ("ness-kinds-" + std::to_string(::getpid()) + ".h5");
  Experiment experiment = load(base);
  Run run = prepare(experiment);
  LogHeader header = log_header(experiment, run, "ness train");
  header.experiment = old;
  LogWriter(path, header, {}).close(ExitStatus::finished, "");
  const Experiment recorded = experiment_of(LogReader(path), {});
  std::filesystem::remove(path);
  CHECK(recorded.training.max_relaxations == 9);  // as at that time: the value read last
  REQUIRE(recorded.notes.size() == 4);
  CHECK(recorded.notes[0] == "key 'estimator.beta' is passed over: kind = 'adjoint' does not read it");
  CHECK(recorded.notes[2] ==
        "key 'training.max_relaxations' is passed over: 'budget.relaxations' is given as well");
}

TEST_CASE("a limit has one value, whichever of its names it goes by", "[kinds]") {
  CHECK(load(base + "[training]\nmax_relaxations = 5\nmax_time = 2\n").training.max_relaxations == 5);
  CHECK(load(base + "[budget]\nrelaxations = 5\ntime = 2\n").training.max_time == 2);
  CHECK(load(base + "[training]\nmax_relaxations = 5\n[budget]\ntime = 2\n").training.max_relaxations == 5);
  CHECK(refusal(base + "[training]\nmax_relaxations = 5\n[budget]\nrelaxations = 5\n") ==
        "kinds.toml:16: key 'budget.relaxations': is 'training.max_relaxations' by another name, and both "
        "are given: expected one of them");
  CHECK(refusal(base + "[training]\nmax_time = 5\n[budget]\ntime = 5\n").find("'training.max_time'") !=
        std::string::npos);
  // A key set on the command line replaces that of the file, under either name.
  LoadOptions options;
  options.set = {"budget.relaxations=7"};
  CHECK(load(base + "[training]\nmax_relaxations = 5\n", options).training.max_relaxations == 7);
  options.set = {"training.max_time=7"};
  CHECK(load(base + "[budget]\ntime = 5\n", options).training.max_time == 7);
}

TEST_CASE("one more estimator, optimizer, schedule, loss and task are a row each", "[kinds]") {
  const MoreKinds kinds;
  const std::string text = R"([network]
law = "linear"
layers = [2, 1]
[parameters.G]
value = 1.0
[parameters.g]
value = 1.0
[parameters.mu_ref]
value = 0.0
[task]
kind = "copy"
level = 2.0
[loss]
kind = "quartic"
[estimator]
kind = "const"
value = -3.0
[optimizer]
kind = "sign"
size = 0.25
[optimizer.schedule]
kind = "halves"
every = 2
[training]
epochs = 4
)";
  const Experiment experiment = load(text, kinds.options());
  CHECK(experiment.task->name == "copy");
  CHECK(experiment.task->train.target(0)[0] == 2);
  Run run = prepare(experiment);
  Trainer trainer(run.device(), *run.estimator, *experiment.task, *run.space, experiment.optimizer,
                  run.training);
  const TrainingSummary summary = trainer.run(run.theta);
  CHECK(summary.steps == 4);
  // Up by 0.25 (1 + 1 + 1/2 + 1/2): mu_ref is linear.
  bool found = false;
  for (std::size_t i = 0; i < run.device().info().parameters.size(); ++i) {
    if (run.device().info().parameters[i].kind != "mu_ref") continue;
    CHECK(summary.theta[static_cast<Eigen::Index>(i)] == Approx(0.75).epsilon(1e-14));
    found = true;
  }
  CHECK(found);
  CHECK(experiment.task->loss->value(Vector::Constant(1, 4), std::vector<double>{2}) == 16);

  LoadOptions options = kinds.options();
  CHECK(refusal(text + "[estimator.x]\n", options).find("estimator.x") != std::string::npos);
  options.set = {"estimator.kind=adjoint", "estimator.value=1"};
  CHECK(refusal(text, options).find("kinds that do: 'constant'") != std::string::npos);
  CHECK(refusal(text).find("found the string \"const\"") != std::string::npos);
}

TEST_CASE("the text of an experiment states what was learned from its table", "[kinds]") {
  const std::filesystem::path where =
      std::filesystem::temp_directory_path() / ("ness-learned-" + std::to_string(getpid()) + ".csv");
  const auto write = [&](const std::string& text) { std::ofstream(where) << text; };
  write("x,y,kind\n0.1,1e5,\"say \"\"a\"\"\"\n0.4,2e5,b\n0.3,4e5,b\n");
  std::string start = base.substr(0, base.find("[task]"));
  start.replace(start.find("[2, 1]"), 6, "[2, 2]");
  const std::string text =
      start + "[task]\nkind = \"csv\"\ntrain = \"" + where.string() +
      "\"\ninputs = \"all but kind\"\ntargets = \"kind\"\nclasses = 2\nstandardise = true\n";
  const Experiment first = load(text);
  const Experiment again = load(first.text);
  CHECK(again.text == first.text);
  CHECK(same_samples(first.task->train, again.task->train));
  // Another file is read with the means, deviations and labels of the first.
  write("x,y,kind\n0.1,1e5,b\n0.4,2e5,b\n");
  const Experiment later = load(first.text);
  std::filesystem::remove(where);
  CHECK(later.task->train.pattern(0).levels() == first.task->train.pattern(0).levels());
  CHECK(later.task->train.target(0)[0] == first.task->train.target(1)[0]);
}
