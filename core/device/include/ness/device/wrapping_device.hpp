// A device around another: the base of whatever adds something to a device on the way (noise, a log, a
// count).
#pragma once

#include <chrono>
#include <cstdint>

#include "ness/device/device.hpp"

namespace ness {

/// Is the device it stands around in everything that it does not override: info, seek, making safe. A class
/// derived from it implements do_relax and overrides what it changes; nothing can be forgotten. Keeps a
/// reference to the device, which must outlive it.
class WrappingDevice : public Device {
 public:
  const DeviceInfo& info() const override { return inner_.info(); }
  void seek(std::uint64_t ordinal) override { inner_.seek(ordinal); }

 protected:
  explicit WrappingDevice(Device& inner) : inner_(inner) {}
  SafeReport do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) override {
    return inner_.make_safe(budget, profile);
  }
  Device& inner() const { return inner_; }

 private:
  Device& inner_;
};

}  // namespace ness
