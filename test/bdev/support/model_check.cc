#include "test/bdev/support/model_check.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <sstream>
#include <vector>

#include "bdev/core/validate.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {

namespace {

class ModelCheck {
  public:
    ModelCheck(BdevChannel& channel, const BdevInfo& info, const ModelOptions& options)
        : channel_(channel),
          info_(info),
          options_(options),
          random_(options.seed),
          model_(info.block_count.raw() * info.block_size_bytes),
          is_unknown_(info.block_count.raw()) {
        for (uint32_t i = 0; i < options.queue_depth; ++i) {
            slots_.push_back(std::make_unique<Slot>());
        }
    }

    std::string run(const std::function<void()>& turn) {
        uint32_t started = 0;
        uint32_t turns_waited = 0;
        while (problem_.empty()) {
            bool is_any_busy = false;
            for (const auto& slot : slots_) {
                if (slot->is_busy && slot->io.is_done()) {
                    slot->is_busy = false;
                    check(*slot);
                    turns_waited = 0;
                }
                if (!slot->is_busy && started < options_.operations && problem_.empty()) {
                    started += start(*slot) ? 1U : 0U;
                }
                is_any_busy |= slot->is_busy;
            }
            if (!is_any_busy && started >= options_.operations) {
                break;
            }
            turn();
            if (++turns_waited > 1'000'000) {
                problem_ = "a request hangs";
            }
        }
        drain(turn);
        return problem_.empty() ? "" : "seed " + std::to_string(options_.seed) + ": " + problem_;
    }

  private:
    struct Slot {
        TestIo io;
        bool is_busy = false;
        bool expects_mismatch = false;
        uint64_t first = 0;
        uint64_t count = 0;
    };

    void drain(const std::function<void()>& turn) {
        for (uint32_t turns = 0; turns < 1'000'000; ++turns) {
            if (std::all_of(
                    slots_.begin(), slots_.end(), [](const auto& s) { return s->io.is_done(); })) {
                return;
            }
            turn();
        }
    }

    bool overlaps_busy(uint64_t first, uint64_t count) const {
        return std::any_of(slots_.begin(), slots_.end(), [&](const auto& s) {
            return s->is_busy && first < s->first + s->count && s->first < first + count;
        });
    }

    bool start(Slot& slot) {
        const auto op = static_cast<IoOp>(random_.below(kIoOpCount));
        if (!info_.can(op)) {
            return false;
        }
        const bool is_range = op == IoOp::kUnmap || op == IoOp::kWriteZeroes;
        const bool is_long = is_range && options_.range_blocks != 0 && random_.chance(1, 8);
        const uint64_t longest = is_long ? options_.range_blocks : options_.blocks_max;
        const uint64_t blocks = info_.block_count.raw();
        slot.count =
            op == IoOp::kFlush ? 0 : 1 + random_.below(std::min<uint64_t>(longest, blocks));
        slot.first = random_.below(blocks - slot.count + 1);
        if (overlaps_busy(slot.first, slot.count)) {
            return false;
        }
        const auto misalign = options_.misalign_max == 0
                                  ? 0U
                                  : static_cast<uint32_t>(random_.below(options_.misalign_max));
        slot.io.prepare(op,
                        slot.first,
                        slot.count,
                        info_.block_size_bytes,
                        static_cast<uint32_t>(1 + random_.below(4)),
                        misalign);
        slot.io.request.fua = random_.chance(1, 4) ? Fua::kYes : Fua::kNo;
        slot.io.request.may_deallocate = random_.chance(1, 2);
        slot.expects_mismatch = false;
        apply(slot);
        if (!validate(slot.io.request, info_)) {
            problem_ = "the checker made an invalid request";
            return false;
        }
        slot.is_busy = true;
        slot.io.submit(channel_);
        return true;
    }

    std::byte* model_at(const Slot& slot) {
        return model_.data() + slot.first * info_.block_size_bytes;
    }
    bool is_known(const Slot& slot) const {
        return std::none_of(is_unknown_.begin() + static_cast<ptrdiff_t>(slot.first),
                            is_unknown_.begin() + static_cast<ptrdiff_t>(slot.first + slot.count),
                            [](uint8_t unknown) { return unknown != 0; });
    }
    void set_unknown(const Slot& slot, uint8_t value) {
        std::fill_n(is_unknown_.begin() + static_cast<ptrdiff_t>(slot.first), slot.count, value);
    }

    // What the operation does to the model, at submission: nothing else touches the range until
    // then.
    void apply(Slot& slot) {
        const uint64_t bytes = slot.count * info_.block_size_bytes;
        switch (slot.io.request.op) {
            case IoOp::kWrite:
                for (uint64_t i = 0; i < bytes; ++i) {
                    slot.io.data[i] = static_cast<std::byte>(random_.next());
                }
                if (!options_.is_always_zero) {
                    std::memcpy(model_at(slot), slot.io.data, bytes);
                }
                break;
            case IoOp::kUnmap:
            case IoOp::kWriteZeroes: std::memset(model_at(slot), 0, bytes); break;
            case IoOp::kCompare:
                std::memcpy(slot.io.data, model_at(slot), bytes);
                if (random_.chance(1, 2)) {
                    slot.io.data[random_.below(bytes)] ^= std::byte{0x10};
                    slot.expects_mismatch = true;
                }
                break;
            case IoOp::kRead:
            case IoOp::kFlush: break;
        }
    }

    void check(Slot& slot) {
        const IoRequest& request = slot.io.request;
        const bool is_change = request.op == IoOp::kWrite || request.op == IoOp::kWriteZeroes ||
                               request.op == IoOp::kUnmap;
        const Errc code = slot.io.code();
        if (options_.may_fail && code != Errc::kOk && code != Errc::kCompareMismatch) {
            if (is_change) {
                set_unknown(slot, 1);
            }
            return;
        }
        if (request.op == IoOp::kCompare) {
            const Errc expected = slot.expects_mismatch ? Errc::kCompareMismatch : Errc::kOk;
            if (code != expected && is_known(slot)) {
                report(slot, "compare gave the wrong answer");
            }
            return;
        }
        if (code != Errc::kOk) {
            report(slot, std::string("failed: ") + std::string(describe(code)));
            return;
        }
        if (is_change) {
            const bool is_hint = request.op == IoOp::kUnmap && !info_.reads_zeroes_after_unmap;
            set_unknown(slot, is_hint ? 1 : 0);
        }
        const uint64_t bytes = slot.count * info_.block_size_bytes;
        if (request.op == IoOp::kRead && is_known(slot) &&
            std::memcmp(slot.io.data, model_at(slot), bytes) != 0) {
            report(slot, "read other data than was written");
        }
    }

    void report(const Slot& slot, const std::string& what) {
        std::ostringstream text;
        text << "operation " << static_cast<int>(slot.io.request.op) << " on [" << slot.first
             << ", +" << slot.count << ") " << what;
        problem_ = text.str();
    }

    BdevChannel& channel_;
    const BdevInfo& info_;
    const ModelOptions& options_;
    Random random_;
    std::vector<std::byte> model_;
    std::vector<uint8_t> is_unknown_;  // By block: a failed write leaves it so.
    std::vector<std::unique_ptr<Slot>> slots_;
    std::string problem_;
};

}  // namespace

std::string check_against_model(BdevChannel& channel,
                                const BdevInfo& info,
                                const ModelOptions& options,
                                const std::function<void()>& turn) {
    ModelCheck check(channel, info, options);
    return check.run(turn);
}

}  // namespace basalt::bdev
