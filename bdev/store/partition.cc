#include "bdev/store/partition.h"

#include <utility>

#include "bdev/store/engine.h"

namespace basalt::bdev::store {

Result<std::unique_ptr<Partition>> Partition::make(Reactor& here,
                                                   BdevChannel& channel,
                                                   const BdevInfo& info,
                                                   const PartitionPlace& place,
                                                   SlabTable& slabs,
                                                   const PartitionOptions& options) {
    if (options.requests == 0 || options.cache_pages < kCachePagesMin) {
        return Errc::kInvalidArgument;
    }
    Engine::Parts parts;
    BASALT_TRY(parts.space, Space::make(place.layout, slabs));
    BASALT_TRY(parts.cache, PageCache::make(options.cache_pages));
    parts.notes = std::make_unique<NoteTable>(place.layout.notes_max());
    AnonymousMemory source;
    BASALT_TRY(parts.scratch, source.allocate(Engine::scratch_bytes(place.layout)));
    auto engine = std::make_unique<Engine>(here, channel, info, place, options, std::move(parts));
    return std::unique_ptr<Partition>(new Partition(std::move(engine)));
}

Partition::Partition(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}

Partition::~Partition() = default;

Task<Status> Partition::format() {
    return engine_->format();
}

Task<Status> Partition::load() {
    return engine_->load();
}

Task<Status> Partition::open() {
    return engine_->open();
}

Task<Status> Partition::close() {
    return engine_->close();
}

void Partition::set_node(const NodeEntry& entry) {
    engine_->set_node(entry);
}

void Partition::remove_node(uint32_t node) {
    engine_->remove_node(node);
}

Task<void> Partition::hold_writes(uint32_t node) {
    return engine_->hold_writes(node);
}

void Partition::resume_writes(uint32_t node, uint32_t heir) {
    engine_->resume_writes(node, heir);
}

uint64_t Partition::mapped_blocks(uint32_t node) const {
    return engine_->mapped_blocks(node);
}

Task<Result<uint64_t>> Partition::exclusive_blocks(uint32_t node) {
    return engine_->exclusive_blocks(node);
}

Task<Result<bool>> Partition::sweep(uint32_t node) {
    return engine_->sweep(node);
}

void Partition::submit(PartitionIo& io) {
    engine_->submit(io);
}

Task<Result<FlattenStep>> Partition::flatten(uint32_t node, uint32_t keep, uint64_t from) {
    return engine_->flatten(node, keep, from);
}

std::vector<StoredNote> Partition::notes(uint32_t owner) const {
    std::vector<StoredNote> notes = engine_->notes().notes_of(owner);
    for (StoredNote& note : notes) {
        note.partition = engine_->partition();
    }
    return notes;
}

void Partition::forget_notes(uint32_t owner, NoteRange keys) {
    engine_->notes().forget(owner, keys);
}

void Partition::keep_notes(std::span<const uint32_t> owners) {
    engine_->notes().keep_only(owners);
}

Task<Status> Partition::checkpoint() {
    return engine_->checkpoint();
}

Task<Result<CheckReport>> Partition::check() {
    return engine_->check();
}

Task<Result<ScrubStep>> Partition::scrub(uint32_t node, uint64_t from) {
    return engine_->scrub(node, from);
}

Task<Result<ChangedStep>> Partition::changed(uint32_t older, uint32_t newer, uint64_t from) {
    return engine_->changed(older, newer, from);
}

PartitionStats Partition::stats() const {
    return engine_->stats();
}

}  // namespace basalt::bdev::store
