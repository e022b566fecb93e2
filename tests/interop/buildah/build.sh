#!/usr/bin/env bash
# buildah from, copy, commit and push; both manifest formats; pull again
source "$(dirname "$0")/../lib.sh"
needs_root buildah
needs buildah docker-registry skopeo curl python3

ports upstream port nowhere
host=127.0.0.1:$port
registry2 upstream "$upstream"
make_image "$WORK/images" base --megabytes 4
publish "$WORK/images:base" "127.0.0.1:$upstream/library/base:1"
entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
YAML

cat >"$WORK/registries.conf" <<TOML
[[registry]]
prefix = "docker.io"
location = "127.0.0.1:$nowhere/docker.io"
insecure = true
[[registry.mirror]]
location = "$host/docker.io"
insecure = true
TOML
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$WORK/policy.json"
export CONTAINERS_REGISTRIES_CONF=$WORK/registries.conf BUILDAH_ISOLATION=chroot
wrapper buildah --root "$WORK/buildah" --runroot "$WORK/buildah-run" --storage-driver vfs

# committed FROM FORMAT NAME: adds a file to FROM and commits it in FORMAT as $host/NAME.
committed() {
    local container
    container=$(buildah from --isolation chroot --pull-always --tls-verify=false \
        --signature-policy "$WORK/policy.json" "$1" 2>>"$WORK/clients.log") || fail "buildah from $1"
    echo "$3" >"$WORK/tmp/made"
    client buildah copy "$container" "$WORK/tmp/made" /data/made
    client buildah config --label "made=$3" --cmd /bin/hello "$container"
    client buildah commit --signature-policy "$WORK/policy.json" --format "$2" "$container" "$host/$3"
    client buildah push --signature-policy "$WORK/policy.json" --tls-verify=false "$host/$3"
    client buildah rm "$container"
    client buildah rmi --all --force
}
# holds NAME FILE: pulls the image and checks that it has the file and its base's file.
holds() {
    local container mount
    container=$(buildah from --isolation chroot --pull-always --tls-verify=false \
        --signature-policy "$WORK/policy.json" "$host/$1" 2>>"$WORK/clients.log") || fail "buildah from $host/$1"
    mount=$(buildah mount "$container")
    same "$NONCE" "$(<"$mount/etc/nonce")" "the base's file in $1"
    same "$2" "$(<"$mount/data/made")" "the file that was added to $1"
    client buildah umount "$container"
    client buildah rm "$container"
    client buildah rmi --all --force
}

step "build on a mirrored image, commit as OCI, push, and build on the pushed image"
committed docker.io/library/base:1 oci local/team/app:oci
holds local/team/app:oci local/team/app:oci
same application/vnd.oci.image.manifest.v1+json \
    "$(header "$host" /v2/local/team/app/manifests/oci Content-Type)" "the media type"

step "a push to a mirrored name is refused, and the message has the local patterns"
container=$(buildah from --isolation chroot --tls-verify=false --signature-policy "$WORK/policy.json" \
    "$host/local/team/app:oci" 2>>"$WORK/clients.log")
client buildah commit --signature-policy "$WORK/policy.json" "$container" "$host/library/base:2"
refused 'local/\*\*' buildah push --signature-policy "$WORK/policy.json" --tls-verify=false "$host/library/base:2"
client buildah rm "$container"
client buildah rmi --all --force

step "the same in Docker's format, with the upstream gone"
stop upstream
committed docker.io/library/base:1 docker local/team/app:docker
holds local/team/app:docker local/team/app:docker
same application/vnd.docker.distribution.manifest.v2+json \
    "$(header "$host" /v2/local/team/app/manifests/docker Content-Type)" "the media type"

step "build on the pushed image, into another repository"
committed "$host/local/team/app:oci" oci local/other/app:1
holds local/other/app:1 local/other/app:1
