#include "ness/sim/paced.hpp"

#include <algorithm>

#include "ness/protocols/errors.hpp"

namespace ness::sim {

namespace {

using protocols::Milliseconds;

class Paced final : public protocols::Transport {
 public:
  Paced(std::shared_ptr<EmulatedBench> bench, EmulatedInstrument& instrument, std::string address, double bytes_per_second)
      : bench_(std::move(bench)), instrument_(instrument), address_(std::move(address)), pace_(bytes_per_second) {}

  const std::string& address() const override { return address_; }
  void open(Milliseconds) override {
    unread_.clear();
    instrument_.take_output();
    open_ = true;
  }
  void close() noexcept override { open_ = false; }
  bool is_open() const override { return open_; }

  void write(std::string_view message, Milliseconds limit) override {
    check();
    if (pace_ > 0) {
      const double needed = static_cast<double>(message.size()) / pace_, allowed = std::chrono::duration<double>(limit).count();
      if (needed > allowed) {
        bench_->advance(bench_->time() + allowed);
        throw Timeout(address_, "took " + std::to_string(static_cast<std::size_t>(allowed * pace_)) + " of " + std::to_string(message.size()) + " bytes in " + std::to_string(limit.count()) + " ms");
      }
      bench_->advance(bench_->time() + needed);
    }
    bench_->advance(bench_->time());  // what is due now comes before what arrives now
    instrument_.receive(message, bench_->time());
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
    std::copy_n(unread_.begin(), n, into.begin());
    unread_.erase(0, n);
    if (pace_ > 0) bench_->advance(bench_->time() + static_cast<double>(n) / pace_);
    return n;
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

}  // namespace

std::unique_ptr<protocols::Transport> paced_transport(std::shared_ptr<EmulatedBench> bench, EmulatedInstrument& instrument, std::string address, double bytes_per_second) {
  return std::make_unique<Paced>(std::move(bench), instrument, std::move(address), bytes_per_second);
}

namespace {

class PacedClock final : public Clock {
 public:
  explicit PacedClock(std::shared_ptr<EmulatedBench> bench) : bench_(std::move(bench)) {}
  double now() const override { return bench_->time(); }
  void wait(double seconds, std::stop_token) override {
    if (seconds > 0) bench_->advance(bench_->time() + seconds);
  }

 private:
  std::shared_ptr<EmulatedBench> bench_;
};

}  // namespace

std::shared_ptr<Clock> paced_clock(std::shared_ptr<EmulatedBench> bench) { return std::make_shared<PacedClock>(std::move(bench)); }

void pass_time(EmulatedBench& bench, double seconds) { bench.advance(bench.time() + seconds); }

}  // namespace ness::sim
