#include "storage/divergent_tail.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "common/error.h"
#include "fmt/format.h"
#include "rocksdb/env.h"
#include "storage/damage.h"
#include "storage/env_file.h"
#include "storage/file_util.h"
#include "storage/record.h"

namespace skein {
namespace {

constexpr std::string_view kSuffix = ".tail";
// Small record: log point 32, position of the last entry 16.
constexpr size_t kHeaderBytes = 1 + 32 + 16 + 8;
constexpr size_t kNumberDigits = 20;
constexpr char kNoUse[] = "It is a copy for reading; the node does not need it.";

// Names sort in the order in which the tails were cut off: a later one begins at the same entry or
// above, and ends in a later term.
std::string NameOf(const LogPoint& after, const LogPoint& last) {
  return fmt::format("{:020}-{:020}-{:020}{}", after.at.index.Next().value(), last.at.term.value(),
                     last.at.index.value(), kSuffix);
}

std::optional<uint64_t> NumberAt(std::string_view name, size_t place) {
  uint64_t number = 0;
  const char* const begin = name.data() + place * (kNumberDigits + 1);
  const auto [end, error] = std::from_chars(begin, begin + kNumberDigits, number);
  if (error != std::errc() || end != begin + kNumberDigits) return std::nullopt;
  return number;
}

// Nothing if it is not the name of a finished tail.
std::optional<DivergentTail::File> ParseName(std::string_view name) {
  if (name.size() != 3 * kNumberDigits + 2 + kSuffix.size() || !name.ends_with(kSuffix)) {
    return std::nullopt;
  }
  const std::optional<uint64_t> first = NumberAt(name, 0);
  const std::optional<uint64_t> term = NumberAt(name, 1);
  const std::optional<uint64_t> last = NumberAt(name, 2);
  if (!first.has_value() || !term.has_value() || !last.has_value()) return std::nullopt;
  return DivergentTail::File{.first = Index(*first), .last = Index(*last), .term = Term(*term)};
}

std::string EncodeHeader(const LogPoint& after, const LogPoint& last) {
  std::string payload;
  PutLogPoint(&payload, after);
  PutFixed64(&payload, last.at.term.value());
  PutFixed64(&payload, last.at.index.value());
  return SealRecord(payload);
}

}  // namespace

absl::StatusOr<std::vector<DivergentTail::File>> DivergentTail::List(
    const std::string& data_directory) {
  std::vector<File> files;
  std::error_code error;
  for (const auto& found :
       std::filesystem::directory_iterator(data_directory + "/divergent", error)) {
    std::optional<File> file = ParseName(found.path().filename().string());
    if (!file.has_value()) continue;
    file->path = found.path().string();
    std::error_code gone;  // removed to make room
    file->bytes = found.file_size(gone);
    if (!gone) files.push_back(*std::move(file));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return ErrnoStatus("cannot list", data_directory + "/divergent", error.value());
  }
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return a.path < b.path; });
  return files;
}

absl::StatusOr<DivergentTail> DivergentTail::Read(const std::string& path) {
  const absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return content.status();
  const std::string_view text = *content;
  const std::optional<std::string_view> header = OpenRecord(text.substr(0, kHeaderBytes));
  if (!header.has_value()) return DamagedData(path + " has a damaged header", kNoUse);
  Decoder fields(*header);
  DivergentTail tail;
  tail.after_ = TakeLogPoint(&fields);
  Position last;
  last.term = Term(fields.Fixed64());
  last.index = Index(fields.Fixed64());
  LogPoint point = tail.after_;
  Decoder frames(text.substr(kHeaderBytes));
  while (!frames.empty()) {
    const std::string_view frame = frames.Bytes();
    absl::StatusOr<EntryPtr> entry = Entry::Parse(std::string(frame));
    if (!frames.ok() || !entry.ok() || !(*entry)->Follows(point)) {
      return DamagedData(
          fmt::format("{} is damaged at entry {}", path, point.at.index.Next().value()), kNoUse);
    }
    point = (*entry)->point();
    tail.entries_.push_back(*std::move(entry));
  }
  if (point.at != last) return DamagedData(path + " has lost its end", kNoUse);
  return tail;
}

absl::Status DivergentTailWriter::Write(const LogPoint& after, const LogPoint& last,
                                        const ReadFrom& read) {
  const absl::Status made = MakeDirectory(directory_);
  if (!made.ok()) return made;
  const std::string path = directory_ + "/" + NameOf(after, last);
  absl::Status status = WriteTemporary(path + kTemporarySuffix, after, last, read);
  if (status.ok()) status = Rename(env_, path + kTemporarySuffix, path);
  return status.ok() ? MakeRoom(path) : status;
}

absl::Status DivergentTailWriter::WriteTemporary(const std::string& path, const LogPoint& after,
                                                 const LogPoint& last, const ReadFrom& read) {
  std::unique_ptr<rocksdb::WritableFile> file;
  rocksdb::Status status = env_->NewWritableFile(path, &file, rocksdb::EnvOptions());
  if (status.ok()) status = file->Append(EncodeHeader(after, last));
  Index next = after.at.index.Next();
  while (status.ok() && next <= last.at.index) {
    const absl::StatusOr<std::vector<EntryPtr>> entries = read(next);
    if (!entries.ok()) return entries.status();
    std::string bytes;
    for (const EntryPtr& entry : *entries) PutBytes(&bytes, entry->frame());
    status = file->Append(bytes);
    next = entries->back()->index().Next();
  }
  if (status.ok()) status = file->Sync();
  if (status.ok()) status = file->Close();
  return FromRocksStatus(status, "cannot write the divergent entries to " + path);
}

// A file that a crash left half written goes as well.
absl::Status DivergentTailWriter::MakeRoom(const std::string& newest) {
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(env_, directory_);
  if (!names.ok()) return names.status();
  uint64_t bytes = 0;
  // From the newest to the oldest.
  for (auto name = names->rbegin(); name != names->rend(); ++name) {
    const std::string path = directory_ + "/" + *name;
    uint64_t size = 0;
    rocksdb::Status status;
    bool unwanted = name->ends_with(kTemporarySuffix);
    if (ParseName(*name).has_value()) {
      status = env_->GetFileSize(path, &size);
      bytes += size;
      unwanted = bytes > bytes_max_ && path != newest;
    }
    if (status.ok() && unwanted) status = env_->DeleteFile(path);
    if (!status.ok()) return FromRocksStatus(status, "cannot remove " + path);
  }
  return absl::OkStatus();
}

}  // namespace skein
