#include "nvmf/target/request.h"

#include "nvmf/target/connection.h"

namespace basalt::nvmf {

Request::Request(uint16_t transfer_tag, bdev::DeepCompletions& deep)
    : tag(transfer_tag),
      waiter(
          [](void* self, Buffer granted) {
              Request& request = *static_cast<Request*>(self);
              request.connection().buffer_granted(request, granted);
          },
          this),
      io(deep) {}

void Request::reset(const Sqe& command) {
    BASALT_ASSERT(!buffer.is_valid());
    BASALT_ASSERT(!kept);
    BASALT_ASSERT(target_namespace == nullptr);
    BASALT_ASSERT(fused == nullptr);
    BASALT_ASSERT(job == nullptr);
    sqe = command;
    cqe = {};
    early_status = {};
    data_bytes = 0;
    received_bytes = 0;
    is_data_in_capsule = false;
    has_digest_error = false;
    is_abort_wanted = false;
    is_paid = false;
    completes_later = false;
    scratch = 0;
    piece = {};
    io.wants_device_memory = false;
}

}  // namespace basalt::nvmf
