#include "keyring/keyring.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt {

namespace {

const std::string kNoName;

// The name without the ':' that means "of the one ring there is".
std::string_view plain_name(std::string_view name) {
    return name.starts_with(':') ? name.substr(1) : name;
}

}  // namespace

struct KeyReference::Key {
    Keyring& ring;
    const std::string name;
    const std::string path;
    bool is_removed = false;
    uint32_t references = 0;  // Without the ring's own.
};

KeyReference::KeyReference(Key& key) : key_(&key) {
    ++key_->references;
}

KeyReference::KeyReference(KeyReference&& other) noexcept
    : key_(std::exchange(other.key_, nullptr)) {}

KeyReference& KeyReference::operator=(KeyReference&& other) noexcept {
    if (this != &other) {
        reset();
        key_ = std::exchange(other.key_, nullptr);
    }
    return *this;
}

const std::string& KeyReference::name() const {
    return key_ == nullptr ? kNoName : key_->name;
}

Result<Secret> KeyReference::read() const {
    if (key_ == nullptr || key_->is_removed) {
        return Error(Errc::kNotFound, 0, ENOKEY);
    }
    return key_->ring.files_.read(key_->path);
}

KeyReference KeyReference::again() const {
    return key_ == nullptr ? KeyReference() : KeyReference(*key_);
}

void KeyReference::reset() {
    if (Key* key = std::exchange(key_, nullptr)) {
        BASALT_ASSERT(key->references > 0);
        --key->references;
        if (key->is_removed && key->references == 0) {
            key->ring.forget(*key);
        }
    }
}

Keyring::Keyring(KeyFiles& files) : files_(files) {}

Keyring::~Keyring() {
    BASALT_ASSERT(removed_.empty());
    for (const auto& [name, key] : keys_) {
        BASALT_ASSERT(key->references == 0);
    }
}

Status Keyring::add_file_key(std::string_view name, const std::string& path) {
    const std::string_view plain = plain_name(name);
    if (plain.empty() || plain.find(':') != std::string_view::npos) {
        return Errc::kInvalidArgument;
    }
    if (keys_.contains(plain)) {
        return Errc::kExists;
    }
    BASALT_CHECK(files_.check(path));
    keys_.emplace(plain, new Key{.ring = *this, .name = std::string(plain), .path = path});
    return kOk;
}

Status Keyring::remove_key(std::string_view name) {
    const auto found = keys_.find(plain_name(name));
    if (found == keys_.end()) {
        return Error(Errc::kNotFound, 0, ENOKEY);
    }
    std::unique_ptr<Key> key = std::move(found->second);
    keys_.erase(found);
    key->is_removed = true;
    if (key->references > 0) {
        removed_.push_back(std::move(key));
    }
    return kOk;
}

Result<KeyReference> Keyring::find(std::string_view name) {
    const auto found = keys_.find(plain_name(name));
    if (found == keys_.end()) {
        return Error(Errc::kNotFound, 0, ENOKEY);
    }
    return KeyReference(*found->second);
}

std::vector<KeyInfo> Keyring::list() const {
    std::vector<KeyInfo> infos;
    for (const auto& [name, key] : keys_) {
        infos.push_back({.name = key->name,
                         .path = key->path,
                         .is_removed = false,
                         .reference_count = key->references + 1});
    }
    for (const auto& key : removed_) {
        infos.push_back({.name = key->name,
                         .path = {},
                         .is_removed = true,
                         .reference_count = key->references});
    }
    return infos;
}

void Keyring::forget(Key& key) {
    const auto found = std::find_if(
        removed_.begin(), removed_.end(), [&key](const auto& each) { return each.get() == &key; });
    BASALT_ASSERT(found != removed_.end());
    removed_.erase(found);
}

}  // namespace basalt
