#include "bdev/store/catalogue_codec.h"

#include <cstring>

#include "bdev/limits.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

enum class RecordType : uint8_t {
    kNode = 1,
    kNodeGone = 2,
    kVolume = 3,
    kVolumeGone = 4,
    kSnapshot = 5,
    kSnapshotGone = 6,
    kNextIds = 7,
};

constexpr size_t kHeadBytes = 8;
constexpr uint32_t kNodeFrozen = 1U << 0U;
constexpr uint32_t kNodeHidden = 1U << 1U;
constexpr uint32_t kVolumeReadOnly = 1U << 0U;
constexpr uint32_t kVolumeReceiving = 1U << 1U;

/// Puts fields one after the other.
class Fields {
  public:
    template <typename Integer>
    Fields& add(Integer value) {
        const auto* at = reinterpret_cast<const std::byte*>(&value);
        bytes_.insert(bytes_.end(), at, at + sizeof(value));
        return *this;
    }
    Fields& add(const Uuid& uuid) {
        const auto raw = std::as_bytes(std::span(uuid.bytes));
        bytes_.insert(bytes_.end(), raw.begin(), raw.end());
        return *this;
    }
    Fields& add(const std::string& text) {
        add(static_cast<uint16_t>(text.size()));
        const auto raw = std::as_bytes(std::span(text));
        bytes_.insert(bytes_.end(), raw.begin(), raw.end());
        return *this;
    }
    /// The record with its head and padding.
    [[nodiscard]] std::vector<std::byte> finish(RecordType type) {
        const size_t unpadded = kHeadBytes + bytes_.size();
        const size_t length =
            (unpadded + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
        Fields head;
        head.add(static_cast<uint8_t>(type)).add(uint8_t{0}).add(static_cast<uint16_t>(length));
        head.add(uint32_t{0});
        bytes_.insert(bytes_.begin(), head.bytes_.begin(), head.bytes_.end());
        bytes_.resize(length);
        return std::move(bytes_);
    }

  private:
    std::vector<std::byte> bytes_;
};

/// Takes fields one after the other; remembers if one was not there.
class FieldReader {
  public:
    explicit FieldReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    template <typename Integer>
    Integer take() {
        Integer value{};
        if (bytes_.size() < sizeof(value)) {
            is_short_ = true;
            return value;
        }
        std::memcpy(&value, bytes_.data(), sizeof(value));
        bytes_ = bytes_.subspan(sizeof(value));
        return value;
    }
    Uuid take_uuid() { return Uuid{take<std::array<uint8_t, 16>>()}; }
    std::string take_text() {
        const auto length = take<uint16_t>();
        if (length > kNameBytesMax || bytes_.size() < length) {
            is_short_ = true;
            return {};
        }
        std::string text(reinterpret_cast<const char*>(bytes_.data()), length);
        bytes_ = bytes_.subspan(length);
        return text;
    }
    /// All was there, and nothing but padding follows.
    [[nodiscard]] bool is_whole() const { return !is_short_ && bytes_.size() < kRecordAlignment; }

  private:
    std::span<const std::byte> bytes_;
    bool is_short_ = false;
};

struct Encode {
    std::vector<std::byte> operator()(const NodeEntry& entry) const {
        const uint32_t flags =
            (entry.is_frozen ? kNodeFrozen : 0U) | (entry.is_hidden ? kNodeHidden : 0U);
        return Fields()
            .add(entry.id)
            .add(entry.parent)
            .add(flags)
            .add(uint32_t{0})
            .finish(RecordType::kNode);
    }
    std::vector<std::byte> operator()(const NodeGone& gone) const {
        return Fields().add(gone.id).finish(RecordType::kNodeGone);
    }
    std::vector<std::byte> operator()(const VolumeEntry& entry) const {
        const uint32_t flags = (entry.is_read_only ? kVolumeReadOnly : 0U) |
                               (entry.is_receiving ? kVolumeReceiving : 0U);
        Fields fields;
        fields.add(entry.uuid)
            .add(entry.head)
            .add(entry.block_bytes)
            .add(entry.size_blocks)
            .add(flags)
            .add(entry.deal)
            .add(entry.note_owner)
            .add(entry.name);
        if (entry.is_receiving) {
            fields.add(entry.received_blocks);
        }
        return fields.finish(RecordType::kVolume);
    }
    std::vector<std::byte> operator()(const VolumeGone& gone) const {
        return Fields().add(gone.uuid).finish(RecordType::kVolumeGone);
    }
    std::vector<std::byte> operator()(const SnapshotEntry& entry) const {
        return Fields()
            .add(entry.uuid)
            .add(entry.node)
            .add(entry.block_bytes)
            .add(entry.volume)
            .add(entry.size_blocks)
            .add(entry.created_ns)
            .add(entry.deal)
            .add(entry.name)
            .finish(RecordType::kSnapshot);
    }
    std::vector<std::byte> operator()(const SnapshotGone& gone) const {
        return Fields().add(gone.uuid).finish(RecordType::kSnapshotGone);
    }
    std::vector<std::byte> operator()(const NextIds& next) const {
        return Fields().add(next.node).add(uint32_t{0}).finish(RecordType::kNextIds);
    }
};

bool decode_node(FieldReader fields, CatalogueChange& change) {
    NodeEntry entry;
    entry.id = fields.take<uint32_t>();
    entry.parent = fields.take<uint32_t>();
    const auto flags = fields.take<uint32_t>();
    static_cast<void>(fields.take<uint32_t>());
    entry.is_frozen = (flags & kNodeFrozen) != 0;
    entry.is_hidden = (flags & kNodeHidden) != 0;
    change = entry;
    return fields.is_whole() && (flags & ~(kNodeFrozen | kNodeHidden)) == 0;
}

bool decode_volume(FieldReader fields, CatalogueChange& change) {
    VolumeEntry entry;
    entry.uuid = fields.take_uuid();
    entry.head = fields.take<uint32_t>();
    entry.block_bytes = fields.take<uint32_t>();
    entry.size_blocks = fields.take<uint64_t>();
    const auto flags = fields.take<uint32_t>();
    entry.is_read_only = (flags & kVolumeReadOnly) != 0;
    entry.is_receiving = (flags & kVolumeReceiving) != 0;
    entry.deal = fields.take<uint32_t>();
    entry.note_owner = fields.take<uint32_t>();
    entry.name = fields.take_text();
    entry.received_blocks = entry.is_receiving ? fields.take<uint64_t>() : 0;
    const bool is_sound =
        entry.size_blocks <= kBlockNumberMax && entry.received_blocks <= entry.size_blocks &&
        entry.note_owner <= entry.head && (flags & ~(kVolumeReadOnly | kVolumeReceiving)) == 0;
    change = std::move(entry);
    return fields.is_whole() && is_sound;
}

bool decode_snapshot(FieldReader fields, CatalogueChange& change) {
    SnapshotEntry entry;
    entry.uuid = fields.take_uuid();
    entry.node = fields.take<uint32_t>();
    entry.block_bytes = fields.take<uint32_t>();
    entry.volume = fields.take_uuid();
    entry.size_blocks = fields.take<uint64_t>();
    entry.created_ns = fields.take<uint64_t>();
    entry.deal = fields.take<uint32_t>();
    entry.name = fields.take_text();
    const bool is_sound = entry.size_blocks <= kBlockNumberMax;
    change = std::move(entry);
    return fields.is_whole() && is_sound;
}

bool decode(RecordType type, FieldReader fields, CatalogueChange& change) {
    switch (type) {
        case RecordType::kNode: return decode_node(fields, change);
        case RecordType::kVolume: return decode_volume(fields, change);
        case RecordType::kSnapshot: return decode_snapshot(fields, change);
        case RecordType::kNodeGone: change = NodeGone{fields.take<uint32_t>()}; break;
        case RecordType::kVolumeGone: change = VolumeGone{fields.take_uuid()}; break;
        case RecordType::kSnapshotGone: change = SnapshotGone{fields.take_uuid()}; break;
        case RecordType::kNextIds: {
            NextIds next;
            next.node = fields.take<uint32_t>();
            static_cast<void>(fields.take<uint32_t>());
            change = next;
            break;
        }
        default: return false;
    }
    return fields.is_whole();
}

/// Cuts records into blocks; `flags` are set on all of them.
std::vector<CatalogueBlock> cut(std::span<const CatalogueChange> changes, uint32_t flags) {
    std::vector<CatalogueBlock> blocks(1);
    for (const CatalogueChange& change : changes) {
        const std::vector<std::byte> record = std::visit(Encode{}, change);
        if (record.size() > blocks.back().records.size() - blocks.back().used_bytes) {
            blocks.emplace_back();
        }
        CatalogueBlock& block = blocks.back();
        std::memcpy(block.records.data() + block.used_bytes, record.data(), record.size());
        block.used_bytes += static_cast<uint32_t>(record.size());
    }
    for (CatalogueBlock& block : blocks) {
        block.flags = flags;
    }
    return blocks;
}

void seal_all(std::span<CatalogueBlock> blocks,
              const BlockSeal& seal,
              CataloguePosition& position) {
    for (CatalogueBlock& block : blocks) {
        block.magic = kCatalogueMagic;
        block.generation = position.generation;
        block.index = position.index++;
        block.previous = position.previous;
        seal.put(std::as_writable_bytes(std::span(&block, 1)), offsetof(CatalogueBlock, crc));
        position.previous = block.crc;
    }
}

}  // namespace

// --- Writing -------------------------------------------------------------------------------------

std::vector<CatalogueBlock> encode_image(const Catalogue& catalogue,
                                         const BlockSeal& seal,
                                         CataloguePosition& position) {
    BASALT_ASSERT(position.index == 0 && position.previous == 0);
    auto blocks = cut(catalogue.image(), kCatalogueImage);
    blocks.back().flags |= kCatalogueImageEnd;
    seal_all(blocks, seal, position);
    return blocks;
}

std::vector<CatalogueBlock> encode_transaction(std::span<const CatalogueChange> changes,
                                               const BlockSeal& seal,
                                               CataloguePosition& position) {
    BASALT_ASSERT(!changes.empty() && position.index > 0);
    auto blocks = cut(changes, kCatalogueContinues);
    blocks.back().flags = 0;
    blocks.front().flags |= kCatalogueBegins;
    seal_all(blocks, seal, position);
    return blocks;
}

// --- Reading -------------------------------------------------------------------------------------

bool CatalogueReader::take(std::span<const std::byte> bytes) {
    BASALT_ASSERT(bytes.size() == kBlockBytes);
    CatalogueBlock block{};
    std::memcpy(&block, bytes.data(), sizeof(block));
    const bool is_first = position_.index == 0;
    if (block.magic != kCatalogueMagic || !seal_.holds(bytes, offsetof(CatalogueBlock, crc)) ||
        block.index != position_.index || block.previous != position_.previous ||
        (!is_first && block.generation != position_.generation)) {
        return false;
    }
    const bool is_image = (block.flags & kCatalogueImage) != 0;
    const bool begins = (block.flags & kCatalogueBegins) != 0;
    const uint32_t known =
        kCatalogueImage | kCatalogueImageEnd | kCatalogueContinues | kCatalogueBegins;
    if (is_image == has_image_ || begins != (has_image_ && pending_.empty()) ||
        (block.flags & ~known) != 0 || block.used_bytes > block.records.size()) {
        half_.problem = "a block that this program does not write";
        return false;
    }
    if (!take_records(std::span(block.records).first(block.used_bytes))) {
        half_.problem = "a record that this program does not write";
        return false;
    }
    position_ = {block.generation, position_.index + 1, block.crc};
    const bool is_end = is_image ? (block.flags & kCatalogueImageEnd) != 0
                                 : (block.flags & kCatalogueContinues) == 0;
    return !is_end || commit();
}

bool CatalogueReader::follows(std::span<const std::byte> bytes, uint32_t index) const {
    BASALT_ASSERT(bytes.size() == kBlockBytes);
    CatalogueBlock block{};
    std::memcpy(&block, bytes.data(), sizeof(block));
    return has_image_ && block.magic == kCatalogueMagic &&
           seal_.holds(bytes, offsetof(CatalogueBlock, crc)) && block.index == index &&
           index > half_.position.index && block.generation == half_.position.generation &&
           (block.flags & kCatalogueBegins) != 0;
}

bool CatalogueReader::take_records(std::span<const std::byte> records) {
    while (!records.empty()) {
        FieldReader head(records);
        const auto type = head.take<uint8_t>();
        static_cast<void>(head.take<uint8_t>());
        const auto length = head.take<uint16_t>();
        if (length < kHeadBytes || length > records.size() || length % kRecordAlignment != 0) {
            return false;
        }
        const FieldReader fields(records.subspan(kHeadBytes, length - kHeadBytes));
        if (!decode(static_cast<RecordType>(type), fields, pending_.emplace_back())) {
            return false;
        }
        records = records.subspan(length);
    }
    return true;
}

bool CatalogueReader::commit() {
    if (!half_.catalogue.allows(pending_, half_.problem)) {
        return false;
    }
    for (const CatalogueChange& change : pending_) {
        half_.catalogue.apply(change);
    }
    pending_.clear();
    has_image_ = true;
    half_.position = position_;
    return true;
}

CatalogueHalf CatalogueReader::finish() {
    half_.is_whole = has_image_ && half_.problem.empty();
    if (!has_image_ && half_.problem.empty()) {
        half_.problem = "no image of the catalogue";
    }
    return std::move(half_);
}

}  // namespace basalt::bdev::store
