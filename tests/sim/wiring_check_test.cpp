#include "ness/core/wiring_check.hpp"

#include <catch2/catch.hpp>
#include <Eigen/Eigenvalues>

#include "ness/core/noisy.hpp"
#include "ness/sim/simulation.hpp"
#include "networks.hpp"

using namespace networks;

namespace {

// A bench with a mistake in it, made in terms of what cables carry and meters show: what the check has to find out.
struct Mistake {
  std::optional<std::pair<std::size_t, std::size_t>> cables, meters;           // exchanged
  std::optional<std::size_t> turned, open, meter_turned, meter_open;           // one of each
  std::optional<std::pair<std::size_t, double>> gain;
  std::vector<std::array<double, 3>> cross_talk;                               // reading, channel, kT of the one per level of the other
};

class Miswired final : public Device {
 public:
  Miswired(Device& sample, const std::vector<WiringChannel>& channels, Mistake mistake) : sample_(sample), info_(sample.info()), channels_(channels), mistake_(std::move(mistake)) {
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
      for (std::size_t c = 0; c < channels_.size(); ++c) carried.push_back((place(c) - channels_[c].offset) / channels_[c].gain);
      const std::vector<double> sent = carried;
      if (mistake_.cables) std::swap(carried[mistake_.cables->first], carried[mistake_.cables->second]);
      if (mistake_.turned) carried[*mistake_.turned] *= -1;
      if (mistake_.open) carried[*mistake_.open] = channels_[*mistake_.open].safe;
      if (mistake_.gain) carried[mistake_.gain->first] *= mistake_.gain->second;
      for (std::size_t c = 0; c < channels_.size(); ++c) place(c) = channels_[c].offset + channels_[c].gain * carried[c];
      Drive drive = drives[d];
      drive.clamp = pattern_of(inputs);
      drive.theta = Parameters::of(theta);
      Relaxation row = sample_.relax(drive);
      if (mistake_.meters) std::swap(row.potential[static_cast<Eigen::Index>(mistake_.meters->first)], row.potential[static_cast<Eigen::Index>(mistake_.meters->second)]);
      if (mistake_.meter_turned) row.potential[static_cast<Eigen::Index>(*mistake_.meter_turned)] *= -1;
      if (mistake_.meter_open) row.potential[static_cast<Eigen::Index>(*mistake_.meter_open)] = 0.01;
      for (const auto& [reading, channel, strength] : mistake_.cross_talk) row.potential[static_cast<Eigen::Index>(reading)] += strength * sent[static_cast<std::size_t>(channel)];
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

  // Inputs within +-0.5 kT; a and mu_ref within +-1; gammas from a twentieth to three times their value, in levels of another unit.
  explicit Rig(const NetworkSpec& spec, std::uint64_t seed = 0) : network(std::make_shared<Network>(spec)), sample(network), twin(network), theta(network->theta()) {
    options.seed = seed;
    options.shortest = 1e-3;
    options.longest = 1e4;
    options.tries = 12;
    for (const std::uint32_t node : network->clamped()) options.channels.push_back({"input-" + std::to_string(node), node, std::nullopt, {-0.5, 0.5}, 0, 1, 0, "source"});
    for (std::uint32_t p = 0; p < theta.size(); ++p) {
      const ParameterInfo info = sample.info().parameters[p];
      if (info.kind == "a" || info.kind == "mu_ref") options.channels.push_back({info.name, std::nullopt, p, {theta[p] - 1, theta[p] + 1}, theta[p], 1, 0, "gate"});
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
  for (const ChannelReport& c : report.channels) text += c.name + " " + to_string(c.verdict) + " gain " + std::to_string(c.gain) + " strength " + std::to_string(c.strength) + " of " + std::to_string(c.expected) + " misfit " + std::to_string(c.misfit) + "\n";
  return text;
}

NetworkSpec sample_of(std::uint64_t seed) {
  const std::vector<std::vector<std::uint32_t>> shapes{{2, 2, 1}, {2, 3, 1}, {3, 2, 2}, {1, 2, 1}};
  return random_dots(shapes[seed % shapes.size()], seed, 0.5);
}

}  // namespace

TEST_CASE("a bench that is wired right passes, with and without noise") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Rig rig(sample_of(seed), seed);
    for (const double noise : {0.0, 1e-4}) {
      const WiringReport report = rig.check({}, noise);
      INFO("seed " << seed << " noise " << noise << "\n" << all_of(report));
      CHECK(report.passed());
      for (const ChannelReport& channel : report.channels) {
        if (channel.verdict == WiringVerdict::not_visible) continue;
        CHECK(channel.verdict == WiringVerdict::right);
        // The row's own error; and what is left of a change when it is read, 0.002 of it to the power of 1.5.
        CHECK(std::abs(channel.gain - 1) < 2e-4 + 6 * channel.error / channel.expected);
      }
    }
  }
}

// Every single exchange within a kind of plug, on random networks: found by name, or called undecided beforehand.
TEST_CASE("two exchanged cables are found, whichever they are") {
  std::size_t found = 0, undecided = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Rig rig(sample_of(seed), seed);
    const WiringReport right = rig.check();
    Random random(seed, 5);
    for (std::size_t i = 0; i < rig.options.channels.size(); ++i) {
      for (std::size_t j = i + 1; j < rig.options.channels.size(); ++j) {
        if (rig.options.channels[i].plug != rig.options.channels[j].plug) continue;
        if (random.uniform() > 0.15) continue;  // some of them
        Mistake mistake;
        mistake.cables = {i, j};
        const WiringReport report = rig.check(mistake);
        const std::string line = rig.name(i) + " answers like " + rig.name(j) + ", and " + rig.name(j) + " like " + rig.name(i) + ": are their cables exchanged?";
        const bool told = std::find(right.undecided.begin(), right.undecided.end(), std::pair{rig.name(i), rig.name(j)}) != right.undecided.end();
        const bool named = report.failures == std::vector{line};
        undecided += told;
        found += named;
        INFO("seed " << seed << " " << rig.name(i) << " " << rig.name(j) << (told ? " undecided" : "") << "\n" << all_of(report));
        CHECK((named || told));
      }
    }
  }
  WARN(found << " found, " << undecided << " undecided");
}
