#include "replication/head/line_list.h"

#include <algorithm>
#include <array>

#include "bdev/store/checksum.h"
#include "replication/wire/bytes.h"

namespace basalt::replication {

namespace {

constexpr std::array<char, 8> kMagic{'B', 'S', 'L', 'T', 'L', 'I', 'N', '1'};
constexpr size_t kHeadBytes = 64;
constexpr size_t kLineBytes = 128;
constexpr size_t kSumOffset = kLineSlotBytes - sizeof(uint32_t);
static_assert(kHeadBytes + kLinesMax * kLineBytes <= kSumOffset);
static_assert(kLineNameMax < 64);

using Name = std::array<char, kLineNameMax + 1>;

Result<LineRecord> decode_line(wire::Reader in) {
    LineRecord line;
    line.number = in.get_number();
    const auto state = in.get<uint8_t>();
    const auto length = in.get<uint8_t>();
    const auto name = in.get<Name>();
    line.state = static_cast<LineRecord::State>(state);
    if (state < 1 || state > 3 || length < 1 || length > kLineNameMax) {
        return Errc::kDataCorrupt;
    }
    line.name.assign(name.data(), length);
    return line;
}

}  // namespace

LineRecord* LineList::find(std::string_view name) {
    const auto found = std::find_if(
        lines.begin(), lines.end(), [name](const LineRecord& line) { return line.name == name; });
    return found == lines.end() ? nullptr : &*found;
}

bool LineList::resolve(OpNumber newest) {
    bool has_any = false;
    for (LineRecord& line : lines) {
        if (line.state == LineRecord::State::kDrawing) {
            has_any = true;
            line.state = LineRecord::State::kDeleting;
            // One at a time is drawn: if there is a newer one it is this. None: nobody has it.
            line.number = line.number < newest ? newest : OpNumber{};
        }
    }
    std::erase_if(lines, [](const LineRecord& line) {
        return line.state == LineRecord::State::kDeleting && line.number.is_none();
    });
    return has_any;
}

void encode_line_list(const LineList& list, std::span<std::byte, kLineSlotBytes> slot) {
    BASALT_ASSERT(list.lines.size() <= kLinesMax);
    std::fill(slot.begin(), slot.end(), std::byte{0});
    wire::Writer head(slot);
    head.put(kMagic);
    head.put(list.volume.bytes);
    head.put(list.change);
    head.put(static_cast<uint32_t>(list.lines.size()));
    for (size_t i = 0; i < list.lines.size(); ++i) {
        const LineRecord& line = list.lines[i];
        BASALT_ASSERT(!line.name.empty() && line.name.size() <= kLineNameMax);
        wire::Writer out(slot.subspan(kHeadBytes + i * kLineBytes, kLineBytes));
        out.put_number(line.number);
        out.put(static_cast<uint8_t>(line.state));
        out.put(static_cast<uint8_t>(line.name.size()));
        Name name{};
        std::copy(line.name.begin(), line.name.end(), name.begin());
        out.put(name);
    }
    wire::Writer sum(slot.subspan(kSumOffset));
    sum.put(bdev::store::crc32c(slot.first(kSumOffset)));
}

Result<LineList> decode_line_list(std::span<const std::byte, kLineSlotBytes> slot) {
    if (std::all_of(
            slot.begin(), slot.end(), [](std::byte byte) { return byte == std::byte{0}; })) {
        return Errc::kNotFound;
    }
    wire::Reader in(slot);
    const auto magic = in.get<std::array<char, 8>>();
    LineList list;
    list.volume.bytes = in.get<std::array<uint8_t, 16>>();
    list.change = in.get<uint64_t>();
    const auto count = in.get<uint32_t>();
    wire::Reader sum(slot.subspan(kSumOffset));
    if (magic != kMagic || sum.get<uint32_t>() != bdev::store::crc32c(slot.first(kSumOffset)) ||
        count > kLinesMax) {
        return Errc::kDataCorrupt;
    }
    for (size_t i = 0; i < count; ++i) {
        Result<LineRecord> line =
            decode_line(wire::Reader(slot.subspan(kHeadBytes + i * kLineBytes, kLineBytes)));
        if (!line) {
            return line.error();
        }
        list.lines.push_back(std::move(*line));
    }
    return list;
}

}  // namespace basalt::replication
