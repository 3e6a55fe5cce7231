#include "ness/files/toml_table.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string_view>

#include "ness/device/nearest.hpp"
#include "ness/device/error.hpp"
#include "ness/files/text_file.hpp"

namespace ness {

struct Document::Impl {
  toml::table root;
  std::string text, path;
  bool changed = false;
  std::map<std::string, std::string> assigned;  // dotted key -> "--set key=value", for messages
};

struct Table::Impl {
  std::shared_ptr<Document::Impl> document;
  const toml::table* table = nullptr;
  std::string name;  // dotted; empty: the root
  std::set<std::string> asked;

  const toml::node* find(const std::string& key) {
    asked.insert(key);
    return table->get(key);
  }
};

namespace {

std::string written(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value)
                       .ptr;  // the shortest that reads back to the same bits
  std::string text(digits, end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string written(const std::string& value) {
  const bool plain = std::none_of(value.begin(), value.end(),
                                  [](unsigned char c) { return (c < 32 && c != '\n') || c == 127; });
  if (plain && value.find('\n') != std::string::npos && value.find("'''") == std::string::npos &&
      value.back() != '\'') {
    return "'''\n" + value + "'''";
  }
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    if (static_cast<unsigned char>(c) < 32 || c == 127) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      text += code;
    } else {
      text += c;
    }
  }
  return text + "\"";
}

std::string written_key(std::string_view key) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; };
  const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), plain);
  return bare ? std::string(key) : written(std::string(key));
}

/// A value as TOML, on one line but for strings with line breaks.
std::string written(const toml::node& node) {
  if (const auto* number = node.as_floating_point()) return written(number->get());
  if (const auto* string = node.as_string()) return written(string->get());
  if (const auto* array = node.as_array()) {
    std::string text;
    for (const toml::node& entry : *array) text += (text.empty() ? "" : ", ") + written(entry);
    return "[" + text + "]";
  }
  std::ostringstream text;
  if (const auto* table = node.as_table()) {
    for (auto&& [key, entry] : *table)
      text << (text.tellp() > 0 ? ", " : "") << written_key(key.str()) << " = " << written(entry);
    return "{" + text.str() + "}";
  }
  node.visit([&text](const auto& value) {
    if constexpr (toml::is_value<decltype(value)>) text << value;
  });
  return text.str();
}

/// A table as TOML: its values, then its sub-tables, both in the order of the file.
void write(std::ostream& out, const toml::table& table, const std::string& name) {
  std::vector<std::pair<std::uint32_t, std::string_view>> order;
  for (auto&& [key, node] : table) {
    const auto line = node.source().begin.line;
    order.emplace_back(line > 0 ? line : std::numeric_limits<std::uint32_t>::max(), key.str());
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  const bool has_values =
      std::any_of(table.begin(), table.end(), [](auto&& entry) { return !entry.second.is_table(); });
  if (!name.empty() && (has_values || table.empty())) out << "\n[" << name << "]\n";
  for (const auto& [line, key] : order) {
    if (const toml::node& node = *table.get(key); !node.is_table())
      out << written_key(key) << " = " << written(node) << "\n";
  }
  for (const auto& [line, key] : order) {
    const toml::table* inner = table.get(key)->as_table();
    if (inner) write(out, *inner, (name.empty() ? "" : name + ".") + written_key(key));
  }
}

std::string shown(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (const auto* array = node.as_array()) {
    return "an array of " + std::to_string(array->size()) + (array->size() == 1 ? " value" : " values");
  }
  if (const auto* string = node.as_string()) return "the string \"" + string->get() + "\"";
  return written(node);
}

std::string expectation(Number must_be) {
  switch (must_be) {
    case Number::finite: return "a finite number";
    case Number::positive: return "a number > 0";
    case Number::not_negative: return "a number >= 0";
    case Number::fraction: return "a number from 0 to 1";
    case Number::or_infinite: return "a number > 0, or inf";
  }
  return {};
}

bool acceptable(double value, Number must_be) {
  if (must_be == Number::or_infinite) return value > 0;  // false for NaN
  if (!std::isfinite(value)) return false;
  switch (must_be) {
    case Number::positive: return value > 0;
    case Number::not_negative: return value >= 0;
    case Number::fraction: return value >= 0 && value <= 1;
    case Number::finite:
    case Number::or_infinite: return true;
  }
  return false;
}

std::vector<std::string> split_key(const std::string& key) {
  std::vector<std::string> parts(1);
  for (const char c : key) {
    if (c == '.') parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// The table that holds the last part of a key, made where it is missing; null where something else is in the
/// way.
toml::table* holder(toml::table& root, const std::vector<std::string>& parts, bool make) {
  toml::table* table = &root;
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    toml::node* next = table->get(parts[i]);
    if (!next && make) next = &table->insert(parts[i], toml::table{}).first->second;
    if (!next || !next->is_table()) return nullptr;
    table = next->as_table();
  }
  return table;
}

}  // namespace

// ---- Table ----------------------------------------------------------------------------------------------

std::string Table::dotted(const std::string& key) const {
  if (key.empty()) return impl_->name;
  return impl_->name.empty() ? key : impl_->name + "." + key;
}

std::string Table::place(const std::string& key) const {
  const toml::node* node = key.empty() ? nullptr : impl_->table->get(key);
  const std::string name = dotted(key);
  std::string where;
  const auto line = node ? node->source().begin.line : impl_->table->source().begin.line;
  // A value set on the command line, one in it, or a table that was made for one.
  for (const auto& [assigned, command] : impl_->document->assigned) {
    if (name == assigned || name.starts_with(assigned + ".") ||
        (line == 0 && assigned.starts_with(name + ".")))
      where = command;
  }
  if (where.empty()) where = impl_->document->path + (line > 0 ? ":" + std::to_string(line) : "");
  return where + (name.empty() ? "" : key.empty() ? ": [" + name + "]" : ": key '" + name + "'");
}

void Table::fail(const std::string& key, const std::string& message) const {
  throw FileError(place(key) + ": " + message);
}

bool Table::has(const std::string& key) const { return impl_->table->get(key) != nullptr; }

// What a file gives does not depend on what the documentation says of it.
bool Table::number(const std::string& key, double& value, Number must_be, const About&) {
  const toml::node* node = impl_->find(key);
  if (!node) return false;
  const auto found = node->is_number() ? node->value<double>() : std::nullopt;
  if (!found || !acceptable(*found, must_be))
    fail(key, "expected " + expectation(must_be) + ", found " + shown(*node));
  value = *found;
  return true;
}

bool Table::flag(const std::string& key, bool& value, const About&) {
  const toml::node* node = impl_->find(key);
  if (!node) return false;
  if (!node->is_boolean()) fail(key, "expected true or false, found " + shown(*node));
  value = node->as_boolean()->get();
  return true;
}

bool Table::text(const std::string& key, std::string& value, const About&) {
  const toml::node* node = impl_->find(key);
  if (!node) return false;
  if (!node->is_string()) fail(key, "expected a string, found " + shown(*node));
  value = node->as_string()->get();
  return true;
}

bool Table::whole(const std::string& key, std::uint64_t& value, std::uint64_t low, std::uint64_t high,
                  const About&) {
  const toml::node* node = impl_->find(key);
  if (!node) return false;
  const auto* found = node->as_integer();
  if (!found || found->get() < 0 || static_cast<std::uint64_t>(found->get()) < low ||
      static_cast<std::uint64_t>(found->get()) > high) {
    const bool open = high == largest_whole;
    fail(key, "expected a whole number " +
                  (open ? ">= " + std::to_string(low)
                        : "from " + std::to_string(low) + " to " + std::to_string(high)) +
                  ", found " + shown(*node));
  }
  value = static_cast<std::uint64_t>(found->get());
  return true;
}

bool Table::pair(const std::string& key, std::pair<double, double>& value, const About&) {
  const toml::node* node = impl_->find(key);
  if (!node) return false;
  const toml::array* array = node->as_array();
  if (!array || array->size() != 2) fail(key, "expected two numbers, [x, y], found " + shown(*node));
  double numbers[2];
  for (std::size_t i = 0; i < 2; ++i) {
    const toml::node& entry = *array->get(i);
    const auto found = entry.is_number() ? entry.value<double>() : std::nullopt;
    if (!found || !std::isfinite(*found))
      fail(key, "expected two finite numbers, found " + shown(entry) + " among them");
    numbers[i] = *found;
  }
  value = {numbers[0], numbers[1]};
  return true;
}

bool Table::wholes(const std::string& key, std::vector<std::uint32_t>& values, const About&) {
  const toml::node* node = impl_->find(key);
  if (!node) return false;
  const toml::array* array = node->as_array();
  if (!array) fail(key, "expected an array of whole numbers, found " + shown(*node));
  values.clear();
  for (const toml::node& entry : *array) {
    const auto* found = entry.as_integer();
    if (!found || found->get() < 0 || found->get() > std::numeric_limits<std::uint32_t>::max()) {
      fail(key, "expected whole numbers >= 0, found " + shown(entry) + " among them");
    }
    values.push_back(static_cast<std::uint32_t>(found->get()));
  }
  return true;
}

bool Table::pairs_of_texts(const std::string& key, std::vector<std::pair<std::string, std::string>>& values,
                           const About&) {
  const toml::node* node = impl_->find(key);
  if (!node) return false;
  const toml::array* array = node->as_array();
  if (!array) fail(key, "expected an array of pairs of strings, found " + shown(*node));
  values.clear();
  for (const toml::node& entry : *array) {
    const toml::array* pair = entry.as_array();
    if (!pair || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string())
      fail(key, "expected pairs of strings, found " + shown(entry) + " among them");
    values.emplace_back((*pair)[0].as_string()->get(), (*pair)[1].as_string()->get());
  }
  return true;
}

bool Table::texts(const std::string& key, std::vector<std::string>& values, const About&) {
  const toml::node* node = impl_->find(key);
  if (!node) return false;
  if (node->is_string()) {
    values = {node->as_string()->get()};
    return true;
  }
  const toml::array* array = node->as_array();
  if (!array) fail(key, "expected a string or an array of strings, found " + shown(*node));
  values.clear();
  for (const toml::node& entry : *array) {
    if (!entry.is_string()) fail(key, "expected strings, found " + shown(entry) + " among them");
    values.push_back(entry.as_string()->get());
  }
  return true;
}

std::optional<std::size_t> Table::chosen(const std::string& key, const std::vector<std::string>& names,
                                         std::optional<std::size_t>, const About& about) {
  std::string name;
  if (!text(key, name, about)) return std::nullopt;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return i;
  }
  fail(key, "expected " + one_of(names) + ", found the string \"" + name + "\"");
}

std::shared_ptr<Keys> Table::inner(const std::string& key, const About&) {
  const std::optional<Table> found = table(key);
  return found ? std::make_shared<Table>(*found) : nullptr;
}

std::optional<Table> Table::table(const std::string& key) {
  const toml::node* node = impl_->find(key);
  if (!node) return std::nullopt;
  if (!node->is_table()) fail(key, "expected a table [" + dotted(key) + "], found " + shown(*node));
  auto impl = std::make_shared<Impl>();
  impl->document = impl_->document;
  impl->table = node->as_table();
  impl->name = dotted(key);
  return Table(std::move(impl));
}

std::vector<std::string> Table::other_tables() const {
  // toml++ sorts keys by name; the source lines give the file's order back.
  std::vector<std::pair<std::uint32_t, std::string>> found;
  for (auto&& [key, node] : *impl_->table) {
    const std::string name(key.str());
    if (node.is_table() && !impl_->asked.count(name)) found.emplace_back(node.source().begin.line, name);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (auto& [line, name] : found) names.push_back(std::move(name));
  return names;
}

std::vector<std::string> Table::keys() const {
  std::vector<std::string> names;
  for (auto&& [key, node] : *impl_->table) {
    if (!impl_->asked.count(std::string(key.str()))) names.emplace_back(key.str());
  }
  return names;
}

void Table::pass_over(const std::string& key) { impl_->asked.insert(key); }

void Table::finish() const {
  for (auto&& [key, node] : *impl_->table) {
    const std::string name(key.str());
    if (!impl_->asked.count(name)) {
      fail(name, "unknown key; " + suggestion(name, {impl_->asked.begin(), impl_->asked.end()}));
    }
  }
}

// ---- Document -------------------------------------------------------------------------------------------

namespace {

// The line of a text, from 1.
std::string_view line_of(std::string_view text, std::size_t number) {
  for (; number > 1 && !text.empty(); --number)
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  return text.substr(0, text.find('\n'));
}

// What a line that is no TOML seems to be, for those who write it for the first time; "" or " (..)".
std::string toml_hint(std::string_view line) {
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos) return {};
  const std::string value = trimmed(std::string(line.substr(equals + 1)));
  if (value.empty()) return {};
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const std::size_t backslash = value.find('\\');
  if (value[0] == '"' && backslash != std::string::npos)
    return " (a backslash in double quotes? write '/', or single quotes)";
  const std::size_t digits = value[0] == '-' || value[0] == '+' ? 1 : 0;
  const std::size_t comma = value.find_first_not_of("0123456789", digits);
  if (comma != std::string::npos && comma > digits && value[comma] == ',' && comma + 1 < value.size() &&
      is_digit(value[comma + 1]))
    return " (a decimal comma? write a point)";
  if (is_letter(value[0])) return " (a text? it stands in quotes: \"..\"; truth values are true and false)";
  if (is_digit(value[0])) return " (a unit behind a number? the number alone)";
  return {};
}

}  // namespace

Document::Document(const std::string& text, const std::string& path) : impl_(std::make_shared<Impl>()) {
  impl_->text = text;
  impl_->path = path;
  if (text.starts_with("\x89HDF")) throw FileError(path + ": an HDF5 file, such as a log; expected TOML");
  try {
    impl_->root = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    const std::size_t line = error.source().begin.line;
    const std::string what(error.description());
    const bool redefined = what.find("redefine") != std::string::npos;
    throw FileError(path + ":" + std::to_string(line) + ": no TOML: " + what +
                    (redefined ? "" : toml_hint(line_of(text, line))));
  }
}

Document Document::read(const std::string& path, const std::string& expected) {
  return Document(text_of_file(path, expected), path);
}

void Document::set(const std::string& assignment) {
  const auto equals = assignment.find('=');
  const std::string command = "--set " + assignment;
  if (equals == std::string::npos || trimmed(assignment.substr(0, equals)).empty()) {
    throw FileError(command + ": expected key=value, as in --set optimizer.rate=0.01");
  }
  const std::string key = trimmed(assignment.substr(0, equals)),
                    value = trimmed(assignment.substr(equals + 1));
  const std::vector<std::string> parts = split_key(key);
  toml::table* table = holder(impl_->root, parts, true);
  if (!table || parts.back().empty())
    throw FileError(command + ": key '" + key + "': a part of it is a value, not a table");
  bool toml = true;
  try {
    toml::table parsed = toml::parse("value = " + value);
    // More than one key: the value held a line break, and is no single TOML value.
    if (parsed.size() == 1) table->insert_or_assign(parts.back(), *parsed.get("value"));
    else toml = false;
  } catch (const toml::parse_error&) {
    toml = false;
  }
  if (!toml) table->insert_or_assign(parts.back(), value);
  impl_->assigned[key] = command;
  impl_->changed = true;
}

void Document::set_text(const std::string& key, const std::string& value) {
  const std::vector<std::string> parts = split_key(key);
  if (toml::table* table = holder(impl_->root, parts, true)) table->insert_or_assign(parts.back(), value);
  impl_->changed = true;
}

void Document::set_texts(const std::string& key, const std::vector<std::string>& values) {
  toml::array list;
  for (const std::string& value : values) list.push_back(value);
  const std::vector<std::string> parts = split_key(key);
  if (toml::table* table = holder(impl_->root, parts, true))
    table->insert_or_assign(parts.back(), std::move(list));
  impl_->changed = true;
}

void Document::erase(const std::string& key) {
  const std::vector<std::string> parts = split_key(key);
  if (toml::table* table = holder(impl_->root, parts, false); table && table->erase(parts.back()))
    impl_->changed = true;
}

Table Document::root() const {
  auto impl = std::make_shared<Table::Impl>();
  impl->document = impl_;
  impl->table = &impl_->root;
  return Table(std::move(impl));
}

std::string Document::place(const std::string& key) const {
  Table table = root();
  std::size_t begin = 0;
  for (std::size_t dot; (dot = key.find('.', begin)) != std::string::npos; begin = dot + 1) {
    const std::string part = key.substr(begin, dot - begin);
    const toml::node* inner = table.impl_->table->get(part);
    if (inner == nullptr || !inner->is_table()) return table.place("");
    table = *table.table(part);
  }
  const std::string last = key.substr(begin);
  const toml::node* found = table.impl_->table->get(last);
  if (found != nullptr && found->is_table()) return table.table(last)->place("");
  return table.place(found != nullptr ? last : "");
}

std::map<std::string, std::string> Document::values() const {
  std::map<std::string, std::string> values;
  const std::function<void(const toml::table&, const std::string&)> take = [&](const toml::table& table,
                                                                               const std::string& before) {
    for (auto&& [key, node] : table) {
      const std::string name = before + written_key(key.str());
      if (const toml::table* inner = node.as_table()) take(*inner, name + ".");
      else values.emplace(name, written(node));
    }
  };
  take(impl_->root, "");
  return values;
}

std::string Document::text() const {
  if (!impl_->changed) return impl_->text;
  std::ostringstream text;
  write(text, impl_->root, "");
  return text.str();
}

}  // namespace ness
