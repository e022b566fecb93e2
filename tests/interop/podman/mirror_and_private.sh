#!/usr/bin/env bash
# podman with mirrors in registries.conf: pull, upstream gone, pull again; push and pull of a private image
source "$(dirname "$0")/../lib.sh"
needs_root podman
needs podman docker-registry skopeo curl python3

ports upstream second port nowhere
registry2 upstream "$upstream"
registry2 second "$second"
make_image "$WORK/images" one
make_image "$WORK/images" two --platforms linux/amd64,linux/arm64
publish "$WORK/images:one" "127.0.0.1:$upstream/library/one:1"
publish "$WORK/images:two" "127.0.0.1:$second/org/two:1"

entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
    registry.example: {endpoints: ["http://127.0.0.1:$second"]}
YAML

# podman sends no ?ns=, so the second registry's name is the first part of the mirror's path. No server listens at
# the addresses of the registries themselves.
podman_with <<TOML
unqualified-search-registries = ["docker.io"]
short-name-mode = "permissive"

[[registry]]
prefix = "docker.io"
location = "127.0.0.1:$nowhere/docker.io"
insecure = true
[[registry.mirror]]
location = "127.0.0.1:$port"
insecure = true

[[registry]]
prefix = "registry.example"
location = "127.0.0.1:$nowhere/registry.example"
insecure = true
[[registry.mirror]]
location = "127.0.0.1:$port/registry.example"
insecure = true
TOML

one=$(digest_of "127.0.0.1:$upstream" library/one 1)
two=$(digest_of "127.0.0.1:$second" org/two 1)

step "pull through the mirror"
podman_pull docker.io/library/one:1
podman_has docker.io/library/one:1 "$one"
podman_pull registry.example/org/two:1
podman_has registry.example/org/two:1 "$two"

step "a push to a mirrored name is refused, and the message has the local patterns"
refused 'local/\*\*' podman push --tls-verify=false registry.example/org/two:1 "127.0.0.1:$port/docker.io/library/one:1"

step "pull again with the upstreams gone"
stop upstream
stop second
client podman rmi --all --force
same "" "$(podman images --quiet)" "images left after rmi"
podman_pull docker.io/library/one:1
podman_has docker.io/library/one:1 "$one"
podman_pull registry.example/org/two:1
podman_has registry.example/org/two:1 "$two"

step "push, rmi, pull of a private image"
client podman push --tls-verify=false docker.io/library/one:1 "127.0.0.1:$port/local/team/one:1"
client podman rmi --all --force
podman_pull --tls-verify=false "127.0.0.1:$port/local/team/one:1"
podman_has "127.0.0.1:$port/local/team/one:1" "$(digest_of "127.0.0.1:$port" local/team/one 1)"

step "list its tags"
client podman search --tls-verify=false --list-tags "127.0.0.1:$port/local/team/one"
