// Conclusions of the check of a wiring.
#include <algorithm>
#include <cmath>

#include "ness/device/number_text.hpp"
#include "wiring/check.hpp"

namespace ness::wiring {

std::string percent(double share) { return number_text(std::round(share * 1000) / 10) + " %"; }
std::string rounded(double x) {
  const double scale = x == 0 ? 1 : std::pow(10.0, 2 - std::floor(std::log10(std::abs(x))));
  return number_text(std::round(x * scale) / scale);
}

double Check::row_norm(const Matrix& rows, Eigen::Index c, const std::vector<bool>& reading) const {
  double squares = 0;
  for (Eigen::Index k = 0; k < rows.cols(); ++k)
    squares += reading[static_cast<std::size_t>(k % R_)] ? rows(c, k) * rows(c, k) : 0;
  return std::sqrt(squares);
}

void Check::set_verdict_of_channel(Eigen::Index c, WiringVerdict verdict) {
  entry(c).verdict = verdict;
  measured_.channel[static_cast<std::size_t>(c)] = false;
}

void Check::set_verdict_of_reading(Eigen::Index r, WiringVerdict verdict) {
  reading(r).verdict = verdict;
  measured_.reading[static_cast<std::size_t>(r)] = false;
}

// True if sources are in compliance or shorted: the twin then cannot predict the responses, for any cabling.
// Readings without a number are excluded.
bool Check::find_shorts() {
  bool found = false;
  if (any_limited_ && std::none_of(limited_.begin(), limited_.end(), [](bool l) { return l; })) {
    found = true;
    fail("a source is in compliance at tiny levels: is a lead shorted?");
  }
  for (Eigen::Index c = 0; c < C_; ++c) {
    const auto& conductance = entry(c).conductance;
    const bool limited = limited_[static_cast<std::size_t>(c)];
    if (!limited && !(conductance && *conductance > options_.short_conductance)) continue;
    found = true;
    set_verdict_of_channel(c, WiringVerdict::limited);
    const std::string what =
        limited ? " is in compliance at tiny levels"
                : " sees a conductance of " + rounded(*conductance) + " units of current per kT";
    fail(channel(c).name + what + ": is its lead shorted?");
  }
  for (Eigen::Index r = 0; r < R_; ++r) {
    if (!no_number_[static_cast<std::size_t>(r)]) continue;
    set_verdict_of_reading(r, WiringVerdict::limited);
    fail(reading(r).name + " gives no number within its range");
  }
  return found;
}

// Readings that do not respond to any channel, unless none responds.
std::vector<Eigen::Index> Check::find_mute_readings() {
  std::vector<Eigen::Index> mute;
  for (Eigen::Index r = 0; r < R_; ++r) {
    if (!measured_.reading[static_cast<std::size_t>(r)]) continue;
    double expected = 0, strength = 0, variance = 0;
    for (Eigen::Index k = r; k < usual_.cols(); k += R_) {
      expected += usual_.col(k).squaredNorm();
      strength += measured_.rows.col(k).squaredNorm();
      variance += measured_.variance.col(k).sum();
    }
    const bool visible = expected > 4 * options_.visible * options_.visible;
    if (visible && std::sqrt(std::max(0.0, strength - variance)) < nothing * std::sqrt(expected))
      mute.push_back(r);
  }
  if (static_cast<Eigen::Index>(mute.size()) ==
      std::count(measured_.reading.begin(), measured_.reading.end(), true))
    mute.clear();
  for (const Eigen::Index r : mute) {
    set_verdict_of_reading(r, WiringVerdict::silent);
    fail(reading(r).name + " does not respond to any source: is its lead open, or its node shorted?");
  }
  return mute;
}

// Channels to which no reading responds, although the twin expects a response. Channels without an expected
// response are excluded.
std::vector<Eigen::Index> Check::find_silent_channels() {
  const std::vector<bool> all(static_cast<std::size_t>(R_), true);
  std::vector<Eigen::Index> silent;
  for (Eigen::Index c = 0; c < C_; ++c) {
    ChannelReport& found = entry(c);
    found.strength = row_norm(measured_.rows, c, measured_.reading);
    found.expected = row_norm(usual_, c, measured_.reading);
    found.error = std::sqrt(measured_.variance.row(c).sum());
    if (!measured_.channel[static_cast<std::size_t>(c)]) continue;
    if (found.expected < options_.visible) {
      const bool ever = row_norm(usual_, c, all) >= options_.visible;
      set_verdict_of_channel(c, ever ? WiringVerdict::not_judged : WiringVerdict::not_visible);
      if (!ever) {
        report_.warnings.push_back("within the tiny limits " + found.name +
                                   " moves no reading: its cable is not checked");
      }
      continue;
    }
    const double without_noise =
        std::sqrt(std::max(0.0, found.strength * found.strength - found.error * found.error));
    if (without_noise < nothing * found.expected) silent.push_back(c);
  }
  return silent;
}

// True if a cabling with these rows explains each measured row, relative to the length of the row.
bool Check::explains(const Matrix& expected) const {
  const Misfit left = misfit(measured_, expected, usual_, options_);
  for (Eigen::Index c = 0; c < C_; ++c) {
    if (!measured_.channel[static_cast<std::size_t>(c)]) continue;
    const Fit& row = left.row[static_cast<std::size_t>(c)];
    if (row.misfit > 4 * options_.roughness * options_.roughness || !as_weak(expected, c, row.gain))
      return false;
  }
  return true;
}

void Check::report_silent(const std::vector<Eigen::Index>& silent, bool mute_readings) {
  for (const Eigen::Index c : silent) {
    // A channel that acts only on the node of a mute reading may be right.
    if (mute_readings) {
      set_verdict_of_channel(c, WiringVerdict::not_judged);
      continue;
    }
    set_verdict_of_channel(c, WiringVerdict::silent);
    const bool dead = entry(c).conductance && *entry(c).conductance < options_.open_conductance;
    fail(entry(c).name + " moves no reading" + (dead ? ", and no current flows" : "") +
         ": is its lead open?");
  }
}

void Check::judge() {
  measured_.channel.assign(static_cast<std::size_t>(C_), true);
  measured_.reading.assign(static_cast<std::size_t>(R_), true);
  // Some faults are so large that the twin cannot predict the responses of other channels, even those wired
  // correctly.
  bool hidden = find_shorts();
  const std::vector<Eigen::Index> mute = find_mute_readings();
  hidden = hidden || !mute.empty();
  const std::vector<Eigen::Index> silent = find_silent_channels();

  Cabling cabling = Cabling::right(options_.channels.size(), report_.readings.size());
  Matrix expected = usual_;
  if (!hidden) {
    cabling = explain(twin_, options_, points_, measured_);
    expected = seen(twin_.rows(cabling, points_), cabling);
    // A silent channel may be exchanged with a weak one, if that explains all rows. Otherwise its lead is
    // open, and the operating points are not those of the twin.
    hidden = !silent.empty() && !explains(expected);
  }
  if (hidden) {
    expected = usual_;
    report_silent(silent, !mute.empty());
  } else {
    report_channels(cabling);
    report_readings(cabling);
  }
  report_rows(expected, hidden);
  // A channel without verdict has not passed.
  const auto not_judged =
      std::find_if(report_.channels.begin(), report_.channels.end(),
                   [](const ChannelReport& c) { return c.verdict == WiringVerdict::not_judged; });
  if (report_.passed() && not_judged != report_.channels.end())
    fail(not_judged->name + " could not be judged");
  // With any other mistake, a current at rest may be correct.
  if (report_.passed()) leakage();
}

// True if row c is `gain` times the expected row, within the tolerance of patterns.
bool Check::as_weak(const Matrix& expected, Eigen::Index c, double gain) const {
  double difference = 0, longest = 0;
  for (Eigen::Index k = 0; k < expected.cols(); ++k) {
    if (!measured_.reading[static_cast<std::size_t>(k % R_)]) continue;
    const double row = measured_.rows(c, k), what = gain * expected(c, k);
    difference += (row - what) * (row - what);
    longest += std::max(row * row, what * what);
  }
  return std::sqrt(difference) <=
         options_.pattern_tolerance * std::sqrt(longest) + 5 * std::sqrt(measured_.variance.row(c).sum());
}

void Check::leakage() {
  if (options_.leakage == 0 || current_.size() == 0 || !at_one_potential_) return;
  for (Eigen::Index c = 0; c < C_; ++c) {
    if (!channel(c).terminal) continue;
    const double current = current_[static_cast<Eigen::Index>(*channel(c).terminal)];
    if (!(std::abs(current) > options_.leakage)) continue;
    if (entry(c).verdict == WiringVerdict::limited) continue;
    fail(channel(c).name + " leaks: at rest a current of " + rounded(current) +
         " units flows into it; at most " + rounded(options_.leakage) + " is allowed");
  }
}

void Check::report_channels(const Cabling& cabling) {
  const auto n = static_cast<std::size_t>(C_);
  std::vector<std::size_t> place(n);  // position of each cable
  for (std::size_t j = 0; j < n; ++j) place[cabling.source[j]] = j;
  std::vector<bool> reported(n, false);
  for (std::size_t i = 0; i < n; ++i) {
    ChannelReport& found = report_.channels[i];
    if (place[i] != i) {
      found.verdict = WiringVerdict::exchanged;
      found.of = options_.channels[place[i]].name;
      if (reported[i]) continue;
      std::string line = found.name + " behaves like " + found.of;
      for (std::size_t k = place[i]; k != i; k = place[k]) {
        reported[k] = true;
        line += (place[k] == i ? ", and " : ", ") + options_.channels[k].name + " like " +
                options_.channels[place[k]].name;
      }
      fail(line + ": are their cables exchanged?");
    }
    const double factor = cabling.factor[static_cast<Eigen::Index>(place[i])];
    if (factor == 1) continue;
    if (found.verdict == WiringVerdict::right)
      found.verdict = factor < 0 ? WiringVerdict::wrong_sign : WiringVerdict::wrong_gain;
    const std::string sign = factor < 0 ? " has the wrong sign" : "", join = factor < 0 ? ", and" : "";
    fail(found.name + sign +
         (factor == -1
              ? ""
              : join + " moves its readings " + rounded(std::abs(factor)) + " times as much as expected"));
  }
}

void Check::report_readings(const Cabling& cabling) {
  for (std::size_t r = 0; r < cabling.meter.size(); ++r) {
    ReadingReport& found = report_.readings[r];
    const std::size_t node = cabling.meter[r];
    if (node != r) {
      found.verdict = WiringVerdict::exchanged;
      found.of = report_.readings[node].name;
      const std::string line = found.name + " behaves like " + found.of;
      if (cabling.meter[node] != r) fail(line + ": are cables exchanged?");
      else if (r < node)
        fail(line + ", and " + found.of + " like " + found.name + ": are their cables exchanged?");
    }
    const double factor = cabling.meter_factor[static_cast<Eigen::Index>(r)];
    if (factor == 1) continue;
    if (found.verdict == WiringVerdict::right)
      found.verdict = factor < 0 ? WiringVerdict::wrong_sign : WiringVerdict::wrong_gain;
    const std::string sign = factor < 0 ? "with the wrong sign" : "", join = factor < 0 ? ", and " : "";
    fail(found.name + " reads " + sign +
         (factor == -1 ? "" : join + rounded(std::abs(factor)) + " times as much as expected"));
  }
}

// The gain of a row, and the responding readings, strongest first.
void Check::report_strengths(Eigen::Index c) {
  double re = 0, ee = 0;
  std::vector<std::pair<double, Eigen::Index>> strength;
  for (Eigen::Index r = 0; r < R_; ++r) {
    double moved = 0, error = 0;
    for (Eigen::Index k = r; k < usual_.cols(); k += R_) {
      if (measured_.reading[static_cast<std::size_t>(r)]) {
        re += measured_.rows(c, k) * usual_(c, k);
        ee += usual_(c, k) * usual_(c, k);
      }
      moved += measured_.rows(c, k) * measured_.rows(c, k);
      error += measured_.variance(c, k);
    }
    if (moved > 25 * error) strength.emplace_back(std::sqrt(moved), r);
  }
  std::sort(strength.rbegin(), strength.rend());
  for (const auto& [moved, r] : strength) {
    if (moved > 0.1 * strength.front().first) entry(c).answered.push_back(reading(r).name);
  }
  entry(c).gain = ee > 0 ? re / ee : 0;
}

// Readings that respond more than expected.
void Check::report_cross_talk(Eigen::Index c, const Matrix& expected, double gain) {
  double largest = 0, usual = 0;
  for (Eigen::Index k = 0; k < usual_.cols(); ++k) {
    largest = std::max(largest, std::abs(measured_.rows(c, k)));
    if (measured_.reading[static_cast<std::size_t>(k % R_)]) usual = std::max(usual, std::abs(usual_(c, k)));
  }
  for (Eigen::Index r = 0; r < R_; ++r) {
    if (!measured_.reading[static_cast<std::size_t>(r)]) continue;
    double beyond = 0, should = 0;
    for (Eigen::Index k = r; k < usual_.cols(); k += R_) {
      const double difference = std::abs(measured_.rows(c, k) - gain * expected(c, k));
      beyond = std::max(beyond, difference - 5 * std::sqrt(measured_.variance(c, k)));
      should = std::max(should, std::abs(expected(c, k)));
    }
    if (should > options_.cross_talk * usual || beyond <= options_.cross_talk * largest ||
        beyond < options_.visible)
      continue;
    entry(c).verdict = WiringVerdict::cross_talk;
    fail(reading(r).name + " responds to " + entry(c).name + " by " + percent(beyond / largest) +
         " of its strongest response more than expected: is there a path between their leads?");
  }
}

// Each row together with the expected one, and all mistakes found.
void Check::report_rows(const Matrix& expected, bool hidden) {
  const Misfit found = misfit(measured_, expected, usual_, options_);
  std::vector<std::string> strange;
  for (Eigen::Index c = 0; c < C_; ++c) {
    report_strengths(c);
    const Fit& row = found.row[static_cast<std::size_t>(c)];
    entry(c).misfit = std::sqrt(row.misfit);
    if (!measured_.channel[static_cast<std::size_t>(c)] || entry(c).verdict != WiringVerdict::right) continue;
    if (row.misfit > options_.pattern_tolerance * options_.pattern_tolerance) {
      entry(c).verdict = hidden ? WiringVerdict::not_judged : WiringVerdict::unexplained;
      if (!hidden) strange.push_back(entry(c).name);
    } else if (!hidden) {
      report_cross_talk(c, expected, row.gain);
    }
  }
  if (strange.empty()) return;
  const bool one = strange.size() == 1;
  std::string names = strange.front();
  for (std::size_t i = 1; i < strange.size(); ++i)
    names += (i + 1 == strange.size() ? " and " : ", ") + strange[i];
  fail(names + (one ? " behaves like neither itself" : " behave like neither themselves") +
       " nor any other channel");
}

}  // namespace ness::wiring
