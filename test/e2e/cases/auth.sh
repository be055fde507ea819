# A host that proves itself with DH-HMAC-CHAP: hashes, groups, both ways, wrong secrets, new ones.
# Environment: NQN_PRIVATE (for HOST_ALLOWED only, who has SECRET), OTHER_SECRET, CONTROLLER_SECRET.

HOST="-q $HOST_ALLOWED -I 00000000-0000-4000-8000-0000000000aa --nr-io-queues=2 --ctrl-loss-tmo=0"

try() {
    # shellcheck disable=SC2086 # options, to be split
    nvme connect -t tcp -a "$TARGET_ADDRESS" -s "$TARGET_PORT" -n "$NQN_PRIVATE" $HOST "$@"
}

reads() {
    dd if="$(namespace "$NQN_PRIVATE" 1)" of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null
}

step "without a secret, or with a wrong one, nobody comes in"
host algorithms sha256 ffdhe2048
refuses try
refuses try --dhchap-secret "$OTHER_SECRET"

for algorithms in "sha256 null" "sha384 ffdhe2048" "sha512 ffdhe3072" "sha256 ffdhe8192"; do
    step "both ways, with $algorithms"
    # shellcheck disable=SC2086
    host algorithms $algorithms
    try --dhchap-secret "$SECRET" --dhchap-ctrl-secret "$CONTROLLER_SECRET"
    wait_for 60 is_live "$NQN_PRIVATE"
    reads || fail "no I/O with $algorithms"
    disconnect "$NQN_PRIVATE"
done

step "a controller that can't prove itself is refused by the host"
refuses try --dhchap-secret "$SECRET" --dhchap-ctrl-secret "$OTHER_SECRET"

step "one way, then new secrets without losing the connection"
host algorithms "sha256 ffdhe2048"
try --dhchap-secret "$SECRET"
wait_for 60 is_live "$NQN_PRIVATE"
host rekey
reads || fail "the connection was lost with the old key"
# The host authenticates again on all its queues when it is told another secret.
echo "$OTHER_SECRET" >"/sys/class/nvme/$(controller "$NQN_PRIVATE")/dhchap_secret"
host wait-authenticated
is_live "$NQN_PRIVATE" || fail "the connection was lost with the new key"
reads || fail "no I/O after the host authenticated again"
disconnect "$NQN_PRIVATE"

step "the old secret is of no use any more"
refuses try --dhchap-secret "$SECRET"
try --dhchap-secret "$OTHER_SECRET"
wait_for 60 is_live "$NQN_PRIVATE"
reads || fail "no I/O with the new secret"
disconnect "$NQN_PRIVATE"
