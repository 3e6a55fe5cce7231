// Prologix GPIB-ETHERNET controller: the command set of its user manual, connected to emulated instruments.
#include <algorithm>
#include <array>
#include <charconv>
#include <deque>
#include <map>

#include "ness/emulators/models.hpp"

namespace ness::sim {

namespace {

class Prologix final : public EmulatedInstrument {
 public:
  explicit Prologix(const std::vector<std::pair<std::uint8_t, EmulatedInstrument*>>& instruments) {
    for (const auto& [address, instrument] : instruments) {
      if (address > 30 || instrument == nullptr || bus_.contains(address))
        throw std::invalid_argument("a Prologix needs distinct primary addresses from 0 to 30");
      instrument->message_exchange = true;
      bus_[address].instrument = instrument;
    }
  }

  void receive(std::string_view bytes, double now) override {
    now_ = std::max(now_, now);
    for (const char c : bytes) {
      if (escaped_) {
        line_ += c;
        escaped_ = false;
        plain_ = false;
      } else if (c == 27) {
        escaped_ = true;
      } else if (c == '\n' || c == '\r') {
        if (!line_.empty()) lines_.push_back({line_, plain_ && line_.starts_with("++")});
        line_.clear();
        plain_ = true;
      } else if (line_.size() < 65536) {
        line_ += c;
      }
    }
    work();
  }

  double next_event() const override {
    if (!reading_) return never;
    const auto found = bus_.find(address_);
    const double own = found == bus_.end() ? never : found->second.instrument->next_event();
    return std::min(own, give_up_);
  }

  void run(double now) override {
    now_ = std::max(now_, now);
    work();
  }

  std::string take_output() override { return std::exchange(output_, std::string()); }
  void device_clear() override {
    lines_.clear();
    line_.clear();
    output_.clear();
    reading_ = false;
  }
  std::uint8_t serial_poll() override { return 0; }
  void talk_without_query() override {}

 private:
  // An instrument at a bus address.
  struct BusDevice {
    EmulatedInstrument* instrument = nullptr;
    std::string said;  // output of the instrument, not yet read by the host
    bool asked = false;
  };
  struct Line {
    std::string text;
    bool command = false;
  };

  BusDevice* selected() {
    const auto found = bus_.find(address_);
    return found == bus_.end() ? nullptr : &found->second;
  }

  // Executes lines in order. A read delays the following lines until the instrument has replied, or its time
  // limit is over.
  void work() {
    for (;;) {
      if (reading_) {
        BusDevice* device = selected();
        if (device != nullptr) device->said += device->instrument->take_output();
        if (device != nullptr && !device->said.empty()) {
          output_ += std::exchange(device->said, std::string());
          if (eot_ == 1) output_ += static_cast<char>(eot_char_);
          reading_ = device->asked = false;
        } else if (now_ >= give_up_) {
          reading_ = false;
        } else {
          return;
        }
        continue;
      }
      if (lines_.empty()) return;
      const Line line = std::move(lines_.front());
      lines_.pop_front();
      if (line.command) command(line.text);
      else data(line.text);
    }
  }

  void data(const std::string& text) {
    BusDevice* device = selected();
    if (device == nullptr) return;
    device->said.clear();  // the instrument itself records the interruption
    device->instrument->receive(text + '\n', now_);
    device->instrument->run(now_);
    device->asked = text.find('?') != std::string::npos;
    if (automatic_) begin_read(*device);
  }

  // An IEEE 488.2 instrument that is addressed to talk without a query records error -420.
  void begin_read(BusDevice& device) {
    device.said += device.instrument->take_output();
    if (device.said.empty() && !device.asked) device.instrument->talk_without_query();
    reading_ = true;
    give_up_ = now_ + patience();
  }
  double patience() const { return static_cast<double>(timeout_ms_) / 1e3; }

  void command(const std::string& text) {
    std::string name = text.substr(0, text.find(' '));
    std::string rest = text.find(' ') == std::string::npos ? "" : text.substr(text.find(' ') + 1);
    const auto number = [&]() -> long {
      long value = -1;
      const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
      return error == std::errc{} && (end == rest.data() + rest.size() || *end == ' ') ? value : -1;
    };
    const auto setting = [&](long& value, long low, long high) {
      if (rest.empty()) say(std::to_string(value));
      else if (number() >= low && number() <= high) value = number();
      else say("Unrecognized command");
    };
    if (name == "++addr") setting(address_, 0, 30);
    else if (name == "++mode") setting(mode_, 0, 1);
    else if (name == "++auto") setting(automatic_, 0, 1);
    else if (name == "++eos") setting(eos_, 0, 3);
    else if (name == "++eoi") setting(eoi_, 0, 1);
    else if (name == "++eot_enable") setting(eot_, 0, 1);
    else if (name == "++eot_char") setting(eot_char_, 0, 255);
    else if (name == "++savecfg") setting(savecfg_, 0, 1);
    else if (name == "++read_tmo_ms") setting(timeout_ms_, 1, 3000);
    else if (name == "++ver") say("Prologix GPIB-ETHERNET Controller version 01.06.06.00");
    else if (name == "++read") read();
    else if (name == "++clr") clear();
    else if (name == "++spoll")
      say(std::to_string(selected() == nullptr ? 0
                                               : static_cast<int>(selected()->instrument->serial_poll())));
    else if (name == "++srq")
      say(std::any_of(bus_.begin(), bus_.end(),
                      [](const auto& p) { return (p.second.instrument->serial_poll() & 64) != 0; })
              ? "1"
              : "0");
    else if (name == "++ifc" || name == "++loc" || name == "++llo" || name == "++rst" || name == "++trg" ||
             name == "++lon")
      return;
    else say("Unrecognized command");
  }

  void read() {
    if (BusDevice* device = selected(); device != nullptr) {
      begin_read(*device);
    } else {  // no instrument at this address: silence until the time limit
      reading_ = true;
      give_up_ = now_ + patience();
    }
  }

  void clear() {
    if (BusDevice* device = selected(); device != nullptr) {
      device->instrument->device_clear();
      device->said.clear();
      device->asked = false;
    }
  }

  void say(const std::string& text) { output_ += text + "\r\n"; }

  std::map<long, BusDevice> bus_;
  std::deque<Line> lines_;
  std::string line_, output_;
  bool escaped_ = false, plain_ = true, reading_ = false;
  long address_ = 0, mode_ = 1, automatic_ = 1, eos_ = 0, eoi_ = 1, eot_ = 0, eot_char_ = 10, savecfg_ = 1,
       timeout_ms_ = 200;
  double give_up_ = 0, now_ = 0;
};

}  // namespace

std::unique_ptr<EmulatedInstrument> emulated_prologix(
    const std::vector<std::pair<std::uint8_t, EmulatedInstrument*>>& instruments) {
  return std::make_unique<Prologix>(instruments);
}

}  // namespace ness::sim
