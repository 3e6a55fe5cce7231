// Measurements of the check of a wiring.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ness/device/error.hpp"
#include "wiring/check.hpp"

namespace ness::wiring {

Check::Check(Device& bench, Device& twin, const Vector& theta, const WiringCheckOptions& options,
             std::stop_token stop)
    : bench_(bench),
      exact_(twin),
      options_(options),
      stop_(stop),
      levels_(bench.info(), options_, theta),
      twin_(twin, bench.info(), options_, theta, stop),
      clamped_(bench.info().clamped()) {
  C_ = static_cast<Eigen::Index>(options_.channels.size());
  R_ = static_cast<Eigen::Index>(twin_.readings());
  const std::vector<std::uint32_t> read = bench.info().read();
  for (std::size_t r = 0; r < read.size(); ++r) {
    ReadingReport made;
    made.name = options_.readings.empty() ? bench.info().terminals[read[r]].name : options_.readings[r];
    report_.readings.push_back(std::move(made));
  }
  for (const WiringChannel& one : options_.channels) {
    ChannelReport made;
    made.name = one.name;
    report_.channels.push_back(std::move(made));
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

WiringReport Check::run() {
  relax(levels_.drive(safe_));
  step_options_.noise = single_readings().noise;
  // A row below its noise cannot be judged.
  const double entries = static_cast<double>(R_) * static_cast<double>(options_.points);
  options_.visible =
      std::max(options_.visible, 5 * step_options_.noise.maxCoeff() * std::sqrt(1.5 * entries / averaged));
  const Design design = choose_points(twin_, options_, stop_);
  if (design.points.empty()) {
    throw std::invalid_argument(
        "wiring check: no operating point within the tiny limits keeps every limit and has a steady state");
  }
  points_ = design.points;
  usual_ = twin_.rows(Cabling::right(options_.channels.size(), report_.readings.size()), points_);
  time_constants();
  at_rest();
  measure();
  relax(levels_.drive(safe_));
  judge();
  if (report_.passed()) holders();
  for (const auto& [i, j] : design.undecided) {
    const std::string &a = options_.channels[i].name, &b = options_.channels[j].name;
    report_.undecided.emplace_back(a, b);
    report_.warnings.push_back("within the tiny limits " + a + " and " + b +
                               " have the same effect: an exchange of their cables would not be detected");
  }
  return std::move(report_);
}

Relaxation Check::relax(const Drive& drive) {
  if (stop_.stop_requested()) throw Cancelled();
  Relaxation row;
  bench_.relax(
      {&drive, 1}, [&](std::size_t, const Relaxation& relaxation) { row = relaxation; }, stop_);
  ++report_.relaxations;
  for (Eigen::Index r = 0; r < R_; ++r) {
    const std::uint16_t flags =
        row.quality.terminal.empty() ? 0 : row.quality.terminal[static_cast<std::size_t>(r)];
    if (std::isfinite(row.potential[r]) && (flags & (bit(Flag::over_range) | bit(Flag::invalid))) == 0)
      continue;
    no_number_[static_cast<std::size_t>(r)] = true;
    row.potential[r] = 0;  // so that the others can continue; this reading is not used any more
  }
  if (row.quality.has(Flag::in_compliance)) find_limited(drive, row);
  return row;
}

// A source is in compliance if it does not reach its level.
void Check::find_limited(const Drive& drive, const Relaxation& row) {
  any_limited_ = true;
  if (row.clamp_readback.size() == 0) return;
  const Vector asked = drive.clamp.levels();
  for (std::size_t i = 0; i < clamped_.size(); ++i) {
    const auto at = static_cast<Eigen::Index>(i);
    for (std::size_t c = 0; c < limited_.size(); ++c) {
      const WiringChannel& one = options_.channels[c];
      if (one.terminal != clamped_[i]) continue;
      const double reach = std::abs(one.gain) * (one.tiny.high - one.tiny.low);
      if (std::abs(row.clamp_readback[at] - asked[at]) > 0.1 * std::abs(asked[at]) + 0.05 * reach)
        limited_[c] = true;
    }
  }
}

Check::Singles Check::single_readings() {
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
    else singles.inputs.setConstant(std::nan(""));  // not measured each time: use the setpoints instead
    current_ = row.current;
  }
  singles.noise = singles.noise.cwiseSqrt();
  return singles;
}

void Check::at_rest() {
  Drive drive = levels_.drive(safe_);
  drive.observe = At{std::max(wait_, options_.shortest), 1};
  relax(drive);
  const Singles singles = single_readings();
  step_options_.noise = singles.noise;
  // The twin is evaluated at the levels that the sources read back, so that errors of the sources do not
  // count as offsets of readings.
  Drive as_read = levels_.drive(safe_);
  if (singles.inputs.size() > 0 && singles.inputs.allFinite()) as_read.clamp = pattern_of(singles.inputs);
  const Vector expected = twin_.read({&as_read, 1}).front();
  for (Eigen::Index r = 0; r < R_; ++r) {
    reading(r).noise = singles.noise[r];
    reading(r).offset = singles.mean[r] - expected[r];
    reading(r).offset_error = singles.noise[r] / std::sqrt(static_cast<double>(options_.noise_readings));
  }
  // If all potentials are equal, no current flows. Otherwise the expected currents are not known here.
  const Vector asked = as_read.clamp.levels();
  const auto near = [](const Vector& potentials, double level) {
    return potentials.size() == 0 || (potentials.array() - level).abs().maxCoeff() < 0.1;
  };
  at_one_potential_ =
      expected.allFinite() && (asked.size() == 0 || (near(expected, asked[0]) && near(asked, asked[0])));
}

// Steps a source and a gate, each where the twin expects the largest response. If nothing responds, the next
// one is tried: the lead of the first may be open.
void Check::time_constants() {
  for (const bool source : {true, false}) {
    std::vector<std::pair<double, std::pair<Eigen::Index, std::size_t>>> strength;
    for (Eigen::Index c = 0; c < C_; ++c) {
      if (channel(c).terminal.has_value() != source) continue;
      std::pair<double, std::size_t> most{0, 0};
      for (std::size_t p = 0; p < points_.size(); ++p) {
        most = std::max(most, {usual_.block(c, static_cast<Eigen::Index>(p) * R_, 1, R_).norm(), p});
      }
      strength.push_back({most.first, {c, most.second}});
    }
    std::sort(strength.rbegin(), strength.rend());
    for (std::size_t k = 0; k < std::min<std::size_t>(3, strength.size()); ++k) {
      const auto [c, p] = strength[k].second;
      if (time_constants_of(c, p, strength[k].first)) break;
    }
  }
}

// False if no reading responds clearly.
bool Check::time_constants_of(Eigen::Index c, std::size_t point, double expected) {
  Vector up = points_[point], down = points_[point];
  up[c] += twin_.step()[c];
  down[c] -= twin_.step()[c];
  step_options_.known = std::max(wait_, options_.shortest);
  const Relax once = [this](const Drive& drive) { return relax(drive); };
  const Followed followed =
      follow_step(once, levels_.drive(down), levels_.drive(up), expected, step_options_);
  wait_ = std::max(wait_, 1.5 * followed.end);
  bool any = false;
  for (Eigen::Index r = 0; r < R_; ++r) {
    const Follow& follow = followed.reading[static_cast<std::size_t>(r)];
    if (!follow.clear || no_number_[static_cast<std::size_t>(r)]) continue;
    const double bound = follow.tau ? 0 : follow.bound;
    report_.steps.push_back({channel(c).name, reading(r).name, follow.change, follow.tau, bound});
    any = true;
  }
  return any;
}

void Check::measure() {
  measured_.rows = Matrix::Zero(C_, usual_.cols());
  measured_.variance = measured_.rows;
  for (std::size_t p = 0; p < points_.size(); ++p) {
    for (Eigen::Index c = 0; c < C_; ++c) measure_row(c, p);
  }
}

// Steps up, down and up again, once or more: a linear drift cancels.
void Check::measure_row(Eigen::Index c, std::size_t point) {
  const auto read = [&](const Vector& level) {
    Drive drive = levels_.drive(level);
    drive.observe = At{std::max(wait_, options_.shortest), averaged};
    return relax(drive);
  };
  const auto block = [&](Matrix& m) { return m.block(c, static_cast<Eigen::Index>(point) * R_, 1, R_); };
  Vector up = points_[point], down = points_[point];
  up[c] += twin_.step()[c];
  down[c] -= twin_.step()[c];
  const auto value = [&](double level) { return levels_.value(static_cast<std::size_t>(c), level); };
  Vector sum = Vector::Zero(R_);
  double slope = 0;
  bool has_current = false;
  std::size_t times = 0;
  Relaxation before = read(up);
  do {
    const Relaxation row = read(down);
    Relaxation after = read(up);
    sum += (before.potential + after.potential) / 2 - row.potential;
    has_current = row.current.size() > 0;
    if (channel(c).terminal && has_current && before.current.size() > 0 && after.current.size() > 0) {
      const auto t = static_cast<Eigen::Index>(*channel(c).terminal);
      slope +=
          ((before.current[t] + after.current[t]) / 2 - row.current[t]) / (value(up[c]) - value(down[c]));
    }
    before = std::move(after);
    ++times;
    const double repeats = averaged * static_cast<double>(times);
    block(measured_.rows) = (sum / static_cast<double>(times)).transpose();
    block(measured_.variance) = (step_options_.noise.cwiseAbs2() * (1.5 / repeats)).transpose();
  } while (times < options_.repeats && unclear(c, point));
  if (!channel(c).terminal || !has_current) return;
  entry(c).conductance =
      entry(c).conductance.value_or(0) + slope / static_cast<double>(times * points_.size());
}

// True if a response is expected, but is so far neither clearly present nor clearly absent.
bool Check::unclear(Eigen::Index c, std::size_t point) const {
  const auto at = static_cast<Eigen::Index>(point) * R_;
  const double expected = usual_.block(c, at, 1, R_).norm(),
               error = std::sqrt(measured_.variance.block(c, at, 1, R_).sum());
  const double strength = measured_.rows.block(c, at, 1, R_).norm();
  return expected > 3 * error && strength < 10 * error && expected < 30 * error;
}

}  // namespace ness::wiring
