#include "ness/laboratory/twin.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "core/device/toy_device.hpp"
#include "device_contract.hpp"
#include "ness/device/error.hpp"

using namespace ness;

namespace {

TwinOffsets offsets_of(const toy::Network& network, bool readings) {
  TwinOffsets offsets;
  offsets.theta.resize(static_cast<Eigen::Index>(network.parameters()));
  for (Eigen::Index i = 0; i < offsets.theta.size(); ++i)
    offsets.theta[i] = 0.05 * std::cos(1.0 + 1.7 * static_cast<double>(i));
  if (readings) {
    offsets.gain = (Vector(3) << 1.01, 0.98, 1.03).finished();
    offsets.reading_offset = (Vector(3) << 0.02, -0.01, 0.005).finished();
    offsets.input_gain = (Vector(2) << 1.02, 0.97).finished();
    offsets.input_offset = (Vector(2) << -0.03, 0.01).finished();
  }
  return offsets;
}

/// Gains of all gates, zeros of those in log scale, and cross-talk between two in linear scale.
void add_gates(TwinOffsets& offsets, const std::vector<ParameterInfo>& parameters) {
  const auto n = static_cast<Eigen::Index>(parameters.size());
  offsets.gate_gain = offsets.gate_zero = Vector::Zero(n);
  std::vector<std::uint32_t> linear;
  for (Eigen::Index i = 0; i < n; ++i) {
    offsets.gate_gain[i] = 0.03 * std::sin(2.0 + 1.3 * static_cast<double>(i));
    if (parameters[static_cast<std::size_t>(i)].scale == Scale::log)
      offsets.gate_zero[i] = 0.02 * std::cos(static_cast<double>(i));
    else linear.push_back(static_cast<std::uint32_t>(i));
  }
  REQUIRE(linear.size() >= 2);
  offsets.cross_talk = {{linear[0], linear[1], 0.04}, {linear[1], linear[0], -0.03}};
}

Drive drive_of(const Vector& theta) {
  Drive drive;
  drive.theta = Parameters::of(theta);
  drive.clamp = pattern_of((Vector(2) << 0.7, -0.4).finished());
  return drive;
}

}  // namespace

TEST_CASE("an offset adds on a linear scale, and multiplies by its exponential on a logarithmic one",
          "[twin]") {
  CHECK(offset_value(Scale::linear, 1.5, -0.25) == 1.25);
  CHECK(offset_value(Scale::log, 1.5, std::log(2.0)) == Approx(3.0).epsilon(1e-15));
  const toy::Network network;
  const Vector theta = network.example_theta();
  CHECK(offset_values(network.info().parameters, theta, {}) == theta);
}

TEST_CASE("a calibrated model's derivatives are those of its currents by setpoints and by potentials as read",
          "[twin]") {
  const toy::Network network;
  const auto& parameters = network.info().parameters;
  for (const auto& [readings, gates] : {std::pair{false, false}, {true, false}, {true, true}}) {
    INFO((readings ? "with" : "without") << " gains, " << (gates ? "with" : "without") << " gates");
    TwinOffsets offsets = offsets_of(network, readings);
    if (gates) add_gates(offsets, parameters);
    const TwinModel twin(toy::model_of(network), parameters, 2, offsets);
    Drive drive = drive_of(network.example_theta());
    drive.theta = drive.theta.with(0, 1.3);  // overrides are setpoints too
    const Vector read = (Vector(3) << 0.1, 0.3, -0.2).finished(),
                 costate = (Vector(3) << 0.4, -1.2, 0.8).finished();
    // I as a function of setpoints and readings, written out.
    const auto current = [&](const Vector& setpoint, const Vector& reading) {
      Vector theta = setpoint, mu = reading;
      for (Eigen::Index i = 0; i < theta.size(); ++i) {
        const bool log = parameters[static_cast<std::size_t>(i)].scale == Scale::log;
        const double gain = offsets.gates() ? 1 + offsets.gate_gain[i] : 1;
        if (log) theta[i] = std::pow(setpoint[i], gain) * std::exp(offsets.theta[i]);
        else theta[i] = gain * setpoint[i] + offsets.theta[i];
        if (offsets.gates()) theta[i] += offsets.gate_zero[i];
      }
      for (const TwinCrossTalk& talk : offsets.cross_talk) theta[talk.to] += talk.share * setpoint[talk.from];
      if (offsets.readings()) mu = ((mu - offsets.reading_offset).array() / offsets.gain.array()).matrix();
      Vector levels = drive.clamp.levels();
      if (offsets.inputs())
        levels = (Vector(2) << 1.02 * levels[0] - 0.03, 0.97 * levels[1] + 0.01).finished();
      return network.currents(theta, levels, mu);
    };
    // Second-order differences: h^2 = 1e-10 times third derivatives of order 1, plus rounding 1e-16 / h.
    const double h = 1e-5, error = 1e-8;
    const Vector setpoint = drive.theta.values();
    const Matrix G = twin.conductance(drive, read);
    for (Eigen::Index k = 0; k < 3; ++k) {
      Vector up = read, down = read;
      up[k] += h;
      down[k] -= h;
      CHECK((G.col(k) + (current(setpoint, up) - current(setpoint, down)) / (2 * h)).cwiseAbs().maxCoeff() <
            error);
    }
    Vector gradient = Vector::Ones(setpoint.size());  // added to, not replaced
    twin.add_gradient({&drive, 1}, {&read, 1}, {&costate, 1}, gradient);
    for (Eigen::Index i = 0; i < setpoint.size(); ++i) {
      Vector up = setpoint, down = setpoint;
      up[i] += h;
      down[i] -= h;
      INFO("parameter " << parameters[static_cast<std::size_t>(i)].name);
      CHECK(gradient[i] - 1 ==
            Approx(-costate.dot(current(up, read) - current(down, read)) / (2 * h)).margin(error));
    }
    // Drives of other setpoints add up.
    const Drive others[] = {drive, drive_of(1.2 * setpoint)};
    const Vector reads[] = {read, read}, costates[] = {costate, costate};
    Vector both = Vector::Zero(setpoint.size()), second = both;
    twin.add_gradient(others, reads, costates, both);
    twin.add_gradient({&others[1], 1}, {&read, 1}, {&costate, 1}, second);
    CHECK((both - (gradient.array() - 1).matrix() - second).cwiseAbs().maxCoeff() < 1e-13);
    const Vector c = (Vector(3) << 0.2, -0.3, 1.0).finished();
    Vector lambda;
    twin.costates({&drive, 1}, {&read, 1}, {&c, 1}, {&lambda, 1});
    CHECK(((-G).transpose() * lambda - c).cwiseAbs().maxCoeff() < 1e-13);
  }
}

TEST_CASE(
    "a calibrated device settles where the device with the offset parameters does, and keeps the device "
    "contract",
    "[twin]") {
  toy::Network network, same;
  const TwinOffsets offsets = offsets_of(network, true);
  TwinDevice twin(network, offsets);
  const Drive drive = drive_of(network.example_theta());
  Drive shifted = drive;
  shifted.theta =
      Parameters::of(offset_values(network.info().parameters, network.example_theta(), offsets.theta));
  shifted.clamp = pattern_of((Vector(2) << 1.02 * 0.7 - 0.03, 0.97 * -0.4 + 0.01).finished());
  const Vector mu = same.relax(shifted).potential, read = twin.relax(drive).potential;
  CHECK((read - (offsets.gain.array() * mu.array() + offsets.reading_offset.array()).matrix())
            .cwiseAbs()
            .maxCoeff() < 1e-14);
  TwinOffsets gates;
  add_gates(gates, network.info().parameters);
  TwinDevice gated(network, gates);
  Drive imposed = drive;
  imposed.theta = Parameters::of(imposed_values(network.info().parameters, network.example_theta(), gates));
  CHECK(gated.relax(drive).potential == same.relax(imposed).potential);
  contract::ContractOptions options;
  options.hold_tolerance = -1;  // a held node's reading has the same kind of gain and offset
  contract::check_device(twin, drive, options);
  TwinDevice same_device(network, {});
  CHECK(same_device.relax(drive).potential == network.relax(drive).potential);
}

TEST_CASE("offsets that do not fit are refused", "[twin]") {
  toy::Network network;
  const auto refused = [&](const auto& spoil) {
    TwinOffsets offsets = offsets_of(network, true);
    spoil(offsets);
    CHECK_THROWS_AS(TwinDevice(network, offsets), std::invalid_argument);
    CHECK_THROWS_AS(TwinModel(toy::model_of(network), network.info().parameters, 2, offsets),
                    std::invalid_argument);
    return offsets.problem(network.info().parameters, network.free_nodes(), 2);
  };
  CHECK(refused([](TwinOffsets& o) { o.theta.conservativeResize(3); }) ==
        "3 offsets of parameters; expected 19, or none");
  CHECK(refused([](TwinOffsets& o) { o.theta[0] = std::nan(""); }) ==
        "the offset of k[0] is nan; it must be finite");
  CHECK(refused([](TwinOffsets& o) { o.gain[1] = 0; }) ==
        "the gain of reading 1 is 0; it must be finite and > 0");
  CHECK(refused([](TwinOffsets& o) { o.gain.conservativeResize(2); }) ==
        "2 gains of readings; expected 3, or none");
  CHECK(refused([](TwinOffsets& o) { o.input_gain[0] = -1; }) ==
        "the gain of input 0 is -1; it must be finite and > 0");
  CHECK(refused([](TwinOffsets& o) { o.input_offset.conservativeResize(1); }) ==
        "1 offsets of inputs; expected 2, or none");
  CHECK(refused([](TwinOffsets& o) { o.reading_offset[2] = INFINITY; }) ==
        "the offset of reading 2 is inf; it must be finite");
  CHECK(refused([](TwinOffsets& o) { o.gate_gain = Vector::Zero(2); }) ==
        "2 gains of gates; expected 19, or none");
  CHECK(refused([](TwinOffsets& o) {
          o.gate_gain = Vector::Zero(19);
          o.gate_gain[0] = std::nan("");
        }) == "the gain of the gate of k[0] is nan; it must be finite");
  CHECK(refused([](TwinOffsets& o) {
          o.cross_talk = {{0, 0, 0.1}};
        }) == "cross-talk from parameter 0 to 0; expected two of the 19");
  CHECK_THROWS_AS(TwinModel(nullptr, network.info().parameters, 2, {}), std::invalid_argument);
}
