#!/usr/bin/env bash
# dockerd with exactly the daemon.json that `entrepot client docker` prints
source "$(dirname "$0")/../lib.sh"
needs_root dockerd
needs dockerd docker containerd runc docker-registry skopeo curl python3

ports upstream port
host=127.0.0.1:$port
registry2 upstream "$upstream"
make_image "$WORK/images" app
publish "$WORK/images:app" "127.0.0.1:$upstream/library/app:1"
digest=$(digest_of "127.0.0.1:$upstream" library/app 1)
entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
YAML

step "print the configuration"
client_prints daemon.json docker --host "$host" --server "http://$host"
python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$WORK/daemon.json" || fail "not JSON: $(<"$WORK/daemon.json")"

step "start dockerd with it, and pull"
dockerd_with "$(<"$WORK/daemon.json")"
client docker pull app:1
docker_has app:1 "$digest"
went_through "$port"

step "push to the private names, and pull from there"
client docker tag app:1 "$host/local/app:1"
client docker push "$host/local/app:1"
client docker rmi app:1 "$host/local/app:1"
client docker pull "$host/local/app:1"
