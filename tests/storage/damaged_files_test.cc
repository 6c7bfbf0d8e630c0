// Every file of a data directory, damaged in every way: missing, cut short, with a flipped bit. The
// node may refuse it, naming what is damaged, or recover in a way that knows what is owed. What it
// may never do is to go on as if nothing had been there, or to show something else.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/error.h"
#include "gtest/gtest.h"
#include "tests/support/storage_entries.h"
#include "tests/support/storage_event_log.h"
#include "tests/support/storage_world.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kEntries = 100;
constexpr HardState kHardState{.term = Term(3), .vote = NodeId(7), .commit = Index(40)};

struct Damage {
  std::string name;
  std::function<void(const std::string& path)> inflict;
};

std::vector<Damage> AllDamages() {
  std::vector<Damage> damages = {
      {"missing", [](const std::string& path) { fs::remove(path); }},
      {"empty", [](const std::string& path) { fs::resize_file(path, 0); }},
      {"half", [](const std::string& path) { fs::resize_file(path, fs::file_size(path) / 2); }},
      {"last byte gone",
       [](const std::string& path) { fs::resize_file(path, fs::file_size(path) - 1); }},
  };
  for (const double at : {0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0}) {
    damages.push_back({"bit flipped at " + std::to_string(at),
                       [at](const std::string& path) { FlipBitAt(path, at); }});
  }
  return damages;
}

std::string KeyOf(uint64_t index) { return "key" + std::to_string(index); }

// A data directory with table files, and a write-ahead log, that hold the same 100 entries.
class DamagedFilesTest : public testing::Test {
 protected:
  DamagedFilesTest() : entries_(EntryChain().Puts(Term(3), kEntries, 300)) {
    EXPECT_EQ(entries_.front()->index(), Index(1));
    // RocksDB makes a table file of the write-ahead log when it opens the log again.
    WriteLog(0, 60);
    WriteLog(60, kEntries);
    EventLog events;
    auto state = world_.OpenState();
    EXPECT_TRUE(state.ok()) << state.status();
    (*state)->Start(&events);
    for (const uint64_t end : {40, 70, 100}) {
      const uint64_t begin = end == 40 ? 0 : end == 70 ? 40 : 70;
      (*state)->Apply(
          {entries_.begin() + static_cast<long>(begin), entries_.begin() + static_cast<long>(end)});
      EXPECT_TRUE(events.WaitUntil([end](const std::vector<Event>& all) {
        const auto applied = EventLog::AllOf<Applied>(all);
        return !applied.empty() && applied.back().index == Index(end);
      }));
      EXPECT_TRUE(world_.MakeDurable(**state));
    }
    state->reset();
    fs::copy(world_.directory().path(), sound_.File("data"), fs::copy_options::recursive);
  }

  void WriteLog(uint64_t begin, uint64_t end) {
    EventLog events;
    auto log = world_.OpenLog({});
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->Recover().ok());
    (*log)->Start(&events);
    uint64_t id = 0;
    for (uint64_t i = begin; i < end; ++i) {
      LogWrite write{.id = ++id, .entries = {entries_[i]}};
      if (i == 0) write.hard_state = kHardState;
      (*log)->Write(std::move(write));
    }
    ASSERT_TRUE(events.WaitUntil([id](const std::vector<Event>& all) {
      const auto persisted = EventLog::AllOf<Persisted>(all);
      return !persisted.empty() && persisted.back().id == id;
    }));
  }

  // For each file of the folder and each damage, on a fresh copy of the directory.
  void ForEachDamage(const std::string& folder,
                     const std::function<void(const std::string& path)>& check) {
    std::vector<std::string> names;
    for (const auto& file : fs::directory_iterator(sound_.File("data/" + folder))) {
      if (file.is_regular_file() && file.file_size() > 0) names.push_back(file.path().filename());
    }
    ASSERT_GE(names.size(), 4u);
    for (const std::string& name : names) {
      for (const Damage& damage : AllDamages()) {
        fs::remove_all(world_.directory().path());
        fs::copy(sound_.File("data"), world_.directory().path(), fs::copy_options::recursive);
        const std::string path = world_.directory().File(folder + "/" + name);
        damage.inflict(path);
        SCOPED_TRACE(folder + "/" + name + ": " + damage.name);
        check(path);
      }
    }
  }
  void ExpectTellsWhatToDo(const absl::Status& refusal) {
    ++refused_;
    EXPECT_EQ(refusal.code(), absl::StatusCode::kDataLoss) << refusal;
    EXPECT_EQ(DetailOf(refusal).reason, ErrorReason::kDamagedData) << refusal;
    EXPECT_FALSE(DetailOf(refusal).hint.empty()) << refusal;
    EXPECT_NE(MessageOf(refusal).find(world_.directory().path()), std::string::npos) << refusal;
  }

  void CheckLog();
  void CheckState();

  PlainWorld world_;
  TempDir sound_;
  const std::vector<EntryPtr> entries_;
  int refused_ = 0;
  int owed_ = 0;
  int whole_ = 0;
};

void DamagedFilesTest::CheckLog() {
  EventLog events;
  auto log = world_.OpenLog({});
  if (!log.ok()) return ExpectTellsWhatToDo(log.status());
  const absl::StatusOr<LogRecovery> recovery = (*log)->Recover();
  if (!recovery.ok()) return ExpectTellsWhatToDo(recovery.status());
  EXPECT_EQ(recovery->hard_state.term, kHardState.term);
  EXPECT_EQ(recovery->hard_state.vote, kHardState.vote);
  EXPECT_EQ(recovery->acknowledged, Index(kEntries));
  const uint64_t last = recovery->last.at.index.value();
  ASSERT_LE(last, kEntries);
  ++(last < kEntries ? owed_ : whole_);
  if (last == 0) return;
  (*log)->Start(&events);
  (*log)->Read({.id = 1, .first = Index(1), .bytes_max = size_t{1} << 30});
  ASSERT_TRUE(events.WaitUntil([](const std::vector<Event>& all) { return !all.empty(); }));
  const auto failures = events.All<StorageFailed>();
  if (!failures.empty()) return ExpectTellsWhatToDo(failures.front().status);
  EXPECT_EQ(PointsOf(events.All<LogReadDone>().front().entries),
            PointsOf({entries_.begin(), entries_.begin() + static_cast<long>(last)}));
}

void DamagedFilesTest::CheckState() {
  const auto opened = world_.OpenState();
  if (!opened.ok()) return ExpectTellsWhatToDo(opened.status());
  auto& state = dynamic_cast<KvStateMachine&>(**opened);
  const LogPoint recovered = state.Recovered();
  const uint64_t last = recovered.at.index.value();
  ASSERT_LE(last, kEntries);
  // An older state is a prefix of history, which the log completes.
  if (last > 0) {
    EXPECT_EQ(recovered, entries_[last - 1]->point());
  }
  absl::Status refusal;
  for (uint64_t index = 1; index <= kEntries; ++index) {
    const auto value = state.Get(KeyOf(index));
    if (!value.ok()) {
      refusal = value.status();
    } else {
      EXPECT_EQ(value->has_value(), index <= last) << KeyOf(index);
      if (value->has_value()) {
        EXPECT_EQ((*value)->value, std::string(300, 'a' + (index - 1) % 26));
      }
    }
  }
  if (!refusal.ok()) return ExpectTellsWhatToDo(refusal);
  ++(last < kEntries ? owed_ : whole_);
}

TEST_F(DamagedFilesTest, OfTheLogAreRefusedOrLeaveADebt) {
  ForEachDamage("log", [this](const std::string&) { CheckLog(); });
  EXPECT_GT(refused_, 10);
  EXPECT_GT(owed_, 5);
  EXPECT_GT(whole_, 5);  // a file that RocksDB does not need
}

TEST_F(DamagedFilesTest, OfTheStateAreRefusedOrLeaveAnOlderState) {
  ForEachDamage("state", [this](const std::string&) { CheckState(); });
  EXPECT_GT(refused_, 10);
  EXPECT_GT(whole_, 5);
}

}  // namespace
}  // namespace skein
