// Reads of the RocksDB state, and what it does about damage, beyond the contract of StateMachine.
#include "storage/kv_state_machine.h"

#include <atomic>
#include <filesystem>
#include <thread>

#include "common/error.h"
#include "gtest/gtest.h"
#include "storage/file_util.h"
#include "tests/support/storage_entries.h"
#include "tests/support/storage_event_log.h"
#include "tests/support/temp_dir.h"

namespace skein {
namespace {

class KvStateMachineTest : public testing::Test {
 protected:
  KvStateMachineTest() { Open(); }

  void Open() {
    state_.reset();
    events_ = std::make_unique<EventLog>();
    auto state = KvStateMachine::Open(options_, temp_.path());
    ASSERT_TRUE(state.ok()) << state.status();
    state_ = *std::move(state);
    state_->SetAppliedListener([this](Index index, Revision revision) {
      heard_index_ = index.value();
      heard_revision_ = revision.value();
    });
    state_->SetDamageListener([this](const absl::Status& damage) {
      ++damage_reports_;
      EXPECT_NE(MessageOf(damage).find(temp_.File("state")), std::string::npos) << damage;
      EXPECT_NE(DetailOf(damage).hint.find("move " + temp_.File("state")), std::string::npos);
    });
    state_->Start(events_.get());
  }
  void Apply(std::vector<EntryPtr> entries) {
    state_->Apply(std::move(entries));
    const Index last = chain_.last().at.index;
    ASSERT_TRUE(events_->WaitUntil([last](const std::vector<Event>& events) {
      const auto applied = EventLog::AllOf<Applied>(events);
      return !applied.empty() && applied.back().index == last;
    }));
  }
  void Put(const std::string& key, const std::string& value) {
    Apply({chain_.Put(Term(1), key, value)});
  }
  // `key=value@version` of each pair.
  std::vector<std::string> Scan(const ScanSpec& spec) {
    std::vector<std::string> pairs;
    const auto shown = state_->Scan(spec, [&](const KeyValueView& pair) {
      pairs.push_back(std::string(pair.key) + "=" + std::string(pair.value) + "@" +
                      std::to_string(pair.version.value()));
      return true;
    });
    EXPECT_TRUE(shown.ok()) << shown.status();
    EXPECT_EQ(*shown, pairs.size());
    return pairs;
  }

  using Pairs = std::vector<std::string>;

  TempDir temp_;
  StorageOptions options_;
  std::atomic<uint64_t> heard_index_{0};
  std::atomic<uint64_t> heard_revision_{0};
  std::atomic<int> damage_reports_{0};
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<KvStateMachine> state_;
  EntryChain chain_;
};

TEST_F(KvStateMachineTest, AValueBearsTheRevisionOfItsPut) {
  Put("a", "1");
  Put("b", "2");
  Put("a", "3");
  const auto value = state_->Get("a");
  ASSERT_TRUE(value.ok() && value->has_value());
  EXPECT_EQ((*value)->value, "3");
  EXPECT_EQ((*value)->version, Revision(3));
  EXPECT_EQ(state_->applied_revision(), Revision(3));
  EXPECT_EQ(state_->applied_index(), Index(3));
}

TEST_F(KvStateMachineTest, TheListenerHearsBeforeAppliedIsPosted) {
  Put("a", "1");
  EXPECT_EQ(heard_index_, 1u);
  EXPECT_EQ(heard_revision_, 1u);
}

TEST_F(KvStateMachineTest, KeysAndValuesAreBytesOfAnyLength) {
  const std::string big_key(5000, '\xff');
  const std::string binary("\0\n\xff", 3);
  Put(big_key, "big");
  Put(binary, binary);
  Put(std::string(255, 'k'), std::string(1 << 20, 'v'));
  EXPECT_EQ((*state_->Get(big_key))->value, "big");
  EXPECT_EQ((*state_->Get(binary))->value, binary);
  EXPECT_EQ((*state_->Get(std::string(255, 'k')))->value.size(), size_t{1} << 20);
  EXPECT_EQ(*state_->Get(std::string(254, 'k')), std::nullopt);
}

TEST_F(KvStateMachineTest, MultiGetAnswersEveryKeyInItsPlace) {
  Put("a", "1");
  Put("c", "3");
  const auto values = state_->MultiGet({"c", "b", "a", "c"});
  ASSERT_TRUE(values.ok());
  ASSERT_EQ(values->size(), 4u);
  EXPECT_EQ((*values)[0]->value, "3");
  EXPECT_EQ((*values)[1], std::nullopt);
  EXPECT_EQ((*values)[2]->version, Revision(1));
  EXPECT_EQ((*values)[3]->value, "3");
}

TEST_F(KvStateMachineTest, ScanKnowsRangesPrefixesLimitsAndBothDirections) {
  for (const char* key : {"a", "ab", "abc", "b", "\xff", "\xff\xff"}) Put(key, "v");
  EXPECT_EQ(Scan({}), (Pairs{"a=v@1", "ab=v@2", "abc=v@3", "b=v@4", "\xff=v@5", "\xff\xff=v@6"}));
  EXPECT_EQ(Scan({.start = "ab", .end = "b"}), (Pairs{"ab=v@2", "abc=v@3"}));
  EXPECT_EQ(Scan({.start = "b", .end = "ab"}), Pairs{});
  EXPECT_EQ(Scan({.prefix = "ab"}), (Pairs{"ab=v@2", "abc=v@3"}));
  EXPECT_EQ(Scan({.prefix = "\xff"}), (Pairs{"\xff=v@5", "\xff\xff=v@6"}));
  EXPECT_EQ(Scan({.limit = 2, .reverse = true}), (Pairs{"\xff\xff=v@6", "\xff=v@5"}));
  EXPECT_EQ(Scan({.start = "ab", .end = "b", .reverse = true}), (Pairs{"abc=v@3", "ab=v@2"}));
  EXPECT_EQ(Scan({.prefix = "b", .keys_only = true}), Pairs{"b=@4"});
}

TEST_F(KvStateMachineTest, AScanStopsWhenItsVisitorWantsNoMore) {
  Put("a", "1");
  Put("b", "2");
  const auto shown = state_->Scan({}, [](const KeyValueView&) { return false; });
  ASSERT_TRUE(shown.ok());
  EXPECT_EQ(*shown, 1u);
}

TEST_F(KvStateMachineTest, AReaderNeverSeesHalfAnEntry) {
  // Each entry writes the same number under both keys.
  std::atomic<bool> done{false};
  std::atomic<int> torn{0};
  std::atomic<int> reads{0};
  std::thread reader([&] {
    while (!done) {
      const auto values = state_->MultiGet({"x", "y"});
      if (!values.ok()) ++torn;
      std::vector<std::string> scanned;
      (void)state_->Scan({}, [&](const KeyValueView& pair) {
        scanned.emplace_back(pair.value);
        return true;
      });
      const auto text = [](const std::optional<VersionedValue>& value) {
        return value.has_value() ? value->value : "";
      };
      if (values.ok() && text((*values)[0]) != text((*values)[1])) ++torn;
      if (scanned.size() == 1 || (scanned.size() == 2 && scanned[0] != scanned[1])) ++torn;
      ++reads;
    }
  });
  for (int i = 0; i < 2000 || reads < 50; ++i) {
    std::string batch;
    AppendPut(&batch, "x", std::to_string(i));
    AppendPut(&batch, "y", std::to_string(i));
    Apply({chain_.Commands(Term(1), 2, batch)});
  }
  done = true;
  reader.join();
  EXPECT_EQ(torn, 0);
}

TEST_F(KvStateMachineTest, ADamagedTableFileIsNeverAWrongValue) {
  std::vector<EntryPtr> entries;
  for (int i = 0; i < 2000; ++i) {
    entries.push_back(chain_.Put(Term(1), "key" + std::to_string(i), std::string(100, 'v')));
  }
  Apply(std::move(entries));
  ASSERT_TRUE(state_->Flush().ok());
  state_.reset();
  int damaged_files = 0;
  for (const auto& file : std::filesystem::directory_iterator(temp_.File("state"))) {
    if (file.path().extension() != ".sst") continue;
    std::string content = *ReadFile(file.path());
    // Data blocks come first.
    content[content.size() / 4] = static_cast<char>(content[content.size() / 4] ^ 0x20);
    ASSERT_TRUE(ReplaceFile(file.path(), content).ok());
    ++damaged_files;
  }
  ASSERT_GT(damaged_files, 0);
  Open();
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto value = state_->Get("key" + std::to_string(i));
    if (value.ok()) {
      ASSERT_TRUE(value->has_value());
      EXPECT_EQ((*value)->value, std::string(100, 'v'));
      continue;
    }
    EXPECT_EQ(value.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(DetailOf(value.status()).reason, ErrorReason::kDamagedData);
    ++refused;
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(state_->Scan({}, [](const KeyValueView&) { return true; }).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(state_->Digest().status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(damage_reports_, 1);
}

// RocksDB would make a new, empty database and remove the files of the old one.
TEST_F(KvStateMachineTest, AStateWithoutItsFileCurrentIsRefusedAndLeftAlone) {
  Put("a", "1");
  ASSERT_TRUE(state_->Flush().ok());
  state_.reset();
  std::filesystem::remove(temp_.File("state/CURRENT"));
  const auto state = KvStateMachine::Open(options_, temp_.path());
  EXPECT_EQ(state.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(MessageOf(state.status()).find("CURRENT"), std::string::npos);
  EXPECT_TRUE(HasFilesEndingIn(temp_.File("state"), ".sst"));
}

TEST_F(KvStateMachineTest, AFullMemtableIsReportedAsDurable) {
  options_.state_memtable_bytes = 256 << 10;
  Open();
  for (int i = 0; i < 20; ++i) Apply(chain_.Puts(Term(1), 20, 5000));
  ASSERT_TRUE(events_->WaitUntil([](const std::vector<Event>& events) {
    return !EventLog::AllOf<StateDurable>(events).empty();
  }));
  const Index durable = events_->All<StateDurable>().back().index;
  Open();
  EXPECT_GE(state_->Recovered().at.index, durable);
  EXPECT_EQ(state_->applied_index(), state_->Recovered().at.index);
}

}  // namespace
}  // namespace skein
