#pragma once

#include <cstdint>

namespace basalt::control {

/// Each connection takes a file descriptor, and so do files, rings and the API: the usual soft
/// limit of 1024 would be 900 connections. Raises it to the hard limit, and logs a warning if that
/// is less than `reactors` full of connections take. Returns the limit.
uint64_t raise_descriptor_limit(uint32_t reactors);

}  // namespace basalt::control
