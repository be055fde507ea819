// Known answers: keys and identities with a digest are those of libnvme's own tests; TLS keys were
// computed with Python's hmac from the formulas in the specification.

#include <string>

#include <gtest/gtest.h>

#include "nvmf/tls/credential.h"
#include "nvmf/tls/interchange.h"

namespace basalt::nvmf {
namespace {

std::string hex(std::span<const std::byte> bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    for (const std::byte byte : bytes) {
        out += kDigits[std::to_integer<size_t>(byte >> 4U)];
        out += kDigits[std::to_integer<size_t>(byte & std::byte{15})];
    }
    return out;
}

constexpr const char* kKey32 = "5512dbb6737d0106f65975b773dfb011ffc344bcf442e2dd6d8bc4870b5d5b03";
constexpr const char* kKey48 =
    "5512dbb6737d0106f65975b773dfb011ffc344bcf442e2dd6d8bc4870b5d5b03"
    "ffc344bcf442e2dd6d8bc4870b5d5b03";

constexpr const char* kText0 = "NVMeTLSkey-1:00:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:";
constexpr const char* kText1 = "NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:";
constexpr const char* kText2 =
    "NVMeTLSkey-1:02:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwP/w0S89ELi3W2LxIcLXVsDn8kXZQ==:";

constexpr TlsPair kPair{"nqn.psk-test-host", "nqn.psk-test-subsys"};

TEST(ConfiguredPsk, ReadsAndWritesTheInterchangeFormat) {
    struct Known {
        const char* text;
        PskHash hash;
        const char* key;
    };
    for (const Known& known : {Known{kText0, PskHash::kNone, kKey32},
                               Known{kText1, PskHash::kSha256, kKey32},
                               Known{kText2, PskHash::kSha384, kKey48}}) {
        const auto psk = ConfiguredPsk::parse(known.text);
        ASSERT_TRUE(psk) << known.text;
        EXPECT_EQ(psk->hash(), known.hash);
        EXPECT_EQ(hex(psk->key()), known.key);
        EXPECT_EQ(psk->format().text(), known.text);
        const auto made = ConfiguredPsk::make(known.hash, psk->key());
        ASSERT_TRUE(made);
        EXPECT_EQ(made->format().text(), known.text);
    }
}

TEST(ConfiguredPsk, RefusesALengthThatDoesNotGoWithTheHash) {
    const auto psk32 = ConfiguredPsk::parse(kText1);
    const auto psk48 = ConfiguredPsk::parse(kText2);
    ASSERT_TRUE(psk32 && psk48);
    EXPECT_FALSE(ConfiguredPsk::make(PskHash::kSha384, psk32->key()));
    EXPECT_FALSE(ConfiguredPsk::make(PskHash::kSha256, psk48->key()));
    EXPECT_TRUE(ConfiguredPsk::make(PskHash::kNone, psk48->key()));
    EXPECT_FALSE(ConfiguredPsk::make(PskHash::kNone, psk48->key().first(40)));
    std::string text = kText1;
    text[14] = '2';
    EXPECT_EQ(ConfiguredPsk::parse(text).error().code, Errc::kInvalidArgument);
}

TEST(ConfiguredPsk, RefusesEveryTruncationAndEveryOtherCharacter) {
    for (const std::string text : {kText0, kText1, kText2}) {
        for (size_t length = 0; length < text.size(); ++length) {
            EXPECT_FALSE(ConfiguredPsk::parse(text.substr(0, length))) << length;
        }
        EXPECT_FALSE(ConfiguredPsk::parse(text + ":"));
        EXPECT_FALSE(ConfiguredPsk::parse(" " + text));
        for (size_t at = 0; at < text.size(); ++at) {
            for (const char c : {'!', '=', ':', '\0', '3', 'A', '\x80'}) {
                std::string changed = text;
                if (changed[at] == c) {
                    continue;
                }
                changed[at] = c;
                EXPECT_FALSE(ConfiguredPsk::parse(changed)) << changed;
            }
        }
    }
    EXPECT_EQ(ConfiguredPsk::parse("").error().code, Errc::kInvalidArgument);
    std::string wrong = kText1;
    wrong[20] = wrong[20] == 'x' ? 'y' : 'x';
    EXPECT_EQ(ConfiguredPsk::parse(wrong).error().code, Errc::kDataCorrupt);
}

struct KnownCredential {
    const char* text;
    IdentityVersion version;
    const char* identity;
    const char* tls_psk;
};

constexpr KnownCredential kKnown[] = {
    {kText1,
     IdentityVersion::kPlain,
     "NVMe0R01 nqn.psk-test-host nqn.psk-test-subsys",
     "05c6503551ad136e6ee32e6eeb3f6d500b69701d84ec71e328f65c7f51566f68"},
    {kText1,
     IdentityVersion::kWithDigest,
     "NVMe1R01 nqn.psk-test-host nqn.psk-test-subsys "
     "iSbjiStwJ/1TrTvDlt2fjFmzvsytOJelidNnA+X5lEU=",
     "8fc3c0badfd4c0c66fa3ca33aadd0314f85536cc9bc47338b60f3e6e563786ca"},
    {kText0,
     IdentityVersion::kPlain,
     "NVMe0R01 nqn.psk-test-host nqn.psk-test-subsys",
     "ec85300ba827726bd3bc4fc07f3a34aec5fe7c8ccac05fefc2f021c74e0df9ef"},
    {kText0,
     IdentityVersion::kWithDigest,
     "NVMe1R01 nqn.psk-test-host nqn.psk-test-subsys "
     "quJVUJjp/BImWR0UQay/MjSfEgyAr6TyBOWybS/B404=",
     "a45d08ee4639c7570729bb3e57e905e466a49a15ece5401af906830c4d3bdb0b"},
    {kText2,
     IdentityVersion::kPlain,
     "NVMe0R02 nqn.psk-test-host nqn.psk-test-subsys",
     "f42ba63824cdfe421914c582921f85b5b5b7e2d4df084caeedc9be20b212e8bb"
     "0fe8a23e9d59a1c8fc6449da4970a78d"},
    {kText2,
     IdentityVersion::kWithDigest,
     "NVMe1R02 nqn.psk-test-host nqn.psk-test-subsys "
     "QhW2+Rp6RzHlNtCslyRxMnwJ11tKKhz8JCAQpQ+XUD8f9td1VeH5h53yz2wKJG1a",
     "a2b2f943f479fc682555cec89857c80ed004ce92f32a973d5764155bb7e36b17"
     "a85368a0666d250afac9282dda2e62ca"},
};

TEST(TlsCredential, MatchesTheKnownAnswers) {
    for (const KnownCredential& known : kKnown) {
        const auto psk = ConfiguredPsk::parse(known.text);
        ASSERT_TRUE(psk);
        const auto credential = derive_credential(*psk, kPair, known.version);
        ASSERT_TRUE(credential);
        EXPECT_EQ(credential->identity, known.identity);
        EXPECT_EQ(hex(credential->psk.key()), known.tls_psk);
        EXPECT_EQ(credential->psk.suite(),
                  credential->psk.key().size() == 32 ? tls::CipherSuite::kAes128GcmSha256
                                                     : tls::CipherSuite::kAes256GcmSha384);
    }
}

TEST(TlsCredential, AGeneratedKeyIsARetainedOneUnderAnotherName) {
    const auto psk = ConfiguredPsk::parse(kText0);
    ASSERT_TRUE(psk);
    const auto generated = derive_generated_credential(psk->key(), kPair);
    ASSERT_TRUE(generated);
    EXPECT_EQ(generated->identity,
              "NVMe1G01 nqn.psk-test-host nqn.psk-test-subsys "
              "quJVUJjp/BImWR0UQay/MjSfEgyAr6TyBOWybS/B404=");
    EXPECT_EQ(hex(generated->psk.key()), kKnown[3].tls_psk);
    EXPECT_EQ(derive_generated_credential(psk->key().first(31), kPair).error().code,
              Errc::kInvalidArgument);
}

TEST(TlsCredential, DependsOnBothNamesAndTheKey) {
    const auto psk = ConfiguredPsk::parse(kText1);
    const auto other = ConfiguredPsk::parse(kText0);
    ASSERT_TRUE(psk && other);
    for (const IdentityVersion version : {IdentityVersion::kPlain, IdentityVersion::kWithDigest}) {
        const auto base = derive_credential(*psk, kPair, version);
        const auto host = derive_credential(*psk, {"nqn.host", kPair.subsystem_nqn}, version);
        const auto subsystem = derive_credential(*psk, {kPair.host_nqn, "nqn.sub"}, version);
        const auto key = derive_credential(*other, kPair, version);
        ASSERT_TRUE(base && host && subsystem && key);
        EXPECT_FALSE(base->psk == host->psk);
        EXPECT_FALSE(base->psk == subsystem->psk);
        EXPECT_FALSE(base->psk == key->psk);
        EXPECT_NE(base->identity, host->identity);
        EXPECT_EQ(base->identity == key->identity, version == IdentityVersion::kPlain);
    }
}

TEST(TlsCredential, LongNamesNeedADigest) {
    const auto psk = ConfiguredPsk::parse(kText1);
    ASSERT_TRUE(psk);
    const std::string longest(223, 'n');
    const TlsPair pair{longest, longest};
    EXPECT_EQ(derive_credential(*psk, pair, IdentityVersion::kPlain).error().code,
              Errc::kOutOfRange);
    EXPECT_TRUE(derive_credential(*psk, pair, IdentityVersion::kWithDigest));
    EXPECT_EQ(derive_credential(*psk, {"", "nqn.s"}, IdentityVersion::kWithDigest).error().code,
              Errc::kInvalidArgument);
    const std::string too_long(224, 'n');
    EXPECT_EQ(
        derive_credential(*psk, {too_long, "nqn.s"}, IdentityVersion::kWithDigest).error().code,
        Errc::kInvalidArgument);
}

}  // namespace
}  // namespace basalt::nvmf
