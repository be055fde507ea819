#include "test/control/free_port.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace basalt::control {

uint16_t find_free_port() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* native = static_cast<sockaddr*>(static_cast<void*>(&address));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(fd, native, size), 0);
    EXPECT_EQ(getsockname(fd, native, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

}  // namespace basalt::control
