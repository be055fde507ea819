#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bdev/core/uuid.h"

namespace basalt::cluster {

using bdev::Uuid;

// Where records are in a MetadataStore. Prefixes end with '/'.
inline constexpr std::string_view kClusterKey = "cluster";
inline constexpr std::string_view kNodes = "node/";
inline constexpr std::string_view kDrives = "drive/";
inline constexpr std::string_view kVolumes = "volume/";
inline constexpr std::string_view kVolumeNames = "volume-name/";
inline constexpr std::string_view kRequests = "request/";
inline constexpr std::string_view kChunks = "chunks/";
inline constexpr std::string_view kSnapshots = "snapshot/";
inline constexpr std::string_view kAttachments = "attachment/";
inline constexpr std::string_view kHeads = "head/";
inline constexpr std::string_view kHeadLeases = "head-lease/";
inline constexpr std::string_view kTasks = "task/";
inline constexpr std::string_view kEvents = "event/";
inline constexpr std::string_view kSettings = "setting/";
inline constexpr std::string_view kLeader = "leader";
inline constexpr std::string_view kNextDrive = "next/drive";
inline constexpr std::string_view kNextVolume = "next/volume";

[[nodiscard]] std::string key_of(std::string_view prefix, const Uuid& uuid);
[[nodiscard]] std::string key_of(std::string_view prefix, std::string_view name);
[[nodiscard]] std::string key_of_chunks(const Uuid& volume, uint32_t group);
[[nodiscard]] std::string key_of_snapshot(const Uuid& volume, const Uuid& snapshot);
/// Events are in the order of their time.
[[nodiscard]] std::string key_of_event(uint64_t time_ns, const Uuid& event);

/// A record's field.
[[nodiscard]] std::string to_field(const Uuid& uuid);
/// The nil UUID for anything that is not one.
[[nodiscard]] Uuid to_uuid(std::string_view field);

/// 1 to kNameBytesMax bytes without control characters.
[[nodiscard]] bool is_name(std::string_view name);

}  // namespace basalt::cluster
