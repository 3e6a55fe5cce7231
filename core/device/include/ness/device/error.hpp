// The errors Ness throws.
//
// Three tiers. *Misuse* (a shape, a range, an option) is std::invalid_argument, thrown before anything is
// switched on. *A file, a link, an instrument* has a type of its own. *Physics* (not settled, no stable
// steady state) is never thrown: it is a quality flag of the relaxation (relaxation.hpp).
#pragma once

#include <stdexcept>
#include <string>

namespace ness {

/// A terminal or device was asked for something it cannot do (capabilities are data: DeviceInfo). Names the
/// terminal.
class Unsupported : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A data, network or experiment file cannot be used. The message says which file, where in it, which value
/// was found, and what was expected.
class FileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The log cannot be written, read or trusted. After one was thrown by a writer no further HDF5 call is made
/// on it.
class LogError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A drive differs from the recorded one during a replay. The message says the row and the first difference.
class ReplayMismatch : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A stop was requested; what had been delivered before is complete and logged.
class Cancelled : public std::runtime_error {
 public:
  Cancelled() : std::runtime_error("stopped on request") {}
};

}  // namespace ness
