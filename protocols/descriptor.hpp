// Bytes through a non-blocking file descriptor, with time limits.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "ness/protocols/transport.hpp"

namespace ness::protocols {

/// Writes all of `bytes`. Throws Timeout or LinkError.
void write_all(int descriptor, std::string_view bytes, Milliseconds limit, const std::string& address);
/// Reads at least one byte. Throws Timeout or LinkError.
std::size_t read_some(int descriptor, std::span<char> into, Milliseconds limit, const std::string& address);

}  // namespace ness::protocols
