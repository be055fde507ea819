#pragma once

#include <string>

#include "reactor/base/result.h"

namespace basalt::control {

/// The contents of a file. Errors, explained in `problem` with the path: those of open(2) and
/// read(2).
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::string& problem);

/// Makes a sparse file of `size_bytes` if there is none at `path`. Errors, explained in `problem`:
/// those of open(2) and ftruncate(2).
[[nodiscard]] Status make_sparse_file(const std::string& path,
                                      uint64_t size_bytes,
                                      std::string& problem);

}  // namespace basalt::control
