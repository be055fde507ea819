#include <algorithm>
#include <cstring>
#include <utility>

#include "bdev/store/checksum.h"
#include "replication/head/head.h"
#include "replication/head/limits.h"

namespace basalt::replication {

namespace {

bool is_read(HeadOp op) {
    return op == HeadOp::kRead || op == HeadOp::kCompare || op == HeadOp::kScrub;
}

/// Whether it takes one of the permits. A scrub has memory of its own, for all replicas.
bool needs_permit(HeadOp op) {
    return op == HeadOp::kRead || op == HeadOp::kCompare;
}

WriteKind kind_of(HeadOp op) {
    switch (op) {
        case HeadOp::kWriteZeroes: return WriteKind::kZeroes;
        case HeadOp::kUnmap: return WriteKind::kUnmap;
        case HeadOp::kSnapshot: return WriteKind::kBarrier;
        case HeadOp::kRead:
        case HeadOp::kWrite:
        case HeadOp::kScrub:
        case HeadOp::kCompare: break;
    }
    return WriteKind::kData;
}

/// Walks a request's memory block by block. Each piece is some whole blocks.
class BlockCursor {
  public:
    BlockCursor(const HeadRequest& request, uint64_t block)
        : piece_(request.pieces), offset_(block * kBlockBytes) {
        while (offset_ >= piece_->iov_len) {
            offset_ -= piece_->iov_len;
            ++piece_;
        }
    }

    [[nodiscard]] std::span<std::byte> next() {
        while (offset_ >= piece_->iov_len) {
            offset_ = 0;
            ++piece_;
        }
        const std::span block(static_cast<std::byte*>(piece_->iov_base) + offset_, kBlockBytes);
        offset_ += kBlockBytes;
        return block;
    }

  private:
    const iovec* piece_;
    uint64_t offset_;
};

}  // namespace

void Head::submit(HeadRequest& request) {
    BASALT_ASSERT(is_started_);
    BASALT_ASSERT(request.count > 0 || request.op == HeadOp::kSnapshot);
    if (request.op == HeadOp::kScrub) {
        BASALT_ASSERT(request.count <= kRangeBlocksMax);
        BASALT_ASSERT(request.first + request.count <= boundary_after(request.first));
        BASALT_ASSERT(!std::exchange(is_scrubbing_, true));
    }
    request.status = kOk;
    request.cut_ = 0;
    request.parts_ = 0;
    request.is_whole_ = false;
    incoming_.push_back(request);
    drain_later();
}

void Head::drain_later() {
    if (!drain_.link.is_linked()) {
        here_.defer(drain_);
    }
}

/// Once in a turn of the reactor, so that a host whose requests fail at once does not keep it.
void Head::drain() {
    while (HeadRequest* request = incoming_.pop_front()) {
        const bool is_inside = request->first <= settings_.blocks &&
                               request->count <= settings_.blocks - request->first;
        if (is_other_chosen_ || !is_inside) {
            request->status = is_inside ? Errc::kStaleEpoch : Errc::kOutOfRange;
            statistics_.stale_requests += uint64_t{is_inside};
            done_.push_back(*request);
        } else {
            line_.push_back(*request);
        }
    }
    go_on();
}

/// Does all that can be done now. Completions may submit; that is looked at later.
void Head::go_on() {
    if (is_going_on_) {
        return;
    }
    is_going_on_ = true;
    while (true) {
        if (HeadRequest* request = done_.pop_front()) {
            complete(*request);
        } else if (!give_one() && !cut_one()) {
            break;
        }
    }
    is_going_on_ = false;
    keep_time();
}

/// Makes a part of the first request in line.
bool Head::cut_one() {
    HeadRequest* first_in_line = line_.front();
    Part* free_part = first_in_line != nullptr ? free_parts_.pop_front() : nullptr;
    if (free_part == nullptr) {
        return false;
    }
    HeadRequest& request = *first_in_line;
    Part& part = *free_part;
    RequestLine::remove(request);
    const uint64_t first = request.first + request.cut_;
    const uint64_t count = std::min(
        {request.count - request.cut_, boundary_after(first) - first, uint64_t{kRangeBlocksMax}});
    part.request = &request;
    part.offset = request.cut_;
    part.range = {first, static_cast<uint32_t>(count)};
    request.cut_ += count;
    request.is_whole_ = request.cut_ == request.count;
    ++request.parts_;
    if (!request.is_whole_ && request.parts_ < kPartsOfOneMax) {
        line_.push_back(request);
    }
    find_room(part);
    return true;
}

size_t Head::size_class_of(const Part& part) {
    return part.range.count <= BlockBuffers::kSmallBlocks ? 0 : 1;
}

void Head::find_room(Part& part) {
    if (needs_permit(part.request->op)) {
        const size_t size_class = size_class_of(part);
        if (permits_[size_class] == 0) {
            part.state = Part::State::kPermit;
            permit_lines_[size_class].push_back(part);
            return;
        }
        --permits_[size_class];
    } else if (part.request->op == HeadOp::kWrite) {
        part.data = memory_.writes().try_take(part.range.count);
        if (!part.data.is_valid()) {
            part.state = Part::State::kMemory;
            ++waiting_for_memory_;
            memory_.writes().wait(part.waiter, part.range.count);
            return;
        }
    }
    part.state = Part::State::kReady;
    ready_.push_back(part);
}

/// From the release of another buffer, perhaps in the middle of what the core decided.
void Head::granted_memory(void* context, BlockRef buffer) {
    Part& part = *static_cast<Part*>(context);
    Head& self = part.owner;
    --self.waiting_for_memory_;
    part.data = std::move(buffer);
    part.state = Part::State::kReady;
    self.ready_.push_back(part);
    self.drain_later();
}

void Head::end_permit(const Part& part) {
    const size_t size_class = size_class_of(part);
    ++permits_[size_class];
    if (Part* next = permit_lines_[size_class].pop_front()) {
        find_room(*next);
    }
}

/// Copies what is written and computes its sums, block by block, while it is in the cache.
void Head::take_data(Part& part) {
    BlockCursor from(*part.request, part.offset);
    for (uint32_t i = 0; i < part.range.count; ++i) {
        const std::span<std::byte> to =
            part.data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes);
        std::memcpy(to.data(), from.next().data(), kBlockBytes);
        part.data.sums()[i] = bdev::store::crc32c(to);
    }
    const uint32_t index = written_free_.back();
    written_free_.pop_back();
    written_[index] = std::move(part.data);
    part.data.reset();
    part.data_name = uint64_t{index} + 1;
}

/// Gives the first part that has its memory to the core.
bool Head::give_one() {
    Part* next = is_open() && !is_full_ ? ready_.pop_front() : nullptr;
    if (next == nullptr) {
        return false;
    }
    Part& part = *next;
    const HeadOp op = part.request->op;
    part.state = Part::State::kUnderWay;
    HeadEvent event{.tag = part.index, .range = part.range};
    if (op == HeadOp::kSnapshot) {
        event.kind = HeadEvent::Kind::kSnapshot;
    } else if (is_read(op)) {
        event.kind = HeadEvent::Kind::kRead;
        event.compares_all = op == HeadOp::kScrub;
        ask_lease_if_needed();
    } else {
        event.kind = HeadEvent::Kind::kWrite;
        event.write = kind_of(op);
        if (op == HeadOp::kWrite && part.data.is_valid()) {
            take_data(part);
        }
        event.data = part.data_name;
    }
    apply(event);
    return true;
}

void Head::answered(const HeadAction& action) {
    Part& part = part_of(action.tag);
    BASALT_ASSERT(part.state == Part::State::kUnderWay);
    HeadRequest& request = *part.request;
    Status outcome = action.status;
    if (!is_read(request.op)) {
        part.data_name = 0;  // The core has it: kForgetWrite.
        request.generation = action.number;
        statistics_.writes += uint64_t{action.status == Errc::kOk};
        finish_part(part, outcome);
        return;
    }
    note_compared(part, action);
    if (outcome) {
        const BlockRef data = read_.take(action.data);
        BASALT_ASSERT(data.is_valid());  // link_replied() lets no answer without data through.
        if (data.blocks() == part.range.count) {
            statistics_.reads += uint64_t{request.op != HeadOp::kScrub};
            outcome = request.op == HeadOp::kScrub ? kOk : deliver(part, data);
        } else {
            outcome = Errc::kDataCorrupt;
        }
    }
    finish_part(part, outcome);
}

/// What a read shows to be wrong is told; a scrub goes on to look which blocks it is, and so does
/// who is told of a suspect range.
void Head::note_compared(const Part& part, const HeadAction& action) {
    const Compared compared{action.different, action.unreadable, action.is_compared};
    if (part.request->op == HeadOp::kScrub) {
        part.request->compared = compared;
        return;
    }
    if (part.range.count == 1 || suspect_user_ == nullptr) {
        note_findings(part.range, compared, action.status == Errc::kOk, false);
    }
    if (suspect_user_ != nullptr && !(compared.different | compared.unreadable).empty()) {
        suspect_user_->suspected(part.range);
    }
}

void Head::note_findings(BlockRange range,
                         const Compared& compared,
                         bool is_decided,
                         bool is_of_scrub) {
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        Finding finding{.replica = i, .range = range, .is_of_scrub = is_of_scrub};
        if (compared.unreadable.has(i)) {
            finding.kind = Finding::Kind::kUnreadable;
        } else if (compared.different.has(i)) {
            finding.kind = is_decided ? Finding::Kind::kDifferent : Finding::Kind::kUndecided;
        } else {
            continue;
        }
        findings_.add(finding);
    }
}

/// To the host's memory, or compares with what is there.
Status Head::deliver(const Part& part, const BlockRef& data) {
    BlockCursor to(*part.request, part.offset);
    for (uint32_t i = 0; i < part.range.count; ++i) {
        const std::span<std::byte> block = to.next();
        const std::byte* from = data.bytes().data() + size_t{i} * kBlockBytes;
        if (part.request->op == HeadOp::kRead) {
            std::memcpy(block.data(), from, kBlockBytes);
        } else if (std::memcmp(block.data(), from, kBlockBytes) != 0) {
            return Errc::kCompareMismatch;
        }
    }
    return kOk;
}

/// `part` is in no line any more.
void Head::finish_part(Part& part, Status outcome) {
    HeadRequest& request = *std::exchange(part.request, nullptr);
    const bool had_permit = needs_permit(request.op) && part.state != Part::State::kPermit;
    part.state = Part::State::kFree;
    if (part.data_name != 0) {
        const auto index = static_cast<uint32_t>(std::exchange(part.data_name, 0) - 1);
        written_[index].reset();
        written_free_.push_back(index);
    }
    part.data.reset();
    free_parts_.push_front(part);
    if (had_permit) {
        end_permit(part);
    }
    if (!outcome && request.status) {
        request.status = outcome;
        statistics_.stale_requests += uint64_t{outcome.error().code == Errc::kStaleEpoch};
    }
    --request.parts_;
    end_if_done(request);
}

void Head::end_if_done(HeadRequest& request) {
    const bool is_in_line = request.link_.is_linked();
    if (!request.is_whole_ && request.status) {
        if (!is_in_line) {
            line_.push_back(request);
        }
        return;
    }
    // One that has failed is not cut any further.
    if (is_in_line) {
        RequestLine::remove(request);
        request.is_whole_ = true;
    }
    if (request.parts_ == 0) {
        done_.push_back(request);
    }
}

void Head::complete(HeadRequest& request) {
    is_scrubbing_ = is_scrubbing_ && request.op != HeadOp::kScrub;
    request.complete(request, request.context);
}

/// Another head has the volume: what the core does not have yet is not waited for.
void Head::fail_waiting() {
    while (HeadRequest* request = line_.pop_front()) {
        request->status = Errc::kStaleEpoch;
        request->is_whole_ = true;
        ++statistics_.stale_requests;
        end_if_done(*request);
    }
    for (const std::unique_ptr<Part>& part : parts_) {
        switch (part->state) {
            case Part::State::kFree:
            case Part::State::kUnderWay: continue;
            case Part::State::kMemory:
                memory_.writes().cancel(part->waiter);
                --waiting_for_memory_;
                break;
            case Part::State::kPermit:
            case Part::State::kReady: PartLine::remove(*part); break;
        }
        finish_part(*part, Errc::kStaleEpoch);
    }
}

}  // namespace basalt::replication
