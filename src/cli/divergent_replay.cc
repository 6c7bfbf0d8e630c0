// `skein divergent replay`: writes that were cut off go to the cluster again, unless it has newer
// values. Of the commands on one key the last counts. What was done shows in the cluster, so that
// the command may be broken off anywhere, and given again.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <map>
#include <memory>

#include "cli/divergent.h"
#include "cli/offline.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "common/error.h"
#include "storage/data_directory.h"

namespace skein::cli {
namespace {

// Calls under way at a time.
constexpr size_t kWindow = 64;

struct ReplayFlags {
  TailChoice choice;
  bool dry_run = false;
  bool force = false;
  bool yes = false;
};

// What a key was to be, and up to which revision its log and the cluster's agreed.
struct Wish {
  uint64_t revision = 0;
  uint64_t cut = 0;
  bool put = true;
  std::string key;
  std::string value;
};

enum class Verdict {
  kWrite,
  kAlreadySo,
  kNewer,  // somebody has written the key since
};

class Replay {
 public:
  Replay(const Globals& globals, const ReplayFlags& flags)
      : globals_(globals), flags_(flags), client_(globals.Connect()) {}

  int Run() {
    absl::Status status = Load();
    if (absl::IsInvalidArgument(status)) return FailUsage(MessageOf(status));
    if (!status.ok()) return FailOffline("divergent replay", status);
    if (wishes_.empty()) return Tell(absl::OkStatus());
    status = CheckCluster();
    if (absl::IsFailedPrecondition(status)) return FailOffline("divergent replay", status);
    if (!status.ok()) return Fail(globals_, "divergent replay", status);
    if (const int refused = Ask(); refused != kExitDone) return refused;
    CatchInterrupt();
    for (size_t first = 0; first < wishes_.size() && status.ok(); first += kWindow) {
      status = Interrupted() ? absl::CancelledError("interrupted")
                             : Perform(first, std::min(kWindow, wishes_.size() - first));
      progress_.Show("replays", fmt::format("{} of {} keys", done_, wishes_.size()),
                     static_cast<double>(done_) / static_cast<double>(wishes_.size()));
    }
    progress_.Clear();
    return Tell(status);
  }

 private:
  absl::Status Load() {
    const auto files = ChooseTails(flags_.choice);
    if (!files.ok()) return files.status();
    std::map<std::string, Wish> last;  // by key
    for (const DivergentTail::File& file : *files) {
      const auto tail = DivergentTail::Read(file.path);
      if (!tail.ok()) return tail.status();
      const uint64_t cut = tail->after().revision.value();
      const absl::Status visited = VisitCommands(*tail, [&](const TailCommand& command) {
        last[std::string(command.key)] = {.revision = command.revision,
                                          .cut = cut,
                                          .put = command.put,
                                          .key = std::string(command.key),
                                          .value = std::string(command.value)};
      });
      if (!visited.ok()) return visited;
    }
    for (auto& [key, wish] : last) wishes_.push_back(std::move(wish));
    std::ranges::stable_sort(wishes_, {}, &Wish::revision);
    return absl::OkStatus();
  }

  // After a recovery the same revisions are other writes: none of them can be told to be older.
  absl::Status CheckCluster() {
    const auto identity = DataDirectory::Peek(flags_.choice.data_directory);
    if (!identity.ok()) return identity.status();
    if (!identity->has_value()) {
      return absl::FailedPreconditionError(flags_.choice.data_directory +
                                           " is not a data directory of skeind");
    }
    const auto members = client_->Members(globals_.Timeout());
    if (!members.ok()) return members.status();
    if (members->cluster_token != (*identity)->cluster_token) {
      return absl::FailedPreconditionError(fmt::format(
          "{} belongs to cluster {}, the endpoints to cluster {}", flags_.choice.data_directory,
          (*identity)->cluster_token, members->cluster_token));
    }
    if (members->cluster_id != fmt::format("{:016x}", (*identity)->cluster_id)) {
      for (Wish& wish : wishes_) wish.cut = 0;
    }
    return absl::OkStatus();
  }

  int Ask() const {
    if (flags_.dry_run || flags_.yes) return kExitDone;
    if (isatty(STDIN_FILENO) == 0) {
      return FailUsage("replay writes to the cluster; say --yes to mean it, or --dry-run to look");
    }
    if (Confirmed(fmt::format("Write {} keys again that nobody was told to have succeeded{}?",
                              wishes_.size(), flags_.force ? ", also over newer values" : ""))) {
      return kExitDone;
    }
    fmt::print(stderr, "skein: nothing was changed\n");
    return kExitFailed;
  }

  Verdict Judge(const Wish& wish, const GetResult& now) const {
    const bool same = wish.put ? now.has_value() && now->value == wish.value : !now.has_value();
    if (same) return Verdict::kAlreadySo;
    const bool newer = now.has_value() && now->version > wish.cut;
    return newer && !flags_.force ? Verdict::kNewer : Verdict::kWrite;
  }

  // Looks at so many keys, then writes. The first trouble ends it, once all calls have ended.
  absl::Status Perform(size_t first, size_t count) {
    ReadOptions read;
    read.consistency = Consistency::kLinearizable;
    read.deadline = globals_.Timeout();
    std::vector<std::future<absl::StatusOr<GetResult>>> reads;
    for (size_t i = first; i < first + count; ++i) {
      auto promise = std::make_shared<std::promise<absl::StatusOr<GetResult>>>();
      reads.push_back(promise->get_future());
      client_->GetAsync(wishes_[i].key, read, [promise](absl::StatusOr<GetResult> got) {
        promise->set_value(std::move(got));
      });
    }
    absl::Status status;
    std::vector<std::future<absl::Status>> writes;
    for (size_t i = 0; i < count; ++i) {
      const absl::StatusOr<GetResult> now = reads[i].get();
      if (!now.ok()) status.Update(now.status());
      if (status.ok()) Settle(wishes_[first + i], *now, &writes);
    }
    for (auto& write : writes) {
      const absl::Status written = write.get();
      written_ += written.ok() ? 1 : 0;
      done_ += written.ok() ? 1 : 0;
      status.Update(written);
    }
    return status;
  }

  void Settle(const Wish& wish, const GetResult& now,
              std::vector<std::future<absl::Status>>* writes) {
    const Verdict verdict = Judge(wish, now);
    const uint64_t version = now.has_value() ? now->version : 0;
    if (verdict == Verdict::kWrite && !flags_.dry_run) return writes->push_back(Write(wish));
    done_ += 1;
    if (verdict == Verdict::kWrite) {
      written_ += 1;
      Say(wish.put ? "put" : "delete", wish, "");
    } else if (verdict == Verdict::kAlreadySo) {
      already_ += 1;
      if (flags_.dry_run) Say("same", wish, "");
    } else {
      newer_ += 1;
      Say("newer", wish,
          fmt::format("\tversion {} in the cluster, cut off after {}", version, wish.cut));
    }
  }

  std::future<absl::Status> Write(const Wish& wish) {
    auto promise = std::make_shared<std::promise<absl::Status>>();
    std::future<absl::Status> done = promise->get_future();
    WriteOptions options;
    options.deadline = globals_.Timeout();
    if (wish.put) {
      client_->PutAsync(wish.key, wish.value, options, [promise](absl::StatusOr<PutResult> put) {
        promise->set_value(put.status());
      });
    } else {
      client_->DeleteAsync(wish.key, options, [promise](absl::StatusOr<DeleteResult> gone) {
        promise->set_value(gone.status());
      });
    }
    return done;
  }

  void Say(const std::string& what, const Wish& wish, const std::string& more) {
    if (globals_.output == Output::kJson) return;
    progress_.Clear();
    fmt::print("{}\t{}{}\n", what, Printable(globals_.encoding(), wish.key), more);
  }

  int Tell(const absl::Status& status) {
    const char* written = flags_.dry_run ? "to be written" : "written";
    if (globals_.output == Output::kJson) {
      PrintJson({{"dry_run", flags_.dry_run},
                 {"keys", wishes_.size()},
                 {"written", written_},
                 {"already_so", already_},
                 {"newer", newer_},
                 {"complete", status.ok()}});
    } else {
      fmt::print("{} keys: {} {}, {} already so, {} left alone because they are newer\n",
                 wishes_.size(), written_, written, already_, newer_);
    }
    std::fflush(stdout);
    if (!status.ok()) {
      const int code = Fail(globals_, "divergent replay", status);
      fmt::print(stderr, "  what to do: run it again; what was written is not written twice\n");
      return code;
    }
    return newer_ == 0 ? kExitDone : kExitNotFound;
  }

  const Globals& globals_;
  const ReplayFlags& flags_;
  const std::unique_ptr<Client> client_;
  Progress progress_;
  std::vector<Wish> wishes_;  // in the order of their revisions
  uint64_t done_ = 0;
  uint64_t written_ = 0;
  uint64_t already_ = 0;
  uint64_t newer_ = 0;
};

}  // namespace

void AddDivergentReplay(CLI::App* divergent, Globals* globals) {
  auto flags = std::make_shared<ReplayFlags>();
  CLI::App* command = divergent->add_subcommand(
      "replay", "Write them to the cluster again, but over no newer value");
  flags->choice.AddTo(command);
  command->add_flag("--dry-run", flags->dry_run, "only say what would be written");
  command->add_flag("--force", flags->force, "also over values that are newer");
  command->add_flag("--yes", flags->yes, "do not ask");
  command->footer(
      "Each key gets what the last command on it says. A key that was written in the cluster "
      "after\n"
      "the log was cut is left alone. One that was deleted there since, or is written while this\n"
      "runs, cannot be told apart: stop its writers, and look with --dry-run.\n"
      "Exit code 3: some keys were left alone.\n"
      "Examples:\n"
      "  skein divergent replay --data-dir /var/lib/skein --all --dry-run\n"
      "  skein divergent replay --data-dir /var/lib/skein --all");
  command->callback([=] { globals->run = [=] { return Replay(*globals, *flags).Run(); }; });
}

}  // namespace skein::cli
