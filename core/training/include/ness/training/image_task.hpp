// Classification of byte images.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ness/device/pattern.hpp"
#include "ness/training/dataset.hpp"
#include "ness/training/idx_file.hpp"

namespace ness {

/// How a byte p becomes a level: low + (high - low) p / 255, kT.
struct ByteEncoding {
  double low = -2, high = 2;
};

/// Byte images as patterns [rows x columns], with shifted variants: variant v of 9 shifts by (dx, dy) in {-1,
/// 0, 1}^2 pixels, empty pixels 0; variant 0 is unshifted. Knows its file, so that a log names it instead of
/// copying it.
std::shared_ptr<const PatternSet> byte_images(std::string name, IdxFile images, ByteEncoding encoding,
                                              bool shifts);

struct ImageTaskOptions {
  std::string train_images, train_labels, test_images, test_labels;  ///< IDX files; test ones may be empty
  ByteEncoding encoding;
  std::uint32_t classes = 10;
  bool shifts = false;            ///< training patterns have 9 variants
  std::uint64_t train_limit = 0;  ///< the first so many samples; 0: all
  std::uint64_t test_limit = 0;
  /// The pattern sets hold all images of their files, whatever the limits: so it was before logs of format 6.
  bool whole_files = false;
};
/// Classification of IDX images with labels. Throws FileError naming the file where images and labels do not
/// fit together or a label is not below `classes`. The loss is cross-entropy with the given scale.
Task image_task(const ImageTaskOptions& options, double readout_scale);

}  // namespace ness
