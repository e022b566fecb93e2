#!/usr/bin/env bash
# one of two endpoints damages every blob: docker's first pull succeeds, it is said who lied, and that one is asked no more
source "$(dirname "$0")/../lib.sh"
needs_root dockerd
needs dockerd docker containerd runc docker-registry skopeo curl python3

ports upstream liar liar_cdn honest honest_cdn port
registry2 upstream "$upstream"
for image in one two; do
    make_image "$WORK/images" "$image" --megabytes 12
    publish "$WORK/images:$image" "127.0.0.1:$upstream/library/$image:1"
done
front liar "$liar" "$liar_cdn" "$upstream"
front honest "$honest" "$honest_cdn" "$upstream"
fault "$liar" damage=1
# The liar is the one that is trusted most.
entrepot "$port" <<YAML
mirror:
  upstreams:
    docker.io:
      default: true
      endpoints: ["http://127.0.0.1:$liar", "http://127.0.0.1:$honest"]
YAML
dockerd_with "{\"registry-mirrors\": [\"http://127.0.0.1:$port\"]}"

# upstreams EXPRESSION: in Python, over the endpoints `of` their ports.
upstreams() {
    curl -sf "http://127.0.0.1:$port/api/v1/upstreams" >"$WORK/tmp/upstreams"
    python3 - "$1" "$WORK/tmp/upstreams" <<'PYTHON'
import json, sys

[upstream] = json.load(open(sys.argv[2]))["upstreams"]
of = {int(endpoint["address"].rpartition(":")[2]): endpoint for endpoint in upstream["endpoints"]}
print(eval(sys.argv[1]))
PYTHON
}
# lies PORT: as /metrics counts them.
lies() {
    curl -sf "http://127.0.0.1:$port/metrics" | sed -n "s/^entrepot_upstream_digest_mismatch_total{.*:$1[/\"].*} //p"
}

step "docker's first pull succeeds"
client docker pull one:1
docker_has one:1 "$(digest_of "127.0.0.1:$upstream" library/one 1)"
if grep -q Retrying "$WORK/clients.log"; then fail "docker had to try again"; fi
counted "$liar" "the liar was asked" 'sum(seen["cdn.bytes"].values()) > 0'

step "it is said who lied"
same True "$(upstreams "of[$liar]['distrusted_until'] is not None")" "the liar is distrusted: $(upstreams of)"
same None "$(upstreams "of[$honest]['distrusted_until']")" "the honest one's distrusted_until"
echo "    $(lies "$liar") lies counted"
(($(lies "$liar") > 0)) || fail "the liar's lies are not counted"
same 0 "$(($(lies "$honest")))" "the honest one's lies"

step "after that the honest one alone brings blobs"
before=$(seen "$liar" '[seen[kind] for kind in ("blob.GET", "cdn.GET", "cdn.bytes")]')
client docker pull two:1
docker_has two:1 "$(digest_of "127.0.0.1:$upstream" library/two 1)"
same "$before" "$(seen "$liar" '[seen[kind] for kind in ("blob.GET", "cdn.GET", "cdn.bytes")]')" "what the liar was asked"
if grep -q Retrying "$WORK/clients.log"; then fail "docker had to try again"; fi
