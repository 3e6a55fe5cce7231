#include "ness/protocols/prologix.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>

#include "ness/protocols/errors.hpp"

namespace ness::protocols {

namespace {

constexpr Milliseconds longest_wait{3000};  // ++read_tmo_ms takes 1 to 3000
constexpr char escape = 27;

// The data of a line, escaped; the controller appends the terminator (++eos).
std::string escaped(std::string_view message) {
  while (!message.empty() && (message.back() == '\n' || message.back() == '\r')) message.remove_suffix(1);
  std::string line;
  line.reserve(message.size() + 1);
  for (const char c : message) {
    if (c == '\r' || c == '\n' || c == escape || c == '+') line += escape;
    line += c;
  }
  return line + '\n';
}

std::string address_text(const GpibName& name) {
  return std::to_string(name.primary) + (name.secondary ? ' ' + std::to_string(*name.secondary) : "");
}

}  // namespace

// The link, and the controller's present settings.
class PrologixController::Bus {
 public:
  Bus(std::unique_ptr<Transport> link, Timeouts timeouts) : link_(std::move(link)), timeouts_(timeouts) {
    if (!link_) throw std::invalid_argument("a Prologix controller needs a link");
    if (const std::string problem = timeouts_.problem(); !problem.empty())
      throw std::invalid_argument(link_->address() + ": timeout " + problem);
  }

  // Number of the present opening of the link: transports of an earlier opening count as closed.
  std::uint64_t generation() const { return link_->is_open() ? generation_ : 0; }

  void ensure_open(Milliseconds limit) {
    if (link_->is_open()) return;
    link_->open(limit);
    ++generation_;
    addressed_.clear();
    // ++savecfg 0 comes first: otherwise each of the other settings would be written to the controller's
    // flash.
    for (const char* setting : {"++savecfg 0", "++mode 1", "++auto 0", "++read_tmo_ms 3000", "++eos 2",
                                "++eoi 1", "++eot_enable 0"})
      tell(setting);
  }

  void close() noexcept {
    link_->close();
    addressed_.clear();
  }

  void tell(const std::string& line) { link_->write(line + '\n', timeouts_.write); }

  void select(const GpibName& name) {
    const std::string address = address_text(name);
    if (addressed_ == address) return;
    tell("++addr " + address);
    addressed_ = address;
  }

  // Sends a line that the controller itself answers.
  std::string ask(const std::string& line, Milliseconds limit) {
    tell(line);
    std::string reply;
    std::array<char, 256> piece;
    while (reply.find('\n') == std::string::npos) {
      const std::size_t n = link_->read(piece, reply.empty() ? limit : timeouts_.between_bytes);
      reply.append(piece.data(), n);
      if (reply.size() > 4096) throw LinkError(link_->address(), "the answer to '" + line + "' is no line");
    }
    while (!reply.empty() && (reply.back() == '\n' || reply.back() == '\r')) reply.pop_back();
    return reply;
  }

  Transport& link() { return *link_; }
  const Timeouts& timeouts() const { return timeouts_; }

 private:
  std::unique_ptr<Transport> link_;
  Timeouts timeouts_;
  std::string addressed_;
  std::uint64_t generation_ = 0;
};

namespace {

class Instrument final : public Transport {
 public:
  Instrument(std::shared_ptr<PrologixController::Bus> bus, const GpibName& name)
      : bus_(std::move(bus)),
        name_(name),
        address_(to_string(ResourceName(name)) + " at " + bus_->link().address()) {}
  ~Instrument() override { close(); }

  const std::string& address() const override { return address_; }

  void open(Milliseconds limit) override {
    close();
    bus_->ensure_open(limit);
    generation_ = bus_->generation();
    reading_ = unread_ = false;
  }

  // A pending reply would be read by the next reader, so the link is closed.
  void close() noexcept override {
    if (is_open() && (reading_ || unread_)) bus_->close();
    generation_ = 0;
  }
  bool is_open() const override { return generation_ != 0 && generation_ == bus_->generation(); }
  bool keeps_late_replies() const override { return bus_->link().keeps_late_replies(); }

  void write(std::string_view message, Milliseconds limit) override {
    check();
    bus_->select(name_);
    bus_->link().write(escaped(message), limit);
    reading_ = false;
  }

  std::size_t read(std::span<char> into, Milliseconds limit) override {
    check();
    bus_->select(name_);
    Milliseconds left = limit;
    for (;;) {
      if (!reading_) {
        bus_->tell("++read eoi");
        reading_ = true;
      }
      // The controller stops reading after its own limit, without a message; then the read is repeated.
      const Milliseconds patience = std::min(left, longest_wait + bus_->timeouts().between_bytes);
      try {
        const std::size_t n = bus_->link().read(into, patience);
        unread_ = into[n - 1] != '\n';
        if (!unread_) reading_ = false;
        return n;
      } catch (const Timeout&) {
        left -= patience;
        if (left <= Milliseconds(0))
          throw Timeout(address_, "no byte came in " + std::to_string(limit.count()) + " ms");
        reading_ = false;
      }
    }
  }

  bool clear(Milliseconds) override {
    check();
    bus_->select(name_);
    bus_->tell("++clr");
    reading_ = unread_ = false;
    return true;
  }

  std::optional<std::uint8_t> poll(Milliseconds limit) override {
    check();
    bus_->select(name_);
    const std::string reply = bus_->ask("++spoll", limit);
    unsigned value = 0;
    const auto [end, error] = std::from_chars(reply.data(), reply.data() + reply.size(), value);
    if (error != std::errc{} || end != reply.data() + reply.size() || value > 255) {
      throw LinkError(address_,
                      "the answer to '++spoll' is '" + reply + "'; expected a number from 0 to 255");
    }
    return static_cast<std::uint8_t>(value);
  }

 private:
  void check() const {
    if (!is_open()) throw LinkError(address_, "is not open");
  }

  std::shared_ptr<PrologixController::Bus> bus_;
  GpibName name_;
  std::string address_;
  std::uint64_t generation_ = 0;
  // The controller was told to read, and has not reached the end of a reply.
  bool reading_ = false;
  bool unread_ = false;  // part of a reply was received
};

}  // namespace

PrologixController::PrologixController(std::unique_ptr<Transport> link, Timeouts timeouts)
    : bus_(std::make_shared<Bus>(std::move(link), timeouts)) {}
PrologixController::~PrologixController() = default;

std::unique_ptr<Transport> PrologixController::instrument(const GpibName& name) {
  return std::make_unique<Instrument>(bus_, name);
}

std::string PrologixController::version() {
  bus_->ensure_open(bus_->timeouts().connect);
  return bus_->ask("++ver", bus_->timeouts().first_reply);
}

bool PrologixController::service_requested() {
  bus_->ensure_open(bus_->timeouts().connect);
  return bus_->ask("++srq", bus_->timeouts().first_reply) == "1";
}

std::unique_ptr<PrologixController> prologix_controller(const PrologixName& name, Timeouts timeouts,
                                                        const SerialSettings& settings) {
  auto link = name.serial ? serial_transport(SerialName{name.host}, settings)
                          : socket_transport(SocketName{0, name.host, name.port});
  return std::make_unique<PrologixController>(std::move(link), timeouts);
}

}  // namespace ness::protocols
