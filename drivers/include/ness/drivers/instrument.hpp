// Instruments from the laboratory's side: what they have in common.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ness/protocols/errors.hpp"
#include "ness/protocols/session.hpp"

namespace ness::drivers {

using protocols::Milliseconds;

/// What an instrument states of itself: what it is, and its answer as it came ("compliance (A)",
/// "+1.000000E-04").
using Statement = std::pair<std::string, std::string>;

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

  /// Asks what it knows of its calibration. To be called between connect() and the first setting: an
  /// instrument that does not know a query keeps silent, which costs the link; its error queue is emptied
  /// then. Throws LinkError where the instrument does not come back.
  void ask_calibration();
  /// As answered then; empty: it keeps no such record, or was not asked.
  const std::vector<Statement>& calibration() const { return calibration_; }
  /// What it is set to now, by its own answers. Changes nothing. Throws LinkError, InstrumentError.
  virtual std::vector<Statement> settings() = 0;

  /// Name of the model, "Keithley 2400".
  virtual std::string model() const = 0;

 protected:
  explicit Instrument(std::unique_ptr<protocols::Session> session);
  /// True for the answer to *IDN? of this model.
  virtual bool recognises(const std::string& maker, const std::string& model) const = 0;

  /// Names, and the queries that the model's manual has for them; empty: it keeps no record.
  virtual std::vector<Statement> calibration_queries() const { return {}; }
  /// The answers to queries, each with its name: {"nplc", ":SENS:CURR:NPLC?"} to {"nplc", "+1.000000E+00"}.
  std::vector<Statement> answers(const std::vector<Statement>& queries);
  /// The same of queries that answer for each of some channels: {"range (V)", "SENS:VOLT:DC:RANG?"} to
  /// {"101 range (V)", "+1.00000000E+00"}, .. `list`: the channels, as the queries take them.
  std::vector<Statement> answers(const std::vector<Statement>& queries,
                                 const std::vector<std::uint32_t>& channels, const std::string& list);

  /// Asks for a number and compares: throws InstrumentError unless it is within `tolerance` of what was sent.
  void confirm(const std::string& query, double sent, double tolerance);
  /// The same for a word or a switch.
  void confirm(const std::string& query, const std::string& sent);

  std::unique_ptr<protocols::Session> session_;

 private:
  std::string identity_;
  std::vector<Statement> calibration_;
};

/// What an instrument said it is.
struct InstrumentIdentity {
  std::string address, model;
  std::string identity;  ///< its answer to *IDN?; empty: not asked yet
  std::vector<Statement> calibration;
};
template <class Kind>
void append_identities(const std::vector<std::unique_ptr<Kind>>& instruments,
                       std::vector<InstrumentIdentity>& all) {
  for (const auto& one : instruments)
    all.push_back({one->address(), one->model(), one->identity(), one->calibration()});
}

/// What an instrument is set to.
struct StatedSettings {
  std::vector<Statement> settings;
  std::string problem;  ///< why there are none: it did not answer
};
StatedSettings stated_settings(Instrument& instrument);
template <class Kind>
void append_settings(const std::vector<std::unique_ptr<Kind>>& instruments,
                     std::vector<StatedSettings>& all) {
  for (const auto& one : instruments) all.push_back(stated_settings(*one));
}

/// Throws LinkError unless the link is the one that was open at its `openings`-th opening: settings made then
/// may be lost.
void require_same_link(const protocols::Session& session, std::uint64_t openings);

}  // namespace ness::drivers
