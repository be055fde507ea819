#include "control/config/table_reader.h"

#include <algorithm>

#include "control/config/size_text.h"

namespace basalt::control {

namespace {

std::string_view type_name(const toml::node& node) {
    switch (node.type()) {
        case toml::node_type::string: return "text";
        case toml::node_type::integer: return "a whole number";
        case toml::node_type::floating_point: return "a fraction";
        case toml::node_type::boolean: return "true or false";
        case toml::node_type::array: return "a list";
        case toml::node_type::table: return "a table";
        case toml::node_type::date:
        case toml::node_type::time:
        case toml::node_type::date_time: return "a date or time";
        case toml::node_type::none: break;
    }
    return "nothing";
}

// Levenshtein's distance, with one row of the table at a time.
size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
        }
    }
    return row[b.size()];
}

}  // namespace

std::string nearest_word(std::string_view word, const std::set<std::string, std::less<>>& known) {
    std::string nearest;
    // A third of the letters wrong (rounded) is still a slip; more is another word.
    size_t distance_max = std::max<size_t>(1, (word.size() + 1) / 3);
    for (const std::string& candidate : known) {
        const size_t distance = edit_distance(word, candidate);
        if (distance <= distance_max) {
            nearest = candidate;
            distance_max = distance - 1;
            if (distance <= 1) {
                break;
            }
        }
    }
    return nearest;
}

TableReader::TableReader(const toml::table& table, std::string file, std::string path)
    : table_(&table), file_(std::move(file)), path_(std::move(path)) {}

const toml::node* TableReader::find(std::string_view key) {
    known_.emplace(key);
    return table_->get(key);
}

std::string TableReader::full_name(std::string_view key) const {
    return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

std::string TableReader::place_of(const toml::node& node) const {
    return file_ + ":" + std::to_string(node.source().begin.line);
}

std::string TableReader::origin() const {
    return place_of(*table_) + (path_.empty() ? "" : ": " + path_);
}

std::string TableReader::origin(std::string_view key) const {
    const toml::node* node = table_->get(key);
    return place_of(node == nullptr ? *table_ : *node) + ": " + full_name(key);
}

void TableReader::fail(std::string_view key, std::string_view problem) const {
    throw ConfigError(origin(key) + ": " + std::string(problem));
}

void TableReader::fail_type(std::string_view key,
                            const toml::node& node,
                            std::string_view wanted) const {
    fail(key, "must be " + std::string(wanted) + ", not " + std::string(type_name(node)));
}

std::optional<std::string> TableReader::text(std::string_view key) {
    const toml::node* node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    if (!node->is_string()) {
        fail_type(key, *node, "text");
    }
    return node->as_string()->get();
}

std::optional<bool> TableReader::flag(std::string_view key) {
    const toml::node* node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    if (!node->is_boolean()) {
        fail_type(key, *node, "true or false");
    }
    return node->as_boolean()->get();
}

std::optional<uint64_t> TableReader::number(std::string_view key, uint64_t min, uint64_t max) {
    const toml::node* node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    if (!node->is_integer()) {
        fail_type(key, *node, "a whole number");
    }
    const int64_t value = node->as_integer()->get();
    if (value < 0 || static_cast<uint64_t>(value) < min || static_cast<uint64_t>(value) > max) {
        fail(key,
             "must be from " + std::to_string(min) + " to " + std::to_string(max) + ", not " +
                 std::to_string(value));
    }
    return static_cast<uint64_t>(value);
}

std::optional<uint64_t> TableReader::size_bytes(std::string_view key) {
    constexpr uint64_t kSizeMax = INT64_MAX;
    const toml::node* node = find(key);
    if (node == nullptr || node->is_integer()) {
        return number(key, 1, kSizeMax);
    }
    if (!node->is_string()) {
        fail_type(key, *node, "a number of bytes or a size such as \"64MiB\"");
    }
    const std::string& written = node->as_string()->get();
    const Result<uint64_t> bytes = parse_size(written);
    if (!bytes && bytes.error().code == Errc::kInvalidArgument) {
        fail(key, "'" + written + "' is no size; write for example \"64MiB\" or \"1.5GiB\"");
    }
    if (!bytes) {
        fail(key, "'" + written + "' is no whole number of bytes from 1 to 2^63 - 1");
    }
    return *bytes;
}

std::optional<size_t> TableReader::choice(std::string_view key,
                                          std::span<const std::string_view> choices) {
    const std::optional<std::string> value = text(key);
    if (!value) {
        return std::nullopt;
    }
    const auto found = std::find(choices.begin(), choices.end(), *value);
    if (found == choices.end()) {
        std::string list;
        for (const std::string_view each : choices) {
            list += (list.empty() ? "\"" : ", \"") + std::string(each) + "\"";
        }
        fail(key, "must be one of " + list + ", not \"" + *value + "\"");
    }
    return static_cast<size_t>(found - choices.begin());
}

std::vector<std::string> TableReader::texts(std::string_view key) {
    const toml::node* node = find(key);
    std::vector<std::string> values;
    if (node == nullptr) {
        return values;
    }
    if (!node->is_array()) {
        fail_type(key, *node, "a list of texts");
    }
    for (const toml::node& each : *node->as_array()) {
        if (!each.is_string()) {
            throw ConfigError(place_of(each) + ": " + full_name(key) +
                              ": each element must be text, not " + std::string(type_name(each)));
        }
        values.push_back(each.as_string()->get());
    }
    return values;
}

std::optional<TableReader> TableReader::table(std::string_view key) {
    const toml::node* node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    if (!node->is_table()) {
        fail_type(key, *node, "a table, as in [" + full_name(key) + "]");
    }
    return TableReader(*node->as_table(), file_, full_name(key));
}

std::vector<TableReader> TableReader::tables(std::string_view key) {
    const toml::node* node = find(key);
    std::vector<TableReader> readers;
    if (node == nullptr) {
        return readers;
    }
    const toml::array* array = node->as_array();
    if (array == nullptr ||
        !std::all_of(array->begin(), array->end(), [](const auto& e) { return e.is_table(); })) {
        fail_type(key, *node, "a list of tables, as in [[" + full_name(key) + "]]");
    }
    for (const toml::node& each : *array) {
        readers.emplace_back(*each.as_table(), file_, full_name(key));
    }
    return readers;
}

void TableReader::refuse(std::string_view key, std::string_view why) {
    if (find(key) != nullptr) {
        fail(key, why);
    }
}

void TableReader::finish() const {
    for (const auto& [key, node] : *table_) {
        const std::string_view name = key.str();
        if (known_.contains(name)) {
            continue;
        }
        const std::string meant = nearest_word(name, known_);
        throw ConfigError(file_ + ":" + std::to_string(key.source().begin.line) + ": " +
                          full_name(name) + ": unknown key" +
                          (meant.empty() ? "" : "; did you mean '" + meant + "'?"));
    }
}

}  // namespace basalt::control
