// QDevil QDAC-II: the commands used by its public drivers.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <stdexcept>

#include "ness/drivers/dac.hpp"
#include "number.hpp"

namespace ness::drivers {

namespace {

constexpr std::uint32_t channel_count = 24;
constexpr double low_range = 2, high_range = 10;
constexpr double steps_of_range = 1 << 25;  // 25 bits of twice the range

class Qdac2 final : public Dac {
 public:
  explicit Qdac2(std::unique_ptr<protocols::Session> session) : Dac(std::move(session)) {}
  std::string model() const override { return "QDevil QDAC-II"; }

  void require(const DacSettings& settings) const override {
    const auto refuse = [&](const std::string& reason) {
      throw std::invalid_argument(address() + ": " + model() + ": " + reason);
    };
    if (!(settings.range > 0 && settings.range <= high_range))
      refuse("a range of " + number(settings.range) + " V; expected up to " + number(high_range) + " V");
    if (!(settings.slew >= 20 && settings.slew <= 2e7))
      refuse("a slew of " + number(settings.slew) + " V/s; expected 20 to 2e7 V/s");
  }

  void configure(const std::vector<std::uint32_t>& channels, const DacSettings& settings) override {
    const auto refuse = [&](const std::string& reason) {
      throw std::invalid_argument(address() + ": " + model() + ": " + reason);
    };
    require_channels(channels);
    require(settings);
    const std::string range = range_word(settings), filter = filter_word(settings), list = listed(channels);
    auto& link = *session_;
    // A change of range or filter moves the output, which must be at 0 V for that. Channels that have the
    // right settings are left unchanged.
    const auto changing = to_rest(channels, settings);
    if (!changing.empty()) {
      const auto now = levels(changing);
      for (std::size_t i = 0; i < changing.size(); ++i) {
        if (std::abs(now[i]) > 1e-3)
          refuse("channel " + std::to_string(changing[i]) + " is at " + number(now[i]) +
                 " V; bring it to 0 V before it is configured");
      }
      link.write("sour:rang " + range + ',' + listed(changing));
      link.write("sour:filt " + filter + ',' + listed(changing));
    }
    link.write("sour:volt:mode fix," + list);
    link.write("sour:volt:slew " + number(settings.slew) + ',' + list);
    if (const auto left = to_rest(channels, settings); !left.empty()) {
      throw InstrumentError(address(), "sour:rang?, sour:filt?", {},
                            "the setting of channel " + std::to_string(left.front()) +
                                " was not accepted: " + range + " and " + filter + " were sent");
    }
    for (const double slew : link.query_numbers("sour:volt:slew? " + list, channels.size())) {
      if (std::abs(slew - settings.slew) > 1e-3 * settings.slew)
        throw InstrumentError(address(), "sour:volt:slew? " + list, number(slew),
                              "the slew was not accepted: " + number(settings.slew) + " was sent");
    }
    check();
    for (const std::uint32_t channel : channels) ranges_[channel] = range == "LOW" ? low_range : high_range;
    openings_ = link.openings();
  }

  std::vector<std::uint32_t> to_rest(const std::vector<std::uint32_t>& channels,
                                     const DacSettings& settings) override {
    require_channels(channels);
    const auto ranges = words("sour:rang? ", channels), filters = words("sour:filt? ", channels);
    std::vector<std::uint32_t> changing;
    for (std::size_t i = 0; i < channels.size(); ++i) {
      if (ranges[i] != range_word(settings) || filters[i] != filter_word(settings))
        changing.push_back(channels[i]);
    }
    return changing;
  }

  // Its public documents name no record of its calibration.
  std::vector<Statement> settings() override {
    std::vector<std::uint32_t> channels;
    for (const auto& [channel, range] : ranges_) channels.push_back(channel);
    if (channels.empty()) return {};
    return answers({{"range", "sour:rang?"},
                    {"filter", "sour:filt?"},
                    {"mode", "sour:volt:mode?"},
                    {"slew (V/s)", "sour:volt:slew?"},
                    {"level (V)", "sour:volt?"},
                    {"programmed level (V)", "sour:volt:last?"}},
                   channels, listed(channels));
  }

  void adopt(const std::vector<std::uint32_t>& channels) override {
    require_channels(channels);
    const auto ranges = words("sour:rang? ", channels);
    for (std::size_t i = 0; i < channels.size(); ++i)
      ranges_[channels[i]] = ranges[i] == "LOW" ? low_range : high_range;
    openings_ = session_->openings();
  }

  void set(std::span<const std::pair<std::uint32_t, double>> levels) override {
    require_same_link(*session_, openings_);
    for (const auto& [channel, level] : levels) {
      const auto range = ranges_.find(channel);
      if (range == ranges_.end())
        throw std::logic_error(address() + ": channel " + std::to_string(channel) + " was not configured");
      if (!(std::abs(level) <= range->second)) {
        throw std::invalid_argument(address() + ": channel " + std::to_string(channel) + ": a level of " +
                                    number(level) + " V; its range goes to " + number(range->second) + " V");
      }
    }
    // The instrument executes the units of one message in sequence, without round trips between them.
    std::string message;
    for (const auto& [channel, level] : levels) {
      const std::string unit = ":sour" + std::to_string(channel) + ":volt " + number(level);
      if (!message.empty() && message.size() + unit.size() + 1 > longest_message) {
        session_->write(message);
        message.clear();
      }
      message += (message.empty() ? "" : ";") + unit;
    }
    if (!message.empty()) session_->write(message);
  }

  std::vector<double> levels(const std::vector<std::uint32_t>& channels) override {
    return ask("sour:volt? ", channels);
  }
  std::vector<double> targets(const std::vector<std::uint32_t>& channels) override {
    return ask("sour:volt:last? ", channels);
  }
  std::vector<double> currents(const std::vector<std::uint32_t>& channels) override {
    auto amperes = ask("read? ", channels);
    for (double& I : amperes) I = measured(I);
    return amperes;
  }
  double resolution(const DacSettings& settings) const override {
    return 2 * (settings.range <= low_range ? low_range : high_range) / steps_of_range;
  }

 private:
  static constexpr std::size_t longest_message = 1000;

  bool recognises(const std::string& maker, const std::string& name) const override {
    return maker == "QDevil" && name == "QDAC-II";
  }

  void require_channels(const std::vector<std::uint32_t>& channels) const {
    if (channels.empty()) throw std::invalid_argument(address() + ": no channel is named");
    for (const std::uint32_t channel : channels) {
      if (channel < 1 || channel > channel_count)
        throw std::invalid_argument(address() + ": channel " + std::to_string(channel) + "; expected 1 to " +
                                    std::to_string(channel_count));
    }
  }
  static std::string range_word(const DacSettings& settings) {
    return settings.range <= low_range ? "LOW" : "HIGH";
  }
  static std::string filter_word(const DacSettings& settings) {
    return std::array{"DC", "MED", "HIGH"}[static_cast<std::size_t>(settings.filter)];
  }
  // One upper-case word per channel.
  std::vector<std::string> words(const std::string& query, const std::vector<std::uint32_t>& channels) {
    const std::string reply = session_->query(query + listed(channels));
    auto all = protocols::split_reply(reply);
    if (all.size() != channels.size())
      throw InstrumentError(address(), query + listed(channels), reply,
                            "expected " + std::to_string(channels.size()) + " words");
    for (std::string& word : all)
      std::transform(word.begin(), word.end(), word.begin(),
                     [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return all;
  }
  std::vector<double> ask(const std::string& query, const std::vector<std::uint32_t>& channels) {
    require_channels(channels);
    return session_->query_numbers(query + listed(channels), channels.size());
  }

  std::map<std::uint32_t, double> ranges_;
  std::uint64_t openings_ = 0;
};

}  // namespace

std::unique_ptr<Dac> qdac2(std::unique_ptr<protocols::Session> session) {
  return std::make_unique<Qdac2>(std::move(session));
}

}  // namespace ness::drivers
