#include "tests/sim/sim_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/check.h"
#include "common/random.h"

namespace skein::sim {
namespace {

struct NamedRate {
  const char* name;
  uint64_t FaultRates::*rate;
  uint64_t mean_min_us;  // when it is drawn at all
  uint64_t mean_max_us;
  // Drawn apart from the others, which stay as they were without it, and more seldom: it ends what
  // they have begun.
  bool of_its_own = false;
};

constexpr uint64_t kSecond = 1'000'000;

constexpr NamedRate kRates[] = {
    {"crash", &FaultRates::crash, kSecond / 10, 10 * kSecond},
    {"crash-all", &FaultRates::crash_all, 5 * kSecond, 30 * kSecond},
    {"power", &FaultRates::power, 2 * kSecond, 20 * kSecond},
    {"pause", &FaultRates::pause, kSecond / 5, 10 * kSecond},
    {"partition", &FaultRates::partition, kSecond / 5, 10 * kSecond},
    {"isolate", &FaultRates::isolate, kSecond / 5, 10 * kSecond},
    {"one-way", &FaultRates::one_way, kSecond / 5, 10 * kSecond},
    {"clog", &FaultRates::clog, kSecond / 5, 5 * kSecond},
    {"swizzle", &FaultRates::swizzle, 2 * kSecond, 20 * kSecond},
    {"break", &FaultRates::stream_break, kSecond / 5, 5 * kSecond},
    {"garble", &FaultRates::garble, kSecond / 5, 5 * kSecond},
    {"stall", &FaultRates::disk_stall, kSecond / 5, 10 * kSecond},
    {"disk-error", &FaultRates::disk_error, 2 * kSecond, 20 * kSecond},
    {"disk-full", &FaultRates::disk_full, 2 * kSecond, 20 * kSecond},
    {"damage", &FaultRates::damage, kSecond, 10 * kSecond},
    {"wall-jump", &FaultRates::wall_jump, kSecond, 10 * kSecond},
    {"client-cut", &FaultRates::client_cut, kSecond / 2, 10 * kSecond},
    {"upstream-cut", &FaultRates::upstream_cut, kSecond / 2, 5 * kSecond},
    {"wipe", &FaultRates::wipe, 2 * kSecond, 20 * kSecond},
    {"change", &FaultRates::change, kSecond / 10, 3 * kSecond},
    {"transfer", &FaultRates::transfer, kSecond / 5, 5 * kSecond},
    {"terminate", &FaultRates::terminate, kSecond / 2, 10 * kSecond, true},
    {"majority-loss", &FaultRates::majority_loss, 2 * kSecond, 20 * kSecond, true},
};

struct NamedChance {
  const char* name;
  double SimOptions::*chance;
  double max;
  bool turmoil = false;  // never missing where leaders are overthrown all the time
};

constexpr NamedChance kChances[] = {
    {"loss", &SimOptions::loss, 0.05},
    {"dup", &SimOptions::duplicate, 0.1},
    {"reorder", &SimOptions::reorder, 0.1},
    {"replay", &SimOptions::replay, 0.05},
    {"coup", &SimOptions::coup, 0.9, true},
    {"few", &SimOptions::few, 0.9, true},
    {"stale", &SimOptions::stale, 1.0, true},
    {"freeze", &SimOptions::freeze, 0.01},
    {"drift", &SimOptions::drift, 0.05},
    {"half-drain", &SimOptions::half_drain, 0.5},
    {"fetch-fails", &SimOptions::fetch_fails, 0.5},
    {"ticks-first", &SimOptions::ticks_first, 1.0},
    {"old-version", &SimOptions::old_version, 0.6},
};

template <typename T>
T OneOf(Random* random, std::initializer_list<T> choices) {
  return *(choices.begin() + random->Below(choices.size()));
}

// Every order of magnitude is as likely as any other.
uint64_t LogUniform(Random* random, uint64_t low, uint64_t high) {
  const double share = static_cast<double>(random->Below(1001)) / 1000.0;
  const double ratio = static_cast<double>(high) / static_cast<double>(low);
  return static_cast<uint64_t>(static_cast<double>(low) * std::pow(ratio, share));
}

void DrawLimits(Random* random, SimOptions* options) {
  CoreOptions& core = options->replica.core;
  core.election_ticks_min = OneOf<uint64_t>(random, {10, 20, 50});
  core.election_ticks_max = core.election_ticks_min * 2;
  core.heartbeat_ticks = core.election_ticks_min / 5;
  core.stall_ticks = core.election_ticks_min * random->Between(2, 6);
  core.append_bytes_max = OneOf<uint64_t>(random, {1, 200, 1000, 100'000});
  core.window_bytes_max =
      std::max(core.append_bytes_max, OneOf<uint64_t>(random, {1, 200, 1000, 100'000}));
  core.uncommitted_bytes_max = OneOf<uint64_t>(random, {300, 1000, 4000, 1'000'000});
  core.applying_bytes_max = OneOf<uint64_t>(random, {1, 300, 2000, 1'000'000});
  core.memory_bytes_max = OneOf<uint64_t>(random, {0, 500, 2000, 1'000'000});
  core.reads_waiting_max = OneOf<uint64_t>(random, {2, 10, 65'536});
  core.trim_step_entries = OneOf<uint64_t>(random, {1, 4, 16, 100});
  core.log_retention_bytes = OneOf<uint64_t>(random, {200, 1000, 10'000, 1'000'000});
  core.level_entries_max = OneOf<uint64_t>(random, {0, 2, 16, 256});
  core.snapshot_silence_ticks = 2 * core.election_ticks_max;
  ReplicaOptions& replica = options->replica;
  replica.entry_bytes_max = OneOf<uint64_t>(random, {1, 100, 500, 100'000});
  replica.queue_bytes_max = OneOf<uint64_t>(random, {50, 300, 1'000'000});
  replica.send_after_max = OneOf<size_t>(random, {16, 64, 4096});
  replica.entries_in_flight_max = OneOf<uint64_t>(random, {1, 2, 4});
  replica.eager_bytes = OneOf<uint64_t>(random, {1, 100, 64 << 10});
}

void DrawLoad(Random* random, SimOptions* options) {
  options->delay_min_us = OneOf<uint64_t>(random, {10, 100, 1000});
  options->delay_mean_us = OneOf<uint64_t>(random, {50, 300, 3000});
  options->given_up_after_us = OneOf<uint64_t>(random, {kSecond / 2, 3 * kSecond, 60 * kSecond});
  options->sync_mean_us = OneOf<uint64_t>(random, {20, 500, 5000});
  options->apply_mean_us = OneOf<uint64_t>(random, {10, 100, 2000});
  options->fetch_mean_us = OneOf<uint64_t>(random, {1'000, 50'000, 500'000});
  options->flush_every_us = OneOf<uint64_t>(random, {100'000, kSecond, 5 * kSecond});
  options->clients = random->Between(1, 6);
  options->calls_each = random->Between(1, 4);
  options->keys = random->Between(1, 5);
  options->think_mean_us = OneOf<uint64_t>(random, {5'000, 20'000, 100'000});
  options->call_deadline_us = OneOf<uint64_t>(random, {300'000, 1'500'000, 5'000'000});
  options->write_share = OneOf<double>(random, {0.3, 0.6, 0.9});
  options->delete_share = OneOf<double>(random, {0.0, 0.1, 0.4});
}

// A cluster that hardly does anything but elect leaders, and overthrow them.
void DrawTurmoil(Random* random, const FaultChoice& choice, SimOptions* options) {
  CoreOptions& core = options->replica.core;
  core.election_ticks_min = 10;
  core.election_ticks_max = 20;
  core.heartbeat_ticks = 2;
  core.stall_ticks = 10 * random->Between(2, 6);
  core.snapshot_silence_ticks = 2 * core.election_ticks_max;
  core.append_bytes_max = OneOf<uint64_t>(random, {1, 1, 200, 100'000});
  core.window_bytes_max = std::max(core.window_bytes_max, core.append_bytes_max);
  options->think_mean_us = OneOf<uint64_t>(random, {5'000, 20'000});
  options->revive_mean_us = 30'000;
  for (const NamedRate& rate : kRates) {
    if (rate.of_its_own && !choice.Has(rate.name, false)) options->faults.*(rate.rate) = 0;
  }
  // Of an even number of voters one more and one less can have quorums that do not meet.
  if (random->Chance(0.5) && choice.Has("change", true)) {
    options->voters = 4;
    options->learners = 1;
    options->faults.change = 200'000;
  }
  for (const NamedChance& chance : kChances) {
    const double share = static_cast<double>(random->Between(20, 100)) / 100.0;
    if (!chance.turmoil || !choice.Has(chance.name, true)) continue;
    options->*(chance.chance) = chance.max * share;
  }
}

}  // namespace

std::vector<std::string> FaultNames() {
  std::vector<std::string> names;
  for (const NamedRate& rate : kRates) names.emplace_back(rate.name);
  for (const NamedChance& chance : kChances) names.emplace_back(chance.name);
  return names;
}

SimOptions DrawOptions(uint64_t seed, const FaultChoice& choice) {
  Random random = Random(seed).Fork("options");
  SimOptions options;
  options.seed = seed;
  options.voters = OneOf<size_t>(&random, {1, 3, 3, 3, 4, 5, 5});
  options.learners = OneOf<size_t>(&random, {0, 0, 0, 1, 1, 2});
  options.upstreams = random.Fork("upstreams").Chance(0.5);
  options.spares = OneOf<size_t>(&random, {0, 1, 2});
  Random behind = random.Fork("behind");
  options.replica.unapplied_bytes_max = OneOf<uint64_t>(&behind, {100, 2000, 64 << 20});
  Random sources = random.Fork("snapshots");
  options.snapshots_max = OneOf<size_t>(&sources, {1, 1, 4});
  Random level = random.Fork("level");
  options.replica.core.level_bytes_max = OneOf<uint64_t>(&level, {300, 3000, 128 << 20});
  DrawLimits(&random, &options);
  DrawLoad(&random, &options);
  // Some seeds have many faults, some few.
  options.revive_mean_us = OneOf<uint64_t>(&random, {30'000, 400'000, 2'000'000});
  const double share = OneOf<double>(&random, {0.15, 0.35, 0.6});
  for (const NamedRate& rate : kRates) {
    Random own = random.Fork(rate.name);
    Random* const draws = rate.of_its_own ? &own : &random;
    const bool drawn = draws->Chance(rate.of_its_own ? share / 4 : share);
    const uint64_t mean_us = LogUniform(draws, rate.mean_min_us, rate.mean_max_us);
    if (choice.Has(rate.name, drawn)) options.faults.*(rate.rate) = mean_us;
  }
  for (const NamedChance& chance : kChances) {
    const bool drawn = random.Chance(share);
    const double value = chance.max * static_cast<double>(random.Between(1, 100)) / 100.0;
    if (choice.Has(chance.name, drawn)) options.*(chance.chance) = value;
  }
  if (random.Chance(0.25)) DrawTurmoil(&random, choice, &options);
  SKEIN_CHECK(options.replica.core.Validate().ok());
  return options;
}

std::string Describe(const SimOptions& options) {
  std::string text = fmt::format("{} voters", options.voters);
  if (options.learners > 0) {
    text += fmt::format(", {} learners{}", options.learners,
                        options.upstreams ? " with upstreams" : "");
  }
  text +=
      fmt::format(", election {} to {} ticks, {} clients of {} calls, {} keys",
                  options.replica.core.election_ticks_min, options.replica.core.election_ticks_max,
                  options.clients, options.calls_each, options.keys);
  for (const NamedRate& rate : kRates) {
    if (options.faults.*(rate.rate) == 0) continue;
    text += fmt::format(", {} {:.1f} s", rate.name,
                        static_cast<double>(options.faults.*(rate.rate)) / kSecond);
  }
  for (const NamedChance& chance : kChances) {
    if (options.*(chance.chance) == 0) continue;
    text += fmt::format(", {} {:.3f}", chance.name, options.*(chance.chance));
  }
  return text;
}

}  // namespace skein::sim
