#pragma once

#include <cstdint>

namespace basalt::sim {

/// What goes wrong in a simulated world, and how often. Rates are in parts per million of the
/// events named (0: never); times in virtual nanoseconds. All 0 by default, except that a power
/// loss is one: half of what no flush covers is lost. A value; may be changed while a world runs.
struct FaultOptions {
    // Between the reactors of a node.
    uint64_t message_jitter_ns = 0;     ///< Added to each message's delivery, at most.
    uint32_t message_ring_slots = 0;    ///< Of each ring; 0: as in production (kMessageRingSlots).
    uint32_t reactor_pause_ppm = 0;     ///< Of turns: the core is taken away afterwards ...
    uint64_t reactor_pause_ns_max = 0;  ///< ... for up to this long.
    uint32_t spurious_turn_ppm = 0;     ///< Of steps, for each reactor that has nothing to do.

    // Between nodes.
    uint64_t network_jitter_ns = 0;    ///< Added to each segment's flight, at most.
    uint32_t segment_split_ppm = 0;    ///< Of segments: cut short at a random byte.
    uint32_t segment_loss_ppm = 0;     ///< Of segments: lost, seen as a retransmission's delay.
    uint32_t send_window_bytes = 0;    ///< Bytes sent and not yet taken; 0: kSendWindowBytes.
    uint32_t connection_cut_ppm = 0;   ///< Of segments: the connection is reset at that point.
    uint32_t connect_refused_ppm = 0;  ///< Of connects.
    uint32_t partition_ppm = 0;        ///< Of segments: their two nodes are partitioned ...
    uint64_t partition_ns_max = 0;     ///< ... one way or both, for up to this long.

    // Drives.
    uint64_t storage_jitter_ns = 0;      ///< Added to each request's time, at most; reorders them.
    uint32_t storage_stall_ppm = 0;      ///< Of requests: not answered for ...
    uint64_t storage_stall_ns = 0;       ///< ... this long.
    uint32_t read_error_ppm = 0;         ///< Of reads: kMediaError, once.
    uint32_t write_error_ppm = 0;        ///< Of writes: kIo; an unknown part is written.
    uint32_t flush_error_ppm = 0;        ///< Of flushes: kIo; what it covered is never written.
    uint32_t corrupt_ppm = 0;            ///< Of reads: a bit of what is stored flips, for good.
    uint32_t misdirected_read_ppm = 0;   ///< Of reads: answered from another place.
    uint32_t misdirected_write_ppm = 0;  ///< Of writes: lands in another place.
    uint32_t lost_write_ppm = 0;         ///< Of writes: answered, never done.
    uint32_t crash_loss_ppm = 500'000;   ///< Of 512-byte units no flush covers, at a power loss.
};

/// No faults: every run that fails here fails without help.
[[nodiscard]] FaultOptions calm();

/// Random rates drawn from `seed`; each kind of fault is absent in about half of all draws, so that
/// one does not hide another ("Swarm testing", Groce et al., ISSTA 2012). Storage faults that
/// silently change data (corruption, misdirection, lost writes) are drawn too: a device without
/// checksums can't pass with them, so clear them where none are computed (without_silent_faults).
[[nodiscard]] FaultOptions swarm(uint64_t seed);

/// `options` with those storage faults off that only a checksum can notice.
[[nodiscard]] FaultOptions without_silent_faults(FaultOptions options);

}  // namespace basalt::sim
