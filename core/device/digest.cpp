#include "ness/device/digest.hpp"

#include <new>

#include <xxhash.h>

namespace ness {

std::uint64_t digest(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::uint64_t digest(const VectorView& values) {
  return XXH3_64bits(values.data(), static_cast<std::size_t>(values.size()) * sizeof(double));
}

struct Digester::State {
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> of{XXH3_createState(), &XXH3_freeState};
};
Digester::Digester() : state_(std::make_unique<State>()) {
  if (!state_->of) throw std::bad_alloc();
  XXH3_64bits_reset(state_->of.get());
}
Digester::~Digester() = default;
void Digester::add(std::span<const double> values) {
  XXH3_64bits_update(state_->of.get(), values.data(), values.size_bytes());
}
std::uint64_t Digester::value() const { return XXH3_64bits_digest(state_->of.get()); }

}  // namespace ness
