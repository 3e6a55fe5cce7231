// Time, as whoever waits for a device sees it: the wall's, or the virtual time of an emulated bench.
#pragma once

#include <memory>
#include <stop_token>

namespace ness {

class Clock {
 public:
  virtual ~Clock() = default;
  /// Seconds since some moment of its own.
  virtual double now() const = 0;
  /// Lets `seconds` pass; returns early when a stop is requested.
  virtual void wait(double seconds, std::stop_token stop = {}) = 0;
};

std::shared_ptr<Clock> wall_clock();

}  // namespace ness
