#include "ness/emulators/virtual_time.hpp"

#include <algorithm>
#include <stdexcept>

#include "ness/protocols/errors.hpp"

namespace ness::sim {

namespace {

using protocols::Milliseconds;

// Limit in real time for the bytes of a real link. They were sent before, so it matters only on a stalled
// machine.
constexpr Milliseconds patience{10000};

class VirtualTimeTransport : public protocols::Transport {
 public:
  VirtualTimeTransport(std::shared_ptr<EmulatedBench> bench, EmulatedInstrument& instrument,
                       std::string address, double bytes_per_second)
      : bench_(std::move(bench)),
        instrument_(instrument),
        address_(std::move(address)),
        pace_(bytes_per_second) {}

  const std::string& address() const override { return address_; }
  void open(Milliseconds limit) override {
    connect(limit);
    unread_.clear();
    // Opening a serial line flushes it, but late replies may still arrive.
    if (keeps_late_replies()) instrument_.take_output();
    else instrument_.drop_replies();
    open_ = true;
  }
  bool keeps_late_replies() const override { return pace_ > 0; }
  void close() noexcept override {
    open_ = false;
    disconnect();
  }
  bool is_open() const override { return open_; }

  void write(std::string_view message, Milliseconds limit) override {
    check();
    if (pace_ > 0) {
      const double needed = static_cast<double>(message.size()) / pace_,
                   allowed = std::chrono::duration<double>(limit).count();
      if (needed > allowed) {
        bench_->advance(bench_->time() + allowed);
        throw Timeout(address_, "took " + std::to_string(static_cast<std::size_t>(allowed * pace_)) + " of " +
                                    std::to_string(message.size()) + " bytes in " +
                                    std::to_string(limit.count()) + " ms");
      }
      bench_->advance(bench_->time() + needed);
    }
    bench_->advance(bench_->time());  // events due now precede the message that arrives now
    instrument_.receive(carried(message), bench_->time());
  }

  std::size_t read(std::span<char> into, Milliseconds limit) override {
    check();
    const double until = bench_->time() + std::chrono::duration<double>(limit).count();
    bench_->advance(bench_->time());
    while (unread_.empty()) {
      unread_ = instrument_.take_output();
      if (!unread_.empty()) break;
      const double next = bench_->next_event();
      if (next > until) {
        bench_->advance(until);
        throw Timeout(address_, "no byte came in " + std::to_string(limit.count()) + " ms");
      }
      bench_->advance(std::max(next, bench_->time()));
    }
    const std::size_t n = std::min(into.size(), unread_.size());
    carry({unread_.data(), n}, into);
    unread_.erase(0, n);
    if (pace_ > 0) bench_->advance(bench_->time() + static_cast<double>(n) / pace_);
    return n;
  }

 protected:
  // Hooks for a real link that carries the bytes; here there is none.
  virtual void connect(Milliseconds) {}
  virtual void disconnect() noexcept {}
  virtual std::string_view carried(std::string_view message) { return message; }
  virtual void carry(std::string_view reply, std::span<char> into) {
    std::copy(reply.begin(), reply.end(), into.begin());
  }

 private:
  void check() const {
    if (!open_) throw LinkError(address_, "is not open");
  }

  std::shared_ptr<EmulatedBench> bench_;
  EmulatedInstrument& instrument_;
  std::string address_, unread_;
  double pace_;
  bool open_ = false;
};

class VirtualTimeLink final : public VirtualTimeTransport {
 public:
  VirtualTimeLink(std::shared_ptr<EmulatedBench> bench, EmulatedInstrument& instrument, std::string address,
                  std::unique_ptr<protocols::Transport> link, std::unique_ptr<FarEnd> far,
                  double bytes_per_second)
      : VirtualTimeTransport(std::move(bench), instrument, std::move(address), bytes_per_second),
        link_(std::move(link)),
        far_(std::move(far)) {}
  ~VirtualTimeLink() override { link_->close(); }

 private:
  void connect(Milliseconds limit) override {
    link_->open(limit);
    far_->accept();
  }
  void disconnect() noexcept override { link_->close(); }

  std::string_view carried(std::string_view message) override {
    heard_.clear();
    for (; !message.empty(); message.remove_prefix(std::min(message.size(), FarEnd::piece))) {
      const std::string_view part = message.substr(0, FarEnd::piece);
      link_->write(part, patience);
      far_->receive(part.size(), heard_);
    }
    return heard_;
  }

  // Reads each reply from the link before more is sent: the link is empty when this returns.
  void carry(std::string_view reply, std::span<char> into) override {
    std::size_t had = 0;
    while (had < reply.size()) {
      const std::string_view part = reply.substr(had, FarEnd::piece);
      far_->send(part);
      for (const std::size_t end = had + part.size(); had < end;)
        had += link_->read(into.subspan(had, end - had), patience);
    }
  }

  std::unique_ptr<protocols::Transport> link_;
  std::unique_ptr<FarEnd> far_;
  std::string heard_;
};

}  // namespace

std::unique_ptr<protocols::Transport> virtual_time_transport(std::shared_ptr<EmulatedBench> bench,
                                                             EmulatedInstrument& instrument,
                                                             std::string address, double bytes_per_second) {
  return std::make_unique<VirtualTimeTransport>(std::move(bench), instrument, std::move(address),
                                                bytes_per_second);
}

std::unique_ptr<protocols::Transport> virtual_time_transport(
    std::shared_ptr<EmulatedBench> bench, EmulatedInstrument& instrument, std::string address,
    std::unique_ptr<protocols::Transport> link, std::unique_ptr<FarEnd> far, double bytes_per_second) {
  if (!link || !far) throw std::invalid_argument("a link in virtual time needs both of its ends");
  return std::make_unique<VirtualTimeLink>(std::move(bench), instrument, std::move(address), std::move(link),
                                           std::move(far), bytes_per_second);
}

namespace {

class VirtualClock final : public Clock {
 public:
  explicit VirtualClock(std::shared_ptr<EmulatedBench> bench) : bench_(std::move(bench)) {}
  double now() const override { return bench_->time(); }
  void wait(double seconds, std::stop_token) override {
    if (seconds > 0) bench_->advance(bench_->time() + seconds);
  }

 private:
  std::shared_ptr<EmulatedBench> bench_;
};

}  // namespace

std::shared_ptr<Clock> virtual_clock(std::shared_ptr<EmulatedBench> bench) {
  return std::make_shared<VirtualClock>(std::move(bench));
}

void pass_time(EmulatedBench& bench, double seconds) { bench.advance(bench.time() + seconds); }

}  // namespace ness::sim
