#!/usr/bin/env bash
# one of two endpoints damages every blob: docker's first pull succeeds, the log names the endpoint, and it is avoided
source "$(dirname "$0")/../lib.sh"
needs_root dockerd
needs dockerd docker containerd runc docker-registry skopeo curl python3

ports upstream damaging damaging_cdn good good_cdn port
registry2 upstream "$upstream"
for image in one two three; do
    make_image "$WORK/images" "$image" --megabytes 12
    publish "$WORK/images:$image" "127.0.0.1:$upstream/library/$image:1"
done
front damaging "$damaging" "$damaging_cdn" "$upstream"
front good "$good" "$good_cdn" "$upstream"
fault "$damaging" damage=1
# The damaging endpoint is the first in the list, which Entrepot prefers.
entrepot "$port" <<YAML
mirror:
  upstreams:
    docker.io:
      default: true
      endpoints: ["http://127.0.0.1:$damaging", "http://127.0.0.1:$good"]
YAML
dockerd_with "{\"registry-mirrors\": [\"http://127.0.0.1:$port\"]}"

# upstreams EXPRESSION: evaluates a Python expression over the endpoints `of` their ports.
upstreams() {
    curl -sf "http://127.0.0.1:$port/api/v1/upstreams" >"$WORK/tmp/upstreams"
    python3 - "$1" "$WORK/tmp/upstreams" <<'PYTHON'
import json, sys

[upstream] = json.load(open(sys.argv[2]))["upstreams"]
of = {int(endpoint["address"].rpartition(":")[2]): endpoint for endpoint in upstream["endpoints"]}
print(eval(sys.argv[1]))
PYTHON
}
# digest_mismatches PORT: prints the count of digest mismatches in /metrics.
digest_mismatches() {
    curl -sf "http://127.0.0.1:$port/metrics" | sed -n "s/^entrepot_upstream_digest_mismatch_total{.*:$1[/\"].*} //p"
}

step "docker's first pull succeeds"
client docker pull one:1
docker_has one:1 "$(digest_of "127.0.0.1:$upstream" library/one 1)"
if grep -q Retrying "$WORK/clients.log"; then fail "docker had to try again"; fi
counted "$damaging" "the damaging endpoint was asked" 'sum(seen["cdn.bytes"].values()) > 0'

step "the log and the metrics name the damaging endpoint"
same True "$(upstreams "of[$damaging]['distrusted_until'] is not None")" "the damaging endpoint is distrusted: $(upstreams of)"
same None "$(upstreams "of[$good]['distrusted_until']")" "the good one's distrusted_until"
echo "    $(digest_mismatches "$damaging") digest mismatches counted"
(($(digest_mismatches "$damaging") > 0)) || fail "the digest mismatches of the damaging endpoint are not counted"
same 0 "$(($(digest_mismatches "$good")))" "the digest mismatches of the good endpoint"

step "the content of a second repository is damaged too: from then on, all blobs come from the other endpoint"
client docker pull two:1
docker_has two:1 "$(digest_of "127.0.0.1:$upstream" library/two 1)"
before=$(seen "$damaging" '[seen[kind] for kind in ("blob.GET", "cdn.GET", "cdn.bytes")]')
client docker pull three:1
docker_has three:1 "$(digest_of "127.0.0.1:$upstream" library/three 1)"
same "$before" "$(seen "$damaging" '[seen[kind] for kind in ("blob.GET", "cdn.GET", "cdn.bytes")]')" "the requests to the damaging endpoint"
if grep -q Retrying "$WORK/clients.log"; then fail "docker had to try again"; fi
