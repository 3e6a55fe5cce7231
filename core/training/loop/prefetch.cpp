#include "loop/prefetch.hpp"

namespace ness {

// The order of states within an epoch is random, so the processor cannot predict it. Each state is behind two
// pointers, which are fetched a few samples apart.
void prefetch_states(const std::vector<std::shared_ptr<Vector>>& last,
                     std::span<const std::uint64_t> samples) {
  constexpr std::size_t far = 24, near = 16, at_hand = 8;
  if (far < samples.size()) __builtin_prefetch(&last[samples[far]]);
  if (near < samples.size() && last[samples[near]]) __builtin_prefetch(last[samples[near]].get());
  if (at_hand >= samples.size() || !last[samples[at_hand]]) return;
  const Vector& state = *last[samples[at_hand]];
  constexpr Eigen::Index line = 8;  // numbers
  for (Eigen::Index at = 0; at < state.size(); at += line) __builtin_prefetch(state.data() + at);
}

}  // namespace ness
