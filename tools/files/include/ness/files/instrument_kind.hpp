// Instrument models: what a bench file calls them, and who makes their driver and their emulator.
//
// A model is a row. Driver and emulator stand in rooms that never include one another; the row alone knows
// both.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ness/device/keys.hpp"
#include "ness/drivers/role.hpp"
#include "ness/emulators/models.hpp"
#include "ness/protocols/session.hpp"

namespace ness {

/// Which channels a model has.
struct InstrumentChannels {
  std::string words = "1";  ///< for messages: "1 to 24"
  /// True for the channels there are.
  std::function<bool(std::uint32_t)> has = [](std::uint32_t channel) { return channel == 1; };
  /// A wire has to name its channel; otherwise the instrument has one pair of terminals
  bool several = false;
};

/// What an emulated instrument is connected to.
struct EmulatedWiring {
  sim::Circuit& circuit;
  /// Of channels that lead to a node; of an instrument without `several` channels exactly one
  std::vector<sim::ChannelPort> ports;
  std::vector<sim::Gate> gates;  ///< of channels that set a parameter
  sim::Imperfection imperfection;
};

/// One model of instrument.
struct InstrumentKind {
  std::string name;  ///< in bench files: "keithley-2400"
  drivers::Role role = drivers::Role::voltmeter;
  InstrumentChannels channels;
  /// Reads the model's own keys of [instruments.NAME].
  std::function<void(Keys&, drivers::InstrumentSettings&)> read;
  /// The driver over a session that is not opened yet: of the class that `role` names.
  std::function<std::unique_ptr<drivers::Instrument>(std::unique_ptr<protocols::Session>)> driver;
  std::function<std::unique_ptr<sim::EmulatedInstrument>(const EmulatedWiring&)> emulator;

  /// Empty if a bench can use it; otherwise the reason, naming the model: an unknown role, a part that is
  /// missing.
  std::string problem() const;
};

/// All models of this program.
const std::vector<InstrumentKind>& instrument_kinds();

/// The driver of a model as its role has it (drivers::SourceMeter, Dac, Scanner or Voltmeter). Throws
/// std::logic_error, naming the model, where its driver is of another class.
template <typename RoleClass>
std::unique_ptr<RoleClass> driver_of(const InstrumentKind& kind, std::unique_ptr<protocols::Session> session);

extern template std::unique_ptr<drivers::SourceMeter> driver_of(const InstrumentKind&,
                                                                std::unique_ptr<protocols::Session>);
extern template std::unique_ptr<drivers::Dac> driver_of(const InstrumentKind&,
                                                        std::unique_ptr<protocols::Session>);
extern template std::unique_ptr<drivers::Scanner> driver_of(const InstrumentKind&,
                                                            std::unique_ptr<protocols::Session>);
extern template std::unique_ptr<drivers::Voltmeter> driver_of(const InstrumentKind&,
                                                              std::unique_ptr<protocols::Session>);

}  // namespace ness
