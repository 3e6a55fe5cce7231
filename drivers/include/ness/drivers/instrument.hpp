// Instruments from the laboratory's side: what they have in common.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "ness/protocols/errors.hpp"
#include "ness/protocols/session.hpp"

namespace ness::drivers {

using protocols::Milliseconds;

/// An instrument behind a session. A driver sends a setting and reads it back: that it was sent does not mean
/// that it was accepted.
class Instrument {
 public:
  virtual ~Instrument() = default;
  Instrument(const Instrument&) = delete;
  Instrument& operator=(const Instrument&) = delete;

  const std::string& address() const { return session_->address(); }
  protocols::Session& session() { return *session_; }

  /// Opens the link and asks for the identity (*IDN?). Throws InstrumentError unless it is the model
  /// expected; nothing else is sent.
  void connect();
  const std::string& identity() const { return identity_; }

  /// Reads the error queue to its end. Throws InstrumentError with every entry that was in it.
  void check();

  /// Name of the model, "Keithley 2400".
  virtual std::string model() const = 0;

 protected:
  explicit Instrument(std::unique_ptr<protocols::Session> session);
  /// True for the answer to *IDN? of this model.
  virtual bool recognises(const std::string& maker, const std::string& model) const = 0;

  /// Asks for a number and compares: throws InstrumentError unless it is within `tolerance` of what was sent.
  void confirm(const std::string& query, double sent, double tolerance);
  /// The same for a word or a switch.
  void confirm(const std::string& query, const std::string& sent);

  std::unique_ptr<protocols::Session> session_;

 private:
  std::string identity_;
};

/// What an instrument said it is.
struct InstrumentIdentity {
  std::string address, model;
  std::string identity;  ///< its answer to *IDN?; empty: not asked yet
};
template <class Kind>
void append_identities(const std::vector<std::unique_ptr<Kind>>& instruments,
                       std::vector<InstrumentIdentity>& all) {
  for (const auto& one : instruments) all.push_back({one->address(), one->model(), one->identity()});
}

/// Throws LinkError unless the link is the one that was open at its `openings`-th opening: settings made then
/// may be lost.
void require_same_link(const protocols::Session& session, std::uint64_t openings);

}  // namespace ness::drivers
