#include "ness/files/instrument_kind.hpp"

#include <stdexcept>

namespace ness {

namespace {

using Session = std::unique_ptr<protocols::Session>;

InstrumentChannels numbered(std::uint32_t low, std::uint32_t high) {
  return {std::to_string(low) + " to " + std::to_string(high),
          [low, high](std::uint32_t channel) { return channel >= low && channel <= high; }, true};
}

// Three slots of 20 channels: 101 is the first of the first.
InstrumentChannels three_slots() {
  return {"101 to 120, 201 to 220 or 301 to 320",
          [](std::uint32_t channel) {
            const std::uint32_t slot = channel / 100, number = channel % 100;
            return slot >= 1 && slot <= 3 && number >= 1 && number <= 20;
          },
          true};
}

std::vector<InstrumentKind> rows() {
  using drivers::Role;
  using W = const EmulatedWiring&;
  return {
      {"keithley-2400",
       Role::source_meter,
       {},
       drivers::read_source_meter,
       [](Session s) { return drivers::keithley_2400(std::move(s)); },
       [](W w) { return sim::emulated_keithley_2400(w.circuit, w.ports.at(0).port, w.imperfection); }},
      {"keysight-34970a", Role::scanner, three_slots(), drivers::read_meter,
       [](Session s) { return drivers::keysight_34970a(std::move(s)); },
       [](W w) { return sim::emulated_keysight_34970a(w.circuit, w.ports, w.imperfection); }},
      {"keysight-daq970a", Role::scanner, three_slots(), drivers::read_meter,
       [](Session s) { return drivers::keysight_daq970a(std::move(s)); },
       [](W w) { return sim::emulated_keysight_daq970a(w.circuit, w.ports, w.imperfection); }},
      {"agilent-34401a",
       Role::voltmeter,
       {},
       drivers::read_meter,
       [](Session s) { return drivers::agilent_34401a(std::move(s)); },
       [](W w) { return sim::emulated_agilent_34401a(w.circuit, w.ports.at(0).port, w.imperfection); }},
      {"keysight-34461a",
       Role::voltmeter,
       {},
       drivers::read_meter,
       [](Session s) { return drivers::keysight_34461a(std::move(s)); },
       [](W w) { return sim::emulated_keysight_34461a(w.circuit, w.ports.at(0).port, w.imperfection); }},
      {"qdac-ii", Role::dac, numbered(1, 24), drivers::read_dac,
       [](Session s) { return drivers::qdac2(std::move(s)); },
       [](W w) { return sim::emulated_qdac2(w.circuit, w.gates, w.ports, w.imperfection); }},
  };
}

}  // namespace

std::string InstrumentKind::problem() const {
  if (name.empty()) return "an instrument model without a name";
  try {
    to_string(role);
  } catch (const std::logic_error& error) {
    return name + ": " + error.what();
  }
  if (!channels.has || !read || !driver || !emulator)
    return name + ": its row lacks channels, settings, a driver or an emulator";
  return {};
}

const std::vector<InstrumentKind>& instrument_kinds() {
  static const std::vector<InstrumentKind> kinds = rows();
  return kinds;
}

template <typename RoleClass>
std::unique_ptr<RoleClass> driver_of(const InstrumentKind& kind, Session session) {
  std::unique_ptr<drivers::Instrument> made = kind.driver(std::move(session));
  auto* as_role = dynamic_cast<RoleClass*>(made.get());
  if (as_role == nullptr)
    throw std::logic_error(kind.name + ": its driver is not that of a " + to_string(kind.role));
  made.release();
  return std::unique_ptr<RoleClass>(as_role);
}

template std::unique_ptr<drivers::SourceMeter> driver_of(const InstrumentKind&, Session);
template std::unique_ptr<drivers::Dac> driver_of(const InstrumentKind&, Session);
template std::unique_ptr<drivers::Scanner> driver_of(const InstrumentKind&, Session);
template std::unique_ptr<drivers::Voltmeter> driver_of(const InstrumentKind&, Session);

}  // namespace ness
