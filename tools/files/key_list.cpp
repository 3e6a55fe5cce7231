#include "ness/files/key_list.hpp"

#include <charconv>
#include <cmath>
#include <stdexcept>

namespace ness {

namespace {

std::string text_of(double value) {
  if (std::isnan(value)) return "";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return {text, end};
}

std::string quoted(const std::string& text) {
  std::string shown;
  for (const char c : text) shown += c == '\n' ? std::string("\\n") : c == '\r' ? std::string("\\r") : std::string(1, c);
  return "\"" + shown + "\"";
}

std::string range_of(Number must_be) {
  switch (must_be) {
    case Number::finite: return "";
    case Number::positive: return "> 0";
    case Number::not_negative: return ">= 0";
    case Number::fraction: return "0 to 1";
    case Number::or_infinite: return "> 0, or inf";
  }
  return "";
}

template <typename T, typename Text>
std::string array_of(const std::vector<T>& values, const Text& text) {
  std::string all;
  for (const T& value : values) all += (all.empty() ? "" : ", ") + text(value);
  return values.empty() ? "" : "[" + all + "]";
}

// In a cell of a table a bar would end it.
std::string cell(const std::string& text) {
  std::string safe;
  for (const char c : text) safe += c == '|' ? std::string("\\|") : std::string(1, c);
  return safe;
}

std::string code(const std::string& text) { return text.empty() ? "" : "`" + cell(text) + "`"; }

}  // namespace

KeyList::KeyList(std::string meaning) : tables_(std::make_shared<std::vector<KeyTable>>()), index_(0) {
  tables_->push_back({"", std::move(meaning), {}});
}

KeyList KeyList::table(const std::string& name, const std::string& meaning) const {
  tables_->push_back({name, meaning, {}});
  return {tables_, tables_->size() - 1};
}

void KeyList::add(const std::string& key, std::string standard, std::string range, const About& about) {
  (*tables_)[index_].rows.push_back(
      {key, std::move(standard), std::string(about.unit), std::move(range), std::string(about.meaning)});
}

bool KeyList::number(const std::string& key, double& value, Number must_be, const About& about) {
  add(key, text_of(value), range_of(must_be), about);
  return false;
}

bool KeyList::whole(const std::string& key, std::uint64_t& value, std::uint64_t low, std::uint64_t high,
                    const About& about) {
  // The largest number a reader can hold is no limit that a user meets.
  const bool unlimited = high >= std::numeric_limits<std::uint32_t>::max();
  const std::string range = unlimited ? "whole, >= " + std::to_string(low)
                                      : "whole, " + std::to_string(low) + " to " + std::to_string(high);
  add(key, std::to_string(value), range, about);
  return false;
}

bool KeyList::flag(const std::string& key, bool& value, const About& about) {
  add(key, value ? "true" : "false", "true, false", about);
  return false;
}

bool KeyList::text(const std::string& key, std::string& value, const About& about) {
  add(key, value.empty() ? "" : quoted(value), "text", about);
  return false;
}

bool KeyList::texts(const std::string& key, std::vector<std::string>& values, const About& about) {
  add(key, array_of(values, quoted), "texts", about);
  return false;
}

bool KeyList::wholes(const std::string& key, std::vector<std::uint32_t>& values, const About& about) {
  add(key, array_of(values, [](std::uint32_t value) { return std::to_string(value); }), "whole numbers", about);
  return false;
}

bool KeyList::pair(const std::string& key, std::pair<double, double>& value, const About& about) {
  const bool none = std::isnan(value.first) || std::isnan(value.second);
  add(key, none ? "" : "[" + text_of(value.first) + ", " + text_of(value.second) + "]", "two numbers", about);
  return false;
}

bool KeyList::pairs_of_texts(const std::string& key, std::vector<std::pair<std::string, std::string>>&,
                             const About& about) {
  add(key, "", "pairs of texts", about);
  return false;
}

std::shared_ptr<Keys> KeyList::inner(const std::string& key, const About& about) {
  const std::string& outer = (*tables_)[index_].name;
  return std::make_shared<KeyList>(table(outer.empty() ? key : outer + "." + key, std::string(about.meaning)));
}

void KeyList::fail(const std::string& key, const std::string& message) const {
  throw std::logic_error("[" + (*tables_)[index_].name + "] " + key + ": " + message);
}

std::optional<std::size_t> KeyList::chosen(const std::string& key, const std::vector<std::string>& names,
                                           std::optional<std::size_t> standard, const About& about) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + quoted(name);
  add(key, standard ? quoted(names[*standard]) : "", all, about);
  return std::nullopt;
}

void require_meanings(const std::vector<KeyTable>& tables) {
  for (const KeyTable& table : tables) {
    for (const KeyRow& row : table.rows) {
      if (row.meaning.empty()) throw std::logic_error("[" + table.name + "] " + row.key + " has no meaning");
    }
  }
}

std::string page_of(const std::string& title, const std::string& introduction, const std::vector<KeyTable>& tables) {
  std::string page = "# " + title + "\n\n" + introduction + "\n";
  for (const KeyTable& table : tables) {
    if (table.rows.empty() && table.meaning.empty()) continue;
    page += "\n## " + (table.name.empty() ? std::string("Top of the file") : "`[" + table.name + "]`") + "\n\n";
    if (!table.meaning.empty()) page += table.meaning + ".\n";
    if (table.rows.empty()) continue;
    if (!table.meaning.empty()) page += "\n";
    page += "| key | default | unit | range | meaning |\n|---|---|---|---|---|\n";
    for (const KeyRow& row : table.rows) {
      page += "| `" + cell(row.key) + "` | " + code(row.standard) + " | " + cell(row.unit) + " | " + cell(row.range) + " | " +
              cell(row.meaning) + " |\n";
    }
  }
  return page;
}

}  // namespace ness
