// Checks of the parts of a log that HDF5 does not check itself, and that it trusts: its own bookkeeping, and
// the header.
//
// The file is seen as sectors of 4096 bytes. A sector is *covered* once bookkeeping or header were written to
// it: its CRC-32 is then in a table in the file. Rows are not covered, they have CRCs of their own.
//   /checks/header      where the tables and the journal are, twice in one sector; found by its first bytes
//   /checks/table<k>    [sectors, 2] CRC-32 of each sector, before and after the write that was the last one;
//                       0, 0: not covered. Table 0 is of the first 16 MiB; table k of as much as all before
//   /checks/journal     the sectors of one flush, before they are written to their places
// A flush writes its sectors to the journal, then their checks, then the sectors to their places. So a
// process that dies leaves a file that the journal completes, and each sector has one of its two checks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ness::hdf5 {

constexpr std::uint64_t sector_bytes = 4096;
using Sector = std::array<std::byte, sector_bytes>;

struct SectorCheck {
  std::uint32_t before = 0, after = 0;
  bool covered() const { return before != 0 || after != 0; }
  bool fits(std::uint32_t check) const { return check == before || check == after; }
};
/// CRC-32 (zlib) of a sector; 1 where that is 0.
std::uint32_t check_of(const Sector& sector);

/// Where the tables and the journal are in a file. All positions are multiples of the sector's size.
struct CheckPlaces {
  static constexpr std::size_t tables = 16;
  static constexpr std::uint64_t first_sectors = 4096;   ///< of table 0
  static constexpr std::uint64_t journal_sectors = 512;  ///< its header included
  std::uint64_t header = 0;                              ///< position; 0: the file has no checks
  std::uint64_t journal = 0;                             ///< position
  std::array<std::uint64_t, tables> table{};             ///< positions; 0: not made yet

  bool known() const { return header != 0; }
  static std::uint64_t sectors_of(std::size_t k) { return k == 0 ? first_sectors : first_sectors << (k - 1); }
  static std::uint64_t first_of(std::size_t k) { return k == 0 ? 0 : first_sectors << (k - 1); }
  /// Tables that are made, from the first on.
  std::size_t made() const;
  /// Bytes of the file, from its beginning, whose sectors have a place in a table.
  std::uint64_t reach() const;
  /// Position of a sector's check; nothing beyond the reach.
  std::optional<std::uint64_t> place_of(std::uint64_t sector) const;
  /// True for sectors of the tables, the journal and their header, which are never covered.
  bool own(std::uint64_t sector) const;
};

/// Reads and writes whole ranges; false, with errno, where that fails. What lies beyond the end reads as 0.
bool read_at(int file, std::uint64_t place, void* bytes, std::size_t count);
bool write_at(int file, std::uint64_t place, const void* bytes, std::size_t count);

/// The places, from the file; not known where it has no checks.
CheckPlaces find_checks(int file);

using Sectors = std::map<std::uint64_t, Sector>;  // by number
/// Writes a range of the file; false, with errno, where that fails.
using Put = std::function<bool(std::uint64_t place, const void* bytes, std::size_t count)>;
bool write_places(const Put& put, const CheckPlaces& places);
/// Makes the tables of a file that is complete: covers all its sectors.
bool cover_all(int file, const CheckPlaces& places);
/// Writes these sectors to the journal, where they fit in; else the journal holds nothing. `fits` reports it.
bool write_journal(const Put& put, const CheckPlaces& places, const Sectors& sectors, bool& fits);
/// The journal holds nothing from now on.
bool clear_journal(const Put& put, const CheckPlaces& places);
/// What the journal holds.
Sectors read_journal(int file, const CheckPlaces& places);
/// The same, where some of it has not been written to its place: a writer died between, or is there now.
/// Empty: everything is in its place.
Sectors unfinished_flush(int file, const CheckPlaces& places);
/// The file's first sector, as it is after the last flush; false if it is damaged.
bool read_superblock(int file, const CheckPlaces& places, Sector& sector);
/// The sectors from position `begin` to `end` are covered no more: the file has been cut there.
bool uncover(int file, const CheckPlaces& places, std::uint64_t begin, std::uint64_t end);
/// Writes what the journal holds to its places, with the checks.
bool complete_from_journal(int file, const CheckPlaces& places);

/// Ends the writing of a file: the journal holds nothing, and each sector has one check alone. False, with
/// errno, if a call fails.
bool settle(int file, const CheckPlaces& places);

/// A sector that has neither of its two checks.
struct DamagedSector {
  std::uint64_t sector = 0;
  /// The bit that is wrong, counted from the sector's first byte, lowest bit first; nothing where it is more
  /// than one. CRC-32 has distance 4 at this length: two or three wrong bits are never taken for one.
  std::optional<std::uint32_t> bit;
};
/// All sectors of the file that are covered and damaged, in order.
std::vector<DamagedSector> damaged_sectors(int file, const CheckPlaces& places);
/// Turns that bit.
bool turn_bit(int file, const DamagedSector& damaged);
/// The bit whose turning changes the CRC-32 of `bytes` bytes by `syndrome` (exclusive or), counted as above.
std::optional<std::uint64_t> bit_of(std::uint32_t syndrome, std::uint64_t bytes);
/// "bytes 4096 to 8191".
std::string bytes_of_sector(std::uint64_t sector);

}  // namespace ness::hdf5
