#include "nvmf/target/authenticator.h"

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
    job.set_run(job.return_run);
    control_.post(job.home, job);
    if (!jobs_.empty()) {
        control_.start_timer(timer_, 0);
    }
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
