// Platforms that Ness does not have, each added by one row: a system without a model, and a bench that
// nothing simulates.
#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "ness/device/error.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/runs/run.hpp"

using namespace ness;

namespace {

// ---- [sum]: the output is a weighted sum of two inputs --------------------------------------------------

class WeightedSum final : public Device {
 public:
  explicit WeightedSum(double largest) {
    info_.identity = "weighted sum";
    info_.terminals = {
        {.name = "first", .clamped = true}, {.name = "second", .clamped = true}, {.name = "sum"}};
    info_.outputs = {2};
    for (const char* name : {"w[0]", "w[1]"}) {
      info_.parameters.push_back({.name = name, .kind = "w", .unit = "1", .range = {-largest, largest}});
    }
  }
  const DeviceInfo& info() const override { return info_; }

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
    for (std::size_t i = 0; i < drives.size(); ++i) {
      const Vector levels = drives[i].clamp.levels();
      Relaxation row;
      row.potential = Vector::Constant(1, drives[i].theta[0] * levels[0] + drives[i].theta[1] * levels[1]);
      sink(i, row);
    }
  }

 private:
  DeviceInfo info_;
};

struct SumDescription final : PlatformDescription {
  double largest = 2, first = 0;
  std::size_t inputs() const override { return 2; }
  std::size_t outputs() const override { return 1; }
  Platform made(std::uint64_t, unsigned) const override {
    Platform platform;
    platform.device = std::make_unique<WeightedSum>(largest);
    platform.info = platform.device->info();
    platform.theta = Vector::Constant(2, first);
    return platform;
  }
  std::vector<ParameterRule> rules(const std::vector<ParameterInfo>& parameters,
                                   const Vector&) const override {
    return std::vector<ParameterRule>(parameters.size());
  }
  void read(Keys& keys) {
    keys.number("largest", largest, Number::positive, {"1", "bound of both weights"});
    keys.number("first", first, Number::finite, {"1", "both weights before training"});
  }
};

constexpr std::array<std::string_view, 1> sum_tables{"scales"};
const PlatformEntry sum_platform{
    .name = "sum",
    .size_key = {},
    .files = {},
    .tables = sum_tables,
    .read = [](Table& root, const PlatformContext&) -> std::shared_ptr<const PlatformDescription> {
      auto description = std::make_shared<SumDescription>();
      Table table = *root.table("sum");
      description->read(table);
      table.finish();
      return description;
    },
    .list =
        [](const KeyList& top) {
          KeyList keys = top.table("sum", "A weighted sum of two inputs");
          SumDescription().read(keys);
        }};

// ---- [sample]: one input, one output, one gate; what is between them nobody knows -----------------------

struct UnknownSample final : PlatformDescription {
  std::size_t inputs() const override { return 1; }
  std::size_t outputs() const override { return 1; }
  Platform made(std::uint64_t, unsigned) const override {
    Platform platform;
    platform.info.identity = "a sample";
    platform.info.terminals = {{.name = "in", .clamped = true, .level = {-10, 10}},
                               {.name = "out", .level = {-10, 10}}};
    platform.info.outputs = {1};
    platform.info.parameters = {{.name = "mu_ref[1]", .kind = "gate", .unit = "kT", .range = {-5, 5}}};
    platform.theta = Vector::Zero(1);
    return platform;
  }
  std::vector<ParameterRule> rules(const std::vector<ParameterInfo>&, const Vector&) const override {
    return {ParameterRule{}};
  }
};

const PlatformEntry sample_platform{
    .name = "sample",
    .size_key = {},
    .files = {},
    .tables = {},
    .read = [](Table& root, const PlatformContext&) -> std::shared_ptr<const PlatformDescription> {
      root.table("sample")->finish();
      return std::make_shared<UnknownSample>();
    },
    .list = [](const KeyList&) {}};

const std::array<PlatformEntry, 3> platforms{network_platform, sum_platform, sample_platform};

Experiment load(const std::string& text) {
  LoadOptions options;
  options.kinds.platforms = platforms;
  return experiment_from_text(text, "platform.toml", options);
}

std::string refusal(const std::string& text) {
  try {
    prepare(load(text));
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was refused";
}

const std::string sum = R"(
[sum]
first = 0.5
[task]
kind = "xor"
[estimator]
kind = "fd-central"
[optimizer]
kind = "sgd"
rate = 0.05
[training]
epochs = 60
)";

}  // namespace

TEST_CASE("a platform is one row: its table is read, and it is trained as itself", "[platform]") {
  Experiment experiment = load(sum);
  Run run = prepare(experiment);
  CHECK(run.device().info().identity == "weighted sum");
  CHECK(run.theta == Vector::Constant(2, 0.5));
  Trainer trainer(run.device(), *run.estimator, *experiment.task, *run.space, experiment.optimizer,
                  run.training);
  const TrainingSummary summary = trainer.run(run.theta);
  // Least squares of w0 x0 + w1 x1 to XOR of levels 0 and 3: both gradients vanish at w0 = w1 = 1/9. Their
  // Hessian's smaller eigenvalue times the rate is at least 0.05 * 9/4 for any usual factor of the loss, so
  // 60 steps leave less than 0.9^60.
  CHECK(summary.theta[0] == Approx(1.0 / 9).epsilon(2e-3));
  CHECK(summary.theta[1] == Approx(1.0 / 9).epsilon(2e-3));
}

TEST_CASE("a platform without a model refuses the estimators that need one", "[platform]") {
  const std::string text = sum.substr(0, sum.find("[estimator]")) + "[estimator]\nkind = \"adjoint\"\n";
  CHECK_THAT(refusal(text), Catch::Contains("model"));
}

TEST_CASE("a file has one platform, and no table of another", "[platform]") {
  CHECK_THAT(refusal("[task]\nkind = \"xor\"\n"),
             Catch::Contains("expected a table [network] or [sum] or [sample]"));
  CHECK_THAT(refusal(sum + "[network]\nlayers = [2, 1]\nlaw = \"linear\"\n"),
             Catch::Contains("expected one platform"));
  CHECK_THAT(refusal(sum + "[solver]\ntolerance = 1e-9\n"),
             Catch::Contains("[solver]") && Catch::Contains("belongs to [network]"));
  CHECK_THAT(refusal("[sample]\n[task]\nkind = \"xor\"\n"), Catch::Contains("the sample has 1 inputs"));
  CHECK_THAT(refusal(sum + "[parameters.w]\nvalue = 1\n"), Catch::Contains("belongs to [network]"));
  CHECK_THAT(refusal(sum.substr(0, sum.find("first")) + "last = 1\n" + sum.substr(sum.find("[task]"))),
             Catch::Contains("'sum.last'"));
  CHECK_THROWS_WITH(network_description(load(sum)), Catch::Contains("expected an experiment on a network"));
}

TEST_CASE("a sample that nothing simulates is trained on a bench", "[platform][bench]") {
  std::string pattern = (std::filesystem::temp_directory_path() / "ness-platform-XXXXXX").string();
  struct Directory {
    std::filesystem::path path;
    ~Directory() { std::filesystem::remove_all(path); }
  } directory{::mkdtemp(pattern.data())};
  const std::string experiment_text = R"(
[sample]
[task]
kind = "regression"
formula = "0.5*x + 0.25"
points = 9
[estimator]
kind = "fd-central"
step = 0.1
[optimizer]
kind = "sgd"
rate = 1.0
[training]
epochs = 40
)";
  CHECK_THAT(refusal(experiment_text), Catch::Contains("cannot be simulated"));

  // In the sample's place: equal conductances from the input to the output, and from there to the gate.
  std::ofstream(directory.path / "net.json") << R"({"nodes": [{"clamped": true}, {"g": 1}],
    "edges": [{"source": 0, "target": 1, "law": "linear", "G": 1}], "outputs": [1]})";
  std::ofstream(directory.path / "bench.toml") << R"(
[scale]
volts_per_kT = 0.1
amperes_per_unit = 2.5e-6
[instruments.source]
model = "keithley-2400"
compliance = 1e-2
[instruments.scanner]
model = "keysight-daq970a"
range = 10.0
[instruments.gates]
model = "qdac-ii"
[wiring.drive]
instrument = "source"
node = 0
limits = [-1.0, 1.0]
step = 2.0
rate = 1e3
[wiring.gate]
instrument = "gates"
channel = 1
parameter = "mu_ref[1]"
per_volt = 5.0
limits = [-1.0, 1.0]
step = 2.0
rate = 1e3
[wiring.out]
instrument = "scanner"
channel = 101
node = 1
[emulation]
network = "net.json"
noise = false
errors = false
quantised = false
links = false
)";
  const Experiment experiment = load(experiment_text);
  Run run = prepare(experiment, load_bench((directory.path / "bench.toml").string()), DeviceKind::emulated);
  Trainer trainer(run.device(), *run.estimator, *experiment.task, *run.space, experiment.optimizer,
                  run.training);
  const TrainingSummary summary = trainer.run(run.theta);
  // The output is x/2 + gate/2, so the gate has to be at 1/2. What is left is the scanner's resolution.
  CHECK(summary.theta[0] == Approx(0.5).epsilon(1e-3));
  CHECK(run.bench.bench->make_safe(std::chrono::seconds(10)).safe);
}
