// `skein bench lag`.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void AddBenchLag(CLI::App* bench, Globals* globals);

}  // namespace skein::cli
