#include "ness/protocols/transport.hpp"

#include <algorithm>

#include "ness/protocols/errors.hpp"

namespace ness::protocols {

std::string Timeouts::problem() const {
  for (const auto& [name, limit] : {std::pair{"connect", connect},
                                    {"write", write},
                                    {"first_reply", first_reply},
                                    {"between_bytes", between_bytes}}) {
    if (limit.count() <= 0) return std::string(name) + " must be more than 0 ms";
    if (limit > std::chrono::hours(24)) return std::string(name) + " must be at most a day";
  }
  return {};
}

std::string SerialSettings::problem() const {
  if (baud == 0) return "baud must be more than 0";
  if (data_bits != 7 && data_bits != 8) return std::to_string(data_bits) + " data bits; expected 7 or 8";
  if (stop_bits != 1 && stop_bits != 2) return std::to_string(stop_bits) + " stop bits; expected 1 or 2";
  return {};
}

namespace {

class Memory final : public Transport {
 public:
  Memory(std::string address, std::shared_ptr<MemoryPeer> peer)
      : address_(std::move(address)), peer_(std::move(peer)) {}

  const std::string& address() const override { return address_; }
  void open(Milliseconds) override {
    unread_.clear();
    open_ = true;
  }
  void close() noexcept override { open_ = false; }
  bool is_open() const override { return open_; }
  void write(std::string_view message, Milliseconds) override {
    check();
    peer_->receive(message);
  }
  std::size_t read(std::span<char> into, Milliseconds limit) override {
    check();
    if (unread_.empty()) unread_ = peer_->send();
    if (unread_.empty()) throw Timeout(address_, "no byte came in " + std::to_string(limit.count()) + " ms");
    const std::size_t n = std::min(into.size(), unread_.size());
    std::copy_n(unread_.begin(), n, into.begin());
    unread_.erase(0, n);
    return n;
  }

 private:
  void check() const {
    if (!open_) throw LinkError(address_, "is not open");
  }

  std::string address_, unread_;
  std::shared_ptr<MemoryPeer> peer_;
  bool open_ = false;
};

}  // namespace

std::unique_ptr<Transport> memory_transport(std::string address, std::shared_ptr<MemoryPeer> peer) {
  return std::make_unique<Memory>(std::move(address), std::move(peer));
}

}  // namespace ness::protocols
