#pragma once

#include "reactor/base/assert.h"

namespace basalt {

/// The link of an object in one IntrusiveList. A member of the object; asserts that it is unlinked
/// when destroyed, so that no list ever holds a dead object.
class ListLink {
  public:
    ListLink() = default;
    ListLink(const ListLink&) = delete;
    ListLink& operator=(const ListLink&) = delete;
    ~ListLink() { BASALT_ASSERT(!is_linked()); }

    [[nodiscard]] bool is_linked() const { return next_ != nullptr; }

  private:
    template <typename T, ListLink T::*Member>
    friend class IntrusiveList;

    ListLink* prev_ = nullptr;
    ListLink* next_ = nullptr;
    void* object_ =
        nullptr;  // Set while linked: the way back from link to object without offsetof.
};

/// A doubly linked list of objects that it does not own, through the member `Member`. All
/// operations are O(1) and allocate nothing. An object is in at most one list per link. One core.
template <typename T, ListLink T::*Member>
class IntrusiveList {
  public:
    IntrusiveList() { root_.prev_ = root_.next_ = &root_; }
    IntrusiveList(const IntrusiveList&) = delete;
    IntrusiveList& operator=(const IntrusiveList&) = delete;
    ~IntrusiveList() {
        BASALT_ASSERT(empty());
        root_.prev_ = root_.next_ = nullptr;
    }

    [[nodiscard]] bool empty() const { return root_.next_ == &root_; }

    void push_back(T& object) { insert_before(root_, object); }
    void push_front(T& object) { insert_before(*root_.next_, object); }

    /// The first object, or null when the list is empty.
    [[nodiscard]] T* front() const {
        // The analyzer loses sight of remove() and takes the object for one that is freed.
        // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDelete)
        return empty() ? nullptr : static_cast<T*>(root_.next_->object_);
    }

    /// The object after `object`, or null at the end. `object` is in this list.
    [[nodiscard]] T* next(const T& object) const {
        const ListLink* link = (object.*Member).next_;
        return link == &root_ ? nullptr : static_cast<T*>(link->object_);
    }

    /// Takes the first object out and returns it, or null when the list is empty.
    T* pop_front() {
        T* object = front();
        if (object != nullptr) {
            remove(*object);
        }
        return object;
    }

    /// Takes `object`, which is in this list, out of it.
    static void remove(T& object) {
        ListLink& link = object.*Member;
        BASALT_ASSERT(link.is_linked());
        link.prev_->next_ = link.next_;
        link.next_->prev_ = link.prev_;
        link.prev_ = link.next_ = nullptr;
        link.object_ = nullptr;
    }

    /// Takes all objects out. O(n).
    void clear() {
        while (pop_front() != nullptr) {
        }
    }

    /// Moves all of `other` to the end of this list, in order. O(1).
    void splice_back(IntrusiveList& other) {
        if (other.empty()) {
            return;
        }
        ListLink* first = other.root_.next_;
        ListLink* last = other.root_.prev_;
        first->prev_ = root_.prev_;
        root_.prev_->next_ = first;
        last->next_ = &root_;
        root_.prev_ = last;
        other.root_.prev_ = other.root_.next_ = &other.root_;
    }

  private:
    static void insert_before(ListLink& position, T& object) {
        ListLink& link = object.*Member;
        BASALT_ASSERT(!link.is_linked());
        link.object_ = &object;
        link.next_ = &position;
        link.prev_ = position.prev_;
        position.prev_->next_ = &link;
        position.prev_ = &link;
    }

    ListLink root_;
};

}  // namespace basalt
