// A device that answers relaxation i with log_test::relaxation_of(i), and fails in chosen relaxations.
#pragma once

#include <map>
#include <utility>

#include "core/record/log_fixture.hpp"
#include "ness/device/device.hpp"

namespace log_test {

class Scripted final : public Device {
 public:
  const DeviceInfo& info() const override { return info_; }
  void seek(std::uint64_t ordinal) override { next = ordinal; }

  std::uint64_t next = 0;                        ///< ordinal of the next relaxation
  std::uint64_t made = 0;                        ///< relaxations
  std::map<std::uint64_t, std::string> failing;  ///< attempts that fail once, with the reason
  std::chrono::milliseconds safe_budget{0};
  SafeProfile safe_profile = SafeProfile::stop;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    for (std::size_t i = 0; i < drives.size(); ++i) {
      if (stop.stop_requested()) throw Cancelled();
      if (const auto failure = failing.extract(next)) throw std::runtime_error(failure.mapped());
      ++made;
      sink(i, relaxation_of(next++));
    }
  }
  SafeReport do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) override {
    safe_budget = budget;
    safe_profile = profile;
    return {false, {"gate 3 at 0.2 V"}};
  }

 private:
  DeviceInfo info_ = small_info();
};

inline std::vector<Drive> drives_of(std::uint64_t first, std::uint64_t end,
                                    const std::shared_ptr<const PatternSet>& set) {
  std::vector<Drive> drives;
  for (std::uint64_t i = first; i < end; ++i) drives.push_back(drive_of(i, set));
  return drives;
}

}  // namespace log_test
