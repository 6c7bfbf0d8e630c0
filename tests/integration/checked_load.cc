#include "tests/integration/checked_load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "skein/error.h"
#include "tests/server/raw_node.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

constexpr size_t kComplaintsMax = 5;

}  // namespace

std::string ValueFor(const std::string& key) { return "value of " + key + std::string(64, '.'); }

std::vector<std::string> Complaints(const WrittenRecord& record, const Contents& contents) {
  std::vector<std::string> complaints;
  for (const auto& [key, revision] : record.acknowledged) {
    const auto found = contents.find(key);
    if (found == contents.end()) {
      complaints.push_back(key + ", acknowledged at revision " + std::to_string(revision) +
                           ", is lost");
    } else if (found->second.second != revision) {
      complaints.push_back(key + ", acknowledged at revision " + std::to_string(revision) +
                           ", has version " + std::to_string(found->second.second));
    }
  }
  for (const auto& [key, item] : contents) {
    if (item.first != ValueFor(key)) complaints.push_back(key + " has another value");
    const auto refused = record.refused.find(key);
    if (refused != record.refused.end()) {
      complaints.push_back(key + " is there, but was refused: " + refused->second);
    } else if (!record.acknowledged.contains(key) && !record.unknown.contains(key)) {
      complaints.push_back(key + " was never written");
    }
  }
  if (complaints.size() > kComplaintsMax) {
    const size_t more = complaints.size() - kComplaintsMax;
    complaints.resize(kComplaintsMax);
    complaints.push_back("and " + std::to_string(more) + " more");
  }
  return complaints;
}

Contents ContentsOf(const std::string& address, const std::string& prefix, uint64_t revision) {
  RawNode node(address);
  v1::ScanRequest request;
  request.set_prefix(prefix);
  request.mutable_read()->set_consistency(v1::AT_LEAST);
  request.mutable_read()->set_at_least_revision(revision);
  request.mutable_read()->set_wait_ms(25'000);
  const RawScan scan = node.Scan(request);
  EXPECT_TRUE(scan.status.ok()) << address << ": " << scan.status.error_message();
  Contents contents;
  for (const v1::KeyValue& item : scan.items) {
    contents[item.key()] = {item.value(), item.version()};
  }
  EXPECT_EQ(contents.size(), scan.items.size()) << address << " sent a key twice";
  return contents;
}

CheckedLoad::CheckedLoad(const std::vector<std::string>& addresses, const std::string& prefix,
                         int writers)
    : addresses_(addresses), prefix_(prefix), client_(Client::Connect(addresses)) {
  for (int writer = 0; writer < writers; ++writer) {
    writers_.emplace_back([this, writer] { Write(writer); });
  }
}

CheckedLoad::~CheckedLoad() { Stop(); }

void CheckedLoad::Write(int writer) {
  for (int i = 0; !stopping_; ++i) {
    const std::string key = prefix_ + std::to_string(writer) + "/" + std::to_string(i);
    const absl::StatusOr<PutResult> put = client_->Put(key, ValueFor(key));
    MutexLock lock(&mu_);
    if (put.ok()) {
      record_.acknowledged[key] = put->revision;
      ++acknowledged_;
      const auto now = std::chrono::steady_clock::now();
      longest_pause_ = std::max(longest_pause_, now - last_acknowledged_);
      last_acknowledged_ = now;
    } else if (absl::IsUnknown(put.status()) || DetailOf(put.status()).maybe_applied) {
      record_.unknown[key] = put.status().ToString();
    } else {
      record_.refused[key] = put.status().ToString();
    }
  }
}

bool CheckedLoad::WaitForMore(size_t count, std::chrono::milliseconds timeout) {
  const size_t target = acknowledged() + count;
  return WaitUntil(timeout, [&] { return acknowledged() >= target; });
}

std::chrono::milliseconds CheckedLoad::TakeLongestPause() {
  MutexLock lock(&mu_);
  return std::chrono::duration_cast<std::chrono::milliseconds>(
      std::exchange(longest_pause_, std::chrono::steady_clock::duration()));
}

void CheckedLoad::Stop() {
  stopping_ = true;
  for (std::thread& writer : writers_) {
    if (writer.joinable()) writer.join();
  }
}

void CheckedLoad::ExpectOn(const std::vector<std::string>& addresses) {
  ASSERT_GT(record_.acknowledged.size(), 0U);
  // Everything whose fate is open is settled once a later write is applied.
  absl::StatusOr<PutResult> last;
  WaitUntil(std::chrono::seconds(30), [&] {
    last = client_->Put("last/" + prefix_, "");
    return last.ok();
  });
  ASSERT_TRUE(last.ok()) << last.status();
  Contents first;
  for (const std::string& address : addresses) {
    const Contents contents = ContentsOf(address, prefix_, last->revision);
    for (const std::string& complaint : Complaints(record_, contents)) {
      ADD_FAILURE() << address << ": " << complaint;
    }
    if (address == addresses.front()) first = contents;
    EXPECT_TRUE(contents == first)
        << addresses.front() << " and " << address << " hold different data";
  }
  std::printf("%zu writes acknowledged, %zu unknown, %zu refused\n", record_.acknowledged.size(),
              record_.unknown.size(), record_.refused.size());
}

}  // namespace skein
