#include "test/sim/replication/sim_authority.h"

#include <utility>

namespace basalt::replication::test {

SimAuthority::SimAuthority(sim::World& world,
                           uint32_t replicas,
                           uint64_t lease_us,
                           uint64_t delay_max_ns)
    : world_(world),
      lease_us_(lease_us),
      delay_max_ns_(delay_max_ns),
      set_(ReplicaSet::all(replicas)) {}

SimAuthority::~SimAuthority() {
    BASALT_ASSERT(ports_.empty());
}

std::unique_ptr<SimAuthority::Port> SimAuthority::add_port(Reactor& here) {
    auto port = std::make_unique<Port>(*this, here, ++names_);
    ports_[names_] = port.get();
    return port;
}

void SimAuthority::notice_death() {
    if (chosen_ != 0 && ports_.count(chosen_) == 0) {
        chosen_ = 0;
        consider_grants();
    }
}

bool SimAuthority::is_last(const Port& port, Epoch epoch) const {
    return port.name_ == head_ && epoch == epoch_ && head_ == chosen_;
}

void SimAuthority::take(Port& port, const Word& word) {
    switch (word.kind) {
        case Word::Kind::kAskGrant:
            if (word.is_again && !port.wants_grant_) {
                return;  // The answer is on its way.
            }
            port.wants_grant_ = true;
            if (word.claim == Claim::kTakeOver) {
                choose(port.name_);
            }
            consider_grants();
            return;
        case Word::Kind::kAskSet: {
            const bool is_granted = is_last(port, word.epoch) && !word.set.empty();
            if (is_granted) {
                epoch_ = Epoch(epoch_.raw() + 1);
                set_ = word.set;
            }
            port.say({.kind = Word::Kind::kSet, .epoch = word.epoch, .is_granted = is_granted});
            return;
        }
        case Word::Kind::kAskOpen:
            port.is_opening_ = true;
            port.opening_ = word.epoch;
            consider_opening();
            return;
        case Word::Kind::kAskLease: {
            // Its set may have changed since it asked.
            const bool is_granted =
                port.name_ == head_ && head_ == chosen_ && word.epoch >= tenure_ && lease_ == head_;
            if (is_granted) {
                lease_until_ns_ = world_.now_ns() + lease_us_ * kNsPerUs;
            }
            port.say({.kind = Word::Kind::kLease, .epoch = word.epoch, .is_granted = is_granted});
            return;
        }
        case Word::Kind::kGaveUp:
            if (lease_ == port.name_ && chosen_ != port.name_) {
                lease_until_ns_ = 0;
                consider_opening();
            }
            return;
        case Word::Kind::kGranted:
        case Word::Kind::kOtherChosen:
        case Word::Kind::kSet:
        case Word::Kind::kOpen:
        case Word::Kind::kLease: break;
    }
    BASALT_ASSERT(false);
}

void SimAuthority::choose(Name name) {
    const Name before = std::exchange(chosen_, name);
    const auto found = ports_.find(before);
    if (before != name && found != ports_.end()) {
        found->second->is_told_ = true;
        found->second->say({.kind = Word::Kind::kOtherChosen});
    }
}

void SimAuthority::consider_grants() {
    for (const auto& [name, port] : ports_) {
        if (chosen_ == 0 && port->wants_grant_) {
            chosen_ = name;
        }
    }
    for (const auto& [name, port] : ports_) {
        if (!port->wants_grant_) {
            continue;
        }
        if (name == chosen_) {
            port->wants_grant_ = false;
            port->is_told_ = false;
            epoch_ = Epoch(epoch_.raw() + 1);
            head_ = name;
            tenure_ = epoch_;
            port->say({.kind = Word::Kind::kGranted, .epoch = epoch_, .set = set_});
        } else if (!std::exchange(port->is_told_, true)) {
            port->say({.kind = Word::Kind::kOtherChosen});
        }
    }
    consider_opening();
}

void SimAuthority::consider_opening() {
    for (const auto& [name, port] : ports_) {
        if (!port->is_opening_) {
            continue;
        }
        const uint64_t now_ns = world_.now_ns();
        const bool is_granted = is_last(*port, port->opening_);
        if (is_granted && lease_ != name && now_ns < lease_until_ns_) {
            port->start_timer(port->lease_timer_, lease_until_ns_ - now_ns + 1);
            continue;
        }
        if (is_granted) {
            lease_ = name;
            lease_until_ns_ = now_ns + lease_us_ * kNsPerUs;
        }
        port->is_opening_ = false;
        port->say({.kind = Word::Kind::kOpen, .epoch = port->opening_, .is_granted = is_granted});
    }
}

void SimAuthority::leave(Port& port) {
    port.wants_grant_ = false;
    port.is_opening_ = false;
    if (lease_ == port.name_) {
        lease_until_ns_ = 0;
    }
    if (chosen_ == port.name_) {
        chosen_ = 0;
    }
    consider_grants();
}

// ---- the way between

SimAuthority::Port::Port(SimAuthority& authority, Reactor& here, Name name)
    : authority_(authority), here_(here), name_(name) {
    timer_.set([](Timer&, void* self) { static_cast<Port*>(self)->run(); }, this);
    lease_timer_.set(
        [](Timer&, void* self) { static_cast<Port*>(self)->authority_.consider_opening(); }, this);
}

SimAuthority::Port::~Port() {
    here_.stop_timer(timer_);
    here_.stop_timer(lease_timer_);
    authority_.ports_.erase(name_);
}

void SimAuthority::Port::set_away(bool is_away) {
    is_away_ = is_away;
    wake();
}

void SimAuthority::Port::stop() {
    user_ = nullptr;
    words_.clear();
    authority_.leave(*this);
}

void SimAuthority::Port::say(const Word& word) {
    words_.push_back(word);
    wake();
}

/// Others may start it in their turn, when this reactor's clock stands still.
void SimAuthority::Port::start_timer(Timer& timer, uint64_t delay_ns) {
    here_.stop_timer(timer);
    here_.start_timer(timer, authority_.world_.now_ns() - here_.now_ns() + delay_ns);
}

void SimAuthority::Port::wake() {
    if (!is_away_ && !words_.empty() && !timer_.is_running()) {
        start_timer(timer_, here_.random().below(authority_.delay_max_ns_) + 1);
    }
}

void SimAuthority::Port::run() {
    if (!is_away_ && !words_.empty()) {
        const Word word = words_.front();
        words_.pop_front();
        if (word.kind <= Word::Kind::kGaveUp) {
            authority_.take(*this, word);
        } else if (user_ != nullptr) {
            hear(word);
        }
    }
    wake();
}

void SimAuthority::Port::hear(const Word& word) {
    const uint64_t lease_us = authority_.lease_us_;
    switch (word.kind) {
        case Word::Kind::kGranted:
            is_asking_ = false;
            user_->granted(word.epoch, word.set);
            return;
        case Word::Kind::kOtherChosen:
            user_->other_chosen();
            say({.kind = Word::Kind::kGaveUp});
            return;
        case Word::Kind::kSet: user_->set_answered(word.epoch, word.is_granted); return;
        case Word::Kind::kOpen: user_->open_answered(word.epoch, word.is_granted, lease_us); return;
        case Word::Kind::kLease:
            user_->lease_answered(word.epoch, word.is_granted, lease_us);
            return;
        case Word::Kind::kAskGrant:
        case Word::Kind::kAskSet:
        case Word::Kind::kAskOpen:
        case Word::Kind::kAskLease:
        case Word::Kind::kGaveUp: break;
    }
    BASALT_ASSERT(false);
}

}  // namespace basalt::replication::test
