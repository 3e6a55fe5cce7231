// Turns single bits of a log, one after another, and lets every command that reads logs have each: it reports
// the damage, or its answer is that of the whole log.
//   ness-bar-bits LOG FLIPS SEED FOLDER    LOG: of a run that can be continued; FOLDER: for copies
// A third of the bits are of bookkeeping and header, a third of rows, a third of anything in the file. Prints
// one JSON object; all in this one process, so that a sanitizer sees all of it.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <unistd.h>
#include <vector>

#include "ness/device/random.hpp"
#include "sector_checks.hpp"
#include "subcommands.hpp"

#ifdef __SANITIZE_ADDRESS__
// HDF5 1.10.8 does not free all that it had made when it cannot read its bookkeeping, which is tried here.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5_serial.so"; }
#endif

namespace {

using namespace ness;
namespace fs = std::filesystem;

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string& path, const std::string& bytes) {
  fs::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

struct Answer {
  int code = 0;
  nlohmann::json said;
  bool operator==(const Answer&) const = default;
};

// What a subcommand prints; what takes time, and where, is left out.
Answer answer(const std::string& folder, const std::vector<std::string>& words) {
  const std::string out = folder + "/said.json";
  std::fflush(stdout);
  std::fflush(stderr);
  const int kept_out = ::dup(1), kept_error = ::dup(2);
  const int file = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int nothing = ::open("/dev/null", O_WRONLY);
  ::dup2(file, 1);
  ::dup2(nothing, 2);
  std::vector<const char*> pointers{"ness"};
  for (const std::string& word : words) pointers.push_back(word.c_str());
  Answer result;
  result.code = run_command(subcommands(), static_cast<int>(pointers.size()), pointers.data());
  std::fflush(stdout);
  ::dup2(kept_out, 1);
  ::dup2(kept_error, 2);
  for (const int one : {kept_out, kept_error, file, nothing}) ::close(one);
  result.said = nlohmann::json::parse(content_of(out), nullptr, false);
  if (result.said.is_object()) {
    for (const char* key : {"seconds", "repair"}) result.said.erase(key);
  }
  return result;
}

struct Sectors {
  std::vector<std::uint64_t> covered, rows;
};

Sectors sectors_of(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY);
  const hdf5::CheckPlaces places = hdf5::find_checks(file);
  Sectors found;
  for (std::uint64_t i = 0; places.known() && i * hdf5::sector_bytes < fs::file_size(path); ++i) {
    hdf5::SectorCheck check;
    if (const auto place = places.place_of(i)) hdf5::read_at(file, *place, &check, sizeof check);
    if (check.covered()) found.covered.push_back(i);
    else if (!places.own(i)) found.rows.push_back(i);
  }
  ::close(file);
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "ness-bar-bits LOG FLIPS SEED FOLDER\n");
    return 2;
  }
  const std::string file = content_of(argv[1]), folder = argv[4], log = folder + "/log.h5";
  const auto flips = std::strtoull(argv[2], nullptr, 10), seed = std::strtoull(argv[3], nullptr, 10);
  const std::map<std::string, std::vector<std::string>> commands{
      {"inspect", {"inspect", log, "--json"}},
      {"evaluate", {"evaluate", log, "--json", "--threads", "1"}},
      {"replay", {"replay", log, "--json", "--threads", "1"}},
      {"resume", {"train", "--resume", log, "--json", "-q", "--threads", "1"}},
      {"repair", {"inspect", "--repair", log, "--json"}}};
  // Each on a fresh copy; a repaired or resumed log is then looked at by the others.
  const auto asked = [&](const std::string& name, const std::string& bytes) {
    for (const auto& entry : fs::directory_iterator(folder)) fs::remove(entry.path());
    write(log, bytes);
    std::vector<Answer> answers{answer(folder, commands.at(name))};
    const bool good = answers[0].code == 0;
    if (name == "resume" && good) answers.push_back(answer(folder, commands.at("inspect")));
    if (name == "repair" && good) {
      for (const char* next : {"evaluate", "replay"}) answers.push_back(answer(folder, commands.at(next)));
    }
    return answers;
  };
  std::map<std::string, std::vector<Answer>> right;
  for (const auto& [name, words] : commands) {
    right[name] = asked(name, file);
    for (const Answer& one : right[name]) {
      if (one.code == 0 && one.said.is_object()) continue;
      std::fprintf(stderr, "ness %s fails on the whole log: exit code %d\n", name.c_str(), one.code);
      return 2;
    }
  }
  write(log, file);
  const Sectors sectors = sectors_of(log);
  if (sectors.covered.empty() || sectors.rows.empty()) {
    std::fprintf(stderr, "%s has no checks, or no rows\n", argv[1]);
    return 2;
  }
  nlohmann::json result{{"flips", flips}, {"wrong", 0}, {"wrong_at", nlohmann::json::array()}};
  std::uint64_t wrong = 0, unmended = 0;
  std::map<std::string, std::uint64_t> reported;
  Random random(seed);
  for (std::uint64_t i = 0; i < flips; ++i) {
    const auto within = [&](const std::vector<std::uint64_t>& some) {
      return some[random.below(some.size())] * hdf5::sector_bytes + random.below(hdf5::sector_bytes);
    };
    std::uint64_t byte = i % 3 == 0   ? within(sectors.covered)
                         : i % 3 == 1 ? within(sectors.rows)
                                      : random.below(file.size());
    byte = std::min<std::uint64_t>(byte, file.size() - 1);
    const std::uint64_t bit = random.below(8);
    std::string flipped = file;
    flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << bit));
    for (const auto& [name, words] : commands) {
      const std::vector<Answer> found = asked(name, flipped);
      if (found == right[name]) continue;
      if (std::any_of(found.begin(), found.end(), [](const Answer& one) { return one.code != 0; })) {
        ++reported[name];
        if (name == "repair") ++unmended;
        continue;
      }
      ++wrong;
      result["wrong_at"].push_back({{"command", name}, {"byte", byte}, {"bit", bit}});
    }
  }
  result["wrong"] = wrong;
  result["not_mended"] = unmended;
  result["reported"] = reported;
  std::printf("%s\n", result.dump().c_str());
  return wrong > 0;
}
