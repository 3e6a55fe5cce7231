// Memory for vector code, aligned to a cache line and not cleared. (A vector of 64 bytes across two lines
// needs two loads.)
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>

namespace ness::sim {

constexpr std::align_val_t cache_line{64};

struct FreeAligned {
  void operator()(void* memory) const { ::operator delete(memory, cache_line); }
};
template <class T>
using Aligned = std::unique_ptr<T[], FreeAligned>;

/// Memory for n numbers. Throws std::bad_alloc.
template <class T>
Aligned<T> aligned(std::size_t n) {
  static_assert(std::is_trivially_default_constructible_v<T> && std::is_trivially_destructible_v<T>);
  return Aligned<T>(static_cast<T*>(::operator new(n * sizeof(T), cache_line)));
}

}  // namespace ness::sim
