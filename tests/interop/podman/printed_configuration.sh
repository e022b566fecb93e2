#!/usr/bin/env bash
# podman with exactly the registries.conf that `entrepot client podman` prints
source "$(dirname "$0")/../lib.sh"
needs_root podman
needs podman docker-registry skopeo curl python3

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

step "print the configuration"
client_prints printed.conf podman --host "$host" --server "http://$host"

step "give it to podman, and pull"
podman_with <"$WORK/printed.conf"
podman_pull docker.io/library/app:1
podman_has docker.io/library/app:1 "$digest"
went_through "$port"

step "pull again with the upstream gone"
stop upstream
client podman rmi --all --force
podman_pull docker.io/library/app:1
podman_has docker.io/library/app:1 "$digest"

step "pull from an upstream with plain HTTP while the mirror is down"
stop entrepot
for name in "127.0.0.1:$plain" plain.test; do
    client podman rmi --all --force
    podman_pull "$name/library/app:1"
    podman_has "$name/library/app:1" "$digest"
done
