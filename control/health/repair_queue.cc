#include "control/health/repair_queue.h"

#include <utility>

#include "reactor/base/assert.h"

namespace basalt::health {

RepairQueue::RepairQueue(const RepairLimits& limits) : limits_(limits) {
    BASALT_ASSERT(limits.in_all > 0 && limits.per_drive > 0);
}

bool RepairQueue::add(const Repair& repair) {
    BASALT_ASSERT(repair.from != repair.to);
    const auto found = entries_.find(repair.id);
    if (found == entries_.end()) {
        insert(repair, next_number_++);
        return true;
    }
    Entry& entry = found->second;
    if (entry.state == State::kRunning) {
        return false;
    }
    const bool keeps_place = entry.turn.spare == repair.spare;
    const uint64_t number = keeps_place ? entry.turn.number : next_number_++;
    take_out(entry);
    entries_.erase(found);
    insert(repair, number);
    return true;
}

void RepairQueue::insert(const Repair& repair, uint64_t number) {
    const Turn turn{repair.spare, number, repair.id};
    entries_.emplace(repair.id, Entry{repair, turn, State::kWaiting, {}, {}});
    ready_.insert(turn);
    ++waiting_[repair.spare];
}

RepairQueue::State RepairQueue::remove(uint64_t id) {
    const auto found = entries_.find(id);
    if (found == entries_.end()) {
        return State::kUnknown;
    }
    Entry& entry = found->second;
    const State state = entry.state;
    const Repair repair = entry.repair;
    if (state == State::kWaiting) {
        take_out(entry);
    }
    entries_.erase(found);
    if (state == State::kRunning) {
        --running_;
        release(repair.from);
        release(repair.to);
    }
    return state;
}

void RepairQueue::take_out(Entry& entry) {
    const auto waiting = waiting_.find(entry.turn.spare);
    if (--waiting->second == 0) {
        waiting_.erase(waiting);
    }
    if (entry.in_line_of) {
        const auto drive = drives_.find(*entry.in_line_of);
        drive->second.line.erase(entry.turn);
        return;
    }
    ready_.erase(entry.turn);
    if (entry.woken_by) {
        wake(*entry.woken_by);
    }
}

void RepairQueue::set(const RepairLimits& limits) {
    BASALT_ASSERT(limits.in_all > 0 && limits.per_drive > 0);
    limits_ = limits;
    // Any of them may have a place now.
    for (auto& [id, drive] : drives_) {
        for (const Turn& turn : drive.line) {
            entries_.at(turn.id).in_line_of.reset();
        }
        ready_.merge(drive.line);
    }
}

std::vector<Repair> RepairQueue::start() {
    std::vector<Repair> started;
    while (running_ < limits_.in_all && !ready_.empty()) {
        Entry& entry = entries_.at(ready_.begin()->id);
        if (const auto busy = busy_drive(entry.repair)) {
            stand_in_line(entry, *busy);
        } else {
            run(entry);
            started.push_back(entry.repair);
        }
    }
    return started;
}

std::optional<bdev::Uuid> RepairQueue::busy_drive(const Repair& repair) const {
    for (const bdev::Uuid& id : {repair.from, repair.to}) {
        const auto drive = drives_.find(id);
        if (drive != drives_.end() && drive->second.running >= limits_.per_drive) {
            return id;
        }
    }
    return {};
}

void RepairQueue::run(Entry& entry) {
    entry.woken_by.reset();
    take_out(entry);
    entry.state = State::kRunning;
    ++running_;
    ++drives_[entry.repair.from].running;
    ++drives_[entry.repair.to].running;
}

void RepairQueue::stand_in_line(Entry& entry, const bdev::Uuid& drive) {
    ready_.erase(entry.turn);
    drives_.at(drive).line.insert(entry.turn);
    entry.in_line_of = drive;
    if (const auto woken_by = std::exchange(entry.woken_by, std::nullopt)) {
        wake(*woken_by);  // Its place is for the next one.
    }
}

void RepairQueue::wake(const bdev::Uuid& id) {
    const auto found = drives_.find(id);
    if (found == drives_.end()) {
        return;
    }
    Drive& drive = found->second;
    if (drive.running >= limits_.per_drive || drive.line.empty()) {
        return;
    }
    const Turn turn = *drive.line.begin();
    drive.line.erase(drive.line.begin());
    Entry& entry = entries_.at(turn.id);
    entry.in_line_of.reset();
    entry.woken_by = id;
    ready_.insert(turn);
}

void RepairQueue::release(const bdev::Uuid& id) {
    const auto found = drives_.find(id);
    BASALT_ASSERT(found != drives_.end() && found->second.running > 0);
    --found->second.running;
    wake(id);
    if (found->second.running == 0 && found->second.line.empty()) {
        drives_.erase(found);
    }
}

RepairQueue::State RepairQueue::state(uint64_t id) const {
    const auto found = entries_.find(id);
    return found == entries_.end() ? State::kUnknown : found->second.state;
}

}  // namespace basalt::health
