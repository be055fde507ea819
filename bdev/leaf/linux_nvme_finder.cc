#include "bdev/leaf/linux_nvme_finder.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

extern "C" {
#include <nvme/ioctl.h>
}

namespace basalt::bdev {

namespace {

constexpr size_t kIdentifyBytes = 4096;

/// A descriptor that is closed at the end.
class OpenDevice {
  public:
    explicit OpenDevice(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
    OpenDevice(const OpenDevice&) = delete;
    OpenDevice& operator=(const OpenDevice&) = delete;
    ~OpenDevice() {
        if (fd_ >= 0) {
            close(fd_);
        }
    }
    [[nodiscard]] int fd() const { return fd_; }

  private:
    int fd_;
};

// libnvme returns -1 with errno, or the positive status of the command.
Status check(int outcome) {
    if (outcome == 0) {
        return kOk;
    }
    if (outcome < 0) {
        return errno == ENOTTY ? Error(Errc::kNotSupported, 0, errno) : Error::from_errno(errno);
    }
    return Error(Errc::kIo, static_cast<uint16_t>(outcome));
}

bool is_generic_device(const char* name) {
    unsigned controller = 0;
    unsigned ns = 0;
    int end = 0;
    return std::sscanf(name, "ng%un%u%n", &controller, &ns, &end) == 2 && name[end] == '\0';
}

}  // namespace

Result<std::vector<std::string>> LinuxNvmeFinder::list() {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/dev"), &closedir);
    if (directory == nullptr) {
        return Error::from_errno(errno);
    }
    std::vector<std::string> paths;
    while (const dirent* entry = readdir(directory.get())) {
        if (is_generic_device(entry->d_name)) {
            paths.push_back(std::string("/dev/") + entry->d_name);
        }
    }
    std::sort(paths.begin(), paths.end());
    return paths;
}

Result<NvmeIdentity> LinuxNvmeFinder::identify(const std::string& path) {
    const OpenDevice device(path);
    if (device.fd() < 0) {
        return Error::from_errno(errno);
    }
    uint32_t nsid = 0;
    BASALT_CHECK(check(nvme_get_nsid(device.fd(), &nsid)));
    nvme_id_ctrl controller{};
    BASALT_CHECK(check(nvme_identify_ctrl(device.fd(), &controller)));
    nvme_id_ns ns{};
    BASALT_CHECK(check(nvme_identify_ns(device.fd(), nsid, &ns)));
    // Controllers before version 1.3 have no descriptors: the list stays empty then.
    alignas(8) std::array<std::byte, kIdentifyBytes> descriptors{};
    if (!check(nvme_identify_ns_descs(
            device.fd(), nsid, reinterpret_cast<nvme_ns_id_desc*>(descriptors.data())))) {
        descriptors.fill(std::byte{0});
    }
    NvmeIdentity identity = parse_identify(controller, ns, descriptors);
    identity.path = path;
    identity.nsid = nsid;
    return identity;
}

}  // namespace basalt::bdev
