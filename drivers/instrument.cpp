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

namespace {

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

}  // namespace

void Instrument::ask_calibration() {
  calibration_.clear();
  for (const auto& [name, query] : calibration_queries()) {
    try {
      calibration_.emplace_back(name, trimmed(session_->query(query)));
    } catch (const Timeout&) {
      session_->drain_errors();  // "Undefined header": of this query
    }
  }
}

std::vector<Statement> Instrument::answers(const std::vector<Statement>& queries) {
  std::vector<Statement> all;
  for (const auto& [name, query] : queries) all.emplace_back(name, trimmed(session_->query(query)));
  return all;
}

std::vector<Statement> Instrument::answers(const std::vector<Statement>& queries,
                                           const std::vector<std::uint32_t>& channels,
                                           const std::string& list) {
  std::vector<Statement> all;
  for (const auto& [name, query] : queries) {
    const std::string asked = query + ' ' + list, reply = session_->query(asked);
    const std::vector<std::string> parts = protocols::split_reply(reply);
    if (parts.size() != channels.size())
      throw InstrumentError(address(), asked, reply,
                            "expected " + std::to_string(channels.size()) + " answers");
    for (std::size_t i = 0; i < channels.size(); ++i)
      all.emplace_back(std::to_string(channels[i]) + ' ' + name, parts[i]);
  }
  return all;
}

StatedSettings stated_settings(Instrument& instrument) {
  try {
    return {instrument.settings(), {}};
  } catch (const std::exception& error) {
    return {{}, error.what()};
  }
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
