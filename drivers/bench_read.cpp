// From readings to relaxations.
#include <algorithm>
#include <cmath>
#include <limits>

#include "bench_impl.hpp"
#include "ness/device/error.hpp"
#include "ness/laboratory/settling.hpp"
#include "number.hpp"

namespace ness::drivers {

// True if a free terminal is held: the relaxation is then made to measure its current.
bool Bench::Impl::holding() const {
  for (std::size_t c = 0; c < settings.channels.size(); ++c) {
    if (channel(c).on_demand && levels.is_on(c)) return true;
  }
  return false;
}

// All instruments are armed before the first is fetched, so the time is that of the slowest, not the sum.
Bench::Impl::Numbers Bench::Impl::read_all(bool sources) {
  Numbers numbers;
  numbers.readings.resize(settings.readings.size());
  numbers.environment.resize(settings.environment.size());
  numbers.sources.resize(levels.sources());
  // A source cannot measure while its output is off.
  std::vector<bool> armed(levels.sources(), false);
  for (std::size_t c = 0; c < settings.channels.size() && sources; ++c) {
    if (channel(c).kind == LevelChannel::Kind::source && levels.is_on(c)) armed[channel(c).instrument] = true;
  }
  for (std::size_t s = 0; s < scanners.size(); ++s) {
    if (!scanned[s].empty()) scanners[s]->arm();
  }
  for (std::size_t v = 0; v < voltmeters.size(); ++v) {
    if (metered[v]) voltmeters[v]->arm();
  }
  for (std::size_t s = 0; s < armed.size(); ++s) {
    if (armed[s]) levels.source(s).arm();
  }
  const auto put = [&](const Destination& to, const MeterReading& reading) {
    (to.environment ? numbers.environment : numbers.readings)[to.index] = reading;
  };
  for (std::size_t s = 0; s < scanners.size(); ++s) {
    if (scanned[s].empty()) continue;
    const auto got = scanners[s]->fetch();
    for (std::size_t i = 0; i < got.size(); ++i) put(scanned[s][i].destination, got[i]);
  }
  for (std::size_t v = 0; v < voltmeters.size(); ++v) {
    if (metered[v]) put(*metered[v], voltmeters[v]->fetch());
  }
  for (std::size_t s = 0; s < armed.size(); ++s) {
    if (armed[s]) numbers.sources[s] = levels.source(s).fetch();
  }
  for (const auto& [s, to] : sensed) {
    const BenchMeter& meter =
        to.environment ? settings.environment[to.index].meter : settings.readings[to.index].meter;
    if (!numbers.sources[s]) {
      put(to, {std::numeric_limits<double>::quiet_NaN(), false});
      continue;
    }
    put(to, {meter.kind == BenchMeter::Kind::source_volts ? numbers.sources[s]->volts
                                                          : numbers.sources[s]->amperes,
             numbers.sources[s]->over_range});
  }
  return numbers;
}

double Bench::Impl::potential(std::size_t r, double volts) const {
  const BenchReading& reading = settings.readings[r];
  return kT_of_volts((volts - reading.offset) / reading.gain);
}

// `scans`: the scans in the verdict's window, in order.
void Bench::Impl::settle(Relaxation& row, std::vector<Numbers>& scans, std::stop_token stop) {
  const double begin = clock->now();
  const bool every =
      holding() || read.empty() ||
      std::any_of(sensed.begin(), sensed.end(), [](const auto& s) { return !s.second.environment; });
  std::vector<SettleJudge> judges;
  for (std::size_t k = 0; k < read.size(); ++k) {
    SettleOptions options = settings.settle;
    const BenchReading& reading = settings.readings[*reading_of[k]];
    const double input = reading.tau_input < 0 ? options.tau_max : reading.tau_input,
                 gate = reading.tau_gate < 0 ? options.tau_max : reading.tau_gate;
    options.tau_max = std::max(input_moved ? input : 0, gate_moved ? gate : 0);
    judges.emplace_back(options);
  }
  std::vector<std::uint16_t> flags(read.size(), 0);
  for (;;) {
    const double before = clock->now();
    // The verdict's scan must include the measurements of the sources, so they start with the first scan that
    // can be the last. They are in every scan if they are judged or averaged.
    scans.push_back(read_all(every || scans.size() + 1 >= settings.settle.least));
    const Numbers& numbers = scans.back();
    const double time = (before + clock->now()) / 2;
    bool settled = true, readable = true;
    for (std::size_t k = 0; k < read.size(); ++k) {
      const MeterReading& reading = numbers.readings[*reading_of[k]];
      if (std::isnan(reading.volts)) {
        flags[k] = bit(reading.over_range ? Flag::over_range : Flag::invalid);
        readable = false;
        continue;
      }
      judges[k].add(time, potential(*reading_of[k], reading.volts));
      settled = settled && judges[k].verdict().settled;
    }
    if (!readable || settled) break;
    if (clock->now() - begin > settings.settle_timeout) {
      for (std::size_t k = 0; k < read.size(); ++k) {
        if (!judges[k].verdict().settled)
          flags[k] = static_cast<std::uint16_t>(bit(Flag::timed_out) | bit(Flag::drifting));
      }
      break;
    }
    if (stop.stop_requested()) throw Cancelled();
  }
  row.potential = Vector::Zero(static_cast<Eigen::Index>(read.size()));
  row.sigma = row.potential;
  double bound = 0;
  std::size_t window = 1;
  for (std::size_t k = 0; k < read.size(); ++k) {
    const SettleVerdict& verdict = judges[k].verdict();
    // an invalid reading elsewhere ended the scans too early
    if (!verdict.settled && flags[k] == 0) flags[k] = bit(Flag::invalid);
    row.potential[static_cast<Eigen::Index>(k)] = verdict.window > 0 ? verdict.mean : std::nan("");
    row.sigma[static_cast<Eigen::Index>(k)] = verdict.standard_error;
    bound = std::max(bound, verdict.bound);
    window = std::max(window, verdict.window);
  }
  scans.erase(scans.begin(), scans.end() - static_cast<std::ptrdiff_t>(std::min(window, scans.size())));
  row.timing.bound = bound;
  row.timing.settled = clock->now();
  if (settings.burst > 0) look_for_oscillation(flags);
  if (std::any_of(flags.begin(), flags.end(), [](std::uint16_t f) { return f != 0; }))
    row.quality.terminal = flags;
  else input_moved = gate_moved = false;
}

// A node that oscillates faster than a reading integrates looks constant in every average.
void Bench::Impl::look_for_oscillation(std::vector<std::uint16_t>& flags) {
  for (std::size_t k = 0; k < read.size(); ++k) {
    if (flags[k] != 0) continue;
    const BenchMeter& meter = settings.readings[*reading_of[k]].meter;
    std::vector<MeterReading> readings;
    switch (meter.kind) {
      case BenchMeter::Kind::scanner:
        readings = scanners[meter.instrument]->burst(meter.channel, settings.burst);
        break;
      case BenchMeter::Kind::voltmeter: readings = voltmeters[meter.instrument]->burst(settings.burst); break;
      case BenchMeter::Kind::source_volts:
      case BenchMeter::Kind::source_amperes: continue;  // source-meters have no burst
    }
    std::vector<double> burst;
    for (const MeterReading& reading : readings) {
      if (!std::isnan(reading.volts)) burst.push_back(potential(*reading_of[k], reading.volts));
    }
    if (burst.size() < settings.burst || oscillates(burst, settings.burst_noise))
      flags[k] = bit(Flag::oscillating);
  }
}

// Takes readings from a fixed time on, settled or not, so there is no bound.
void Bench::Impl::sample(Relaxation& row, std::vector<Numbers>& scans, const At& at, double start,
                         std::stop_token stop) {
  const auto nodes = static_cast<Eigen::Index>(read.size());
  Matrix readings(static_cast<Eigen::Index>(at.samples), nodes);
  std::vector<std::uint16_t> flags(read.size(), 0);
  for (std::uint32_t i = 0; i < at.samples; ++i) {
    // The first scan is at the given time. The others follow as fast as the instruments read, or at the
    // requested interval.
    const double due = start + at.time + i * at.every - clock->now();
    if (i == 0 || (at.every > 0 && due > 0)) clock->wait(due, stop);
    if (i == 0) row.timing.settled = clock->now();
    if (stop.stop_requested()) throw Cancelled();
    scans.push_back(read_all(holding() || i + 1 == at.samples));
    for (std::size_t k = 0; k < read.size(); ++k) {
      const MeterReading& reading = scans.back().readings[*reading_of[k]];
      if (std::isnan(reading.volts)) flags[k] = bit(reading.over_range ? Flag::over_range : Flag::invalid);
      readings(i, static_cast<Eigen::Index>(k)) = potential(*reading_of[k], reading.volts);
    }
  }
  row.potential = Vector::Zero(nodes);
  for (Eigen::Index i = 0; i < readings.rows(); ++i)
    row.potential += readings.row(i).transpose() / static_cast<double>(at.samples);
  if (at.samples > 1) {
    row.sigma.resize(nodes);
    for (Eigen::Index k = 0; k < nodes; ++k)
      row.sigma[k] = correlated_error({readings.col(k).data(), at.samples});
  }
  if (at.path) row.path = readings;
  row.timing.bound = std::numeric_limits<double>::infinity();
  if (std::any_of(flags.begin(), flags.end(), [](std::uint16_t f) { return f != 0; }))
    row.quality.terminal = flags;
}

// Currents into the network in units of current, [terminals], of one scan; NaN where not measured.
Vector Bench::Impl::currents(const Numbers& numbers, std::size_t terminals) const {
  Vector all =
      Vector::Constant(static_cast<Eigen::Index>(terminals), std::numeric_limits<double>::quiet_NaN());
  for (const auto& [terminal, c] : channel_of_terminal) {
    if (channel(c).kind != LevelChannel::Kind::source || !numbers.sources[channel(c).instrument]) continue;
    const double amperes = numbers.sources[channel(c).instrument]->amperes;
    if (injects(c))
      all[static_cast<Eigen::Index>(terminal)] =
          units_of_amperes(channel(c).gain * amperes + channel(c).offset);
    else if (channel(c).gain == 1) all[static_cast<Eigen::Index>(terminal)] = units_of_amperes(amperes);
  }
  // A current meter at the terminal is more accurate than the source behind its lead.
  for (std::size_t r = 0; r < settings.readings.size(); ++r) {
    const BenchReading& reading = settings.readings[r];
    if (reading.current)
      all[static_cast<Eigen::Index>(reading.terminal)] =
          units_of_amperes((numbers.readings[r].volts - reading.offset) / reading.gain);
  }
  return all;
}

// Means over the scans, as for the potentials.
void Bench::Impl::fill_currents(Relaxation& row, const std::vector<Numbers>& scans,
                                std::size_t terminals) const {
  const auto n = static_cast<Eigen::Index>(terminals);
  Vector sum = Vector::Zero(n), count = sum, squares = sum;
  std::vector<Vector> all;
  for (const Numbers& numbers : scans) all.push_back(currents(numbers, terminals));
  for (const Vector& one : all) {
    sum += one.array().isNaN().select(0, one);
    count += one.array().isNaN().select(Vector::Zero(n), 1);
  }
  if ((count.array() == 0).all()) return;
  row.current = sum.cwiseQuotient(count);  // 0 / 0 = NaN where nothing was measured
  for (const Vector& one : all) squares += one.array().isNaN().select(0, one - row.current).cwiseAbs2();
  row.current_sigma = (squares.array() / (count.array() * (count.array() - 1))).sqrt();  // one reading: NaN
  // Equal readings: the error is limited by their last digit.
  for (const auto& [terminal, c] : channel_of_terminal) {
    const bool metered_too =
        std::any_of(settings.readings.begin(), settings.readings.end(),
                    [t = terminal](const BenchReading& r) { return r.current && r.terminal == t; });
    if (channel(c).kind != LevelChannel::Kind::source || metered_too) continue;
    double& sigma = row.current_sigma[static_cast<Eigen::Index>(terminal)];
    const double step =
        levels.display(channel(c).instrument).amperes * (injects(c) ? std::abs(channel(c).gain) : 1);
    sigma = std::isnan(sigma) ? sigma : std::max(sigma, std::abs(units_of_amperes(step)) / std::sqrt(12.0));
  }
  if (row.current_sigma.array().isNaN().all()) row.current_sigma.resize(0);
}

// Fills in all measured quantities except potentials: levels, currents into the network, compliance,
// parameters, environment.
void Bench::Impl::fill(Relaxation& row, const std::vector<Numbers>& scans, const DeviceInfo& info) {
  for (std::size_t k = 0; k < read.size(); ++k) {
    const double mu = row.potential[static_cast<Eigen::Index>(k)];
    if (std::isfinite(mu)) last_volts[read[k]] = volts_of_kT(mu);
  }
  fill_currents(row, scans, info.terminals.size());
  const Numbers& numbers = scans.back();
  Vector inputs =
      Vector::Constant(static_cast<Eigen::Index>(clamped.size()), std::numeric_limits<double>::quiet_NaN());
  for (const auto& [terminal, c] : channel_of_terminal) {
    if (channel(c).kind != LevelChannel::Kind::source) continue;
    const std::size_t source = channel(c).instrument;
    bool limited = false;
    for (const Numbers& scan : scans) {
      if (!scan.sources[source]) continue;
      if (scan.sources[source]->in_compliance) row.quality.raise(Flag::in_compliance);
      if (scan.sources[source]->over_range) row.quality.raise(Flag::over_range);
      limited = limited || scan.sources[source]->in_compliance || scan.sources[source]->over_range;
    }
    if (limited) row.quality.limited.push_back(terminal);
    const auto position = std::find(clamped.begin(), clamped.end(), terminal);
    if (position != clamped.end() && numbers.sources[source])
      inputs[position - clamped.begin()] =
          kT_of_volts(channel(c).gain * numbers.sources[source]->volts + channel(c).offset);
  }
  for (std::size_t r = 0; r < settings.readings.size(); ++r) {
    const BenchReading& reading = settings.readings[r];
    if (reading.current) continue;
    if (const auto position = std::find(clamped.begin(), clamped.end(), reading.terminal);
        position != clamped.end())
      inputs[position - clamped.begin()] = potential(r, numbers.readings[r].volts);
  }
  if (inputs.size() > 0 && inputs.allFinite()) row.clamp_readback = inputs;
  row.theta_readback = parameters_now(info);
  if (settings.environment.empty()) return;
  row.environment.resize(static_cast<Eigen::Index>(settings.environment.size()));
  for (std::size_t e = 0; e < settings.environment.size(); ++e) {
    row.environment[static_cast<Eigen::Index>(e)] =
        settings.environment[e].offset + settings.environment[e].gain * numbers.environment[e].volts;
  }
}

// Empty, or the environment readings that are out of bounds. NaN counts as out of bounds.
std::string Bench::Impl::outside(const Numbers& numbers) const {
  for (std::size_t e = 0; e < settings.environment.size(); ++e) {
    const BenchEnvironment& entry = settings.environment[e];
    const double value = entry.offset + entry.gain * numbers.environment[e].volts;
    if (entry.pause.contains(value) || (std::isinf(entry.pause.low) && std::isinf(entry.pause.high)))
      continue;
    return "'" + entry.name + "' is " + number(value) + ' ' + entry.unit + "; expected " +
           number(entry.pause.low) + " to " + number(entry.pause.high) + ' ' + entry.unit;
  }
  return {};
}

void Bench::Impl::pause_while_outside(std::stop_token stop) {
  const double begin = clock->now();
  for (;;) {
    const std::string problem = outside(read_all(true));
    if (problem.empty()) return;
    if (clock->now() - begin > settings.pause_timeout) {
      throw InstrumentError("the surroundings", "environment", {},
                            problem + "; it stayed so for " + number(settings.pause_timeout) + " s");
    }
    clock->wait(settings.pause_every, stop);
    if (stop.stop_requested()) throw Cancelled();
  }
}

void Bench::Impl::check_queues() {
  levels.check_queues();
  for (const auto& scanner : scanners) scanner->check();
  for (const auto& voltmeter : voltmeters) voltmeter->check();
}

}  // namespace ness::drivers
