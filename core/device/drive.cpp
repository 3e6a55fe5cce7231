#include "ness/device/drive.hpp"

#include <stdexcept>
#include <string>

#include "ness/device/digest.hpp"

namespace ness {
namespace {

const Vector& base_of(const Parameters& theta) {
  if (!theta.base) throw std::invalid_argument("parameters without a base vector");
  return *theta.base;
}

void check_index(const Vector& base, std::uint32_t index) {
  if (index < static_cast<std::uint64_t>(base.size())) return;
  throw std::invalid_argument("parameter index " + std::to_string(index) + " of " +
                              std::to_string(base.size()) + " parameters");
}

}  // namespace

Parameters Parameters::of(Vector theta) {
  Parameters made;
  made.base = std::make_shared<const Vector>(std::move(theta));
  made.digest = ness::digest(VectorView(*made.base));
  return made;
}

Parameters Parameters::with(std::uint32_t index, double value) const {
  check_index(base_of(*this), index);
  Parameters changed = *this;
  changed.overrides.emplace_back(index, value);
  return changed;
}

Vector Parameters::values() const {
  Vector full = base_of(*this);
  for (const auto& [index, value] : overrides) {
    check_index(full, index);
    full[index] = value;
  }
  return full;
}

double Parameters::operator[](std::uint32_t index) const {
  const Vector& full = base_of(*this);
  check_index(full, index);
  for (auto entry = overrides.rbegin(); entry != overrides.rend(); ++entry) {
    if (entry->first == index) return entry->second;
  }
  return full[index];
}

}  // namespace ness
