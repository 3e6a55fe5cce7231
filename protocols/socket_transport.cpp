#include <optional>

#include "asio.hpp"
#include "descriptor.hpp"
#include "ness/protocols/errors.hpp"

namespace ness::protocols {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

class Socket final : public Transport {
 public:
  explicit Socket(const SocketName& name) : name_(name), address_(to_string(name)) {}

  const std::string& address() const override { return address_; }

  void open(Milliseconds limit) override {
    close();
    boost::system::error_code error;
    tcp::resolver resolver(context_);
    std::string host = name_.host;
    if (host.front() == '[') host = host.substr(1, host.size() - 2);
    const auto found = resolver.resolve(host, std::to_string(name_.port), error);
    if (error) throw LinkError(address_, "no address of host '" + host + "': " + error.message());
    std::optional<boost::system::error_code> outcome;
    asio::async_connect(socket_, found, [&](const boost::system::error_code& result, const tcp::endpoint&) {
      outcome = result;
    });
    context_.restart();
    context_.run_for(limit);
    if (!outcome) {
      close();
      context_.run();  // the handler of the abandoned connect refers to this stack frame
      throw Timeout(address_, "no connection in " + std::to_string(limit.count()) + " ms");
    }
    if (*outcome) {
      close();
      throw LinkError(address_, "no connection: " + outcome->message());
    }
    // Send small packets at once, without waiting for the acknowledgement of the one before.
    socket_.set_option(tcp::no_delay(true), error);
    socket_.set_option(asio::socket_base::keep_alive(true), error);
    socket_.native_non_blocking(true, error);
    if (error) throw LinkError(address_, "the socket cannot be set: " + error.message());
  }

  void close() noexcept override {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

  bool is_open() const override { return socket_.is_open(); }

  void write(std::string_view message, Milliseconds limit) override {
    check();
    write_all(socket_.native_handle(), message, limit, address_);
  }

  std::size_t read(std::span<char> into, Milliseconds limit) override {
    check();
    return read_some(socket_.native_handle(), into, limit, address_);
  }

 private:
  void check() const {
    if (!socket_.is_open()) throw LinkError(address_, "is not open");
  }

  SocketName name_;
  std::string address_;
  asio::io_context context_;
  mutable tcp::socket socket_{context_};
};

}  // namespace

std::unique_ptr<Transport> socket_transport(const SocketName& name) { return std::make_unique<Socket>(name); }

}  // namespace ness::protocols
