#!/usr/bin/env bash
# Entrepot is killed at 60 % of a layer and started again: docker's pull succeeds, and only the rest is fetched
source "$(dirname "$0")/../lib.sh"
needs_root dockerd
needs dockerd docker containerd runc docker-registry skopeo curl python3

ports upstream front cdn port
registry2 upstream "$upstream"
make_image "$WORK/images" big --megabytes 20
publish "$WORK/images:big" "127.0.0.1:$upstream/library/big:1"
digest=$(digest_of "127.0.0.1:$upstream" library/big 1)
layer=$(manifest_says "127.0.0.1:$upstream" library/big 1 'max(blob["size"] for blob in blobs)')

front front "$front" "$cdn" "$upstream" --rate 500000
entrepot "$port" <<YAML
mirror:
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$front"], tagttl: 10m}
YAML
dockerd_with "{\"registry-mirrors\": [\"http://127.0.0.1:$port\"]}"
fetched() {
    seen "$front" 'sum(seen["cdn.bytes"].values())'
}

step "docker pulls; at 60 % of the layer Entrepot is killed"
client docker pull big:1 &
pull=$!
for ((i = 0; i < 300; i++)); do
    before=$(fetched)
    ((before * 100 < layer * 60)) || break
    kill -0 "$pull" 2>/dev/null || fail "docker's pull ended at $before bytes of $layer"
    sleep 0.05
done
((before * 100 >= layer * 60)) || fail "only $before bytes of $layer after $i looks"
crash entrepot
# Requests in progress meet a closed connection and are not counted any more.
sleep 0.5
before=$(fetched)
((before < layer)) || fail "all of it had come when it was killed"

step "Entrepot is started again: docker's own retry succeeds, or a second pull"
entrepot_again "$port"
if wait "$pull"; then how="docker's own retry"; else how="a second pull" && client docker pull big:1; fi
docker_has big:1 "$digest"

step "no more than 45 % of the layer is fetched again"
after=$(($(fetched) - before))
echo "    $((before * 100 / layer)) % before, $((after * 100 / layer)) % after, by $how"
((after > 0)) || fail "nothing was fetched after the restart"
((after * 100 <= layer * 45)) || fail "$after bytes of $layer after the restart"
