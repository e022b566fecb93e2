# The common part of all cases. A case is a bash script that sources this file, names the tools that it needs
# (`needs skopeo docker-registry`), names its steps (`step "..."`), and fails at the first command that fails.
# Each case has a temporary directory and ports of its own. At its end, however it ends, its processes are stopped and
# the directory is removed.
# shellcheck shell=bash disable=SC2034  # the cases use the variables of this file
set -Eeuo pipefail

INTEROP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ENTREPOT=$(realpath -m "${ENTREPOT:-$INTEROP/../../target/release/entrepot}")
STEP="start"
declare -A PID=()
trap 'broken $LINENO "$BASH_COMMAND"' ERR
trap 'exit 124' TERM INT

# Exit status 77 tells the runner that a client is missing. The last line on stdout names it.
needs() {
    local tool missing=()
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    if ((${#missing[@]})); then
        echo "missing: ${missing[*]}"
        exit 77
    fi
    [[ -x $ENTREPOT ]] || { echo "no binary at $ENTREPOT (cargo build --release, or set ENTREPOT)"; exit 1; }
    workplace
}

needs_root() {
    ((EUID == 0)) || { echo "missing: root, which $1 needs"; exit 77; }
}

# Hides the user's own credentials, settings and proxies from the clients.
workplace() {
    WORK=$(mktemp -d /tmp/interop.XXXXXX)
    trap clean_up EXIT
    mkdir -p "$WORK"/{bin,home,run,tmp,docker}
    PATH=$WORK/bin:$PATH
    export HOME=$WORK/home TMPDIR=$WORK/tmp XDG_RUNTIME_DIR=$WORK/run
    export DOCKER_CONFIG=$WORK/docker
    echo '{}' >"$DOCKER_CONFIG/config.json"  # podman requires the file
    unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY DOCKER_HOST DOCKER_CONTEXT
    unset "${!REGISTRY_@}" "${!ENTREPOT_@}"
    command -v skopeo >/dev/null && wrapper skopeo --insecure-policy --command-timeout 120s
    NONCE=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
}

clean_up() {
    local status=$? name mount
    trap - ERR EXIT TERM INT
    trap '' PIPE  # the reader of the output may have gone
    set +e
    ((status == 0)) || logs
    for name in "${!PID[@]}"; do stop "$name"; done
    # dockerd and podman leave mounts of their own directories behind.
    cut -d ' ' -f 2 /proc/mounts | grep "^$WORK/" | sort -r | while read -r mount; do umount -l "$mount"; done
    if [[ ${INTEROP_KEEP:-0} == 1 ]]; then echo "    kept: $WORK"; else rm -rf "$WORK"; fi
    exit "$status"
}

logs() {
    local log
    for log in "$WORK"/*.log; do
        [[ -s $log ]] || continue
        echo "    --- last lines of ${log##*/}"
        tail -n "${INTEROP_LOG_LINES:-20}" "$log" | cut -c 1-400 | sed 's/^/    /'
    done
}

step() {
    STEP=$1
    echo "  - $STEP"
    echo "== $STEP" >>"$WORK/clients.log"
}

broken() {
    trap - ERR
    fail "line $1: $2"
}

fail() {
    echo "    failed in \"$STEP\": $1" >&2
    exit 1
}

# --- processes

# spawn NAME COMMAND...: starts the command in the background, with its output in NAME.log.
spawn() {
    local name=$1
    shift
    "$@" >>"$WORK/$name.log" 2>&1 </dev/null &
    PID[$name]=$!
}

stop() {
    local name=$1 pid=${PID[$1]:-} i
    [[ -n $pid ]] || return 0
    unset "PID[$name]"
    kill -TERM "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true  # a case may have stopped it with SIGSTOP
    for ((i = 0; i < 200; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if kill -KILL "$pid" 2>/dev/null; then
        echo "    $name did not end within 20 s of SIGTERM and was killed" >&2
    fi
    wait "$pid" 2>/dev/null || true
}

# crash NAME: kills the process, which cannot write anything any more.
crash() {
    local pid=${PID[$1]}
    unset "PID[$1]"
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null || true
}

# ready NAME COMMAND...: repeats the command until it succeeds, as long as the process NAME lives.
ready() {
    local name=$1 i
    shift
    for ((i = 0; i < 300; i++)); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        kill -0 "${PID[$name]}" 2>/dev/null || fail "$name ended at once"
        sleep 0.1
    done
    fail "$name did not become ready in 30 s"
}

# Sets the named variables to free ports. They lie below the ephemeral range, so that no outgoing connection takes
# one before the server listens there.
ports() {
    local found
    found=$(python3 - $# <<'PYTHON'
import random, socket, sys

found, held = [], []
while len(found) < int(sys.argv[1]):
    port = random.randrange(20000, 32000)
    try:
        for host in ("127.0.0.1", "127.0.0.2"):
            held.append(socket.socket())
            held[-1].bind((host, port))
    except OSError:
        continue
    found.append(port)
print(*found)
PYTHON
    )
    read -r "$@" <<<"$found"
}

# client COMMAND...: runs the command with a time limit. Its output goes to clients.log.
client() {
    echo "\$ $*" >>"$WORK/clients.log"
    timeout 150 "$@" >>"$WORK/clients.log" 2>&1 || fail "exit status $?: $*"
}

# wrapper TOOL ARGUMENTS...: from now on, calls of TOOL begin with these arguments.
wrapper() {
    local tool=$1 real
    real=$(command -v "$tool")
    shift
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$real" "$*" >"$WORK/bin/$tool"
    chmod +x "$WORK/bin/$tool"
    hash -r
}

# refused PATTERN COMMAND...: succeeds if the command fails with a message that matches the pattern.
refused() {
    local pattern=$1 output
    shift
    echo "\$ $*   (is to be refused)" >>"$WORK/clients.log"
    if output=$(timeout 150 "$@" 2>&1); then
        fail "it was not refused: $*"
    fi
    echo "$output" >>"$WORK/clients.log"
    grep -Eq -- "$pattern" <<<"$output" || fail "refused without a word of /$pattern/: $output"
}

same() {
    [[ $1 == "$2" ]] || fail "$3: expected $1, got ${2:-nothing}"
}

# --- registries

# registry2 NAME PORT [ROOT]: starts registry:2.
registry2() {
    local name=$1 port=$2 root=${3:-$WORK/$1}
    cat >"$WORK/$name.yml" <<YAML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $root}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
YAML
    spawn "$name" docker-registry serve "$WORK/$name.yml"
    ready "$name" curl -sf "http://127.0.0.1:$port/v2/"
}

# entrepot PORT [NAME] <CONFIG: starts Entrepot with the configuration on stdin and the sections that all cases share.
entrepot() {
    local port=$1 name=${2:-entrepot}
    {
        cat <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: ${ROOT:-$WORK/$name}}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
YAML
        cat
    } >"$WORK/$name.yml"
    entrepot_again "$port" "$name"
}

# Starts it again with the same configuration.
entrepot_again() {
    local port=$1 name=${2:-entrepot} settings=()
    # The default reserve would keep everything out of the cache on a machine whose disk is nearly full. A case that sets
    # ROOT has a disk of its own.
    if [[ -z ${ROOT:-} ]] && grep -q "^mirror:" "$WORK/$name.yml"; then
        settings=(REGISTRY_MIRROR_CACHE_RESERVE=0)
    fi
    spawn "$name" env "${settings[@]}" "$ENTREPOT" serve "$WORK/$name.yml"
    ready "$name" "$ENTREPOT" health "http://127.0.0.1:$port"
}

# front NAME PORT CDN REGISTRY [ARGUMENTS]: starts front.py on these ports, in front of the registry on the last one.
front() {
    local name=$1 port=$2 cdn=$3 registry=$4
    shift 4
    spawn "$name" python3 "$INTEROP/front.py" --listen "127.0.0.1:$port" --cdn "127.0.0.2:$cdn" \
        --registry "127.0.0.1:$registry" "$@"
    ready "$name" curl -sf "http://127.0.0.1:$port/_counts"
}

# fault PORT NAME=NUMBER...: sets faults of the front.py on that port.
fault() {
    local port=$1 IFS='&'
    shift
    curl -sf -X POST "http://127.0.0.1:$port/_faults?$*" || fail "no such fault: $*"
}

# seen PORT EXPRESSION: evaluates a Python expression over `seen[KIND][ITEM]`, the counts of the front.py on that port.
seen() {
    curl -sf "http://127.0.0.1:$1/_counts" >"$WORK/tmp/counts.$$"
    python3 - "$2" "$WORK/tmp/counts.$$" <<'PYTHON'
import collections, json, sys

seen = collections.defaultdict(dict, json.load(open(sys.argv[2])))
print(eval(sys.argv[1]))
PYTHON
}

# counted PORT DESCRIPTION EXPRESSION: fails unless the expression, as `seen` takes it, is true.
counted() {
    [[ $(seen "$1" "bool($3)") == True ]] || fail "not true: $2: $(curl -s "http://127.0.0.1:$1/_counts" | tr -d ' \n')"
}

# make_image DIR TAG [ARGUMENTS]: writes an OCI layout with image.py.
make_image() {
    python3 "$INTEROP/image.py" "$@" --nonce "$NONCE"
}

# publish DIR:TAG HOST/NAME:TAG [ARGUMENTS]: copies an image into a registry with plain HTTP.
publish() {
    local from=$1 to=$2
    shift 2
    client skopeo copy --all --dest-tls-verify=false "$@" "oci:$from" "docker://$to"
}

ACCEPT='Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, */*'

# digest_of HOST NAME REFERENCE: prints the digest of the manifest, computed here.
digest_of() {
    local body
    body=$WORK/tmp/manifest.$$
    curl -sf -m 30 -H "$ACCEPT" -o "$body" "http://$1/v2/$2/manifests/$3" || fail "no manifest $2:$3 at $1"
    echo "sha256:$(sha256sum <"$body" | cut -d ' ' -f 1)"
}

# manifest_says HOST NAME REFERENCE EXPRESSION: evaluates a Python expression over the manifest `m` and its `blobs`.
manifest_says() {
    curl -sf -m 30 -H "$ACCEPT" "http://$1/v2/$2/manifests/$3" >"$WORK/tmp/said.$$" || fail "no manifest $2:$3 at $1"
    python3 - "$4" "$WORK/tmp/said.$$" <<'PYTHON'
import json, sys

m = json.load(open(sys.argv[2]))
blobs = [m["config"], *m["layers"]]
print(eval(sys.argv[1]))
PYTHON
}

# header HOST PATH NAME: prints a header of the answer to a HEAD.
header() {
    curl -sI -m 30 -H "$ACCEPT" "http://$1$2" | tr -d '\r' | sed -n "s/^$3: //Ip"
}

# --- dockerd

# dockerd_with JSON: starts a daemon with these settings. It starts its own containerd.
# It uses vfs, because overlay does not work on the overlay of a container, and neither bridge nor iptables,
# because the case starts no container and must not change the machine's network.
dockerd_with() {
    export DOCKER_HOST=unix://$WORK/docker.sock
    echo "$1" >"$WORK/daemon.json"
    spawn dockerd dockerd --config-file "$WORK/daemon.json" --host "$DOCKER_HOST" --pidfile "$WORK/docker.pid" \
        --data-root "$WORK/docker-data" --exec-root "$WORK/docker-run" \
        --storage-driver vfs --bridge none --iptables=false --ip6tables=false
    ready dockerd docker version
}

# docker_has NAME:TAG DIGEST: succeeds if the daemon has the image with all its layers unpacked.
docker_has() {
    local digests
    digests=$(docker image inspect --format '{{join .RepoDigests " "}}' "$1")
    same "$2" "${digests#*@}" "the digest of $1"
}

# --- podman

# podman_with <TOML: makes podman store everything in the case's directory, with the registries of stdin.
podman_with() {
    cat >"$WORK/registries.conf"
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$WORK/policy.json"
    export CONTAINERS_REGISTRIES_CONF=$WORK/registries.conf PODMAN_IGNORE_CGROUPSV1_WARNING=1
    wrapper podman --root "$WORK/podman" --runroot "$WORK/podman-run" --tmpdir "$WORK/podman-tmp" \
        --storage-driver vfs --cgroup-manager cgroupfs --events-backend none
}
podman_pull() {
    client podman pull --signature-policy "$WORK/policy.json" "$@"
}
# podman_has NAME:TAG DIGEST: succeeds if podman has the image and the file in it that is new in every run.
podman_has() {
    local mount
    podman image inspect --format '{{json .RepoDigests}}' "$1" | grep -q "${1%:*}@$2" || fail "$1 is not $2"
    mount=$(podman image mount "$1")
    same "$NONCE" "$(<"$mount/etc/nonce")" "the file in $1"
    client podman image unmount "$1"
}

# --- `entrepot client`

# client_prints FILE ARGUMENTS...: writes the output of `entrepot client ARGUMENTS` to $WORK/FILE.
client_prints() {
    local file=$1
    shift
    echo "\$ entrepot client $*" >>"$WORK/clients.log"
    timeout 60 "$ENTREPOT" client "$@" >"$WORK/$file" 2>>"$WORK/clients.log" || fail "exit status $?: entrepot client $*"
    [[ -s $WORK/$file ]] || fail "entrepot client $* prints nothing"
}
# went_through PORT: succeeds if the server there has sent manifests and blobs of a mirrored repository.
went_through() {
    local metrics kind count
    metrics=$(curl -sf "http://127.0.0.1:$1/metrics")
    for kind in manifest blob; do
        count=$(sed -n "s/^registry_proxy_requests_total{type=\"$kind\"} //p" <<<"$metrics")
        ((${count:-0} > 0)) || fail "nobody asked the mirror for a $kind"
    done
}
