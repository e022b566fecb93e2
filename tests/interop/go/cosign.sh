#!/usr/bin/env bash
# cosign with a key pair: signatures and attestations as tags and as referrers, here and through the mirror
source "$(dirname "$0")/../lib.sh"
needs cosign docker-registry skopeo curl python3

ports upstream second port
host=127.0.0.1:$port
registry2 upstream "$upstream"
# The upstream is an Entrepot, since it keeps signatures as referrers.
entrepot "$second" second <<<""
for image in signed referred unsigned; do
    make_image "$WORK/images" "$image"
    publish "$WORK/images:$image" "127.0.0.1:$upstream/library/$image:1"
    publish "$WORK/images:$image" "127.0.0.1:$second/org/$image:1"
done
entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"], tagttl: 1s, negativettl: 2s}
    registry.example: {endpoints: ["http://127.0.0.1:$second"], tagttl: 1s, negativettl: 2s}
YAML

export COSIGN_PASSWORD=$NONCE
for key in ours other; do client cosign generate-key-pair --output-key-prefix "$WORK/$key"; done
echo "{\"word\": \"$NONCE\"}" >"$WORK/predicate.json"
at() {
    echo "$1@$(digest_of "${1%%/*}" "${1#*/}" 1)"
}
# The case does not use sigstore's own servers.
sign() {
    client cosign sign --yes --tlog-upload=false --key "$WORK/ours.key" "$@"
}
verify() {
    client cosign verify --insecure-ignore-tlog --key "$WORK/ours.pub" "$@"
}
attest() {
    client cosign attest --yes --tlog-upload=false --key "$WORK/ours.key" --type custom --predicate "$WORK/predicate.json" "$@"
}
# attested IMAGE: checks that there is an attestation, that it verifies, and its content.
attested() {
    echo "\$ cosign verify-attestation $1" >>"$WORK/clients.log"
    cosign verify-attestation --insecure-ignore-tlog --key "$WORK/ours.pub" --type custom "$@" \
        2>>"$WORK/clients.log" >"$WORK/tmp/attestation" || fail "verify-attestation $1"
    same "$NONCE" "$(python3 - "$WORK/tmp/attestation" <<'PYTHON'
import base64, json, sys

statement = json.loads(base64.b64decode(json.loads(open(sys.argv[1]).readline())["payload"]))
predicate = statement["predicate"]
print(json.loads(predicate["Data"])["word"] if "Data" in predicate else predicate["word"])
PYTHON
    )" "the word in the attestation of $1"
}
# never IMAGE: checks that no signature verifies.
never() {
    refused 'no (matching )?signatures|no signatures found' cosign verify --insecure-ignore-tlog --key "$WORK/ours.pub" "$@"
}
in_referrers_mode() {
    COSIGN_EXPERIMENTAL=1 "$@"
}

step "sign and attest here, with tags"
for image in signed referred unsigned; do
    client skopeo copy --dest-tls-verify=false "oci:$WORK/images:$image" "docker://$host/local/team/$image:1"
done
sign "$(at "$host/local/team/signed")"
verify "$(at "$host/local/team/signed")"
attest "$(at "$host/local/team/signed")"
attested "$(at "$host/local/team/signed")"
same 3 "$(curl -sf "http://$host/v2/local/team/signed/tags/list" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["tags"]))')" "the tags: 1, .sig and .att"
client cosign tree "$(at "$host/local/team/signed")"

step "an unsigned image, and another key"
never "$(at "$host/local/team/unsigned")"
refused 'invalid signature|no matching signatures' cosign verify --insecure-ignore-tlog --key "$WORK/other.pub" "$(at "$host/local/team/signed")"

step "sign here, with referrers"
in_referrers_mode sign --registry-referrers-mode=oci-1-1 "$(at "$host/local/team/referred")"
in_referrers_mode verify --experimental-oci11 "$(at "$host/local/team/referred")"
same '["1"]' "$(curl -sf "http://$host/v2/local/team/referred/tags/list" | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["tags"]))')" "the tags"

step "a signature at the upstream, verified through the mirror"
sign "$(at "127.0.0.1:$upstream/library/signed")"
attest "$(at "127.0.0.1:$upstream/library/signed")"
verify "$(at "$host/docker.io/library/signed")"
verify "$(at "$host/library/signed")"
attested "$(at "$host/docker.io/library/signed")"
never "$(at "$host/docker.io/library/unsigned")"
refused 'invalid signature|no matching signatures' cosign verify --insecure-ignore-tlog --key "$WORK/other.pub" "$(at "$host/docker.io/library/signed")"

step "a signature that is a referrer at the upstream"
in_referrers_mode sign --registry-referrers-mode=oci-1-1 "$(at "127.0.0.1:$second/org/referred")"
in_referrers_mode verify --experimental-oci11 "$(at "$host/registry.example/org/referred")"
never "$(at "$host/registry.example/org/signed")"

step "a new signature is found once the list is old"
sign "$(at "127.0.0.1:$second/org/signed")"
found=no
for ((i = 0; i < 15; i++)); do
    if cosign verify --insecure-ignore-tlog --key "$WORK/ours.pub" "$(at "$host/registry.example/org/signed")" >>"$WORK/clients.log" 2>&1; then
        found=yes
        break
    fi
    sleep 2
done
same yes "$found" "found within 30 s"

step "with the upstreams gone, and an old list"
declare -A wanted=(
    [signed]=$(at "$host/docker.io/library/signed")
    [referred]=$(at "$host/registry.example/org/referred")
    [late]=$(at "$host/registry.example/org/signed")
)
stop upstream
stop second
sleep 3
verify "${wanted[signed]}"
attested "${wanted[signed]}"
in_referrers_mode verify --experimental-oci11 "${wanted[referred]}"
verify "${wanted[late]}"
