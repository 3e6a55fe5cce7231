#include "ness/laboratory/wiring_check.hpp"

#include <catch2/catch.hpp>
#include <Eigen/Eigenvalues>
#include <Eigen/LU>

#include "ness/device/error.hpp"
#include "ness/laboratory/noisy.hpp"
#include "ness/network/simulation.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {

// A mistake in a bench, in terms of cables and meters, which the check must find.
struct Mistake {
  std::optional<std::pair<std::size_t, std::size_t>> cables, meters;  // exchanged
  std::optional<std::size_t> turned, open, meter_turned, meter_open;  // one channel or reading each
  std::optional<std::pair<std::size_t, double>> gain;
  // Terminals whose holding sources are exchanged.
  std::optional<std::pair<std::uint32_t, std::uint32_t>> holders;
  std::optional<std::uint32_t> holder_open;
  // on the current that it measures
  std::optional<std::pair<std::uint32_t, double>> holder_gain;
  // Reading, channel, and kT of the reading per level of the channel.
  std::vector<std::array<double, 3>> cross_talk;
};

class Miswired final : public Device {
 public:
  Miswired(Device& sample, const std::vector<WiringChannel>& channels, Mistake mistake)
      : sample_(sample), info_(sample.info()), channels_(channels), mistake_(std::move(mistake)) {
    info_.restores_state = false;
  }
  const DeviceInfo& info() const override { return info_; }

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
    for (std::size_t d = 0; d < drives.size(); ++d) {
      const std::vector<std::uint32_t> clamped = info_.clamped();
      Vector inputs = drives[d].clamp.levels(), theta = drives[d].theta.values();
      const auto place = [&](std::size_t c) -> double& {
        if (channels_[c].parameter) return theta[*channels_[c].parameter];
        return inputs[std::find(clamped.begin(), clamped.end(), *channels_[c].terminal) - clamped.begin()];
      };
      std::vector<double> carried;
      for (std::size_t c = 0; c < channels_.size(); ++c)
        carried.push_back((place(c) - channels_[c].offset) / channels_[c].gain);
      const std::vector<double> sent = carried;
      if (mistake_.cables) std::swap(carried[mistake_.cables->first], carried[mistake_.cables->second]);
      if (mistake_.turned) carried[*mistake_.turned] *= -1;
      if (mistake_.open) carried[*mistake_.open] = channels_[*mistake_.open].safe;
      if (mistake_.gain) carried[mistake_.gain->first] *= mistake_.gain->second;
      for (std::size_t c = 0; c < channels_.size(); ++c)
        place(c) = channels_[c].offset + channels_[c].gain * carried[c];
      Drive drive = drives[d];
      drive.clamp = pattern_of(inputs);
      drive.theta = Parameters::of(theta);
      const auto leads_to = [&](std::uint32_t terminal) {
        if (!mistake_.holders) return terminal;
        return terminal == mistake_.holders->first    ? mistake_.holders->second
               : terminal == mistake_.holders->second ? mistake_.holders->first
                                                      : terminal;
      };
      for (Hold& hold : drive.holds) hold.terminal = leads_to(hold.terminal);
      if (mistake_.holder_open)
        std::erase_if(drive.holds, [&](const Hold& hold) { return hold.terminal == *mistake_.holder_open; });
      Relaxation row = sample_.relax(drive);
      if (!drives[d].holds.empty()) {
        Vector current = Vector::Constant(static_cast<Eigen::Index>(info_.terminals.size()), std::nan(""));
        for (const Hold& hold : drives[d].holds)
          current[hold.terminal] =
              hold.terminal == mistake_.holder_open ? 0 : row.current[leads_to(hold.terminal)];
        if (mistake_.holder_gain) current[mistake_.holder_gain->first] *= mistake_.holder_gain->second;
        row.current = current;
      }
      if (mistake_.meters)
        std::swap(row.potential[static_cast<Eigen::Index>(mistake_.meters->first)],
                  row.potential[static_cast<Eigen::Index>(mistake_.meters->second)]);
      if (mistake_.meter_turned) row.potential[static_cast<Eigen::Index>(*mistake_.meter_turned)] *= -1;
      if (mistake_.meter_open) row.potential[static_cast<Eigen::Index>(*mistake_.meter_open)] = 0.01;
      for (const auto& [reading, channel, strength] : mistake_.cross_talk)
        row.potential[static_cast<Eigen::Index>(reading)] +=
            strength * sent[static_cast<std::size_t>(channel)];
      sink(d, row);
    }
  }

 private:
  Device& sample_;
  DeviceInfo info_;
  std::vector<WiringChannel> channels_;
  Mistake mistake_;
};

struct Rig {
  std::shared_ptr<const Network> network;
  Simulation sample, twin;
  Vector theta;
  WiringCheckOptions options;

  // Inputs within +-0.5 kT; a and mu_ref within +-1; gammas from a twentieth to three times their value, with
  // levels in another unit.
  explicit Rig(const NetworkSpec& spec, std::uint64_t seed = 0)
      : network(std::make_shared<Network>(spec)), sample(network), twin(network), theta(network->theta()) {
    options.seed = seed;
    options.shortest = 1e-3;
    options.longest = 1e4;
    options.tries = 12;
    for (const std::uint32_t node : network->clamped())
      options.channels.push_back(
          {"input-" + std::to_string(node), node, std::nullopt, {-0.5, 0.5}, 0, 1, 0, "source"});
    for (std::uint32_t p = 0; p < theta.size(); ++p) {
      const ParameterInfo info = sample.info().parameters[p];
      if (info.kind == "a" || info.kind == "mu_ref")
        options.channels.push_back(
            {info.name, std::nullopt, p, {theta[p] - 1, theta[p] + 1}, theta[p], 1, 0, "gate"});
      if (info.kind == "gamma") {
        const double unit = 0.1 * theta[p];
        options.channels.push_back({info.name, std::nullopt, p, {-9.5, 20}, 0, unit, theta[p], "gate"});
      }
    }
  }
  WiringReport check(const Mistake& mistake = {}, double noise = 0) {
    Miswired bench(sample, options.channels, mistake);
    NoiseOptions noisy;
    noisy.read = noise;
    noisy.seed = options.seed;
    Noisy with(bench, noisy);
    return check_wiring(noise > 0 ? static_cast<Device&>(with) : bench, twin, theta, options);
  }
  const std::string& name(std::size_t c) const { return options.channels[c].name; }
};

std::string all_of(const WiringReport& report) {
  std::string text;
  for (const std::string& line : report.failures) text += line + "\n";
  for (const std::string& line : report.warnings) text += "(" + line + ")\n";
  for (const ChannelReport& c : report.channels)
    text += c.name + " " + to_string(c.verdict) + " gain " + std::to_string(c.gain) + " strength " +
            std::to_string(c.strength) + " of " + std::to_string(c.expected) + " misfit " +
            std::to_string(c.misfit) + "\n";
  return text;
}

NetworkSpec sample_of(std::uint64_t seed) {
  const std::vector<std::vector<std::uint32_t>> shapes{{2, 2, 1}, {2, 3, 1}, {3, 2, 2}, {1, 2, 1}};
  return random_dots(shapes[seed % shapes.size()], seed, 0.5);
}

// Number of networks; a quarter under sanitizers, which look for other errors and take twenty times as long.
constexpr std::uint64_t so_many(std::uint64_t n) {
#ifdef __SANITIZE_ADDRESS__
  return (n + 3) / 4;
#else
  return n;
#endif
}

}  // namespace

TEST_CASE("a bench that is wired right passes, with and without noise") {
  for (std::uint64_t seed = 0; seed < so_many(20); ++seed) {
    Rig rig(sample_of(seed), seed);
    for (const double noise : {0.0, 1e-4}) {
      const WiringReport report = rig.check({}, noise);
      INFO("seed " << seed << " noise " << noise << "\n" << all_of(report));
      CHECK(report.passed());
      for (const ChannelReport& channel : report.channels) {
        if (channel.verdict == WiringVerdict::not_visible) continue;
        CHECK(channel.verdict == WiringVerdict::right);
        // The error of the row, plus the part of a change that remains when it is read, 0.002 of it to the
        // power of 1.5.
        CHECK(std::abs(channel.gain - 1) < 2e-4 + 6 * channel.error / channel.expected);
      }
    }
  }
}

// Every single exchange of two equal plugs on random networks is found by name, or reported as undecided
// beforehand.
TEST_CASE("two exchanged cables are found, whichever they are") {
  std::size_t undecided = 0, pairs = 0;
  for (std::uint64_t seed = 0; seed < so_many(4); ++seed) {
    Rig rig(sample_of(seed), seed);
    const WiringReport right = rig.check();
    Random random(seed, 5);
    for (std::size_t i = 0; i < rig.options.channels.size(); ++i) {
      for (std::size_t j = i + 1; j < rig.options.channels.size(); ++j) {
        if (rig.options.channels[i].plug != rig.options.channels[j].plug) continue;
        if (random.uniform() > 0.05) continue;  // only some, since each takes a whole check
        Mistake mistake;
        mistake.cables = {i, j};
        const WiringReport report = rig.check(mistake);
        const std::string line = rig.name(i) + " behaves like " + rig.name(j) + ", and " + rig.name(j) +
                                 " like " + rig.name(i) + ": are their cables exchanged?";
        const bool told = std::find(right.undecided.begin(), right.undecided.end(),
                                    std::pair{rig.name(i), rig.name(j)}) != right.undecided.end();
        const bool named = report.failures == std::vector{line};
        undecided += told;
        ++pairs;
        INFO("seed " << seed << " " << rig.name(i) << " " << rig.name(j) << (told ? " undecided" : "") << "\n"
                     << all_of(report));
        CHECK((named || told));
      }
    }
  }
  CHECK(pairs > (so_many(4) == 4 ? 20 : 1));  // at least two from the first network
  CHECK(10 * undecided < pairs);
}

// One mistake of each kind on random networks with noise, at a channel or reading drawn by the seed: the
// verdict is known.
TEST_CASE("wrong signs and gains, open leads and exchanged meters are found by name") {
  for (std::uint64_t seed = 0; seed < so_many(12); ++seed) {
    Rig rig(sample_of(seed), seed);
    Random random(seed, 6);
    const std::size_t c = random.below(rig.options.channels.size()), R = rig.sample.info().read().size(),
                      r = random.below(R);
    const auto reading = [&](std::size_t k) {
      return rig.sample.info().terminals[rig.sample.info().read()[k]].name;
    };
    const auto found = [&](const char* what, const Mistake& mistake, const std::string& line) {
      const WiringReport report = rig.check(mistake, 1e-4);
      INFO("seed " << seed << ", " << what << ": " << line << "\n" << all_of(report));
      REQUIRE(!report.failures.empty());
      CHECK(report.failures.size() == 1);
      CHECK(report.failures.front().find(line) == 0);
      return report;
    };
    Mistake mistake;
    mistake.open = c;
    const WiringReport open =
        found("open lead", mistake, rig.name(c) + " moves no reading: is its lead open?");
    CHECK(open.channels[c].verdict == WiringVerdict::silent);
    mistake = {};
    const std::size_t source = random.below(rig.network->clamped().size());
    mistake.gain = {source, 0.3};
    const WiringReport weak = found("gain", mistake, rig.name(source) + " moves its readings 0.");
    CHECK(weak.channels[source].verdict == WiringVerdict::wrong_gain);
    // the difference is the effect of the edges' curvature
    CHECK(weak.channels[source].gain == Approx(0.3).epsilon(0.3));
    mistake = {};
    mistake.meter_turned = r;
    const WiringReport turned = found("meter turned", mistake, reading(r) + " reads with the wrong sign");
    CHECK(turned.readings[r].verdict == WiringVerdict::wrong_sign);
    mistake = {};
    mistake.meter_open = r;
    const WiringReport mute =
        found("meter open", mistake,
              reading(r) + " does not respond to any source: is its lead open, or its node shorted?");
    CHECK(mute.readings[r].verdict == WiringVerdict::silent);
    const std::size_t other = (r + 1) % R;
    mistake = {};
    mistake.meters = {r, other};
    const std::string a = reading(std::min(r, other)), b = reading(std::max(r, other));
    found("meters", mistake,
          a + " behaves like " + b + ", and " + b + " like " + a + ": are their cables exchanged?");
    // A wrong sign is relative to zero: of a source, or of a gate whose level at rest is zero.
    mistake = {};
    mistake.turned = source;
    found("turned", mistake, rig.name(*mistake.turned) + " has the wrong sign");
  }
}

TEST_CASE("a bench on which nothing answers fails") {
  class Dead final : public Device {
   public:
    explicit Dead(Device& like) : like_(like) {}
    const DeviceInfo& info() const override { return like_.info(); }

   protected:
    void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
      Relaxation row;
      row.potential = Vector::Constant(static_cast<Eigen::Index>(info().read().size()), 0.02);
      row.timing.read = 0.1;
      for (std::size_t d = 0; d < drives.size(); ++d) sink(d, row);
    }
    Device& like_;
  };
  Rig rig(random_dots({2, 2, 1}, 0, 0.5));
  Dead bench(rig.sample);
  const WiringReport report = check_wiring(bench, rig.twin, rig.theta, rig.options);
  CHECK(report.failures.size() == rig.options.channels.size());
  for (const ChannelReport& channel : report.channels) CHECK(channel.verdict == WiringVerdict::silent);
  CHECK(report.steps.empty());
}

TEST_CASE("two mistakes at once are both named") {
  for (std::uint64_t seed = 0; seed < so_many(6); ++seed) {
    Rig rig(random_dots({2, 3, 1}, seed, 0.5), seed);
    Mistake mistake;
    mistake.cables = {0, 1};
    mistake.meters = {1, 2};
    const WiringReport report = rig.check(mistake, 1e-4);
    INFO(all_of(report));
    REQUIRE(report.failures.size() == 2);
    CHECK(report.failures[0] ==
          "input-0 behaves like input-1, and input-1 like input-0: are their cables exchanged?");
    CHECK(report.failures[1].find("behaves like") != std::string::npos);
    CHECK(report.channels[0].of == "input-1");
    CHECK(report.readings[1].verdict == WiringVerdict::exchanged);
    CHECK(report.readings[2].verdict == WiringVerdict::exchanged);
  }
}

// The twin of a real sample is inaccurate: here every barrier and leak is off by 15 % (standard deviation),
// every level by 0.1 kT.
TEST_CASE("a rough twin raises no alarm, and still tells exchanged cables") {
  std::size_t alarms = 0, missed = 0;
  for (std::uint64_t seed = 0; seed < so_many(20); ++seed) {
    const NetworkSpec described = random_dots({2, 2, 1}, seed, 0.5);
    NetworkSpec real = described;
    Random random(seed, 8);
    for (NodeProperties& node : real.nodes) node.g *= std::exp(0.15 * random.normal());
    for (EdgeProperties& edge : real.edges) {
      edge.p[0] *= std::exp(0.15 * random.normal());
      edge.p[1] += 0.1 * random.normal();
    }
    Rig rig(described, seed);
    rig.options.gain_tolerance = 1;  // an offset of 0.1 kT in a level alone can change a row by 60 %
    Simulation sample(std::make_shared<Network>(real));
    // The offsets belong to the sample: requested levels are added to them.
    class Shifted final : public Device {
     public:
      Shifted(Simulation& device, Vector by) : device_(device), by_(std::move(by)) {}
      const DeviceInfo& info() const override { return device_.info(); }

     protected:
      void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
        for (std::size_t d = 0; d < drives.size(); ++d) {
          Drive drive = drives[d];
          Vector theta = drive.theta.values();
          for (Eigen::Index p = 0; p < theta.size(); ++p)
            theta[p] = info().parameters[static_cast<std::size_t>(p)].kind == "gamma" ||
                               info().parameters[static_cast<std::size_t>(p)].kind == "g"
                           ? theta[p] * by_[p]
                           : theta[p] + by_[p];
          drive.theta = Parameters::of(theta);
          sink(d, device_.relax(drive));
        }
      }
      Simulation& device_;
      Vector by_;
    };
    Vector by = sample.network()->theta();
    for (Eigen::Index p = 0; p < by.size(); ++p) {
      const std::string& kind = sample.info().parameters[static_cast<std::size_t>(p)].kind;
      by[p] = kind == "gamma" || kind == "g" ? by[p] / rig.theta[p] : by[p] - rig.theta[p];
    }
    Shifted shifted(sample, by);
    const std::size_t inputs = 2, gates = rig.options.channels.size() - inputs;
    for (int exchanged = 0; exchanged < 3; ++exchanged) {
      Mistake mistake;
      if (exchanged == 1) mistake.cables = {0, 1};
      if (exchanged == 2) mistake.cables = {inputs, inputs + 1 + random.below(gates - 1)};
      Miswired bench(shifted, rig.options.channels, mistake);
      const WiringReport report = check_wiring(bench, rig.twin, rig.theta, rig.options);
      if (exchanged == 0) alarms += !report.passed();
      else missed += report.passed();
      UNSCOPED_INFO("seed " << seed << " exchanged " << exchanged << " "
                            << (report.failures.empty() ? "passed" : report.failures[0]));
    }
  }
  CHECK(alarms == 0);
  CHECK(missed == 0);
}

TEST_CASE("what cannot be told apart is said, and is no failure") {
  // Two inputs of a sum: the readings do not change when the inputs are exchanged.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, true);
  add_node(spec, false, leak(0.5));
  for (std::uint32_t input = 0; input < 2; ++input) add_edge(spec, input, 2, linear(0.8));
  spec.graph.outputs = {2};
  Rig rig(spec);
  Mistake mistake;
  for (int exchanged = 0; exchanged < 2; ++exchanged) {
    const WiringReport report = rig.check(mistake);
    INFO(all_of(report));
    CHECK(report.passed());
    CHECK(report.undecided == std::vector<std::pair<std::string, std::string>>{{"input-0", "input-1"}});
    REQUIRE(report.warnings.size() == 1);
    CHECK(report.warnings[0].find("input-0 and input-1 have the same effect") != std::string::npos);
    mistake.cables = {0, 1};
  }
}

TEST_CASE("a reading that answers where no path leads is cross-talk") {
  // Two separate halves: input 0 cannot affect node 3.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, true);
  add_node(spec, false, leak(0.5));
  add_node(spec, false, leak(0.7));
  add_edge(spec, 0, 2, linear(1));
  add_edge(spec, 1, 3, linear(0.4));
  spec.graph.outputs = {2, 3};
  Rig rig(spec);
  CHECK(rig.check({}, 1e-4).passed());
  Mistake mistake;
  mistake.cross_talk = {{1, 0, 0.25}};  // relative to 0.4 x 2/3 kT, the movement of node 2: 0.1
  const WiringReport report = rig.check(mistake, 1e-4);
  INFO(all_of(report));
  REQUIRE(report.failures.size() == 1);
  CHECK(report.channels[0].verdict == WiringVerdict::cross_talk);
  CHECK(report.failures[0].find(report.readings[1].name + " responds to input-0 by ") == 0);
  CHECK(report.channels[0].answered.size() == 2);
  CHECK(report.channels[1].answered == std::vector<std::string>{report.readings[1].name});
}

TEST_CASE("currents tell leaks, shorts and compliance") {
  // A source into 1 unit in series with a leak of 0.5: a third of a unit of current per kT.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.5));
  add_edge(spec, 0, 1, linear(1));
  spec.graph.outputs = {1};
  class Measured final : public Device {
   public:
    Measured(Device& device, double leakage, double parallel, double compliance)
        : device_(device),
          leakage_(leakage),
          parallel_(parallel),
          compliance_(compliance),
          info_(device.info()) {
      info_.terminals[0].reads_current = true;
    }
    const DeviceInfo& info() const override { return info_; }

   protected:
    void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
      for (std::size_t d = 0; d < drives.size(); ++d) {
        const double asked = drives[d].clamp.levels()[0], had = std::clamp(asked, -compliance_, compliance_);
        Drive drive = drives[d];
        drive.clamp = pattern_of(Vector::Constant(1, had));
        Relaxation row = device_.relax(drive);
        row.clamp_readback = Vector::Constant(1, had);
        row.current = Vector::Constant(2, std::nan(""));
        row.current[0] = had - row.potential[0] + parallel_ * had + leakage_;
        if (had != asked) row.quality.raise(Flag::in_compliance);
        sink(d, row);
      }
    }
    Device& device_;
    double leakage_, parallel_, compliance_;
    DeviceInfo info_;
  };
  const auto checked = [&](double leakage, double parallel, double compliance) {
    Rig rig(spec);
    rig.options.leakage = 0.05;
    Measured bench(rig.sample, leakage, parallel, compliance);
    return check_wiring(bench, rig.twin, rig.theta, rig.options);
  };
  const WiringReport right = checked(0.04, 0, 10);
  CHECK(right.passed());
  REQUIRE(right.channels[0].conductance);
  // the part of a change that remains when it is read
  CHECK(*right.channels[0].conductance == Approx(1.0 / 3).epsilon(1e-3));
  const WiringReport leaking = checked(0.07, 0, 10);
  REQUIRE(leaking.failures.size() == 1);
  CHECK(leaking.failures[0].find("input-0 leaks: at rest a current of 0.07 units") == 0);
  const WiringReport shorted = checked(0, 200, 10);
  REQUIRE(shorted.failures.size() == 1);
  CHECK(shorted.failures[0].find(
            "input-0 sees a conductance of 200 units of current per kT: is its lead shorted?") == 0);
  CHECK(shorted.channels[0].verdict == WiringVerdict::limited);
  const WiringReport limited = checked(0, 0, 0.01);
  REQUIRE(limited.failures.size() == 1);
  CHECK(limited.failures[0] == "input-0 is in compliance at tiny levels: is its lead shorted?");
}

TEST_CASE("time constants are those of the network") {
  // A chain of linear conductors, C dmu/dt = -K mu + ..: the slowest decay is the smallest eigenvalue of C^-1
  // K.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.2, 0, 3));
  add_node(spec, false, leak(0.1, 0, 2));
  add_edge(spec, 0, 1, linear(1));
  add_edge(spec, 1, 2, linear(0.5));
  spec.graph.outputs = {2};
  Eigen::Matrix2d K;
  K << (1 + 0.5 + 0.2) / 3, -0.5 / 3, -0.5 / 2, (0.5 + 0.1) / 2;
  const double slowest = 1 / Eigen::EigenSolver<Eigen::Matrix2d>(K).eigenvalues().real().minCoeff();
  for (const double noise : {0.0, 1e-4}) {
    Rig rig(spec, 3);
    const WiringReport report = rig.check({}, noise);
    INFO(all_of(report) << "tau " << report.tau() << " expected " << slowest);
    CHECK(report.passed());
    REQUIRE(report.steps.size() == 4);  // two readings, each after a step of a source and of a gate
    for (const StepResponse& step : report.steps) REQUIRE(step.tau);
    // The fast decay (1.6; the slow one is 4.2) still contributes where the slow one is followed. Noise of
    // 1e-4 is 1/300 of the value at the start of the fit.
    CHECK(report.tau() == Approx(slowest).epsilon(0.1));
    CHECK(report.tau_bound() == 0);
    CHECK(report.noise() ==
          Approx(noise).margin(1e-9).epsilon(0.6));  // 16 readings: one standard deviation is 0.18 of it
  }
}

TEST_CASE("offsets are what a reading says at rest beyond the twin") {
  class Offset final : public Device {
   public:
    Offset(Device& device, Vector offset) : device_(device), offset_(std::move(offset)) {}
    const DeviceInfo& info() const override { return device_.info(); }

   protected:
    void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
      for (std::size_t d = 0; d < drives.size(); ++d) {
        Relaxation row = device_.relax(drives[d]);
        row.potential += offset_;
        sink(d, row);
      }
    }
    Device& device_;
    Vector offset_;
  };
  Rig rig(random_dots({2, 2, 1}, 1, 0.5));
  Vector offset(3);
  offset << 0.03, -0.2, 0.001;
  Offset bench(rig.sample, offset);
  NoiseOptions noise;
  noise.read = 1e-3;
  Noisy with(bench, noise);
  const WiringReport report = check_wiring(with, rig.twin, rig.theta, rig.options);
  INFO(all_of(report));
  CHECK(report.passed());
  for (Eigen::Index r = 0; r < 3; ++r) {
    const ReadingReport& reading = report.readings[static_cast<std::size_t>(r)];
    CHECK(reading.offset_error == Approx(1e-3 / 4).epsilon(0.6));
    CHECK(std::abs(reading.offset - offset[r]) < 5 * 1e-3 / 4);
  }
}

TEST_CASE("a wiring check refuses what it cannot check, and stops on request") {
  Rig rig(random_dots({2, 2, 1}, 1, 0.5));
  const auto refused = [&](const std::function<void(WiringCheckOptions&)>& change) {
    WiringCheckOptions options = rig.options;
    change(options);
    try {
      check_wiring(rig.sample, rig.twin, rig.theta, options);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK(refused([](auto& o) { o.channels.clear(); }).find("no channels") != std::string::npos);
  CHECK(refused([](auto& o) { o.channels[0].terminal = 4; }).find("terminal 4 is no input") !=
        std::string::npos);
  CHECK(refused([](auto& o) {
          o.channels[0].safe = 2;
        }).find("'input-0': its safe level 2 is outside [-0.5, 0.5]") != std::string::npos);
  CHECK(refused([](auto& o) { o.channels[0].tiny = {0, 0}; }).find("no room to move") != std::string::npos);
  CHECK(refused([](auto& o) { o.gain_tolerance = 0; }).find("gain tolerance 0") != std::string::npos);
  CHECK(refused([](auto& o) {
          o.allowed = [](const Vector&) { return false; };
        }).find("no operating point") != std::string::npos);
  std::stop_source stop;
  stop.request_stop();
  CHECK_THROWS_AS(check_wiring(rig.sample, rig.twin, rig.theta, rig.options, stop.get_token()), Cancelled);
}

TEST_CASE("a wiring check stays within its limits, and ends at rest") {
  class Watched final : public Device {
   public:
    explicit Watched(Rig& rig) : rig_(rig) {}
    const DeviceInfo& info() const override { return rig_.sample.info(); }
    std::vector<double> last;

   protected:
    void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token) override {
      for (std::size_t d = 0; d < drives.size(); ++d) {
        const Vector inputs = drives[d].clamp.levels();
        last.clear();
        for (const WiringChannel& c : rig_.options.channels) {
          last.push_back(
              ((c.terminal ? inputs[static_cast<Eigen::Index>(*c.terminal)] : drives[d].theta[*c.parameter]) -
               c.offset) /
              c.gain);
          REQUIRE(last.back() >= c.tiny.low - 1e-12);
          REQUIRE(last.back() <= c.tiny.high + 1e-12);
        }
        // The difference that must never be exceeded.
        REQUIRE(last[0] - last[1] < 0.6);
        sink(d, rig_.sample.relax(drives[d]));
      }
    }
    Rig& rig_;
  };
  Rig rig(random_dots({2, 2, 1}, 2, 0.5));
  rig.options.allowed = [](const Vector& level) { return level[0] - level[1] < 0.6; };
  Watched bench(rig);
  const WiringReport report = check_wiring(bench, rig.twin, rig.theta, rig.options);
  CHECK(report.passed());
  for (std::size_t c = 0; c < bench.last.size(); ++c)
    CHECK(bench.last[c] == Approx(rig.options.channels[c].safe).margin(1e-12));
}

TEST_CASE(
    "holders that are exchanged, open, or measure what is not so are found by name, and right ones pass") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Rig rig(sample_of(seed), seed);
    const std::vector<std::uint32_t> free = rig.network->free();
    for (const std::uint32_t node : free)
      rig.options.holders.push_back({"hold-" + std::to_string(node), node, 0.1});
    const auto reading = [&](std::uint32_t node) { return rig.sample.info().terminals[node].name; };
    const std::size_t channels = rig.options.channels.size();
    const WiringReport right = rig.check({}, 1e-4);
    INFO("seed " << seed << "\n" << all_of(right));
    CHECK(right.passed());
    REQUIRE(right.channels.size() == channels + free.size());
    const NetworkModel model(rig.network, 1);
    for (std::size_t k = 0; k < free.size(); ++k) {
      const ChannelReport& holder = right.channels[channels + k];
      CHECK(holder.verdict == WiringVerdict::right);
      CHECK(holder.gain ==
            Approx(1).margin(5e-3));  // means of four readings of 1e-4, for a step of 0.2: 4e-4
      CHECK(holder.answered.front() == reading(free[k]));
      // Conductance at one held node while the others are free: the inverse of its entry in R.
      Drive at_rest;
      at_rest.theta = Parameters::of(rig.theta);
      at_rest.clamp = pattern_of(Vector::Zero(static_cast<Eigen::Index>(rig.network->clamped().size())));
      const Matrix R = (-model.conductance(at_rest, rig.sample.relax(at_rest).potential)).inverse();
      REQUIRE(holder.conductance);
      CHECK(*holder.conductance == Approx(1 / R(static_cast<Eigen::Index>(k), static_cast<Eigen::Index>(k)))
                                       .epsilon(0.02));  // the curvature over 0.1 kT
    }
    Random random(seed, 9);
    const std::uint32_t one = free[random.below(free.size())],
                        two = one == free.back() ? free.front() : one + 1;
    const auto hold = [](std::uint32_t node) { return "hold-" + std::to_string(node); };
    Mistake mistake;
    mistake.holders = {one, two};
    const WiringReport exchanged = rig.check(mistake, 1e-4);
    INFO(all_of(exchanged));
    REQUIRE(exchanged.failures.size() == 2);
    const std::uint32_t first = std::min(one, two), second = std::max(one, two);
    CHECK(exchanged.failures[0] ==
          hold(first) + " holds the terminal of " + reading(second) + ": are cables exchanged?");
    CHECK(exchanged.failures[1] ==
          hold(second) + " holds the terminal of " + reading(first) + ": are cables exchanged?");
    mistake = {};
    mistake.holder_open = one;
    CHECK(rig.check(mistake, 1e-4).failures == std::vector{hold(one) + " holds nothing: is its lead open?"});
    mistake = {};
    mistake.holder_gain = {one, -1};
    CHECK(rig.check(mistake, 1e-4).failures ==
          std::vector{hold(one) + " measures its current with the wrong sign"});
    mistake.holder_gain = {one, 0.2};
    const WiringReport weak = rig.check(mistake, 1e-4);
    REQUIRE(weak.failures.size() == 1);
    CHECK(weak.failures[0].starts_with(hold(one) + " sees a conductance of "));
    // With another mistake, the holding sources are not checked.
    mistake.meters = {0, 1};
    CHECK(rig.check(mistake, 1e-4).channels.size() == channels);
  }
  Rig rig(sample_of(0));
  rig.options.holders = {{"hold-0", 0, 0.1}};
  CHECK_THROWS_WITH(rig.check(), Catch::Contains("holder 'hold-0'") && Catch::Contains("cannot be held"));
  rig.options.holders = {{"hold-2", 2, 0}};
  CHECK_THROWS_WITH(rig.check(), Catch::Contains("step of 0"));
}
