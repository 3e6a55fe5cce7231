// Prologix GPIB-ETHERNET and GPIB-USB controllers: one link to a controller, and behind it the instruments of
// a GPIB bus.
//
// Lines that begin with "++" go to the controller, all others to the addressed instrument; carriage return,
// line feed, escape and
// '+' in data are escaped. The controller does not read by itself (++auto 0: it would leave "Query
// UNTERMINATED" behind every command without a reply): each read is requested, repeatedly where a measurement
// takes longer than the 3 s that a controller waits at most.
#pragma once

#include <cstdint>
#include <memory>

#include "ness/protocols/transport.hpp"

namespace ness::protocols {

/// A controller. Its instruments share one link: not thread-safe, and if one of them is closed while its
/// reply is due, the link is closed, and the others have to be opened again: a late reply must never answer
/// another's query.
class PrologixController {
 public:
  /// Takes the link over (a socket to port 1234, a serial line). Throws std::invalid_argument for unusable
  /// limits.
  PrologixController(std::unique_ptr<Transport> link, Timeouts timeouts);
  ~PrologixController();

  /// The instrument at an address of the bus. It keeps the controller's link alive.
  std::unique_ptr<Transport> instrument(const GpibName& name);
  /// ++ver: the controller's own identification.
  std::string version();
  /// True while some instrument requests service (++srq).
  bool service_requested();

  class Bus;

 private:
  std::shared_ptr<Bus> bus_;
};

/// The controller a resource name leads to.
std::unique_ptr<PrologixController> prologix_controller(const PrologixName& name, Timeouts timeouts,
                                                        const SerialSettings& settings = {});

}  // namespace ness::protocols
