#include "wiring/wiring_rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "ness/device/error.hpp"

namespace ness::wiring {

Cabling Cabling::right(std::size_t channels, std::size_t readings) {
  Cabling cabling;
  cabling.source.resize(channels);
  cabling.meter.resize(readings);
  std::iota(cabling.source.begin(), cabling.source.end(), std::size_t{0});
  std::iota(cabling.meter.begin(), cabling.meter.end(), std::size_t{0});
  cabling.factor = Vector::Ones(static_cast<Eigen::Index>(channels));
  cabling.meter_factor = Vector::Ones(static_cast<Eigen::Index>(readings));
  return cabling;
}

Levels::Levels(const DeviceInfo& info, const WiringCheckOptions& options, const Vector& theta)
    : channels_(options.channels) {
  const std::vector<std::uint32_t> clamped = info.clamped();
  clamped_ = clamped.size();
  Vector at_rest = theta;
  for (const WiringChannel& channel : channels_) {
    if (channel.terminal) {
      range_.push_back(info.terminals[*channel.terminal].level);
      position_.push_back(static_cast<std::size_t>(
          std::find(clamped.begin(), clamped.end(), *channel.terminal) - clamped.begin()));
    } else {
      range_.push_back(info.parameters[*channel.parameter].range);
      position_.push_back(0);
      at_rest[*channel.parameter] = value(range_.size() - 1, channel.safe);
    }
  }
  theta_ = Parameters::of(std::move(at_rest));
}

double Levels::value(std::size_t channel, double level) const {
  return std::clamp(channels_[channel].offset + channels_[channel].gain * level, range_[channel].low,
                    range_[channel].high);
}

Drive Levels::drive(const Vector& level, const Cabling* cabling) const {
  Drive drive;
  drive.theta = theta_;
  drive.start = Present{};
  Vector inputs = Vector::Zero(static_cast<Eigen::Index>(clamped_));
  for (std::size_t j = 0; j < channels_.size(); ++j) {
    const auto at = static_cast<Eigen::Index>(j);
    const double there = cabling == nullptr
                             ? level[at]
                             : cabling->factor[at] * level[static_cast<Eigen::Index>(cabling->source[j])];
    if (channels_[j].terminal) inputs[static_cast<Eigen::Index>(position_[j])] = value(j, there);
    else drive.theta.overrides.emplace_back(*channels_[j].parameter, value(j, there));
  }
  drive.clamp = pattern_of(inputs);
  return drive;
}

Twin::Twin(Device& twin, const DeviceInfo& bench, const WiringCheckOptions& options, const Vector& theta,
           std::stop_token stop)
    : twin_(twin), levels_(twin.info(), options, theta), stop_(std::move(stop)) {
  const std::vector<std::uint32_t> known = twin.info().read();
  for (const std::uint32_t terminal : bench.read()) {
    const auto found = std::find(known.begin(), known.end(), terminal);
    if (found == known.end())
      throw Unsupported("wiring check: the twin does not read terminal " + std::to_string(terminal) +
                        ", which the bench reads");
    position_.push_back(static_cast<std::size_t>(found - known.begin()));
  }
  step_.resize(static_cast<Eigen::Index>(options.channels.size()));
  for (std::size_t c = 0; c < options.channels.size(); ++c)
    step_[static_cast<Eigen::Index>(c)] =
        0.2 * (options.channels[c].tiny.high - options.channels[c].tiny.low);
}

std::vector<Vector> Twin::read(std::span<const Drive> drives) const {
  std::vector<Drive> from_rest(drives.begin(), drives.end());
  for (Drive& drive : from_rest) drive.start = Rest{};
  std::vector<Vector> readings;
  readings.reserve(drives.size());
  twin_.relax(
      from_rest,
      [&](std::size_t, const Relaxation& row) {
        Vector read(static_cast<Eigen::Index>(position_.size()));
        for (std::size_t r = 0; r < position_.size(); ++r)
          read[static_cast<Eigen::Index>(r)] = row.quality.usable()
                                                   ? row.potential[static_cast<Eigen::Index>(position_[r])]
                                                   : std::numeric_limits<double>::quiet_NaN();
        readings.push_back(std::move(read));
      },
      stop_);
  return readings;
}

std::vector<Vector> Twin::answers(std::span<const Ask> asks) const {
  std::vector<Drive> drives;
  drives.reserve(2 * asks.size());
  for (const Ask& ask : asks) {
    Vector level = *ask.level;
    const auto c = static_cast<Eigen::Index>(ask.channel);
    for (const double side : {1.0, -1.0}) {
      level[c] = (*ask.level)[c] + side * step_[c];
      drives.push_back(levels_.drive(level, ask.cabling));
    }
  }
  const std::vector<Vector> readings = read(drives);
  std::vector<Vector> answers;
  answers.reserve(asks.size());
  for (std::size_t i = 0; i < asks.size(); ++i) answers.push_back(readings[2 * i] - readings[2 * i + 1]);
  return answers;
}

Matrix Twin::rows(const Cabling& cabling, std::span<const Vector> points) const {
  const auto channels = static_cast<std::size_t>(step_.size());
  std::vector<Ask> asks;
  for (const Vector& point : points) {
    for (std::size_t c = 0; c < channels; ++c) asks.push_back({&cabling, &point, c});
  }
  const std::vector<Vector> answered = answers(asks);
  const auto R = static_cast<Eigen::Index>(readings());
  Matrix rows(step_.size(), static_cast<Eigen::Index>(points.size()) * R);
  for (std::size_t i = 0; i < asks.size(); ++i)
    rows.block(static_cast<Eigen::Index>(i % channels), static_cast<Eigen::Index>(i / channels) * R, 1, R) =
        answered[i].transpose();
  return rows;
}

Matrix seen(const Matrix& rows, const Cabling& cabling) {
  const auto R = static_cast<Eigen::Index>(cabling.meter.size());
  Matrix out(rows.rows(), rows.cols());
  for (Eigen::Index k = 0; k < rows.cols(); ++k) {
    const Eigen::Index r = k % R;
    out.col(k) = cabling.meter_factor[r] *
                 rows.col(k - r + static_cast<Eigen::Index>(cabling.meter[static_cast<std::size_t>(r)]));
  }
  return out;
}

double size_of(double rr, double ee, const WiringCheckOptions& options) {
  const double least = 1 / (1 + options.gain_tolerance);
  return std::max(rr, ee * least * least) + options.visible * options.visible;
}

Fit fit(double rr, double re, double ee, double noise, double size, double gain_tolerance) {
  Fit result;
  result.gain = std::clamp(ee > 0 ? re / ee : 1.0, 1 / (1 + gain_tolerance), 1 + gain_tolerance);
  result.misfit = std::max(0.0, rr - 2 * result.gain * re + result.gain * result.gain * ee - noise) / size;
  return result;
}

Misfit misfit(const Measured& measured, const Matrix& expected, const Matrix& usual,
              const WiringCheckOptions& options) {
  const auto R = static_cast<Eigen::Index>(measured.reading.size());
  Misfit result;
  result.row.resize(static_cast<std::size_t>(measured.rows.rows()));
  result.entry = Matrix::Zero(measured.rows.rows(), measured.rows.cols());
  for (Eigen::Index c = 0; c < measured.rows.rows(); ++c) {
    double rr = 0, re = 0, ee = 0, uu = 0, noise = 0;
    for (Eigen::Index k = 0; k < measured.rows.cols(); ++k) {
      if (!measured.reading[static_cast<std::size_t>(k % R)]) continue;
      const double row = measured.rows(c, k), what = expected(c, k);
      rr += row * row;
      re += row * what;
      ee += what * what;
      uu += usual(c, k) * usual(c, k);
      noise += measured.variance(c, k);
    }
    const double size = size_of(rr, uu, options);
    Fit& row = result.row[static_cast<std::size_t>(c)];
    row = std::isnan(re) ? Fit{1, std::numeric_limits<double>::infinity()}
                         : fit(rr, re, ee, noise, size, options.gain_tolerance);
    if (!measured.channel[static_cast<std::size_t>(c)]) continue;
    result.total += row.misfit;
    for (Eigen::Index k = 0; k < measured.rows.cols(); ++k) {
      if (!measured.reading[static_cast<std::size_t>(k % R)]) continue;
      const double difference = measured.rows(c, k) - row.gain * expected(c, k);
      result.entry(c, k) = std::max(0.0, difference * difference - measured.variance(c, k)) / size;
    }
  }
  return result;
}

namespace {

// One additional mistake: the resulting cabling, and the rows or readings that it changes.
struct Mistake {
  Cabling cabling;
  std::vector<std::size_t> rows, readings;
};

double share_of(const Misfit& misfit, const Mistake& mistake, Eigen::Index R) {
  double sum = 0;
  for (const std::size_t c : mistake.rows) sum += misfit.row[c].misfit;
  for (Eigen::Index k = 0; k < misfit.entry.cols(); ++k) {
    if (std::find(mistake.readings.begin(), mistake.readings.end(), static_cast<std::size_t>(k % R)) !=
        mistake.readings.end())
      sum += misfit.entry.col(k).sum();
  }
  return sum;
}

// The factor of these entries relative to the expected ones, if outside the tolerance. Empty if the entries
// are close to zero.
std::optional<double> odd_factor(double re, double ee, double gain_tolerance) {
  if (!(ee > 0)) return std::nullopt;
  const double factor = re / ee;
  if (std::abs(factor) < nothing || (factor > 0 && std::abs(std::log(factor)) <= std::log1p(gain_tolerance)))
    return std::nullopt;
  return factor;
}

// The responses at the nodes, with the rows changed by a mistake recomputed. A meter's mistake changes the
// readings, not the responses.
Matrix about(const Twin& twin, const Mistake& mistake, Matrix there, std::span<const Vector> points) {
  std::vector<Twin::Ask> asks;
  for (const std::size_t c : mistake.rows) {
    for (const Vector& point : points) asks.push_back({&mistake.cabling, &point, c});
  }
  if (asks.empty()) return there;
  const std::vector<Vector> answers = twin.answers(asks);
  const auto R = static_cast<Eigen::Index>(twin.readings());
  for (std::size_t a = 0; a < asks.size(); ++a)
    there.block(static_cast<Eigen::Index>(asks[a].channel), static_cast<Eigen::Index>(a % points.size()) * R,
                1, R) = answers[a].transpose();
  return there;
}

// All single mistakes that may explain rows that do not fit.
std::vector<Mistake> mistakes(const Cabling& now, const WiringCheckOptions& options, const Measured& measured,
                              const Matrix& expected, const Misfit& misfit) {
  std::vector<Mistake> all;
  const auto R = static_cast<Eigen::Index>(measured.reading.size());
  const double least = options.roughness * options.roughness / 2;
  const auto wrong = [&](std::size_t c) { return measured.channel[c] && misfit.row[c].misfit > least; };
  for (std::size_t i = 0; i < options.channels.size(); ++i) {
    for (std::size_t j = i + 1; j < options.channels.size(); ++j) {
      if (options.channels[i].plug != options.channels[j].plug || !(wrong(i) || wrong(j)) ||
          !measured.channel[i] || !measured.channel[j])
        continue;
      Mistake swap{now, {i, j}, {}};
      // Positions of the cables that lead to channels i and j.
      const auto at_i = std::find(now.source.begin(), now.source.end(), i) - now.source.begin(),
                 at_j = std::find(now.source.begin(), now.source.end(), j) - now.source.begin();
      std::swap(swap.cabling.source[static_cast<std::size_t>(at_i)],
                swap.cabling.source[static_cast<std::size_t>(at_j)]);
      std::swap(swap.cabling.factor[at_i], swap.cabling.factor[at_j]);
      all.push_back(std::move(swap));
    }
    if (!wrong(i)) continue;
    const auto place = std::find(now.source.begin(), now.source.end(), i) - now.source.begin();
    double rr = 0, re = 0, ee = 0;
    for (Eigen::Index k = 0; k < expected.cols(); ++k) {
      if (!measured.reading[static_cast<std::size_t>(k % R)]) continue;
      rr += measured.rows(static_cast<Eigen::Index>(i), k) * measured.rows(static_cast<Eigen::Index>(i), k);
      re += measured.rows(static_cast<Eigen::Index>(i), k) * expected(static_cast<Eigen::Index>(i), k);
      ee += expected(static_cast<Eigen::Index>(i), k) * expected(static_cast<Eigen::Index>(i), k);
    }
    if (rr < nothing * nothing * ee) continue;  // no factor explains a missing response
    std::vector<double> factors{-1};
    if (const auto odd = odd_factor(re, ee, options.gain_tolerance)) factors.push_back(*odd);
    for (const double factor : factors) {
      Mistake scaled{now, {i}, {}};
      scaled.cabling.factor[place] *= factor;
      all.push_back(std::move(scaled));
    }
  }
  for (std::size_t r = 0; r < measured.reading.size(); ++r) {
    if (!measured.reading[r]) continue;
    for (std::size_t s = r + 1; s < measured.reading.size(); ++s) {
      if (!measured.reading[s]) continue;
      Mistake swap{now, {}, {r, s}};
      std::swap(swap.cabling.meter[r], swap.cabling.meter[s]);
      all.push_back(std::move(swap));
    }
    double re = 0, ee = 0;
    for (Eigen::Index k = static_cast<Eigen::Index>(r); k < expected.cols(); k += R) {
      for (std::size_t c = 0; c < options.channels.size(); ++c) {
        if (!measured.channel[c]) continue;
        re += measured.rows(static_cast<Eigen::Index>(c), k) * expected(static_cast<Eigen::Index>(c), k);
        ee += expected(static_cast<Eigen::Index>(c), k) * expected(static_cast<Eigen::Index>(c), k);
      }
    }
    std::vector<double> factors{-1};
    if (const auto odd = odd_factor(re, ee, options.gain_tolerance)) factors.push_back(*odd);
    for (const double factor : factors) {
      Mistake scaled{now, {}, {r}};
      scaled.cabling.meter_factor[static_cast<Eigen::Index>(r)] *= factor;
      all.push_back(std::move(scaled));
    }
  }
  return all;
}

}  // namespace

Cabling explain(const Twin& twin, const WiringCheckOptions& options, std::span<const Vector> points,
                const Measured& measured) {
  constexpr std::size_t most_mistakes = 6, most_asked = 24;
  const auto R = static_cast<Eigen::Index>(twin.readings());
  Cabling cabling = Cabling::right(options.channels.size(), twin.readings());
  const Matrix usual = twin.rows(cabling, points);
  Matrix there = usual, expected = usual;
  for (std::size_t found = 0; found < most_mistakes; ++found) {
    const Misfit now = misfit(measured, expected, usual, options);
    if (now.total <= options.roughness * options.roughness) break;
    // A mistake must explain most of the misfit of its rows or readings, by more than the twin's own error,
    // and must not increase the misfit elsewhere. The first condition is checked for all mistakes; the misfit
    // of all rows only for the best.
    std::vector<std::pair<double, Mistake>> likely;
    const std::vector<Mistake> all = mistakes(cabling, options, measured, expected, now);
    const auto consider = [&](const Matrix& rows, const Mistake& mistake) {
      const double before = share_of(now, mistake, R),
                   after =
                       share_of(misfit(measured, seen(rows, mistake.cabling), usual, options), mistake, R);
      if (4 * after < before && before - after > options.roughness * options.roughness)
        likely.emplace_back(after / before, mistake);
    };
    for (const Mistake& mistake : all) {
      const Matrix rows = about(twin, mistake, there, points);
      consider(rows, mistake);
      if (mistake.rows.empty()) continue;
      // Mistakes of a cable and of a meter may hide each other, so pairs are tried too.
      for (const Mistake& meter : all) {
        if (!meter.rows.empty()) continue;
        Mistake both = mistake;
        both.cabling.meter = meter.cabling.meter;
        both.cabling.meter_factor = meter.cabling.meter_factor;
        consider(rows, both);
      }
    }
    std::stable_sort(likely.begin(), likely.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    if (likely.size() > most_asked) likely.resize(most_asked);
    std::optional<Mistake> best;
    Matrix best_there;
    double best_total = now.total;
    for (auto& [left, mistake] : likely) {
      Matrix rows = mistake.rows.empty() ? there : twin.rows(mistake.cabling, points);
      const double total = misfit(measured, seen(rows, mistake.cabling), usual, options).total;
      // Two mistakes are accepted only if they explain more than the best single one by more than the twin's
      // own error.
      const bool two = !mistake.rows.empty() && (mistake.cabling.meter != cabling.meter ||
                                                 mistake.cabling.meter_factor != cabling.meter_factor);
      if (!(total + (two ? options.roughness * options.roughness : 0) < best_total)) continue;
      best = std::move(mistake);
      best_there = std::move(rows);
      best_total = total;
    }
    if (!best) break;
    cabling = std::move(best->cabling);
    there = std::move(best_there);
    expected = seen(there, cabling);
  }
  return cabling;
}

}  // namespace ness::wiring
