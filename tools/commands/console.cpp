// ness idn, query, list: the console of the first day in the laboratory.
#include <cstdio>
#include <memory>

#include "command.hpp"
#include "report.hpp"
#include "messages.hpp"
#include "ness/protocols/connections.hpp"
#include "ness/protocols/errors.hpp"
#include "ness/protocols/session.hpp"

namespace ness {

namespace {

struct LinkOptions {
  std::vector<std::string> via;
  std::uint32_t baud = 9600;
  double timeout = 2;
  std::string terminator = "lf";
  bool json = false, transcript = false;

  void add(Options& line) {
    line.add("--via", via,
             "the Prologix controller of a GPIB board, such as PRLGX-TCPIP0::10.0.0.9::1234::INTFC")
        .value_name("RESOURCE")
        .one_at_a_time();
    line.add("--baud", baud, "of serial lines (9600)").positive();
    line.add("--timeout", timeout, "seconds to wait for a reply (2)").within(0.001, 86400.0);
    line.add("--terminator", terminator, "what ends a message: lf, cr, crlf (lf)")
        .one_of({"lf", "cr", "crlf"});
    line.flag("--transcript", transcript, "shows every message on standard error");
    line.flag("--json", json, "machine-readable results on standard output");
  }

  std::unique_ptr<protocols::Session> open(protocols::Connections& connections,
                                           const protocols::ResourceName& name) const {
    protocols::SerialSettings serial;
    serial.baud = baud;
    protocols::SessionOptions session;
    session.timeouts.first_reply = protocols::Milliseconds(static_cast<std::int64_t>(timeout * 1e3));
    session.terminator = terminator == "lf" ? "\n" : terminator == "cr" ? "\r" : "\r\n";
    if (transcript) {
      session.transcript = [](const protocols::Exchange& exchange) {
        static constexpr const char* marks[] = {"opened", ">", "<", "closed", "!"};
        inform(std::string(exchange.address) + ' ' + marks[static_cast<std::size_t>(exchange.kind)] + ' ' +
               std::string(exchange.text));
      };
    }
    return std::make_unique<protocols::Session>(connections.to(name, serial), std::move(session));
  }

  protocols::Connections connections() const {
    protocols::Connections result;
    for (const std::string& text : via) {
      const auto name = protocols::parse_resource_name(text);
      const auto* board = std::get_if<protocols::PrologixName>(&name);
      if (board == nullptr)
        throw std::invalid_argument("--via " + text +
                                    ": expected a Prologix controller, PRLGX-TCPIP0::host::1234::INTFC or "
                                    "PRLGX-ASRL0::/dev/ttyUSB0::INTFC");
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
  for (const std::string& resource : options.resources)
    names.push_back(protocols::parse_resource_name(resource));
  protocols::Connections connections = options.connections();
  bool all = true;
  for (const protocols::ResourceName& name : names) {
    const std::string resource = to_string(name);
    Report line{{"resource", resource}};
    try {
      const std::string identity = options.open(connections, name)->identity();
      line["identity"] = identity;
      if (!options.json) std::printf("%-40s %s\n", resource.c_str(), identity.c_str());
    } catch (const LinkError& error) {  // the others may still answer
      all = false;
      line["error"] = error.what();
      complain(error.what());
    }
    if (options.json) line.print_json();
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
  Report replies = Report::list();
  for (const std::string& message : options.messages) {
    if (message.find('?') == std::string::npos) {
      session->write(message);
      continue;
    }
    const std::string reply = session->query(message);
    if (options.json) replies.add({{"message", message}, {"reply", reply}});
    else std::printf("%s\n", reply.c_str());
  }
  bool clean = true;
  if (!options.keep_errors) {
    Report errors = Report::list();
    for (const protocols::QueuedError& error : session->drain_errors()) {
      clean = false;
      complain(to_string(name) + ": error " + std::to_string(error.number) + ", " + error.text);
      errors.add({{"number", error.number}, {"text", error.text}});
    }
    if (options.json)
      Report{{"resource", to_string(name)}, {"replies", replies}, {"errors", errors}}.print_json();
  } else if (options.json) {
    Report{{"resource", to_string(name)}, {"replies", replies}}.print_json();
  }
  return clean ? ExitCode::success : ExitCode::failure;
}

int list_ports(bool json) {
  for (const protocols::SerialPortInfo& port : protocols::serial_ports()) {
    const std::string resource = "ASRL" + port.path + "::INSTR";
    if (json)
      Report{{"resource", resource}, {"description", port.description}, {"adapter", port.adapter}}
          .print_json();
    else std::printf("%-32s %-28s %s\n", resource.c_str(), port.description.c_str(), port.adapter.c_str());
  }
  return ExitCode::success;
}

}  // namespace

void declare_idn(Options& line, const Command& command) {
  auto options = std::make_shared<IdnOptions>();
  line.add("RESOURCE", options->resources, "resource names").required().value_name("");
  options->add(line);
  line.footer(
      "Resource names: TCPIP::10.0.0.7::5025::SOCKET, ASRL/dev/ttyUSB0::INSTR, GPIB0::24::INSTR behind "
      "--via.\n"
      "Exit code 0 only if all answered.\n"
      "\n"
      "Example:\n"
      "  ness idn TCPIP::10.0.0.7::5025::SOCKET ASRL/dev/ttyUSB0 --baud 57600");
  line.action([options, &command] {
    command.leave_at_first();
    return identify(*options);
  });
}

void declare_query(Options& line, const Command& command) {
  auto options = std::make_shared<QueryOptions>();
  line.add("RESOURCE", options->resource, "resource name").required().value_name("");
  line.add("MESSAGE", options->messages, "messages, in order; those with a '?' are answered")
      .required()
      .value_name("");
  line.flag("--keep-errors", options->keep_errors, "leaves the instrument's error queue as it is");
  options->add(line);
  line.footer(
      "Afterwards the error queue is read to its end: what is in it is printed, and the exit code is 1.\n"
      "\n"
      "Example:\n"
      "  ness query ASRL/dev/ttyUSB0 '*RST' ':SOUR:VOLT 0.1' ':OUTP ON' ':READ?' ':OUTP OFF'");
  line.action([options, &command] {
    command.leave_at_first();
    return converse(*options);
  });
}

void declare_list(Options& line, const Command& command) {
  auto json = std::make_shared<bool>(false);
  line.flag("--json", *json, "a line of JSON a port");
  line.action([json, &command] {
    command.leave_at_first();
    return list_ports(*json);
  });
}

}  // namespace ness
