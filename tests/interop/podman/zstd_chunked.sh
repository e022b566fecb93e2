#!/usr/bin/env bash
# podman pulls the missing parts of a zstd:chunked layer: many ranges in one request, answered in many parts
source "$(dirname "$0")/../lib.sh"
needs_root podman
needs podman curl python3

ports port
image=127.0.0.1:$port/team/app
context=$WORK/context
entrepot "$port" <<<"log: {formatter: json}"

# podman_in NAME ARGUMENTS: runs podman with a store of its own, which fetches only missing parts.
podman_in() {
    local name=$1
    shift
    cat >"$WORK/$name.conf" <<TOML
[storage]
driver = "overlay"
graphroot = "$WORK/$name"
runroot = "$WORK/$name-run"
[storage.options]
pull_options = {enable_partial_images = "true", use_hard_links = "false", ostree_repos = "", convert_images = "false"}
TOML
    CONTAINERS_STORAGE_CONF=$WORK/$name.conf client podman "$@"
}
# change FIRST STEP: writes new content to every STEPth file.
change() {
    local number
    for number in $(seq "$1" "$2" 60); do head -c 20000 /dev/urandom >"$context/$number"; done
}
build_and_push() {
    podman_in pusher build -q -f "$WORK/Containerfile" -t "$image:$1" "$context"
    podman_in pusher push -q --tls-verify=false --compression-format zstd:chunked "$image:$1"
}
# Prints the size of the largest multipart answer since line $1 of the log.
in_parts() {
    tail -n "+$1" "$WORK/entrepot.log" | python3 -c '
import json, sys
lines = [json.loads(line) for line in sys.stdin if line.startswith("{")]
parts = [line["http.response.written"] for line in lines if line.get("http.response.contenttype", "").startswith("multipart/")]
print(max(parts, default=0))'
}

mkdir "$context"
printf 'FROM scratch\nCOPY . /data\n' >"$WORK/Containerfile"

step "push two images that share half of their layer"
change 1 1
build_and_push 1
change 1 2
build_and_push 2

step "pull the whole first image, and the missing parts of the second"
podman_in puller pull -q --tls-verify=false "$image:1"
sleep 0.2
before=$(($(wc -l <"$WORK/entrepot.log") + 1))
podman_in puller pull -q --tls-verify=false "$image:2"
sleep 0.2
sent=$(in_parts "$before")
((sent > 500000 && sent < 900000)) || fail "half of 1.2 MB was to come in parts, and $sent bytes came"

step "the assembled layer is right"
mount=$(CONTAINERS_STORAGE_CONF=$WORK/puller.conf podman image mount "$image:2")
diff -r "$context" "$mount/data" >>"$WORK/clients.log" || fail "the files differ"
podman_in puller image unmount "$image:2"
