#include "reactor/threads.h"

#include <csignal>

#include <pthread.h>
#include <sys/random.h>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

uint64_t random_seed() {
    uint64_t seed = 0;
    // Before any pool is filled this could block for a moment; at boot only.
    const ssize_t size = getrandom(&seed, sizeof(seed), 0);
    BASALT_ASSERT(size == sizeof(seed));
    return seed;
}

// Blocks all signals of the calling thread, and so of the threads that it makes, for a while:
// signals are for the control thread, which takes them from a signalfd.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

std::vector<int32_t> numa_nodes(const std::vector<Processor>& processors) {
    std::vector<int32_t> nodes;
    nodes.reserve(processors.size() + 1);
    for (const Processor& processor : processors) {
        nodes.push_back(processor.numa_node);
    }
    nodes.push_back(kAnyNumaNode);  // The control reactor is at home nowhere.
    return nodes;
}

// A message that ends a reactor's run().
class StopEvent : public Event {
  public:
    StopEvent() : Event([](Event&, Reactor& here) { here.stop(); }) {}
};

// What a visit for counters carries there and back.
struct CountersVisit {
    ReactorCounters counters;
};

}  // namespace

ReactorThreads::ReactorThreads(const ReactorThreadsOptions& options,
                               ReactorServicesFactory& factory)
    : processors_(options.processors),
      options_(options),
      factory_(factory),
      prepared_(options.processors.size()),
      reported_(static_cast<ptrdiff_t>(options.processors.size())),
      quiet_(static_cast<ptrdiff_t>(options.processors.size()) + 1) {}

ReactorThreads::~ReactorThreads() {
    stop();
}

Result<std::unique_ptr<ReactorThreads>> ReactorThreads::start(const ReactorThreadsOptions& options,
                                                              HugeMemory& memory,
                                                              ReactorServicesFactory& factory,
                                                              std::string& problem) {
    // The control reactor takes one of the places.
    if (options.processors.empty() || options.processors.size() >= kReactorsMax) {
        problem = "reactors need 1 to " + std::to_string(kReactorsMax - 1) + " processors, not " +
                  std::to_string(options.processors.size());
        return Errc::kInvalidArgument;
    }
    std::unique_ptr<ReactorThreads> threads(new ReactorThreads(options, factory));
    auto mesh = RingMesh::create(memory, numa_nodes(options.processors));
    if (!mesh) {
        problem = "no memory for the message rings";
        return mesh.error();
    }
    threads->mesh_ = std::move(*mesh);
    BASALT_CHECK(threads->start_control(problem));
    BASALT_CHECK(threads->start_threads(problem));
    return threads;
}

Status ReactorThreads::start_control(std::string& problem) {
    auto services = factory_.make(control_core());
    if (!services) {
        problem =
            "the control reactor does not start: " + std::string(describe(services.error().code));
        return services.error();
    }
    control_services_ = std::move(*services);
    mesh_->set_waker(control_core(), *control_services_.waker);
    const ReactorOptions options{.core = control_core(),
                                 .mode = PollMode::kAdaptive,
                                 .idle_before_sleep_ns = options_.idle_before_sleep_ns,
                                 .random_seed = random_seed()};
    control_.emplace(options,
                     *control_services_.clock,
                     *control_services_.driver,
                     mesh_->mailbox(control_core()));
    return kOk;
}

Status ReactorThreads::start_threads(std::string& problem) {
    {
        const SignalsBlocked blocked;
        for (uint32_t i = 0; i < count(); ++i) {
            threads_.emplace_back([this, i] { thread_main(CoreId(i)); });
        }
    }
    reported_.wait();
    Status outcome;
    for (uint32_t i = 0; i < count() && outcome; ++i) {
        if (!prepared_[i]) {
            outcome = prepared_[i];
            problem = "reactor " + std::to_string(i) + " does not start on processor " +
                      std::to_string(processors_[i].os_index) + ": " +
                      std::string(describe(outcome.error().code));
        }
    }
    go_.store(outcome ? Go::kRun : Go::kGiveUp);
    go_.notify_all();
    return outcome;
}

void ReactorThreads::thread_main(CoreId core) {
    const std::string name = "basalt-r" + std::to_string(core.raw());
    pthread_setname_np(pthread_self(), name.c_str());
    ReactorServices services;
    prepared_[core.raw()] = prepare_thread(core, services);
    reported_.count_down();
    go_.wait(Go::kWait);
    if (go_.load() == Go::kRun) {
        run_reactor(core, services);
    }
    ended_.fetch_add(1);
    quiet_.arrive_and_wait();
}

Status ReactorThreads::prepare_thread(CoreId core, ReactorServices& services) {
    BASALT_CHECK(pin_this_thread(processors_[core.raw()]));
    auto made = factory_.make(core);
    if (!made) {
        return made.error();
    }
    services = std::move(*made);
    mesh_->set_waker(core, *services.waker);
    return kOk;
}

void ReactorThreads::run_reactor(CoreId core, ReactorServices& services) {
    const ReactorOptions options{.core = core,
                                 .mode = options_.mode,
                                 .idle_before_sleep_ns = options_.idle_before_sleep_ns,
                                 .random_seed = random_seed()};
    Reactor reactor(options, *services.clock, *services.driver, mesh_->mailbox(core));
    reactor.run();
}

void ReactorThreads::stop() {
    if (threads_.empty()) {
        return;
    }
    std::vector<StopEvent> stops(count());
    if (go_.load() == Go::kRun) {
        for (uint32_t i = 0; i < count(); ++i) {
            control_->post(CoreId(i), stops[i]);
        }
    }
    // A stop event may be held back by a full ring, and then goes out in a later turn.
    while (ended_.load() < count()) {
        control_->poll_once();
        std::this_thread::yield();
    }
    quiet_.arrive_and_wait();
    for (std::thread& thread : threads_) {
        thread.join();
    }
    threads_.clear();
    // Answers that were on their way.
    while (control_->poll_once() == PollResult::kBusy) {
    }
}

Task<ReactorCounters> ReactorThreads::read_counters(CoreId core) {
    CountersVisit object;
    visit<CountersVisit> trip(
        *control_, core, object, [](Reactor& there, CountersVisit& read) -> Task<void> {
            read.counters = there.counters();
            co_return;
        });
    co_await trip;
    co_return object.counters;
}

}  // namespace basalt
