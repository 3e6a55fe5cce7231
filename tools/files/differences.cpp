#include "ness/files/differences.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "ness/files/toml_table.hpp"

namespace ness {

namespace {

constexpr const char* network_key = "network.json";

/// Every number and text of a JSON text by its place, "edges.3.a"; nothing where it is no JSON.
std::optional<Values> values_of(const std::string& json) {
  const auto parsed = nlohmann::json::parse(json, nullptr, false);
  if (parsed.is_discarded()) return std::nullopt;
  Values values;
  const nlohmann::json flat = parsed.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    std::string key = pointer.empty() ? pointer : pointer.substr(1);
    std::replace(key.begin(), key.end(), '/', '.');
    values[key] = value.dump();
  }
  return values;
}

std::string network_text(const std::string& experiment, const std::string& path) {
  std::string text;
  Table root = Document(experiment, path).root();
  if (auto network = root.table("network")) network->text("json", text, {"", ""});
  return text;
}

std::vector<Difference> network_differences(const std::string& then, const std::string& now) {
  const std::optional<Values> was = values_of(then), is = values_of(now);
  if (!was || !is) {
    const auto size = [](const std::string& text) {
      return text.empty() ? text : "a network of " + std::to_string(text.size()) + " bytes";
    };
    return {{network_key, size(then), size(now), then.size() == now.size() ? "their texts differ" : ""}};
  }
  std::vector<Difference> found = differences(*was, *is);
  constexpr std::size_t most = 8;
  if (found.size() > most) {
    const Difference first = found.front();
    return {{network_key, first.then, first.now,
             first.key + ", the first of " + std::to_string(found.size()) + " values"}};
  }
  for (Difference& one : found) one.key = std::string(network_key) + "." + one.key;
  return found;
}

}  // namespace

std::string Difference::text() const {
  const auto shown = [](const std::string& value) { return value.empty() ? std::string("nothing") : value; };
  return key + (where.empty() ? "" : " (" + where + ")") + ": " + shown(then) + " then, " + shown(now) +
         " now";
}

std::vector<Difference> differences(const Values& then, const Values& now) {
  std::map<std::string, Difference> all;
  for (const auto& [key, value] : then) all[key] = {key, value, {}, {}};
  for (const auto& [key, value] : now) {
    all[key].key = key;
    all[key].now = value;
  }
  std::vector<Difference> found;
  for (auto& [key, one] : all) {
    if (one.then != one.now) found.push_back(std::move(one));
  }
  return found;
}

std::vector<Difference> differences(const std::string& then, const std::string& now,
                                    const std::string& path) {
  return differences(Document(then, path).values(), Document(now, path).values());
}

std::vector<Difference> experiment_differences(const std::string& then, const std::string& now,
                                               const std::string& path) {
  std::vector<Difference> all;
  for (Difference& one : differences(then, now, path)) {
    if (one.key != network_key) {
      all.push_back(std::move(one));
      continue;
    }
    for (Difference& inner : network_differences(network_text(then, path), network_text(now, path)))
      all.push_back(std::move(inner));
  }
  return all;
}

bool named(const std::string& key, std::span<const std::string> names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return key == name || (key.size() > name.size() && key.starts_with(name) && key[name.size()] == '.');
  });
}

}  // namespace ness
