#!/usr/bin/env bash
# entrepot warm; then the upstream hangs, and is gone: docker pulls the stored images, and nothing else waits
source "$(dirname "$0")/../lib.sh"
needs_root dockerd
needs dockerd docker containerd runc docker-registry skopeo curl python3

ports upstream port
host=127.0.0.1:$port
registry2 upstream "$upstream"
make_image "$WORK/images" tool --platforms linux/amd64,linux/arm64 --megabytes 8
publish "$WORK/images:tool" "127.0.0.1:$upstream/team/tool:1"
digest=$(digest_of "127.0.0.1:$upstream" team/tool 1)
entrepot "$port" <<YAML
mirror:
  upstreams:
    docker.io:
      default: true
      endpoints: ["http://127.0.0.1:$upstream"]
      tagttl: 1s
      firstbytetimeout: 4s
YAML
dockerd_with "{\"registry-mirrors\": [\"http://$host\"]}"

warm() {
    "$ENTREPOT" warm --server "http://$host" "$@" 2>"$WORK/warm.errors"
}
# cold REASON IMAGE: expects that warming fails with exit status 1 and one line with the reason.
cold() {
    local status=0 output
    output=$(warm "$2") || status=$?
    same 1 "$status" "the exit status of warm $2"
    same "" "$output" "what warm prints of $2"
    same 1 "$(wc -l <"$WORK/warm.errors")" "the lines on stderr of warm $2"
    grep -Eq -- "$1" "$WORK/warm.errors" || fail "no word of /$1/: $(<"$WORK/warm.errors")"
}
# within MILLISECONDS COMMAND...: the command must succeed in this time. The bounds are generous, except where they
# must tell a wait of 2 s or 4 s from none.
within() {
    local begin=$EPOCHREALTIME limit=$1 took
    shift
    "$@"
    took=$(((${EPOCHREALTIME/[.,]/} - ${begin/[.,]/}) / 1000))
    echo "    $took ms: $*"
    ((took <= limit)) || fail "$took ms: $*"
}
pull() {
    client docker pull team/tool:1
    docker_has team/tool:1 "$digest"
    client docker rmi team/tool:1
}
tag_is() {
    same "$1" "$(header "$host" /v2/team/tool/manifests/1 X-Cache)" "X-Cache"
}

step "warm an image, and a missing one"
warm team/tool:1 >"$WORK/warm.log" || fail "$(<"$WORK/warm.errors")"
same "" "$(<"$WORK/warm.errors")" "what warm complains of"
same 1 "$(wc -l <"$WORK/warm.log")" "the lines of warm"
grep -Eq 'team/tool:1: .*MiB fetched' "$WORK/warm.log" || fail "$(<"$WORK/warm.log")"
cold "absent$NONCE:1" "absent$NONCE:1"

step "the upstream hangs: stored images are pulled"
sleep 3  # older than twice the TTL
kill -STOP "${PID[upstream]}"
within 5000 tag_is stale
within 1500 tag_is stale
within 10000 pull

step "a missing image gets 504 in time, and no other request waits for it"
curl -s -m 30 -o /dev/null -w '%{http_code} %{time_total}' "http://$host/v2/other/manifests/1" >"$WORK/tmp/other" &
other=$!
sleep 0.5
within 2000 curl -sf -m 10 -o /dev/null "http://$host/v2/"
within 5000 client docker info
within 10000 pull
wait "$other"
echo "    the other: $(<"$WORK/tmp/other") s"
same 504 "$(cut -d ' ' -f 1 "$WORK/tmp/other")" "the status of what is not held"

step "the same with the upstream gone"
stop upstream
within 10000 pull
cold "absent2$NONCE:1" "absent2$NONCE:1"
