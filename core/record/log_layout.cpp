#include "log_layout.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <stdexcept>
#include <sys/stat.h>
#include <unistd.h>

#include "ness/device/error.hpp"
#include "sector_checks.hpp"
#include "relaxation_fields.hpp"

namespace ness::log_layout {

EpochRecord record_of(const EpochReport& report, std::uint64_t version) {
  EpochRecord record{report, report.validated, report.best, static_cast<std::uint8_t>(report.best_so_far.by)};
  if (version >= 5) return record;
  if (!report.validated) record.report.validation_loss = record.report.validation_accuracy = 0;
  // There it was of the validation loss alone.
  record.best = report.best && report.best_so_far.by == BestBy::validation_loss;
  return record;
}

EpochReport report_of(const EpochRecord& record) {
  EpochReport report = record.report;
  report.validated = record.validated != 0;
  report.best = record.best != 0;
  report.best_so_far.by = static_cast<BestBy>(record.best_by);
  return report;
}
namespace {

void check_size(const char* field, Eigen::Index size, std::size_t expected) {
  if (static_cast<std::size_t>(size) != expected) {
    throw std::invalid_argument(std::string(field) + " of a relaxation has " + std::to_string(size) +
                                " entries, the device of the log has " + std::to_string(expected));
  }
}

std::uint64_t little_endian(const unsigned char* bytes) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) {
    value = value << 8 | bytes[i];
  }
  return value;
}

}  // namespace

Layout layout_of(const DeviceInfo& info, bool outputs_only, std::uint64_t full_theta) {
  Layout layout;
  layout.info = info;
  layout.outputs_only = outputs_only;
  const std::vector<std::uint32_t> read = info.read();
  layout.device_reads = read.size();
  for (std::size_t i = 0; i < read.size(); ++i) {
    const bool output = std::find(info.outputs.begin(), info.outputs.end(), read[i]) != info.outputs.end();
    if (output || !outputs_only) {
      layout.selected.push_back(static_cast<std::uint32_t>(i));
    } else {
      layout.info.terminals[read[i]].reads_potential = false;
    }
  }
  layout.read_width = layout.selected.size();
  layout.theta_width = info.parameters.size() <= full_theta ? info.parameters.size() : 0;
  layout.rate_unit = info.potential_unit + "/" + info.time_unit;
  return layout;
}

Counts read_counts(Calls& calls, hid_t file) {
  const std::vector<std::uint64_t> counts = hdf5::read_array<std::uint64_t>(calls, file, "committed");
  if (counts.size() != 4) {
    calls.fail("read '/committed'", "4 counts were expected, it has " + std::to_string(counts.size()));
  }
  return {counts[0], counts[1], counts[2], counts[3]};
}

void write_counts(Calls& calls, hid_t committed, const Counts& counts) {
  const std::array<std::uint64_t, 4> values{counts.relaxations, counts.steps, counts.epochs,
                                            counts.checkpoints};
  calls(H5Dwrite(committed, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
        "write '/committed'");
}

namespace {

// Fields without a column in the file must have their default values.
struct Missing {
  const Given& given;
  const Layout& layout;

  template <class Give, class Place>
  void field(const FieldText& text, const Give& give, const Place&, Value<Give> blank = {}) {
    if (text.since <= layout.version || give(given) == blank) return;
    throw std::invalid_argument("the log was begun in format " + std::to_string(layout.version) +
                                ", which cannot hold '" + text.name + "' (" + text.meaning +
                                "): begin a new log");
  }
  template <class Give, class Place>
  void list(const FieldText&, const Give&, const Place&) {}
  template <class Give, class Place>
  void readings(const FieldText&, const Give&, const Place&, std::uint64_t) {}
};

}  // namespace

void check_fits(const Layout& layout, const Given& given) {
  const std::size_t n_read = layout.device_reads;
  const Relaxation& relaxation = given.relaxation;
  check_size("potential", relaxation.potential.size(), n_read);
  if (relaxation.path.size() > 0) check_size("path", relaxation.path.cols(), n_read);
  if (relaxation.sigma.size() > 0) check_size("sigma", relaxation.sigma.size(), n_read);
  const auto flagged = static_cast<Eigen::Index>(relaxation.quality.terminal.size());
  if (flagged > 0) check_size("quality.terminal", flagged, n_read);
  if (layout.version < format) {
    Missing missing{given, layout};
    each_field(missing, layout);
  }
}

StoredEnd stored_end(int descriptor, const std::string& path) {
  const auto fail = [&](const std::string& reason) {
    throw LogError("cannot read the log '" + path + "': " + reason);
  };
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail("it is not a regular file");
  std::array<unsigned char, 52> head{};
  const ssize_t n = ::pread(descriptor, head.data(), head.size(), 0);
  if (n < 0) fail(std::strerror(errno));
  constexpr std::array<unsigned char, 8> signature{0x89, 'H', 'D', 'F', '\r', '\n', 0x1A, '\n'};
  StoredEnd found;
  found.size = static_cast<std::uint64_t>(status.st_size);
  if (n < static_cast<ssize_t>(head.size()) ||
      !std::equal(signature.begin(), signature.end(), head.begin())) {
    throw LogError("'" + path + "' (" + std::to_string(found.size) +
                   " bytes) is not an HDF5 file, and so no Ness log");
  }
  // Superblock versions 0 and 1, with 8-byte addresses.
  if (head[8] <= 1 && head[13] == 8) {
    found.offset = head[8] == 0 ? 40 : 44;
    found.end = little_endian(head.data() + found.offset);
  }
  return found;
}

StoredEnd stored_end(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) throw LogError("cannot read the log '" + path + "': " + std::strerror(errno));
  try {
    StoredEnd found = stored_end(descriptor, path);
    // Nothing is believed that is damaged.
    if (const hdf5::CheckPlaces places = hdf5::find_checks(descriptor); places.known()) {
      hdf5::Sector first;
      if (!hdf5::read_superblock(descriptor, places, first))
        throw LogError("the log '" + path + "' is damaged: the CRC of its " + hdf5::bytes_of_sector(0) +
                       " fails" + hdf5::repair_advice(path));
      if (found.offset > 0)
        found.end = little_endian(reinterpret_cast<const unsigned char*>(first.data()) + found.offset);
    }
    ::close(descriptor);
    return found;
  } catch (...) {
    ::close(descriptor);
    throw;
  }
}

bool store_end(int descriptor, const StoredEnd& where, std::uint64_t end) {
  std::array<unsigned char, 8> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(end >> (8 * i));
  }
  return where.offset == 0 ||
         ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(where.offset)) == 8;
}

void mend_end(const std::string& path, const StoredEnd& found) {
  if (found.offset == 0 || found.end == found.size) {
    return;
  }
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  bool mended = descriptor >= 0;
  if (mended) {
    mended = found.missing() > 0 ? ::ftruncate(descriptor, static_cast<off_t>(found.end)) == 0
                                 : store_end(descriptor, found, found.size);
  }
  const int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!mended) {
    throw LogError("cannot write the log '" + path + "': " + std::strerror(reason));
  }
}

std::string truncation(const std::string& path, std::uint64_t missing) {
  return "the log '" + path + "' is truncated: " + std::to_string(missing) +
         (missing == 1 ? " byte is" : " bytes are") + " missing at its end" + hdf5::repair_advice(path);
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace ness::log_layout
