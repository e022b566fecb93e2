#!/usr/bin/env bash
# regctl: artifacts and referrers, copied with an image; chunked uploads; sha512; through the mirror too
source "$(dirname "$0")/../lib.sh"
needs regctl docker-registry skopeo curl python3

ports upstream port second
host=127.0.0.1:$port
registry2 upstream "$upstream"
make_image "$WORK/images" app --platforms linux/amd64,linux/arm64 --megabytes 4
publish "$WORK/images:app" "127.0.0.1:$upstream/library/app:1"
# The upstream is an Entrepot, since it has the referrers API, whereas registry:2 has only fallback tags.
entrepot "$second" second <<<""
publish "$WORK/images:app" "127.0.0.1:$second/org/app:1"
entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
    registry.example: {endpoints: ["http://127.0.0.1:$second"]}
YAML
export REGCTL_CONFIG=$WORK/regctl.json
for registry in "$host" "127.0.0.1:$upstream" "127.0.0.1:$second"; do
    client regctl registry set --tls disabled --skip-check "$registry"
done

# put SUBJECT TYPE WORD: pushes an artifact of this type about the image, with WORD as content.
put() {
    echo "\$ regctl artifact put --subject $1" >>"$WORK/clients.log"
    regctl artifact put --artifact-type "application/vnd.example.$2" --subject "$1" \
        --annotation "word=$3" <<<"$3 $NONCE" >>"$WORK/clients.log" 2>&1 || fail "artifact put $2 about $1"
}
# kinds IMAGE [ARGUMENTS]: prints the types of the image's referrers.
kinds() {
    regctl artifact list --format '{{range .Descriptors}}{{println .ArtifactType}}{{end}}' "$@" 2>>"$WORK/clients.log" |
        sed -n 's/^application.vnd.example.//p' | sort | tr '\n' ' ' | sed 's/ $//'
}
# words IMAGE TYPE: prints the content of the artifact of this type.
words() {
    regctl artifact get --subject "$1" --filter-artifact-type "application/vnd.example.$2" 2>>"$WORK/clients.log"
}

step "copy an index from the upstream"
client regctl image copy "127.0.0.1:$upstream/library/app:1" "$host/local/team/app:1"
same "$(digest_of "127.0.0.1:$upstream" library/app 1)" "$(regctl image digest "$host/local/team/app:1")" "the digest"

step "artifacts that refer to it: put, list, read"
put "$host/local/team/app:1" sbom bill
put "$host/local/team/app:1" signature seal
same "sbom signature" "$(kinds "$host/local/team/app:1")" "what refers to the image"
same sbom "$(kinds --filter-artifact-type application/vnd.example.sbom "$host/local/team/app:1")" "what is left by the filter"
same "bill $NONCE" "$(words "$host/local/team/app:1" sbom)" "the content of the artifact"
client regctl artifact tree "$host/local/team/app:1"
regctl artifact tree "$host/local/team/app:1" >"$WORK/tmp/tree" 2>>"$WORK/clients.log"
same 2 "$(grep -c vnd.example "$WORK/tmp/tree")" "the artifacts in the tree"

step "the registry keeps the list itself, without a fallback tag"
digest=$(regctl image digest "$host/local/team/app:1")
same 200 "$(curl -s -o "$WORK/tmp/referrers" -w '%{http_code}' "http://$host/v2/local/team/app/referrers/$digest")" "the status of the list"
same "bill seal" "$(python3 -c 'import json, sys; print(*sorted(m["annotations"]["word"] for m in json.load(open(sys.argv[1]))["manifests"]))' "$WORK/tmp/referrers")" "the annotations in the list"
same 1 "$(regctl tag ls "$host/local/team/app" | tr '\n' ' ' | sed 's/ $//')" "the tags"

step "referrers are copied with the image and with one platform of it"
put "$host/local/team/app:1" audit first
client regctl image copy --referrers "$host/local/team/app:1" "$host/local/other/app:1"
same "audit sbom signature" "$(kinds "$host/local/other/app:1")" "what refers to the copy"
same "seal $NONCE" "$(words "$host/local/other/app:1" signature)" "the content of the artifact"
platform=$host/local/team/app@$(regctl image digest --platform linux/arm64 "$host/local/team/app:1")
put "$platform" sbom arm
same sbom "$(kinds "$platform")" "what refers to one platform"
same "audit sbom signature" "$(kinds "$host/local/team/app:1")" "what refers to the index"

step "a deleted artifact is not listed"
gone=$(regctl artifact list --filter-artifact-type application/vnd.example.audit --format '{{range .Descriptors}}{{.Digest}}{{end}}' "$host/local/team/app:1")
client regctl manifest delete "$host/local/team/app@$gone"
same "sbom signature" "$(kinds "$host/local/team/app:1")" "what refers to the image"

step "artifacts at the upstream, through the mirror: by the API, and by a fallback tag"
put "127.0.0.1:$second/org/app:1" sbom theirs
put "127.0.0.1:$upstream/library/app:1" sbom hub
for image in "$host/registry.example/org/app:1" "$host/docker.io/library/app:1"; do
    same sbom "$(kinds "$image")" "what refers to $image"
done
same "theirs $NONCE" "$(words "$host/registry.example/org/app:1" sbom)" "the content of the artifact"
same "hub $NONCE" "$(words "$host/docker.io/library/app:1" sbom)" "the content of the artifact"
client regctl image copy --referrers "$host/registry.example/org/app:1" "$host/local/mirrored/app:1"
same sbom "$(kinds "$host/local/mirrored/app:1")" "what refers to the copy"

step "the same with the upstreams gone"
stop upstream
stop second
same "theirs $NONCE" "$(words "$host/registry.example/org/app:1" sbom)" "the content of the artifact"
same "hub $NONCE" "$(words "$host/docker.io/library/app:1" sbom)" "the content of the artifact"

step "a blob in chunks of 500 kB"
client regctl registry set --tls disabled --skip-check --blob-chunk 500000 --blob-max 500000 "$host"
head -c 2600000 /dev/urandom >"$WORK/tmp/blob"
digest=$(regctl blob put "$host/local/team/blobs" <"$WORK/tmp/blob")
same "sha256:$(sha256sum <"$WORK/tmp/blob" | cut -d ' ' -f 1)" "$digest" "the digest"
regctl blob get "$host/local/team/blobs" "$digest" | cmp - "$WORK/tmp/blob" >>"$WORK/clients.log" || fail "the blob came back changed"
patches=$(curl -sf "http://$host/metrics" | sed -n 's/^registry_http_requests_total{code="202",handler="blob_upload_chunk",method="patch"} //p')
((${patches:-0} >= 5)) || fail "there were ${patches:-no} chunks"

step "everything by sha512"
client regctl image mod "$host/local/team/app:1" --digest-algo sha512 --create "$host/local/team/long:1"
[[ $(regctl image digest "$host/local/team/long:1") == sha512:* ]] || fail "not sha512: $(regctl image digest "$host/local/team/long:1")"
client regctl image copy "$host/local/team/long:1" "ocidir://$WORK/tmp/long:1"
put "$host/local/team/long:1" sbom long
same sbom "$(kinds "$host/local/team/long:1")" "what refers to the image"

step "delete a tag alone"
client regctl image copy "$host/local/team/app:1" "$host/local/team/app:2"
client regctl tag delete "$host/local/team/app:1"
same 2 "$(regctl tag ls "$host/local/team/app" | tr '\n' ' ' | sed 's/ $//')" "the tags"
