#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "ness/device/error.hpp"
#include "ness/device/random.hpp"
#include "wiring/wiring_rows.hpp"

namespace ness::wiring {

namespace {

constexpr double clear = 0.5;  // squared misfit that is sufficient: 30 degrees on each of two rows

// Effect of an exchange of two channels on one of their rows, summed over points: products of the row then
// measured (r) and the row expected (e).
struct Sums {
  double rr = 0, re = 0, ee = 0;
  Sums& operator+=(const Sums& other) {
    rr += other.rr;
    re += other.re;
    ee += other.ee;
    return *this;
  }
};

struct Candidate {
  Vector level;
  std::vector<double> strength;             // [n_channels] squared length of each row
  std::vector<std::pair<Sums, Sums>> sums;  // [pairs]
};

double distinction(const std::pair<Sums, Sums>& sums, const WiringCheckOptions& options) {
  double misfit = 0;
  for (const Sums& s : {sums.first, sums.second})
    misfit += fit(s.rr, s.re, s.ee, 0, size_of(s.rr, s.ee, options), options.gain_tolerance).misfit;
  return misfit;
}

bool may_stand(const Vector& level, const Vector& step, const WiringCheckOptions& options) {
  if (!options.allowed) return true;
  if (!options.allowed(level)) return false;
  Vector moved = level;
  for (Eigen::Index c = 0; c < level.size(); ++c) {
    for (const double side : {1.0, -1.0}) {
      moved[c] = level[c] + side * step[c];
      if (!options.allowed(moved)) return false;
    }
    moved[c] = level[c];
  }
  return true;
}

/// Every exchange of two cables with equal plugs.
struct Exchanges {
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  std::vector<Cabling> cabling;
};

Exchanges exchanges_of(const Cabling& right, const std::vector<WiringChannel>& channels) {
  Exchanges all;
  for (std::size_t i = 0; i < channels.size(); ++i) {
    for (std::size_t j = i + 1; j < channels.size(); ++j) {
      if (channels[i].plug != channels[j].plug) continue;
      all.pairs.emplace_back(i, j);
      all.cabling.push_back(right);
      std::swap(all.cabling.back().source[i], all.cabling.back().source[j]);
    }
  }
  return all;
}

Vector random_level(const std::vector<WiringChannel>& channels, Random& random) {
  Vector level(static_cast<Eigen::Index>(channels.size()));
  for (std::size_t c = 0; c < channels.size(); ++c) {
    const Range& tiny = channels[c].tiny;
    // From the middle three fifths of the range, a step of a fifth stays within it. Points near the corners
    // distinguish best.
    const double place = 0.5 + std::copysign(0.3 * std::sqrt(random.uniform()), random.uniform() - 0.5);
    level[static_cast<Eigen::Index>(c)] = tiny.low + place * (tiny.high - tiny.low);
  }
  return level;
}

/// What the twin answers at a level, with right cables and with each exchange; none where a right one has no
/// steady state.
std::optional<Candidate> candidate_at(const Vector& level, const Twin& twin, const Cabling& right,
                                      const Exchanges& exchanges) {
  const std::size_t C = right.source.size();
  const auto& pairs = exchanges.pairs;
  Candidate candidate;
  candidate.level = level;
  std::vector<Twin::Ask> asks;
  for (std::size_t c = 0; c < C; ++c) asks.push_back({&right, &level, c});
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    asks.push_back({&exchanges.cabling[p], &level, pairs[p].first});
    asks.push_back({&exchanges.cabling[p], &level, pairs[p].second});
  }
  const std::vector<Vector> rows = twin.answers(asks);
  const auto end = rows.begin() + static_cast<std::ptrdiff_t>(C);
  if (std::any_of(rows.begin(), end, [](const Vector& row) { return !row.allFinite(); })) return std::nullopt;
  for (std::size_t c = 0; c < C; ++c) candidate.strength.push_back(rows[c].squaredNorm());
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    const auto sums = [&](std::size_t ask, std::size_t channel) {
      const Vector &row = rows[ask], &expected = rows[channel];
      // An exchange without a steady state is recognised.
      if (!row.allFinite()) return Sums{expected.squaredNorm(), 0, expected.squaredNorm()};
      return Sums{row.squaredNorm(), row.dot(expected), expected.squaredNorm()};
    };
    candidate.sums.emplace_back(sums(C + 2 * p, pairs[p].first), sums(C + 2 * p + 1, pairs[p].second));
  }
  return candidate;
}

/// What the points chosen so far reach together.
struct Reached {
  std::vector<double> strength;             ///< of each channel
  std::vector<std::pair<Sums, Sums>> sums;  ///< of each exchange

  static double enough(const WiringCheckOptions& options) { return 100 * options.visible * options.visible; }

  /// Every exchange is clearly distinguished, and every channel clearly visible.
  bool is_enough(const WiringCheckOptions& options) const {
    return std::all_of(sums.begin(), sums.end(),
                       [&](const auto& both) { return distinction(both, options) >= clear; }) &&
           std::all_of(strength.begin(), strength.end(), [&](double s) { return s >= enough(options); });
  }

  /// 0 once everything is clear with this candidate, negative before.
  double score_with(const Candidate& candidate, const WiringCheckOptions& options) const {
    double score = 0;
    for (std::size_t p = 0; p < sums.size(); ++p) {
      auto both = sums[p];
      both.first += candidate.sums[p].first;
      both.second += candidate.sums[p].second;
      score += std::min(0.0, std::log((distinction(both, options) + 1e-6) / clear));
    }
    for (std::size_t c = 0; c < strength.size(); ++c) {
      score += std::min(0.0, std::log((strength[c] + candidate.strength[c] + 1e-12) / enough(options)));
    }
    return score;
  }

  void add(const Candidate& candidate) {
    for (std::size_t c = 0; c < strength.size(); ++c) strength[c] += candidate.strength[c];
    for (std::size_t p = 0; p < sums.size(); ++p) {
      sums[p].first += candidate.sums[p].first;
      sums[p].second += candidate.sums[p].second;
    }
  }
};

}  // namespace

Design choose_points(const Twin& twin, const WiringCheckOptions& options, std::stop_token stop) {
  const std::size_t C = options.channels.size();
  const Cabling right = Cabling::right(C, twin.readings());
  const Exchanges exchanges = exchanges_of(right, options.channels);
  const auto& pairs = exchanges.pairs;

  Random random(options.seed);
  std::vector<Candidate> candidates;
  for (std::size_t attempt = 0; attempt < 20 * options.tries && candidates.size() < options.tries;
       ++attempt) {
    if (stop.stop_requested()) throw Cancelled();
    const Vector level = random_level(options.channels, random);
    if (!may_stand(level, twin.step(), options)) continue;
    if (auto candidate = candidate_at(level, twin, right, exchanges))
      candidates.push_back(std::move(*candidate));
  }

  // Chooses points one by one, each the best addition to those chosen.
  Design design;
  Reached reached{std::vector<double>(C, 0), std::vector<std::pair<Sums, Sums>>(pairs.size())};
  while (design.points.size() < options.points && !candidates.empty()) {
    if (!design.points.empty() && reached.is_enough(options)) break;
    std::size_t best = 0;
    double best_score = -std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < candidates.size(); ++k) {
      const double score = reached.score_with(candidates[k], options);
      if (score > best_score) {
        best = k;
        best_score = score;
      }
    }
    reached.add(candidates[best]);
    design.points.push_back(std::move(candidates[best].level));
    candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(best));
  }
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    if (distinction(reached.sums[p], options) < 1.5 * options.roughness * options.roughness)
      design.undecided.push_back(pairs[p]);
  }
  return design;
}

}  // namespace ness::wiring
