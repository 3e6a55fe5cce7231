#include "scpi_instrument.hpp"

#include <algorithm>
#include <cmath>

namespace ness::sim {

ScpiInstrument::ScpiInstrument(Settings settings, Circuit& circuit, const Imperfection& imperfection)
    : status(settings.error_depth),
      circuit_(circuit),
      imperfection_(imperfection),
      settings_(std::move(settings)) {
  status.event_status = scpi::Status::power_on;
  common_commands();
  status_commands();
}

void ScpiInstrument::on(std::string_view pattern, Handler handler) {
  table_.add(pattern);
  handlers_.push_back(std::move(handler));
}

void ScpiInstrument::answer(std::string_view pattern, std::function<std::string(const Call&)> text) {
  on(pattern, [this, text = std::move(text)](const Call& call) { reply(text(call)); });
}

void ScpiInstrument::number(const std::string& pattern, double& value, const scpi::NumberRange& range,
                            std::function<void()> changed) {
  on(pattern, [&value, range, changed = std::move(changed)](const Call& call) {
    call.arguments.expect(1, 1);
    const double before = value;
    value = call.number(0, range);
    try {
      if (changed) changed();
    } catch (...) {
      value = before;
      throw;
    }
  });
  answer(pattern + '?', [this, &value, range](const Call& call) {
    call.arguments.expect(0, 1);
    return number_text(call.arguments.size() == 0 ? value : call.number(0, range));  // "VOLT? MAX"
  });
}

void ScpiInstrument::flag(const std::string& pattern, bool& value, std::function<void()> changed) {
  on(pattern, [&value, changed = std::move(changed)](const Call& call) {
    call.arguments.expect(1, 1);
    value = call.arguments.boolean(0);
    if (changed) changed();
  });
  answer(pattern + '?', [&value](const Call&) { return value ? "1" : "0"; });
}

void ScpiInstrument::common_commands() {
  const auto mask = [this](const char* pattern, std::uint8_t scpi::Status::*member) {
    on(pattern, [this, member](const Call& call) {
      call.arguments.expect(1, 1);
      status.*member = static_cast<std::uint8_t>(call.arguments.whole(0, 0, 255));
    });
    answer(std::string(pattern) + '?', [this, member](const Call&) { return integer(status.*member); });
  };
  mask("*ESE", &scpi::Status::event_enable);
  mask("*SRE", &scpi::Status::service_enable);
  answer("*IDN?", [this](const Call&) { return settings_.identity; });
  answer("*ESR?", [this](const Call&) { return integer(status.take_event_status()); });
  // The status byte before this reply: the output queue contains earlier answers of this message, if any.
  answer("*STB?", [this](const Call&) { return integer(status_byte()); });
  answer("*TST?", [this](const Call&) { return integer(0); });
  on("*CLS", [this](const Call&) {
    status.clear();
    complete_when_idle_ = false;
  });
  on("*RST", [this](const Call& call) {
    call.arguments.expect(0, 0);
    abort_operation();
    complete_when_idle_ = false;
    reset();
  });
  on("*OPC", [this](const Call&) {
    if (operating()) complete_when_idle_ = true;
    else status.event_status |= scpi::Status::operation_complete;
  });
  on("*OPC?", [this](const Call&) { when_idle([this] { reply("1"); }); });
  on("*WAI", [this](const Call&) { when_idle([] {}); });
}

void ScpiInstrument::status_commands() {
  const auto next_error = [this](const Call&) {
    const scpi::Status::Entry entry = status.pop();
    if (entry.number == 0) return settings_.no_error;
    return integer(entry.number) + ",\"" + entry.text + '"';
  };
  answer(":SYSTem:ERRor[:NEXT]?", next_error);
  answer(":SYSTem:ERRor:COUNt?",
         [this](const Call&) { return integer(static_cast<std::int64_t>(status.errors())); });
  answer(":SYSTem:ERRor:ALL?", [this](const Call& call) {
    if (status.errors() == 0) return settings_.no_error;
    std::string all;
    while (status.errors() > 0) {
      const scpi::Status::Entry entry = status.pop();
      all += (all.empty() ? "" : ",") + integer(entry.number) + ",\"" + entry.text + '"';
    }
    static_cast<void>(call);
    return all;
  });
  on(":STATus:PRESet", [this](const Call&) {
    status.operation.preset();
    status.questionable.preset();
  });
  const auto group = [this](const std::string& name, scpi::RegisterGroup scpi::Status::*member) {
    answer(name + "[:EVENt]?",
           [this, member](const Call&) { return integer((status.*member).take_event()); });
    answer(name + ":CONDition?", [this, member](const Call&) { return integer((status.*member).condition); });
    for (const auto& [node, which] : {std::pair{":ENABle", &scpi::RegisterGroup::enable},
                                      {":PTRansition", &scpi::RegisterGroup::positive},
                                      {":NTRansition", &scpi::RegisterGroup::negative}}) {
      on(name + node, [this, member, field = which](const Call& call) {
        call.arguments.expect(1, 1);
        (status.*member).*field = static_cast<std::uint16_t>(call.arguments.whole(0, 0, 65535) & 0x7FFF);
      });
      answer(name + node + '?',
             [this, member, field = which](const Call&) { return integer((status.*member).*field); });
    }
  };
  group(":STATus:OPERation", &scpi::Status::operation);
  group(":STATus:QUEStionable", &scpi::Status::questionable);
}

void ScpiInstrument::receive(std::string_view bytes, double now) {
  now_ = std::max(now_, now);
  input_ += bytes;
  for (std::size_t end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
    if (message_exchange && (!output_.empty() || responding_)) {  // the previous reply was not read
      status.push(-410);
      output_.clear();
      response_.clear();
      responding_ = false;
    }
    messages_.push_back({now, input_.substr(0, end)});
    input_.erase(0, end + 1);
  }
  if (input_.size() > settings_.input_buffer) {
    input_.clear();
    status.push(-363);
  }
}

double ScpiInstrument::foreground() const {
  if (waits_idle_) return operating() ? never : std::max(free_at_, now_);
  if (then_ || reader_) return free_at_;
  if (!messages_.empty()) return std::max(free_at_, messages_.front().arrival);
  return never;
}

double ScpiInstrument::next_event() const { return std::min(operation_at_, foreground()); }

void ScpiInstrument::run(double now) {
  for (;;) {
    const double background = operation_at_, front = foreground();
    if (std::min(background, front) > now) break;
    now_ = std::max(now_, std::min(background, front));
    if (background <= front) {
      const auto step = operation_;  // a step may begin another operation
      operation_at_ = never;
      const double next = step();
      if (next < never) operation_at_ = next;
      if (!operating() && complete_when_idle_) {
        complete_when_idle_ = false;
        status.event_status |= scpi::Status::operation_complete;
      }
    } else {
      work();
    }
  }
  now_ = std::max(now_, now);
}

// Executes one foreground task: a continuation, or the next unit of the message.
void ScpiInstrument::work() {
  try {
    if (then_) {
      waits_idle_ = false;
      const auto then = std::move(then_);
      then_ = nullptr;
      then();
    } else {
      if (!reader_) reader_.emplace(messages_.front().text);
      const auto unit = reader_->next();
      if (!unit) {
        reader_.reset();
        messages_.pop_front();
        finish_message();
        return;
      }
      free_at_ = now_ + settings_.command_time;
      execute(*unit);
    }
  } catch (const scpi::Fault& fault) {
    status.push(fault.number(), fault.what());
    then_ = nullptr;
    waits_idle_ = false;
    // A command error discards the rest of the message.
    if (fault.number() <= -100 && fault.number() > -200) reader_.emplace(std::string_view{});
  }
}

void ScpiInstrument::execute(const scpi::Unit& unit) {
  const scpi::CommandTable::Match match = table_.find(unit);
  handlers_[match.command](Call{unit, scpi::Arguments(unit), match.suffixes});
}

// End of a message: its answers are sent as one line.
void ScpiInstrument::finish_message() {
  if (unanswered_ > 0) {
    --unanswered_;
    response_.clear();
    responding_ = false;
  }
  if (!responding_) return;
  output_ += response_ + '\n';
  response_.clear();
  responding_ = false;
}

void ScpiInstrument::reply(std::string text) {
  if (responding_) response_ += ';';
  response_ += text;
  responding_ = true;
}

void ScpiInstrument::after(double seconds, std::function<void()> then) {
  free_at_ = now_ + seconds;
  then_ = std::move(then);
}

void ScpiInstrument::when_idle(std::function<void()> then) {
  then_ = std::move(then);
  waits_idle_ = true;
}

void ScpiInstrument::begin_operation(double first, std::function<double()> step) {
  operation_at_ = first;
  operation_ = std::move(step);
}

void ScpiInstrument::abort_operation() {
  operation_at_ = never;
  operation_ = nullptr;
}

std::string ScpiInstrument::take_output() { return std::exchange(output_, std::string()); }

void ScpiInstrument::drop_replies() {
  input_.clear();  // discard incomplete messages
  output_.clear();
  unanswered_ = messages_.size();
}

void ScpiInstrument::device_clear() {
  unanswered_ = 0;
  input_.clear();
  output_.clear();
  response_.clear();
  responding_ = false;
  reader_.reset();
  messages_.clear();
  then_ = nullptr;
  waits_idle_ = false;
  complete_when_idle_ = false;
  abort_operation();
}

double ScpiInstrument::noise() {
  if (!imperfection_.noise) return 0;
  return normal_at(imperfection_.seed, ++draws_, 0x1000000 + imperfection_.number);
}

double ScpiInstrument::error(std::uint32_t what) const {
  if (!imperfection_.errors) return 0;
  return 2 * uniform_at(imperfection_.seed, what, 0x2000000 + imperfection_.number) - 1;
}

}  // namespace ness::sim
