#!/usr/bin/env bash
# a full disk: content that does not fit is served and not stored, the cache makes space for a push, and the server starts
source "$(dirname "$0")/../lib.sh"
needs_root "mounting a small disk"
needs docker-registry skopeo curl python3 mount

ports upstream port
registry2 upstream "$upstream"
make_image "$WORK/images" big --megabytes 60
make_image "$WORK/images" mid --megabytes 20
make_image "$WORK/images" mine --megabytes 25
publish "$WORK/images:big" "127.0.0.1:$upstream/library/big:1"
publish "$WORK/images:mid" "127.0.0.1:$upstream/library/mid:1"

ROOT=$WORK/disk
mkdir "$ROOT"
mount -t tmpfs -o size=40m entrepot-test "$ROOT" || { echo "missing: the right to mount"; exit 77; }
entrepot "$port" <<YAML
mirror:
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
YAML
host=127.0.0.1:$port

# whole NAME IMAGE: checks that the server serves the image, byte for byte.
whole() {
    rm -rf "$WORK/tmp/expected" "$WORK/tmp/got"
    client skopeo copy --preserve-digests "oci:$WORK/images:$2" "dir:$WORK/tmp/expected"
    client skopeo copy --preserve-digests --src-tls-verify=false "docker://$host/$1:1" "dir:$WORK/tmp/got"
    diff -r "$WORK/tmp/expected" "$WORK/tmp/got" >>"$WORK/clients.log" || fail "$1 differs"
}

step "an image larger than the disk passes through"
whole library/big big
step "a smaller image after it is stored"
whole library/mid mid
held=$(curl -sf "http://$host/metrics" | sed -n 's/^entrepot_cache_bytes //p')
((held > 20000000)) || fail "it is not kept: $held bytes in the cache"
step "the cache makes space for a push"
publish "$WORK/images:mine" "$host/local/mine:1"
whole local/mine mine
step "a push that does not fit is refused, and takes no space"
refused '507 Insufficient Storage|disk is full' skopeo copy --dest-tls-verify=false "oci:$WORK/images:big" "docker://$host/local/big:1"
whole local/mine mine
step "started with a full disk, Entrepot serves the stored content"
stop entrepot
dd if=/dev/zero of="$ROOT/ballast" bs=1M >>"$WORK/clients.log" 2>&1 || true
entrepot_again "$port"
whole local/mine mine
whole library/mid mid
