#include "nvmf/target/authenticator.h"

#include <utility>

#include "reactor/base/assert.h"

namespace basalt::nvmf {

Authenticator::Authenticator(Reactor& control, HostSecrets& secrets, AuthRandom& random)
    : control_(control), secrets_(secrets), random_(random) {
    timer_.set([](Timer&, void* self) { static_cast<Authenticator*>(self)->work(); }, this);
}

Authenticator::~Authenticator() {
    BASALT_ASSERT(jobs_.empty());
}

void Authenticator::add(AuthJob& job) {
    const bool is_first = jobs_.empty();
    jobs_.push_back(job);
    if (is_first) {
        control_.start_timer(timer_, 0);
    }
}

void Authenticator::work() {
    Event* const first = jobs_.pop_front();
    BASALT_ASSERT(first != nullptr);
    auto& job = static_cast<AuthJob&>(*first);
    TargetSecrets secrets;
    if (job.exchange->needs_secrets()) {
        secrets = secrets_.secrets_of(job.subsystem, job.exchange->names().host_nqn);
    }
    job.exchange->apply(job.message, {algorithms_, secrets, next_sequence(), random_});
    Secret psk = job.exchange->take_generated_psk();
    if (psk.empty()) {
        send_home(job);
    } else {
        publish(job, std::move(psk)).detach();
    }
    if (!jobs_.empty()) {
        control_.start_timer(timer_, 0);
    }
}

void Authenticator::send_home(AuthJob& job) {
    job.set_run(job.return_run);
    control_.post(job.home, job);
}

// The host hears of its success when every reactor knows the key, since its next connection may go
// to any of them.
// tidy: allow(coroutine): the job's group waits for it
Task<void> Authenticator::publish(AuthJob& job, Secret psk) {
    auto publishing =
        secrets_.publish_psk(job.subsystem, job.exchange->names().host_nqn, std::move(psk));
    co_await publishing;
    send_home(job);
}

// Goes up from a number that nobody can foresee; never 0 (section 8.13.5.3 of the NVMe Base
// Specification 2.0).
uint32_t Authenticator::next_sequence() {
    while (sequence_ == 0) {
        random_.fill(std::as_writable_bytes(std::span(&sequence_, 1)));
    }
    const uint32_t next = sequence_++;
    return next;
}

}  // namespace basalt::nvmf
