#include "control/handlers/host_tls.h"

namespace basalt::control {

Result<nvmf::ConfiguredPsk> read_psk(Keyring& keyring,
                                     const std::string& key_name,
                                     std::string& problem) {
    const std::string what = "psk: key '" + key_name + "' ";
    const auto key = keyring.find(key_name);
    if (!key) {
        problem = what + "is not in the keyring; keyring_file_add_key puts it there";
        return key.error();
    }
    const Result<Secret> text = key->read();
    if (!text) {
        problem = what + "can't be read: " + std::string(describe(text.error().code));
        return text.error();
    }
    Result<nvmf::ConfiguredPsk> psk = nvmf::ConfiguredPsk::parse(text->text());
    if (!psk) {
        problem = what + (psk.error().code == Errc::kDataCorrupt
                              ? "is damaged: its checksum is wrong"
                              : "is no TLS key like NVMeTLSkey-1:01:...:");
    }
    return psk;
}

Result<nvmf::HostTls> read_host_tls(Keyring& keyring,
                                    const std::string& key_name,
                                    const nvmf::TlsPair& pair,
                                    std::string& problem) {
    BASALT_TRY(const nvmf::ConfiguredPsk psk, read_psk(keyring, key_name, problem));
    Result<nvmf::HostTls> made = nvmf::make_host_tls(psk, key_name, pair);
    if (!made) {
        problem = made.error().code == Errc::kInvalidArgument
                      ? "nqn and host must be NVMe qualified names"
                      : "psk: key '" + key_name + "': " + std::string(describe(made.error().code));
    }
    return made;
}

}  // namespace basalt::control
