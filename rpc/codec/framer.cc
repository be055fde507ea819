#include "rpc/codec/framer.h"

#include <utility>

#include "reactor/base/assert.h"

namespace basalt::rpc {

namespace {

bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

}  // namespace

void Framer::append(std::string_view bytes) {
    // What is taken goes only now, so that a burst of small values is moved once and not once each.
    buffer_.erase(0, std::exchange(begin_, 0));
    buffer_.append(bytes);
}

Framer::Status Framer::scan() {
    if (found_ == Status::kNeedMore) {
        found_ = scan_on();
    }
    return found_;
}

Framer::Status Framer::scan_on() {
    if (depth_ == 0) {
        BASALT_ASSERT(scanned_ == 0);
        while (begin_ < buffer_.size() && is_space(buffer_[begin_])) {
            ++begin_;
        }
        if (begin_ < buffer_.size() && buffer_[begin_] != '{' && buffer_[begin_] != '[') {
            return Status::kGarbage;
        }
    }
    while (begin_ + scanned_ < buffer_.size()) {
        if (scanned_ == value_bytes_max_) {
            return Status::kTooLarge;
        }
        const Status status = step(buffer_[begin_ + scanned_]);
        ++scanned_;
        if (status != Status::kNeedMore) {
            return status;
        }
    }
    return Status::kNeedMore;
}

Framer::Status Framer::step(char c) {
    if (in_string_) {
        if (escaped_) {
            escaped_ = false;
        } else if (c == '\\') {
            escaped_ = true;
        } else if (c == '"') {
            in_string_ = false;
        }
        return Status::kNeedMore;
    }
    if (c == '"') {
        in_string_ = true;
    } else if (c == '{' || c == '[') {
        if (depth_ == depth_max_) {
            return Status::kTooDeep;
        }
        ++depth_;
    } else if (c == '}' || c == ']') {
        --depth_;
        return depth_ == 0 ? Status::kValue : Status::kNeedMore;
    }
    return Status::kNeedMore;
}

std::string Framer::take() {
    BASALT_ASSERT(found_ == Status::kValue);
    found_ = Status::kNeedMore;
    std::string value = buffer_.substr(begin_, scanned_);
    begin_ += std::exchange(scanned_, 0);
    if (begin_ == buffer_.size()) {
        buffer_ = std::string();  // Gives the memory of a large request back.
        begin_ = 0;
    }
    return value;
}

}  // namespace basalt::rpc
