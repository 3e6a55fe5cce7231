#include "estimators/perturbed_relaxations.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "ness/device/number_text.hpp"

namespace ness {

std::string PerturbationOptions::problem() const {
  if (!(return_tolerance > 0))
    return "return_tolerance " + number_text(return_tolerance) + "; it must be > 0 (infinite: no test)";
  if (attempts == 0) return "attempts 0; at least 1 is needed";
  if (cancel_drift && references == 0u)
    return "drift is to be cancelled, but references is 0: there is nothing to see it by";
  return {};
}

PerturbationEstimator::PerturbationEstimator(const std::string& name, const PerturbationOptions& options)
    : perturbation_options_(options) {
  if (const std::string problem = options.problem(); !problem.empty())
    throw std::invalid_argument(name + ": " + problem);
}

// Role of each row of a chain. An attempt consists of the free relaxation, then perturbations, with a free
// relaxation after every `references` of them and after the last.
struct PerturbationEstimator::Walk {
  std::vector<std::size_t> free, perturbations;  // rows of the last attempt
  bool next_is_free = false;                     // the chain's next relaxation is free
  bool whole = false;                            // the last attempt is complete
  bool over = false;                             // the chain has ended
  std::uint64_t lost = 0;
};

std::uint32_t PerturbationEstimator::references(const DeviceInfo& info, std::size_t perturbations,
                                                bool at_a_time) const {
  if (!relaxes_freely() || perturbations == 0) return 0;
  if (perturbation_options_.references) return *perturbation_options_.references;
  const bool restored = info.restores_state && info.reads_every_free_potential();
  if (!perturbation_options_.cancel_drift && (restored || starts_afresh() || at_a_time)) return 0;
  return static_cast<std::uint32_t>(perturbations);
}

double PerturbationEstimator::relaxations(const DeviceInfo& info, double perturbations) const {
  const auto whole = static_cast<std::size_t>(std::ceil(perturbations));
  const std::uint32_t every = references(info, whole, false);
  return (relaxes_freely() ? 1 : 0) + perturbations +
         (every == 0 ? 0 : std::ceil(static_cast<double>(whole) / every));
}

namespace {

// True if a row shows the free state again, within its errors.
bool same_state(const Relaxation& a, const Relaxation& b, double tolerance) {
  constexpr double errors = 6;  // standard errors: chance alone exceeds it once in 10^9
  for (Eigen::Index k = 0; k < a.potential.size(); ++k) {
    const double sa = a.sigma.size() > 0 ? a.sigma[k] : 0, sb = b.sigma.size() > 0 ? b.sigma[k] : 0;
    if (!(std::abs(a.potential[k] - b.potential[k]) <= tolerance + errors * std::hypot(sa, sb))) return false;
  }
  return true;
}

}  // namespace

PerturbationEstimator::Walk PerturbationEstimator::walk(const DeviceInfo& info, std::size_t perturbations,
                                                        bool at_a_time,
                                                        std::span<const Relaxation> rows) const {
  const std::uint32_t every = references(info, perturbations, at_a_time);
  Walk at;
  const auto next = [&] {
    at.next_is_free = (at.free.empty() && relaxes_freely()) ||
                      (every > 0 && !at.perturbations.empty() &&
                       (at.perturbations.size() % every == 0 || at.perturbations.size() == perturbations) &&
                       at.free.size() < 1 + (at.perturbations.size() + every - 1) / every);
    at.whole = !at.next_is_free && at.perturbations.size() == perturbations;
    at.over = at.whole;
  };
  std::size_t attempts = 1;
  next();
  for (std::size_t i = 0; i < rows.size() && !at.over; ++i) {
    const Relaxation& row = rows[i];
    const bool first = at.free.empty() && at.perturbations.empty();
    if (!row.quality.usable()) {
      at.over = true;
      break;
    }
    // The free state may be on any branch, but all that is compared with it must be on the same branch.
    const bool moved =
        !first && !at_a_time && !starts_afresh() && (row.quality.all() & bit(Flag::other_branch)) != 0;
    if (moved || (!at_a_time && at.next_is_free && !first &&
                  !same_state(rows[at.free.front()], row, perturbation_options_.return_tolerance))) {
      ++at.lost;
      if (attempts++ == perturbation_options_.attempts) {
        at.over = true;
        break;
      }
      at.free.clear();
      at.perturbations.clear();
      next();
      continue;
    }
    (at.next_is_free ? at.free : at.perturbations).push_back(i);
    next();
  }
  return at;
}

std::vector<Chain> PerturbationEstimator::chains(const DeviceInfo& info, const Minibatch& batch,
                                                 const Loss& loss) const {
  return chains_of(plan(info, batch, loss), info, batch);
}

std::vector<Chain> PerturbationEstimator::chains_of(std::shared_ptr<const PerturbationPlan> shared,
                                                    const DeviceInfo& info, const Minibatch& batch) const {
  const bool restores = info.restores_state && info.reads_every_free_potential();
  std::vector<Chain> all;
  all.reserve(batch.samples.size());
  for (std::size_t i = 0; i < batch.samples.size(); ++i) {
    all.emplace_back(
        [this, shared, &info, &batch, i, restores](std::span<const Relaxation> rows) -> std::optional<Drive> {
          const Walk at = walk(info, shared->perturbations(i), batch.at_a_time(), rows);
          if (at.over) return std::nullopt;
          Drive drive = batch.free_drive(i);
          const bool first = at.free.empty() && at.perturbations.empty();
          // A lost sample starts again from rest, because its present state is on the wrong branch.
          if (first && at.lost > 0 && !std::holds_alternative<Rest>(drive.start)) drive.start = Rest{};
          if (first && relaxes_freely()) return drive;
          ChainSoFar seen;
          seen.lost = at.lost;
          if (!at.free.empty()) seen.free = &rows[at.free.front()];
          // When reading at a fixed time, a perturbation continued from the free state would be read at twice
          // that time.
          if (!starts_afresh() && !batch.at_a_time()) {
            drive.start = Present{};
            if (restores && seen.free != nullptr)
              drive.start = From{std::make_shared<const Vector>(seen.free->potential)};
          }
          if (at.next_is_free) return drive;
          for (const std::size_t k : at.perturbations) seen.perturbations.push_back(&rows[k]);
          if (!shared->impose(drive, i, seen.perturbations.size(), seen)) return std::nullopt;
          return drive;
        });
  }
  return all;
}

// The drift is taken as linear in time between free relaxations, and extrapolated beyond the last.
void PerturbationEstimator::subtract_drift(const Walk& at, std::span<const Relaxation> rows,
                                           Sample& sample) const {
  if (at.free.size() < 2) return;
  const Relaxation& origin = rows[at.free.front()];
  // If each relaxation has its own clock, the position in the chain is used instead of the time.
  bool one_clock = true;
  for (std::size_t i = at.free.front() + 1; i < rows.size(); ++i)
    one_clock = one_clock && rows[i].timing.start >= rows[i - 1].timing.read;
  one_clock = one_clock && rows.back().timing.read > origin.timing.read;
  const auto time = [&](std::size_t i) { return one_clock ? rows[i].timing.read : static_cast<double>(i); };
  for (std::size_t k = 0; k < at.perturbations.size(); ++k) {
    const std::size_t row = at.perturbations[k];
    const auto later = std::upper_bound(at.free.begin() + 1, at.free.end() - 1, row);
    const Relaxation &before = rows[*(later - 1)], &after = rows[*later];
    const double share = (time(row) - time(*(later - 1))) / (time(*later) - time(*(later - 1)));
    sample.potential[k] -= before.potential + share * (after.potential - before.potential) - origin.potential;
  }
}

PerturbationEstimator::SortedRows PerturbationEstimator::sort_rows(
    const DeviceInfo& info, const Minibatch& batch, const PerturbationPlan& plan,
    std::span<const std::vector<Relaxation>> rows) const {
  SortedRows sorted;
  sorted.samples.resize(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Walk at = walk(info, plan.perturbations(i), batch.at_a_time(), rows[i]);
    sorted.lost += at.lost;
    if (!at.whole) continue;
    Sample sample;
    sample.index = i;
    sample.lost = at.lost;
    if (!at.free.empty()) sample.free = &rows[i][at.free.front()];
    for (const std::size_t k : at.perturbations) {
      sample.perturbations.push_back(&rows[i][k]);
      sample.potential.push_back(rows[i][k].potential);
    }
    if (perturbation_options_.cancel_drift) subtract_drift(at, rows[i], sample);
    sorted.samples[i] = std::move(sample);
  }
  return sorted;
}

}  // namespace ness
