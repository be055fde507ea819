#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "reactor/base/result.h"
#include "replication/core/block_bitmap.h"
#include "replication/core/window.h"

namespace basalt::replication::wire {

/// The payloads that are lists: windows and dirty bitmaps. format.md, "Lists". Pure, any core.

inline constexpr size_t kWindowEntryBytes = 32;
inline constexpr size_t kRunBytes = 16;

/// Of one list: 512 entries or 1024 runs. More goes into several frames, so that what is large
/// holds nobody else up and needs little memory.
inline constexpr size_t kListBytesMax = 16384;

/// Writes as many of `entries` as `out` has room for; returns the bytes written.
size_t encode_window(std::span<const WindowEntry> entries, std::span<std::byte> out);

/// Adds the entries of `payload` to `window`. Errors: kProtocol: no whole entries, one without a
/// number or longer than a range may be; kNoMemory: the window is full; kDataCorrupt: `crc`, the
/// header's table_crc, is of other bytes. What was added before an error stays.
[[nodiscard]] Status decode_window(std::span<const std::byte> payload,
                                   uint32_t crc,
                                   Window& window);

/// Writes the runs of dirty blocks from `from` on, as many as `out` has room for, and moves `from`
/// to where the next page begins: `bitmap.blocks()` when that was all. Returns the bytes written.
size_t encode_dirty(const BlockBitmap& bitmap, uint64_t& from, std::span<std::byte> out);

/// Sets the blocks of the runs in `payload`. Errors: kProtocol: no whole runs, one that is empty,
/// out of order or beyond the bitmap; kDataCorrupt: `crc` is of other bytes.
[[nodiscard]] Status decode_dirty(std::span<const std::byte> payload,
                                  uint32_t crc,
                                  BlockBitmap& bitmap);

}  // namespace basalt::replication::wire
