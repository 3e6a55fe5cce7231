// Experiment files: binding of keys to options, initial values, and refusals.
#include "ness/files/network_platform.hpp"
#include "ness/files/experiment.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "ness/device/digest.hpp"
#include "ness/device/error.hpp"
#include "ness/runs/run.hpp"

using namespace ness;

namespace {

const std::string base = R"(title = "small"
seed = 4
[network]
law = "quantum-dot"
layers = [2, 3, 1]
[parameters.gamma]
log-normal = [0.0, 0.5]
[parameters.a]
normal = [0.0, 1.0]
[parameters.b]
normal = [0.0, 1.0]
range = [-0.5, 0.5]
[parameters.g]
value = 1.0
[task]
kind = "xor"
)";

Experiment load(const std::string& text, const std::vector<std::string>& set = {}) {
  LoadOptions options;
  options.set = set;
  return experiment_from_text(text, "small.toml", options);
}

std::string refusal(const std::string& text, const std::vector<std::string>& set = {}) {
  try {
    load(text, set);
  } catch (const FileError& error) {
    return error.what();
  }
  return "nothing was refused";
}

/// A parameter's value by its name.
double value(const Run& run, const std::string& name) {
  const auto info = network_of(run.platform)->parameter_info();
  for (std::size_t i = 0; i < info.size(); ++i) {
    if (info[i].name == name) return run.theta[static_cast<Eigen::Index>(i)];
  }
  FAIL("no parameter " << name);
  return 0;
}

/// The nudge of the first perturbed relaxation of the first sample over dL/dmu, both at the only output: beta
/// of equilibrium propagation.
double nudge_over_gradient(const Experiment& experiment) {
  Run run = prepare(experiment);
  Minibatch batch;
  batch.data = &experiment.task->train;
  batch.samples = {0};
  batch.theta = Parameters::of(run.theta);
  const Loss& loss = *experiment.task->loss;
  const Chain chain = run.estimator->chains(run.device().info(), batch, loss).front();
  const Relaxation free_state = run.device().relax(*chain({}));
  const std::vector<Relaxation> rows{free_state};
  const double mu = free_state.potential[run.device().info().output_positions().front()];
  return chain(rows)->nudge.cwiseAbs().maxCoeff() / std::abs(2 * (mu - batch.target(0)[0]));
}

DeviceInfo one_parameter() {
  DeviceInfo info;
  info.parameters.resize(1);
  return info;
}

/// A temporary directory, removed at the end.
struct TemporaryDirectory {
  std::filesystem::path path;
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ness-experiment-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(path / name) << text;
    return (path / name).string();
  }
};

}  // namespace

TEST_CASE("the file's keys arrive in the options they are named after") {
  const Experiment experiment = load(base + R"(low = 1.0
high = 2.0
[estimator]
kind = "ep-centred"
beta = 0.25
[optimizer]
kind = "momentum"
rate = 0.125
momentum = 0.5
clip = 3
[optimizer.schedule]
kind = "cosine"
warm_up = 0.25
[training]
epochs = 7
batch = 2
start = "last"
restart_every = 3
target_loss = 0.5
max_relaxations = 99
[device]
read_noise = 0.5
threads = 3
[solver]
tolerance = 1e-9
[log]
rows = "outputs"
group_age = 0.25
background = false
full_theta = 5
[evaluation]
train = false
)");
  CHECK(experiment.title == "small");
  CHECK(experiment.seed == 4);
  CHECK(experiment.estimator == "equilibrium-propagation-centred");
  CHECK(nudge_over_gradient(experiment) == Approx(0.25).epsilon(1e-12));
  CHECK(experiment.optimizer.rate == 0.125);
  CHECK(experiment.optimizer.clip == 3);
  CHECK(experiment.optimizer.schedule.warm_up == 0.25);
  CHECK(experiment.optimizer.schedule.factor(10, 16) == Approx(0.5));  // half of the cosine's half-period
  // Half of the first velocity and the second gradient.
  const auto momentum = make_optimizer(experiment.optimizer, ParameterSpace(one_parameter()));
  momentum->step(Vector::Constant(1, 2), 1);
  CHECK(momentum->step(Vector::Constant(1, 1), 1)[0] == Approx(-0.125 * 2));
  CHECK(experiment.training.epochs == 7);
  CHECK(experiment.training.batch == 2);
  CHECK(experiment.training.start == TrainingOptions::StartFrom::last);
  CHECK(experiment.training.restart_every == 3);
  CHECK(experiment.training.target_loss == 0.5);
  CHECK(experiment.training.max_relaxations == 99);
  CHECK(experiment.noise.read == 0.5);
  CHECK(experiment.threads == 3);
  CHECK(network_description(experiment).simulation.steady_state.tolerance == 1e-9);
  CHECK(experiment.log.outputs_only);
  CHECK(experiment.log.group_age.count() == 250);
  CHECK_FALSE(experiment.log.background);
  CHECK(experiment.log.full_theta == 5);
  CHECK_FALSE(experiment.evaluate_train);
  CHECK(experiment.task->train.pattern(1).levels() == Vector((Vector(2) << 1, 2).finished()));
}

TEST_CASE("a device's shortcomings arrive in the options they are named after") {
  const NoiseOptions noise = load(base + R"([device]
read_noise = 0.5
current_noise = 0.25
write_noise = 0.125
variation = 1
drift = 2
drift_rate = 3
parameter_drift = 4
parameter_drift_rate = 5
flicker = 6
jump_rate = 0.75
jump_size = 7
jump_kinds = ["a", "gamma"]
cross_talk = 8
resolution = 9
nudge_resolution = 10
readback = true
gate_gain = 12
noise_seed = 11
)")
                                 .noise;
  CHECK(noise.read == 0.5);
  CHECK(noise.read_current == 0.25);
  CHECK(noise.write == 0.125);
  CHECK(noise.variation == 1);
  CHECK(noise.drift == 2);
  CHECK(noise.drift_rate == 3);
  CHECK(noise.parameter_drift == 4);
  CHECK(noise.parameter_drift_rate == 5);
  CHECK(noise.flicker == 6);
  CHECK(noise.jump_rate == 0.75);
  CHECK(noise.jump_size == 7);
  CHECK(noise.jump_kinds == std::vector<std::string>{"a", "gamma"});
  CHECK(noise.cross_talk == 8);
  CHECK(noise.resolution == 9);
  CHECK(noise.nudge_resolution == 10);
  CHECK(noise.readback);
  CHECK(noise.gate_gain == 12);
  CHECK(noise.seed == 11);
  // With a conductance of 1, the noise has as many units of current as kT.
  CHECK(load(base + "[device]\nread_noise = 0.5\n").noise.read_current == 0.5);
  CHECK(load(base + "[device]\nread_noise = 0.5\ncurrent_noise = 0\n").noise.read_current == 0);
  CHECK(load(base + "[device]\njump_kinds = \"b\"\n").noise.jump_kinds == std::vector<std::string>{"b"});
  CHECK_THROWS_WITH(load(base + "[device]\njump_rate = 1.5\n"), Catch::Contains("device.jump_rate"));
  CHECK_THROWS_WITH(load(base + "[device]\nflicker = -1\n"), Catch::Contains("device.flicker"));
  CHECK_THROWS_WITH(load(base + "[device]\njump_rate = 1\njump_size = 1\njump_kinds = []\n"),
                    Catch::Contains("jump_kinds"));
  CHECK_THROWS_WITH(load(base + "[device]\ncurrent_nois = 1\n"), Catch::Contains("current_noise"));
}

TEST_CASE("what a file does not say stays at the library's defaults") {
  const Experiment experiment = load(base);
  CHECK(experiment.training.epochs == TrainingOptions{}.epochs);
  CHECK(experiment.optimizer.rate == OptimizerOptions{}.rate);
  CHECK(network_description(experiment).simulation.steady_state.tolerance ==
        sim::SteadyStateOptions{}.tolerance);
  CHECK(experiment.estimator == "adjoint");
  CHECK_FALSE(experiment.noise.any());
}

TEST_CASE("initial values follow their rules, and stay in their range") {
  const Run run = prepare(load(base));
  for (Eigen::Index i = 0; i < run.theta.size(); ++i) CHECK(std::isfinite(run.theta[i]));
  for (int e = 0; e < 9; ++e) {
    CHECK(value(run, "gamma[" + std::to_string(e) + "]") > 0);
    CHECK(std::abs(value(run, "b[" + std::to_string(e) + "]")) <= 0.5);
  }
  CHECK(value(run, "g[3]") == 1);
  CHECK(value(run, "mu_ref[3]") == 0);
}

TEST_CASE("a normal rule draws numbers of its mean and deviation, a uniform one from its interval") {
  const Experiment experiment = load(
      base, {"network.layers=[2,300,1]", "parameters.a.normal=[2,0.5]", "parameters.gamma.uniform=[1,3]"});
  const Run run = prepare(experiment);
  double sum = 0, squares = 0, low = 9, high = 0, gammas = 0;
  for (int e = 0; e < 900; ++e) {
    const double a = value(run, "a[" + std::to_string(e) + "]"),
                 gamma = value(run, "gamma[" + std::to_string(e) + "]");
    sum += a;
    squares += a * a;
    gammas += gamma;
    low = std::min(low, gamma);
    high = std::max(high, gamma);
  }
  // Five standard errors of the mean and of the standard deviation of 900 draws.
  CHECK(sum / 900 == Approx(2).margin(5 * 0.5 / 30));
  CHECK(std::sqrt(squares / 900 - sum * sum / 810000) == Approx(0.5).margin(5 * 0.5 / std::sqrt(1800)));
  CHECK(gammas / 900 == Approx(2).margin(5 * 2 / std::sqrt(12.0) / 30));
  CHECK(low >= 1);
  CHECK(low < 1.1);
  CHECK(high > 2.9);
  CHECK(high < 3);
}

TEST_CASE("edge over layer over kind, and no refinement shifts another parameter") {
  const Run plain = prepare(load(base));
  const Run refined = prepare(load(
      base, {"parameters.a.layer-2.value=7", "parameters.a.edge-7.value=8", "parameters.g.node-5.value=9"}));
  for (int e = 0; e < 9; ++e) {
    const std::string a = "a[" + std::to_string(e) + "]", b = "b[" + std::to_string(e) + "]";
    INFO(a);
    if (e == 7) CHECK(value(refined, a) == 8);
    else if (e >= 6) CHECK(value(refined, a) == 7);
    else CHECK(value(refined, a) == value(plain, a));
    CHECK(value(refined, b) == value(plain, b));
  }
  CHECK(value(refined, "g[5]") == 9);
  CHECK(value(refined, "g[4]") == 1);
}

TEST_CASE("a fold is placed with the edge's own b") {
  const Run run = prepare(load(base, {"parameters.a.layer-1.fold=[2,3]"}));
  for (int e = 0; e < 6; ++e) {
    const double x = -value(run, "a[" + std::to_string(e) + "]") / value(run, "b[" + std::to_string(e) + "]");
    // a = -b x up to the rounding of one product and one quotient; b was clipped before the fold was placed.
    CHECK(x >= 2 * (1 - 1e-15));
    CHECK(x <= 3 * (1 + 1e-15));
  }
}

TEST_CASE("logarithms are drawn from an interval, and an enzyme's constants relative to its Ka") {
  const std::string enzyme = R"([network]
law = "enzyme"
layers = [2, 50, 1]
[parameters.Vf]
value = 1
[parameters.Ka]
log-uniform = [-3.0, 2.0]
[parameters.Kb]
ratio = [1.5, 0.0]
[parameters.Ki]
ratio = [0.0, 0.5]
[task]
kind = "xor"
)";
  const Run run = prepare(load(enzyme));
  double low = 9, high = -9, sum = 0;
  for (int e = 0; e < 150; ++e) {
    const std::string edge = std::to_string(e) + "]";
    const double Ka = value(run, "Ka[" + edge);
    low = std::min(low, std::log(Ka));
    high = std::max(high, std::log(Ka));
    sum += std::log(value(run, "Ki[" + edge) / Ka);
    // One exponential and one product: a few roundings.
    CHECK(value(run, "Kb[" + edge) / Ka == Approx(std::exp(1.5)).epsilon(1e-14));
  }
  CHECK(low >= -3);
  CHECK(high <= 2);
  CHECK(high - low >
        4.5);  // the largest and smallest of 150 draws cover 90 % of the interval, except once in 10^6
  CHECK(sum / 150 == Approx(0).margin(5 * 0.5 / std::sqrt(150)));  // five standard errors

  // Stratified: the edges into layer 1 are 0 to 99, those into layer 2 the other 50; each edge has its own
  // part of the interval.
  const Run even = prepare(load(enzyme, {"parameters.Ka.stratified=true"}));
  bool centred = true;
  for (int e = 0; e < 150; ++e) {
    const double n = e < 100 ? 100 : 50, k = e < 100 ? e : e - 100;
    const double fraction = (std::log(value(even, "Ka[" + std::to_string(e) + "]")) + 3) / 5 * n;
    CHECK(fraction >= k - 1e-12 * n);  // roundings of exp and log
    CHECK(fraction <= k + 1 + 1e-12 * n);
    centred = centred && std::abs(fraction - k - 0.5) < 0.1;
  }
  CHECK_FALSE(centred);  // and the place within it is random
  CHECK(refusal(enzyme, {"parameters.Kb.stratified=true"}).find("beside 'uniform'") != std::string::npos);
  CHECK(refusal(enzyme, {"parameters.Vf.ratio=[0,1]"}).find("relative to another parameter of the edge") !=
        std::string::npos);
  CHECK(refusal(enzyme, {"parameters.mu_ref.log-uniform=[0,1]"}).find("either sign") != std::string::npos);
}

TEST_CASE("the seed decides, wherever it is given") {
  Experiment experiment = load(base);
  const std::uint64_t four = digest(prepare(experiment).theta);
  CHECK(digest(prepare(load(base)).theta) == four);
  experiment.seed = 5;
  const std::uint64_t five = digest(prepare(experiment).theta);
  CHECK(five != four);
  LoadOptions options;
  options.seed = 5;
  const Experiment other = experiment_from_text(base, "small.toml", options);
  CHECK(digest(prepare(other).theta) == five);
  CHECK(prepare(other).training.seed == 5);
  CHECK(digest(prepare(experiment_from_text(other.text, "again.toml")).theta) == five);
}

TEST_CASE("what is trained: kinds, layers, and nothing that has no logarithm") {
  const Run all = prepare(load(base));
  // 9 edges of gamma, a, b; 4 leaks of g and mu_ref.
  CHECK(all.space->trainable() == 9 * 3 + 4 * 2);
  CHECK(prepare(load(base, {"parameters.b.trainable=false"})).space->trainable() == 9 * 2 + 4 * 2);
  CHECK(prepare(load(base, {"parameters.b.trainable=false", "parameters.b.edge-8.trainable=true"}))
            .space->trainable() == 9 * 2 + 1 + 4 * 2);
  CHECK(prepare(load(base, {"parameters.g.value=0"})).space->trainable() == 9 * 3 + 4);
}

TEST_CASE("an initial value on the command line replaces the file's rule") {
  const Run run = prepare(load(base, {"parameters.b.value=0.25", "parameters.gamma.value=2"}));
  CHECK(value(run, "b[0]") == 0.25);
  CHECK(value(run, "gamma[8]") == 2);
}

TEST_CASE("enzymes: no inhibition is Ki = inf, and is not trained") {
  const std::string enzyme = R"([network]
law = "enzyme"
layers = [2, 1]
[parameters.Vf]
value = 1
[parameters.Ka]
value = 2
[parameters.Kb]
value = 3
[parameters.g]
value = 1
[task]
kind = "xor"
)";
  const Run absent = prepare(load(enzyme));
  CHECK(std::isinf(value(absent, "Ki[0]")));
  CHECK(absent.space->trainable() == 2 * 3 + 2);
  const Run one = prepare(load(enzyme + "[parameters.Ki]\nvalue = inf\n[parameters.Ki.edge-1]\nvalue = 5\n"));
  CHECK(std::isinf(value(one, "Ki[0]")));
  CHECK(value(one, "Ki[1]") == 5);
  CHECK(one.space->trainable() == 2 * 3 + 1 + 2);
}

TEST_CASE("a wrong file is refused with file, line, key and what was expected") {
  CHECK(refusal(base + "[optimizer]\nrate = nan\n") ==
        "small.toml:18: key 'optimizer.rate': expected a number > 0, found nan");
  CHECK(refusal(base + "[training]\nepocs = 3\n") ==
        "small.toml:18: key 'training.epocs': unknown key; did you mean 'epochs'?");
  CHECK(refusal(base + "[optimiser]\nrate = 1\n") ==
        "small.toml:17: key 'optimiser': unknown key; did you mean 'optimizer'?");
  CHECK(refusal(base, {"network.nodes.capacity=-1"}) ==
        "--set network.nodes.capacity=-1: key 'network.nodes.capacity': expected a number > 0, found -1");
  CHECK(refusal(base, {"network.layers=[3,3,1]"})
            .find("3 inputs, but the patterns of task 'xor' have 2 levels") != std::string::npos);
  CHECK(refusal(base, {"network.layers=[2,3,2]"}).find("2 outputs, but the targets of task 'xor' need 1") !=
        std::string::npos);
  CHECK(refusal(base, {"network.law=quantumdot"}).find("expected linear, quantum-dot or enzyme") !=
        std::string::npos);
  CHECK(refusal(base, {"parameters.b.layer-3.value=1"}).find("no edge leads into layer 3") !=
        std::string::npos);
  CHECK(refusal(base, {"parameters.g.node-0.value=1"}).find("node 0 is clamped") != std::string::npos);
  CHECK(refusal(base, {"parameters.b.edge-9.value=1"}).find("expected edge-0 to edge-8") !=
        std::string::npos);
  CHECK(refusal(base, {"parameters.Vf.value=1"}).find("unknown key") != std::string::npos);
  CHECK(refusal(base, {"parameters.b.fold=[0,1]"}).find("under [parameters.a] alone") != std::string::npos);
  CHECK(refusal(base + "[parameters.d]\nvalue = 1\nnormal = [0, 1]\n") ==
        "small.toml:19: key 'parameters.d.normal': an initial value is given by one rule, and 'value' is "
        "here too");
  CHECK(refusal(base, {"loss.kind=cross-entropy"}).find("expected 'squared-error'") != std::string::npos);
  CHECK(refusal(base, {"task.validation=4"}).find("expected fewer than the 4 training samples") !=
        std::string::npos);
  CHECK(refusal("title = \"x\"\n").find("expected a table [network]") != std::string::npos);
  const std::string no_gamma = std::string(base).replace(
      base.find("[parameters.gamma]"), std::string("[parameters.gamma]\nlog-normal = [0.0, 0.5]").size(), "");
  CHECK(refusal(no_gamma).find("no initial value for 'gamma' of edge 0") != std::string::npos);
}

TEST_CASE("regression: the formula, the domain and the held-out points") {
  const std::string text =
      std::string(base).replace(base.find("kind = \"xor\""), 12,
                                "kind = \"regression\"\nformula = \"x^2 - sin(pi*x)\"\ninput_scale = 2.0");
  const Experiment experiment =
      load(text, {"network.layers=[1,3,1]", "task.domain=[-1,1]", "task.points=21", "task.validation=4"});
  CHECK(experiment.task->test.size() == 4);  // k = 2, 7, 12, 17 of 21
  CHECK(experiment.task->train.size() == 13);
  CHECK(experiment.task->validation.size() == 4);
  const double x = -1 + 0.1 * 2;
  // The points of the grid are rounded: a few units in the last place of 1.
  CHECK(experiment.task->test.pattern(0).levels()[0] == Approx(2 * x).margin(1e-14));
  CHECK(experiment.task->test.target(0)[0] ==
        Approx(x * x - std::sin(3.14159265358979323846 * x)).margin(1e-14));
  CHECK(refusal(text, {"network.layers=[1,3,1]", "task.formula=exp(y)"}).find("expected a formula of x") !=
        std::string::npos);
  CHECK(refusal(text, {"network.layers=[1,3,1]", "task.formula=sqrt(x)"}).find("key 'task.formula'") !=
        std::string::npos);
}

TEST_CASE("a network file becomes part of the text") {
  const TemporaryDirectory directory;
  directory.file("net.json", R"({"nodes": [{"clamped": true}, {"clamped": true}, {"g": 0.5}],
    "edges": [{"source": 0, "target": 2, "law": "linear", "G": 2},
              {"source": 1, "target": 2, "law": "linear", "G": 3}],
    "outputs": [2]})");
  const std::string path =
      directory.file("e.toml", "[network]\nfile = \"net.json\"\n[task]\nkind = \"xor\"\n");
  const Experiment experiment = load_experiment(path);
  const Run run = prepare(experiment);
  CHECK(value(run, "G[1]") == 3);
  CHECK(value(run, "g[2]") == 0.5);
  const Run again = prepare(experiment_from_text(experiment.text, "/elsewhere/e.toml"));
  CHECK(again.theta == run.theta);
}

TEST_CASE("CSV data are found from the experiment's directory, and again from its text") {
  const TemporaryDirectory directory;
  directory.file("data.csv", "x,y\n0,1\n1,2\n");
  const std::string text = R"([network]
law = "linear"
layers = [1, 1]
[parameters.G]
value = 1
[task]
kind = "csv"
train = "data.csv"
inputs = "x"
targets = "y"
)";
  const Experiment experiment = load_experiment(directory.file("e.toml", text));
  CHECK(experiment.task->train.size() == 2);
  CHECK(experiment.task->train.target(1)[0] == 2);
  CHECK(experiment_from_text(experiment.text, "/elsewhere/e.toml").task->train.size() == 2);
  CHECK_THROWS_AS(load_experiment(directory.file("f.toml", text), {{"task.inputs=z"}, {}, {}, {}}),
                  FileError);
}

TEST_CASE("every estimator has a long name, and the short ones mean the same") {
  CHECK(&estimator_entry("ep-centred") == &estimator_entry("equilibrium-propagation-centred"));
  CHECK(&estimator_entry("fd-forward") == &estimator_entry("finite-differences-forward"));
  CHECK(estimator_entry("fd-central").name == "finite-differences-central");
  CHECK_THROWS_WITH(estimator_entry("backprop"),
                    Catch::Contains("no estimator 'backprop'") && Catch::Contains("'adjoint'"));
}

TEST_CASE("when relaxations are read is a table of the training") {
  CHECK(std::holds_alternative<Settled>(load(base).training.observe));
  const Experiment timed = load(base + "[training.observe]\ntime = 2.5\nsamples = 4\nevery = 0.5\n");
  REQUIRE(std::holds_alternative<At>(timed.training.observe));
  CHECK(std::get<At>(timed.training.observe) == At{2.5, 4, 0.5, At::Mode::serial});
  CHECK(std::get<At>(load(base + "[training.observe]\ntime = 1\nmode = \"repeat\"\n").training.observe) ==
        At{1, 1, 0, At::Mode::repeat});
  const Experiment kept = load(base + "[training.observe]\ntime = 1\npath = true\n[log]\npaths = 7\n");
  CHECK(std::get<At>(kept.training.observe).path);
  CHECK(kept.log.paths == 7);
  CHECK_THAT(refusal(base + "[training.observe]\nsamples = 4\n"), Catch::Contains("expected 'time'"));
  CHECK_THAT(refusal(base + "[training.observe]\ntime = 0\n"),
             Catch::Contains("training.observe.time") && Catch::Contains("> 0"));
  CHECK_THAT(refusal(base + "[training.observe]\ntime = 1\ntimes = 3\n"), Catch::Contains("unknown key"));
  CHECK_THAT(refusal(base + "[training.observe]\ntime = 1\nmode = \"repeat\"\nevery = 2\n"),
             Catch::Contains("serial"));
  CHECK_THAT(refusal(base + "[training]\nstart = \"last\"\n[training.observe]\ntime = 1\n"),
             Catch::Contains("start = rest"));
}
