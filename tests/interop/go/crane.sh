#!/usr/bin/env bash
# crane: push, copy from other registries, append, mutate, index, digest, ls, validate, delete
source "$(dirname "$0")/../lib.sh"
needs crane docker-registry skopeo curl python3

ports upstream port
host=127.0.0.1:$port
registry2 upstream "$upstream"
make_image "$WORK/images" one --megabytes 4
make_image "$WORK/images" many --platforms linux/amd64,linux/arm64
publish "$WORK/images:one" "127.0.0.1:$upstream/library/one:1" --format v2s2
make_image "$WORK/images" theirs --platforms linux/amd64,linux/arm64
publish "$WORK/images:theirs" "127.0.0.1:$upstream/library/theirs:1"
entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
validation: {manifests: {sparse: refuse}}
YAML

# digest_is REFERENCE EXPECTED: checks the digest that crane prints.
digest_is() {
    same "$2" "$(crane digest "$1" 2>>"$WORK/clients.log")" "the digest of $1"
}
# uploaded: prints the number of blobs that were sent to the server and not mounted.
uploaded() {
    curl -sf "http://$host/metrics" |
        awk '/^registry_http_requests_total.*code="201".*handler="blob_upload_chunk"/ { sum += $2 } END { print sum + 0 }'
}

step "push a tarball and an OCI layout, and check everything"
client skopeo copy "oci:$WORK/images:one" "docker-archive:$WORK/one.tar:one:1"
client crane push "$WORK/one.tar" "$host/local/team/one:1"
client crane validate --remote "$host/local/team/one:1"
client skopeo copy --all "oci:$WORK/images:many" "oci:$WORK/single:many"
client crane push --index "$WORK/single" "$host/local/team/many:layout"
client crane validate --remote "$host/local/team/many:layout"

step "copy within the registry: nothing is sent again"
before=$(uploaded)
client crane copy "$host/local/team/one:1" "$host/local/other/one:1"
digest_is "$host/local/other/one:1" "$(digest_of "$host" local/team/one 1)"
same "$before" "$(uploaded)" "the blobs that were sent"

step "copy from the upstream and from the mirror: the digest stays"
client crane copy "$host/docker.io/library/theirs:1" "$host/local/mirrored/theirs:1"
client crane copy "127.0.0.1:$upstream/library/one:1" "$host/local/direct/one:1"
digest_is "$host/local/mirrored/theirs:1" "$(digest_of "127.0.0.1:$upstream" library/theirs 1)"
digest_is "$host/local/direct/one:1" "$(digest_of "127.0.0.1:$upstream" library/one 1)"
client crane validate --remote "$host/local/mirrored/theirs:1"
client crane validate --remote "$host/local/direct/one:1"

step "append a layer that comes through a pipe"
mkdir "$WORK/tmp/layer"
head -c 2000000 /dev/urandom >"$WORK/tmp/layer/added"
tar -C "$WORK/tmp/layer" -cf "$WORK/tmp/layer.tar" added
client crane append --base "$host/local/team/one:1" --new_layer - --new_tag "$host/local/team/one:appended" <"$WORK/tmp/layer.tar"
client crane validate --remote "$host/local/team/one:appended"
crane export "$host/local/team/one:appended" - 2>>"$WORK/clients.log" | tar -C "$WORK/tmp" -xf - added etc/nonce
cmp "$WORK/tmp/added" "$WORK/tmp/layer/added" >>"$WORK/clients.log" || fail "the layer came back changed"
same "$NONCE" "$(<"$WORK/tmp/etc/nonce")" "the base's file"

step "mutate: another config, the same layers"
before=$(uploaded)
client crane mutate "$host/local/team/one:1" --label made=here --env WORD=x --tag "$host/local/team/one:mutated"
same 1 $(($(uploaded) - before)) "the blobs that were sent"
same here "$(crane config "$host/local/team/one:mutated" | python3 -c 'import json, sys; print(json.load(sys.stdin)["config"]["Labels"]["made"])')" "the label"

step "an index of stored images; one that names missing images is refused"
client crane index append --manifest "$host/local/team/one:1" --manifest "$host/local/team/one:mutated" --tag "$host/local/team/one:index"
same 2 "$(crane manifest "$host/local/team/one:index" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["manifests"]))')" "the manifests in the index"
client crane validate --remote "$host/local/team/one:index"
crane manifest "$host/local/team/one:index" >"$WORK/tmp/index"
same 400 "$(curl -s -o /dev/null -w '%{http_code}' -X PUT -H 'Content-Type: application/vnd.oci.image.index.v1+json' \
    --data-binary "@$WORK/tmp/index" "http://$host/v2/local/empty/manifests/1")" "the status of an index whose images are elsewhere"

step "tag, ls, catalog"
client crane tag "$host/local/team/one:1" latest
same "1 appended index latest mutated" "$(crane ls "$host/local/team/one" | sort | tr '\n' ' ' | sed 's/ $//')" "the tags"
same 1 "$(crane ls "$host/library/theirs")" "the tags of what is mirrored"
crane catalog "$host" >"$WORK/tmp/catalog"
for name in local/team/one local/other/one local/mirrored/theirs; do
    grep -qx "$name" "$WORK/tmp/catalog" || fail "$name is not in the catalog: $(tr '\n' ' ' <"$WORK/tmp/catalog")"
done

step "delete a tag, and an image by its digest"
client crane delete "$host/local/team/one:latest"
refused 'MANIFEST_UNKNOWN|404' crane digest "$host/local/team/one:latest"
client crane delete "$host/local/team/one@$(crane digest "$host/local/team/one:index")"
refused 'MANIFEST_UNKNOWN|404' crane digest "$host/local/team/one:index"
same "1 appended mutated" "$(crane ls "$host/local/team/one" | sort | tr '\n' ' ' | sed 's/ $//')" "the tags that are left"

step "a push to a mirrored name is refused, and the message has the local patterns"
refused 'DENIED.*local/\*\*' crane copy "$host/local/team/one:1" "$host/docker.io/library/one:2"

step "with the upstream gone, the mirror serves the image that was copied through it"
stop upstream
client crane pull --format oci "$host/docker.io/library/theirs:1" "$WORK/tmp/theirs"
client crane validate --remote "$host/docker.io/library/theirs:1"
