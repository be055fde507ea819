#pragma once

// The one place where libnvme's structures and constants of the NVMe specifications come in. Only
// types are used, no function of libnvme: nothing is linked. It is a C header, so all of it lies in
// the global namespace; ours is what has no prefix `nvme_`, `nvmf_`, `NVME_` or `NVMF_`.
extern "C" {
#include <nvme/types.h>
}

#include <bit>

static_assert(std::endian::native == std::endian::little,
              "libnvme's __le16 and its kin are plain integers, read here as they lie");
static_assert(sizeof(nvme_id_ctrl) == 4096);
static_assert(sizeof(nvme_id_ns) == 4096);
static_assert(sizeof(nvme_dsm_range) == 16);
static_assert(sizeof(nvmf_connect_data) == 1024);
static_assert(sizeof(nvmf_disc_log_entry) == 1024);
static_assert(sizeof(nvmf_discovery_log) == 1024);
static_assert(sizeof(nvme_smart_log) == 512);
static_assert(sizeof(nvme_error_log_page) == 64);
static_assert(sizeof(nvme_ana_log) == 16);
static_assert(sizeof(nvme_ana_group_desc) == 32);
