// The only source that reads CLI11: it takes seconds to compile.
#include "options.hpp"

#include <CLI/CLI.hpp>
#include <cstdint>

#include "ness/device/nearest.hpp"

namespace ness {

Option& Option::required() {
  option_->required();
  return *this;
}

Option& Option::value_name(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Option& Option::one_at_a_time() {
  option_->allow_extra_args(false);
  return *this;
}

Option& Option::comma_separated() {
  option_->delimiter(',');
  return *this;
}

Option& Option::takes(int values) {
  option_->expected(values);
  return *this;
}

Option& Option::excludes(const Option& other) {
  option_->excludes(other.option_);
  return *this;
}

Option& Option::excludes(const std::string& name) {
  option_->excludes(name);
  return *this;
}

template <typename Number>
Option& Option::within(Number low, Number high) {
  option_->check(CLI::Range(low, high));
  return *this;
}
template Option& Option::within(int, int);
template Option& Option::within(unsigned, unsigned);
template Option& Option::within(std::uint64_t, std::uint64_t);
template Option& Option::within(double, double);

Option& Option::positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}

Option& Option::not_negative() {
  option_->check(CLI::NonNegativeNumber);
  return *this;
}

Option& Option::one_of(const std::vector<std::string>& values) {
  option_->check(CLI::IsMember(values));
  return *this;
}

Option& Option::checked(const std::function<std::string(const std::string&)>& problem) {
  option_->check(problem);
  return *this;
}

template <typename Value>
Option Options::add(const std::string& name, Value& value, const std::string& description) {
  return Option(*app_->add_option(name, value, description));
}
template Option Options::add(const std::string&, std::string&, const std::string&);
template Option Options::add(const std::string&, double&, const std::string&);
template Option Options::add(const std::string&, unsigned&, const std::string&);
template Option Options::add(const std::string&, std::uint64_t&, const std::string&);
template Option Options::add(const std::string&, std::optional<double>&, const std::string&);
template Option Options::add(const std::string&, std::optional<std::uint64_t>&, const std::string&);
template Option Options::add(const std::string&, std::vector<std::string>&, const std::string&);
template Option Options::add(const std::string&, std::vector<double>&, const std::string&);

Option Options::flag(const std::string& name, bool& value, const std::string& description) {
  return Option(*app_->add_flag(name, value, description));
}

Option Options::add_choice(const std::string& name,
                           std::vector<std::pair<std::string, std::function<void()>>> choices,
                           const std::string& description) {
  const auto check = [choices](const std::string& word) {
    std::vector<std::string> known;
    for (const auto& [choice, set] : choices) {
      if (choice == word) return std::string();
      known.push_back(choice);
    }
    return "there is no '" + word + "'; " + suggestion(word, known);
  };
  const auto choose = [choices](const std::string& word) {
    for (const auto& [choice, set] : choices) {
      if (choice == word) set();
    }
  };
  return Option(*app_->add_option_function<std::string>(name, choose, description)->check(check));
}

void Options::footer(const std::string& text) { app_->footer(text); }

void Options::demand(std::function<std::string()> missing) {
  missing_ = std::move(missing);
  install();
}

void Options::action(Action action) {
  action_ = std::move(action);
  install();
}

void Options::install() {
  app_->callback([chosen = chosen_, action = action_, missing = missing_] {
    if (missing) {
      if (const std::string what = missing(); !what.empty()) throw CLI::RequiredError(what);
    }
    *chosen = action;
  });
}

namespace {

std::string explained(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<const CLI::App*> all = app.get_subcommands([](const CLI::App*) { return true; });
  const std::vector<const CLI::App*> chosen =
      app.get_subcommands([](const CLI::App* sub) { return sub->parsed(); });
  const std::string help = " (" + app.get_name() + " " +
                           (chosen.empty() ? std::string() : chosen.front()->get_name() + " ") + "--help)";
  std::vector<std::string> known;
  if (chosen.empty()) {
    for (const CLI::App* sub : all) known.push_back(sub->get_name());
  } else {
    for (const CLI::Option* option : chosen.front()->get_options()) {
      // Arguments by place have no long name.
      if (!option->get_lnames().empty()) known.push_back("--" + option->get_lnames().front());
    }
  }
  for (const std::string& word : app.remaining(true)) {
    if (chosen.empty() || word.starts_with("--")) {
      const std::string name = word.substr(0, word.find('=')),
                        what = chosen.empty() ? "subcommand" : "option";
      return "unknown " + what + " '" + name + "'; " + suggestion(name, known) + help;
    }
  }
  return error.what() + help;
}

}  // namespace

CommandLine::CommandLine(const std::string& name, const std::string& about, const std::string& version,
                         const std::string& footer)
    : app_(std::make_unique<CLI::App>(about, name)) {
  app_->set_version_flag("--version", version);
  app_->require_subcommand(1);
  app_->footer(footer);
  app_->get_formatter()->column_width(34);
}

CommandLine::~CommandLine() = default;

Options CommandLine::subcommand(const std::string& name, const std::string& summary) {
  return Options(*app_->add_subcommand(name, summary), chosen_);
}

CommandLine::Parsed CommandLine::parse(int argc, const char* const* argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      app_->exit(error);
      return Answered{};
    }
    if (argc == 1) return Nothing{app_->help()};
    return Mistake{explained(*app_, error)};
  }
  return chosen_;
}

}  // namespace ness
