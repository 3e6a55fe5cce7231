// HDF5 for the log: checked calls, handles with an owner, texts and arrays with their metadata.
//
// Every call is checked. Each file that is written has one Calls. After the first failed call it makes no
// further call, not even to close: continuing after a full disk was seen to destroy a column that was intact.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <hdf5.h>

namespace ness::hdf5 {

/// Recursive process-wide lock; hold it around every HDF5 call and every Handle destruction. A build of HDF5
/// need not be thread-safe (Debian's is). The constructor also prepares HDF5: no exit handler, no printing of
/// errors.
class Turn {
 public:
  Turn();

 private:
  std::lock_guard<std::recursive_mutex> held_;
};

/// "; `ness inspect --repair x.h5` mends ..", for messages about damage.
std::string repair_advice(const std::string& path);

/// The HDF5 calls on one file. Each is made while a Turn is held.
class Calls {
 public:
  enum class Use : std::uint8_t { reading, writing };
  /// `what`: what the file is called in messages.
  Calls(std::string path, Use use, const char* what = "the log")
      : path_(std::move(path)), use_(use), what_(what) {}
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  /// Returns the result if it is not negative; otherwise throws LogError with the file, the action and HDF5's
  /// innermost reason.
  template <class Result>
  Result operator()(Result result, std::string_view doing) {
    if (result < 0) {
      fail(doing);
    }
    return result;
  }
  /// Throws LogError for a failure outside HDF5.
  [[noreturn]] void fail(std::string_view doing, const std::string& reason);

  const std::string& path() const { return path_; }
  bool failed() const { return failed_; }
  /// False if writing of the file has failed: its handles are then left open on purpose.
  bool may_close() const { return use_ == Use::reading || !failed_; }
  /// "cannot write the log 'x.h5': .."
  std::string complaint(std::string_view reason) const;

 private:
  [[noreturn]] void fail(std::string_view doing);
  std::string path_;
  Use use_;
  const char* what_;
  bool failed_ = false;
};

/// An HDF5 identifier, with the function and the Calls that close it.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(Calls& calls, hid_t id, Close closed_by, std::string_view doing)
      : calls_(&calls), id_(calls(id, doing)), close_(closed_by) {}
  Handle(Handle&& other) noexcept
      : calls_(other.calls_), id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(calls_, other.calls_);
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0 && calls_->may_close()) {
      close_(id_);
    }
  }
  operator hid_t() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  /// Closes now; throws if that fails.
  void close(std::string_view doing) {
    if (id_ >= 0) {
      (*calls_)(close_(std::exchange(id_, -1)), doing);
    }
  }

 private:
  Calls* calls_ = nullptr;
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// Type of numbers in memory; in the file they are little-endian.
template <class T>
hid_t memory_type() {
  if constexpr (std::is_same_v<T, double>) {
    return H5T_NATIVE_DOUBLE;
  } else if constexpr (std::is_same_v<T, std::uint64_t>) {
    return H5T_NATIVE_UINT64;
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return H5T_NATIVE_INT64;
  } else if constexpr (std::is_same_v<T, std::uint32_t>) {
    return H5T_NATIVE_UINT32;
  } else if constexpr (std::is_same_v<T, std::uint16_t>) {
    return H5T_NATIVE_UINT16;
  } else {
    static_assert(std::is_same_v<T, std::uint8_t>);
    return H5T_NATIVE_UINT8;
  }
}
hid_t file_type(hid_t memory);

/// Makes a file at `path`, replacing an existing one. The path need not be that of `calls`: a file is renamed
/// once it is complete.
Handle create_file(Calls& calls, const std::string& path);
/// Opens for writing, by write_driver().
Handle open_to_write(Calls& calls);
/// Opens for reading. Shares no state with other writers and readers in this process.
Handle open_to_read(Calls& calls);

Handle create_group(Calls& calls, hid_t parent, const std::string& name, const std::string& nx_class);
Handle open_group(Calls& calls, hid_t parent, const std::string& name);
Handle open_dataset(Calls& calls, hid_t parent, const std::string& name);
bool exists(Calls& calls, hid_t parent, const std::string& name);
/// Names of what a group holds.
std::vector<std::string> members(Calls& calls, hid_t group);
/// Rows of a chunk of a chunked dataset.
std::uint64_t chunk_rows(Calls& calls, hid_t dataset);
/// The length of a one-dimensional dataset, or the rows of a matrix.
std::uint64_t length(Calls& calls, hid_t dataset, const std::string& name);

void write_attribute(Calls& calls, hid_t object, const std::string& name, std::string_view text);
void write_attribute(Calls& calls, hid_t object, const std::string& name, std::uint64_t number);
bool has_attribute(Calls& calls, hid_t object, const std::string& name);
std::string read_text_attribute(Calls& calls, hid_t object, const std::string& name);
std::uint64_t read_number_attribute(Calls& calls, hid_t object, const std::string& name);

/// Writes a text of fixed length: its own length, or `capacity` bytes, so that it can be rewritten in place.
void write_text(Calls& calls, hid_t parent, const std::string& name, std::string_view text,
                std::size_t capacity = 0);
/// Rewrites a text in place. A text longer than the capacity is cut between characters.
void rewrite_text(Calls& calls, hid_t parent, const std::string& name, std::string_view text);
std::string read_text(Calls& calls, hid_t parent, const std::string& name);
/// Writes texts of one fixed length: that of the longest, or `capacity` bytes; `rows` of them at least (those
/// beyond `texts` are empty), so that they can be rewritten in place.
void write_texts(Calls& calls, hid_t parent, const std::string& name, const std::vector<std::string>& texts,
                 std::size_t capacity = 0, std::size_t rows = 0);
/// Rewrites texts in place. What there is no room for is cut: texts between characters, rows at the end.
void rewrite_texts(Calls& calls, hid_t parent, const std::string& name,
                   const std::vector<std::string>& texts);
std::vector<std::string> read_texts(Calls& calls, hid_t parent, const std::string& name);

/// Untyped forms of the templates below; `dims` empty: one number.
void write_numbers(Calls& calls, hid_t parent, const std::string& name, hid_t memory, const void* data,
                   std::span<const hsize_t> dims, const std::string& unit, const std::string& meaning);
/// Reads a dataset of exactly `count` numbers.
void read_numbers(Calls& calls, hid_t parent, const std::string& name, hid_t memory, void* data,
                  std::uint64_t count);
std::uint64_t count_numbers(Calls& calls, hid_t parent, const std::string& name);

template <class T>
void write_array(Calls& calls, hid_t parent, const std::string& name, const std::vector<T>& values,
                 const std::string& unit, const std::string& meaning = {}) {
  const hsize_t dims[] = {values.size()};
  write_numbers(calls, parent, name, memory_type<T>(), values.data(), dims, unit, meaning);
}
template <class T>
std::vector<T> read_array(Calls& calls, hid_t parent, const std::string& name) {
  std::vector<T> values(count_numbers(calls, parent, name));
  read_numbers(calls, parent, name, memory_type<T>(), values.data(), values.size());
  return values;
}
template <class T>
void write_number(Calls& calls, hid_t parent, const std::string& name, T value, const std::string& unit,
                  const std::string& meaning = {}) {
  write_numbers(calls, parent, name, memory_type<T>(), &value, {}, unit, meaning);
}
template <class T>
T read_number(Calls& calls, hid_t parent, const std::string& name) {
  T value{};
  read_numbers(calls, parent, name, memory_type<T>(), &value, 1);
  return value;
}

}  // namespace ness::hdf5
