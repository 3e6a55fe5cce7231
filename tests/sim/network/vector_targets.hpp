// Checks on every instruction set of this machine.
#pragma once

#include <catch2/catch.hpp>

#include <string>
#include <vector>

#include "ness/network/vector_target.hpp"

// Runs `check` once on every vector target of this machine, and restores the best.
template <class Check>
void on_every_target(Check check) {
  const std::vector<std::string> targets = ness::sim::vector_targets();
  REQUIRE(!targets.empty());
  for (const std::string& target : targets) {
    ness::sim::force_vector_target(target);
    INFO("vector target " << target);
    CHECK(ness::sim::vector_target() == target);
    check();
  }
  ness::sim::force_vector_target(targets.front());
}
