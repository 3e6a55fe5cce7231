#include "ness/drivers/bench.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "bench_impl.hpp"
#include "bench_wiring.hpp"
#include "ness/device/error.hpp"
#include "number.hpp"

namespace ness::drivers {

namespace {

constexpr std::chrono::milliseconds own_budget{10000};  // for making safe when the caller gave no budget

std::vector<LevelChannel> level_channels(const BenchSettings& settings) {
  return {settings.channels.begin(), settings.channels.end()};
}

void require_usable(const BenchSettings& settings, const BenchInstruments& instruments) {
  if (settings.scanners.size() != instruments.scanners.size() ||
      settings.voltmeters.size() != instruments.voltmeters.size())
    refuse("every instrument needs its settings");
  if (const std::string problem = settings.settle.problem(); !problem.empty()) refuse("settling: " + problem);
  if (!(settings.settle_timeout > 0)) refuse("the settle timeout must be more than 0");
  if (settings.burst > 0 && (settings.burst < 4 || !(settings.burst_noise > 0)))
    refuse("a burst needs 4 readings or more, and their noise");
  if (!(settings.pause_every > 0) || !(settings.pause_timeout >= 0))
    refuse("looks at the surroundings must be more than 0 s apart, and end");
  if (!(settings.scale.volts_per_kT > 0) || !(settings.scale.amperes_per_unit > 0))
    refuse("volts per kT and amperes per unit must be more than 0");
  if (!(settings.scale.error_share > 0)) refuse("an instrument's error must be allowed more than 0 kT");
  if (settings.scale.carrier != 1 && settings.scale.carrier != -1)
    refuse("the sign of the carrier is 1 or -1");
  for (std::size_t i = 0; i < instruments.scanners.size(); ++i)
    instruments.scanners[i]->require(settings.scanners[i]);
  for (std::size_t i = 0; i < instruments.voltmeters.size(); ++i)
    instruments.voltmeters[i]->require(settings.voltmeters[i]);
  for (const BenchChannel& channel : settings.channels) {
    const std::size_t there = channel.kind == LevelChannel::Kind::source
                                  ? std::min(instruments.sources.size(), instruments.source_settings.size())
                                  : instruments.dacs.size();
    if (channel.instrument >= there)
      refuse("channel '" + channel.plan.name + "': there is no such instrument");
  }
}

}  // namespace

Bench::Bench(const DeviceInfo& network, const Vector& constants, BenchInstruments instruments,
             BenchSettings settings, std::shared_ptr<Clock> clock) {
  if (!clock) refuse("a bench needs a clock");
  if (constants.size() != static_cast<Eigen::Index>(network.parameters.size()))
    refuse(std::to_string(constants.size()) + " constants for " + std::to_string(network.parameters.size()) +
           " parameters");
  require_usable(settings, instruments);
  BenchWiring wiring = wired(network, constants, settings, instruments);
  info_ = std::move(wiring.info);
  if (settings.rest_time <= 0) settings.rest_time = 10 * settings.settle.tau_max;
  if (settings.hold_time <= 0) settings.hold_time = settings.rest_time;

  Levels levels(std::move(static_cast<LevelInstruments&>(instruments)), level_channels(settings),
                settings.cross_limits, clock);
  impl_ = std::make_unique<Impl>(std::move(levels), std::move(instruments.scanners),
                                 std::move(instruments.voltmeters), std::move(settings), std::move(clock));
  impl_->clamped = info_.clamped();
  impl_->read = info_.read();
  impl_->nudgeable = info_.nudgeable();
  impl_->channel_of_terminal = std::move(wiring.of_terminal);
  impl_->couple_gates(wiring.of_parameter);
  impl_->find_nudges();
  impl_->route_readings();
}

// The matrix from levels to parameters, and its factorisation for solving.
void Bench::Impl::couple_gates(const std::map<std::uint32_t, std::size_t>& of_parameter) {
  gates.assign(of_parameter.begin(), of_parameter.end());
  gate_zero = Vector::Zero(static_cast<Eigen::Index>(gates.size()));
  coupling = Matrix::Zero(static_cast<Eigen::Index>(gates.size()),
                          static_cast<Eigen::Index>(settings.channels.size()));
  for (std::size_t g = 0; g < gates.size(); ++g) {
    const BenchChannel& gate = channel(gates[g].second);
    gate_zero[static_cast<Eigen::Index>(g)] = gate.zero;
    coupling(static_cast<Eigen::Index>(g), static_cast<Eigen::Index>(gates[g].second)) = gate.per_volt;
  }
  for (const BenchCrossTalk& talk : settings.cross_talk)
    coupling(gate_of(talk.parameter), static_cast<Eigen::Index>(talk.channel)) += talk.per_volt;
  if (!gates.empty()) {
    Matrix own(coupling.rows(), coupling.rows());
    for (std::size_t g = 0; g < gates.size(); ++g)
      own.col(static_cast<Eigen::Index>(g)) = coupling.col(static_cast<Eigen::Index>(gates[g].second));
    of_gates.factor(own);
  }
}

std::ptrdiff_t Bench::Impl::gate_of(std::uint32_t parameter) const {
  return std::find_if(gates.begin(), gates.end(), [&](const auto& gate) { return gate.first == parameter; }) -
         gates.begin();
}

void Bench::Impl::find_nudges() {
  for (const std::uint32_t terminal : nudgeable) {
    const auto nudge = std::find_if(settings.nudges.begin(), settings.nudges.end(),
                                    [&](const BenchNudge& n) { return n.terminal == terminal; });
    const bool by_leak = nudge != settings.nudges.end();
    nudge_gate.push_back(by_leak
                             ? std::optional<std::size_t>(static_cast<std::size_t>(gate_of(nudge->mu_ref)))
                             : std::nullopt);
    nudge_conductance.push_back(by_leak ? nudge->conductance : 0);
  }
}

// The destination of each number that is read.
void Bench::Impl::route_readings() {
  scanned.resize(scanners.size());
  metered.resize(voltmeters.size());
  reading_of.resize(read.size());
  const auto goes_to = [&](const BenchMeter& meter, const Destination& where) {
    switch (meter.kind) {
      case BenchMeter::Kind::scanner: scanned[meter.instrument].push_back({meter.channel, where}); return;
      case BenchMeter::Kind::voltmeter: metered[meter.instrument] = where; return;
      case BenchMeter::Kind::source_volts:
      case BenchMeter::Kind::source_amperes: sensed.emplace_back(meter.instrument, where); return;
    }
  };
  for (std::size_t r = 0; r < settings.readings.size(); ++r) {
    const BenchReading& reading = settings.readings[r];
    goes_to(reading.meter, {false, r});
    const auto at = std::find(read.begin(), read.end(), reading.terminal);
    if (at != read.end() && !reading.current) reading_of[static_cast<std::size_t>(at - read.begin())] = r;
  }
  for (std::size_t e = 0; e < settings.environment.size(); ++e)
    goes_to(settings.environment[e].meter, {true, e});
}

Bench::~Bench() {
  if (impl_ && impl_->levels.started()) make_safe(own_budget, SafeProfile::emergency);
}

Levels& Bench::levels() { return impl_->levels; }

std::vector<InstrumentIdentity> Bench::identities() const {
  std::vector<InstrumentIdentity> all = impl_->levels.identities();
  append_identities(impl_->scanners, all);
  append_identities(impl_->voltmeters, all);
  return all;
}

std::vector<StatedSettings> Bench::settings() {
  std::vector<StatedSettings> all = impl_->levels.settings();
  append_settings(impl_->scanners, all);
  append_settings(impl_->voltmeters, all);
  return all;
}

void Bench::start(std::stop_token stop) {
  Impl& bench = *impl_;
  if (bench.levels.started()) return;
  bench.last_safe = {};
  // Identify all instruments before any of them is set.
  bench.levels.connect();
  for (const auto& instrument : bench.scanners) instrument->connect();
  for (const auto& instrument : bench.voltmeters) instrument->connect();
  // A query that is not answered costs the link: no setting is lost yet.
  bench.levels.ask_calibrations();
  for (const auto& instrument : bench.scanners) instrument->ask_calibration();
  for (const auto& instrument : bench.voltmeters) instrument->ask_calibration();
  try {
    for (std::size_t s = 0; s < bench.scanned.size(); ++s) {
      std::vector<std::uint32_t> channels;
      for (const Impl::Scanned& scanned : bench.scanned[s]) channels.push_back(scanned.channel);
      if (!channels.empty()) bench.scanners[s]->configure(channels, bench.settings.scanners[s]);
    }
    for (std::size_t v = 0; v < bench.metered.size(); ++v) {
      if (bench.metered[v]) bench.voltmeters[v]->configure(bench.settings.voltmeters[v]);
    }
    bench.levels.start(stop);
    bench.check_queues();
    bench.input_moved = bench.gate_moved = true;
  } catch (const Cancelled&) {
    if (bench.levels.started()) make_safe(own_budget, SafeProfile::cancel);
    throw;
  } catch (...) {
    if (bench.levels.started()) make_safe(own_budget, SafeProfile::emergency);
    throw;
  }
}

void Bench::do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  Impl& bench = *impl_;
  bench.check(drives);
  start(stop);
  for (std::size_t i = 0; i < drives.size(); ++i) {
    if (stop.stop_requested()) throw Cancelled();
    const Drive& drive = drives[i];
    Relaxation row;
    try {
      for (;;) {
        row = {};
        if (!bench.settings.environment.empty()) bench.pause_while_outside(stop);
        bench.impose(drive, stop);
        row.timing.start = bench.clock->now();
        std::vector<Impl::Numbers> scans;
        if (const At* at = std::get_if<At>(&drive.observe))
          bench.sample(row, scans, *at, row.timing.start, stop);
        else bench.settle(row, scans, stop);
        bench.fill(row, scans, info_);
        row.timing.read = bench.clock->now();
        bench.check_queues();
        if (bench.settings.environment.empty() || bench.outside(scans.back()).empty()) break;
        // The environment left its limits during the relaxation: wait for it, and relax again.
      }
    } catch (const Cancelled&) {
      throw;
    } catch (...) {
      make_safe(own_budget, SafeProfile::emergency);
      // A pending answer must not be taken as the answer to a later query.
      for (const auto& scanner : bench.scanners) scanner->session().close();
      for (const auto& voltmeter : bench.voltmeters) voltmeter->session().close();
      throw;
    }
    sink(i, row);
  }
}

SafeReport Bench::do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) {
  // Nothing was switched on since the last call. If channels were stuck then, try again.
  if (!impl_->levels.started() && impl_->last_safe.safe) return impl_->last_safe;
  return impl_->last_safe = impl_->levels.make_safe(budget, profile);
}

}  // namespace ness::drivers
