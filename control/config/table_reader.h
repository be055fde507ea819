#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <toml++/toml.h>

namespace basalt::control {

/// What is wrong with a configuration file: "basalt.toml:3: log.level: …". Thrown by the reader,
/// caught by load_config().
class ConfigError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// Reads one table of a TOML file and sees to it that no key goes unread: the keys that were asked
/// for are the keys that exist. Every getter returns nothing for an absent key, and throws
/// ConfigError for a value of the wrong type or outside its bounds.
///
/// Life: made, asked for all keys, finish(). The table outlives it.
class TableReader {
  public:
    /// `file` is what messages call the file; `path` leads to this table ("log"), empty for the
    /// top.
    TableReader(const toml::table& table, std::string file, std::string path);

    [[nodiscard]] std::optional<std::string> text(std::string_view key);
    [[nodiscard]] std::optional<bool> flag(std::string_view key);
    [[nodiscard]] std::optional<uint64_t> number(std::string_view key, uint64_t min, uint64_t max);

    /// Bytes: a number, or text such as "64MiB" or "1.5GiB" (KiB, MiB, GiB, TiB; the "iB" may be
    /// missing). At least 1.
    [[nodiscard]] std::optional<uint64_t> size_bytes(std::string_view key);

    /// The index of the text in `choices`.
    [[nodiscard]] std::optional<size_t> choice(std::string_view key,
                                               std::span<const std::string_view> choices);
    [[nodiscard]] std::vector<std::string> texts(std::string_view key);

    [[nodiscard]] std::optional<TableReader> table(std::string_view key);
    /// The tables of [[key]], in order.
    [[nodiscard]] std::vector<TableReader> tables(std::string_view key);

    /// Throws if `key` is there: it is known, but `why` it can't be used.
    void refuse(std::string_view key, std::string_view why);

    /// Throws for a key that nobody asked for, with the known key that it resembles.
    void finish() const;

    [[nodiscard]] bool has(std::string_view key) const { return table_->contains(key); }

    /// Throws: `key` has a value, or lacks one, that can't be.
    [[noreturn]] void fail(std::string_view key, std::string_view problem) const;

    /// "basalt.toml:12: bdev", for messages about the table as a whole.
    [[nodiscard]] std::string origin() const;
    /// "basalt.toml:14: bdev.path", for messages about a key, which exists or is missing.
    [[nodiscard]] std::string origin(std::string_view key) const;

  private:
    [[nodiscard]] const toml::node* find(std::string_view key);
    [[nodiscard]] std::string full_name(std::string_view key) const;
    [[nodiscard]] std::string place_of(const toml::node& node) const;
    [[noreturn]] void fail_type(std::string_view key,
                                const toml::node& node,
                                std::string_view wanted) const;

    const toml::table* table_;
    std::string file_;
    std::string path_;
    std::set<std::string, std::less<>> known_;
};

/// The word of `known` that `word` is probably a slip of; empty if it resembles none.
[[nodiscard]] std::string nearest_word(std::string_view word,
                                       const std::set<std::string, std::less<>>& known);

}  // namespace basalt::control
