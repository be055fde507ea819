#include "nvmf/target/request_table.h"

#include <new>

#include "reactor/base/assert.h"

namespace basalt::nvmf {

void RequestTable::add(uint32_t count) {
    BASALT_ASSERT(made_.size() == capacity_);
    memory_.push_back(std::make_unique_for_overwrite<std::byte[]>(count * sizeof(Request)));
    fresh_ = memory_.back().get();
    deep_memory_.push_back(std::make_unique_for_overwrite<bdev::DeepCompletions[]>(count));
    fresh_deep_ = deep_memory_.back().get();
    capacity_ += count;
    made_.reserve(capacity_);
}

Request* RequestTable::next() {
    if (Request* request = free_.front()) {
        return request;
    }
    if (made_.size() == capacity_) {
        return nullptr;
    }
    auto* made =
        ::new (fresh_) Request(connection_, static_cast<uint16_t>(made_.size()), *fresh_deep_);
    fresh_ += sizeof(Request);
    ++fresh_deep_;
    made_.emplace_back(made);
    free_.push_back(*made);
    return made;
}

void RequestTable::take(Request& request) {
    BASALT_ASSERT(&request == free_.front());
    RequestList::remove(request);
    ++in_use_;
}

void RequestTable::give_back(Request& request) {
    BASALT_ASSERT(in_use_ > 0);
    --in_use_;
    free_.push_front(request);
}

}  // namespace basalt::nvmf
