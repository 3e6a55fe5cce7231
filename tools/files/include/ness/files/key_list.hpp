// The keys of a file, listed: what the pages of docs/reference are made of.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ness/device/keys.hpp"

namespace ness {

/// A key as its reader asks for it, in words.
struct KeyRow {
  std::string key, standard, unit, range, meaning;
  std::string not_given = {};           ///< instead of `standard`, in words: About::not_given
  std::vector<std::string> kinds = {};  ///< names of the kinds that read it; empty: all
};

/// A kind that the key `kind` of a table can name.
struct KeyKind {
  std::string name, alias;
  /// What the page says of it, each under its heading: the same headings for all kinds of a table.
  std::vector<std::pair<std::string, std::string>> words;
};

/// A table of a file, "optimizer.schedule", and its keys in the order in which they are asked for, those of
/// one name together.
struct KeyTable {
  std::string name, meaning;
  std::vector<KeyRow> rows = {};
  std::vector<KeyKind> kinds = {};
};

/// Nothing is given, and what is asked for is written down. fail() throws std::logic_error: defaults have to
/// be usable.
class KeyList final : public Keys {
 public:
  using Keys::whole;
  /// The keys of the file's top; `meaning` is a sentence on the whole file.
  explicit KeyList(std::string meaning);
  /// A table of the file, "wiring.NAME".
  KeyList table(const std::string& name, const std::string& meaning) const;
  /// A kind of this table, and the keys that `list` asks for beside those of all kinds. Kinds that ask for a
  /// key in the same words share its row.
  void kind(const KeyKind& kind, const std::function<void(Keys&)>& list) const;
  /// All tables that were opened, in that order, those below one after it.
  const std::vector<KeyTable>& tables() const { return *tables_; }

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
  [[noreturn]] void fail(const std::string& key, const std::string& message) const override;

 protected:
  std::optional<std::size_t> chosen(const std::string& key, const std::vector<std::string>& names,
                                    std::optional<std::size_t> standard, const About& about) override;

 private:
  KeyList(std::shared_ptr<std::vector<KeyTable>> tables, std::size_t index)
      : tables_(std::move(tables)), index_(index) {}
  void add(const std::string& key, std::string standard, std::string range, const About& about);

  std::shared_ptr<std::vector<KeyTable>> tables_;
  std::size_t index_;
};

/// Throws std::logic_error for a key without a meaning, or a kind of which nothing is said, naming it.
void require_meanings(const std::vector<KeyTable>& tables);

/// The tables as a page of Markdown: `title`, `introduction`, then of each table a heading, its kinds, and a
/// row a key. Keys that most kinds read come after those of few.
std::string page_of(const std::string& title, const std::string& introduction,
                    const std::vector<KeyTable>& tables);

}  // namespace ness
