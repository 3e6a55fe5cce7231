#include "loop/trainer_state.hpp"

#include <algorithm>
#include <cmath>
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

// Logs before format 5 have the first 15.
constexpr Eigen::Index trainer_numbers = 22, numbers_before = 15;

// Truth values, so many in a number: exact in a double.
constexpr std::size_t bits_each = 48;

Vector packed_bits(const std::vector<bool>& bits) {
  Vector numbers = Vector::Zero(static_cast<Eigen::Index>((bits.size() + bits_each - 1) / bits_each));
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (bits[i])
      numbers[static_cast<Eigen::Index>(i / bits_each)] += std::ldexp(1.0, static_cast<int>(i % bits_each));
  }
  return numbers;
}

std::vector<bool> unpacked_bits(const Vector& numbers, std::size_t count) {
  std::vector<bool> bits(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto word = static_cast<std::uint64_t>(numbers[static_cast<Eigen::Index>(i / bits_each)]);
    bits[i] = (word >> (i % bits_each) & 1) != 0;
  }
  return bits;
}

// The counts and the best parameters, with which the numbers of a trainer begin.
struct Beginning {
  Vector numbers;
  bool has_best;
  Best best;
  Vector best_theta;  // empty: the present ones
};

Beginning beginning(Unpacked& unpacked, Eigen::Index all, Eigen::Index parameters) {
  Beginning found;
  found.numbers = unpacked.take(-1, "counts");
  const Vector& n = found.numbers;
  if (n.size() != trainer_numbers && n.size() != numbers_before) {
    throw std::invalid_argument("checkpoint: the trainer's " + std::to_string(all) +
                                " numbers hold no counts");
  }
  found.has_best = n[6] != 0;
  if (found.has_best) {
    found.best.loss = n[7];
    found.best.by = BestBy::validation_loss;
  }
  if (n.size() == trainer_numbers && found.has_best) {
    found.best.by = n[15] != 0 ? BestBy::validation_loss : BestBy::training_loss;
    found.best.step = static_cast<std::uint64_t>(n[16]);
    found.best.epoch = static_cast<std::uint64_t>(n[17]);
  }
  found.best_theta = unpacked.take(parameters, "best parameters");
  return found;
}

}  // namespace

std::pair<Best, Vector> best_of(const Checkpoint& checkpoint) {
  Unpacked unpacked(checkpoint.trainer);
  Beginning found = beginning(unpacked, checkpoint.trainer.size(), checkpoint.theta.size());
  if (!found.has_best) return {};
  if (found.best_theta.size() == 0) found.best_theta = checkpoint.theta;
  return {found.best, std::move(found.best_theta)};
}

void Trainer::State::used(std::uint64_t sample) {
  if (unused.empty() || !unused[sample]) return;
  unused[sample] = false;
  if (--unused_count == 0) unused.clear();
}

Checkpoint Trainer::State::checkpoint() const {
  Checkpoint made{step, epoch, relaxations, *theta.base, optimizer->state(), {}, {}};
  Vector numbers(trainer_numbers);
  const bool has_best = best.by != BestBy::none;
  numbers << loss_sum, correct_sum, weight, static_cast<double>(left_out), static_cast<double>(skipped),
      last_loss, has_best ? 1 : 0, best.loss, static_cast<double>(waited), static_cast<double>(lost), time,
      static_cast<double>(kept), prepared ? 1 : 0, static_cast<double>(epoch_left_out),
      static_cast<double>(last_left_out), best.by == BestBy::validation_loss ? 1 : 0,
      has_best ? static_cast<double>(best.step) : 0, static_cast<double>(best.epoch),
      static_cast<double>(epoch_used), static_cast<double>(last_used), static_cast<double>(unusable_steps),
      static_cast<double>(unused.size());
  Packed packed;
  packed.put(numbers);
  packed.put(has_best && best_theta != theta.base ? *best_theta : Vector());
  packed.put(kept > 0 ? kept_sum : Vector());
  packed.put(kept > 0 ? kept_squares : Vector());
  packed.put(drift.state());
  packed.put(drift.begun() ? *reference.base : Vector());
  packed.put(packed_bits(unused));
  made.trainer = packed.all();
  return made;
}

void Trainer::State::restore(const Vector& all, std::uint64_t trained) {
  const Eigen::Index parameters = theta.base->size();
  Unpacked unpacked(all);
  const Beginning found = beginning(unpacked, all.size(), parameters);
  const Vector& numbers = found.numbers;
  const auto count = [&](Eigen::Index i) { return static_cast<std::uint64_t>(numbers[i]); };
  loss_sum = numbers[0];
  correct_sum = numbers[1];
  weight = numbers[2];
  left_out = count(3);
  skipped = count(4);
  last_loss = numbers[5];
  best = found.best;
  waited = count(8);
  lost = count(9);
  time = numbers[10];
  kept = count(11);
  prepared = numbers[12] != 0;
  epoch_left_out = count(13);
  last_left_out = count(14);
  if (found.has_best)
    best_theta = found.best_theta.size() == 0 ? theta.base : std::make_shared<const Vector>(found.best_theta);
  kept_sum = unpacked.take(parameters, "gradient kept");
  kept_squares = unpacked.take(parameters, "errors kept");
  drift.restore(unpacked.take(-1, "drift"));
  const Vector of_reference = unpacked.take(parameters, "reference parameters");
  if (drift.begun()) reference = Parameters::of(of_reference);
  unused.clear();
  unused_count = 0;
  if (numbers.size() == numbers_before) return;
  epoch_used = count(18);
  last_used = count(19);
  unusable_steps = count(20);
  const std::uint64_t samples = count(21);
  const Vector bits =
      unpacked.take(static_cast<Eigen::Index>((samples + bits_each - 1) / bits_each), "unused samples");
  if (samples == 0) return;
  if (bits.size() == 0 || samples != trained)
    throw std::invalid_argument("checkpoint: unused samples of " + std::to_string(samples) +
                                "; the training set has " + std::to_string(trained));
  unused = unpacked_bits(bits, samples);
  unused_count = static_cast<std::uint64_t>(std::count(unused.begin(), unused.end(), true));
}

}  // namespace ness
