// A device outside Ness: it needs only ness::device.
#pragma once

#include <ness/device/device.hpp>

/// A divider on a bench: one input, one output y = x G / (G + 1).
class Divider final : public ness::Device {
 public:
  Divider() {
    info_.identity = "voltage divider";
    info_.terminals = {{.name = "in", .clamped = true}, {.name = "out"}};
    info_.outputs = {1};
    info_.parameters = {
        {.name = "G", .kind = "G", .unit = "1", .range = {1e-3, 1e3}, .scale = ness::Scale::log}};
  }
  const ness::DeviceInfo& info() const override { return info_; }

 protected:
  void do_relax(std::span<const ness::Drive> drives, const Sink& sink, std::stop_token) override {
    for (std::size_t i = 0; i < drives.size(); ++i) {
      const double G = drives[i].theta[0];
      ness::Relaxation reading;
      reading.potential = ness::Vector::Constant(1, drives[i].clamp.levels()[0] * G / (G + 1));
      sink(i, reading);
    }
  }
  ness::DeviceInfo info_;
};
