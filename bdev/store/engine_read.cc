#include <algorithm>
#include <cstring>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

void Engine::run_read(Slot& slot) {
    const Node* node = find_node(slot.node);
    if (node == nullptr) {
        finish(slot, Errc::kNotFound);  // Removed while a page was loaded.
        return;
    }
    const TreeRoot& root = map_of(*node);
    slot.extent_count = 0;
    // All of it in one go: what is read is what the maps said at one moment.
    for (uint64_t index = slot.first; index < slot.end; ++index) {
        const TreeWalk walk = maps_.find(root, index, 0);
        if (!walk.is_complete()) {
            wait_for_page(slot, walk);
            return;
        }
        const uint64_t block = walk.pointer.block();
        slot.crcs[index - slot.first] = walk.pointer.crc;
        if (slot.extent_count > 0) {
            Extent& last = slot.extents[slot.extent_count - 1];
            const bool goes_on = last.block == 0 ? block == 0 : block == last.block + last.count;
            if (goes_on) {
                ++last.count;
                continue;
            }
        }
        slot.extents[slot.extent_count++] = {block, 1};
        if (block != 0 && !space_->is_data_used(block)) {
            damaged({.node = slot.node, .block = index, .device_block = block});
            finish(slot, Errc::kMediaError);
            return;
        }
    }
    slot.state = Slot::State::kDevice;
    slot.read_number = next_read_++;
    reads_.push_back(slot);
    ++counters_.reads;
    counters_.blocks_read += slot.block_count();
    issue(slot);
}

uint64_t Engine::oldest_read() const {
    const Slot* oldest = reads_.front();
    return oldest == nullptr ? next_read_ : oldest->read_number;
}

void Engine::add_slices(Slot& slot, uint32_t blocks, bool zeroes) {
    for (uint64_t left = uint64_t{blocks} * kBlockBytes; left > 0;) {
        const iovec& piece = slot.io->pieces[slot.piece];
        const uint64_t bytes = std::min<uint64_t>(left, piece.iov_len - slot.piece_done);
        auto* const at = static_cast<std::byte*>(piece.iov_base) + slot.piece_done;
        if (zeroes) {
            std::memset(at, 0, bytes);
        } else {
            slot.slices[slot.slice_count++] = {at, bytes};
        }
        slot.piece_done += bytes;
        left -= bytes;
        if (slot.piece_done == piece.iov_len) {
            ++slot.piece;
            slot.piece_done = 0;
        }
    }
}

void Engine::issue(Slot& slot) {
    const bool is_write = slot.op == SlotOp::kWrite;
    while (slot.extent < slot.extent_count) {
        const Extent& extent = slot.extents[slot.extent];
        uint32_t blocks = extent.count - slot.extent_done;
        if (extent.block == 0) {
            add_slices(slot, blocks, true);
        } else if (free_ios_ == nullptr) {
            io_line_.push_back(slot);
            return;
        } else {
            SlotIo& io = *free_ios_;
            free_ios_ = io.next_free;
            io.slot = &slot;
            blocks = std::min(blocks, port_.transfer_max());
            const uint32_t before = slot.slice_count;
            add_slices(slot, blocks, false);
            port_.prepare(io.request,
                          is_write ? IoOp::kWrite : IoOp::kRead,
                          extent.block + slot.extent_done,
                          std::span(slot.slices).subspan(before, slot.slice_count - before),
                          blocks);
            if (is_write) {
                port_.make_durable(io.request);
            }
            io.request.push_completion(
                [](IoRequest&, void* context) {
                    auto& done = *static_cast<SlotIo*>(context);
                    done.slot->engine->io_done(done);
                },
                &io);
            ++slot.ios;
            port_.submit(io.request);
        }
        slot.extent_done += blocks;
        if (slot.extent_done == extent.count) {
            ++slot.extent;
            slot.extent_done = 0;
        }
    }
    slot.is_issued = true;
    if (slot.ios == 0) {
        slot_ios_done(slot);
    }
}

void Engine::io_done(SlotIo& io) {
    Slot& slot = *io.slot;
    if (!io.request.status && slot.status) {
        slot.status = io.request.status;
    }
    io.next_free = std::exchange(free_ios_, &io);
    --slot.ios;
    if (slot.is_issued && slot.ios == 0) {
        slot_ios_done(slot);
    }
    while (free_ios_ != nullptr && !io_line_.empty()) {
        issue(*io_line_.pop_front());
    }
}

void Engine::slot_ios_done(Slot& slot) {
    if (slot.is_change) {
        slot.is_data_done = true;
        if (!slot.status) {
            fence(slot.status.error(), "writing data");
        }
        try_acknowledge(slot);
        return;
    }
    const Status outcome = verify(slot);
    SlotsUnderWay::remove(slot);
    release_quarantine();
    finish(slot, outcome);
    retry_gate();
}

Status Engine::verify(Slot& slot) {
    if (slot.io->crcs != nullptr) {
        std::copy_n(slot.crcs.begin(), slot.block_count(), slot.io->crcs);
    }
    Status outcome = slot.status;
    uint32_t index = 0;
    uint32_t piece = 0;
    uint64_t done = 0;
    for (uint32_t e = 0; e < slot.extent_count; ++e) {
        for (uint32_t i = 0; i < slot.extents[e].count; ++i, ++index) {
            const iovec& memory = slot.io->pieces[piece];
            const std::span bytes(static_cast<const std::byte*>(memory.iov_base) + done,
                                  kBlockBytes);
            done += kBlockBytes;
            if (done == memory.iov_len) {
                ++piece;
                done = 0;
            }
            if (slot.extents[e].block == 0 || crc32c(bytes) == slot.crcs[index]) {
                continue;
            }
            if (outcome || outcome.error().code == Errc::kMediaError) {
                damaged({.node = slot.node,
                         .block = slot.first + index,
                         .device_block = slot.extents[e].block + i});
                outcome = Errc::kMediaError;
            }
        }
    }
    return outcome;
}

}  // namespace basalt::bdev::store
