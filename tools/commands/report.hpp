// The results of a command: a tree of names and values, in order.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ness {

/// Nothing, a truth value, a number, a text, a list of reports, or a table of named reports in the order in
/// which they were added. A number that is infinite or none at all is nothing: JSON has neither.
class Report {
 public:
  struct Field;
  using List = std::vector<Report>;
  using Table = std::vector<Field>;

  Report();
  Report(const Report& other);
  Report(Report&& other) noexcept;
  Report& operator=(const Report& other);
  Report& operator=(Report&& other) noexcept;
  ~Report();

  template <std::same_as<bool> Truth>  // else a pointer would be one
  Report(Truth truth) : Report(of_truth(truth)) {}
  Report(double number);
  template <std::signed_integral Whole>
  Report(Whole number) : Report(of_whole(number)) {}
  template <std::unsigned_integral Whole>
  requires(!std::same_as<Whole, bool>) Report(Whole number) : Report(of_count(number)) {}
  Report(std::string_view text);
  Report(const std::string& text) : Report(std::string_view(text)) {}
  Report(const char* text) : Report(std::string_view(text)) {}
  /// A table: {{"loss", 0.25}, {"samples", 4}}.
  Report(std::initializer_list<Field> fields);
  /// A list.
  template <typename Value>
  Report(const std::vector<Value>& values) : Report(list()) {
    for (const Value& value : values) add(value);
  }
  static Report list();
  static Report list(std::initializer_list<Report> values);
  static Report table();

  /// One more value of a list; nothing becomes a list by it.
  void add(const Report& value);
  /// The value of that name in a table, added at its end if it is new; nothing becomes a table by it.
  Report& operator[](std::string_view name);
  /// Every field of `other`, a table, as by [].
  void add_all(const Report& other);

  /// Reading it back. Throws std::logic_error where the value is of another kind, or there is none of that
  /// name.
  const Report& operator[](std::string_view name) const;
  bool contains(std::string_view name) const;
  bool is_nothing() const;
  bool truth() const;
  /// NaN for nothing.
  double number() const;
  std::uint64_t count() const;
  const std::string& text() const;
  const List& values() const;
  const Table& fields() const;

  /// On one line; numbers with as many digits as read back to the same bits.
  std::string json() const;
  /// json() and the end of the line, to standard output.
  void print_json() const;

 private:
  struct Value;
  struct Converter;
  static Report of_truth(bool truth);
  static Report of_whole(std::int64_t number);
  static Report of_count(std::uint64_t number);
  // Out of line, every member: a report of ten fields in a source costs seconds to compile otherwise.
  std::unique_ptr<Value> value_;
};

struct Report::Field {
  Field(std::string_view named, const Report& held);
  Field(const Field& other);
  Field(Field&& other) noexcept;
  Field& operator=(const Field& other);
  Field& operator=(Field&& other) noexcept;
  ~Field();
  std::string name;
  Report value;
};

}  // namespace ness
