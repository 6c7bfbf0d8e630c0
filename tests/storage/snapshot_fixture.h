// Two nodes' disks: a source whose state is sent, and a target that receives it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "gtest/gtest.h"
#include "storage/file_util.h"
#include "storage/snapshot_store.h"
#include "tests/support/storage_entries.h"
#include "tests/support/storage_event_log.h"
#include "tests/support/storage_transfer.h"
#include "tests/support/storage_world.h"

namespace skein {

class SnapshotTest : public testing::Test {
 protected:
  // A disk with the state on it.
  struct Node {
    FaultyWorld world;
    std::unique_ptr<EventLog> events;
    std::unique_ptr<KvStateMachine> state;  // posts to events
    std::unique_ptr<SnapshotStore> snapshots;

    absl::Status TryOpen() {
      snapshots.reset();
      state.reset();
      events = std::make_unique<EventLog>();
      auto opened = world.OpenState();
      if (!opened.ok()) return opened.status();
      state.reset(dynamic_cast<KvStateMachine*>(opened->release()));
      auto store = SnapshotStore::Open(world.options(), world.directory().path(), state.get());
      if (store.ok()) snapshots = *std::move(store);
      return store.status();
    }
    void Open() {
      const absl::Status opened = TryOpen();
      ASSERT_TRUE(opened.ok()) << opened;
      state->Start(events.get());
    }
    void Apply(std::vector<EntryPtr> entries) {
      const Index last = entries.back()->index();
      state->Apply(std::move(entries));
      ASSERT_TRUE(events->WaitUntil([last](const std::vector<Event>& all) {
        const auto applied = EventLog::AllOf<Applied>(all);
        return !applied.empty() && applied.back().index == last;
      }));
    }
    absl::StatusOr<LogBase> Install(const LogBase& base) {
      const size_t before = events->All<Installed>().size();
      state->Install(base);
      EXPECT_TRUE(events->WaitUntil([before](const std::vector<Event>& all) {
        return EventLog::AllOf<Installed>(all).size() > before ||
               !EventLog::AllOf<StorageFailed>(all).empty();
      }));
      const auto installed = events->All<Installed>();
      if (installed.size() <= before) return events->All<StorageFailed>().front().status;
      return installed.back().base;
    }
    IncomingSnapshot* incoming() const { return state->incoming(); }
    uint64_t Digest() const {
      const auto digest = state->Digest();
      EXPECT_TRUE(digest.ok()) << digest.status();
      return digest.value_or(0);
    }
    std::string File(const std::string& name) const { return world.directory().File(name); }
    bool IsEmpty(const std::string& name) const {
      return !FileExists(File(name)) || std::filesystem::is_empty(File(name));
    }
    // Whether the directory of this name is empty, or gone, sooner or later.
    bool BecomesEmpty(const std::string& name) const {
      return WaitUntil(std::chrono::seconds(20), [&] { return IsEmpty(name); });
    }
  };

  SnapshotTest() {
    // Several table files, of several parts each.
    source_.world.options().state_memtable_bytes = 64 << 10;
    source_.Open();
    target_.Open();
  }

  // About 200 KB in the source, with a change of the membership; all in one history.
  void FillSource() {
    for (int i = 0; i < 4; ++i) {
      std::vector<EntryPtr> entries = chain_.Puts(Term(1), 50, 1000);
      entries.push_back(chain_.Change(Term(1), MembersNamed({"n1", "n" + std::to_string(i)})));
      source_.Apply(entries);
      for (EntryPtr& entry : entries) entries_.push_back(std::move(entry));
    }
  }
  std::shared_ptr<const Snapshot> Take(Index at_least = Index(1)) {
    auto snapshot = source_.snapshots->Get(at_least);
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    return snapshot.ok() ? *std::move(snapshot) : nullptr;
  }

  Node source_;
  Node target_;
  EntryChain chain_;
  std::vector<EntryPtr> entries_;
};

}  // namespace skein
