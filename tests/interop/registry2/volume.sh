#!/usr/bin/env bash
# registry:2's directories: Entrepot serves content that registry:2 wrote, and the other way round
source "$(dirname "$0")/../lib.sh"
needs docker-registry skopeo curl python3

ports port
host=127.0.0.1:$port
ROOT=$WORK/volume
make_image "$WORK/images" one --megabytes 4
make_image "$WORK/images" many --platforms linux/amd64,linux/arm64

copy() {
    client skopeo copy --all --preserve-digests --src-tls-verify=false "$@"
}
# holds NAME IMAGE: checks that the server has the image, byte for byte.
holds() {
    rm -rf "$WORK/tmp/expected" "$WORK/tmp/got"
    copy "oci:$WORK/images:$2" "dir:$WORK/tmp/expected"
    copy "docker://$host/$1:1" "dir:$WORK/tmp/got"
    diff -r "$WORK/tmp/expected" "$WORK/tmp/got" >>"$WORK/clients.log" || fail "$1 differs"
}

step "registry:2 writes"
registry2 theirs "$port" "$ROOT"
publish "$WORK/images:one" "$host/team/one:1"
publish "$WORK/images:many" "$host/many:1"
stop theirs

step "Entrepot serves it, and writes"
entrepot "$port" <<<""
holds team/one one
holds many many
publish "$WORK/images:one" "$host/ours/one:1"
publish "$WORK/images:many" "$host/team/one:2"
client skopeo delete --tls-verify=false "docker://$host/many:1"
stop entrepot

step "registry:2 serves Entrepot's content"
registry2 theirs "$port" "$ROOT"
holds team/one one
holds ours/one one
same "$(digest_of "$host" team/one 2)" "$(python3 -c 'import json, sys; print([m["digest"] for m in json.load(open(sys.argv[1]))["manifests"] if "many" in m["annotations"].values()][0])' "$WORK/images/index.json")" "the digest of team/one:2"
refused 'manifest unknown|not found|unknown' skopeo inspect --tls-verify=false "docker://$host/many:1"
