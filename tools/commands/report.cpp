// The only source of the command that reads nlohmann/json: it takes seconds to compile.
#include "report.hpp"

#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <variant>

namespace ness {

namespace {

using Json = nlohmann::ordered_json;
using Variant = std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string,
                             Report::List, Report::Table>;

[[noreturn]] void refuse(const std::string& what) {
  throw std::logic_error("a report that is no " + what + " was read as one");
}

}  // namespace

struct Report::Value : Variant {
  using Variant::Variant;
};

Report::Report() : value_(std::make_unique<Value>()) {}
Report::Report(const Report& other) : value_(std::make_unique<Value>(*other.value_)) {}
Report::Report(Report&& other) noexcept = default;
Report& Report::operator=(const Report& other) {
  if (this != &other) value_ = std::make_unique<Value>(*other.value_);
  return *this;
}
Report& Report::operator=(Report&& other) noexcept = default;
Report::~Report() = default;

Report::Field::Field(std::string_view named, const Report& held) : name(named), value(held) {}
Report::Field::Field(const Field& other) = default;
Report::Field::Field(Field&& other) noexcept = default;
Report::Field& Report::Field::operator=(const Field& other) = default;
Report::Field& Report::Field::operator=(Field&& other) noexcept = default;
Report::Field::~Field() = default;

Report::Report(double number) : Report() {
  if (std::isfinite(number)) *value_ = Value(number);
}

Report::Report(std::string_view text) : value_(std::make_unique<Value>(std::string(text))) {}

Report::Report(std::initializer_list<Field> fields) : Report(table()) {
  for (const Field& field : fields) (*this)[field.name] = field.value;
}

Report Report::of_truth(bool truth) {
  Report report;
  report.value_->emplace<bool>(truth);
  return report;
}

Report Report::of_whole(std::int64_t number) {
  Report report;
  report.value_->emplace<std::int64_t>(number);
  return report;
}

Report Report::of_count(std::uint64_t number) {
  Report report;
  report.value_->emplace<std::uint64_t>(number);
  return report;
}

Report Report::list() {
  Report empty;
  empty.value_->emplace<List>();
  return empty;
}

Report Report::list(std::initializer_list<Report> values) {
  Report report;
  report.value_->emplace<List>(values);
  return report;
}

Report Report::table() {
  Report empty;
  empty.value_->emplace<Table>();
  return empty;
}

bool Report::is_nothing() const { return std::holds_alternative<std::monostate>(*value_); }

void Report::add(const Report& value) {
  if (is_nothing()) value_->emplace<List>();
  if (!std::holds_alternative<List>(*value_)) refuse("list");
  std::get<List>(*value_).push_back(value);
}

Report& Report::operator[](std::string_view name) {
  if (is_nothing()) value_->emplace<Table>();
  if (!std::holds_alternative<Table>(*value_)) refuse("table");
  Table& table = std::get<Table>(*value_);
  for (Field& field : table) {
    if (field.name == name) return field.value;
  }
  return table.emplace_back(name, Report()).value;
}

void Report::add_all(const Report& other) {
  for (const Field& field : other.fields()) (*this)[field.name] = field.value;
}

const Report& Report::operator[](std::string_view name) const {
  for (const Field& field : fields()) {
    if (field.name == name) return field.value;
  }
  throw std::logic_error("a report has no '" + std::string(name) + "'");
}

bool Report::contains(std::string_view name) const {
  if (!std::holds_alternative<Table>(*value_)) return false;
  for (const Field& field : std::get<Table>(*value_)) {
    if (field.name == name) return true;
  }
  return false;
}

bool Report::truth() const {
  if (!std::holds_alternative<bool>(*value_)) refuse("truth value");
  return std::get<bool>(*value_);
}

double Report::number() const {
  if (is_nothing()) return std::numeric_limits<double>::quiet_NaN();
  if (const auto* number = std::get_if<double>(value_.get())) return *number;
  if (const auto* whole = std::get_if<std::int64_t>(value_.get())) return static_cast<double>(*whole);
  if (const auto* count = std::get_if<std::uint64_t>(value_.get())) return static_cast<double>(*count);
  refuse("number");
}

std::uint64_t Report::count() const {
  if (const auto* whole = std::get_if<std::int64_t>(value_.get()); whole != nullptr && *whole >= 0)
    return static_cast<std::uint64_t>(*whole);
  if (!std::holds_alternative<std::uint64_t>(*value_)) refuse("count");
  return std::get<std::uint64_t>(*value_);
}

const std::string& Report::text() const {
  if (!std::holds_alternative<std::string>(*value_)) refuse("text");
  return std::get<std::string>(*value_);
}

const Report::List& Report::values() const {
  if (!std::holds_alternative<List>(*value_)) refuse("list");
  return std::get<List>(*value_);
}

const Report::Table& Report::fields() const {
  if (!std::holds_alternative<Table>(*value_)) refuse("table");
  return std::get<Table>(*value_);
}

struct Report::Converter {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(bool truth) const { return truth; }
  Json operator()(std::int64_t number) const { return number; }
  Json operator()(std::uint64_t number) const { return number; }
  Json operator()(double number) const { return number; }
  Json operator()(const std::string& text) const { return text; }
  Json operator()(const List& values) const {
    Json array = Json::array();
    for (const Report& value : values) array.push_back(of(value));
    return array;
  }
  Json operator()(const Table& fields) const {
    Json object = Json::object();
    for (const Field& field : fields) {
      // What is not known is not there: a null would be taken for a figure.
      if (!field.value.is_nothing()) object[field.name] = of(field.value);
    }
    return object;
  }
  Json of(const Report& report) const {
    return std::visit(*this, static_cast<const Variant&>(*report.value_));
  }
};

std::string Report::json() const { return Converter().of(*this).dump(); }

void Report::print_json() const { std::printf("%s\n", json().c_str()); }

}  // namespace ness
