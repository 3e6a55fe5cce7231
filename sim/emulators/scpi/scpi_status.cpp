#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "ness/emulators/scpi.hpp"

namespace ness::sim::scpi {

namespace {

struct NumberedText {
  int number;
  std::string_view text;
};

// SCPI-99 volume 2, chapter 21.8.
constexpr std::array standard_texts = std::to_array<NumberedText>({
    {0, "No error"},
    {-100, "Command error"},
    {-101, "Invalid character"},
    {-102, "Syntax error"},
    {-103, "Invalid separator"},
    {-104, "Data type error"},
    {-105, "GET not allowed"},
    {-108, "Parameter not allowed"},
    {-109, "Missing parameter"},
    {-110, "Command header error"},
    {-111, "Header separator error"},
    {-112, "Program mnemonic too long"},
    {-113, "Undefined header"},
    {-114, "Header suffix out of range"},
    {-115, "Unexpected number of parameters"},
    {-120, "Numeric data error"},
    {-121, "Invalid character in number"},
    {-123, "Exponent too large"},
    {-124, "Too many digits"},
    {-128, "Numeric data not allowed"},
    {-130, "Suffix error"},
    {-131, "Invalid suffix"},
    {-134, "Suffix too long"},
    {-138, "Suffix not allowed"},
    {-140, "Character data error"},
    {-141, "Invalid character data"},
    {-144, "Character data too long"},
    {-148, "Character data not allowed"},
    {-150, "String data error"},
    {-151, "Invalid string data"},
    {-158, "String data not allowed"},
    {-160, "Block data error"},
    {-161, "Invalid block data"},
    {-168, "Block data not allowed"},
    {-170, "Expression error"},
    {-171, "Invalid expression"},
    {-178, "Expression data not allowed"},
    {-200, "Execution error"},
    {-203, "Command protected"},
    {-210, "Trigger error"},
    {-211, "Trigger ignored"},
    {-212, "Arm ignored"},
    {-213, "Init ignored"},
    {-214, "Trigger deadlock"},
    {-215, "Arm deadlock"},
    {-220, "Parameter error"},
    {-221, "Settings conflict"},
    {-222, "Data out of range"},
    {-223, "Too much data"},
    {-224, "Illegal parameter value"},
    {-225, "Out of memory"},
    {-226, "Lists not same length"},
    {-230, "Data corrupt or stale"},
    {-231, "Data questionable"},
    {-240, "Hardware error"},
    {-241, "Hardware missing"},
    {-300, "Device specific error"},
    {-310, "System error"},
    {-311, "Memory error"},
    {-330, "Self-test failed"},
    {-350, "Queue overflow"},
    {-360, "Communication error"},
    {-361, "Parity error in program message"},
    {-362, "Framing error in program message"},
    {-363, "Input buffer overrun"},
    {-365, "Time out error"},
    {-400, "Query error"},
    {-410, "Query INTERRUPTED"},
    {-420, "Query UNTERMINATED"},
    {-430, "Query DEADLOCKED"},
    {-440, "Query UNTERMINATED after indefinite response"},
    {-500, "Power on"},
    {-600, "User request"},
    {-700, "Request control"},
    {-800, "Operation complete"},
});

}  // namespace

std::string_view standard_text(int number) {
  const auto found = std::find_if(standard_texts.begin(), standard_texts.end(),
                                  [&](const NumberedText& t) { return t.number == number; });
  return found == standard_texts.end() ? std::string_view{} : found->text;
}

Fault::Fault(int number, std::string text)
    : std::runtime_error(text.empty() ? std::string(standard_text(number)) : text), number_(number) {}

void RegisterGroup::update(std::uint16_t now) {
  const unsigned rising = now & ~unsigned{condition}, falling = condition & ~unsigned{now};
  event = static_cast<std::uint16_t>(event | (rising & positive) | (falling & negative));
  condition = static_cast<std::uint16_t>(now & 0x7FFF);
}

std::uint16_t RegisterGroup::take_event() {
  const std::uint16_t taken = event;
  event = 0;
  return taken;
}

void RegisterGroup::preset() {
  enable = 0;
  positive = 0x7FFF;
  negative = 0;
}

Status::Status(std::size_t depth) : depth_(std::max<std::size_t>(depth, 2)) {}

std::uint8_t Status::class_bit(int number) {
  if (number > 0 || (number <= -300 && number > -400)) return device_error;
  if (number <= -100 && number > -200) return command_error;
  if (number <= -200 && number > -300) return execution_error;
  if (number <= -400 && number > -500) return query_error;
  if (number <= -800 && number > -900) return operation_complete;
  return 0;
}

void Status::push(int number, std::string text) {
  event_status = static_cast<std::uint8_t>(event_status | class_bit(number));
  if (text.empty()) text = standard_text(number);
  if (queue_.size() < depth_) queue_.push_back({number, std::move(text)});
  else queue_.back() = {-350, std::string(standard_text(-350))};
}

Status::Entry Status::pop() {
  if (queue_.empty()) return {};
  Entry first = std::move(queue_.front());
  queue_.erase(queue_.begin());
  return first;
}

void Status::clear() {
  queue_.clear();
  event_status = 0;
  operation.event = 0;
  questionable.event = 0;
}

std::uint8_t Status::take_event_status() {
  const std::uint8_t taken = event_status;
  event_status = 0;
  return taken;
}

std::uint8_t Status::byte(bool message_available, std::uint8_t device_bits) const {
  unsigned bits = device_bits & 3U;
  if (!queue_.empty()) bits |= 4;
  if (questionable.summary()) bits |= 8;
  if (message_available) bits |= 16;
  if ((event_status & event_enable) != 0) bits |= 32;
  if (operation.summary()) bits |= 128;
  if ((bits & service_enable & ~64U) != 0) bits |= 64;
  return static_cast<std::uint8_t>(bits);
}

std::string nr3(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%+.*E", decimals, value == 0 ? 0.0 : value);
  return text;
}

std::string channel_list(std::span<const std::uint32_t> channels) {
  std::string text = "(@";
  for (std::size_t i = 0; i < channels.size(); ++i) text += (i > 0 ? "," : "") + std::to_string(channels[i]);
  return text + ')';
}

std::string definite_block(std::string_view bytes) {
  const std::string length = std::to_string(bytes.size());
  return '#' + std::to_string(length.size()) + length + std::string(bytes);
}

}  // namespace ness::sim::scpi
