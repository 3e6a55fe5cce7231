#include "ness/bench/bench_sessions.hpp"

#include "ness/device/error.hpp"
#include "ness/emulators/virtual_time.hpp"

namespace ness {

BenchSessions::BenchSessions(const BenchFile& file, DeviceKind kind, const sim::NetworkSpec* network,
                             Transcript transcript)
    : file_(file), kind_(kind), transcript_(std::move(transcript)) {
  if (kind == DeviceKind::emulated) {
    emulation_ = emulate(file_, network);
    clock_ = sim::virtual_clock(emulation_.bench);
    links_ = std::make_unique<VirtualTimeLinks>(file_, emulation_);
    return;
  }
  clock_ = wall_clock();
  for (const protocols::PrologixName& controller : file_.controllers) {
    try {
      connections_.add_board(controller);
    } catch (const std::invalid_argument& error) {
      throw FileError(file_.path + ": controllers: " + error.what());
    }
  }
}

BenchSessions::~BenchSessions() = default;

std::unique_ptr<protocols::Session> BenchSessions::session(std::size_t i) {
  const BenchInstrument& described = file_.instruments.at(i);
  const auto refuse = [&](const std::string& reason) {
    throw FileError(file_.path + ": [instruments." + described.name + "]: " + reason);
  };
  protocols::SessionOptions options;
  options.terminator = described.terminator;
  options.timeouts.first_reply = protocols::Milliseconds(static_cast<std::int64_t>(described.timeout * 1e3));
  options.transcript = transcript_;
  options.inherits = true;
  if (kind_ == DeviceKind::emulated)
    return std::make_unique<protocols::Session>(links_->to(i), std::move(options));
  if (!described.address) refuse("has no address; a real instrument needs one");
  std::unique_ptr<protocols::Transport> transport;
  try {
    transport = connections_.to(*described.address, described.serial);
  } catch (const std::invalid_argument& error) {
    refuse(error.what());
  }
  return std::make_unique<protocols::Session>(std::move(transport), std::move(options));
}

}  // namespace ness
