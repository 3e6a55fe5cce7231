#include "ness/files/toml_edit.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "ness/device/error.hpp"
#include "ness/files/text_file.hpp"
#include "ness/files/toml_table.hpp"

namespace ness {

namespace {

// One statement of a document: a header or a key with its value. Positions in the text.
struct Statement {
  bool header = false, array = false;  // array: [[..]]
  std::vector<std::string> name;       // of the table, or of the key
  std::size_t value_begin = 0, value_end = 0;
  std::size_t line_end = 0;  // after the line's end
};

class Scanner {
 public:
  Scanner(const std::string& text, const std::string& path) : text_(text), path_(path) {}

  std::optional<Statement> next() {
    for (;;) {
      skip(" \t\r\n");
      if (at_ >= text_.size()) return std::nullopt;
      if (text_[at_] != '#') break;
      skip_line();
    }
    Statement statement;
    if (text_[at_] == '[') {
      statement.header = true;
      statement.array = text_.compare(at_, 2, "[[") == 0;
      at_ += statement.array ? 2 : 1;
      statement.name = name(']');
    } else {
      statement.name = name('=');
      if (at_ < text_.size()) ++at_;
      skip(" \t");
      statement.value_begin = at_;
      value();
      statement.value_end = at_;
    }
    skip_line();
    statement.line_end = at_;
    return statement;
  }

 private:
  void skip(const char* what) { at_ = std::min(text_.find_first_not_of(what, at_), text_.size()); }
  void skip_line() {
    at_ = text_.find('\n', at_);
    at_ = at_ == std::string::npos ? text_.size() : at_ + 1;
  }

  // A dotted name up to `end`, its parts without quotes.
  std::vector<std::string> name(char end) {
    std::vector<std::string> parts(1);
    for (; at_ < text_.size() && text_[at_] != end && text_[at_] != '\n'; ++at_) {
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        const std::size_t close = text_.find(c, at_ + 1);
        if (close == std::string::npos) throw FileError(path_ + ": a name without its closing quote");
        parts.back() += text_.substr(at_ + 1, close - at_ - 1);
        at_ = close;
      } else if (c == '.') {
        parts.emplace_back();
      } else if (c != ' ' && c != '\t') {
        parts.back() += c;
      }
    }
    return parts;
  }

  void quoted() {
    const char quote = text_[at_];
    const bool many = text_.compare(at_, 3, std::string(3, quote)) == 0;
    at_ += many ? 3 : 1;
    while (at_ < text_.size()) {
      if (quote == '"' && text_[at_] == '\\') {
        at_ += 2;
      } else if (many ? text_.compare(at_, 3, std::string(3, quote)) == 0 : text_[at_] == quote) {
        at_ += many ? 3 : 1;
        while (many && at_ < text_.size() && text_[at_] == quote)
          ++at_;  // up to two quotes may stand before the closing three
        return;
      } else {
        ++at_;
      }
    }
  }

  void value() {
    std::size_t depth = 0, end = at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (depth == 0 && (c == '\n' || c == '#' || c == '\r')) break;
      if (c == '#') {
        skip_line();
        continue;
      }
      if (c == '"' || c == '\'') {
        quoted();
        end = at_;
        continue;
      }
      if (c == '[' || c == '{') ++depth;
      if ((c == ']' || c == '}') && depth > 0) --depth;
      ++at_;
      if (c != ' ' && c != '\t' && c != '\n' && c != '\r') end = at_;
    }
    at_ = std::min(end, text_.size());
  }

  const std::string& text_;
  const std::string& path_;
  std::size_t at_ = 0;
};

std::string dotted(const std::vector<std::string>& name) {
  std::string text;
  for (const std::string& part : name) {
    const bool bare =
        !part.empty() &&
        part.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
            std::string::npos;
    text += (text.empty() ? "" : ".") + (bare ? part : "\"" + part + "\"");
  }
  return text;
}

bool begins_with(const std::vector<std::string>& name, const std::vector<std::string>& start) {
  return name.size() >= start.size() && std::equal(start.begin(), start.end(), name.begin());
}

// The value in its place, and a comment behind it in its column where there is room.
std::string replaced(const std::string& text, const Statement& statement, const std::string& value) {
  const std::size_t old = statement.value_end - statement.value_begin;
  std::size_t spaces = 0;
  while (statement.value_end + spaces < text.size() && text[statement.value_end + spaces] == ' ') ++spaces;
  const bool comment =
      statement.value_end + spaces < text.size() && text[statement.value_end + spaces] == '#';
  std::size_t padding = spaces;
  const bool one_line = text.find('\n', statement.value_begin) >= statement.value_end;
  if (comment && spaces > 0 && one_line)
    padding = old + spaces > value.size() ? old + spaces - value.size() : 1;
  return text.substr(0, statement.value_begin) + value + std::string(padding, ' ') +
         text.substr(statement.value_end + spaces);
}

}  // namespace

std::string with_key(const std::string& text, const TomlEdit& edit, const std::string& path) {
  const std::string ending = text.find("\r\n") != std::string::npos ? "\r\n" : "\n";
  Scanner scanner(text, path);
  std::vector<std::string> table;
  std::optional<std::size_t> last;  // after the table's last statement
  bool in_array = false;
  while (const std::optional<Statement> statement = scanner.next()) {
    if (statement->header) {
      table = statement->name;
      in_array = statement->array;
      if (!in_array && table == edit.table) last = statement->line_end;
      continue;
    }
    std::vector<std::string> full = table;
    full.insert(full.end(), statement->name.begin(), statement->name.end());
    if (in_array) continue;
    if (table == edit.table) {
      if (statement->name == std::vector{edit.key}) return replaced(text, *statement, edit.value);
      last = statement->line_end;
    } else if (begins_with(full, edit.table) || begins_with(edit.table, full)) {
      throw FileError(path + ": " + dotted(edit.table) + " is not written as a table [" + dotted(edit.table) +
                      "] of its own; set " + edit.key + " = " + edit.value + " in it by hand");
    }
  }
  const std::string line = edit.key + " = " + edit.value + ending;
  if (last) {
    const bool ended = *last > 0 && text[*last - 1] == '\n';
    return text.substr(0, *last) + (ended ? "" : ending) + line + text.substr(*last);
  }
  const bool ended = text.empty() || text.back() == '\n';
  return text + (ended ? "" : ending) + (text.empty() ? "" : ending) + "[" + dotted(edit.table) + "]" +
         ending + line;
}

void edit_file(const std::string& path, const std::vector<TomlEdit>& edits) {
  const std::string real = std::filesystem::canonical(path).string();
  std::string text = text_of_file(real, "a file whose keys are to be set");
  for (const TomlEdit& edit : edits) text = with_key(text, edit, path);
  static_cast<void>(Document(text, path));  // what was a document still is one

  const auto fail = [&](const char* what) {
    throw FileError(path + ": " + what + " (" + std::strerror(errno) + "); it is as it was");
  };
  std::string beside = real + ".XXXXXX";
  const int descriptor = ::mkstemp(beside.data());
  if (descriptor < 0) fail("no file can be made beside it");
  struct stat status {};
  bool good = ::stat(real.c_str(), &status) == 0 && ::fchmod(descriptor, status.st_mode & 07777) == 0;
  for (std::size_t done = 0; good && done < text.size();) {
    const ssize_t n = ::write(descriptor, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    good = n > 0;
    done += good ? static_cast<std::size_t>(n) : 0;
  }
  good = good && ::fsync(descriptor) == 0;
  const int reason = errno;
  ::close(descriptor);
  if (good && ::rename(beside.c_str(), real.c_str()) == 0) return;
  if (!good) errno = reason;
  const int why = errno;
  ::unlink(beside.c_str());
  errno = why;
  fail("cannot be written anew");
}

}  // namespace ness
