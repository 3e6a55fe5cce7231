#include "hdf5_table.hpp"

#include <algorithm>
#include <bit>

#include "crc32.hpp"
#include "ness/device/error.hpp"
#include "sector_checks.hpp"

namespace ness::hdf5 {
namespace {

using Bytes = std::span<const std::byte>;

// Bytes of rows processed together through all columns, so that they stay in the first-level cache.
constexpr std::size_t tile_bytes = 24 * 1024;

// Copies between rows (consecutive in memory) and a column of the file.
template <std::size_t n>
void gather_fixed(std::byte* column, const std::byte* images, std::size_t stride, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    std::memcpy(column + i * n, images + i * stride, n);
  }
}

void gather_column(std::byte* column, const std::byte* images, std::size_t stride, std::size_t n,
                   std::uint64_t count) {
  switch (n) {
    case 1: return gather_fixed<1>(column, images, stride, count);
    case 2: return gather_fixed<2>(column, images, stride, count);
    case 4: return gather_fixed<4>(column, images, stride, count);
    case 8: return gather_fixed<8>(column, images, stride, count);
    default:
      for (std::uint64_t i = 0; i < count; ++i) {
        std::memcpy(column + i * n, images + i * stride, n);
      }
  }
}

void scatter(std::byte* images, const std::byte* column, std::size_t stride, std::size_t n,
             std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    std::memcpy(images + i * stride, column + i * n, n);
  }
}

template <class Word>
bool equal_words(const std::byte* data, std::size_t stride, std::uint64_t count, const std::byte* value) {
  Word expected, differing = 0;
  std::memcpy(&expected, value, sizeof(Word));
  for (std::uint64_t i = 0; i < count; ++i) {
    Word found;
    std::memcpy(&found, data + i * stride, sizeof(Word));
    differing = static_cast<Word>(differing | (found ^ expected));
  }
  return differing == 0;
}

bool is_blank(const Column& column, const std::byte* data, std::size_t stride, std::uint64_t count) {
  if (column.width == 1) {
    switch (column.entry) {
      case 1: return equal_words<std::uint8_t>(data, stride, count, column.blank.data());
      case 2: return equal_words<std::uint16_t>(data, stride, count, column.blank.data());
      case 4: return equal_words<std::uint32_t>(data, stride, count, column.blank.data());
      case 8: return equal_words<std::uint64_t>(data, stride, count, column.blank.data());
    }
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    for (std::uint64_t k = 0; k < column.width; ++k) {
      if (std::memcmp(data + i * stride + k * column.entry, column.blank.data(), column.entry) != 0)
        return false;
    }
  }
  return true;
}

void fill_blank(const Column& column, std::byte* data, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count * column.width; ++i) {
    std::memcpy(data + i * column.entry, column.blank.data(), column.entry);
  }
}

void set_length(Calls& calls, hid_t dataset, const Column& column, std::uint64_t rows) {
  const hsize_t dims[] = {rows, column.width};
  calls(H5Dset_extent(dataset, dims), "size column '" + column.name + "'");
}

// HDF5 makes a column's chunk index at the first write, and refers to it before it is in the file: a kill in
// between makes the column unreadable. So the index is made now, by a row that is removed again, while there
// is nothing to lose.
void make_index(Calls& calls, hid_t dataset, const Column& column) {
  std::vector<std::byte> row(column.bytes());
  set_length(calls, dataset, column, 1);
  calls(H5Dwrite(dataset, column.memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, row.data()),
        "make the index of '" + column.name + "'");
  set_length(calls, dataset, column, 0);
}

void create_column(Calls& calls, hid_t group, const Column& column, std::uint64_t chunk_rows) {
  const int rank = column.matrix ? 2 : 1;
  const hsize_t dims[] = {0, column.width};
  const hsize_t most[] = {H5S_UNLIMITED, column.width};
  const hsize_t chunk[] = {chunk_rows, column.width};
  const std::string doing = "make column '" + column.name + "'";
  const Handle space(calls, H5Screate_simple(rank, dims, most), H5Sclose, doing);
  const Handle list(calls, H5Pcreate(H5P_DATASET_CREATE), H5Pclose, doing);
  calls(H5Pset_obj_track_times(list, false), doing);
  calls(H5Pset_chunk(list, rank, chunk), doing);
  calls(H5Pset_fill_value(list, column.memory, column.blank.data()), doing);
  const Handle dataset(
      calls,
      H5Dcreate2(group, column.name.c_str(), file_type(column.memory), space, H5P_DEFAULT, list, H5P_DEFAULT),
      H5Dclose, doing);
  write_attribute(calls, dataset, "units", column.unit);
  write_attribute(calls, dataset, "long_name", column.meaning);
  make_index(calls, dataset, column);
}

// Without a chunk cache, rows are written directly to their place in the file; with one, each commit would
// write whole chunks.
Handle open_column_to_write(Calls& calls, hid_t group, const std::string& name) {
  const Handle list(calls, H5Pcreate(H5P_DATASET_ACCESS), H5Pclose, "make a property list");
  calls(H5Pset_chunk_cache(list, 1, 0, 1.0), "turn the chunk cache off");
  return {calls, H5Dopen2(group, name.c_str(), list), H5Dclose, "open column '" + name + "'"};
}

void select(Calls& calls, hid_t space, const Column& column, std::uint64_t first, std::uint64_t count) {
  const hsize_t start[] = {first, 0};
  const hsize_t extent[] = {count, column.width};
  calls(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, extent, nullptr),
        "select rows of '" + column.name + "'");
}

Handle memory_space(Calls& calls, const Column& column, std::uint64_t count) {
  const hsize_t extent[] = {count, column.width};
  return {calls, H5Screate_simple(column.matrix ? 2 : 1, extent, nullptr), H5Sclose, "make a dataspace"};
}

void read_rows(Calls& calls, hid_t dataset, const Column& column, std::uint64_t first, std::uint64_t count,
               std::byte* out) {
  const Handle space(calls, H5Dget_space(dataset), H5Sclose, "size '" + column.name + "'");
  select(calls, space, column, first, count);
  const Handle memory = memory_space(calls, column, count);
  calls(H5Dread(dataset, column.memory, memory, space, H5P_DEFAULT, out), "read '" + column.name + "'");
}

void check_column(Calls& calls, hid_t dataset, const Column& column, std::uint64_t rows) {
  const Handle space(calls, H5Dget_space(dataset), H5Sclose, "size '" + column.name + "'");
  hsize_t dims[H5S_MAX_RANK] = {};
  const int rank = calls(H5Sget_simple_extent_dims(space, dims, nullptr), "size '" + column.name + "'");
  if (rank != (column.matrix ? 2 : 1) || (column.matrix && dims[1] != column.width)) {
    calls.fail("use column '" + column.name + "'", "it has another shape than the device implies");
  }
  if (dims[0] < rows) {
    const std::string found =
        std::to_string(dims[0]) + " rows where " + std::to_string(rows) + " are counted";
    calls.fail("use column '" + column.name + "'",
               "it holds " + found + ": the file is damaged, and a repair cannot restore them");
  }
}

// A killed writer may leave chunks beyond the stored length. The column is first extended over them, so that
// they are removed, too.
void clip_column(Calls& calls, hid_t group, const Column& column, std::uint64_t rows) {
  const std::string doing = "clip column '" + column.name + "'";
  const Handle dataset = open_column_to_write(calls, group, column.name);
  const Handle space(calls, H5Dget_space(dataset), H5Sclose, doing);
  hsize_t chunks = 0, offset[2] = {}, bytes = 0;
  calls(H5Dget_num_chunks(dataset, space, &chunks), doing);
  if (chunks > 0) {
    unsigned filters = 0;
    haddr_t address = 0;
    calls(H5Dget_chunk_info(dataset, space, chunks - 1, offset, &filters, &address, &bytes), doing);
    const std::uint64_t end = offset[0] + bytes / column.bytes();
    set_length(calls, dataset, column, std::max(end, length(calls, dataset, column.name)));
  }
  set_length(calls, dataset, column, rows);
}

}  // namespace

void TableShape::finish() {
  std::uint32_t crc = 0;
  scalar("crc32", "1",
         "CRC-32 (zlib) of the row: its bytes in the columns and then in the lists that `covers` names, in "
         "order",
         crc);
  for (const Column& column : columns) {
    offsets.push_back(stride);
    stride += column.bytes();
  }
}

void create_table(Calls& calls, hid_t group, const TableShape& shape, const Chunking& chunking) {
  std::string covers;
  for (const Column& column : shape.columns) {
    create_column(calls, group, column,
                  std::clamp<std::uint64_t>(chunking.bytes / column.bytes(), 64,
                                            std::max<std::uint64_t>(chunking.rows, 64)));
    covers += column.name == "crc32" ? "" : column.name + " ";
  }
  for (const Column& list : shape.lists) {
    create_column(calls, group, list, std::max<std::uint64_t>(chunking.list_entries, 64));
    covers += list.name + " ";
  }
  covers.pop_back();
  write_attribute(calls, open_dataset(calls, group, "crc32"), "covers", covers);
}

std::uint64_t stored_rows(Calls& calls, hid_t group, const TableShape& shape) {
  std::uint64_t most = 0;
  for (const Column& column : shape.columns) {
    most = std::max(most, length(calls, open_dataset(calls, group, column.name), column.name));
  }
  return most;
}

bool clip_table(Calls& calls, hid_t group, const TableShape& shape, std::uint64_t rows) {
  TableReader reader(calls, group, shape, rows, 1);
  const bool intact = rows == 0 || reader.seek(rows - 1) || reader.stands_for_lost();
  for (const Column& column : shape.columns) {
    clip_column(calls, group, column, rows);
  }
  if (intact) {
    for (std::size_t k = 0; k < shape.lists.size(); ++k) {
      clip_column(calls, group, shape.lists[k], reader.list_end(k));
    }
  }
  return intact;
}

void ByteBuffer::grow(std::size_t n) {
  const std::size_t room = std::max<std::size_t>({size_ + n, 2 * room_, 4096});
  auto bytes = std::make_unique_for_overwrite<std::byte[]>(room);
  if (size_ > 0) {
    std::memcpy(bytes.get(), bytes_.get(), size_);
  }
  bytes_ = std::move(bytes);
  room_ = room;
}

std::size_t TableRows::bytes() const {
  std::size_t sum = images.size();
  for (const ByteBuffer& part : parts) {
    sum += part.size();
  }
  return sum;
}

void TableRows::clear() {
  images.clear();
  for (ByteBuffer& part : parts) {
    part.clear();
  }
  count = 0;
  lost.clear();
}

TableWriter::TableWriter(Calls& calls, hid_t group, TableShape shape, std::uint64_t rows)
    : calls_(calls), shape_(std::move(shape)), part_at_(shape_.lists.size()), rows_(rows) {
  if (!clip_table(calls, group, shape_, rows)) {
    calls.fail("continue a table", "the CRC of its last counted row fails");
  }
  for (const Column& column : shape_.columns) {
    columns_.push_back(open_target(group, column));
  }
  for (const Column& list : shape_.lists) {
    lists_.push_back(open_target(group, list));
  }
}

TableWriter::Target TableWriter::open_target(hid_t group, const Column& column) {
  Target target{open_column_to_write(calls_, group, column.name)};
  target.length = length(calls_, target.dataset, column.name);
  target.blank = H5Dget_storage_size(target.dataset) == 0;
  return target;
}

std::vector<std::uint64_t> TableWriter::ends() const {
  std::vector<std::uint64_t> ends;
  for (const Target& list : lists_) {
    ends.push_back(list.length);
  }
  return ends;
}

void TableWriter::subtract_ends(TableRows& rows) const {
  for (std::uint64_t i = 0; i < rows.count; ++i) {
    for (std::size_t k = 0; k < lists_.size(); ++k) {
      std::byte* const place = rows.images.data() + i * shape_.stride + shape_.offsets[shape_.ends[k]];
      std::uint64_t end = 0;
      std::memcpy(&end, place, sizeof(end));
      end -= lists_[k].length;
      std::memcpy(place, &end, sizeof(end));
    }
  }
}

void TableWriter::seal(TableRows& rows, std::uint64_t first, std::uint64_t end) {
  const std::size_t covered = shape_.stride - sizeof(std::uint32_t);
  for (std::uint64_t i = first; i < end; ++i) {
    std::byte* image = rows.images.data() + i * shape_.stride;
    std::uint32_t crc = crc32(Bytes(image, covered));
    for (const std::size_t k : held_) {
      std::uint64_t entries = 0;
      std::memcpy(&entries, image + shape_.offsets[shape_.ends[k]], sizeof(entries));
      const std::size_t part_end = (entries - lists_[k].length) * shape_.lists[k].entry;
      if (part_end > part_at_[k]) {
        crc = crc32(Bytes(rows.parts[k].data() + part_at_[k], part_end - part_at_[k]), crc);
        part_at_[k] = part_end;
      }
    }
    if (std::binary_search(rows.lost.begin(), rows.lost.end(), i)) crc = ~crc;
    std::memcpy(image + covered, &crc, sizeof(crc));
  }
}

void TableWriter::gather(TableRows& rows, std::uint64_t first, std::uint64_t end) {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const Column& column = shape_.columns[i];
    const std::byte* from = rows.images.data() + first * shape_.stride + shape_.offsets[i];
    std::byte* to = gathered_.data() + rows.count * shape_.offsets[i];
    if (columns_[i].blank) {
      if (is_blank(column, from, shape_.stride, end - first)) continue;
      columns_[i].blank = false;
      fill_blank(column, to, first);
    }
    gather_column(to + first * column.bytes(), from, shape_.stride, column.bytes(), end - first);
  }
}

void TableWriter::append(Target& target, const Column& column, const std::byte* data, std::uint64_t count) {
  if (count == 0) {
    return;
  }
  set_length(calls_, target.dataset, column, target.length + count);
  if (!target.blank) {
    const Handle space(calls_, H5Dget_space(target.dataset), H5Sclose, "size '" + column.name + "'");
    select(calls_, space, column, target.length, count);
    const Handle memory = memory_space(calls_, column, count);
    calls_(H5Dwrite(target.dataset, column.memory, memory, space, H5P_DEFAULT, data),
           "write column '" + column.name + "'");
  }
  target.length += count;
}

void TableWriter::write(TableRows& rows) {
  if (rows.count == 0) {
    return;
  }
  held_.clear();
  for (std::size_t k = 0; k < lists_.size(); ++k) {
    if (rows.parts[k].size() > 0) held_.push_back(k);
    part_at_[k] = 0;
  }
  gathered_.clear();
  gathered_.extend(rows.count * shape_.stride);
  const std::uint64_t tile = std::max<std::uint64_t>(tile_bytes / shape_.stride, 1);
  for (std::uint64_t first = 0; first < rows.count; first += tile) {
    const std::uint64_t end = std::min(first + tile, rows.count);
    seal(rows, first, end);
    gather(rows, first, end);
  }
  for (std::size_t k = 0; k < lists_.size(); ++k) {
    const Column& list = shape_.lists[k];
    const std::uint64_t count = rows.parts[k].size() / list.entry;
    lists_[k].blank = lists_[k].blank && is_blank(list, rows.parts[k].data(), list.entry, count);
    append(lists_[k], list, rows.parts[k].data(), count);
  }
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    append(columns_[i], shape_.columns[i], gathered_.data() + rows.count * shape_.offsets[i], rows.count);
  }
  rows_ += rows.count;
  rows.clear();
}

void TableWriter::reserve() {
  if (rows_ > 0) return;
  reserved_ = true;
  for (const auto& [targets, columns] :
       {std::pair{&columns_, &shape_.columns}, std::pair{&lists_, &shape_.lists}}) {
    for (std::size_t i = 0; i < targets->size(); ++i) {
      const Column& column = (*columns)[i];
      std::vector<std::byte> value(column.bytes());
      fill_blank(column, value.data(), 1);
      const hid_t dataset = (*targets)[i].dataset;
      set_length(calls_, dataset, column, 1);
      calls_(H5Dwrite(dataset, column.memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, value.data()),
             "write column '" + column.name + "'");
    }
  }
}

void TableWriter::close() {
  for (const auto& [targets, columns] :
       {std::pair{&columns_, &shape_.columns}, std::pair{&lists_, &shape_.lists}}) {
    for (std::size_t i = 0; reserved_ && i < targets->size(); ++i) {
      if ((*targets)[i].length == 0) set_length(calls_, (*targets)[i].dataset, (*columns)[i], 0);
    }
  }
  for (auto* targets : {&columns_, &lists_}) {
    for (Target& target : *targets) {
      target.dataset.close("close a column");
    }
  }
}

TableReader::TableReader(Calls& calls, hid_t group, TableShape shape, std::uint64_t rows,
                         std::uint64_t largest_block)
    : calls_(calls),
      shape_(std::move(shape)),
      rows_(rows),
      blocks_(shape_.lists.size()),
      parts_(shape_.lists.size()) {
  for (const Column& column : shape_.columns) {
    columns_.push_back(open_dataset(calls_, group, column.name));
    check_column(calls_, columns_.back(), column, rows);
  }
  for (const Column& list : shape_.lists) {
    lists_.push_back(open_dataset(calls_, group, list.name));
    list_length_.push_back(length(calls_, lists_.back(), list.name));
  }
  largest_block_ = std::clamp<std::uint64_t>((std::uint64_t{8} << 20) / shape_.stride, 1, largest_block);
}

std::uint64_t TableReader::list_length(std::string_view list) const {
  for (std::size_t k = 0; k < shape_.lists.size(); ++k) {
    if (shape_.lists[k].name == list) {
      return list_length_[k];
    }
  }
  return 0;
}

void TableReader::forget() { block_rows_ = next_block_ = 0; }

bool TableReader::seek(std::uint64_t index) {
  fits_ = lost_ = false;
  if (index < block_first_ || index >= block_first_ + block_rows_) {
    const bool in_order = index == block_first_ + block_rows_;
    next_block_ =
        std::min<std::uint64_t>(in_order ? std::max<std::uint64_t>(4 * next_block_, 64) : 16, largest_block_);
    if (!load_what_can_be_read(index, std::min(next_block_, rows_ - index))) return false;
  }
  unread_.clear();
  index_ = index;
  row_ = index - block_first_;
  image_ = cursor_ = images_.data() + row_ * shape_.stride;
  list_ = 0;
  if (!find_parts(row_)) return false;
  const std::uint32_t crc = crc_of(image_, parts_);
  fits_ = crc == recorded_crc(image_);
  lost_ = crc == ~recorded_crc(image_);
  return fits_;
}

std::uint32_t TableReader::recorded_crc(const std::byte* image) const {
  std::uint32_t recorded = 0;
  std::memcpy(&recorded, image + shape_.stride - sizeof(recorded), sizeof(recorded));
  return recorded;
}

std::uint32_t TableReader::crc_of(const std::byte* image, std::span<const Bytes> parts) const {
  std::uint32_t crc = crc32(Bytes(image, shape_.stride - sizeof(std::uint32_t)));
  for (const Bytes part : parts) {
    if (!part.empty()) crc = crc32(part, crc);
  }
  return crc;
}

// Where an index or a part of the file is lost, other rows are not.
bool TableReader::load_what_can_be_read(std::uint64_t index, std::uint64_t count) {
  for (; true; count = 1) {
    try {
      load(index, count);
      return true;
    } catch (const LogError& error) {
      unread_ = error.what();
      if (count == 1) return false;
      next_block_ = 0;
    }
  }
}

void TableReader::copy_row(TableRows& rows, std::vector<std::uint64_t>& ends) {
  const bool lost = !unread_.empty() || !fits_;
  rows.parts.resize(shape_.lists.size());
  std::byte* const image = rows.images.extend(shape_.stride);
  if (lost) {
    rows.lost.push_back(rows.count);
    for (std::size_t i = 0; i < shape_.columns.size(); ++i)
      fill_blank(shape_.columns[i], image + shape_.offsets[i], 1);
  } else {
    std::memcpy(image, image_, shape_.stride);
  }
  for (std::size_t k = 0; k < parts_.size(); ++k) {
    if (!lost && !parts_[k].empty()) {
      std::memcpy(rows.parts[k].extend(parts_[k].size()), parts_[k].data(), parts_[k].size());
      ends[k] += parts_[k].size() / shape_.lists[k].entry;
    }
    std::memcpy(image + shape_.offsets[shape_.ends[k]], &ends[k], sizeof(ends[k]));
  }
  ++rows.count;
}

TableReader::Mended TableReader::value_at(std::size_t column, const std::byte* image) const {
  const std::byte* const from = image + shape_.offsets[column];
  return {&shape_.columns[column], false, index_, {from, from + shape_.columns[column].bytes()}};
}

// `bit` of the bytes that the CRC covers, in their order.
std::optional<TableReader::Mended> TableReader::mended_by_bit(std::uint64_t bit) {
  std::uint64_t byte = bit / 8;
  const auto turned = static_cast<std::byte>(1u << (bit % 8));
  if (const std::uint64_t covered = shape_.stride - sizeof(std::uint32_t); byte < covered) {
    std::vector<std::byte> image(image_, image_ + shape_.stride);
    image[byte] ^= turned;
    const auto after = std::upper_bound(shape_.offsets.begin(), shape_.offsets.end(), byte);
    const auto column = static_cast<std::size_t>(after - shape_.offsets.begin()) - 1;
    // With another end the CRC would be of other bytes.
    if (std::find(shape_.ends.begin(), shape_.ends.end(), column) != shape_.ends.end()) return std::nullopt;
    return value_at(column, image.data());
  } else {
    byte -= covered;
  }
  for (std::size_t k = 0; k < parts_.size(); ++k) {
    if (byte >= parts_[k].size()) {
      byte -= parts_[k].size();
      continue;
    }
    const std::size_t entry = shape_.lists[k].entry;
    const std::byte* const from = parts_[k].data() + byte / entry * entry;
    const std::uint64_t begin = row_ == 0 ? blocks_[k].first_begin : end_of(k, row_ - 1);
    Mended mended{&shape_.lists[k], true, begin + byte / entry, {from, from + entry}};
    mended.value[byte % entry] ^= turned;
    return mended;
  }
  return std::nullopt;
}

// The row's part of one list ends elsewhere, by one bit.
std::optional<TableReader::Mended> TableReader::mended_by_end() {
  constexpr std::uint64_t most = std::uint64_t{1} << 26;  // bytes of a part
  std::optional<Mended> found;
  const std::vector<std::byte> image(image_, image_ + shape_.stride);
  for (std::size_t k = 0; k < shape_.lists.size(); ++k) {
    const std::uint64_t begin = row_ == 0 ? blocks_[k].first_begin : end_of(k, row_ - 1);
    for (int bit = 0; bit < 64; ++bit) {
      const std::uint64_t end = end_of(k, row_) ^ (std::uint64_t{1} << bit);
      const std::size_t entry = shape_.lists[k].entry;
      if (begin > end || end > list_length_[k] || (end - begin) * entry > most) continue;
      std::vector<std::byte> changed = image, part((end - begin) * entry);
      std::memcpy(changed.data() + shape_.offsets[shape_.ends[k]], &end, sizeof(end));
      if (!part.empty()) read_rows(calls_, lists_[k], shape_.lists[k], begin, end - begin, part.data());
      std::vector<Bytes> parts = parts_;
      parts[k] = part;
      if (crc_of(changed.data(), parts) != recorded_crc(image_)) continue;
      if (found) return std::nullopt;
      found = value_at(shape_.ends[k], changed.data());
    }
  }
  return found;
}

std::optional<TableReader::Mended> TableReader::mended() {
  if (fits_ || lost_ || !unread_.empty()) return std::nullopt;
  const Turn turn;
  try {
    if (find_parts(row_)) {
      const std::uint32_t syndrome = crc_of(image_, parts_) ^ recorded_crc(image_);
      std::uint64_t bytes = shape_.stride - sizeof(std::uint32_t);
      for (const Bytes part : parts_) bytes += part.size();
      if (std::has_single_bit(syndrome)) {
        std::vector<std::byte> image(image_, image_ + shape_.stride);
        const std::uint32_t right = crc_of(image_, parts_);
        std::memcpy(image.data() + shape_.stride - sizeof(right), &right, sizeof(right));
        return value_at(shape_.columns.size() - 1, image.data());
      }
      // Up to this length two wrong bits are never taken for one (distance 4).
      constexpr std::uint64_t certain = 11000;
      if (const auto bit = bytes <= certain ? bit_of(syndrome, bytes) : std::nullopt; bit) {
        if (auto by_bit = mended_by_bit(*bit)) return by_bit;
      }
    }
    return mended_by_end();
  } catch (const LogError&) {
    return std::nullopt;
  }
}

void write_value(Calls& calls, hid_t group, const TableReader::Mended& mended) {
  const Column& column = *mended.column;
  const Handle dataset = open_column_to_write(calls, group, column.name);
  const Handle space(calls, H5Dget_space(dataset), H5Sclose, "size '" + column.name + "'");
  select(calls, space, column, mended.place, 1);
  const Handle memory = memory_space(calls, column, 1);
  calls(H5Dwrite(dataset, column.memory, memory, space, H5P_DEFAULT, mended.value.data()),
        "write column '" + column.name + "'");
}

void TableReader::load(std::uint64_t first, std::uint64_t count) {
  const Turn turn;
  block_rows_ = 0;  // nothing is loaded if reading fails
  images_.resize(count * shape_.stride);
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const std::size_t bytes = shape_.columns[i].bytes();
    column_.resize(count * bytes);
    read_rows(calls_, columns_[i], shape_.columns[i], first, count, column_.data());
    scatter(images_.data() + shape_.offsets[i], column_.data(), shape_.stride, bytes, count);
  }
  for (std::size_t k = 0; k < lists_.size(); ++k) {
    load_list(k, first, count);
  }
  block_first_ = first;
  block_rows_ = count;
}

std::uint64_t TableReader::end_of(std::size_t list, std::uint64_t row_in_block) const {
  std::uint64_t end = 0;
  std::memcpy(&end, images_.data() + row_in_block * shape_.stride + shape_.offsets[shape_.ends[list]],
              sizeof(end));
  return end;
}

// Ends may be damaged: only entries within the list are read, and find_parts() refuses the rest.
void TableReader::load_list(std::size_t list, std::uint64_t first, std::uint64_t count) {
  Block& block = blocks_[list];
  block = {};
  const std::uint64_t length = list_length_[list];
  if (first > 0) {
    const std::size_t end = shape_.ends[list];
    read_rows(calls_, columns_[end], shape_.columns[end], first - 1, 1,
              reinterpret_cast<std::byte*>(&block.first_begin));
  }
  block.begin = length;
  std::uint64_t begin = block.first_begin;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t end = end_of(list, i);
    if (begin < end && end <= length) {
      block.begin = std::min(block.begin, begin);
      block.end = std::max(block.end, end);
    }
    begin = end;
  }
  if (block.begin < block.end) {
    block.bytes.resize((block.end - block.begin) * shape_.lists[list].entry);
    read_rows(calls_, lists_[list], shape_.lists[list], block.begin, block.end - block.begin,
              block.bytes.data());
  }
}

std::uint64_t TableReader::list_end(std::size_t list) const {
  return block_rows_ == 0 ? 0 : end_of(list, block_rows_ - 1);
}

bool TableReader::find_parts(std::uint64_t row_in_block) {
  bool all = true;
  for (std::size_t k = 0; k < parts_.size(); ++k) {
    const Block& block = blocks_[k];
    const std::uint64_t begin = row_in_block == 0 ? block.first_begin : end_of(k, row_in_block - 1);
    const std::uint64_t end = end_of(k, row_in_block);
    parts_[k] = {};
    if (begin > end || end > list_length_[k]) {
      all = false;
      continue;
    }
    const std::size_t entry = shape_.lists[k].entry;
    if (begin < end)
      parts_[k] = Bytes(block.bytes).subspan((begin - block.begin) * entry, (end - begin) * entry);
  }
  return all;
}

}  // namespace ness::hdf5
