#pragma once

#include <cstdint>
#include <cstdlib>

namespace basalt {

/// The seeds of a simulation: 0 to count - 1, or, where BASALT_FIRST_SEED says another first one,
/// those from there on, and as many as BASALT_SEEDS says. scripts/soak sets the first, so that each
/// round tries others.
class Seeds {
  public:
    explicit Seeds(uint64_t count) : count_(count) {
        if (const char* first = std::getenv("BASALT_FIRST_SEED")) {
            first_ = std::strtoull(first, nullptr, 10);
        }
        if (const char* count_wanted = std::getenv("BASALT_SEEDS")) {
            count_ = std::strtoull(count_wanted, nullptr, 10);
            is_count_usual_ = false;
        }
    }

    /// Whether they are those that the tests were written with: how often something happened is
    /// only judged then.
    [[nodiscard]] bool are_usual() const { return first_ == 0 && is_count_usual_; }

    class Iterator {
      public:
        explicit Iterator(uint64_t seed) : seed_(seed) {}
        uint64_t operator*() const { return seed_; }
        Iterator& operator++() {
            ++seed_;
            return *this;
        }
        bool operator!=(const Iterator& other) const { return seed_ != other.seed_; }

      private:
        uint64_t seed_;
    };
    [[nodiscard]] Iterator begin() const { return Iterator(first_); }
    [[nodiscard]] Iterator end() const { return Iterator(first_ + count_); }

  private:
    uint64_t first_ = 0;
    uint64_t count_;
    bool is_count_usual_ = true;
};

/// Whether BASALT_FOLLOW_SEED names this one: then what happens in it is told.
[[nodiscard]] inline bool is_followed(uint64_t seed) {
    const char* followed = std::getenv("BASALT_FOLLOW_SEED");
    return followed != nullptr && std::strtoull(followed, nullptr, 10) == seed;
}

}  // namespace basalt
