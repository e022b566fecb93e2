#!/usr/bin/env bash
# containerd with exactly the hosts.toml that `entrepot client containerd` writes; buildkit's and k3s's files parse
source "$(dirname "$0")/../lib.sh"
needs_root containerd
needs containerd ctr docker-registry skopeo curl python3

ports upstream plain port
host=127.0.0.1:$port
registry2 upstream "$upstream"
make_image "$WORK/images" app
publish "$WORK/images:app" "127.0.0.1:$upstream/library/app:1"
digest=$(digest_of "127.0.0.1:$upstream" library/app 1)
registry2 plain "$plain"
publish "$WORK/images:app" "127.0.0.1:$plain/library/app:1"
entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
    127.0.0.1:$plain: {endpoints: ["http://127.0.0.1:$plain"], aliases: [plain.test]}
YAML

step "write the configuration"
client "$ENTREPOT" client containerd --host "$host" --server "http://$host" --dir "$WORK/certs.d"
[[ -s $WORK/certs.d/docker.io/hosts.toml ]] || fail "no docker.io/hosts.toml, but $(cd "$WORK/certs.d" && find . -type f)"
client_prints hosts.printed containerd --host "$host" --server "http://$host"

step "start containerd, and pull with it"
mkdir -p "$WORK/etc"
cat >"$WORK/etc/containerd.toml" <<TOML
version = 2
root = "$WORK/containerd"
state = "$WORK/containerd-run"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$WORK/containerd.sock"
[ttrpc]
  address = "$WORK/containerd.sock.ttrpc"
TOML
spawn containerd containerd --config "$WORK/etc/containerd.toml"
wrapper ctr --address "$WORK/containerd.sock" --namespace test
ready containerd ctr version
pull() {
    client ctr images pull --hosts-dir "$WORK/certs.d" --snapshotter native --platform linux/amd64 docker.io/library/app:1
    same "$digest" "$(ctr images ls name==docker.io/library/app:1 | awk 'NR == 2 { print $3 }')" "the digest"
}
pull
went_through "$port"

step "pull again with the upstream gone"
stop upstream
client ctr images rm --sync docker.io/library/app:1
pull

step "pull from an upstream with plain HTTP while the mirror is down"
stop entrepot
for name in "127.0.0.1:$plain" plain.test; do
    client ctr images pull --hosts-dir "$WORK/certs.d" --snapshotter native --platform linux/amd64 "$name/library/app:1"
    same "$digest" "$(ctr images ls "name==$name/library/app:1" | awk 'NR == 2 { print $3 }')" "the digest"
done
entrepot_again "$port"

step "the files for buildkit and k3s"
client_prints buildkitd.toml buildkit --host "$host" --server "http://$host"
client_prints registries.yaml k3s --host "$host" --server "http://$host"
python3 - "$WORK/buildkitd.toml" "$host" <<'PYTHON' || fail "buildkit's: $(<"$WORK/buildkitd.toml")"
import sys

text, host = open(sys.argv[1]).read(), sys.argv[2]
try:
    import tomllib
except ImportError:  # before Python 3.11
    sys.exit(host not in text)
settings = tomllib.loads(text)
hub = settings["registry"]["docker.io"]["mirrors"]
assert any(host in mirror for mirror in hub), hub
PYTHON
grep -q '^mirrors:' "$WORK/registries.yaml" || fail "k3s's: $(<"$WORK/registries.yaml")"
grep -q "http://$host" "$WORK/registries.yaml" || fail "k3s's: $(<"$WORK/registries.yaml")"
