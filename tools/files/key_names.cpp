#include "ness/files/key_names.hpp"

namespace ness {

namespace {

/// Gives nothing, and notes the names that are asked for.
class KeyNames final : public Keys {
 public:
  using Keys::whole;
  std::set<std::string> names;

  bool number(const std::string& key, double&, Number, const About&) override { return asked(key); }
  bool whole(const std::string& key, std::uint64_t&, std::uint64_t, std::uint64_t, const About&) override {
    return asked(key);
  }
  bool flag(const std::string& key, bool&, const About&) override { return asked(key); }
  bool text(const std::string& key, std::string&, const About&) override { return asked(key); }
  bool texts(const std::string& key, std::vector<std::string>&, const About&) override { return asked(key); }
  bool wholes(const std::string& key, std::vector<std::uint32_t>&, const About&) override {
    return asked(key);
  }
  bool pair(const std::string& key, std::pair<double, double>&, const About&) override { return asked(key); }
  bool pairs_of_texts(const std::string& key, std::vector<std::pair<std::string, std::string>>&,
                      const About&) override {
    return asked(key);
  }
  std::shared_ptr<Keys> inner(const std::string& key, const About&) override {
    asked(key);
    return nullptr;
  }
  [[noreturn]] void fail(const std::string& key, const std::string& message) const override {
    NoKeys().fail(key, message);
  }

 protected:
  std::optional<std::size_t> chosen(const std::string& key, const std::vector<std::string>&,
                                    std::optional<std::size_t>, const About&) override {
    asked(key);
    return std::nullopt;
  }

 private:
  bool asked(const std::string& key) {
    names.insert(key);
    return false;
  }
};

}  // namespace

std::set<std::string> key_names(const std::function<void(Keys&)>& list) {
  KeyNames keys;
  list(keys);
  return keys.names;
}

}  // namespace ness
