#include <libserialport.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "asio.hpp"
#include "descriptor.hpp"
#include "ness/protocols/errors.hpp"

namespace ness::protocols {

namespace {

namespace asio = boost::asio;

// VISA numbers serial lines; on Linux, line n is the n-th UART, counted from 1.
std::string path_of(const SerialName& name) {
  if (name.port.starts_with('/')) return name.port;
  return "/dev/ttyS" + std::to_string(std::max(1L, std::strtol(name.port.c_str(), nullptr, 10)) - 1);
}

bool is_pseudo_terminal(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISCHR(status.st_mode)) return false;
  const unsigned number = gnu_dev_major(status.st_rdev);
  return number >= 136 && number <= 143;  // Linux: Unix98 pseudo-terminal slaves
}

class AsioSerial final : public Transport {
 public:
  AsioSerial(const SerialName& name, const SerialSettings& settings)
      : path_(path_of(name)), address_(to_string(ResourceName(name))), settings_(settings) {}

  const std::string& address() const override { return address_; }

  void open(Milliseconds) override {
    close();
    boost::system::error_code error;
    port_.open(path_, error);
    if (error) throw LinkError(address_, "'" + path_ + "' cannot be opened: " + error.message());
    using asio::serial_port;
    using Parity = SerialSettings::Parity;
    using Flow = SerialSettings::Flow;
    const auto parity = settings_.parity == Parity::none  ? serial_port::parity::none
                        : settings_.parity == Parity::odd ? serial_port::parity::odd
                                                          : serial_port::parity::even;
    const auto flow = settings_.flow == Flow::none       ? serial_port::flow_control::none
                      : settings_.flow == Flow::xon_xoff ? serial_port::flow_control::software
                                                         : serial_port::flow_control::hardware;
    const auto set = [&](const auto& option, const std::string& what) {
      port_.set_option(option, error);
      if (!error) return;
      close();
      throw LinkError(address_, "'" + path_ + "' does not take " + what + ": " + error.message());
    };
    set(serial_port::baud_rate(settings_.baud), std::to_string(settings_.baud) + " baud");
    set(serial_port::character_size(settings_.data_bits), std::to_string(settings_.data_bits) + " data bits");
    set(serial_port::parity(parity), "the parity");
    set(serial_port::stop_bits(settings_.stop_bits == 1 ? serial_port::stop_bits::one
                                                        : serial_port::stop_bits::two),
        "the stop bits");
    set(serial_port::flow_control(flow), "the flow control");
    ::tcflush(port_.native_handle(), TCIOFLUSH);  // left from an earlier connection
  }

  void close() noexcept override {
    boost::system::error_code ignored;
    port_.close(ignored);
  }
  bool is_open() const override { return port_.is_open(); }
  bool keeps_late_replies() const override { return true; }

  void write(std::string_view message, Milliseconds limit) override {
    check();
    write_all(port_.native_handle(), message, limit, address_);
  }
  std::size_t read(std::span<char> into, Milliseconds limit) override {
    check();
    return read_some(port_.native_handle(), into, limit, address_);
  }

 private:
  void check() const {
    if (!port_.is_open()) throw LinkError(address_, "is not open");
  }

  std::string path_, address_;
  SerialSettings settings_;
  asio::io_context context_;
  mutable asio::serial_port port_{context_};
};

class LibSerialPort final : public Transport {
 public:
  LibSerialPort(const SerialName& name, const SerialSettings& settings)
      : path_(path_of(name)), address_(to_string(ResourceName(name))), settings_(settings) {}
  ~LibSerialPort() override { close(); }

  const std::string& address() const override { return address_; }

  void open(Milliseconds) override {
    close();
    errno = 0;
    check(sp_get_port_by_name(path_.c_str(), &port_), "'" + path_ + "' is no serial port");
    if (const sp_return result = sp_open(port_, SP_MODE_READ_WRITE); result != SP_OK) {
      const std::string reason = text(result);
      free_port();
      throw LinkError(address_, "'" + path_ + "' cannot be opened: " + reason);
    }
    open_ = true;
    try {
      using Parity = SerialSettings::Parity;
      using Flow = SerialSettings::Flow;
      check(sp_set_baudrate(port_, static_cast<int>(settings_.baud)),
            "does not take " + std::to_string(settings_.baud) + " baud");
      check(sp_set_bits(port_, settings_.data_bits),
            "does not take " + std::to_string(settings_.data_bits) + " data bits");
      check(sp_set_parity(port_, settings_.parity == Parity::none  ? SP_PARITY_NONE
                                 : settings_.parity == Parity::odd ? SP_PARITY_ODD
                                                                   : SP_PARITY_EVEN),
            "does not take the parity");
      check(sp_set_stopbits(port_, settings_.stop_bits), "does not take the stop bits");
      check(sp_set_flowcontrol(port_, settings_.flow == Flow::none       ? SP_FLOWCONTROL_NONE
                                      : settings_.flow == Flow::xon_xoff ? SP_FLOWCONTROL_XONXOFF
                                                                         : SP_FLOWCONTROL_RTSCTS),
            "does not take the flow control");
      check(sp_flush(port_, SP_BUF_BOTH), "cannot be flushed");
    } catch (...) {
      close();
      throw;
    }
  }

  void close() noexcept override {
    if (open_) sp_close(port_);
    open_ = false;
    free_port();
  }
  bool is_open() const override { return open_; }
  bool keeps_late_replies() const override { return true; }

  void write(std::string_view message, Milliseconds limit) override {
    require_open();
    const sp_return sent = sp_blocking_write(port_, message.data(), message.size(), milliseconds(limit));
    check(sent, "writing failed");
    if (static_cast<std::size_t>(sent) < message.size()) {
      throw Timeout(address_, "took " + std::to_string(sent) + " of " + std::to_string(message.size()) +
                                  " bytes in " + std::to_string(limit.count()) + " ms");
    }
  }
  std::size_t read(std::span<char> into, Milliseconds limit) override {
    require_open();
    const sp_return got = sp_blocking_read_next(port_, into.data(), into.size(), milliseconds(limit));
    check(got, "reading failed");
    if (got == 0) throw Timeout(address_, "no byte came in " + std::to_string(limit.count()) + " ms");
    return static_cast<std::size_t>(got);
  }

 private:
  // libserialport takes a limit of 0 as no limit.
  static unsigned milliseconds(Milliseconds limit) {
    return static_cast<unsigned>(std::max<Milliseconds::rep>(1, limit.count()));
  }

  static std::string text(sp_return result) {
    if (result != SP_ERR_FAIL)
      return result == SP_ERR_ARG ? "not a port libserialport knows"
                                  : "libserialport code " + std::to_string(result);
    char* message = sp_last_error_message();
    std::string copy = message == nullptr ? "unknown failure" : message;
    sp_free_error_message(message);
    return copy;
  }
  void check(sp_return result, const std::string& what) const {
    if (result < 0) throw LinkError(address_, what + ": " + text(result));
  }
  void require_open() const {
    if (!open_) throw LinkError(address_, "is not open");
  }
  void free_port() noexcept {
    if (port_ != nullptr) sp_free_port(port_);
    port_ = nullptr;
  }

  std::string path_, address_;
  SerialSettings settings_;
  sp_port* port_ = nullptr;
  bool open_ = false;
};

// The library that opens the line can be chosen only when the device exists.
class EitherSerial final : public Transport {
 public:
  EitherSerial(const SerialName& name, const SerialSettings& settings)
      : name_(name), settings_(settings), address_(to_string(ResourceName(name))) {}
  const std::string& address() const override { return address_; }
  void open(Milliseconds limit) override {
    line_ = is_pseudo_terminal(path_of(name_)) ? asio_serial_transport(name_, settings_)
                                               : libserialport_transport(name_, settings_);
    line_->open(limit);
  }
  void close() noexcept override {
    if (line_) line_->close();
  }
  bool is_open() const override { return line_ && line_->is_open(); }
  bool keeps_late_replies() const override { return true; }
  void write(std::string_view message, Milliseconds limit) override { line().write(message, limit); }
  std::size_t read(std::span<char> into, Milliseconds limit) override { return line().read(into, limit); }

 private:
  Transport& line() {
    if (!line_) throw LinkError(address_, "is not open");
    return *line_;
  }
  SerialName name_;
  SerialSettings settings_;
  std::string address_;
  std::unique_ptr<Transport> line_;
};

void require(const SerialName& name, const SerialSettings& settings) {
  if (const std::string problem = settings.problem(); !problem.empty()) {
    throw std::invalid_argument("serial line " + to_string(ResourceName(name)) + ": " + problem);
  }
}

}  // namespace

std::unique_ptr<Transport> asio_serial_transport(const SerialName& name, const SerialSettings& settings) {
  require(name, settings);
  return std::make_unique<AsioSerial>(name, settings);
}

std::unique_ptr<Transport> libserialport_transport(const SerialName& name, const SerialSettings& settings) {
  require(name, settings);
  return std::make_unique<LibSerialPort>(name, settings);
}

std::unique_ptr<Transport> serial_transport(const SerialName& name, const SerialSettings& settings) {
  require(name, settings);
  return std::make_unique<EitherSerial>(name, settings);
}

}  // namespace ness::protocols
