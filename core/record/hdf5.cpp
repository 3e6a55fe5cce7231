#include "hdf5.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "hdf5_read_driver.hpp"
#include "hdf5_write_driver.hpp"
#include "ness/device/error.hpp"

namespace ness::hdf5 {
namespace {

// Never destroyed, because static objects destroyed later may still close a log.
std::recursive_mutex& turns() {
  static auto* mutex = new std::recursive_mutex;
  return *mutex;
}

herr_t take_innermost(unsigned n, const H5E_error2_t* error, void* text) {
  if (n == 0 && error->desc != nullptr) {
    *static_cast<std::string*>(text) = error->desc;
  }
  return 0;
}

// A thread-safe HDF5 has an error handler and an error stack for each thread, and does not free the texts on
// the stack when a thread ends. The destructor takes the lock, so never wait for the end of another thread
// while holding a Turn.
struct ErrorStack {
  ErrorStack() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }
  ~ErrorStack() {
    const std::lock_guard turn(turns());
    H5Eclear2(H5E_DEFAULT);
  }
  ErrorStack(const ErrorStack&) = delete;
  ErrorStack& operator=(const ErrorStack&) = delete;
};

// The driver's message contains a date, a pointer and a line feed; only the system's reason is used.
std::string innermost_reason() {
  std::string text = "unknown reason";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, &take_innermost, &text);
  constexpr std::string_view key = "error message = '";
  if (const std::size_t begin = text.find(key); begin != std::string::npos) {
    const std::size_t from = begin + key.size();
    return text.substr(from, text.find('\'', from) - from);
  }
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// A text of ASCII is tagged as that, and only another one as UTF-8. Octave 7 reads texts into the type
// H5T_C_S1 (libinterp/octave-value/ov-str-mat.cc, octave_char_matrix_str::load_hdf5), which is ASCII; HDF5
// converts nothing from UTF-8 to that, and where one item cannot be read Octave drops the group it is in.
Handle text_type(Calls& calls, std::size_t size, bool ascii) {
  Handle type(calls, H5Tcopy(H5T_C_S1), H5Tclose, "make a text type");
  calls(H5Tset_size(type, std::max<std::size_t>(size, 1)), "size a text type");
  calls(H5Tset_cset(type, ascii ? H5T_CSET_ASCII : H5T_CSET_UTF8), "encode a text type");
  calls(H5Tset_strpad(type, H5T_STR_NULLPAD), "pad a text type");
  return type;
}

Handle space_of(Calls& calls, std::span<const hsize_t> dims) {
  return {calls,
          dims.empty() ? H5Screate(H5S_SCALAR)
                       : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
          H5Sclose, "make a dataspace"};
}

// As much of the text as fits, with every character that is not of ASCII as its code: \u00b5.
std::string escaped(std::string_view text, std::size_t room) {
  std::string plain;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    char one[16] = {static_cast<char>(lead)};
    if (lead >= 0x80) {
      unsigned code = lead >= 0xF0 ? lead & 0x07u : lead >= 0xE0 ? lead & 0x0Fu : lead & 0x1Fu;
      for (; i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80; ++i)
        code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
      std::snprintf(one, sizeof one, "\\u%04x", code);
    }
    if (plain.size() + std::strlen(one) > room) break;
    plain += one;
  }
  return plain;
}

// Object times would make equal runs differ, and would be written again at every write.
Handle timeless(Calls& calls) {
  Handle list(calls, H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make a property list");
  calls(H5Pset_obj_track_times(list, false), "leave out object times");
  return list;
}

Handle create_dataset(Calls& calls, hid_t parent, const std::string& name, hid_t type,
                      std::span<const hsize_t> dims) {
  const Handle space = space_of(calls, dims);
  const Handle list = timeless(calls);
  return {calls, H5Dcreate2(parent, name.c_str(), type, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose,
          "make '" + name + "'"};
}

std::string without_padding(std::string text) {
  text.erase(text.find_last_not_of('\0') + 1);
  return text;
}

// At most `room` bytes, without splitting a UTF-8 character.
std::string_view cut(std::string_view text, std::size_t room) {
  if (text.size() <= room) {
    return text;
  }
  while (room > 0 && (static_cast<unsigned char>(text[room]) & 0xC0) == 0x80) {
    --room;
  }
  return text.substr(0, room);
}

// HDF5's own lock would prevent reading a log while it is written.
Handle access_list(Calls& calls) {
  Handle list(calls, H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make a property list");
  calls(H5Pset_file_locking(list, false, true), "turn HDF5's lock off");
  return list;
}

// A kill can split a write at a page boundary. Anything that is rewritten in place and read as a whole must
// therefore be within one page: each node of a chunk index (at most 4056 bytes, see create_file) starts a
// page.
Handle writing_list(Calls& calls) {
  Handle list = access_list(calls);
  calls(H5Pset_alignment(list, 2048, 4096), "align objects");
  // Small parts of one kind are kept together in a page of their own: no page holds rows and bookkeeping.
  calls(H5Pset_meta_block_size(list, 4096), "size blocks of bookkeeping");
  calls(H5Pset_small_data_block_size(list, 4096), "size blocks of small data");
  return list;
}

}  // namespace

Turn::Turn() : held_(turns()) {
  // After the disk was full, a log must not be touched again, not even when the process exits.
  static const bool stays = H5dont_atexit() >= 0;
  thread_local const ErrorStack errors;
  static_cast<void>(stays);
  static_cast<void>(errors);
}

std::string Calls::complaint(std::string_view reason) const {
  return std::string(use_ == Use::reading ? "cannot read " : "cannot write ") + what_ + " '" + path_ +
         "': " + std::string(reason);
}

std::string repair_advice(const std::string& path) {
  return "; `ness inspect --repair " + path + "` mends what can be mended, and reports";
}

void Calls::fail(std::string_view doing, const std::string& reason) {
  failed_ = true;
  throw LogError(complaint("failed to " + std::string(doing) + ": " + reason));
}

void Calls::fail(std::string_view doing) {
  const std::string reason = innermost_reason();
  const bool damaged = reason.ends_with("their CRC fails");
  fail(doing, damaged ? reason + repair_advice(path_) : reason);
}

hid_t file_type(hid_t memory) {
  const std::pair<hid_t, hid_t> types[] = {
      {H5T_NATIVE_DOUBLE, H5T_IEEE_F64LE}, {H5T_NATIVE_UINT64, H5T_STD_U64LE},
      {H5T_NATIVE_INT64, H5T_STD_I64LE},   {H5T_NATIVE_UINT32, H5T_STD_U32LE},
      {H5T_NATIVE_UINT16, H5T_STD_U16LE},  {H5T_NATIVE_UINT8, H5T_STD_U8LE}};
  for (const auto& [native, stored] : types) {
    if (native == memory) {
      return stored;
    }
  }
  throw std::invalid_argument("no file type for HDF5 type " + std::to_string(memory));
}

Handle create_file(Calls& calls, const std::string& path) {
  const Handle list = writing_list(calls);
  // While the chunk index of a column grows by a node, a kill at the wrong moment would cut off counted rows.
  // Nodes of 100 chunks, the most that fit in a page, instead of 64 make this rare: for a column of numbers
  // it first occurs after 800,000 rows.
  const Handle creation(calls, H5Pcreate(H5P_FILE_CREATE), H5Pclose, "make a property list");
  calls(H5Pset_istore_k(creation, 50), "size the chunk index");
  return {calls, H5Fcreate(path.c_str(), H5F_ACC_EXCL, creation, list), H5Fclose, "make the file"};
}

Handle open_to_write(Calls& calls) {
  const Handle list = writing_list(calls);
  calls(H5Pset_driver(list, calls(write_driver(), "register a driver"), nullptr), "choose a driver");
  return {calls, H5Fopen(calls.path().c_str(), H5F_ACC_RDWR, list), H5Fclose, "open the file"};
}

Handle open_to_read(Calls& calls) {
  const Handle list = access_list(calls);
  calls(H5Pset_driver(list, calls(read_driver(), "register a driver"), nullptr), "choose a driver");
  return {calls, H5Fopen(calls.path().c_str(), H5F_ACC_RDONLY, list), H5Fclose, "open the file"};
}

Handle create_group(Calls& calls, hid_t parent, const std::string& name, const std::string& nx_class) {
  Handle group(calls, H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose,
               "make group '" + name + "'");
  write_attribute(calls, group, "NX_class", nx_class);
  return group;
}

Handle open_group(Calls& calls, hid_t parent, const std::string& name) {
  return {calls, H5Gopen2(parent, name.c_str(), H5P_DEFAULT), H5Gclose, "open group '" + name + "'"};
}

Handle open_dataset(Calls& calls, hid_t parent, const std::string& name) {
  return {calls, H5Dopen2(parent, name.c_str(), H5P_DEFAULT), H5Dclose, "open '" + name + "'"};
}

bool exists(Calls& calls, hid_t parent, const std::string& name) {
  return calls(H5Lexists(parent, name.c_str(), H5P_DEFAULT), "look for '" + name + "'") > 0;
}

std::vector<std::string> members(Calls& calls, hid_t group) {
  H5G_info_t info{};
  calls(H5Gget_info(group, &info), "list a group");
  std::vector<std::string> names;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    const auto by_name = [&](char* text, std::size_t room) {
      return H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, text, room, H5P_DEFAULT);
    };
    std::string name(static_cast<std::size_t>(calls(by_name(nullptr, 0), "list a group")), '\0');
    calls(by_name(name.data(), name.size() + 1), "list a group");
    names.push_back(std::move(name));
  }
  return names;
}

std::uint64_t chunk_rows(Calls& calls, hid_t dataset) {
  const Handle list(calls, H5Dget_create_plist(dataset), H5Pclose, "read a property list");
  hsize_t dims[H5S_MAX_RANK] = {};
  calls(H5Pget_chunk(list, H5S_MAX_RANK, dims), "read a chunk's size");
  return dims[0];
}

std::uint64_t length(Calls& calls, hid_t dataset, const std::string& name) {
  const Handle space(calls, H5Dget_space(dataset), H5Sclose, "size '" + name + "'");
  hsize_t dims[H5S_MAX_RANK] = {};
  const int rank = calls(H5Sget_simple_extent_dims(space, dims, nullptr), "size '" + name + "'");
  return rank == 0 ? 1 : dims[0];
}

void write_attribute(Calls& calls, hid_t object, const std::string& name, std::string_view text) {
  const Handle type = text_type(calls, text.size(), is_ascii(text));
  const Handle space = space_of(calls, {});
  const Handle attribute(calls, H5Acreate2(object, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, "make attribute '" + name + "'");
  const std::string padded = text.empty() ? std::string(1, '\0') : std::string(text);
  calls(H5Awrite(attribute, type, padded.data()), "write attribute '" + name + "'");
}

void write_attribute(Calls& calls, hid_t object, const std::string& name, std::uint64_t number) {
  const Handle space = space_of(calls, {});
  const Handle attribute(calls,
                         H5Acreate2(object, name.c_str(), H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, "make attribute '" + name + "'");
  calls(H5Awrite(attribute, H5T_NATIVE_UINT64, &number), "write attribute '" + name + "'");
}

bool has_attribute(Calls& calls, hid_t object, const std::string& name) {
  return calls(H5Aexists(object, name.c_str()), "look for attribute '" + name + "'") > 0;
}

std::string read_text_attribute(Calls& calls, hid_t object, const std::string& name) {
  const Handle attribute(calls, H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose,
                         "open attribute '" + name + "'");
  const Handle stored(calls, H5Aget_type(attribute), H5Tclose, "read the type of attribute '" + name + "'");
  std::string text(H5Tget_size(stored), '\0');
  calls(H5Aread(attribute, stored, text.data()), "read attribute '" + name + "'");
  return without_padding(std::move(text));
}

std::uint64_t read_number_attribute(Calls& calls, hid_t object, const std::string& name) {
  const Handle attribute(calls, H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose,
                         "open attribute '" + name + "'");
  std::uint64_t number = 0;
  calls(H5Aread(attribute, H5T_NATIVE_UINT64, &number), "read attribute '" + name + "'");
  return number;
}

void write_text(Calls& calls, hid_t parent, const std::string& name, std::string_view text,
                std::size_t capacity) {
  const Handle type = text_type(calls, std::max(text.size(), capacity), is_ascii(text));
  const Handle dataset = create_dataset(calls, parent, name, type, {});
  std::string padded(text);
  padded.resize(std::max<std::size_t>({text.size(), capacity, 1}));
  calls(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "write '" + name + "'");
}

void rewrite_text(Calls& calls, hid_t parent, const std::string& name, std::string_view text) {
  const Handle dataset = open_dataset(calls, parent, name);
  const Handle stored(calls, H5Dget_type(dataset), H5Tclose, "read the type of '" + name + "'");
  const std::size_t room = H5Tget_size(stored);
  // The type was chosen when the text was another.
  std::string padded =
      H5Tget_cset(stored) == H5T_CSET_ASCII ? escaped(text, room) : std::string(cut(text, room));
  padded.resize(room);
  calls(H5Dwrite(dataset, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "write '" + name + "'");
}

std::string read_text(Calls& calls, hid_t parent, const std::string& name) {
  const Handle dataset = open_dataset(calls, parent, name);
  const Handle stored(calls, H5Dget_type(dataset), H5Tclose, "read the type of '" + name + "'");
  std::string text(H5Tget_size(stored), '\0');
  calls(H5Dread(dataset, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()), "read '" + name + "'");
  return without_padding(std::move(text));
}

void write_texts(Calls& calls, hid_t parent, const std::string& name, const std::vector<std::string>& texts,
                 std::size_t capacity, std::size_t rows) {
  std::size_t size = std::max<std::size_t>(capacity, 1);
  for (const std::string& text : texts) {
    size = std::max(size, text.size());
  }
  rows = std::max(rows, texts.size());
  std::string padded(size * rows, '\0');
  for (std::size_t i = 0; i < texts.size(); ++i) {
    texts[i].copy(padded.data() + i * size, size);
  }
  const Handle type = text_type(calls, size, std::all_of(texts.begin(), texts.end(), is_ascii));
  const hsize_t dims[] = {rows};
  const Handle dataset = create_dataset(calls, parent, name, type, dims);
  if (rows > 0) {
    calls(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "write '" + name + "'");
  }
}

void rewrite_texts(Calls& calls, hid_t parent, const std::string& name,
                   const std::vector<std::string>& texts) {
  const Handle dataset = open_dataset(calls, parent, name);
  const Handle stored(calls, H5Dget_type(dataset), H5Tclose, "read the type of '" + name + "'");
  const std::size_t room = H5Tget_size(stored), rows = length(calls, dataset, name);
  if (rows == 0) return;
  std::string padded(room * rows, '\0');
  for (std::size_t i = 0; i < std::min(rows, texts.size()); ++i) {
    const std::string_view text = cut(texts[i], room);
    text.copy(padded.data() + i * room, text.size());
  }
  calls(H5Dwrite(dataset, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "write '" + name + "'");
}

std::vector<std::string> read_texts(Calls& calls, hid_t parent, const std::string& name) {
  const Handle dataset = open_dataset(calls, parent, name);
  const Handle stored(calls, H5Dget_type(dataset), H5Tclose, "read the type of '" + name + "'");
  const std::size_t size = H5Tget_size(stored);
  std::vector<std::string> texts(length(calls, dataset, name));
  std::string padded(size * texts.size(), '\0');
  if (!texts.empty()) {
    calls(H5Dread(dataset, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "read '" + name + "'");
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    texts[i] = without_padding(padded.substr(i * size, size));
  }
  return texts;
}

void write_numbers(Calls& calls, hid_t parent, const std::string& name, hid_t memory, const void* data,
                   std::span<const hsize_t> dims, const std::string& unit, const std::string& meaning) {
  const Handle dataset = create_dataset(calls, parent, name, file_type(memory), dims);
  write_attribute(calls, dataset, "units", unit);
  if (!meaning.empty()) {
    write_attribute(calls, dataset, "long_name", meaning);
  }
  if (std::find(dims.begin(), dims.end(), hsize_t{0}) == dims.end()) {
    calls(H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), "write '" + name + "'");
  }
}

std::uint64_t count_numbers(Calls& calls, hid_t parent, const std::string& name) {
  const Handle dataset = open_dataset(calls, parent, name);
  const Handle space(calls, H5Dget_space(dataset), H5Sclose, "size '" + name + "'");
  return static_cast<std::uint64_t>(calls(H5Sget_simple_extent_npoints(space), "size '" + name + "'"));
}

void read_numbers(Calls& calls, hid_t parent, const std::string& name, hid_t memory, void* data,
                  std::uint64_t count) {
  if (const std::uint64_t found = count_numbers(calls, parent, name); found != count) {
    calls.fail("read '" + name + "'",
               std::to_string(count) + " numbers were expected, it has " + std::to_string(found));
  }
  const Handle dataset = open_dataset(calls, parent, name);
  if (count > 0) {
    calls(H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), "read '" + name + "'");
  }
}

}  // namespace ness::hdf5
