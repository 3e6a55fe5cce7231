#include "ness/drivers/instrument.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <stdexcept>

namespace ness::drivers {

Instrument::Instrument(std::unique_ptr<protocols::Session> session) : session_(std::move(session)) {
  if (!session_) throw std::invalid_argument("an instrument needs a session");
}

void Instrument::connect() {
  const std::string answer = session_->identity();
  auto parts = protocols::split_reply(answer);
  parts.resize(std::max<std::size_t>(parts.size(), 2));
  if (!recognises(parts[0], parts[1])) {
    session_->close();
    throw InstrumentError(address(), "*IDN?", answer, "expected a " + model());
  }
  identity_ = answer;
}

void Instrument::check() {
  std::string all;
  for (const protocols::QueuedError& error : session_->drain_errors())
    all += (all.empty() ? "" : "; ") + std::to_string(error.number) + ", " + error.text;
  if (!all.empty()) throw InstrumentError(address(), "SYST:ERR?", {}, "the error queue held " + all);
}

void Instrument::confirm(const std::string& query, double sent, double tolerance) {
  const double back = session_->query_number(query);
  if (!(std::abs(back - sent) <= tolerance)) {
    throw InstrumentError(address(), query, std::to_string(back),
                          "the setting was not accepted: " + std::to_string(sent) + " was sent");
  }
}

void Instrument::confirm(const std::string& query, const std::string& sent) {
  std::string back = session_->query(query);
  std::transform(back.begin(), back.end(), back.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  back.erase(std::remove(back.begin(), back.end(), ' '), back.end());
  if (back != sent)
    throw InstrumentError(address(), query, back, "the setting was not accepted: " + sent + " was sent");
}

void require_same_link(const protocols::Session& session, std::uint64_t openings) {
  if (session.is_open() && session.openings() == openings) return;
  throw LinkError(session.address(),
                  "the link was lost since the instrument was configured; its settings are not known");
}

}  // namespace ness::drivers
