#include "loop/trainer_state.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace ness {
namespace {

// Vectors of any length in sequence, each preceded by its length.
class Packed {
 public:
  void put(const Vector& part) {
    numbers_.push_back(static_cast<double>(part.size()));
    numbers_.insert(numbers_.end(), part.data(), part.data() + part.size());
  }
  Vector all() const {
    return Eigen::Map<const Vector>(numbers_.data(), static_cast<Eigen::Index>(numbers_.size()));
  }

 private:
  std::vector<double> numbers_;
};

class Unpacked {
 public:
  explicit Unpacked(const Vector& all) : all_(all) {}
  /// Takes a vector of the expected length; < 0: any length.
  Vector take(Eigen::Index expected, const char* what) {
    const double length = at_ < all_.size() ? all_[at_++] : -1;
    if (!(length >= 0) || length > static_cast<double>(all_.size() - at_) ||
        (expected >= 0 && length != static_cast<double>(expected) && length != 0)) {
      throw std::invalid_argument("checkpoint: the trainer's " + std::to_string(all_.size()) +
                                  " numbers hold no " + what + " of this training");
    }
    const Vector part = all_.segment(at_, static_cast<Eigen::Index>(length));
    at_ += part.size();
    return part;
  }

 private:
  const Vector& all_;
  Eigen::Index at_ = 0;
};

constexpr Eigen::Index trainer_numbers = 15;

}  // namespace

Checkpoint Trainer::State::checkpoint() const {
  Checkpoint made{step, epoch, relaxations, *theta.base, optimizer->state(), {}, {}};
  Vector numbers(trainer_numbers);
  numbers << loss_sum, correct_sum, static_cast<double>(counted), static_cast<double>(left_out),
      static_cast<double>(skipped), last_loss, has_best ? 1 : 0, best_loss, static_cast<double>(waited),
      static_cast<double>(lost), time, static_cast<double>(kept), prepared ? 1 : 0,
      static_cast<double>(epoch_left_out), static_cast<double>(last_left_out);
  Packed packed;
  packed.put(numbers);
  packed.put(has_best && best_theta != theta.base ? *best_theta : Vector());
  packed.put(kept > 0 ? kept_sum : Vector());
  packed.put(kept > 0 ? kept_squares : Vector());
  packed.put(drift.state());
  packed.put(drift.begun() ? *reference.base : Vector());
  made.trainer = packed.all();
  return made;
}

void Trainer::State::restore(const Vector& all) {
  const Eigen::Index parameters = theta.base->size();
  Unpacked unpacked(all);
  const Vector numbers = unpacked.take(trainer_numbers, "counts");
  if (numbers.size() == 0)
    throw std::invalid_argument("checkpoint: the trainer's " + std::to_string(all.size()) +
                                " numbers hold no counts");
  const auto count = [&](Eigen::Index i) { return static_cast<std::uint64_t>(numbers[i]); };
  loss_sum = numbers[0];
  correct_sum = numbers[1];
  counted = count(2);
  left_out = count(3);
  skipped = count(4);
  last_loss = numbers[5];
  has_best = numbers[6] != 0;
  best_loss = numbers[7];
  waited = count(8);
  lost = count(9);
  time = numbers[10];
  kept = count(11);
  prepared = numbers[12] != 0;
  epoch_left_out = count(13);
  last_left_out = count(14);
  const Vector best = unpacked.take(parameters, "best parameters");
  if (has_best) best_theta = best.size() == 0 ? theta.base : std::make_shared<const Vector>(best);
  kept_sum = unpacked.take(parameters, "gradient kept");
  kept_squares = unpacked.take(parameters, "errors kept");
  drift.restore(unpacked.take(-1, "drift"));
  if (drift.begun()) reference = Parameters::of(unpacked.take(parameters, "reference parameters"));
}

}  // namespace ness
