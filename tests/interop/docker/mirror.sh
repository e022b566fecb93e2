#!/usr/bin/env bash
# dockerd with registry-mirrors: pull, upstream gone, pull again, create a container
source "$(dirname "$0")/../lib.sh"
needs_root dockerd
needs dockerd docker containerd runc docker-registry skopeo curl python3

ports upstream mirror
registry2 upstream "$upstream"
make_image "$WORK/images" one
make_image "$WORK/images" big --platforms linux/amd64,linux/arm64 --megabytes 30
# The first image has Docker's format, the second OCI's with an index.
publish "$WORK/images:one" "127.0.0.1:$upstream/library/busyboxlike:1" --format v2s2
publish "$WORK/images:big" "127.0.0.1:$upstream/team/tool:1"

entrepot "$mirror" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io:
      default: true
      endpoints: ["http://127.0.0.1:$upstream"]
      tagttl: 1s
YAML
dockerd_with "{\"registry-mirrors\": [\"http://127.0.0.1:$mirror\"]}"

# The daemon must have the upstream's images. They are new in every run, so only the mirror can have sent
# them.
declare -A expected=(
    [busyboxlike:1]=$(digest_of "127.0.0.1:$upstream" library/busyboxlike 1)
    [team/tool:1]=$(digest_of "127.0.0.1:$upstream" team/tool 1)
)

step "pull through the mirror"
for image in "${!expected[@]}"; do
    client docker pull "$image"
    docker_has "$image" "${expected[$image]}"
done

step "pull again with the upstream gone and the tags grown old"
stop upstream
client docker rmi "${!expected[@]}"
same "" "$(docker images --quiet)" "images left after rmi"
sleep 3
for image in "${!expected[@]}"; do
    client docker pull "$image"
    docker_has "$image" "${expected[$image]}"
done

step "the log says that the answer was stale"
same stale "$(header "127.0.0.1:$mirror" /v2/library/busyboxlike/manifests/1 X-Cache)" "X-Cache"
[[ $(header "127.0.0.1:$mirror" /v2/library/busyboxlike/manifests/1 Warning) == 299\ * ]] || fail "no Warning: 299"

step "create a container from it"
client docker create --name probe busyboxlike:1
client docker cp probe:/etc/nonce "$WORK/nonce"
same "$NONCE" "$(<"$WORK/nonce")" "the file in the container"

step "a missing image is an error"
refused . docker pull "absent$NONCE:1"  # dockerd then asks Docker Hub, so the message is not Entrepot's
