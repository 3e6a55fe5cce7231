// Independent work on all cores.
#pragma once

#include <cstddef>
#include <functional>

namespace ness {

/// Calls body(i) for i = 0 .. n-1, on `threads` threads (0: all cores; 1: this one). The calls must be
/// independent: which thread runs which is not said. An exception ends the loop and is thrown on.
void for_each_index(std::size_t n, unsigned threads, const std::function<void(std::size_t)>& body);

}  // namespace ness
