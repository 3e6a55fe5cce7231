#include "ness/laboratory/wiring_check.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"
#include "wiring/wiring_rows.hpp"
#include "wiring/wiring_step.hpp"

namespace ness {

std::string WiringCheckOptions::problem(const DeviceInfo& bench) const {
  if (channels.empty()) return "no channels to move";
  for (const WiringChannel& channel : channels) {
    const std::string name = "channel '" + channel.name + "': ";
    if (channel.terminal.has_value() == channel.parameter.has_value()) return name + "it holds a terminal or sets a parameter, one of the two";
    if (channel.terminal && (*channel.terminal >= bench.terminals.size() || !bench.terminals[*channel.terminal].clamped)) return name + "terminal " + std::to_string(*channel.terminal) + " is no input";
    if (channel.parameter && *channel.parameter >= bench.parameters.size()) return name + "there is no parameter " + std::to_string(*channel.parameter);
    if (!(channel.tiny.low < channel.tiny.high) || !std::isfinite(channel.tiny.low) || !std::isfinite(channel.tiny.high)) return name + "its limits " + range_text(channel.tiny) + " leave no room to move";
    if (!channel.tiny.contains(channel.safe)) return name + "its safe level " + number_text(channel.safe) + " is outside " + range_text(channel.tiny);
    if (channel.gain == 0 || !std::isfinite(channel.gain) || !std::isfinite(channel.offset)) return name + "its level moves nothing";
  }
  for (const WiringHolder& holder : holders) {
    const std::string name = "holder '" + holder.name + "': ";
    if (holder.terminal >= bench.terminals.size() || !bench.terminals[holder.terminal].can_hold) return name + "terminal " + std::to_string(holder.terminal) + " cannot be held";
    if (!bench.terminals[holder.terminal].reads_potential) return name + "nothing reads its terminal " + std::to_string(holder.terminal);
    if (!(holder.step > 0) || !std::isfinite(holder.step)) return name + "a step of " + number_text(holder.step) + " kT; expected a finite number > 0";
  }
  if (!readings.empty() && readings.size() != bench.read().size()) return std::to_string(readings.size()) + " names for " + std::to_string(bench.read().size()) + " readings";
  if (bench.read().empty()) return "nothing is read";
  if (points == 0 || tries < points) return "expected at least one operating point, and as many tries";
  if (repeats == 0 || noise_readings < 4) return "expected at least one measurement of a row, and four readings for their noise";
  for (const auto& [name, share] : {std::pair{"gain tolerance", gain_tolerance}, {"pattern tolerance", pattern_tolerance}, {"roughness", roughness}, {"cross-talk", cross_talk}, {"visible", visible}}) {
    if (!(share > 0) || !std::isfinite(share)) return std::string(name) + " " + number_text(share) + "; expected a finite number > 0";
  }
  if (!(leakage >= 0)) return "leakage " + number_text(leakage) + "; expected a number >= 0";
  if (!(shortest > 0) || !(longest > shortest) || !std::isfinite(longest)) return "times after a step from " + number_text(shortest) + " to " + number_text(longest) + "; expected 0 < shortest < longest";
  return {};
}

const char* to_string(WiringVerdict verdict) {
  switch (verdict) {
    case WiringVerdict::right: return "right";
    case WiringVerdict::exchanged: return "exchanged";
    case WiringVerdict::wrong_sign: return "wrong sign";
    case WiringVerdict::wrong_gain: return "wrong gain";
    case WiringVerdict::silent: return "silent";
    case WiringVerdict::limited: return "in compliance";
    case WiringVerdict::cross_talk: return "cross-talk";
    case WiringVerdict::unexplained: return "unexplained";
    case WiringVerdict::not_judged: return "not judged";
    case WiringVerdict::not_visible: return "not visible";
  }
  return "";
}

double WiringReport::tau() const {
  double slowest = 0;
  for (const StepResponse& step : steps) slowest = std::max(slowest, step.tau.value_or(0));
  return slowest;
}

double WiringReport::tau_bound() const {
  double largest = 0;
  for (const StepResponse& step : steps) largest = std::max(largest, step.tau ? 0 : step.bound);
  return largest;
}

double WiringReport::noise() const {
  double largest = 0;
  for (const ReadingReport& reading : readings) largest = std::max(largest, reading.noise);
  return largest;
}

namespace {

using namespace wiring;

std::string percent(double share) { return number_text(std::round(share * 1000) / 10) + " %"; }
std::string rounded(double x) {
  const double scale = x == 0 ? 1 : std::pow(10.0, 2 - std::floor(std::log10(std::abs(x))));
  return number_text(std::round(x * scale) / scale);
}

class Check {
 public:
  Check(Device& bench, Device& twin, const Vector& theta, const WiringCheckOptions& options, std::stop_token stop)
      : bench_(bench), exact_(twin), options_(options), stop_(stop), levels_(bench.info(), options_, theta), twin_(twin, bench.info(), options_, theta, stop), clamped_(bench.info().clamped()) {
    C_ = static_cast<Eigen::Index>(options_.channels.size());
    R_ = static_cast<Eigen::Index>(twin_.readings());
    const std::vector<std::uint32_t> read = bench.info().read();
    for (std::size_t r = 0; r < read.size(); ++r) {
      ReadingReport reading;
      reading.name = options_.readings.empty() ? bench.info().terminals[read[r]].name : options_.readings[r];
      report_.readings.push_back(std::move(reading));
    }
    for (const WiringChannel& channel : options_.channels) {
      ChannelReport entry;
      entry.name = channel.name;
      report_.channels.push_back(std::move(entry));
    }
    safe_.resize(C_);
    for (Eigen::Index c = 0; c < C_; ++c) safe_[c] = channel(c).safe;
    no_number_.assign(static_cast<std::size_t>(R_), false);
    limited_.assign(static_cast<std::size_t>(C_), false);
    step_options_.shortest = options_.shortest;
    step_options_.longest = options_.longest;
    step_options_.noise = Vector::Zero(R_);
    step_options_.samples = averaged;
  }

  WiringReport run() {
    relax(levels_.drive(safe_));
    step_options_.noise = single_readings().noise;
    // Whatever is below the noise of a row says nothing.
    options_.visible = std::max(options_.visible, 5 * step_options_.noise.maxCoeff() * std::sqrt(1.5 * static_cast<double>(R_) * static_cast<double>(options_.points) / averaged));
    const Design design = choose_points(twin_, options_, stop_);
    if (design.points.empty()) throw std::invalid_argument("wiring check: no operating point within the tiny limits keeps every limit and has a steady state");
    points_ = design.points;
    usual_ = twin_.rows(World::right(options_.channels.size(), report_.readings.size()), points_);
    time_constants();
    at_rest();
    measure();
    relax(levels_.drive(safe_));
    judge();
    if (report_.passed()) holders();
    for (const auto& [i, j] : design.undecided) {
      const std::string &a = options_.channels[i].name, &b = options_.channels[j].name;
      report_.undecided.emplace_back(a, b);
      report_.warnings.push_back("within the tiny limits " + a + " and " + b + " answer alike: were their cables exchanged, it would not be seen");
    }
    return std::move(report_);
  }

 private:
  const WiringChannel& channel(Eigen::Index c) const { return options_.channels[static_cast<std::size_t>(c)]; }

  // --- measuring -------------------------------------------------------------------------------------------------------------------

  Relaxation relax(const Drive& drive) {
    if (stop_.stop_requested()) throw Cancelled();
    Relaxation row;
    bench_.relax({&drive, 1}, [&](std::size_t, const Relaxation& relaxation) { row = relaxation; }, stop_);
    ++report_.relaxations;
    for (Eigen::Index r = 0; r < R_; ++r) {
      const std::uint16_t flags = row.quality.terminal.empty() ? 0 : row.quality.terminal[static_cast<std::size_t>(r)];
      if (std::isfinite(row.potential[r]) && (flags & (bit(Flag::over_range) | bit(Flag::invalid))) == 0) continue;
      no_number_[static_cast<std::size_t>(r)] = true;
      row.potential[r] = 0;  // so that others can go on; what this one says counts no more
    }
    if (row.quality.has(Flag::in_compliance)) find_limited(drive, row);
    return row;
  }

  // Whose level is not reached is who is in compliance.
  void find_limited(const Drive& drive, const Relaxation& row) {
    any_limited_ = true;
    if (row.clamp_readback.size() == 0) return;
    const Vector asked = drive.clamp.levels();
    for (std::size_t i = 0; i < clamped_.size(); ++i) {
      const auto at = static_cast<Eigen::Index>(i);
      for (std::size_t c = 0; c < limited_.size(); ++c) {
        const WiringChannel& channel = options_.channels[c];
        if (channel.terminal != clamped_[i]) continue;
        const double reach = std::abs(channel.gain) * (channel.tiny.high - channel.tiny.low);
        if (std::abs(row.clamp_readback[at] - asked[at]) > 0.1 * std::abs(asked[at]) + 0.05 * reach) limited_[c] = true;
      }
    }
  }

  // Readings one after another at rest: their scatter from one to the next, in which a slow drift does not show; their mean; and what the sources measured.
  struct Singles {
    Vector noise, mean, inputs;
  };
  Singles single_readings() {
    Drive drive = levels_.drive(safe_);
    drive.observe = At{options_.shortest, 1};
    Singles singles;
    Vector last;
    const double n = static_cast<double>(options_.noise_readings);
    for (std::size_t i = 0; i < options_.noise_readings; ++i) {
      const Relaxation row = relax(drive);
      if (i == 0) {
        singles.noise = singles.mean = Vector::Zero(R_);
        singles.inputs = Vector::Zero(row.clamp_readback.size());
      } else {
        singles.noise += (row.potential - last).cwiseAbs2() / (2 * (n - 1));
      }
      last = row.potential;
      singles.mean += row.potential / n;
      if (row.clamp_readback.size() == singles.inputs.size()) singles.inputs += row.clamp_readback / n;
      else singles.inputs.setConstant(std::nan(""));  // not measured each time: then the levels asked for have to do
      current_ = row.current;
    }
    singles.noise = singles.noise.cwiseSqrt();
    return singles;
  }

  void at_rest() {
    Drive drive = levels_.drive(safe_);
    drive.observe = At{std::max(wait_, options_.shortest), 1};
    relax(drive);
    const Singles singles = single_readings();
    step_options_.noise = singles.noise;
    // The twin at the levels the sources say they have: what a source is off by is no reading's offset.
    Drive as_read = levels_.drive(safe_);
    if (singles.inputs.size() > 0 && singles.inputs.allFinite()) as_read.clamp = pattern_of(singles.inputs);
    const Vector expected = twin_.read({&as_read, 1}).front();
    for (Eigen::Index r = 0; r < R_; ++r) {
      ReadingReport& reading = report_.readings[static_cast<std::size_t>(r)];
      reading.noise = singles.noise[r];
      reading.offset = singles.mean[r] - expected[r];
      reading.offset_error = singles.noise[r] / std::sqrt(static_cast<double>(options_.noise_readings));
    }
    // Where all is at one potential no current flows; elsewhere the twin's currents are not known here.
    const Vector asked = as_read.clamp.levels();
    still_ = expected.allFinite() && (asked.size() == 0 || ((expected.array() - asked[0]).abs().maxCoeff() < 0.1 && (asked.array() - asked[0]).abs().maxCoeff() < 0.1));
  }

  // A source's and a gate's step, each where the twin expects most of it. Where nothing comes of it the next one is tried: it may be the one
  // whose lead is open.
  void time_constants() {
    const Relax once = [this](const Drive& d) { return relax(d); };
    for (const bool source : {true, false}) {
      std::vector<std::pair<double, std::pair<Eigen::Index, std::size_t>>> strength;
      for (Eigen::Index c = 0; c < C_; ++c) {
        if (channel(c).terminal.has_value() != source) continue;
        std::pair<double, std::size_t> most{0, 0};
        for (std::size_t p = 0; p < points_.size(); ++p) most = std::max(most, {usual_.block(c, static_cast<Eigen::Index>(p) * R_, 1, R_).norm(), p});
        strength.push_back({most.first, {c, most.second}});
      }
      std::sort(strength.rbegin(), strength.rend());
      for (std::size_t k = 0; k < std::min<std::size_t>(3, strength.size()); ++k) {
        const auto [c, p] = strength[k].second;
        Vector up = points_[p], down = points_[p];
        up[c] += twin_.step()[c];
        down[c] -= twin_.step()[c];
        step_options_.known = std::max(wait_, options_.shortest);
        const Followed followed = follow_step(once, levels_.drive(down), levels_.drive(up), strength[k].first, step_options_);
        wait_ = std::max(wait_, 1.5 * followed.end);
        bool any = false;
        for (Eigen::Index r = 0; r < R_; ++r) {
          const Follow& follow = followed.reading[static_cast<std::size_t>(r)];
          if (!follow.clear || no_number_[static_cast<std::size_t>(r)]) continue;
          report_.steps.push_back({channel(c).name, report_.readings[static_cast<std::size_t>(r)].name, follow.change, follow.tau, follow.tau ? 0 : follow.bound});
          any = true;
        }
        if (any) break;
      }
    }
  }

  void measure() {
    measured_.rows = Matrix::Zero(C_, usual_.cols());
    measured_.variance = measured_.rows;
    const Observe settled = At{std::max(wait_, options_.shortest), averaged};
    const auto read = [&](const Vector& level, Relaxation& row) {
      Drive drive = levels_.drive(level);
      drive.observe = settled;
      row = relax(drive);
    };
    std::vector<double> conductance(static_cast<std::size_t>(C_), 0);
    for (std::size_t p = 0; p < points_.size(); ++p) {
      for (Eigen::Index c = 0; c < C_; ++c) {
        Vector up = points_[p], down = points_[p];
        up[c] += twin_.step()[c];
        down[c] -= twin_.step()[c];
        Relaxation row, before;
        Vector sum = Vector::Zero(R_);
        double slope = 0;
        std::size_t times = 0;
        read(up, before);
        const auto block = [&](Matrix& m) { return m.block(c, static_cast<Eigen::Index>(p) * R_, 1, R_); };
        // Up, down and up again: a drift along the way cancels.
        do {
          Relaxation after;
          read(down, row);
          read(up, after);
          sum += (before.potential + after.potential) / 2 - row.potential;
          if (channel(c).terminal && row.current.size() > 0 && before.current.size() > 0 && after.current.size() > 0) {
            const auto t = static_cast<Eigen::Index>(*channel(c).terminal);
            slope += ((before.current[t] + after.current[t]) / 2 - row.current[t]) / (levels_.value(static_cast<std::size_t>(c), up[c]) - levels_.value(static_cast<std::size_t>(c), down[c]));
          }
          before = std::move(after);
          ++times;
          block(measured_.rows) = (sum / static_cast<double>(times)).transpose();
          block(measured_.variance) = (step_options_.noise.cwiseAbs2() * (1.5 / (averaged * static_cast<double>(times)))).transpose();
        } while (times < options_.repeats && unclear(c, p));
        conductance[static_cast<std::size_t>(c)] += slope / static_cast<double>(times * points_.size());
        if (channel(c).terminal && row.current.size() > 0) report_.channels[static_cast<std::size_t>(c)].conductance = conductance[static_cast<std::size_t>(c)];
      }
    }
  }

  // Expected to be seen, and neither clearly there nor clearly not.
  bool unclear(Eigen::Index c, std::size_t p) const {
    const auto at = static_cast<Eigen::Index>(p) * R_;
    const double expected = usual_.block(c, at, 1, R_).norm(), error = std::sqrt(measured_.variance.block(c, at, 1, R_).sum());
    const double strength = measured_.rows.block(c, at, 1, R_).norm();
    return expected > 3 * error && strength < 10 * error && expected < 30 * error;
  }

  // --- judging ---------------------------------------------------------------------------------------------------------------------

  double row_norm(const Matrix& rows, Eigen::Index c, const std::vector<bool>& reading) const {
    double squares = 0;
    for (Eigen::Index k = 0; k < rows.cols(); ++k) squares += reading[static_cast<std::size_t>(k % R_)] ? rows(c, k) * rows(c, k) : 0;
    return std::sqrt(squares);
  }

  void fail(const std::string& line) { report_.failures.push_back(line); }

  void judge() {
    measured_.channel.assign(static_cast<std::size_t>(C_), true);
    measured_.reading.assign(static_cast<std::size_t>(R_), true);
    bool hidden = false;  // something is so wrong that what others answer is not what the twin says, whatever their wiring

    const auto channel_is = [&](Eigen::Index c, WiringVerdict verdict) {
      report_.channels[static_cast<std::size_t>(c)].verdict = verdict;
      measured_.channel[static_cast<std::size_t>(c)] = false;
    };
    const auto reading_is = [&](Eigen::Index r, WiringVerdict verdict) {
      report_.readings[static_cast<std::size_t>(r)].verdict = verdict;
      measured_.reading[static_cast<std::size_t>(r)] = false;
    };

    if (any_limited_ && std::none_of(limited_.begin(), limited_.end(), [](bool l) { return l; })) {
      hidden = true;
      fail("a source is in compliance at tiny levels: is a lead shorted?");
    }
    for (Eigen::Index c = 0; c < C_; ++c) {
      const auto& conductance = report_.channels[static_cast<std::size_t>(c)].conductance;
      const bool shorted = conductance && *conductance > options_.short_conductance;
      if (!limited_[static_cast<std::size_t>(c)] && !shorted) continue;
      hidden = true;
      channel_is(c, WiringVerdict::limited);
      fail(channel(c).name + (limited_[static_cast<std::size_t>(c)] ? " is in compliance at tiny levels" : " sees a conductance of " + rounded(*conductance) + " units of current per kT") + ": is its lead shorted?");
    }
    for (Eigen::Index r = 0; r < R_; ++r) {
      if (!no_number_[static_cast<std::size_t>(r)]) continue;
      reading_is(r, WiringVerdict::limited);
      fail(report_.readings[static_cast<std::size_t>(r)].name + " gives no number within its range");
    }

    // Readings that nothing moves, unless nothing moves any.
    std::vector<Eigen::Index> mute;
    for (Eigen::Index r = 0; r < R_; ++r) {
      if (!measured_.reading[static_cast<std::size_t>(r)]) continue;
      double expected = 0, strength = 0, variance = 0;
      for (Eigen::Index k = r; k < usual_.cols(); k += R_) {
        expected += usual_.col(k).squaredNorm();
        strength += measured_.rows.col(k).squaredNorm();
        variance += measured_.variance.col(k).sum();
      }
      if (expected > 4 * options_.visible * options_.visible && std::sqrt(std::max(0.0, strength - variance)) < nothing * std::sqrt(expected)) mute.push_back(r);
    }
    if (static_cast<Eigen::Index>(mute.size()) == std::count(measured_.reading.begin(), measured_.reading.end(), true)) mute.clear();
    for (const Eigen::Index r : mute) {
      hidden = true;
      reading_is(r, WiringVerdict::silent);
      fail(report_.readings[static_cast<std::size_t>(r)].name + " answers to nothing: is its lead open, or its node shorted?");
    }
    const std::vector<bool> all(static_cast<std::size_t>(R_), true);
    std::vector<Eigen::Index> silent;
    for (Eigen::Index c = 0; c < C_; ++c) {
      ChannelReport& entry = report_.channels[static_cast<std::size_t>(c)];
      entry.strength = row_norm(measured_.rows, c, measured_.reading);
      entry.expected = row_norm(usual_, c, measured_.reading);
      entry.error = std::sqrt(measured_.variance.row(c).sum());
      if (!measured_.channel[static_cast<std::size_t>(c)]) continue;
      if (entry.expected < options_.visible) {
        const bool ever = row_norm(usual_, c, all) >= options_.visible;
        channel_is(c, ever ? WiringVerdict::not_judged : WiringVerdict::not_visible);
        if (!ever) report_.warnings.push_back("within the tiny limits " + entry.name + " moves nothing that is read: its cable is not checked");
        continue;
      }
      if (std::sqrt(std::max(0.0, entry.strength * entry.strength - entry.error * entry.error)) < nothing * entry.expected) silent.push_back(c);
    }

    World world = World::right(options_.channels.size(), report_.readings.size());
    Matrix expected = usual_;
    if (!hidden) {
      world = explain(twin_, options_, points_, measured_);
      expected = seen(twin_.rows(world, points_), world);
      // What moves nothing may be in the place of something weak: where that explains all rows, each by its own length. If not, its lead
      // is open, and nobody stands where the twin says.
      const Misfit left = misfit(measured_, expected, usual_, options_);
      bool explained = true;
      for (Eigen::Index c = 0; c < C_; ++c) {
        const Fit& row = left.row[static_cast<std::size_t>(c)];
        explained = explained && (!measured_.channel[static_cast<std::size_t>(c)] || (row.misfit <= 4 * options_.roughness * options_.roughness && as_weak(expected, c, row.gain)));
      }
      hidden = !silent.empty() && !explained;
    }
    if (hidden) {
      expected = usual_;
      for (const Eigen::Index c : silent) {
        // What acts on a mute reading's node alone may be right.
        if (!mute.empty()) {
          channel_is(c, WiringVerdict::not_judged);
          continue;
        }
        channel_is(c, WiringVerdict::silent);
        const ChannelReport& entry = report_.channels[static_cast<std::size_t>(c)];
        const bool dead = entry.conductance && *entry.conductance < options_.open_conductance;
        fail(entry.name + " moves nothing" + (dead ? ", and no current flows" : "") + ": is its lead open?");
      }
    } else {
      tell_channels(world);
      tell_readings(world);
    }
    tell_rows(expected, hidden);
    // Whatever was not judged did not pass.
    const auto not_judged = std::find_if(report_.channels.begin(), report_.channels.end(), [](const ChannelReport& c) { return c.verdict == WiringVerdict::not_judged; });
    if (report_.passed() && not_judged != report_.channels.end()) fail(not_judged->name + " could not be judged");
    // Behind any other mistake a current may be where it has to be.
    if (report_.passed()) leakage();
  }

  // True if a row is about as weak as this.
  bool as_weak(const Matrix& expected, Eigen::Index c, double gain) const {
    double difference = 0, longest = 0;
    for (Eigen::Index k = 0; k < expected.cols(); ++k) {
      if (!measured_.reading[static_cast<std::size_t>(k % R_)]) continue;
      const double row = measured_.rows(c, k), what = gain * expected(c, k);
      difference += (row - what) * (row - what);
      longest += std::max(row * row, what * what);
    }
    return std::sqrt(difference) <= options_.pattern_tolerance * std::sqrt(longest) + 5 * std::sqrt(measured_.variance.row(c).sum());
  }

  void leakage() {
    if (options_.leakage == 0 || current_.size() == 0 || !still_) return;
    for (Eigen::Index c = 0; c < C_; ++c) {
      if (!channel(c).terminal) continue;
      const double current = current_[static_cast<Eigen::Index>(*channel(c).terminal)];
      if (!(std::abs(current) > options_.leakage)) continue;
      if (report_.channels[static_cast<std::size_t>(c)].verdict == WiringVerdict::limited) continue;
      fail(channel(c).name + " leaks: at rest a current of " + rounded(current) + " units flows into it, and at most " + rounded(options_.leakage) + " may");
    }
  }

  // What a holder does to each reading, and what it takes at its own terminal: the means of a step up and one down.
  struct Held {
    Vector moved;          // [n_read] kT per kT
    double conductance = std::numeric_limits<double>::quiet_NaN();  // units of current per kT
    bool limited = false;
  };
  template <class Relaxing>
  static Held hold(const WiringHolder& holder, double rest, Drive drive, const Relaxing& once) {
    drive.holds = {{holder.terminal, rest + holder.step}};
    const Relaxation up = once(drive);
    drive.holds = {{holder.terminal, rest - holder.step}};
    const Relaxation down = once(drive);
    Held held;
    held.moved = (up.potential - down.potential) / (2 * holder.step);
    if (up.current.size() > 0 && down.current.size() > 0) held.conductance = (up.current[holder.terminal] - down.current[holder.terminal]) / (2 * holder.step);
    held.limited = up.quality.has(Flag::in_compliance) || down.quality.has(Flag::in_compliance);
    return held;
  }

  void holders() {
    if (options_.holders.empty()) return;
    constexpr double slack = 0.1;  // of a held terminal's step: leads, and errors of source and meter
    const std::vector<std::uint32_t> read = bench_.info().read(), exact_read = exact_.info().read();
    Drive drive = levels_.drive(safe_), simulated = drive;
    drive.observe = At{std::max(wait_, options_.shortest), averaged};
    simulated.start = Rest{};
    const Vector rest = relax(drive).potential, exact_rest = exact_.relax(simulated).potential;
    for (const WiringHolder& holder : options_.holders) {
      const auto own = std::find(read.begin(), read.end(), holder.terminal) - read.begin();
      const auto exact_own = std::find(exact_read.begin(), exact_read.end(), holder.terminal) - exact_read.begin();
      const Held held = hold(holder, rest[own], drive, [this](const Drive& d) { return relax(d); });
      const Held expected = hold(holder, exact_rest[exact_own], simulated, [this](const Drive& d) { return exact_.relax(d); });
      ChannelReport entry;
      entry.name = holder.name;
      entry.strength = 2 * holder.step * held.moved.norm();
      entry.expected = 2 * holder.step * expected.moved.norm();
      entry.error = std::sqrt(2 * step_options_.noise.squaredNorm() / averaged);
      entry.gain = held.moved[own];
      if (std::isfinite(held.conductance)) entry.conductance = held.conductance;
      Eigen::Index nearest = 0;  // to a whole step
      (held.moved.array() - 1).abs().minCoeff(&nearest);
      const auto is = [&](WiringVerdict verdict, const std::string& what) {
        entry.verdict = verdict;
        fail(holder.name + ' ' + what);
      };
      // Near NDC a conductance is a small difference: there a share of it says nothing.
      const bool differs = std::abs(held.conductance - expected.conductance) > options_.gain_tolerance * std::abs(expected.conductance) + options_.roughness;
      if (held.limited) {
        is(WiringVerdict::limited, "is in compliance at tiny levels: is its lead shorted?");
      } else if (nearest != own && std::abs(held.moved[nearest] - 1) <= slack) {
        entry.of = report_.readings[static_cast<std::size_t>(nearest)].name;
        is(WiringVerdict::exchanged, "holds what " + entry.of + " reads: are cables exchanged?");
      } else if (std::abs(held.moved[own]) < nothing) {
        is(WiringVerdict::silent, "holds nothing: is its lead open?");
      } else if (std::abs(held.moved[own] - 1) > slack) {
        is(WiringVerdict::wrong_gain, "moves its own node " + rounded(held.moved[own]) + " times as much as expected");
      } else if (differs && held.conductance * expected.conductance < 0) {
        is(WiringVerdict::wrong_sign, "measures its current with the wrong sign");
      } else if (differs) {
        is(WiringVerdict::wrong_gain, "sees a conductance of " + rounded(held.conductance) + " units of current per kT; the simulated network's is " + rounded(expected.conductance));
      }
      std::vector<std::pair<double, std::size_t>> answered;
      for (std::size_t r = 0; r < read.size(); ++r) {
        const double moved = std::abs(held.moved[static_cast<Eigen::Index>(r)]);
        if (moved > slack && 2 * holder.step * moved > 5 * entry.error) answered.emplace_back(moved, r);
      }
      std::sort(answered.rbegin(), answered.rend());
      for (const auto& [moved, r] : answered) entry.answered.push_back(report_.readings[r].name);
      report_.channels.push_back(std::move(entry));
    }
    relax(levels_.drive(safe_));
  }

  // What the cables turned out to be.
  void tell_channels(const World& world) {
    const auto n = static_cast<std::size_t>(C_);
    std::vector<std::size_t> place(n);  // of each cable
    for (std::size_t j = 0; j < n; ++j) place[world.source[j]] = j;
    std::vector<bool> told(n, false);
    for (std::size_t i = 0; i < n; ++i) {
      ChannelReport& entry = report_.channels[i];
      if (place[i] != i) {
        entry.verdict = WiringVerdict::exchanged;
        entry.of = options_.channels[place[i]].name;
        if (told[i]) continue;
        std::string line = entry.name + " answers like " + entry.of;
        for (std::size_t k = place[i]; k != i; k = place[k]) {
          told[k] = true;
          line += (place[k] == i ? ", and " : ", ") + options_.channels[k].name + " like " + options_.channels[place[k]].name;
        }
        fail(line + ": are their cables exchanged?");
      }
      const double factor = world.factor[static_cast<Eigen::Index>(place[i])];
      if (factor == 1) continue;
      if (entry.verdict == WiringVerdict::right) entry.verdict = factor < 0 ? WiringVerdict::wrong_sign : WiringVerdict::wrong_gain;
      fail(entry.name + (factor < 0 ? " has the wrong sign" : "") + (factor == -1 ? "" : std::string(factor < 0 ? ", and" : "") + " moves its readings " + rounded(std::abs(factor)) + " times as much as expected"));
    }
  }

  void tell_readings(const World& world) {
    for (std::size_t r = 0; r < world.meter.size(); ++r) {
      ReadingReport& entry = report_.readings[r];
      const std::size_t node = world.meter[r];
      if (node != r) {
        entry.verdict = WiringVerdict::exchanged;
        entry.of = report_.readings[node].name;
        if (world.meter[node] == r) {
          if (r < node) fail(entry.name + " answers like " + entry.of + ", and " + entry.of + " like " + entry.name + ": are their cables exchanged?");
        } else {
          fail(entry.name + " answers like " + entry.of + ": are cables exchanged?");
        }
      }
      const double factor = world.meter_factor[static_cast<Eigen::Index>(r)];
      if (factor == 1) continue;
      if (entry.verdict == WiringVerdict::right) entry.verdict = factor < 0 ? WiringVerdict::wrong_sign : WiringVerdict::wrong_gain;
      fail(entry.name + " reads " + (factor < 0 ? "with the wrong sign" : "") + (factor == -1 ? "" : std::string(factor < 0 ? ", and " : "") + rounded(std::abs(factor)) + " times as much as expected"));
    }
  }

  // Each row beside what is expected of it, with all mistakes that were found.
  void tell_rows(const Matrix& expected, bool hidden) {
    const Misfit found = misfit(measured_, expected, usual_, options_);
    std::vector<std::string> strange;
    for (Eigen::Index c = 0; c < C_; ++c) {
      ChannelReport& entry = report_.channels[static_cast<std::size_t>(c)];
      const Fit& row = found.row[static_cast<std::size_t>(c)];
      double re = 0, ee = 0, largest = 0, usual = 0;
      std::vector<std::pair<double, Eigen::Index>> strength;
      for (Eigen::Index r = 0; r < R_; ++r) {
        double moved = 0, error = 0;
        for (Eigen::Index k = r; k < usual_.cols(); k += R_) {
          if (measured_.reading[static_cast<std::size_t>(r)]) {
            re += measured_.rows(c, k) * usual_(c, k);
            ee += usual_(c, k) * usual_(c, k);
            usual = std::max(usual, std::abs(usual_(c, k)));
          }
          moved += measured_.rows(c, k) * measured_.rows(c, k);
          error += measured_.variance(c, k);
          largest = std::max(largest, std::abs(measured_.rows(c, k)));
        }
        if (moved > 25 * error) strength.emplace_back(std::sqrt(moved), r);
      }
      std::sort(strength.rbegin(), strength.rend());
      for (const auto& [moved, r] : strength) {
        if (moved > 0.1 * strength.front().first) entry.answered.push_back(report_.readings[static_cast<std::size_t>(r)].name);
      }
      entry.gain = ee > 0 ? re / ee : 0;
      entry.misfit = std::sqrt(row.misfit);
      if (!measured_.channel[static_cast<std::size_t>(c)] || entry.verdict != WiringVerdict::right) continue;
      if (row.misfit > options_.pattern_tolerance * options_.pattern_tolerance) {
        entry.verdict = hidden ? WiringVerdict::not_judged : WiringVerdict::unexplained;
        if (!hidden) strange.push_back(entry.name);
        continue;
      }
      if (hidden) continue;
      // A reading that hardly should answer, and does.
      for (Eigen::Index r = 0; r < R_; ++r) {
        if (!measured_.reading[static_cast<std::size_t>(r)]) continue;
        double beyond = 0, should = 0;
        for (Eigen::Index k = r; k < usual_.cols(); k += R_) {
          beyond = std::max(beyond, std::abs(measured_.rows(c, k) - row.gain * expected(c, k)) - 5 * std::sqrt(measured_.variance(c, k)));
          should = std::max(should, std::abs(expected(c, k)));
        }
        if (should > options_.cross_talk * usual || beyond <= options_.cross_talk * largest || beyond < options_.visible) continue;
        entry.verdict = WiringVerdict::cross_talk;
        fail(report_.readings[static_cast<std::size_t>(r)].name + " answers to " + entry.name + ", " + percent(beyond / largest) + " of the strongest answer beyond what it should: is there a path between their leads?");
      }
    }
    if (strange.empty()) return;
    std::string names = strange.front();
    for (std::size_t i = 1; i < strange.size(); ++i) names += (i + 1 == strange.size() ? " and " : ", ") + strange[i];
    fail(names + (strange.size() == 1 ? " answers" : " answer") + " as neither " + (strange.size() == 1 ? "it" : "they") + " nor any other channel should");
  }

  static constexpr std::uint32_t averaged = 4;  // of which a settled one is the mean

  Device &bench_, &exact_;
  WiringCheckOptions options_;
  std::stop_token stop_;
  Levels levels_;  // as drives of the bench
  Twin twin_;
  std::vector<std::uint32_t> clamped_;
  Eigen::Index C_ = 0, R_ = 0;
  WiringReport report_;
  StepOptions step_options_;
  Vector safe_, current_;
  std::vector<Vector> points_;
  Matrix usual_;  // what the twin expects
  Measured measured_;
  double wait_ = 0;
  bool still_ = false, any_limited_ = false;
  std::vector<bool> no_number_, limited_;
};

}  // namespace

WiringReport check_wiring(Device& bench, Device& twin, const Vector& theta, const WiringCheckOptions& options, std::stop_token stop) {
  if (const std::string problem = options.problem(bench.info()); !problem.empty()) throw std::invalid_argument("wiring check: " + problem);
  if (theta.size() != static_cast<Eigen::Index>(bench.info().parameters.size()) || theta.size() != static_cast<Eigen::Index>(twin.info().parameters.size())) {
    throw std::invalid_argument("wiring check: " + std::to_string(theta.size()) + " parameters at rest; the bench has " + std::to_string(bench.info().parameters.size()) + ", the twin " + std::to_string(twin.info().parameters.size()));
  }
  return Check(bench, twin, theta, options, stop).run();
}

}  // namespace ness
