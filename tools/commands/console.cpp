// ness idn, query, list: the console of the first day in the laboratory.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "messages.hpp"
#include "ness/protocols/connections.hpp"
#include "ness/protocols/errors.hpp"
#include "ness/protocols/session.hpp"

namespace ness {

namespace {

using Json = nlohmann::ordered_json;

struct LinkOptions {
  std::vector<std::string> via;
  std::uint32_t baud = 9600;
  double timeout = 2;
  std::string terminator = "lf";
  bool json = false, transcript = false;

  void add(CLI::App& app) {
    app.add_option("--via", via, "the Prologix controller of a GPIB board, such as PRLGX-TCPIP0::10.0.0.9::1234::INTFC")->type_name("RESOURCE")->allow_extra_args(false);
    app.add_option("--baud", baud, "of serial lines (9600)")->check(CLI::PositiveNumber);
    app.add_option("--timeout", timeout, "seconds to wait for a reply (2)")->check(CLI::Range(0.001, 86400.0));
    app.add_option("--terminator", terminator, "what ends a message: lf, cr, crlf (lf)")->check(CLI::IsMember({"lf", "cr", "crlf"}));
    app.add_flag("--transcript", transcript, "shows every message on standard error");
    app.add_flag("--json", json, "machine-readable results on standard output");
  }

  std::unique_ptr<protocols::Session> open(protocols::Connections& connections, const protocols::ResourceName& name) const {
    protocols::SerialSettings serial;
    serial.baud = baud;
    protocols::SessionOptions session;
    session.timeouts.first_reply = protocols::Milliseconds(static_cast<std::int64_t>(timeout * 1e3));
    session.terminator = terminator == "lf" ? "\n" : terminator == "cr" ? "\r" : "\r\n";
    if (transcript) {
      session.transcript = [](const protocols::Exchange& exchange) {
        static constexpr const char* marks[] = {"opened", ">", "<", "closed", "!"};
        inform(std::string(exchange.address) + ' ' + marks[static_cast<std::size_t>(exchange.kind)] + ' ' + std::string(exchange.text));
      };
    }
    return std::make_unique<protocols::Session>(connections.to(name, serial), std::move(session));
  }

  protocols::Connections connections() const {
    protocols::Connections result;
    for (const std::string& text : via) {
      const auto name = protocols::parse_resource_name(text);
      const auto* board = std::get_if<protocols::PrologixName>(&name);
      if (board == nullptr) throw std::invalid_argument("--via " + text + ": expected a Prologix controller, PRLGX-TCPIP0::host::1234::INTFC or PRLGX-ASRL0::/dev/ttyUSB0::INTFC");
      result.add_board(*board);
    }
    return result;
  }
};

struct IdnOptions : LinkOptions {
  std::vector<std::string> resources;
};

int identify(const IdnOptions& options) {
  // Every name is read before anything is opened.
  std::vector<protocols::ResourceName> names;
  for (const std::string& resource : options.resources) names.push_back(protocols::parse_resource_name(resource));
  protocols::Connections connections = options.connections();
  bool all = true;
  for (const protocols::ResourceName& name : names) {
    const std::string resource = to_string(name);
    Json line{{"resource", resource}};
    try {
      const std::string identity = options.open(connections, name)->identity();
      line["identity"] = identity;
      if (!options.json) std::printf("%-40s %s\n", resource.c_str(), identity.c_str());
    } catch (const LinkError& error) {  // the others may still answer
      all = false;
      line["error"] = error.what();
      complain(error.what());
    }
    if (options.json) std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
  }
  return all ? ExitCode::success : ExitCode::failure;
}

struct QueryOptions : LinkOptions {
  std::string resource;
  std::vector<std::string> messages;
  bool keep_errors = false;
};

int converse(const QueryOptions& options) {
  const protocols::ResourceName name = protocols::parse_resource_name(options.resource);
  protocols::Connections connections = options.connections();
  const auto session = options.open(connections, name);
  Json replies = Json::array();
  for (const std::string& message : options.messages) {
    if (message.find('?') == std::string::npos) {
      session->write(message);
      continue;
    }
    const std::string reply = session->query(message);
    if (options.json) replies.push_back({{"message", message}, {"reply", reply}});
    else std::printf("%s\n", reply.c_str());
  }
  bool clean = true;
  if (!options.keep_errors) {
    Json errors = Json::array();
    for (const protocols::QueuedError& error : session->drain_errors()) {
      clean = false;
      complain(to_string(name) + ": error " + std::to_string(error.number) + ", " + error.text);
      errors.push_back({{"number", error.number}, {"text", error.text}});
    }
    if (options.json) std::printf("%s\n", Json{{"resource", to_string(name)}, {"replies", replies}, {"errors", errors}}.dump().c_str());
  } else if (options.json) {
    std::printf("%s\n", Json{{"resource", to_string(name)}, {"replies", replies}}.dump().c_str());
  }
  return clean ? ExitCode::success : ExitCode::failure;
}

int list_ports(bool json) {
  for (const protocols::SerialPortInfo& port : protocols::serial_ports()) {
    const std::string resource = "ASRL" + port.path + "::INSTR";
    if (json) std::printf("%s\n", Json{{"resource", resource}, {"description", port.description}, {"adapter", port.adapter}}.dump().c_str());
    else std::printf("%-32s %-28s %s\n", resource.c_str(), port.description.c_str(), port.adapter.c_str());
  }
  return ExitCode::success;
}

}  // namespace

void add_idn(CLI::App& app, Command& command) {
  CLI::App& sub = *app.add_subcommand("idn", "asks instruments who they are");
  auto options = std::make_shared<IdnOptions>();
  sub.add_option("RESOURCE", options->resources, "resource names")->required()->type_name("");
  options->add(sub);
  sub.footer(
      "Resource names: TCPIP::10.0.0.7::5025::SOCKET, ASRL/dev/ttyUSB0::INSTR, GPIB0::24::INSTR behind --via.\n"
      "Exit code 0 only if all answered.\n"
      "\n"
      "Example:\n"
      "  ness idn TCPIP::10.0.0.7::5025::SOCKET ASRL/dev/ttyUSB0 --baud 57600");
  sub.callback([options, &command] {
    command.heeds_stop = false;
    command.run = [options] { return identify(*options); };
  });
}

void add_query(CLI::App& app, Command& command) {
  CLI::App& sub = *app.add_subcommand("query", "sends messages to an instrument and prints its replies");
  auto options = std::make_shared<QueryOptions>();
  sub.add_option("RESOURCE", options->resource, "resource name")->required()->type_name("");
  sub.add_option("MESSAGE", options->messages, "messages, in order; those with a '?' are answered")->required()->type_name("");
  sub.add_flag("--keep-errors", options->keep_errors, "leaves the instrument's error queue as it is");
  options->add(sub);
  sub.footer(
      "Afterwards the error queue is read to its end: what is in it is printed, and the exit code is 1.\n"
      "\n"
      "Example:\n"
      "  ness query ASRL/dev/ttyUSB0 '*RST' ':SOUR:VOLT 0.1' ':OUTP ON' ':READ?' ':OUTP OFF'");
  sub.callback([options, &command] {
    command.heeds_stop = false;
    command.run = [options] { return converse(*options); };
  });
}

void add_list(CLI::App& app, Command& command) {
  CLI::App& sub = *app.add_subcommand("list", "the serial ports of this machine, as resource names");
  auto json = std::make_shared<bool>(false);
  sub.add_flag("--json", *json, "a line of JSON a port");
  sub.callback([json, &command] {
    command.heeds_stop = false;
    command.run = [json] { return list_ports(*json); };
  });
}

}  // namespace ness
