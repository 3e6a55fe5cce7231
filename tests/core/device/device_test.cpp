#include <catch2/catch.hpp>

#include "core/device/toy_device.hpp"
#include "device_contract.hpp"
#include "ness/device/chain.hpp"

using namespace ness;

namespace {

Drive good_drive(const toy::Network& network) {
  Drive drive;
  drive.theta = Parameters::of(network.example_theta());
  drive.clamp = pattern_of((Vector(2) << 0.5, -1).finished());
  return drive;
}

// Delivers rows in ways that a device must not.
class Careless final : public Device {
 public:
  explicit Careless(std::vector<std::size_t> indices) : indices_(std::move(indices)) {
    info_.identity = "careless";
  }
  const DeviceInfo& info() const override { return info_; }

 protected:
  void do_relax(std::span<const Drive>, const Sink& sink, std::stop_token) override {
    for (const std::size_t index : indices_) sink(index, Relaxation{});
  }
  SafeReport do_make_safe(std::chrono::milliseconds, SafeProfile) override {
    throw std::runtime_error("relay 3 does not answer");
  }

 private:
  std::vector<std::size_t> indices_;
  DeviceInfo info_;
};

Drive empty_drive() {
  Drive drive;
  drive.theta = Parameters::of(Vector());
  drive.clamp = pattern_of(Vector());
  return drive;
}

}  // namespace

TEST_CASE("the toy network keeps the device contract", "[device]") {
  toy::Network network;
  contract::check_device(network, good_drive(network));
  toy::Options options;
  options.restores_state = false;
  toy::Network without_restore(options);
  contract::check_device(without_restore, good_drive(without_restore));
}

TEST_CASE("index lists walk the terminals in order", "[device]") {
  DeviceInfo info;
  info.terminals.resize(5);
  info.terminals[1].clamped = true;
  info.terminals[3].reads_potential = false;
  info.terminals[0].nudge = {0, 1};
  info.terminals[1].nudge = {-1, 1};  // an input: nothing to nudge
  info.terminals[4].nudge = {-1, 1};
  using List = std::vector<std::uint32_t>;
  CHECK(info.clamped() == List{1});
  CHECK(info.free() == List{0, 2, 3, 4});
  CHECK(info.read() == List{0, 2, 4});
  CHECK(info.nudgeable() == List{0, 4});
  CHECK_FALSE(info.reads_every_free_potential());
  info.outputs = {4, 2};
  CHECK(info.output_positions() == List{2, 1});
  info.terminals[3].name = "hidden";
  info.outputs = {3};
  CHECK_THROWS_AS(info.output_positions(), Unsupported);
  CHECK_THROWS_WITH(info.output_positions(), Catch::Contains("terminal 3 (hidden)"));
}

TEST_CASE("a drive out of limits is refused with value and limit", "[device]") {
  toy::Network network;
  const Drive good = good_drive(network);
  const auto refused = [&](const Drive& drive) {
    try {
      check_drive(network.info(), drive, "drive 7");
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refused(good).empty());
  Drive drive = good;
  Vector theta = network.example_theta();
  theta[1] = -0.5;  // alpha[0]
  drive.theta = Parameters::of(theta);
  CHECK(refused(drive) == "drive 7: parameter 1 (alpha[0]) is -0.5, outside its range [0, 100]");
  drive = good;
  drive.theta = good.theta.with(0, 2e6);
  CHECK_THAT(refused(drive), Catch::Contains("k[0]") && Catch::Contains("2e+06") && Catch::Contains("1e+06"));
  drive.theta.overrides = {{400, 0}};
  CHECK_THAT(refused(drive), Catch::Contains("override of parameter 400"));
  drive = good;
  drive.clamp = pattern_of((Vector(2) << 1, 51).finished());
  CHECK_THAT(refused(drive),
             Catch::Contains("level 51") && Catch::Contains("in1") && Catch::Contains("[-50, 50]"));
  drive = good;
  drive.nudge = (Vector(3) << 0, 0, 10.5).finished();
  CHECK_THAT(refused(drive),
             Catch::Contains("nudge 10.5") && Catch::Contains("out0") && Catch::Contains("[-10, 10]"));
  drive.nudge[2] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THAT(refused(drive), Catch::Contains("nudge nan"));
  drive = good;
  drive.holds = {{2, 1}};
  CHECK(refused(drive).empty());
  drive.holds = {{2, 1}, {2, 1}};
  CHECK_THAT(refused(drive), Catch::Contains("held twice"));
  drive.holds = {{2, 60}};
  CHECK_THAT(refused(drive), Catch::Contains("hold level 60"));
  drive.holds = {{0, 1}};
  CHECK_THAT(refused(drive), Catch::Contains("clamped already"));
  drive.holds = {{77, 1}};
  CHECK_THAT(refused(drive), Catch::Contains("terminal 77"));
  drive = good;
  drive.start = From{std::make_shared<const Vector>(Vector::Constant(3, std::nan("")))};
  CHECK_THAT(refused(drive), Catch::Contains("must be finite"));
  drive.start = From{};
  CHECK_THAT(refused(drive), Catch::Contains("no potentials"));
  drive = good;
  drive.observe = At{1, 0};
  CHECK_THAT(refused(drive), Catch::Contains("0 samples"));
  drive.observe = At{std::numeric_limits<double>::infinity(), 1};
  CHECK_THAT(refused(drive), Catch::Contains("time inf"));
  drive.observe = At{1, 2, -1};
  CHECK_THAT(refused(drive), Catch::Contains("every -1"));
}

TEST_CASE(
    "a device states which readings at a time it offers, and others are refused before anything is imposed",
    "[device]") {
  toy::Network network;
  const Drive good = good_drive(network);
  DeviceInfo info = network.info();
  const auto refused = [&](const Drive& drive) -> std::string {
    try {
      check_drive(info, drive, "drive 0");
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  Drive drive = good;
  drive.observe = At{1, 4, 0.5, At::Mode::serial};
  CHECK(refused(drive).empty());
  info.reads_serial = false;
  CHECK_THAT(refused(drive), Catch::Contains("does not read several times in one relaxation"));
  drive.observe = At{1, 4, 0, At::Mode::repeat};
  CHECK_THAT(refused(drive), Catch::Contains("does not repeat a relaxation"));
  CHECK_THROWS_AS(check_drive(info, drive, "drive 0"), Unsupported);
  info.reads_repeat = true;
  CHECK(refused(drive).empty());
  drive.observe = At{1, 4, 0.5, At::Mode::repeat};
  CHECK_THAT(refused(drive), Catch::Contains("belongs to serial readings"));
  drive.observe = At{1, 4, 0, At::Mode::repeat};
  drive.start = Present{};
  CHECK_THAT(refused(drive), Catch::Contains("from the present state"));
  drive = good;
  drive.observe = At{1, 4, 0.5, At::Mode::serial, true};
  CHECK_THAT(refused(drive), Catch::Contains("does not keep single readings"));
  info.reads_path = info.reads_serial = true;
  CHECK(refused(drive).empty());
  // A single reading is the same in both modes.
  info.reads_serial = info.reads_repeat = false;
  drive.observe = At{1, 1};
  CHECK(refused(drive).empty());
}

TEST_CASE("an infinite parameter is allowed where the range says so", "[device]") {
  DeviceInfo info;
  info.outputs = {0};
  info.terminals.resize(1);
  info.parameters.push_back(
      {"Ki[0]", "Ki", "1", {0, std::numeric_limits<double>::infinity()}, Scale::log, false, 0, -1});
  Drive drive;
  drive.clamp = pattern_of(Vector());
  drive.theta = Parameters::of(Vector::Constant(1, std::numeric_limits<double>::infinity()));
  CHECK_NOTHROW(check_drive(info, drive, "d"));
  info.parameters[0].range.high = 1e6;
  CHECK_THROWS_WITH(check_drive(info, drive, "d"), Catch::Contains("Ki[0]) is inf"));
}

TEST_CASE("a device that delivers out of order, twice or too little is found out", "[device]") {
  const std::vector<Drive> drives(2, empty_drive());
  const Device::Sink ignore = [](std::size_t, const Relaxation&) {};
  for (const std::vector<std::size_t>& wrong : {std::vector<std::size_t>{1, 0}, {0, 0}, {0}, {}, {0, 1, 2}}) {
    Careless device(wrong);
    CHECK_THROWS_AS(device.relax(drives, ignore), std::logic_error);
    CHECK_THROWS_WITH(device.relax(drives, ignore), Catch::Contains("careless"));
  }
  Careless right({0, 1});
  CHECK_NOTHROW(right.relax(drives, ignore));
}

TEST_CASE("making safe reports what failed and never throws", "[device]") {
  Careless device({});
  const SafeReport report = device.make_safe(std::chrono::milliseconds(1));
  CHECK_FALSE(report.safe);
  REQUIRE(report.stuck.size() == 1);
  CHECK_THAT(report.stuck[0], Catch::Contains("relay 3 does not answer"));
  CHECK(SafeReport{}.message() == "safe");
  CHECK(SafeReport{false, {"a at 1 V: no route", "b at 2 V: no route", "c at 3 V: garbled"}}.message() ==
        "NOT SAFE: a at 1 V, b at 2 V: no route; c at 3 V: garbled");
}

TEST_CASE("held terminals stay at their level", "[device]") {
  toy::Network network;
  Drive drive = good_drive(network);
  drive.holds = {{3, 1.25}};
  CHECK(network.relax(drive).potential[1] == 1.25);
}

namespace {

// Records the calls.
class Watching final : public Device {
 public:
  explicit Watching(Device& device) : device_(device) {}
  const DeviceInfo& info() const override { return device_.info(); }
  std::vector<std::vector<Drive>> calls;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    calls.emplace_back(drives.begin(), drives.end());
    device_.relax(drives, sink, stop);
  }

 private:
  Device& device_;
};

// `length` relaxations, the later ones nudged and from Present.
Chain nudged_chain(const Drive& first, std::size_t length, double nudge) {
  return [=](std::span<const Relaxation> so_far) -> std::optional<Drive> {
    if (so_far.size() == length) return std::nullopt;
    Drive drive = first;
    if (!so_far.empty()) {
      drive.start = Present{};
      drive.nudge = Vector::Constant(3, nudge * static_cast<double>(so_far.size()));
    }
    return drive;
  };
}

}  // namespace

TEST_CASE("chains run breadth-first where states are restored", "[chain]") {
  toy::Network network;
  Watching device(network);
  const Drive drive = good_drive(network);
  const std::vector<Chain> chains{nudged_chain(drive, 3, 0.1), nudged_chain(drive, 1, 0),
                                  nudged_chain(drive, 2, -0.2)};
  const auto rows = relax_chains(device, chains);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].size() == 3);
  CHECK(rows[1].size() == 1);
  CHECK(rows[2].size() == 2);
  REQUIRE(device.calls.size() == 3);
  CHECK(device.calls[0].size() == 3);
  CHECK(device.calls[1].size() == 2);
  CHECK(device.calls[2].size() == 1);
  CHECK(device.calls[1][1].label.position == 1);
  CHECK(device.calls[2][0].label.position == 2);
  // Present was replaced by this chain's last state, not the device's.
  const From* from = std::get_if<From>(&device.calls[1][1].start);
  REQUIRE(from);
  CHECK(*from->potential == rows[2][0].potential);
}

TEST_CASE("chains run one after another where the device has one state, with the same results", "[chain]") {
  toy::Options options;
  options.restores_state = false;
  toy::Network network, one_state(options);
  Watching device(one_state);
  const Drive drive = good_drive(network);
  const std::vector<Chain> chains{nudged_chain(drive, 3, 0.1), nudged_chain(drive, 2, -0.2)};
  const auto rows = relax_chains(device, chains);
  CHECK(device.calls.size() == 5);
  CHECK(std::holds_alternative<Present>(device.calls[1][0].start));
  const auto breadth_first = relax_chains(network, chains);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t k = 0; k < rows[i].size(); ++k)
      CHECK(rows[i][k].potential == breadth_first[i][k].potential);
  }
}

TEST_CASE("a chain goes on from rest where its last relaxation gave no numbers", "[chain]") {
  toy::Options options;
  options.fails = [](const Drive& drive) { return drive.label.position == 0; };
  toy::Network network(options);
  Watching device(network);
  const std::vector<Chain> chains{nudged_chain(good_drive(network), 2, 0.1)};
  std::vector<std::vector<Relaxation>> rows;
  REQUIRE_NOTHROW(rows = relax_chains(device, chains));
  CHECK(rows[0].size() == 2);
  REQUIRE(device.calls.size() == 2);
  CHECK(std::holds_alternative<Rest>(device.calls[1][0].start));
}
