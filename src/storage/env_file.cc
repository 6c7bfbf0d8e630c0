#include "storage/env_file.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "rocksdb/env.h"
#include "storage/damage.h"
#include "storage/file_util.h"

namespace skein {
namespace {

rocksdb::Status WriteNewFile(rocksdb::Env* env, const std::string& path, std::string_view content) {
  std::unique_ptr<rocksdb::WritableFile> file;
  rocksdb::Status status = env->NewWritableFile(path, &file, rocksdb::EnvOptions());
  if (status.ok()) status = file->Append(rocksdb::Slice(content.data(), content.size()));
  if (status.ok()) status = file->Sync();
  if (status.ok()) status = file->Close();
  return status;
}

std::string ParentOf(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

}  // namespace

rocksdb::Env* EnvOf(const StorageOptions& options) {
  return options.env != nullptr ? options.env : rocksdb::Env::Default();
}

absl::StatusOr<std::string> ReadFile(rocksdb::Env* env, const std::string& path) {
  if (env->FileExists(path).IsNotFound()) return absl::NotFoundError("there is no " + path);
  std::string content;
  const rocksdb::Status status = rocksdb::ReadFileToString(env, path, &content);
  if (!status.ok()) return FromRocksStatus(status, "cannot read " + path);
  return content;
}

absl::Status ReplaceFile(rocksdb::Env* env, const std::string& path, std::string_view content) {
  const std::string temporary = path + kTemporarySuffix;
  const rocksdb::Status status = WriteNewFile(env, temporary, content);
  if (!status.ok()) return FromRocksStatus(status, "cannot write " + temporary);
  return Rename(env, temporary, path);
}

absl::Status SyncDirectory(rocksdb::Env* env, const std::string& path) {
  std::unique_ptr<rocksdb::Directory> directory;
  rocksdb::Status status = env->NewDirectory(path, &directory);
  if (status.ok()) status = directory->Fsync();
  return FromRocksStatus(status, "cannot sync directory " + path);
}

absl::Status Rename(rocksdb::Env* env, const std::string& from, const std::string& to) {
  const rocksdb::Status renamed = env->RenameFile(from, to);
  if (!renamed.ok()) return FromRocksStatus(renamed, "cannot rename " + from + " to " + to);
  const absl::Status synced = SyncDirectory(env, ParentOf(to));
  if (!synced.ok() || ParentOf(from) == ParentOf(to)) return synced;
  return SyncDirectory(env, ParentOf(from));
}

absl::StatusOr<std::vector<std::string>> NamesIn(rocksdb::Env* env, const std::string& directory) {
  std::vector<std::string> names;
  const rocksdb::Status status = env->GetChildren(directory, &names);
  if (status.IsNotFound()) return std::vector<std::string>();
  if (!status.ok()) return FromRocksStatus(status, "cannot list " + directory);
  std::erase_if(names, [](const std::string& name) { return name == "." || name == ".."; });
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace skein
