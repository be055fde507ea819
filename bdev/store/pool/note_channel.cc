#include "bdev/store/pool/note_channel.h"

#include <algorithm>
#include <utility>

#include "bdev/store/pool/volume_bdev.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

/// Whether a request is what its comments say.
bool is_sound(const NotedRequest& request) {
    const bool is_alone = request.kind == NoteKind::kAlone;
    const bool has_range =
        is_alone ? request.count == 0
                 : request.count > 0 && request.first / kPagePointers ==
                                            (request.first + request.count - 1) / kPagePointers;
    uint64_t bytes = 0;
    bool is_aligned = true;
    for (uint32_t i = 0; i < request.piece_count; ++i) {
        const iovec& piece = request.pieces[i];
        is_aligned = is_aligned && piece.iov_len % kBlockBytes == 0 &&
                     reinterpret_cast<uintptr_t>(piece.iov_base) % kBlockBytes == 0;
        bytes += piece.iov_len;
    }
    const uint64_t wanted =
        request.kind == NoteKind::kWrite ? uint64_t{request.count} * kBlockBytes : bytes;
    return has_range && is_aligned && bytes == wanted &&
           (request.crcs == nullptr || request.kind == NoteKind::kWrite) &&
           request.note.size() <= kNoteBytesMax && request.complete != nullptr;
}

}  // namespace

/// A visit of all partitions, one after the other.
struct NoteChannel::Look {
    Volume& volume;
    uint32_t partition = 0;
    NoteRange keys;
    std::vector<StoredNote> found;

    [[nodiscard]] Partition& there() const { return *volume.pool_seat(partition).partition; }
    [[nodiscard]] uint32_t owner() const { return volume.seat(partition).note_owner; }
};

NotedRequest::NotedRequest() {
    hop_.request = this;
    io_.note = &note_;
    io_.context = this;
}

Result<std::unique_ptr<NoteChannel>> NoteChannel::open(Device& device, Reactor& here) {
    auto& bdev = static_cast<VolumeBdev&>(device.inner());
    BASALT_ASSERT(bdev.info().product_name == VolumeBdev::kProductName);
    if (bdev.info().block_size_bytes != kBlockBytes || !bdev.volume().takes_notes()) {
        return Errc::kNotSupported;
    }
    BASALT_TRY(std::unique_ptr<DeviceChannel> channel, device.open(here));
    return std::unique_ptr<NoteChannel>(new NoteChannel(here, bdev.volume(), std::move(channel)));
}

NoteChannel::NoteChannel(Reactor& here, Volume& volume, std::unique_ptr<DeviceChannel> device)
    : here_(here), volume_(volume), device_(std::move(device)) {}

NoteChannel::~NoteChannel() {
    BASALT_ASSERT(under_way_ == 0 || here_.is_abandoned());
}

// ---- on the channel's core

void NoteChannel::submit(NotedRequest& request) {
    BASALT_ASSERT(is_sound(request));
    request.channel_ = this;
    request.partition_ = volume_.partition_of(request.first);
    ++under_way_;
    const CoreId core = volume_.pool_seat(request.partition_).core;
    if (core == here_.core()) {
        arrive(request, here_);
        return;
    }
    request.hop_.set_run([](Event& event, Reactor& there) {
        NotedRequest& self = *static_cast<NotedRequest::Hop&>(event).request;
        self.channel_->arrive(self, there);
    });
    here_.post(core, request.hop_);
}

void NoteChannel::end(NotedRequest& request) {
    --under_way_;
    request.complete(request, request.context);
}

// ---- on the partition's core

void NoteChannel::arrive(NotedRequest& request, Reactor& there) {
    request.there_ = &there;
    const Volume::Seat& seat = volume_.seat(request.partition_);
    // Only here it is sure: the volume may have become smaller or read-only since.
    request.status = request.first + request.count > seat.end ? Status(Errc::kOutOfRange)
                     : seat.is_read_only                      ? Status(Errc::kReadOnly)
                                                              : Status(kOk);
    if (!request.status) {
        request.hop_.set_run([](Event& event, Reactor&) {
            NotedRequest& self = *static_cast<NotedRequest::Hop&>(event).request;
            self.channel_->leave(self);
        });
        there.defer(request.hop_);
        return;
    }
    request.note_ = {.owner = seat.note_owner,
                     .key = request.key,
                     .forget = request.forget,
                     .bytes = request.note};
    PartitionIo& io = request.io_;
    switch (request.kind) {
        case NoteKind::kWrite: io.op = PartitionOp::kWrite; break;
        case NoteKind::kUnmap: io.op = PartitionOp::kUnmap; break;
        case NoteKind::kAlone: io.op = PartitionOp::kNote; break;
    }
    io.complete = [](PartitionIo& done, void* context) {
        auto& self = *static_cast<NotedRequest*>(context);
        self.status = done.status;
        self.channel_->leave(self);
    };
    io.node = seat.node;
    io.first = request.first;
    io.count = request.count;
    io.pieces = request.pieces;
    io.piece_count = request.piece_count;
    io.crcs = request.crcs;
    volume_.pool_seat(request.partition_).partition->submit(io);
}

void NoteChannel::leave(NotedRequest& request) {
    volume_.publish_usage(request.partition_);
    if (request.there_ == &here_) {
        end(request);
        return;
    }
    request.hop_.set_run([](Event& event, Reactor&) {
        NotedRequest& self = *static_cast<NotedRequest::Hop&>(event).request;
        self.channel_->end(self);
    });
    request.there_->post(here_.core(), request.hop_);
}

// ---- all partitions

Task<void> NoteChannel::on_seats(Look& look, Task<void> (*run)(Reactor&, Look&)) {
    ++under_way_;
    for (look.partition = 0; look.partition < volume_.partition_count(); ++look.partition) {
        const CoreId core = volume_.pool_seat(look.partition).core;
        visit<Look> far(here_, core, look, run);
        co_await far;
    }
    --under_way_;
}

Task<std::vector<StoredNote>> NoteChannel::notes() {
    Look look{.volume = volume_, .keys = {}, .found = {}};
    const auto run = [](Reactor&, Look& here) -> Task<void> {
        const std::vector<StoredNote> some = here.there().notes(here.owner());
        here.found.insert(here.found.end(), some.begin(), some.end());
        co_return;
    };
    co_await on_seats(look, run);
    co_return std::move(look.found);
}

Task<void> NoteChannel::forget(NoteRange keys) {
    Look look{.volume = volume_, .keys = keys, .found = {}};
    const auto run = [](Reactor&, Look& here) -> Task<void> {
        here.there().forget_notes(here.owner(), here.keys);
        co_return;
    };
    co_await on_seats(look, run);
}

}  // namespace basalt::bdev::store
