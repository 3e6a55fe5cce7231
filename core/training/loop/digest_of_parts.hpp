// Digest of a vector, computed while the vector is being filled.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "ness/device/digest.hpp"
#include "ness/device/vector.hpp"

namespace ness {

/// The digest of a vector that is filled in parts of `part` numbers, in any order and by several threads.
/// Parts enter the digest in order, each while it is still in a core's cache.
class DigestOfParts {
 public:
  DigestOfParts(const Vector& of, std::size_t part)
      : of_(of.data(), static_cast<std::size_t>(of.size())),
        part_(part),
        made_((of_.size() + part - 1) / part, false) {}
  void made(std::size_t k) {
    std::unique_lock lock(mutex_);
    made_[k] = true;
    if (std::exchange(busy_, true)) return;  // the thread that is busy will add this part
    for (; next_ < made_.size() && made_[next_]; ++next_) {
      lock.unlock();
      digester_.add(of_.subspan(next_ * part_, std::min(part_, of_.size() - next_ * part_)));
      lock.lock();
    }
    busy_ = false;
  }
  /// Call after all parts are made.
  std::uint64_t value() const { return digester_.value(); }

 private:
  std::span<const double> of_;
  std::size_t part_, next_ = 0;
  std::vector<bool> made_;
  bool busy_ = false;
  std::mutex mutex_;
  Digester digester_;
};

}  // namespace ness
