// The models of instruments that are emulated.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ness/emulators/circuit.hpp"
#include "ness/emulators/emulated_instrument.hpp"

namespace ness::sim {

/// Keithley 2400, its output at a port of the circuit (front or rear terminals alike).
std::unique_ptr<EmulatedInstrument> emulated_keithley_2400(Circuit& circuit, std::size_t port,
                                                           const Imperfection& imperfection);

/// Where one channel of an instrument with several leads: a port of the circuit.
struct ChannelPort {
  std::uint32_t channel = 1;  ///< as the instrument numbers it
  std::size_t port = 0;
};

/// Scanners with a multiplexer, 20 channels a slot. Channels that lead nowhere read 0 V and their offset.
std::unique_ptr<EmulatedInstrument> emulated_keysight_34970a(Circuit& circuit,
                                                             const std::vector<ChannelPort>& channels,
                                                             const Imperfection& imperfection);
std::unique_ptr<EmulatedInstrument> emulated_keysight_daq970a(Circuit& circuit,
                                                              const std::vector<ChannelPort>& channels,
                                                              const Imperfection& imperfection);

/// Bench multimeters at a port, measuring direct voltage.
std::unique_ptr<EmulatedInstrument> emulated_agilent_34401a(Circuit& circuit, std::size_t port,
                                                            const Imperfection& imperfection);
std::unique_ptr<EmulatedInstrument> emulated_keysight_34461a(Circuit& circuit, std::size_t port,
                                                             const Imperfection& imperfection);

/// What a gate channel's voltage does to a parameter: value = offset + per_volt x voltage + what other
/// channels contribute.
struct Gate {
  std::uint32_t channel = 1;
  std::size_t parameter = 0;
  double per_volt = 10, offset = 0;
  std::vector<std::pair<std::uint32_t, double>> talk{};  ///< cross-talk: (another channel, its per_volt)
};
/// QDevil QDAC-II, 24 channels: `gates` set parameters, `channels` lead to ports.
std::unique_ptr<EmulatedInstrument> emulated_qdac2(Circuit& circuit, const std::vector<Gate>& gates,
                                                   const std::vector<ChannelPort>& channels,
                                                   const Imperfection& imperfection);

/// A Prologix GPIB-ETHERNET controller in front of instruments at primary addresses 0 to 30. Add it to the
/// bench after them; their messages pass through it alone.
std::unique_ptr<EmulatedInstrument> emulated_prologix(
    const std::vector<std::pair<std::uint8_t, EmulatedInstrument*>>& instruments);

}  // namespace ness::sim
