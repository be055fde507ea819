#include "replication/node/volume_lines.h"

#include <algorithm>
#include <utility>

#include "replication/head/head_call.h"
#include "replication/head/limits.h"

namespace basalt::replication {

/// What is to be done on the head's core, and what came of it.
struct VolumeLines::Order {
    Head& head;
    OpNumber number{};
    bool is_open = false;
    bool is_dropped = false;  ///< By all.
    Status status{};
};

VolumeLines::VolumeLines(
    Reactor& control, FileSystem& files, std::string path, bdev::Uuid volume, Head& head)
    : control_(control),
      files_(files),
      path_(std::move(path)),
      volume_(volume),
      head_(head),
      head_core_(head.reactor().core()),
      file_(control, files, path_, volume),
      turn_(control),
      tidy_turn_(control) {}

VolumeLines::~VolumeLines() {
    BASALT_ASSERT((!is_drawing_ && !is_tidying_) || control_.is_abandoned());
}

Task<void> VolumeLines::visit_head(Order& order, Task<void> (*run)(Reactor&, Order&)) {
    visit<Order> there(control_, head_core_, order, run);
    co_await there;
}

Task<void> VolumeLines::look_there(Reactor&, Order& order) {
    const HeadStatistics now = order.head.statistics();
    order.is_open = now.state == HeadCore::State::kOpen && !now.is_other_chosen;
    order.number = now.generation;
    co_return;
}

Task<void> VolumeLines::draw_there(Reactor&, Order& order) {
    HeadRequest request;
    request.op = HeadOp::kSnapshot;
    HeadCall call(order.head, request);
    order.status = co_await call;
    order.number = request.generation;
}

Task<void> VolumeLines::drop_there(Reactor&, Order& order) {
    order.is_dropped =
        order.head.drop_line(order.number) == ReplicaSet::all(order.head.settings().replicas);
    co_return;
}

// ---- the list

Task<Result<LineList>> VolumeLines::load(bool may_create) {
    if (is_closing_) {
        co_return Errc::kCancelled;
    }
    Result<LineList> list = co_await file_.lock(may_create);
    co_return std::move(list);
}

/// As a head that is open may change it. Locked if it succeeds.
Task<Result<LineList>> VolumeLines::load_open() {
    Order order{.head = head_};
    co_await visit_head(order, look_there);
    if (!order.is_open) {
        co_return Errc::kBusy;
    }
    Result<LineList> list = co_await load(true);
    if (list) {
        static_cast<void>(list->resolve(order.number));
    }
    co_return std::move(list);
}

/// And unlocks it.
Task<Status> VolumeLines::save(LineList list) {
    Task<bool> writing = file_.write(std::move(list));
    const bool is_written = co_await writing;
    file_.unlock();
    co_return is_written ? kOk : Status(Errc::kCancelled);
}

Task<Result<std::vector<LineRecord>>> VolumeLines::list() {
    // Another snapshot may wait for replicas.
    LineFile file(control_, files_, path_, volume_);
    Result<LineList> found = co_await file.lock(false);
    if (!found) {
        co_return found.error();
    }
    co_return std::move(found->lines);
}

// ---- drawing

Task<Result<OpNumber>> VolumeLines::draw(std::string name) {
    co_await turn_.acquire();
    const AsyncMutex::Turn turn(turn_);
    Order order{.head = head_};
    co_await visit_head(order, look_there);
    const Status begun = co_await begin_drawing(name, order.number);
    if (!begun) {
        co_return begun.error();
    }
    if (is_closing_) {
        co_return Errc::kCancelled;
    }
    is_drawing_ = true;
    co_await visit_head(order, draw_there);
    is_drawing_ = false;
    if (!order.status) {
        co_return order.status.error();
    }
    const Status ended = co_await end_drawing(name, order.number);
    if (!ended) {
        co_return ended.error();
    }
    co_return order.number;
}

Task<Status> VolumeLines::begin_drawing(std::string name, OpNumber newest) {
    if (name.empty() || name.size() > kLineNameMax) {
        co_return Errc::kInvalidArgument;
    }
    Result<LineList> list = co_await load_open();
    if (!list) {
        co_return list.error();
    }
    if (list->find(name) != nullptr || list->lines.size() == kLinesMax) {
        file_.unlock();
        co_return list->lines.size() == kLinesMax ? Errc::kNoSpace : Errc::kExists;
    }
    list->lines.push_back({LineRecord::State::kDrawing, newest, std::move(name)});
    Task<Status> saving = save(std::move(*list));
    const Status saved = co_await saving;
    co_return saved;
}

/// Unless the next head has begun to delete it.
Task<Status> VolumeLines::end_drawing(std::string name, OpNumber number) {
    Result<LineList> list = co_await load(true);
    if (!list) {
        co_return list.error();
    }
    LineRecord* line = list->find(name);
    if (line == nullptr || line->state != LineRecord::State::kDrawing) {
        file_.unlock();
        co_return Errc::kStaleEpoch;
    }
    line->state = LineRecord::State::kThere;
    line->number = number;
    Task<Status> saving = save(std::move(*list));
    const Status saved = co_await saving;
    co_return saved;
}

// ---- deleting

Task<Status> VolumeLines::remove(std::string name) {
    co_await turn_.acquire();
    const AsyncMutex::Turn turn(turn_);
    Result<LineList> list = co_await load_open();
    if (!list) {
        co_return list.error();
    }
    LineRecord* line = list->find(name);
    if (line == nullptr) {
        file_.unlock();
        co_return Errc::kNotFound;
    }
    line->state = LineRecord::State::kDeleting;
    Task<Status> saving = save(std::move(*list));
    const Status saved = co_await saving;
    if (saved) {
        tidy_later();
    }
    co_return saved;
}

void VolumeLines::set_serving(bool serves) {
    serves_ = serves;
    tidy_later();
}

void VolumeLines::tidy_later() {
    if (serves_ && !is_closing_ && !std::exchange(is_tidying_, true)) {
        tidy().detach();
    }
}

/// As long as there is something to be deleted, and this head serves.
Task<void> VolumeLines::tidy() {
    co_await tidy_turn_.acquire();
    const AsyncMutex::Turn whole(tidy_turn_);
    OpNumber number;
    while (serves_ && !is_closing_) {
        const Result<OpNumber> next = co_await next_to_drop(number);
        if (!next && next.error().code != Errc::kBusy) {
            break;
        }
        if (next) {
            number = *next;
            const bool is_dropped = co_await drop(number);
            if (is_dropped) {
                co_await forget(number);
                continue;
            }
        }
        sleep_for pause(control_, kLinePollNs);
        co_await pause;
    }
    is_tidying_ = false;
}

/// The first one behind `after`, or the first of all. Errors: kNotFound: there is none; kBusy: the
/// head is not open yet; those of LineFile.
Task<Result<OpNumber>> VolumeLines::next_to_drop(OpNumber after) {
    co_await turn_.acquire();
    const AsyncMutex::Turn turn(turn_);
    Order order{.head = head_};
    co_await visit_head(order, look_there);
    if (!order.is_open) {
        co_return Errc::kBusy;
    }
    Result<LineList> list = co_await load(false);
    if (!list) {
        co_return list.error();
    }
    if (list->resolve(order.number)) {
        Task<Status> saving = save(*list);
        const Status saved = co_await saving;
        if (!saved) {
            co_return saved.error();
        }
    }
    file_.unlock();
    OpNumber first;
    for (const LineRecord& line : list->lines) {
        if (line.state != LineRecord::State::kDeleting) {
            continue;
        }
        if (line.number > after) {
            co_return line.number;
        }
        first = first.is_none() ? line.number : first;
    }
    if (first.is_none()) {
        co_return Errc::kNotFound;
    }
    co_return first;
}

/// Asks for a while. Whether no replica has it.
Task<bool> VolumeLines::drop(OpNumber number) {
    Order order{.head = head_, .number = number};
    for (uint32_t ask = 0; ask < kLineAsks && serves_ && !is_closing_; ++ask) {
        co_await visit_head(order, drop_there);
        if (order.is_dropped) {
            co_return true;
        }
        sleep_for pause(control_, kLinePollNs);
        co_await pause;
    }
    co_return false;
}

Task<void> VolumeLines::forget(OpNumber number) {
    co_await turn_.acquire();
    const AsyncMutex::Turn turn(turn_);
    Result<LineList> list = co_await load(true);
    if (!list) {
        co_return;  // It is asked for again.
    }
    std::erase_if(list->lines, [number](const LineRecord& line) {
        return line.state == LineRecord::State::kDeleting && line.number == number;
    });
    Task<Status> saving = save(std::move(*list));
    const Status saved = co_await saving;
    static_cast<void>(saved);
}

// ---- the end

void VolumeLines::begin_closing() {
    is_closing_ = true;
    file_.give_up();
}

Task<void> VolumeLines::close() {
    begin_closing();
    co_await tidy_turn_.acquire();
    const AsyncMutex::Turn no_tidying(tidy_turn_);
    co_await turn_.acquire();
    const AsyncMutex::Turn no_change(turn_);
}

}  // namespace basalt::replication
