// The command line: by what a subcommand says which options it has, and what it does.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace ness {

/// One option, flag or positional argument, to say more of it. Valid as long as its CommandLine.
class Option {
 public:
  explicit Option(CLI::Option& option) : option_(&option) {}

  Option& required();
  /// What stands for the value in the help: "FILE".
  Option& value_name(const std::string& name);
  /// May be given again and again, one value each time, so that it never swallows the next argument.
  Option& one_at_a_time();
  /// One value may hold several: "1,2,3".
  Option& comma_separated();
  /// So many values, neither fewer nor more.
  Option& takes(int values);
  /// Never on one line with the other.
  Option& excludes(const Option& other);
  /// As above, by the other's name, "--seed".
  Option& excludes(const std::string& name);
  /// From `low` to `high`, both allowed; for int, unsigned, std::uint64_t and double.
  template <typename Number>
  Option& within(Number low, Number high);
  Option& positive();
  Option& not_negative();
  Option& one_of(const std::vector<std::string>& values);
  /// `problem` returns what is wrong with a value, or nothing.
  Option& checked(const std::function<std::string(const std::string& value)>& problem);

 private:
  CLI::Option* option_;
};

/// The options of one subcommand. Names are as they are typed: "--log" or "--quiet,-q"; without dashes it is
/// a positional argument;
/// "!--no-check" is a flag that makes its value false. Values must live as long as the action does.
class Options {
 public:
  /// What the line asks for. Its result is the exit code.
  using Action = std::function<int()>;

  Options(CLI::App& app, Action& chosen) : app_(&app), chosen_(&chosen) {}

  /// For std::string, double, unsigned, std::uint64_t, std::optional<double>, std::optional<std::uint64_t>,
  /// std::vector<std::string> and std::vector<double>.
  template <typename Value>
  Option add(const std::string& name, Value& value, const std::string& description);
  Option flag(const std::string& name, bool& value, const std::string& description);
  /// One of several words, each of which stands for a value.
  template <typename Value>
  Option choice(const std::string& name, Value& value,
                std::initializer_list<std::pair<const char*, Value>> words, const std::string& description) {
    std::vector<std::pair<std::string, std::function<void()>>> choices;
    for (const auto& [word, meaning] : words)
      choices.emplace_back(word, [&value, meaning = meaning] { value = meaning; });
    return add_choice(name, std::move(choices), description);
  }
  /// Below the options in the help.
  void footer(const std::string& text);
  /// `missing` returns what the line lacks, or nothing; asked once all options were read.
  void demand(std::function<std::string()> missing);
  void action(Action action);

 private:
  Option add_choice(const std::string& name,
                    std::vector<std::pair<std::string, std::function<void()>>> choices,
                    const std::string& description);
  void install();

  CLI::App* app_;
  Action* chosen_;
  std::function<std::string()> missing_;
  Action action_;
};

/// A command line of subcommands.
class CommandLine {
 public:
  /// `name` and `about` head the help, `footer` ends it; `version` answers --version.
  CommandLine(const std::string& name, const std::string& about, const std::string& version,
              const std::string& footer);
  ~CommandLine();

  /// One more subcommand; `summary` is its line in the help.
  Options subcommand(const std::string& name, const std::string& summary);

  /// What was asked for was help, which has been printed.
  struct Answered {};
  /// Nothing was asked for; the help.
  struct Nothing {
    std::string help;
  };
  /// Why the line cannot be understood, with the word that was probably meant.
  struct Mistake {
    std::string message;
  };
  using Parsed = std::variant<Options::Action, Answered, Nothing, Mistake>;
  Parsed parse(int argc, const char* const* argv);

 private:
  std::unique_ptr<CLI::App> app_;
  Options::Action chosen_;
};

}  // namespace ness
