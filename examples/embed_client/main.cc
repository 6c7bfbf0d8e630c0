// Writes a key, reads it back from a follower, and writes a few more at the same time.
//
//   ./embed_client 127.0.0.1:7411 [more endpoints]
#include <skein/client.h>

#include <future>
#include <iostream>
#include <string>
#include <vector>

namespace {

int Complain(const std::string& what, const absl::Status& status) {
  const skein::ErrorDetail detail = skein::DetailOf(status);
  std::cerr << what << " failed: " << status << "\n";
  if (!detail.hint.empty()) std::cerr << "what to do: " << detail.hint << "\n";
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> endpoints(argv + 1, argv + argc);
  if (endpoints.empty()) endpoints.push_back("127.0.0.1:7411");
  auto client = skein::Client::Connect(endpoints);

  const auto put = client->Put("user:1", "Ada");
  if (!put.ok()) return Complain("put", put.status());
  std::cout << "wrote user:1 at revision " << put->revision << "\n";

  // Goes to a follower, and sees the write above all the same.
  const auto got = client->Get("user:1");
  if (!got.ok()) return Complain("get", got.status());
  if (!got->has_value()) return 1;
  std::cout << "read " << (*got)->key << " = " << (*got)->value << " from " << got->by.node_id
            << "\n";

  // The asynchronous form: these travel in one batch.
  std::vector<std::promise<absl::Status>> answers(10);
  for (size_t i = 0; i < answers.size(); ++i) {
    client->PutAsync("batch:" + std::to_string(i), "value", {},
                     [&answer = answers[i]](absl::StatusOr<skein::PutResult> result) {
                       answer.set_value(result.status());
                     });
  }
  for (auto& answer : answers) {
    const absl::Status status = answer.get_future().get();
    if (!status.ok()) return Complain("put", status);
  }
  std::cout << "wrote ten more keys; token " << client->token() << "\n";
  return 0;
}
