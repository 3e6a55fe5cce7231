// Keys: the options of a thing, by name, as files give them.
//
// What can be named in a file (an estimator, an instrument, a task) lists its own keys in one function, which
// hands each to a Keys with the option it sets, its unit and its meaning. A file's table, the page that
// documents all keys, and a caller who gives nothing are three Keys that walk the same list, so that none can
// differ from another.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ness {

/// What a number must be. All but `or_infinite` refuse NaN and infinities; `or_infinite` allows +infinity
/// beside positive numbers.
enum class Number : std::uint8_t { finite, positive, not_negative, fraction, or_infinite };

/// What the documentation says of a key.
struct About {
  std::string_view unit;  ///< "kT", "s", "V"; empty: a pure number, or no number
  /// One sentence without its full stop; "0: .." where a value means something of its own
  std::string_view meaning;
  /// What holds where the key is not given, if no one value says it: "0 where states are restored, else 1".
  std::string_view not_given = {};
};

/// A table of keys. Each reader leaves `value`, which comes with the default, alone and returns false where
/// the key is not given; throws what fail() throws where what is given is of another kind or out of range.
/// Each key is asked for once.
class Keys {
 public:
  static constexpr std::uint64_t largest_whole =
      static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

  virtual ~Keys() = default;
  virtual bool number(const std::string& key, double& value, Number must_be, const About& about) = 0;
  /// A whole number in [low, high].
  virtual bool whole(const std::string& key, std::uint64_t& value, std::uint64_t low, std::uint64_t high,
                     const About& about) = 0;
  virtual bool flag(const std::string& key, bool& value, const About& about) = 0;
  virtual bool text(const std::string& key, std::string& value, const About& about) = 0;
  /// One string, or several.
  virtual bool texts(const std::string& key, std::vector<std::string>& values, const About& about) = 0;
  virtual bool wholes(const std::string& key, std::vector<std::uint32_t>& values, const About& about) = 0;
  /// Two finite numbers, [low, high] or [mean, deviation].
  virtual bool pair(const std::string& key, std::pair<double, double>& value, const About& about) = 0;
  /// [["a", "b"], ["c", "d"]]
  virtual bool pairs_of_texts(const std::string& key,
                              std::vector<std::pair<std::string, std::string>>& values,
                              const About& about) = 0;
  /// A table of its own below this one; null where it is not given.
  virtual std::shared_ptr<Keys> inner(const std::string& key, const About& about) = 0;
  /// Throws, saying where the key is (or the table, where the key is empty or not given).
  [[noreturn]] virtual void fail(const std::string& key, const std::string& message) const = 0;

  /// Throws for the first key that is given and that nobody asked for: after the last reader.
  virtual void finish() const {}

  bool whole(const std::string& key, std::uint64_t& value, std::uint64_t low, const About& about) {
    return whole(key, value, low, largest_whole, about);
  }
  bool whole(const std::string& key, std::uint32_t& value, std::uint32_t low, const About& about) {
    std::uint64_t wide = value;
    const bool given = whole(key, wide, low, std::numeric_limits<std::uint32_t>::max(), about);
    value = static_cast<std::uint32_t>(wide);
    return given;
  }
  /// One of the named values.
  template <typename T>
  bool choice(const std::string& key, T& value, const std::vector<std::pair<std::string, T>>& named,
              const About& about) {
    std::vector<std::string> names;
    std::optional<std::size_t> standard;
    for (const auto& [name, meaning] : named) {
      if (!standard && meaning == value) standard = names.size();
      names.push_back(name);
    }
    const std::optional<std::size_t> index = chosen(key, names, standard, about);
    if (index) value = named[*index].second;
    return index.has_value();
  }
  /// Throws where `problem` is not empty.
  void require(const std::string& problem) const {
    if (!problem.empty()) fail("", problem);
  }

 protected:
  /// Which of the names is given; `standard` is the default, if there is one.
  virtual std::optional<std::size_t> chosen(const std::string& key, const std::vector<std::string>& names,
                                            std::optional<std::size_t> standard, const About& about) = 0;
};

/// Nothing is given: every option keeps its default. fail() throws std::invalid_argument.
class NoKeys final : public Keys {
 public:
  using Keys::whole;
  bool number(const std::string&, double&, Number, const About&) override { return false; }
  bool whole(const std::string&, std::uint64_t&, std::uint64_t, std::uint64_t, const About&) override {
    return false;
  }
  bool flag(const std::string&, bool&, const About&) override { return false; }
  bool text(const std::string&, std::string&, const About&) override { return false; }
  bool texts(const std::string&, std::vector<std::string>&, const About&) override { return false; }
  bool wholes(const std::string&, std::vector<std::uint32_t>&, const About&) override { return false; }
  bool pair(const std::string&, std::pair<double, double>&, const About&) override { return false; }
  bool pairs_of_texts(const std::string&, std::vector<std::pair<std::string, std::string>>&,
                      const About&) override {
    return false;
  }
  std::shared_ptr<Keys> inner(const std::string&, const About&) override { return nullptr; }
  [[noreturn]] void fail(const std::string& key, const std::string& message) const override {
    throw std::invalid_argument(key.empty() ? message : "'" + key + "': " + message);
  }

 protected:
  std::optional<std::size_t> chosen(const std::string&, const std::vector<std::string>&,
                                    std::optional<std::size_t>, const About&) override {
    return std::nullopt;
  }
};

}  // namespace ness
