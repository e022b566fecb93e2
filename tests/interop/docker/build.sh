#!/usr/bin/env bash
# docker build FROM a mirrored image and FROM a pushed one; push, rmi, pull
source "$(dirname "$0")/../lib.sh"
needs_root dockerd
needs dockerd docker containerd runc docker-registry skopeo curl python3

ports upstream port
host=127.0.0.1:$port
registry2 upstream "$upstream"
make_image "$WORK/images" base --megabytes 4
publish "$WORK/images:base" "127.0.0.1:$upstream/team/base:1"

entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
YAML
dockerd_with "{\"registry-mirrors\": [\"http://$host\"]}"
# Without its plugin, docker has only the classic builder, which must be chosen explicitly.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0

# build TAG FROM FILE: builds an image that adds FILE, with its name as content, to FROM. No step runs a program,
# since the image contains none.
build() {
    local context=$WORK/tmp/context
    rm -rf "$context"
    mkdir "$context"
    echo "$3" >"$context/$3"
    cat >"$context/Dockerfile" <<DOCKERFILE
FROM $2
LABEL made=here
ENV WORD=$3
COPY $3 /data/
CMD ["/bin/hello"]
DOCKERFILE
    client docker build --pull --tag "$1" "$context"
}
# holds IMAGE FILE...: checks that a container of the image has these files and those of the base.
holds() {
    local image=$1 file
    shift
    client docker create --name probe "$image"
    client docker cp probe:/etc/nonce "$WORK/tmp/nonce"
    same "$NONCE" "$(<"$WORK/tmp/nonce")" "the base's file in $image"
    for file in "$@"; do
        client docker cp "probe:/data/$file" "$WORK/tmp/copied"
        same "$file" "$(<"$WORK/tmp/copied")" "the file that the build added to $image"
    done
    client docker rm probe
}
# forget: removes everything from the daemon.
forget() {
    client docker system prune --all --force
    same "" "$(docker images --quiet --all)" "images left after prune"
}

step "build FROM a mirrored image, push"
build "$host/local/team/app:1" team/base:1 first
client docker push "$host/local/team/app:1"
first=$(docker images --quiet --no-trunc "$host/local/team/app:1")

step "pull the built image"
forget
client docker pull "$host/local/team/app:1"
same "$first" "$(docker images --quiet --no-trunc "$host/local/team/app:1")" "the image's id"
holds "$host/local/team/app:1" first

step "build FROM the pushed image, with the upstream gone"
stop upstream
forget
build "$host/local/team/app:2" "$host/local/team/app:1" second
client docker push "$host/local/team/app:2"
forget
client docker pull "$host/local/team/app:2"
holds "$host/local/team/app:2" first second

step "build FROM the mirrored image once more, with the upstream gone"
forget
build "$host/local/team/app:3" team/base:1 third
holds "$host/local/team/app:3" third
