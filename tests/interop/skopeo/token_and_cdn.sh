#!/usr/bin/env bash
# an upstream with tokens, and a redirecting CDN on another address: its requests are counted
source "$(dirname "$0")/../lib.sh"
needs docker-registry skopeo curl python3

clients=8
ports upstream front cdn port
registry2 upstream "$upstream"
make_image "$WORK/images" slow --megabytes 30
make_image "$WORK/images" many --platforms linux/amd64,linux/arm64
publish "$WORK/images:slow" "127.0.0.1:$upstream/library/slow:1"
publish "$WORK/images:many" "127.0.0.1:$upstream/library/many:1"

# Counts begin at zero. The link is so slow that all clients come before the layer is there.
start_front() {
    front front "$front" "$cdn" "$upstream" --user reader:sesame --rate 15000000
}
status() {
    curl -s -o /dev/null -w '%{http_code}' "$@"
}
field() {
    python3 -c "import json, sys; print(json.load(sys.stdin)$1)"
}
pull() {
    client skopeo copy --preserve-digests --src-tls-verify=false "docker://127.0.0.1:$port/library/$1:1" "dir:$2"
}

step "front.py is as strict as a large registry"
start_front
address=http://127.0.0.1:$front
blob=$(manifest_says "127.0.0.1:$upstream" library/slow 1 'm["config"]["digest"]')
same 401 "$(status "$address/v2/library/slow/manifests/1")" "without a token"
same 401 "$(status "$address/token?scope=repository:library/slow:pull")" "a token without credentials"
bearer="Authorization: Bearer $(curl -sf -u reader:sesame "$address/token?scope=repository:library/slow:pull" | field '["token"]')"
same 401 "$(status -H "$bearer" "$address/v2/library/many/manifests/1")" "a token for something else"
signed=$(curl -sf -o /dev/null -w '%{redirect_url}' -H "$bearer" "$address/v2/library/slow/blobs/$blob")
same 400 "$(status -H "$bearer" "$signed")" "the CDN with credentials"
same 403 "$(status "${signed%?}")" "the CDN with a wrong signature"
same 200 "$(status "$signed")" "the CDN without credentials"
stop front
start_front

entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io:
      default: true
      endpoints: ["http://127.0.0.1:$front"]
      username: reader
      password: sesame
      tagttl: 10m
YAML

step "$clients clients pull the same cold image at once"
pids=()
for ((i = 0; i < clients; i++)); do
    pull slow "$WORK/tmp/slow-$i" &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
client skopeo copy --preserve-digests "oci:$WORK/images:slow" "dir:$WORK/tmp/slow-source"
for ((i = 0; i < clients; i++)); do
    diff -r "$WORK/tmp/slow-source" "$WORK/tmp/slow-$i" >>"$WORK/clients.log" || fail "client $i got something else"
done

step "the upstream is asked for the image once"
bytes=$(manifest_says "127.0.0.1:$upstream" library/slow 1 'sum(blob["size"] for blob in blobs)')
counted "$front" "one token for the one scope" 'seen["token"] == {"repository:library/slow:pull": 1}'
counted "$front" "no token request without the configured credentials" 'not seen["token.refused"]'
counted "$front" "one GET per manifest" 'list(seen["manifest.GET"].values()) == [1]'
counted "$front" "no HEAD of a blob" 'not seen["blob.HEAD"] and not seen["cdn.HEAD"]'
counted "$front" "every byte of every blob once" "sum(seen['cdn.bytes'].values()) == $bytes"
counted "$front" "no credentials to the CDN" 'not seen["cdn.authorization"]'

step "five warm pulls send no request to the upstream"
before=$(curl -sf "http://127.0.0.1:$front/_counts")
for ((i = 0; i < 5; i++)); do
    rm -rf "$WORK/tmp/warm"
    pull slow "$WORK/tmp/warm"
done
same "$before" "$(curl -sf "http://127.0.0.1:$front/_counts")" "the counts"

step "one platform of an index: only this platform is fetched"
pull many "$WORK/tmp/many"
counted "$front" "a token for each of the two scopes" 'list(seen["token"].values()) == [1, 1]'
counted "$front" "the index and one of its manifests, once each" 'list(seen["manifest.GET"].values()) == [1, 1, 1]'
counted "$front" "its config and its layer" 'len(seen["cdn.GET"]) == 3 + 2'
counted "$front" "no credentials to the CDN" 'not seen["cdn.authorization"]'
