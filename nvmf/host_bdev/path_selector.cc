#include "nvmf/host_bdev/path_selector.h"

namespace basalt::nvmf {

namespace {

bool is_usable(const PathView& path) {
    return path.is_connected &&
           (path.access == PathAccess::kOptimized || path.access == PathAccess::kNonOptimized);
}

/// The best access that a usable path has; kNone if there is no usable path.
PathAccess best_access(std::span<const PathView> paths) {
    PathAccess best = PathAccess::kNone;
    for (const PathView& path : paths) {
        if (is_usable(path) && best != PathAccess::kOptimized) {
            best = path.access;
        }
    }
    return best;
}

std::optional<uint8_t> least_busy(std::span<const PathView> paths, PathAccess access) {
    std::optional<uint8_t> found;
    for (size_t i = 0; i < paths.size(); ++i) {
        if (is_usable(paths[i]) && paths[i].access == access &&
            (!found || paths[i].in_flight < paths[*found].in_flight)) {
            found = static_cast<uint8_t>(i);
        }
    }
    return found;
}

/// The first that fits from `from` on, round the end.
std::optional<uint8_t> next_from(std::span<const PathView> paths, PathAccess access, size_t from) {
    for (size_t i = 0; i < paths.size(); ++i) {
        const size_t index = (from + i) % paths.size();
        if (is_usable(paths[index]) && paths[index].access == access) {
            return static_cast<uint8_t>(index);
        }
    }
    return std::nullopt;
}

std::optional<uint8_t> select_passive(std::span<const PathView> paths,
                                      const PathRules& rules,
                                      const PathCursor& cursor,
                                      PathAccess access) {
    const auto fits = [&](std::optional<uint8_t> index) {
        return index && *index < paths.size() && is_usable(paths[*index]) &&
               paths[*index].access == access;
    };
    const bool can_stay =
        cursor.current && *cursor.current < paths.size() && is_usable(paths[*cursor.current]);
    if (rules.no_failback && can_stay) {
        return cursor.current;
    }
    if (fits(rules.preferred)) {
        return rules.preferred;
    }
    return fits(cursor.current) ? cursor.current : next_from(paths, access, 0);
}

}  // namespace

std::optional<uint8_t> select_path(std::span<const PathView> paths,
                                   const PathRules& rules,
                                   PathCursor& cursor) {
    const PathAccess access = best_access(paths);
    if (access == PathAccess::kNone) {
        return std::nullopt;
    }
    std::optional<uint8_t> chosen;
    if (rules.policy == MultipathPolicy::kActivePassive) {
        chosen = select_passive(paths, rules, cursor, access);
    } else if (rules.selector == MultipathSelector::kQueueDepth) {
        chosen = least_busy(paths, access);
    } else {
        const bool is_turn_over = cursor.used >= rules.rr_min_io;
        const size_t from = cursor.current.value_or(0) + (is_turn_over ? 1U : 0U);
        chosen = next_from(paths, access, from);
    }
    if (chosen == cursor.current) {
        ++cursor.used;
        if (rules.policy == MultipathPolicy::kActiveActive && cursor.used > rules.rr_min_io) {
            cursor.used = 1;  // The only path there is: its turn begins again.
        }
    } else {
        cursor.current = chosen;
        cursor.used = 1;
    }
    return chosen;
}

}  // namespace basalt::nvmf
