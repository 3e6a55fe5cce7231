// A platform: the kind of physical system that an experiment is run on.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ness/device/device.hpp"
#include "ness/device/model.hpp"
#include "ness/files/key_list.hpp"
#include "ness/files/toml_table.hpp"
#include "ness/training/optimizer.hpp"

namespace ness {

/// A physical system, ready for a run.
struct Platform {
  DeviceInfo info;                     ///< of the system as it is described: its terminals and parameters
  std::unique_ptr<Device> device;      ///< its simulation; null: it can be run on a bench alone
  std::shared_ptr<const Model> model;  ///< null: it has none, and estimators that need one are refused
  Vector theta;                        ///< initial parameters [info.parameters]
};

/// Something in an experiment that is wrong, or hardly what was meant, though it can be read.
struct Mistake {
  bool refused = false;  ///< nothing is trained; else it is a warning
  std::string place;     ///< "xor.toml:12: key 'parameters.gamma.value'", "points.csv:7"
  std::string what;      ///< what is there, and what was expected
  std::string text() const { return place + ": " + what; }
};

/// A physical system as an experiment file describes it: initial parameters are not drawn yet.
class PlatformDescription {
 public:
  virtual ~PlatformDescription() = default;
  /// Levels of an input pattern.
  virtual std::size_t inputs() const = 0;
  /// Terminals that a loss is taken of.
  virtual std::size_t outputs() const = 0;
  /// Draws initial parameters with the seed and builds the system. `threads` of its simulation, 0: all cores;
  /// results do not depend on them. Throws std::invalid_argument for a system that cannot be.
  virtual Platform made(std::uint64_t seed, unsigned threads) const = 0;
  /// How each parameter is trained, in their order. `parameters`: those of the device that is trained, which
  /// may be a bench; `theta`: their initial values.
  virtual std::vector<ParameterRule> rules(const std::vector<ParameterInfo>& parameters,
                                           const Vector& theta) const = 0;
  /// What is wrong with it beyond what its reader refuses, with initial parameters drawn with the seed.
  /// Mistake::place is the key alone.
  virtual std::vector<Mistake> mistakes(std::uint64_t seed) const;
};

/// What a platform's reader knows beside its tables.
struct PlatformContext {
  std::string directory;   ///< relative paths start here
  Document& document;      ///< files that are named in it are replaced by their text, so that a log holds the
                           ///< whole experiment
  std::uint64_t seed = 0;  ///< the experiment's
  bool other_targets = false;  ///< LoadOptions::other_targets
};

/// A row of the table of platforms.
struct PlatformEntry {
  std::string_view name;  ///< of its table: [network]; a file has one platform's
  /// The key of its table that decides how many inputs and outputs there are, for messages
  std::string_view size_key;
  std::string_view files;  ///< what files of its own it reads, in words: "network files (JSON)"; empty: none
  std::span<const std::string_view> tables;  ///< its further tables: [parameters], [solver]
  /// Reads its tables. Throws FileError.
  std::shared_ptr<const PlatformDescription> (*read)(Table& root, const PlatformContext& context) = nullptr;
  /// Lists their keys.
  void (*list)(const KeyList& top) = nullptr;
};

/// The platforms of Ness.
std::span<const PlatformEntry> platform_table();

}  // namespace ness
