#include "ness/files/key_list.hpp"

#include <algorithm>
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
  for (const char c : text)
    shown += c == '\n' ? std::string("\\n") : c == '\r' ? std::string("\\r") : std::string(1, c);
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

bool same_words(const KeyRow& a, const KeyRow& b) {
  return a.key == b.key && a.standard == b.standard && a.unit == b.unit && a.range == b.range &&
         a.meaning == b.meaning && a.not_given == b.not_given;
}

/// Adds a row that one kind reads.
void merge(std::vector<KeyRow>& rows, KeyRow row, const std::string& kind) {
  const auto same =
      std::find_if(rows.begin(), rows.end(), [&](const KeyRow& other) { return same_words(other, row); });
  if (same != rows.end()) {
    // A row that names no kinds is of all of them.
    if (!same->kinds.empty()) same->kinds.push_back(kind);
    return;
  }
  row.kinds = {kind};
  const auto last =
      std::find_if(rows.rbegin(), rows.rend(), [&](const KeyRow& other) { return other.key == row.key; });
  rows.insert(last == rows.rend() ? rows.end() : last.base(), std::move(row));
}

bool most_read(const KeyRow& row, const KeyTable& table) { return 2 * row.kinds.size() > table.kinds.size(); }

/// The kinds that read a key; named are those that do, or those that do not, whichever are fewer.
std::string readers(const KeyRow& row, const KeyTable& table) {
  if (row.kinds.empty() || row.kinds.size() == table.kinds.size()) return "all";
  const bool most = most_read(row, table);
  std::string names;
  for (const KeyKind& kind : table.kinds) {
    const bool reads = std::find(row.kinds.begin(), row.kinds.end(), kind.name) != row.kinds.end();
    if (reads != most) names += (names.empty() ? "" : ", ") + code(kind.name);
  }
  return most ? "all but " + names : names;
}

std::string list_of_kinds(const KeyTable& table) {
  const auto has_alias = [](const KeyKind& kind) { return !kind.alias.empty(); };
  const bool aliases = std::any_of(table.kinds.begin(), table.kinds.end(), has_alias);
  std::string list = aliases ? "| kind | also |" : "| kind |", line = aliases ? "|---|---|" : "|---|";
  for (const auto& [heading, text] : table.kinds.front().words) {
    list += " " + heading + " |";
    line += "---|";
  }
  list += "\n" + line + "\n";
  for (const KeyKind& kind : table.kinds) {
    list += "| " + code(kind.name) + " |" + (aliases ? " " + code(kind.alias) + " |" : "");
    for (const auto& [heading, text] : kind.words) list += " " + cell(text) + " |";
    list += "\n";
  }
  return list;
}

std::string row_of(const KeyRow& row, const KeyTable& table) {
  // The kinds have a list of their own.
  const bool names_kind = row.key == "kind" && !table.kinds.empty();
  return "| `" + cell(row.key) + "` | " + (table.kinds.empty() ? "" : readers(row, table) + " | ") +
         (row.not_given.empty() ? code(row.standard) : cell(row.not_given)) + " | " + cell(row.unit) + " | " +
         (names_kind ? "a kind of the list above" : cell(row.range)) + " | " + cell(row.meaning) + " |\n";
}

}  // namespace

KeyList::KeyList(std::string meaning) : tables_(std::make_shared<std::vector<KeyTable>>()), index_(0) {
  tables_->push_back({"", std::move(meaning)});
}

KeyList KeyList::table(const std::string& name, const std::string& meaning) const {
  tables_->push_back({name, meaning});
  return {tables_, tables_->size() - 1};
}

void KeyList::kind(const KeyKind& kind, const std::function<void(Keys&)>& list) const {
  KeyList own("");
  own.tables_->front().name = (*tables_)[index_].name;
  list(own);
  for (const KeyTable& table : own.tables()) {
    const auto named = [&](const KeyTable& other) { return other.name == table.name; };
    auto into = std::find_if(tables_->begin() + static_cast<std::ptrdiff_t>(index_), tables_->end(), named);
    if (into == tables_->end()) into = tables_->insert(into, KeyTable{table.name, table.meaning});
    into->kinds.push_back(kind);
    for (const KeyRow& row : table.rows) merge(into->rows, row, kind.name);
  }
}

void KeyList::add(const std::string& key, std::string standard, std::string range, const About& about) {
  if (!about.not_given.empty()) standard.clear();
  (*tables_)[index_].rows.push_back({key, std::move(standard), std::string(about.unit), std::move(range),
                                     std::string(about.meaning), std::string(about.not_given)});
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
  add(key, array_of(values, [](std::uint32_t value) { return std::to_string(value); }), "whole numbers",
      about);
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
  return std::make_shared<KeyList>(
      table(outer.empty() ? key : outer + "." + key, std::string(about.meaning)));
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
    for (const KeyKind& kind : table.kinds) {
      const auto said = [](const auto& word) { return !word.second.empty(); };
      if (std::any_of(kind.words.begin(), kind.words.end(), said)) continue;
      throw std::logic_error("[" + table.name + "] kind = '" + kind.name + "' has no meaning");
    }
    for (const KeyRow& row : table.rows) {
      if (row.meaning.empty()) throw std::logic_error("[" + table.name + "] " + row.key + " has no meaning");
    }
  }
}

std::string page_of(const std::string& title, const std::string& introduction,
                    const std::vector<KeyTable>& tables) {
  std::string page = "# " + title + "\n\n" + introduction + "\n";
  for (const KeyTable& table : tables) {
    if (table.rows.empty() && table.meaning.empty()) continue;
    page +=
        "\n## " + (table.name.empty() ? std::string("Top of the file") : "`[" + table.name + "]`") + "\n\n";
    if (!table.meaning.empty()) page += table.meaning + ".\n";
    if (table.rows.empty()) continue;
    if (!table.meaning.empty()) page += "\n";
    if (!table.kinds.empty()) page += list_of_kinds(table) + "\n";
    page += table.kinds.empty()
                ? "| key | default | unit | range | meaning |\n|---|---|---|---|---|\n"
                : "| key | kinds | default | unit | range | meaning |\n|---|---|---|---|---|---|\n";
    for (const bool shared : {false, true}) {
      for (const KeyRow& row : table.rows) {
        if (most_read(row, table) == shared) page += row_of(row, table);
      }
    }
  }
  return page;
}

}  // namespace ness
