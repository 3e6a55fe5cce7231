#include "sector_checks.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32.hpp"

namespace ness::hdf5 {
namespace {

constexpr std::array<char, 8> places_mark{'N', 'E', 'S', 'S', 'C', 'H', 'K', '1'};
constexpr std::array<char, 8> journal_mark{'N', 'E', 'S', 'S', 'J', 'R', 'N', '1'};
// The header is made before anything that is large, so it is looked for at the beginning only.
constexpr std::uint64_t looked_at = 256;  // sectors
constexpr std::size_t copy_bytes = sector_bytes / 2;

struct PlacesImage {
  std::array<char, 8> mark = places_mark;
  std::uint64_t header = 0, journal = 0;
  std::array<std::uint64_t, CheckPlaces::tables> table{};
  std::uint32_t crc = 0, unused = 0;
};
static_assert(sizeof(PlacesImage) <= copy_bytes);

std::uint32_t crc_of(const PlacesImage& image) {
  return crc32({reinterpret_cast<const std::byte*>(&image), offsetof(PlacesImage, crc)});
}

struct JournalImage {
  std::array<char, 8> mark = journal_mark;
  std::uint32_t count = 0;
  std::uint32_t crc = 0;  // of the numbers and of the sectors
  std::array<std::uint64_t, CheckPlaces::journal_sectors - 2> number{};
};
static_assert(sizeof(JournalImage) <= sector_bytes);
constexpr std::size_t most_journalled = CheckPlaces::journal_sectors - 2;

std::uint32_t crc_of(const JournalImage& image, std::span<const Sector> sectors) {
  std::uint32_t crc = crc32({reinterpret_cast<const std::byte*>(image.number.data()), 8 * image.count});
  return crc32({reinterpret_cast<const std::byte*>(sectors.data()), sectors.size_bytes()}, crc);
}

std::uint64_t sectors_in(int file) {
  struct stat status {};
  if (::fstat(file, &status) != 0 || status.st_size < 0) return 0;
  return (static_cast<std::uint64_t>(status.st_size) + sector_bytes - 1) / sector_bytes;
}

}  // namespace

std::uint32_t check_of(const Sector& sector) {
  const std::uint32_t crc = crc32(sector);
  return crc == 0 ? 1 : crc;
}

std::size_t CheckPlaces::made() const {
  std::size_t k = 0;
  while (k < tables && table[k] != 0) ++k;
  return k;
}

std::uint64_t CheckPlaces::reach() const {
  const std::size_t k = made();
  return k == 0 ? 0 : (first_of(k - 1) + sectors_of(k - 1)) * sector_bytes;
}

std::optional<std::uint64_t> CheckPlaces::place_of(std::uint64_t sector) const {
  for (std::size_t k = 0; k < tables && table[k] != 0; ++k) {
    if (sector < first_of(k) + sectors_of(k)) return table[k] + 8 * (sector - first_of(k));
  }
  return std::nullopt;
}

bool CheckPlaces::own(std::uint64_t sector) const {
  const std::uint64_t at = sector * sector_bytes;
  const auto within = [at](std::uint64_t place, std::uint64_t bytes) {
    return place != 0 && at >= place && at < place + bytes;
  };
  if (within(header, sector_bytes) || within(journal, journal_sectors * sector_bytes)) return true;
  for (std::size_t k = 0; k < tables; ++k) {
    if (within(table[k], 8 * sectors_of(k))) return true;
  }
  return false;
}

bool read_at(int file, std::uint64_t place, void* bytes, std::size_t count) {
  auto* out = static_cast<char*>(bytes);
  while (count > 0) {
    const ssize_t n = ::pread(file, out, std::min(count, std::size_t{1} << 30), static_cast<off_t>(place));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) {
      std::memset(out, 0, count);
      return true;
    }
    out += n;
    place += static_cast<std::uint64_t>(n);
    count -= static_cast<std::size_t>(n);
  }
  return true;
}

bool write_at(int file, std::uint64_t place, const void* bytes, std::size_t count) {
  const auto* from = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t n = ::pwrite(file, from, std::min(count, std::size_t{1} << 30), static_cast<off_t>(place));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    from += n;
    place += static_cast<std::uint64_t>(n);
    count -= static_cast<std::size_t>(n);
  }
  return true;
}

CheckPlaces find_checks(int file) {
  const std::uint64_t sectors = std::min(sectors_in(file), looked_at);
  Sector found;
  for (std::uint64_t i = 1; i < sectors; ++i) {
    if (!read_at(file, i * sector_bytes, found.data(), sector_bytes)) break;
    // Two copies: one may have a wrong bit.
    for (const std::size_t at : {std::size_t{0}, copy_bytes}) {
      PlacesImage image;
      std::memcpy(&image, found.data() + at, sizeof image);
      if (image.mark != places_mark || image.crc != crc_of(image) || image.header != i * sector_bytes)
        continue;
      return {image.header, image.journal, image.table};
    }
  }
  return {};
}

bool write_places(const Put& put, const CheckPlaces& places) {
  PlacesImage image;
  image.header = places.header;
  image.journal = places.journal;
  image.table = places.table;
  image.crc = crc_of(image);
  Sector sector{};
  for (const std::size_t at : {std::size_t{0}, copy_bytes})
    std::memcpy(sector.data() + at, &image, sizeof image);
  return put(places.header, sector.data(), sector_bytes);
}

bool cover_all(int file, const CheckPlaces& places) {
  const std::uint64_t sectors = sectors_in(file);
  Sector sector;
  for (std::size_t k = 0; k < places.made(); ++k) {
    std::vector<SectorCheck> checks(CheckPlaces::sectors_of(k));
    for (std::uint64_t i = 0; i < checks.size() && CheckPlaces::first_of(k) + i < sectors; ++i) {
      const std::uint64_t number = CheckPlaces::first_of(k) + i;
      if (places.own(number)) continue;
      if (!read_at(file, number * sector_bytes, sector.data(), sector_bytes)) return false;
      checks[i] = {check_of(sector), check_of(sector)};
    }
    if (!write_at(file, places.table[k], checks.data(), checks.size() * sizeof(SectorCheck))) return false;
  }
  return true;
}

bool uncover(int file, const CheckPlaces& places, std::uint64_t begin, std::uint64_t end) {
  const SectorCheck none;
  for (std::uint64_t i = (begin + sector_bytes - 1) / sector_bytes; i * sector_bytes < end; ++i) {
    const auto place = places.place_of(i);
    SectorCheck found;
    if (!place || !read_at(file, *place, &found, sizeof found) || !found.covered()) continue;
    if (!write_at(file, *place, &none, sizeof none)) return false;
  }
  return true;
}

bool write_journal(const Put& put, const CheckPlaces& places, const Sectors& sectors, bool& fits) {
  fits = sectors.size() <= most_journalled;
  if (!fits) return clear_journal(put, places);
  JournalImage image;
  const auto all = std::make_unique_for_overwrite<Sector[]>(sectors.size());
  for (const auto& [number, sector] : sectors) {
    all[image.count] = sector;
    image.number[image.count++] = number;
  }
  image.crc = crc_of(image, {all.get(), image.count});
  Sector head{};
  std::memcpy(head.data(), &image, sizeof image);
  return put(places.journal + sector_bytes, all.get(), image.count * sector_bytes) &&
         put(places.journal, head.data(), sector_bytes);
}

bool clear_journal(const Put& put, const CheckPlaces& places) {
  const Sector none{};
  return put(places.journal, none.data(), sector_bytes);
}

Sectors read_journal(int file, const CheckPlaces& places) {
  Sector head;
  JournalImage image;
  if (!places.known() || !read_at(file, places.journal, head.data(), sector_bytes)) return {};
  std::memcpy(&image, head.data(), sizeof image);
  if (image.mark != journal_mark || image.count == 0 || image.count > most_journalled) return {};
  std::vector<Sector> all(image.count);
  if (!read_at(file, places.journal + sector_bytes, all.data(), all.size() * sector_bytes)) return {};
  if (crc_of(image, all) != image.crc) return {};
  Sectors sectors;
  for (std::size_t i = 0; i < image.count; ++i) {
    if (!places.own(image.number[i])) sectors.emplace(image.number[i], all[i]);
  }
  return sectors;
}

Sectors unfinished_flush(int file, const CheckPlaces& places) {
  constexpr int tries = 4;  // the writer may be at work
  for (int i = 0; i < tries; ++i) {
    Sectors held = read_journal(file, places);
    const bool unfinished = std::any_of(held.begin(), held.end(), [&](const auto& one) {
      const auto place = places.place_of(one.first);
      SectorCheck check;
      Sector found;
      return place && read_at(file, *place, &check, sizeof check) &&
             read_at(file, one.first * sector_bytes, found.data(), sector_bytes) &&
             check.after != check_of(found);
    });
    if (!unfinished) return {};
    if (read_journal(file, places) == held) return held;
  }
  return {};
}

bool read_superblock(int file, const CheckPlaces& places, Sector& sector) {
  constexpr int tries = 5;  // the writer may be at work
  for (int i = 0; i < tries; ++i) {
    const Sectors held = unfinished_flush(file, places);
    if (const auto first = held.find(0); first != held.end()) {
      sector = first->second;
      return true;
    }
    SectorCheck check;
    const auto place = places.place_of(0);
    if (!read_at(file, 0, sector.data(), sector_bytes) || !place ||
        !read_at(file, *place, &check, sizeof check))
      return false;
    if (!check.covered() || check.fits(check_of(sector))) return true;
  }
  return false;
}

bool complete_from_journal(int file, const CheckPlaces& places) {
  for (const auto& [number, sector] : read_journal(file, places)) {
    const SectorCheck check{check_of(sector), check_of(sector)};
    const auto place = places.place_of(number);
    if (place && !write_at(file, *place, &check, sizeof check)) return false;
    if (!write_at(file, number * sector_bytes, sector.data(), sector_bytes)) return false;
  }
  return true;
}

bool settle(int file, const CheckPlaces& places) {
  const Put put = [file](std::uint64_t place, const void* bytes, std::size_t count) {
    return write_at(file, place, bytes, count);
  };
  if (!clear_journal(put, places)) return false;
  const std::uint64_t sectors = sectors_in(file);
  std::vector<SectorCheck> checks;
  for (std::size_t k = 0; k < places.made() && CheckPlaces::first_of(k) < sectors; ++k) {
    checks.resize(std::min(CheckPlaces::sectors_of(k), sectors - CheckPlaces::first_of(k)));
    if (!read_at(file, places.table[k], checks.data(), checks.size() * sizeof(SectorCheck))) return false;
    bool changed = false;
    for (SectorCheck& check : checks) {
      changed = changed || check.before != check.after;
      check.before = check.after;
    }
    if (changed && !put(places.table[k], checks.data(), checks.size() * sizeof(SectorCheck))) return false;
  }
  return true;
}

std::vector<DamagedSector> damaged_sectors(int file, const CheckPlaces& places) {
  std::vector<DamagedSector> damaged;
  if (!places.known()) return damaged;
  const std::uint64_t sectors = sectors_in(file);
  constexpr std::uint64_t block = 512;  // checks
  std::vector<SectorCheck> checks(block);
  Sector sector;
  for (std::size_t k = 0; k < places.made(); ++k) {
    for (std::uint64_t i = 0; i < CheckPlaces::sectors_of(k); ++i) {
      const std::uint64_t number = CheckPlaces::first_of(k) + i;
      if (number >= sectors) return damaged;
      if (i % block == 0 && !read_at(file, places.table[k] + 8 * i, checks.data(), 8 * block)) return damaged;
      const SectorCheck check = checks[i % block];
      if (!check.covered() || places.own(number)) continue;
      if (!read_at(file, number * sector_bytes, sector.data(), sector_bytes)) continue;
      const std::uint32_t found = check_of(sector);
      if (check.fits(found)) continue;
      std::optional<std::uint64_t> bit = bit_of(found ^ check.after, sector_bytes);
      if (!bit) bit = bit_of(found ^ check.before, sector_bytes);
      damaged.push_back({number, {}});
      if (bit) damaged.back().bit = static_cast<std::uint32_t>(*bit);
    }
  }
  return damaged;
}

bool turn_bit(int file, const DamagedSector& damaged) {
  const std::uint64_t place = damaged.sector * sector_bytes + *damaged.bit / 8;
  unsigned char byte = 0;
  if (!read_at(file, place, &byte, 1)) return false;
  byte = static_cast<unsigned char>(byte ^ (1u << (*damaged.bit % 8)));
  return write_at(file, place, &byte, 1);
}

std::optional<std::uint64_t> bit_of(std::uint32_t syndrome, std::uint64_t bytes) {
  // CRC-32 is linear: from the last bit of the message to the one before it, the change is multiplied by x.
  // In the reflected order of zlib that is a shift to the right; the last bit (highest of the last byte)
  // changes the CRC by the polynomial's own remainder.
  constexpr std::uint32_t polynomial = 0xEDB88320;
  std::uint32_t change = polynomial;
  for (std::uint64_t k = 0; k < 8 * bytes; ++k) {
    if (change == syndrome) return 8 * bytes - 1 - k;
    change = (change >> 1) ^ ((change & 1) != 0 ? polynomial : 0);
  }
  return std::nullopt;
}

std::string bytes_of_sector(std::uint64_t sector) {
  return "bytes " + std::to_string(sector * sector_bytes) + " to " +
         std::to_string((sector + 1) * sector_bytes - 1);
}

}  // namespace ness::hdf5
