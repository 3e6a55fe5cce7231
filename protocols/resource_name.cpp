#include "ness/protocols/resource_name.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <stdexcept>
#include <vector>

namespace ness::protocols {

namespace {

std::string upper(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return result;
}

// Parser of one name; every error quotes the whole name.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {
    // An IPv6 address contains "::" itself, so it is in brackets.
    std::size_t begin = 0;
    bool bracket = false;
    for (std::size_t i = 0; i <= text.size(); ++i) {
      if (i < text.size() && text[i] == '[') bracket = true;
      if (i < text.size() && text[i] == ']') bracket = false;
      const bool separator = !bracket && text.substr(i).starts_with("::");
      if (i == text.size() || separator) {
        parts_.emplace_back(text.substr(begin, i - begin));
        if (separator) begin = ++i + 1;
      }
    }
    for (const char c : text) {
      if (std::isspace(static_cast<unsigned char>(c)) || !std::isprint(static_cast<unsigned char>(c)))
        fail("has a blank or a control character");
    }
    for (const std::string& part : parts_) {
      if (part.starts_with(':') || part.ends_with(':'))
        fail("has three colons in a row; parts are separated by two");
      const bool bracketed =
          part.starts_with('[') && part.ends_with(']') && std::count(part.begin(), part.end(), '[') == 1;
      if (!bracketed && part.find_first_of("[]") != std::string::npos)
        fail("has the part '" + part + "'; brackets stand around an IPv6 address alone");
    }
  }

  ResourceName read() {
    const std::string first = upper(parts_[0]);
    // The longest word first, because PRLGX-TCPIP ends in TCPIP.
    for (const auto& [word, reader] : {std::pair{"PRLGX-TCPIP", &Reader::prologix_tcp},
                                       {"PRLGX-ASRL", &Reader::prologix_serial},
                                       {"TCPIP", &Reader::tcpip},
                                       {"GPIB", &Reader::gpib},
                                       {"USB", &Reader::usb}}) {
      if (!first.starts_with(word)) continue;
      const std::string_view digits = std::string_view(parts_[0]).substr(std::string_view(word).size());
      board_ = digits.empty() ? 0 : number(digits, 0, 65535, 10, "the board");
      return (this->*reader)();
    }
    if (first.starts_with("ASRL")) return serial();
    fail("starts with '" + parts_[0] + "'; expected TCPIP, ASRL, GPIB, USB, PRLGX-TCPIP or PRLGX-ASRL");
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw std::invalid_argument("resource name '" + std::string(text_) + "' " + reason);
  }

  std::uint32_t number(std::string_view digits, std::uint32_t low, std::uint32_t high, int base,
                       const std::string& what) const {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error != std::errc{} || end != digits.data() + digits.size() || value < low || value > high) {
      fail("has " + what + " '" + std::string(digits) + "'; expected a number from " + std::to_string(low) +
           " to " + std::to_string(high));
    }
    return value;
  }

  std::uint16_t usb_id(const std::string& part, const std::string& what) const {
    const bool hexadecimal = part.starts_with("0x") || part.starts_with("0X");
    return static_cast<std::uint16_t>(
        number(std::string_view(part).substr(hexadecimal ? 2 : 0), 0, 0xFFFF, hexadecimal ? 16 : 10, what));
  }

  bool last_is(const char* word) const { return parts_.size() > 1 && upper(parts_.back()) == word; }

  // The parts between the interface and the class; the class may be missing if it is INSTR.
  std::vector<std::string> middle(bool class_required, const char* word, std::size_t least, std::size_t most,
                                  const std::string& shape) const {
    std::vector<std::string> result(parts_.begin() + 1, parts_.end());
    if (!result.empty() && upper(result.back()) == word) result.pop_back();
    else if (class_required) fail("must end in ::" + std::string(word));
    if (result.size() < least || result.size() > most) fail("is not of the form " + shape);
    for (const std::string& part : result) {
      if (part.empty()) fail("has an empty part; expected " + shape);
    }
    return result;
  }

  std::string host(const std::string& part) const {
    const bool bracketed = part.front() == '[';
    const std::string_view allowed = bracketed ? "[]:.%-_" : ".-_";
    const bool good = std::all_of(part.begin(), part.end(), [&](unsigned char c) {
      return std::isalnum(c) || allowed.find(static_cast<char>(c)) != std::string_view::npos;
    });
    if (!good || (bracketed && part.back() != ']') || part == "[]")
      fail("has the host '" + part + "'; expected a name, an IPv4 address, or an IPv6 address in brackets");
    return part;
  }

  ResourceName tcpip() {
    if (last_is("SOCKET")) {
      const auto parts = middle(true, "SOCKET", 2, 2, "TCPIP[board]::host::port::SOCKET");
      return SocketName{board_, host(parts[0]),
                        static_cast<std::uint16_t>(number(parts[1], 1, 65535, 10, "the port"))};
    }
    const auto parts = middle(false, "INSTR", 1, 2, "TCPIP[board]::host[::device][::INSTR]");
    LanName name{board_, host(parts[0]), "inst0"};
    if (parts.size() == 1) return name;
    if (parts[1].find_first_of("[]:") != std::string::npos) fail("has the device name '" + parts[1] + "'");
    name.device = parts[1];
    const std::string lower = [&] {
      std::string result = parts[1];
      std::transform(result.begin(), result.end(), result.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      return result;
    }();
    // A bare number is usually a port with the class SOCKET forgotten: the most frequent mistake, which would
    // otherwise be a valid VXI-11 name.
    if (std::all_of(lower.begin(), lower.end(), [](unsigned char c) { return std::isdigit(c); })) {
      fail("has the device name '" + parts[1] + "'; a raw socket's name ends in ::SOCKET");
    }
    if (lower.starts_with("hislip")) {
      const std::size_t comma = lower.find(',');
      number(lower.substr(6, comma == std::string::npos ? comma : comma - 6), 0, 255, 10,
             "the HiSLIP number");
      if (comma != std::string::npos) number(lower.substr(comma + 1), 1, 65535, 10, "the HiSLIP port");
      name.device = lower;
    }
    return name;
  }

  ResourceName gpib() {
    if (last_is("INTFC")) {
      middle(true, "INTFC", 0, 0, "GPIB[board]::INTFC");
      return GpibBoardName{board_};
    }
    const auto parts = middle(false, "INSTR", 1, 2, "GPIB[board]::primary[::secondary][::INSTR]");
    GpibName name{board_, static_cast<std::uint8_t>(number(parts[0], 0, 30, 10, "the primary address")),
                  std::nullopt};
    if (parts.size() == 2) {
      const std::uint32_t secondary = number(parts[1], 0, 126, 10, "the secondary address");
      if (secondary > 30 && secondary < 96)
        fail("has the secondary address '" + parts[1] + "'; expected 0 to 30 or 96 to 126");
      name.secondary = static_cast<std::uint8_t>(secondary < 96 ? secondary + 96 : secondary);
    }
    return name;
  }

  ResourceName serial() {
    const auto parts = middle(false, "INSTR", 0, 0, "ASRLport[::INSTR]");
    const std::string port(parts_[0].substr(4));
    if (port.empty()) fail("has no port; expected ASRL/dev/ttyUSB0::INSTR or ASRL1::INSTR");
    const bool numbered =
        std::all_of(port.begin(), port.end(), [](unsigned char c) { return std::isdigit(c); });
    if (!numbered && port.front() != '/')
      fail("has the port '" + port + "'; expected a number or an absolute path");
    return SerialName{port};
  }

  ResourceName prologix_tcp() {
    const auto parts = middle(true, "INTFC", 1, 2, "PRLGX-TCPIP[board]::host[::port]::INTFC");
    PrologixName name{board_, false, host(parts[0]), 1234};
    if (parts.size() == 2) name.port = static_cast<std::uint16_t>(number(parts[1], 1, 65535, 10, "the port"));
    return name;
  }

  ResourceName prologix_serial() {
    const auto parts = middle(true, "INTFC", 1, 1, "PRLGX-ASRL[board]::device::INTFC");
    if (parts[0].front() != '/') fail("has the device '" + parts[0] + "'; expected an absolute path");
    return PrologixName{board_, true, parts[0], 0};
  }

  ResourceName usb() {
    UsbName name;
    name.board = board_;
    name.raw = last_is("RAW");
    const auto parts = middle(name.raw, name.raw ? "RAW" : "INSTR", 3, 4,
                              "USB[board]::vendor::product::serial[::interface][::INSTR]");
    name.vendor = usb_id(parts[0], "the vendor");
    name.product = usb_id(parts[1], "the product");
    if (parts[2].find_first_of("[]:") != std::string::npos) fail("has the serial number '" + parts[2] + "'");
    name.serial = parts[2];
    if (parts.size() == 4)
      name.interface = static_cast<std::uint8_t>(number(parts[3], 0, 255, 10, "the interface"));
    return name;
  }

  std::string_view text_;
  std::vector<std::string> parts_;
  std::uint32_t board_ = 0;
};

std::string hexadecimal(std::uint16_t id) {
  const char* digits = "0123456789ABCDEF";
  std::string text = "0x";
  for (int shift = 12; shift >= 0; shift -= 4) text += digits[id >> shift & 15];
  return text;
}

struct Printer {
  std::string operator()(const SocketName& n) const {
    return "TCPIP" + std::to_string(n.board) + "::" + n.host + "::" + std::to_string(n.port) + "::SOCKET";
  }
  std::string operator()(const LanName& n) const {
    return "TCPIP" + std::to_string(n.board) + "::" + n.host + "::" + n.device + "::INSTR";
  }
  std::string operator()(const GpibName& n) const {
    return "GPIB" + std::to_string(n.board) + "::" + std::to_string(n.primary) +
           (n.secondary ? "::" + std::to_string(*n.secondary) : "") + "::INSTR";
  }
  std::string operator()(const GpibBoardName& n) const {
    return "GPIB" + std::to_string(n.board) + "::INTFC";
  }
  std::string operator()(const SerialName& n) const { return "ASRL" + n.port + "::INSTR"; }
  std::string operator()(const PrologixName& n) const {
    const std::string board = std::to_string(n.board);
    return n.serial ? "PRLGX-ASRL" + board + "::" + n.host + "::INTFC"
                    : "PRLGX-TCPIP" + board + "::" + n.host + "::" + std::to_string(n.port) + "::INTFC";
  }
  std::string operator()(const UsbName& n) const {
    return "USB" + std::to_string(n.board) + "::" + hexadecimal(n.vendor) + "::" + hexadecimal(n.product) +
           "::" + n.serial + "::" + std::to_string(n.interface) + (n.raw ? "::RAW" : "::INSTR");
  }
};

}  // namespace

ResourceName parse_resource_name(std::string_view text) {
  if (text.empty())
    throw std::invalid_argument(
        "resource name '' is empty; expected one such as TCPIP0::192.168.1.5::5025::SOCKET");
  return Reader(text).read();
}

std::string to_string(const ResourceName& name) { return std::visit(Printer{}, name); }

}  // namespace ness::protocols
