// Errors of links and instruments.
//
// Misuse (a malformed resource name, a limit) is std::invalid_argument. Failures of links and instruments
// have types of their own, with the address, the command and the reply.
#pragma once

#include <stdexcept>
#include <string>

namespace ness {

/// The connection to an instrument failed: refused, reset, closed, not a terminal, no such host.
class LinkError : public std::runtime_error {
 public:
  LinkError(std::string address, const std::string& what)
      : std::runtime_error(address + ": " + what), address_(std::move(address)) {}
  const std::string& address() const noexcept { return address_; }

 private:
  std::string address_;
};

/// No reply, or only part of one, came in time. A session closes its link after one: a late reply must never
/// answer the next query.
class Timeout : public LinkError {
 public:
  using LinkError::LinkError;
};

/// The instrument reported an error, or its reply cannot be understood.
class InstrumentError : public std::runtime_error {
 public:
  InstrumentError(std::string address, std::string command, std::string reply, const std::string& what)
      : std::runtime_error(address + ": '" + command + "': " + what +
                           (reply.empty() ? "" : "; the reply was '" + reply + "'")),
        address_(std::move(address)),
        command_(std::move(command)),
        reply_(std::move(reply)) {}
  const std::string& address() const noexcept { return address_; }
  const std::string& command() const noexcept { return command_; }
  const std::string& reply() const noexcept { return reply_; }

 private:
  std::string address_, command_, reply_;
};

}  // namespace ness
