#include "ness/device/chain.hpp"

#include <memory>
#include <utility>
#include <variant>

namespace ness {
namespace {

using Rows = std::vector<Relaxation>;

// The start that Present stands for when a chain is interleaved with others: the state in which this chain
// ended last.
Start continued(const Relaxation& previous) {
  // A relaxation without numbers has no state to return to.
  if (!previous.potential.allFinite()) return Rest{};
  return From{std::make_shared<const Vector>(previous.potential)};
}

std::optional<Drive> next_drive(const Chain& chain, const Rows& so_far) {
  std::optional<Drive> drive = chain(so_far);
  if (drive) drive->label.position = static_cast<std::uint32_t>(so_far.size());
  return drive;
}

void relax_breadth_first(Device& device, std::span<const Chain> chains, std::vector<Rows>& rows,
                         std::stop_token stop) {
  std::vector<std::size_t> running(chains.size());
  for (std::size_t i = 0; i < running.size(); ++i) running[i] = i;
  while (!running.empty()) {
    std::vector<Drive> drives;
    std::vector<std::size_t> owner;
    drives.reserve(running.size());
    owner.reserve(running.size());
    for (const std::size_t chain : running) {
      std::optional<Drive> drive = next_drive(chains[chain], rows[chain]);
      if (!drive) continue;
      if (!rows[chain].empty() && std::holds_alternative<Present>(drive->start))
        drive->start = continued(rows[chain].back());
      drives.push_back(std::move(*drive));
      owner.push_back(chain);
    }
    if (drives.empty()) return;
    device.relax(
        drives, [&](std::size_t index, const Relaxation& row) { rows[owner[index]].push_back(row); }, stop);
    running = std::move(owner);
  }
}

void relax_in_turn(Device& device, std::span<const Chain> chains, std::vector<Rows>& rows,
                   std::stop_token stop) {
  for (std::size_t i = 0; i < chains.size(); ++i) {
    while (const std::optional<Drive> drive = next_drive(chains[i], rows[i])) {
      device.relax(
          {&*drive, 1}, [&](std::size_t, const Relaxation& row) { rows[i].push_back(row); }, stop);
    }
  }
}

}  // namespace

std::vector<std::vector<Relaxation>> relax_chains(Device& device, std::span<const Chain> chains,
                                                  std::stop_token stop) {
  std::vector<Rows> rows(chains.size());
  const DeviceInfo& info = device.info();
  if (info.restores_state && info.reads_every_free_potential()) {
    relax_breadth_first(device, chains, rows, stop);
  } else {
    relax_in_turn(device, chains, rows, stop);
  }
  return rows;
}

}  // namespace ness
