#include "nvmf/wire/sgl.h"

namespace basalt::nvmf {

namespace {

Error failure(NvmeStatus status) {
    return to_error(status.with_dnr());
}

bool moves_data_to_controller(const Sqe& sqe) {
    const DataDirection direction = sqe.data_direction();
    return direction == DataDirection::kHostToController ||
           direction == DataDirection::kBidirectional;
}

}  // namespace

Result<DataPointer> decode_data_pointer(const Sqe& sqe, uint32_t capsule_data_bytes) {
    const uint32_t length_bytes = sqe.sgl1.length_bytes.get();
    if (length_bytes == 0) {
        // Nothing to point at, so nothing else of the descriptor matters.
        return DataPointer{};
    }
    if (sqe.psdt() != Psdt::kSglContiguousMetadata && sqe.psdt() != Psdt::kSglSegmentMetadata) {
        return failure(status::kInvalidField);
    }
    switch (sqe.sgl1.identifier) {
        case kSglTransport:
            if (capsule_data_bytes != 0) {
                return failure(status::kInvalidField);
            }
            return DataPointer{
                .place = DataPointer::Place::kTransport, .offset = 0, .length_bytes = length_bytes};
        case kSglInCapsule: break;
        default: return failure(status::kSglTypeInvalid);
    }
    if (!moves_data_to_controller(sqe)) {
        return failure(status::kInvalidField);
    }
    const uint64_t offset = sqe.sgl1.address.get();
    if (offset > capsule_data_bytes) {
        return failure(status::kSglOffsetInvalid);
    }
    if (length_bytes > capsule_data_bytes - offset) {
        return failure(status::kDataSglLengthInvalid);
    }
    return DataPointer{.place = DataPointer::Place::kInCapsule,
                       .offset = static_cast<uint32_t>(offset),
                       .length_bytes = length_bytes};
}

}  // namespace basalt::nvmf
