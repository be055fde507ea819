#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "keyring/key_files.h"
#include "keyring/secret.h"
#include "reactor/base/result.h"

namespace basalt {

class Keyring;

/// A key that somebody uses, by its name at the time. It goes on naming that key when it is removed
/// from the ring, and reads nothing from then on, even if another key takes the name. Can be moved.
/// Owner: the user; destroyed before the ring. Core: the ring's; name() may be read anywhere.
class KeyReference {
  public:
    KeyReference() = default;
    KeyReference(const KeyReference&) = delete;
    KeyReference& operator=(const KeyReference&) = delete;
    KeyReference(KeyReference&& other) noexcept;
    KeyReference& operator=(KeyReference&& other) noexcept;
    ~KeyReference() { reset(); }

    /// False for a default-constructed one: no key.
    explicit operator bool() const { return key_ != nullptr; }
    /// "" without a key.
    [[nodiscard]] const std::string& name() const;
    /// The key's present contents, read from its file at each call and kept nowhere else. Blocks
    /// for a small local file. Errors: kNotFound (no key, or removed from the ring), those of
    /// KeyFiles::read().
    [[nodiscard]] Result<Secret> read() const;
    /// One more reference to the same key.
    [[nodiscard]] KeyReference again() const;
    void reset();

  private:
    friend class Keyring;
    struct Key;
    explicit KeyReference(Key& key);

    Key* key_ = nullptr;
};

/// What may be told about a key: everything but the key.
struct KeyInfo {
    std::string name;
    std::string path;              ///< Empty when removed.
    bool is_removed = false;       ///< Only those who had it know it.
    uint32_t reference_count = 0;  ///< Users, and the ring itself.
};

/// Keys by name, for DH-HMAC-CHAP and for TLS: `keyring_file_add_key` and its relatives. It holds
/// names and paths; contents pass through it when somebody reads them, and are nowhere returned by
/// the API or saved. Names are SPDK's: "key0" and ":key0" are the same key.
///
/// Owner: the daemon, before all users of keys. Core: the control thread's, for reading blocks.
class Keyring {
  public:
    /// `files` outlives the ring.
    explicit Keyring(KeyFiles& files);
    Keyring(const Keyring&) = delete;
    Keyring& operator=(const Keyring&) = delete;
    /// Nobody refers to a key any more.
    ~Keyring();

    /// Gives the key in the file `path` a name. Errors: kExists, kInvalidArgument (an empty name,
    /// or one of another ring, "ring:name"), those of KeyFiles::check().
    [[nodiscard]] Status add_file_key(std::string_view name, const std::string& path);

    /// Forgets a key. Who refers to it can't read it any more. Errors: kNotFound.
    [[nodiscard]] Status remove_key(std::string_view name);

    /// Errors: kNotFound.
    [[nodiscard]] Result<KeyReference> find(std::string_view name);

    /// By name; the removed ones that somebody still refers to come last.
    [[nodiscard]] std::vector<KeyInfo> list() const;

  private:
    friend class KeyReference;
    using Key = KeyReference::Key;

    void forget(Key& key);

    KeyFiles& files_;
    std::map<std::string, std::unique_ptr<Key>, std::less<>> keys_;
    std::vector<std::unique_ptr<Key>> removed_;
};

}  // namespace basalt
