// A digest that is taken while a vector is made.
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

/// The digest of a vector that is made in parts of `part` numbers, in any order and on several threads: each part enters after those before
/// it, while it is still in a core's cache.
class DigestOfParts {
 public:
  DigestOfParts(const Vector& of, std::size_t part) : of_(of.data(), static_cast<std::size_t>(of.size())), part_(part), made_((of_.size() + part - 1) / part, false) {}
  void made(std::size_t k) {
    std::unique_lock lock(mutex_);
    made_[k] = true;
    if (std::exchange(busy_, true)) return;  // who is busy takes it
    for (; next_ < made_.size() && made_[next_]; ++next_) {
      lock.unlock();
      digester_.add(of_.subspan(next_ * part_, std::min(part_, of_.size() - next_ * part_)));
      lock.lock();
    }
    busy_ = false;
  }
  /// Once all are made.
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
