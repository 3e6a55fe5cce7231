// Keys given by a test.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

#include "ness/training/estimator_table.hpp"

namespace given {

/// Numbers, whole numbers, flags (0, 1) and choices by name; all other keys are not given.
class GivenKeys final : public ness::Keys {
 public:
  using About = ness::About;
  using Keys::whole;
  GivenKeys(std::map<std::string, double> numbers = {}, std::map<std::string, std::string> choices = {})
      : numbers_(std::move(numbers)), choices_(std::move(choices)) {}

  bool number(const std::string& key, double& value, ness::Number, const About&) override {
    return take(key, value);
  }
  bool whole(const std::string& key, std::uint64_t& value, std::uint64_t, std::uint64_t,
             const About&) override {
    return take(key, value);
  }
  bool flag(const std::string& key, bool& value, const About&) override { return take(key, value); }
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
    throw std::invalid_argument(key + ": " + message);
  }
  /// The names that were read.
  const std::set<std::string>& asked() const { return asked_; }

 protected:
  std::optional<std::size_t> chosen(const std::string& key, const std::vector<std::string>& names,
                                    std::optional<std::size_t>, const About&) override {
    asked_.insert(key);
    const auto found = choices_.find(key);
    if (found == choices_.end()) return std::nullopt;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == found->second) return i;
    }
    fail(key, "no choice '" + found->second + "'");
  }

 private:
  template <typename T>
  bool take(const std::string& key, T& value) {
    asked_.insert(key);
    const auto found = numbers_.find(key);
    if (found == numbers_.end()) return false;
    value = static_cast<T>(found->second);
    return true;
  }

  std::map<std::string, double> numbers_;
  std::map<std::string, std::string> choices_;
  std::set<std::string> asked_;
};

/// The estimator with this name and these keys; keys that it does not read are ignored.
inline std::unique_ptr<ness::Estimator> estimator(const std::string& name, GivenKeys keys,
                                                  std::shared_ptr<const ness::Model> model) {
  return ness::estimator_entry(name).read(keys)({.model = std::move(model)});
}

}  // namespace given
