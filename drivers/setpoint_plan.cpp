#include "ness/drivers/setpoint_plan.hpp"

#include <algorithm>
#include <cmath>

#include "number.hpp"

namespace ness::drivers {

double SetpointPlanner::Bound::value(std::span<const double> levels) const {
  double sum = 0;
  for (const auto& [channel, factor] : terms) sum += factor * levels[channel];
  return sum;
}

// Rounding error of a sum of a few levels, which is not a violation.
double SetpointPlanner::slack(const Bound& bound) const {
  double size = std::abs(bound.limit);
  for (const auto& [channel, factor] : bound.terms)
    size = std::max(size, std::abs(factor) * std::max(std::abs(channels_[channel].limits.low),
                                                      std::abs(channels_[channel].limits.high)));
  return 1e-12 * size;
}

SetpointPlanner::SetpointPlanner(std::vector<PlannedChannel> channels,
                                 const std::vector<CrossLimit>& cross_limits)
    : channels_(std::move(channels)) {
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    const PlannedChannel& channel = channels_[c];
    const auto refuse = [&](const std::string& reason) {
      throw std::invalid_argument("channel '" + channel.name + "': " + reason);
    };
    if (!(channel.limits.low <= channel.limits.high) || !std::isfinite(channel.limits.low) ||
        !std::isfinite(channel.limits.high))
      refuse("its limits must be finite, low below high");
    if (!(channel.largest_step > 0))
      refuse("the largest step is " + number(channel.largest_step) + "; expected more than 0");
    if (!(channel.rate > 0)) refuse("the rate is " + number(channel.rate) + "; expected more than 0");
    if (!(channel.resolution >= 0))
      refuse("the resolution is " + number(channel.resolution) + "; expected 0 or more");
    bounds_.push_back({"the upper limit of '" + channel.name + "'", {{c, 1.0}}, channel.limits.high});
    bounds_.push_back({"the lower limit of '" + channel.name + "'", {{c, -1.0}}, -channel.limits.low});
  }
  for (const CrossLimit& limit : cross_limits) {
    const auto refuse = [&](const std::string& reason) {
      throw std::invalid_argument("cross-limit '" + limit.name + "': " + reason);
    };
    if (limit.terms.empty()) refuse("it names no channel");
    if (!(limit.limits.low <= limit.limits.high)) refuse("low must not exceed high");
    std::vector<std::pair<std::size_t, double>> negative;
    for (const auto& [channel, factor] : limit.terms) {
      if (channel >= channels_.size()) refuse("there is no channel " + std::to_string(channel));
      if (!std::isfinite(factor) || factor == 0) refuse("a factor must be finite and not 0");
      negative.emplace_back(channel, -factor);
    }
    if (std::isfinite(limit.limits.high))
      bounds_.push_back({"the upper bound of '" + limit.name + "'", limit.terms, limit.limits.high});
    if (std::isfinite(limit.limits.low))
      bounds_.push_back({"the lower bound of '" + limit.name + "'", negative, -limit.limits.low});
  }
}

SetpointPlanner SetpointPlanner::without(const std::vector<bool>& absent) const {
  SetpointPlanner rest = *this;
  std::erase_if(rest.bounds_, [&](const Bound& bound) {
    return std::any_of(bound.terms.begin(), bound.terms.end(),
                       [&](const auto& term) { return absent[term.first]; });
  });
  return rest;
}

std::string SetpointPlanner::broken(std::span<const double> levels) const {
  for (const Bound& bound : bounds_) {
    const double value = bound.value(levels);
    if (value <= bound.limit + slack(bound)) continue;
    std::string where;
    for (const auto& [channel, factor] : bound.terms)
      where += (where.empty() ? "" : ", ") + channels_[channel].name + " at " + number(levels[channel]);
    const double sign = bound.name.find("lower") == std::string::npos ? 1 : -1;
    return where + ": " + number(sign * value) + " is beyond " + bound.name + ", " +
           number(sign * bound.limit);
  }
  return {};
}

void SetpointPlanner::require(std::span<const double> from, std::span<const double> to) const {
  if (from.size() != channels_.size() || to.size() != channels_.size()) {
    throw std::invalid_argument("a plan for " + std::to_string(channels_.size()) + " channels was given " +
                                std::to_string(from.size()) + " levels and " + std::to_string(to.size()) +
                                " targets");
  }
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    if (std::isfinite(from[c]) && std::isfinite(to[c])) continue;
    throw std::invalid_argument("channel '" + channels_[c].name + "': its level or target is not finite");
  }
  // Bounds in which no channel moves may be violated: a channel stuck beyond a limit must not prevent the
  // others from moving.
  for (const Bound& bound : bounds_) {
    const bool moves = std::any_of(bound.terms.begin(), bound.terms.end(),
                                   [&](const auto& term) { return from[term.first] != to[term.first]; });
    if (moves && bound.value(to) > bound.limit + slack(bound))
      throw PlanRefused("the target breaks a limit: " + broken(to));
  }
}

// `reached`: upper estimate of each bound after this step.
SetpointPlanner::Move SetpointPlanner::largest_move(std::size_t c, double wanted,
                                                    std::span<const double> reached) const {
  Move move;
  move.whole = std::clamp(wanted, -channels_[c].largest_step, channels_[c].largest_step);
  for (std::size_t b = 0; b < bounds_.size(); ++b) {
    for (const auto& [channel, factor] : bounds_[b].terms) {
      const double raises = channel == c ? factor * move.whole : 0;
      if (raises <= 0) continue;
      const double room = bounds_[b].limit - reached[b];
      // A target exactly on its limit is reached despite rounding.
      if (raises * move.share <= room + slack(bounds_[b]) / 2) continue;
      // A bound that is already violated must not be raised at all.
      move.share = std::max(0.0, room) / raises;
      move.in_the_way = &bounds_[b];
    }
  }
  return move;
}

std::vector<RampStep> SetpointPlanner::plan(std::span<const double> from, std::span<const double> to) const {
  require(from, to);
  std::vector<double> now(from.begin(), from.end());
  std::vector<RampStep> steps;
  for (;;) {
    // Upper estimate of each bound in this step for any mixture of old and new levels: it starts from the old
    // levels, and includes only moves that raise it.
    std::vector<double> reached(bounds_.size());
    for (std::size_t b = 0; b < bounds_.size(); ++b) reached[b] = bounds_[b].value(now);
    RampStep step;
    std::vector<double> next = now;
    const Bound* in_the_way = nullptr;
    for (std::size_t c = 0; c < channels_.size(); ++c) {
      if (now[c] == to[c]) continue;
      const Move largest = largest_move(c, to[c] - now[c], reached);
      if (largest.in_the_way != nullptr) in_the_way = largest.in_the_way;
      const double move = largest.share * largest.whole;
      const bool arrives = largest.share >= 1 && largest.whole == to[c] - now[c];
      if (std::abs(move) <= 0 || (!arrives && std::abs(move) < channels_[c].resolution)) continue;
      next[c] = arrives ? to[c] : now[c] + move;
      if (next[c] == now[c]) continue;
      for (std::size_t b = 0; b < bounds_.size(); ++b) {
        for (const auto& [channel, factor] : bounds_[b].terms) {
          if (channel == c) reached[b] += std::max(0.0, factor * (next[c] - now[c]));
        }
      }
      step.writes.emplace_back(c, next[c]);
      step.wait = std::max(step.wait, std::abs(next[c] - now[c]) / channels_[c].rate);
    }
    if (step.writes.empty()) {
      const auto difference = std::mismatch(now.begin(), now.end(), to.begin());
      if (difference.first == now.end()) return steps;
      const auto c = static_cast<std::size_t>(difference.first - now.begin());
      throw PlanRefused("no way leads from " + number(now[c]) + " to " + number(to[c]) + " on '" +
                        channels_[c].name + "': it is held back by " +
                        (in_the_way == nullptr ? "its resolution" : in_the_way->name));
    }
    now = std::move(next);
    steps.push_back(std::move(step));
  }
}

// Dykstra's alternating projections onto the half-spaces of the bounds.
std::vector<double> SetpointPlanner::nearest(std::span<const double> wanted,
                                             const std::vector<bool>& stuck) const {
  if (wanted.size() != channels_.size() || stuck.size() != channels_.size())
    throw std::invalid_argument("nearest levels of " + std::to_string(channels_.size()) +
                                " channels were asked with " + std::to_string(wanted.size()));
  std::vector<double> levels(wanted.begin(), wanted.end());
  std::vector<double> correction(bounds_.size(), 0);
  const auto may_break = [&](const Bound& bound) {  // a channel that can move contributes
    return std::any_of(bound.terms.begin(), bound.terms.end(),
                       [&](const auto& term) { return !stuck[term.first]; });
  };
  if (std::none_of(bounds_.begin(), bounds_.end(),
                   [&](const Bound& bound) { return may_break(bound) && bound.value(levels) > bound.limit; }))
    return levels;
  // A small margin, so that the result satisfies the bounds despite rounding.
  const auto projected = [&](std::size_t b) {
    const Bound& bound = bounds_[b];
    double norm = 0;
    for (const auto& [channel, factor] : bound.terms) norm += stuck[channel] ? 0 : factor * factor;
    if (norm == 0) return 0.0;
    const double over = (bound.value(levels) - bound.limit + 100 * slack(bound)) / norm + correction[b];
    const double now = std::max(0.0, over);
    for (const auto& [channel, factor] : bound.terms) {
      if (!stuck[channel]) levels[channel] -= (now - correction[b]) * factor;
    }
    const double moved = std::abs(now - correction[b]) * std::sqrt(norm);
    correction[b] = now;
    return moved;
  };
  for (int round = 0; round < 100000; ++round) {
    double moved = 0;
    for (std::size_t b = 0; b < bounds_.size(); ++b) moved = std::max(moved, projected(b));
    if (moved < 1e-14) break;
  }
  for (const Bound& bound : bounds_) {
    if (may_break(bound) && bound.value(levels) > bound.limit + slack(bound)) {
      throw PlanRefused("with the stuck channels where they are no levels of the others keep " + bound.name);
    }
  }
  return levels;
}

}  // namespace ness::drivers
