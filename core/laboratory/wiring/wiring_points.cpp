#include <algorithm>
#include <cmath>

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
  std::vector<double> strength;            // [n_channels] squared length of each row
  std::vector<std::pair<Sums, Sums>> sums; // [pairs]
};

double distinction(const std::pair<Sums, Sums>& sums, const WiringCheckOptions& options) {
  double misfit = 0;
  for (const Sums& s : {sums.first, sums.second}) misfit += fit(s.rr, s.re, s.ee, 0, size_of(s.rr, s.ee, options), options.gain_tolerance).misfit;
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

}  // namespace

Design choose_points(const Twin& twin, const WiringCheckOptions& options, std::stop_token stop) {
  const std::size_t C = options.channels.size();
  const Cabling right = Cabling::right(C, twin.readings());
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  std::vector<Cabling> exchanged;
  for (std::size_t i = 0; i < C; ++i) {
    for (std::size_t j = i + 1; j < C; ++j) {
      if (options.channels[i].plug != options.channels[j].plug) continue;
      pairs.emplace_back(i, j);
      exchanged.push_back(right);
      std::swap(exchanged.back().source[i], exchanged.back().source[j]);
    }
  }

  Random random(options.seed);
  std::vector<Candidate> candidates;
  for (std::size_t attempt = 0; attempt < 20 * options.tries && candidates.size() < options.tries; ++attempt) {
    if (stop.stop_requested()) throw Cancelled();
    Candidate candidate;
    candidate.level.resize(static_cast<Eigen::Index>(C));
    for (std::size_t c = 0; c < C; ++c) {
      const Range& tiny = options.channels[c].tiny;
      // From the middle three fifths of the range, a step of a fifth stays within it. Points near the corners
      // distinguish best.
      const double place = 0.5 + std::copysign(0.3 * std::sqrt(random.uniform()), random.uniform() - 0.5);
      candidate.level[static_cast<Eigen::Index>(c)] = tiny.low + place * (tiny.high - tiny.low);
    }
    if (!may_stand(candidate.level, twin.step(), options)) continue;
    std::vector<Twin::Ask> asks;
    for (std::size_t c = 0; c < C; ++c) asks.push_back({&right, &candidate.level, c});
    for (std::size_t p = 0; p < pairs.size(); ++p) {
      asks.push_back({&exchanged[p], &candidate.level, pairs[p].first});
      asks.push_back({&exchanged[p], &candidate.level, pairs[p].second});
    }
    const std::vector<Vector> rows = twin.answers(asks);
    if (std::any_of(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(C), [](const Vector& row) { return !row.allFinite(); })) continue;
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
    candidates.push_back(std::move(candidate));
  }

  // Chooses points one by one, each the best addition to those chosen, until all pairs are clearly
  // distinguished.
  Design design;
  std::vector<double> strength(C, 0);
  std::vector<std::pair<Sums, Sums>> sums(pairs.size());
  while (design.points.size() < options.points && !candidates.empty()) {
    std::size_t best = 0;
    double best_score = -std::numeric_limits<double>::infinity();
    bool enough = !design.points.empty();
    for (std::size_t p = 0; p < pairs.size() && enough; ++p) enough = distinction(sums[p], options) >= clear;
    for (std::size_t c = 0; c < C && enough; ++c) enough = strength[c] >= 100 * options.visible * options.visible;
    if (enough) break;
    for (std::size_t k = 0; k < candidates.size(); ++k) {
      double score = 0;
      for (std::size_t p = 0; p < pairs.size(); ++p) {
        auto both = sums[p];
        both.first += candidates[k].sums[p].first;
        both.second += candidates[k].sums[p].second;
        score += std::min(0.0, std::log((distinction(both, options) + 1e-6) / clear));
      }
      for (std::size_t c = 0; c < C; ++c) score += std::min(0.0, std::log((strength[c] + candidates[k].strength[c] + 1e-12) / (100 * options.visible * options.visible)));
      if (score > best_score) {
        best = k;
        best_score = score;
      }
    }
    Candidate& chosen = candidates[best];
    for (std::size_t c = 0; c < C; ++c) strength[c] += chosen.strength[c];
    for (std::size_t p = 0; p < pairs.size(); ++p) {
      sums[p].first += chosen.sums[p].first;
      sums[p].second += chosen.sums[p].second;
    }
    design.points.push_back(std::move(chosen.level));
    candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(best));
  }
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    if (distinction(sums[p], options) < 1.5 * options.roughness * options.roughness) design.undecided.push_back(pairs[p]);
  }
  return design;
}

}  // namespace ness::wiring
