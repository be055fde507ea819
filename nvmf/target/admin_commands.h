#pragma once

#include "nvmf/target/health.h"
#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// The admin commands: Identify, Get Log Page, Get and Set Features, Asynchronous Event Request,
/// Keep Alive, Abort. See command_executor.h for the contract of the first two.
[[nodiscard]] NvmeStatus check_admin_command(Request& request);
void execute_admin_command(Request& request);

/// Completes an Abort whose answer is there.
void finish_abort(Request& request, bool was_aborted);

/// Identify: writes 4096 bytes to the request's payload. Status for the command. identify.cc.
[[nodiscard]] NvmeStatus identify(Request& request);

/// Get Log Page: writes data_bytes to the request's payload and completes it, now or when other
/// cores have been asked. log_pages.cc.
void get_log_page(Request& request);
/// The cores have been asked: goes on with a Get Log Page.
void finish_log_page(Request& request, const HealthCounters& health);

/// How many bytes of data Get or Set Features moves: 0, or the size of the feature's structure.
/// features.cc.
[[nodiscard]] uint32_t feature_data_bytes(const Request& request);
[[nodiscard]] NvmeStatus get_features(Request& request);
/// Completes the request, now or when every queue knows.
void set_features(Request& request);

}  // namespace basalt::nvmf
