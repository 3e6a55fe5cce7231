#include "ness/network/vector_target.hpp"

// highway.h defines HWY_TARGETS, the instruction sets compiled into this binary.
#include <hwy/highway.h>

#include <cstdint>
#include <stdexcept>

namespace ness::sim {

namespace {
// Targets in the binary that the machine can run, best first (the lowest bit).
std::vector<std::int64_t> usable() {
  std::vector<std::int64_t> bits;
  for (std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0; targets &= targets - 1)
    bits.push_back(targets & -targets);
  return bits;
}

std::int64_t forced = 0;
}  // namespace

std::string vector_target() { return hwy::TargetName(forced != 0 ? forced : usable().front()); }

std::vector<std::string> vector_targets() {
  std::vector<std::string> names;
  for (const std::int64_t target : usable()) names.emplace_back(hwy::TargetName(target));
  return names;
}

void force_vector_target(const std::string& name) {
  std::string there;
  for (const std::int64_t target : usable()) {
    if (name == hwy::TargetName(target)) {
      forced = target;
      hwy::GetChosenTarget().Update(target);
      return;
    }
    there += (there.empty() ? "" : ", ") + std::string(hwy::TargetName(target));
  }
  throw std::invalid_argument("no vector target '" + name + "' in this binary on this machine: there are " +
                              there);
}

std::string equal_vector_target(const std::string& recorded) {
  // AVX3_DL is AVX3 plus integer and cryptographic instructions: the kernels compile to the same instructions
  // for both, and the compiler fuses nothing by itself (-ffp-contract=off).
  // tests/sim/network/equal_targets_test.cpp compares both.
  const std::string wanted = recorded == "AVX3_DL" ? "AVX3" : recorded;
  for (const std::string& target : vector_targets()) {
    if (target == wanted) return target;
  }
  return {};
}

}  // namespace ness::sim
