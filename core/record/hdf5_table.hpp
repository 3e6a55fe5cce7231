// A table: columns of equal length in one group, to which rows are appended, each with a CRC.
//
// A row is described once, by a function that passes its fields in order to an archive: a TableShape collects
// the columns, a TableEncoder encodes, a TableReader decodes. Archives have
//   scalar(name, unit, meaning, value, blank)   one number per row
//   row(name, unit, meaning, values, width)     `width` doubles per row
//   list(name, unit, meaning, values)           any number of values per row: one flat dataset `name`, and a
//                                               column `name`_end with the end of each row's part (which
//                                               begins at the end of the row before)
// The column crc32 covers the row's bytes as stored in the file: the columns in order, then the row's parts
// of the lists in order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "hdf5.hpp"
#include "ness/device/vector.hpp"

namespace ness::hdf5 {

struct Column {
  std::string name;
  hid_t memory = -1;
  std::size_t entry = 0;    ///< bytes of one value
  std::uint64_t width = 1;  ///< values per row
  bool matrix = false;
  std::string unit, meaning;
  /// Value that takes no space as long as all rows have it.
  std::array<std::byte, 8> blank{};

  std::size_t bytes() const { return entry * width; }
};

/// The archive that collects the columns.
class TableShape {
 public:
  template <class T>
  void scalar(const char* name, std::string_view unit, const char* meaning, T&, T blank = T{}) {
    columns.push_back({name, memory_type<T>(), sizeof(T), 1, false, std::string(unit), meaning, {}});
    std::memcpy(columns.back().blank.data(), &blank, sizeof(T));
  }
  void row(const char* name, std::string_view unit, const char* meaning, Vector&, std::uint64_t width) {
    if (width > 0) {
      columns.push_back(
          {name, memory_type<double>(), sizeof(double), width, true, std::string(unit), meaning, {}});
    }
  }
  template <class Values>
  void list(const char* name, std::string_view unit, const char* meaning, Values& values) {
    using T = std::remove_cvref_t<decltype(values[0])>;
    using Stored = std::conditional_t<std::is_same_v<T, char>, std::uint8_t, T>;
    lists.push_back({name, memory_type<Stored>(), sizeof(Stored), 1, false, std::string(unit), meaning, {}});
    columns.push_back({std::string(name) + "_end",
                       memory_type<std::uint64_t>(),
                       sizeof(std::uint64_t),
                       1,
                       false,
                       "1",
                       "end of each row's part of " + std::string(name),
                       {}});
    ends.push_back(columns.size() - 1);
  }
  /// Adds the column of CRCs; call it after the last field.
  void finish();

  std::vector<Column> columns;
  std::vector<Column> lists;
  std::vector<std::size_t> ends;     ///< for each list its column of ends
  std::vector<std::size_t> offsets;  ///< position of each column in a row's bytes
  std::size_t stride = 0;            ///< bytes of a row, without its lists
};

/// Chunk sizes: about `bytes`, at least 64 rows, at most `rows`; for lists `list_entries`.
struct Chunking {
  std::uint64_t bytes = 256 * 1024, rows = 8192, list_entries = 8192;
};

/// Makes the datasets of an empty table in `group`.
void create_table(Calls& calls, hid_t group, const TableShape& shape, const Chunking& chunking);

/// The length of the longest column of the table.
std::uint64_t stored_rows(Calls& calls, hid_t group, const TableShape& shape);

/// Clips the table to its first `rows` rows. Throws LogError if a column is shorter. False if the CRC of the
/// last row fails, and it does not stand for a lost one: the ends of its lists are then unknown, and the
/// lists are not clipped.
bool clip_table(Calls& calls, hid_t group, const TableShape& shape, std::uint64_t rows);

/// Growing buffer of bytes. Memory is neither cleared when it grows nor freed when the buffer is emptied.
class ByteBuffer {
 public:
  /// Appends `n` bytes, not initialised, and returns their address.
  std::byte* extend(std::size_t n) {
    if (n > room_ - size_) grow(n);
    size_ += n;
    return bytes_.get() + (size_ - n);
  }
  std::byte* data() { return bytes_.get(); }
  std::size_t size() const { return size_; }
  void clear() { size_ = 0; }

 private:
  void grow(std::size_t n);
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_ = 0, room_ = 0;
};

/// Rows that are encoded but not yet written. A writer, perhaps on another thread, takes them from an
/// encoder.
struct TableRows {
  ByteBuffer images;              ///< consecutive rows; the place of the CRC is not filled yet
  std::vector<ByteBuffer> parts;  ///< [lists] the rows' parts of them
  std::uint64_t count = 0;
  std::vector<std::uint64_t> lost;  ///< rows, ascending, that stand for lost ones: their CRC will be wrong

  std::size_t bytes() const;
  void clear();
};

/// The archive that encodes. Makes no HDF5 call.
class TableEncoder {
 public:
  /// `ends`: [lists] entries before the first row.
  TableEncoder(const TableShape& shape, std::vector<std::uint64_t> ends)
      : stride_(shape.stride), ends_(std::move(ends)) {}

  /// Begins and ends a row, which is added to `rows`.
  void begin_row(TableRows& rows) {
    rows.parts.resize(ends_.size());
    rows_ = &rows;
    at_ = rows.images.extend(stride_);
    list_ = 0;
  }
  void end_row() { ++rows_->count; }

  template <class T>
  void scalar(const char*, std::string_view, const char*, const T& value, std::type_identity_t<T> = T{}) {
    put(&value, sizeof(T));
  }
  template <class Values>
  void row(const char*, std::string_view, const char*, const Values& values, std::uint64_t width) {
    if (width > 0) put(values.data(), width * sizeof(double));
  }
  template <class Values>
  void list(const char*, std::string_view, const char*, const Values& values) {
    if (const auto entries = static_cast<std::uint64_t>(values.size()); entries > 0) {
      const std::size_t bytes = entries * sizeof(values[0]);
      std::memcpy(rows_->parts[list_].extend(bytes), values.data(), bytes);
      ends_[list_] += entries;
    }
    put(&ends_[list_++], sizeof(std::uint64_t));
  }

 private:
  void put(const void* bytes, std::size_t n) {
    std::memcpy(at_, bytes, n);
    at_ += n;
  }
  std::size_t stride_;
  std::vector<std::uint64_t> ends_;  // [lists] entries so far
  TableRows* rows_ = nullptr;
  std::byte* at_ = nullptr;
  std::size_t list_ = 0;
};

/// Appends encoded rows to a table.
class TableWriter {
 public:
  /// Opens the table and clips it to its first `rows` rows. Throws LogError if that fails, or if the last row
  /// is damaged.
  TableWriter(Calls& calls, hid_t group, TableShape shape, std::uint64_t rows);

  const TableShape& shape() const { return shape_; }
  std::uint64_t rows() const { return rows_; }
  /// [lists] entries so far.
  std::vector<std::uint64_t> ends() const;
  /// Gives an empty table its first chunks, so that they lie before what is written next.
  void reserve();
  /// The lists' ends in `rows` count from here on: for rows that go to an empty table.
  void subtract_ends(TableRows& rows) const;
  /// Computes the CRC of each row, extends the columns and writes. Rows are valid only once they are counted
  /// in /committed.
  void write(TableRows& rows);
  /// Closes the datasets; what was reserved and not used is given back.
  void close();

 private:
  struct Target {
    Handle dataset;
    bool blank = true;         // only blank values so far: nothing is written
    std::uint64_t length = 0;  // rows, or entries of a list
  };
  Target open_target(hid_t group, const Column& column);
  void seal(TableRows& rows, std::uint64_t first, std::uint64_t end);
  void gather(TableRows& rows, std::uint64_t first, std::uint64_t end);
  void append(Target& target, const Column& column, const std::byte* data, std::uint64_t count);

  Calls& calls_;
  TableShape shape_;
  std::vector<Target> columns_, lists_;
  ByteBuffer gathered_;  // scratch: the rows, ordered by columns
  // Scratch: position of each list in its part; lists that are not empty.
  std::vector<std::size_t> part_at_, held_;
  std::uint64_t rows_ = 0;
  bool reserved_ = false;
};

/// The archive that reads. Rows are read in blocks, which grow while they are read in order.
class TableReader {
 public:
  /// The first `rows` rows of the table. Throws LogError if a column is shorter.
  TableReader(Calls& calls, hid_t group, TableShape shape, std::uint64_t rows, std::uint64_t largest_block);

  std::uint64_t rows() const { return rows_; }
  /// Entries of the list in all rows of the file.
  std::uint64_t list_length(std::string_view list) const;
  /// End of a list after the last row loaded; 0 if none was loaded.
  std::uint64_t list_end(std::size_t list) const;
  /// Goes to a row (below rows()). False if its CRC fails, or it cannot be read: then its fields must not be
  /// read.
  bool seek(std::uint64_t index);
  /// Reads anew at the next seek().
  void forget();
  /// Why the row of the last seek() cannot be read; empty: it can, or its CRC fails.
  const std::string& unread() const { return unread_; }
  /// True if the row of the last seek() stands for a lost one (copy_row): its bookkeeping is right.
  bool stands_for_lost() const { return lost_; }
  /// Appends the row of the last seek() to `rows`, as it is stored; if that was false, a blank one for a lost
  /// row. `ends`: [lists] entries before it in the table that it goes to; moved on.
  void copy_row(TableRows& rows, std::vector<std::uint64_t>& ends);
  /// Of the row of the last seek(), whose CRC failed: the value that has one wrong bit, put right.
  struct Mended {
    const Column* column = nullptr;
    bool of_list = false;
    std::uint64_t place = 0;       ///< row of the column, or entry of the list
    std::vector<std::byte> value;  ///< [column bytes]
  };
  /// Nothing where more than one bit is wrong, or which one is not certain.
  std::optional<Mended> mended();

  template <class T>
  void scalar(const char*, std::string_view, const char*, T& value, T = T{}) {
    take(&value, sizeof(T));
  }
  void row(const char*, std::string_view, const char*, Vector& values, std::uint64_t width) {
    values.resize(static_cast<Eigen::Index>(width));
    take(values.data(), width * sizeof(double));
  }
  template <class Values>
  void list(const char*, std::string_view, const char*, Values& values) {
    const std::span<const std::byte> part = take_list();
    values.resize(part.size() / sizeof(values[0]));
    if (!part.empty()) {
      std::memcpy(values.data(), part.data(), part.size());
    }
  }

 private:
  void take(void* bytes, std::size_t n) {
    if (n > 0) {
      std::memcpy(bytes, cursor_, n);
      cursor_ += n;
    }
  }
  std::span<const std::byte> take_list() {
    cursor_ += sizeof(std::uint64_t);
    return parts_[list_++];
  }
  bool load_what_can_be_read(std::uint64_t index, std::uint64_t count);
  void load(std::uint64_t first, std::uint64_t count);
  void load_list(std::size_t list, std::uint64_t first, std::uint64_t count);
  bool find_parts(std::uint64_t row_in_block);
  Mended value_at(std::size_t column, const std::byte* image) const;
  std::optional<Mended> mended_by_bit(std::uint64_t bit);
  std::optional<Mended> mended_by_end();
  std::uint32_t recorded_crc(const std::byte* image) const;
  std::uint32_t crc_of(const std::byte* image, std::span<const std::span<const std::byte>> parts) const;
  std::uint64_t end_of(std::size_t list, std::uint64_t row_in_block) const;

  struct Block {  // of one list: its entries from `begin`
    std::uint64_t first_begin = 0, begin = 0, end = 0;
    std::vector<std::byte> bytes;
  };
  Calls& calls_;
  TableShape shape_;
  std::vector<Handle> columns_, lists_;
  std::vector<std::uint64_t> list_length_;
  std::uint64_t rows_, largest_block_;
  std::uint64_t block_first_ = 0, block_rows_ = 0, next_block_ = 0;
  std::vector<std::byte> images_, column_;
  std::vector<Block> blocks_;
  std::vector<std::span<const std::byte>> parts_;  // of the present row
  const std::byte* image_ = nullptr;               // the present row's, in images_
  const std::byte* cursor_ = nullptr;
  std::size_t list_ = 0;
  std::uint64_t index_ = 0;  // the present row,
  std::uint64_t row_ = 0;    // in the block
  bool fits_ = false;        // its CRC
  bool lost_ = false;        // its CRC is that of a lost row
  std::string unread_;
};

/// Writes a mended value to its place in a table of a file that is open for writing.
void write_value(Calls& calls, hid_t group, const TableReader::Mended& mended);

}  // namespace ness::hdf5
