#include "ness/device/relaxation.hpp"

#include <array>
#include <utility>

namespace ness {

std::uint16_t Quality::all() const {
  std::uint16_t flags = whole;
  for (const std::uint16_t reading : terminal) flags = static_cast<std::uint16_t>(flags | reading);
  return flags;
}

std::string to_string_flags(std::uint16_t flags) {
  static constexpr std::array<std::pair<Flag, const char*>, 10> names{{
      {Flag::drifting, "drifting"},
      {Flag::timed_out, "timed_out"},
      {Flag::in_compliance, "in_compliance"},
      {Flag::over_range, "over_range"},
      {Flag::invalid, "invalid"},
      {Flag::oscillating, "oscillating"},
      {Flag::other_branch, "other_branch"},
      {Flag::no_stable_state, "no_stable_state"},
      {Flag::not_converged, "not_converged"},
      {Flag::near_other_branch, "near_other_branch"},
  }};
  if (flags == 0) return "settled";
  std::string text;
  for (const auto& [flag, name] : names) {
    if ((flags & bit(flag)) == 0) continue;
    if (!text.empty()) text += '+';
    text += name;
    flags = static_cast<std::uint16_t>(flags & ~bit(flag));
  }
  if (flags != 0) text += (text.empty() ? "unknown(" : "+unknown(") + std::to_string(flags) + ")";
  return text;
}

}  // namespace ness
