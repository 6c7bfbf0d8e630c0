// What the commands share that read or change a data directory rather than ask a cluster.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"

namespace skein::cli {

void AddDataDirectory(CLI::App* command, std::string* path);

// Says on standard error what failed, and what to do; returns the exit code.
int FailOffline(const std::string& what, const absl::Status& status);

// What is made there must be the property of whom skeind runs as. Empty: it will be; else what to
// do.
std::string CheckOwner(const std::string& path);

}  // namespace skein::cli
