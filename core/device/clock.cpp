#include "ness/device/clock.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace ness {

namespace {

class WallClock final : public Clock {
 public:
  double now() const override {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  void wait(double seconds, std::stop_token stop) override {
    if (!(seconds > 0)) return;
    std::mutex mutex;
    std::condition_variable_any sleeping;
    std::unique_lock lock(mutex);
    sleeping.wait_for(lock, stop, std::chrono::duration<double>(seconds), [] { return false; });
  }
};

}  // namespace

std::shared_ptr<Clock> wall_clock() { return std::make_shared<WallClock>(); }

}  // namespace ness
