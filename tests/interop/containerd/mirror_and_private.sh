#!/usr/bin/env bash
# containerd with hosts.toml: two registries by ?ns=, an unknown one goes on to the next host; push and pull
source "$(dirname "$0")/../lib.sh"
needs_root containerd
needs containerd ctr docker-registry skopeo curl python3

ports upstream second port
registry2 upstream "$upstream"
registry2 second "$second"
make_image "$WORK/images" one
make_image "$WORK/images" two --platforms linux/amd64,linux/arm64 --megabytes 8
publish "$WORK/images:one" "127.0.0.1:$upstream/library/one:1"
publish "$WORK/images:two" "127.0.0.1:$second/org/two:1"

entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
    registry.example: {endpoints: ["http://127.0.0.1:$second"]}
YAML

# hosts NAME HOST...: lists the hosts that containerd asks for the registry NAME, in this order. The last one, NAME
# itself, does not exist.
hosts() {
    local name=$1 host
    mkdir -p "$WORK/hosts/$name"
    echo "server = \"http://127.0.0.1:9\"" >"$WORK/hosts/$name/hosts.toml"
    shift
    for host in "$@"; do
        printf '[host."http://%s"]\n  capabilities = ["pull", "resolve", "push"]\n' "$host"
    done >>"$WORK/hosts/$name/hosts.toml"
}
hosts docker.io "127.0.0.1:$port"
hosts registry.example "127.0.0.1:$port"
hosts unknown.example "127.0.0.1:$port" "127.0.0.1:$second"

mkdir -p "$WORK/etc"
cat >"$WORK/etc/containerd.toml" <<TOML
version = 2
root = "$WORK/containerd"
state = "$WORK/containerd-run"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$WORK/containerd.sock"
[ttrpc]
  address = "$WORK/containerd.sock.ttrpc"
TOML
spawn containerd containerd --config "$WORK/etc/containerd.toml"
wrapper ctr --address "$WORK/containerd.sock" --namespace test
ready containerd ctr version

pull() {
    client ctr images pull --hosts-dir "$WORK/hosts" --snapshotter native --platform linux/amd64 "$1"
}
# pulled NAME DIGEST: succeeds if containerd has the image with this digest and all layers unpacked.
pulled() {
    local got
    got=$(ctr images ls name=="$1" | awk 'NR == 2 { print $3 }')
    same "$2" "$got" "the digest of $1"
    client ctr images mount --snapshotter native "$1" "$WORK/mount"
    same "$NONCE" "$(<"$WORK/mount/etc/nonce")" "the file in $1"
    client ctr images unmount --rm "$WORK/mount"
}
# forget NAME...: removes the images and their content.
forget() {
    client ctr images rm --sync "$@"
    same "" "$(ctr content ls --quiet)" "content left after rm"
}
mkdir "$WORK/mount"
one=$(digest_of "127.0.0.1:$upstream" library/one 1)
two=$(digest_of "127.0.0.1:$second" org/two 1)

step "pull two registries through one mirror"
pull docker.io/library/one:1
pulled docker.io/library/one:1 "$one"
pull registry.example/org/two:1
pulled registry.example/org/two:1 "$two"

step "a registry that is not mirrored: containerd goes on to the next host"
same 404 "$(curl -s -o "$WORK/tmp/answer" -w '%{http_code}' "http://127.0.0.1:$port/v2/org/two/manifests/1?ns=unknown.example")" "status"
grep -q NAME_UNKNOWN "$WORK/tmp/answer" || fail "no NAME_UNKNOWN: $(<"$WORK/tmp/answer")"
pull unknown.example/org/two:1
pulled unknown.example/org/two:1 "$two"

step "pull again with the upstreams gone"
stop upstream
stop second
forget docker.io/library/one:1 registry.example/org/two:1 unknown.example/org/two:1
pull docker.io/library/one:1
pulled docker.io/library/one:1 "$one"
pull "registry.example/org/two@$two"
pulled "registry.example/org/two@$two" "$two"

step "push, rm, pull of a private image"
private=127.0.0.1:$port/local/team/one:1
client ctr images tag docker.io/library/one:1 "$private"
client ctr images push --plain-http "$private"
forget docker.io/library/one:1 "registry.example/org/two@$two" "$private"
client ctr images pull --plain-http --snapshotter native "$private"
pulled "$private" "$one"
