#!/usr/bin/env bash
# A manifest that was pushed and tagged by its sha512 survives registry:2 on the same volume: garbage collection, moved tags
source "$(dirname "$0")/../lib.sh"
needs docker-registry curl sha256sum sha512sum

ports port
base=http://127.0.0.1:$port/v2/team/app
ROOT=$WORK/volume
type=application/vnd.oci.image.manifest.v1+json

push_blob() {
    client curl -sf -X POST --data-binary "@$1" "$base/blobs/uploads/?digest=sha256:$(sha256sum "$1" | cut -d ' ' -f 1)"
}
# write_manifest FILE: writes another manifest of the same image.
write_manifest() {
    local descriptor='{"mediaType":"%s","digest":"sha256:%s","size":%d}'
    printf "{\"schemaVersion\":2,\"mediaType\":\"$type\",\"config\":$descriptor,\"layers\":[$descriptor],\"annotations\":{\"n\":\"%s\"}}" \
        application/vnd.oci.image.config.v1+json "$(sha256sum "$WORK/config" | cut -d ' ' -f 1)" "$(stat -c %s "$WORK/config")" \
        application/vnd.oci.image.layer.v1.tar "$(sha256sum "$WORK/layer" | cut -d ' ' -f 1)" "$(stat -c %s "$WORK/layer")" \
        "$1" >"$WORK/$1"
}
put() {
    client curl -sf -X PUT -H "Content-Type: $type" --data-binary "@$WORK/$1" "$base/manifests/$2"
}
# named REFERENCE: prints the status and the digest in the answer.
named() {
    curl -s -o /dev/null -D - -H "Accept: $type" "$base/manifests/$1" | tr -d '\r' |
        awk 'NR == 1 {status = $2} tolower($1) == "docker-content-digest:" {digest = $2} END {print status, digest}'
}

printf '{"architecture":"amd64","os":"linux"}' >"$WORK/config"
head -c 5000 /dev/urandom >"$WORK/layer"
write_manifest one
write_manifest two
long=sha512:$(sha512sum "$WORK/one" | cut -d ' ' -f 1)
short=sha256:$(sha256sum "$WORK/one" | cut -d ' ' -f 1)
other=sha256:$(sha256sum "$WORK/two" | cut -d ' ' -f 1)

step "Entrepot takes two tags with one manifest, by its sha512"
entrepot "$port" <<<""
push_blob "$WORK/config"
push_blob "$WORK/layer"
put one "$long?tag=a&tag=b"
same "200 $long" "$(named a)" "the tag"
stop entrepot

step "registry:2 collects garbage, serves it, and moves a tag"
registry2 theirs "$port" "$ROOT"
stop theirs
client docker-registry garbage-collect --delete-untagged "$WORK/theirs.yml"
registry2 theirs "$port" "$ROOT"
same "200 $short" "$(named a)" "the tag"
same "200 $long" "$(named "$long")" "the manifest by its sha512"
put two a
stop theirs

step "Entrepot sees the moved tag"
entrepot_again "$port"
same "200 $other" "$(named a)" "the tag that was moved"
same "200 $long" "$(named b)" "the tag that was not"
stop entrepot

step "registry:2 deletes the manifest by its sha256, and it is gone"
registry2 theirs "$port" "$ROOT"
client curl -sf -X DELETE "$base/manifests/$short"
stop theirs
entrepot_again "$port"
same "200 $other" "$(named a)" "the other manifest"
same "404 " "$(named b)" "its tag"
same "404 " "$(named "$long")" "the manifest by its sha512"
