// A seeded choice among rows, as split_off makes it.
#pragma once

#include <cstdint>
#include <vector>

namespace ness {

/// Moves `count` of the rows, chosen by a seeded permutation of their places, out of `rows`; both stay in
/// order. `count` <= size.
std::vector<std::uint64_t> split_rows(std::vector<std::uint64_t>& rows, std::uint64_t count,
                                      std::uint64_t seed);

}  // namespace ness
