#pragma once

#include <atomic>

namespace basalt::bdev {

/// A property of a device that may change while the device is used: a layer follows that of the
/// device below. Whoever reads it twice may see two values.
///
/// Owner: the BdevInfo that it is in, or the one that it follows, which outlives this. Written on
/// the control thread, read anywhere: relaxed, for nothing else is told by it. A copy is a property
/// of its own and does not follow, nor does what is assigned to itself.
template <typename T>
class Live {
  public:
    Live() = default;
    explicit Live(T value) : own_(value) {}
    Live(const Live& other) : own_(other.get()) {}
    Live& operator=(const Live& other) { return *this = other.get(); }  // NOLINT(*self-assignment)
    Live& operator=(T value) {
        own_.store(value, std::memory_order_relaxed);
        source_ = &own_;
        return *this;
    }
    ~Live() = default;

    /// Has the value of `other` from now on.
    void follow(const Live& other) { source_ = other.source_; }

    [[nodiscard]] T get() const { return source_->load(std::memory_order_relaxed); }
    // Reads like the value, because that is what it is for almost everybody.
    // NOLINTNEXTLINE(google-explicit-constructor)
    operator T() const { return get(); }
    [[nodiscard]] auto raw() const { return get().raw(); }

  private:
    std::atomic<T> own_{T{}};
    const std::atomic<T>* source_ = &own_;
};

}  // namespace basalt::bdev
