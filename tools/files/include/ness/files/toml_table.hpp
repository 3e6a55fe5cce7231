// TOML, read strictly: every key is asked for once by the one place that knows its meaning; a key nobody asks
// for is an error.
//
// Errors are FileError, "FILE:LINE: key 'training.batch': expected .., found ..". toml++ stays in the source
// file.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ness/device/keys.hpp"

namespace ness {

/// A table of a document. Each reader leaves the value alone and returns false where the key is absent;
/// throws FileError where it is of another kind.
class Table final : public Keys {
 public:
  using Keys::whole;
  bool number(const std::string& key, double& value, Number must_be, const About& about) override;
  bool whole(const std::string& key, std::uint64_t& value, std::uint64_t low, std::uint64_t high,
             const About& about) override;
  bool flag(const std::string& key, bool& value, const About& about) override;
  bool text(const std::string& key, std::string& value, const About& about) override;
  bool texts(const std::string& key, std::vector<std::string>& values, const About& about) override;
  bool wholes(const std::string& key, std::vector<std::uint32_t>& values, const About& about) override;
  bool pair(const std::string& key, std::pair<double, double>& value, const About& about) override;
  bool pairs_of_texts(const std::string& key, std::vector<std::pair<std::string, std::string>>& values,
                      const About& about) override;
  std::shared_ptr<Keys> inner(const std::string& key, const About& about) override;

  /// The sub-table, if there is one.
  std::optional<Table> table(const std::string& key);
  /// Names of the sub-tables not asked for yet, in the order of the file.
  std::vector<std::string> other_tables() const;

  /// Every key not asked for yet, sorted by name.
  std::vector<std::string> keys() const;
  bool has(const std::string& key) const;
  /// "training.batch".
  std::string dotted(const std::string& key) const;
  /// Where the key is (or the table, where the key is empty): "FILE:LINE: key 'training.batch'", or the
  /// assignment that set it.
  std::string place(const std::string& key) const;
  /// Throws FileError at the key (or at the table, where the key is absent or empty).
  [[noreturn]] void fail(const std::string& key, const std::string& message) const override;
  /// Counts a key as asked for, without reading it.
  void pass_over(const std::string& key);
  /// Throws for the first key that nobody asked for, naming the nearest one known.
  void finish() const override;

 private:
  friend class Document;
  struct Impl;
  explicit Table(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::optional<std::size_t> chosen(const std::string& key, const std::vector<std::string>& names,
                                    std::optional<std::size_t> standard, const About& about) override;
  std::shared_ptr<Impl> impl_;
};

/// A TOML document.
class Document {
 public:
  /// Throws FileError with file and line where the text is no TOML. `path` names it in messages.
  Document(const std::string& text, const std::string& path);
  /// Throws FileError where the file cannot be read, saying what was `expected`.
  static Document read(const std::string& path, const std::string& expected = "an experiment file (TOML)");

  /// Sets a key: "optimizer.rate=0.01". The value is TOML; what is no TOML is taken as a string. Tables are
  /// made as needed. Throws FileError where that cannot be.
  void set(const std::string& assignment);
  /// Sets a key to a string.
  void set_text(const std::string& key, const std::string& value);
  void set_texts(const std::string& key, const std::vector<std::string>& values);
  /// Removes a key, if it is there.
  void erase(const std::string& key);

  Table root() const;
  /// Where a key is: "FILE:LINE: key 'training.batch'", or the assignment that set it; the table that would
  /// hold it where it is not given.
  std::string place(const std::string& key) const;
  /// The document as TOML: as it was read, or written anew where keys were set.
  std::string text() const;
  /// Every value by its key ("training.batch"), as TOML; an array is one value.
  std::map<std::string, std::string> values() const;

 private:
  friend class Table;
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ness
