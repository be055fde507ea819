#pragma once

#include <algorithm>
#include <cstring>
#include <span>

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

// The log pages, one function each. log_pages.cc has the table of them; what a page tells lies with
// its kin: log_controller.cc, log_ana.cc, log_discovery.cc.

namespace basalt::nvmf {

/// A window of a log page that is made piece by piece: what lies outside of what the host asked for
/// is not kept, so that a page of any length needs no memory of its own.
class PageWindow {
  public:
    PageWindow(std::span<std::byte> out, uint64_t offset_bytes) : out_(out), offset_(offset_bytes) {
        std::memset(out.data(), 0, out.size());
    }

    /// Adds `bytes` at the end of the page.
    void add(const void* bytes, size_t count) {
        const uint64_t begin = std::max(position_, offset_);
        const uint64_t end = std::min(position_ + count, offset_ + out_.size());
        if (begin < end) {
            std::memcpy(out_.data() + (begin - offset_),
                        static_cast<const std::byte*>(bytes) + (begin - position_),
                        end - begin);
        }
        position_ += count;
    }
    template <typename T>
    void add(const T& part) {
        add(&part, sizeof(part));
    }

    [[nodiscard]] uint64_t size() const { return position_; }
    /// The host asked for something behind the end: the command fails, and the page, of which it
    /// has seen nothing, is as unread as before.
    [[nodiscard]] bool is_missed() const { return offset_ > position_; }

  private:
    std::span<std::byte> out_;
    uint64_t offset_;
    uint64_t position_ = 0;
};

/// Writes one page: adds all of it to `page`, which keeps what the host asked for, and re-arms the
/// page's event unless the command says Retain or misses the page. Status of the command. `request`
/// has Get Log Page.
using LogPageWriter = NvmeStatus (*)(Request& request, PageWindow& page);

/// One log page of the target.
struct LogPage {
    uint8_t lid = 0;
    bool is_for_io = false;         ///< I/O controllers have it.
    bool is_for_discovery = false;  ///< Discovery controllers have it.
    LogPageWriter write = nullptr;
    bool needs_health = false;  ///< Wants Controller::gathered_health, or all errors until now.
};

/// All pages, for whoever tells which there are.
[[nodiscard]] std::span<const LogPage> log_pages();

// --- The controller itself: log_controller.cc.

/// 00h.
[[nodiscard]] NvmeStatus write_supported_log_pages(Request& request, PageWindow& page);
/// 01h.
[[nodiscard]] NvmeStatus write_error_log(Request& request, PageWindow& page);
/// 02h.
[[nodiscard]] NvmeStatus write_health_log(Request& request, PageWindow& page);
/// 03h.
[[nodiscard]] NvmeStatus write_firmware_slots(Request& request, PageWindow& page);
/// 04h.
[[nodiscard]] NvmeStatus write_changed_namespaces(Request& request, PageWindow& page);
/// 05h.
[[nodiscard]] NvmeStatus write_command_effects(Request& request, PageWindow& page);
/// 12h.
[[nodiscard]] NvmeStatus write_feature_effects(Request& request, PageWindow& page);
/// 13h.
[[nodiscard]] NvmeStatus write_management_effects(Request& request, PageWindow& page);

// --- Paths: log_ana.cc.

/// 0Ch.
[[nodiscard]] NvmeStatus write_ana_log(Request& request, PageWindow& page);

// --- Discovery: log_discovery.cc.

/// 70h.
[[nodiscard]] NvmeStatus write_discovery_log(Request& request, PageWindow& page);

}  // namespace basalt::nvmf
