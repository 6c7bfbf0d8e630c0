// Errors of the client library: an absl::Status whose skein::ErrorDetail says why, whether the
// command may have been applied, and what to do. Get it with skein::DetailOf(status).
#pragma once

#include "common/error.h"
