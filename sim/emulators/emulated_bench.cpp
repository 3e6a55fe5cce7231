#include "ness/emulators/emulated_bench.hpp"

#include <algorithm>

namespace ness::sim {

EmulatedInstrument& EmulatedBench::add(std::unique_ptr<EmulatedInstrument> instrument) {
  instruments_.push_back(std::move(instrument));
  return *instruments_.back();
}

double EmulatedBench::next_event() const {
  double next = EmulatedInstrument::never;
  for (const auto& instrument : instruments_) next = std::min(next, instrument->next_event());
  return next;
}

void EmulatedBench::advance(double t) {
  for (;;) {
    const double next = std::max(next_event(), circuit_->time());
    if (next > t) break;
    circuit_->advance(next);
    for (const auto& instrument : instruments_) instrument->run(next);
  }
  circuit_->advance(t);
  for (const auto& instrument : instruments_) instrument->run(t);
}

}  // namespace ness::sim
