#!/usr/bin/env bash
# every connection is cut after 500 kB: docker, podman and containerd pull at once, and almost nothing is sent twice
source "$(dirname "$0")/../lib.sh"
needs_root dockerd
needs dockerd docker containerd ctr runc podman docker-registry skopeo curl python3

ports upstream front cdn port nowhere
registry2 upstream "$upstream"
make_image "$WORK/images" big --megabytes 20
publish "$WORK/images:big" "127.0.0.1:$upstream/library/big:1"
digest=$(digest_of "127.0.0.1:$upstream" library/big 1)
bytes=$(manifest_says "127.0.0.1:$upstream" library/big 1 'sum(blob["size"] for blob in blobs)')

# The link is so slow that all clients come before the layer is there.
front front "$front" "$cdn" "$upstream" --rate 1000000
fault "$front" cut=500000
entrepot "$port" <<YAML
mirror:
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$front"], tagttl: 10m}
YAML

dockerd_with "{\"registry-mirrors\": [\"http://127.0.0.1:$port\"]}"
podman_with <<TOML
[[registry]]
prefix = "docker.io"
location = "127.0.0.1:$nowhere/docker.io"
insecure = true
[[registry.mirror]]
location = "127.0.0.1:$port"
insecure = true
TOML
# ctr uses the daemon's own containerd.
wrapper ctr --address "$WORK/docker-run/containerd/containerd.sock" --namespace test
mkdir -p "$WORK/hosts/docker.io"
cat >"$WORK/hosts/docker.io/hosts.toml" <<TOML
server = "http://127.0.0.1:$nowhere"
[host."http://127.0.0.1:$port"]
  capabilities = ["pull", "resolve"]
TOML

step "docker, podman and containerd pull the same cold image at once"
pids=()
client docker pull big:1 & pids+=($!)
podman_pull docker.io/library/big:1 & pids+=($!)
client ctr images pull --hosts-dir "$WORK/hosts" --snapshotter native --platform linux/amd64 docker.io/library/big:1 & pids+=($!)
for pid in "${pids[@]}"; do wait "$pid"; done
docker_has big:1 "$digest"
podman_has docker.io/library/big:1 "$digest"
same "$digest" "$(ctr images ls name==docker.io/library/big:1 | awk 'NR == 2 { print $3 }')" "the digest in containerd"

step "connections were cut, and at most a twentieth was sent twice"
echo "    $(seen "$front" "f'{sum(seen[\"cdn.bytes\"].values()) / $bytes:.3f} of the bytes, {sum(seen[\"cdn.cut\"].values())} connections cut'")"
# Ranges may become shorter than a connection lasts, as other connections take over their ends.
counted "$front" "at least two were cut" 'sum(seen["cdn.cut"].values()) >= 2'
counted "$front" "no more than 1.05 of $bytes bytes" "$bytes <= sum(seen['cdn.bytes'].values()) <= 1.05 * $bytes"

step "no range was requested twice"
counted "$front" "no HEAD of a blob that was being fetched" 'not seen["blob.HEAD"]'
counted "$front" "one GET per manifest" 'list(seen["manifest.GET"].values()) == [1]'
