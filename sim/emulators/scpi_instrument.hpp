// Common parts of emulated SCPI instruments: message queue, execution in time, common commands, status.
#pragma once

#include <cmath>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "ness/device/random.hpp"
#include "ness/emulators/circuit.hpp"
#include "ness/emulators/emulated_instrument.hpp"
#include "ness/emulators/scpi.hpp"

namespace ness::sim {

class ScpiInstrument : public EmulatedInstrument {
 public:
  void receive(std::string_view bytes, double now) override;
  double next_event() const override;
  void run(double now) override;
  std::string take_output() override;
  void drop_replies() override;
  void device_clear() override;
  std::uint8_t serial_poll() override { return status_byte(); }
  void talk_without_query() override { status.push(-420); }

 protected:
  struct Settings {
    std::string identity;
    std::size_t error_depth = 20;
    std::string no_error = "0,\"No error\"";
    double command_time = 1e-3;  ///< s per message unit
    std::size_t input_buffer = 1 << 16;
    bool plus = false;  ///< integers in answers have a sign
  };
  ScpiInstrument(Settings settings, Circuit& circuit, const Imperfection& imperfection);

  /// One execution of a message unit.
  struct Call {
    const scpi::Unit& unit;
    scpi::Arguments arguments;
    const std::vector<std::uint32_t>& suffixes;
    double number(std::size_t i, const scpi::NumberRange& range = {}) const {
      return arguments.number(i, range);
    }
  };
  using Handler = std::function<void(const Call&)>;
  /// A command or query of the instrument. Handlers throw scpi::Fault.
  void on(std::string_view pattern, Handler handler);
  /// A query that is answered immediately.
  void answer(std::string_view pattern, std::function<std::string(const Call&)> text);
  /// A command that is accepted and has no effect.
  void accept(std::string_view pattern) {
    on(pattern, [](const Call&) {});
  }
  /// A number that is set and queried: "VOLT 1", "VOLT?", "VOLT? MAX".
  void number(const std::string& pattern, double& value, const scpi::NumberRange& range,
              std::function<void()> changed = {});
  void flag(const std::string& pattern, bool& value, std::function<void()> changed = {});

  /// Response of the current message unit; call from a handler.
  void reply(std::string text);
  /// Continues the unit with `then` after `seconds`.
  void after(double seconds, std::function<void()> then);
  /// Continues the unit with `then` when no operation is pending.
  void when_idle(std::function<void()> then);

  /// Starts an overlapped operation: `step` is called, and returns the time of its next call, or `never` at
  /// the end.
  void begin_operation(double first, std::function<double()> step);
  void abort_operation();
  bool operating() const { return operation_at_ < never; }

  double now() const { return now_; }
  std::string integer(std::int64_t value) const {
    return (settings_.plus && value >= 0 ? "+" : "") + std::to_string(value);
  }
  virtual std::string number_text(double value) const { return scpi::nr3(value, 8); }
  /// A reading with its displayed digits, or with all digits if nothing is quantised. Invalid readings have
  /// special values.
  std::string reading_text(double value, int decimals) const {
    return scpi::nr3(value, imperfection_.quantised || std::abs(value) > 9e37 ? decimals : 16);
  }
  virtual void reset() = 0;
  virtual std::uint8_t device_bits() const { return 0; }
  std::uint8_t status_byte() const { return status.byte(!output_.empty() || responding_, device_bits()); }

  /// The next standard normal number.
  double noise();
  /// An error within a specification: uniform in [-1, 1], constant for each `what`.
  double error(std::uint32_t what) const;

  scpi::Status status;
  Circuit& circuit_;
  Imperfection imperfection_;

 private:
  void common_commands();
  void status_commands();
  double foreground() const;
  void work();
  void execute(const scpi::Unit& unit);
  void finish_message();

  struct Message {
    double arrival = 0;
    std::string text;
  };
  Settings settings_;
  scpi::CommandTable table_;
  std::vector<Handler> handlers_;
  std::string input_, output_, response_;
  bool responding_ = false;  // the current message has an answer
  std::deque<Message> messages_;
  // number of messages, from the front, whose replies no client expects any more
  std::size_t unanswered_ = 0;
  std::optional<scpi::MessageReader> reader_;  // of messages_.front()
  std::function<void()> then_;
  bool waits_idle_ = false;
  double free_at_ = 0, now_ = 0;
  double operation_at_ = never;
  std::function<double()> operation_;
  bool complete_when_idle_ = false;  // *OPC
  std::uint64_t draws_ = 0;
};

}  // namespace ness::sim
