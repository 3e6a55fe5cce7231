#include "ness/device/wrapping_device.hpp"

#include <catch2/catch.hpp>

#include "core/device/toy_device.hpp"
#include "device_contract.hpp"

using namespace ness;

namespace {

/// Adds nothing.
class Plain final : public WrappingDevice {
 public:
  explicit Plain(Device& inner) : WrappingDevice(inner) {}

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    pass_on(inner(), drives, sink, stop);
  }
};

/// Records all calls except relax.
class Noting final : public WrappingDevice {
 public:
  explicit Noting(Device& inner) : WrappingDevice(inner) {}
  void seek(std::uint64_t ordinal) override { sought = ordinal; }
  std::uint64_t sought = 0;
  std::chrono::milliseconds budget{0};
  std::optional<SafeProfile> profile;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    pass_on(inner(), drives, sink, stop);
  }
  SafeReport do_make_safe(std::chrono::milliseconds within, SafeProfile asked) override {
    budget = within;
    profile = asked;
    return {.safe = false, .stuck = {"gate at 2 V: no answer"}};
  }
};

}  // namespace

TEST_CASE("a device around another keeps the contract of devices") {
  toy::Network network;
  Plain device(network);
  Drive drive;
  drive.theta = Parameters::of(network.example_theta());
  drive.clamp = pattern_of(Vector{{0.5, 1.0}});
  contract::check_device(device, drive);
}

TEST_CASE("a device around another hands on all that it does not override") {
  toy::Network network;
  Noting noting(network);
  Plain middle(noting);
  Plain outer(static_cast<Device&>(middle));
  CHECK(&outer.info() == &network.info());
  outer.seek(17);
  CHECK(noting.sought == 17);
  const SafeReport report = outer.make_safe(std::chrono::milliseconds(250), SafeProfile::emergency);
  CHECK(noting.budget == std::chrono::milliseconds(250));
  CHECK(noting.profile == SafeProfile::emergency);
  CHECK_FALSE(report.safe);
  CHECK(report.stuck == std::vector<std::string>{"gate at 2 V: no answer"});
}
