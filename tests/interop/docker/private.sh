#!/usr/bin/env bash
# docker login, tag, push, rmi, pull of a private image; a refused push shows the reason
source "$(dirname "$0")/../lib.sh"
needs_root dockerd
needs dockerd docker containerd runc htpasswd curl python3

ports port nowhere
htpasswd -Bbc "$WORK/htpasswd" alice correct-horse 2>/dev/null
entrepot "$port" <<YAML
auth: {htpasswd: {realm: entrepot, path: "$WORK/htpasswd"}}
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$nowhere"]}
YAML
dockerd_with '{}'
host=127.0.0.1:$port

mkdir -p "$WORK/files/data"
echo "$NONCE" >"$WORK/files/nonce"
head -c 5000000 /dev/urandom >"$WORK/files/data/random"
tar -C "$WORK/files" -cf "$WORK/files.tar" .
client docker import --change 'CMD ["/hello"]' "$WORK/files.tar" source:1
image=$(docker images --quiet --no-trunc source:1)

step "push without login"
client docker tag source:1 "$host/local/team/app:1"
refused 'no basic auth|unauthorized|authentication required|denied' docker push "$host/local/team/app:1"

step "login with a wrong password"
refused '401|unauthorized|incorrect' docker login --username alice --password-stdin "$host" <<<wrong-horse
refused '401|unauthorized|incorrect' docker login --username mallory --password-stdin "$host" <<<correct-horse

step "login, push, rmi, pull"
client docker login --username alice --password-stdin "$host" <<<correct-horse
client docker push "$host/local/team/app:1"
client docker rmi source:1 "$host/local/team/app:1"
same "" "$(docker images --quiet)" "images left after rmi"
client docker pull "$host/local/team/app:1"
same "$image" "$(docker images --quiet --no-trunc "$host/local/team/app:1")" "the image's id"

step "a second name shares the layers"
client docker tag "$host/local/team/app:1" "$host/local/other/app:2"
client docker push "$host/local/other/app:2"
same '{"name":"local/other/app","tags":["2"]}' \
    "$(curl -sf -u alice:correct-horse "http://$host/v2/local/other/app/tags/list" | tr -d ' \n')" "the tags"

step "the image is there after a restart"
stop entrepot
entrepot_again "$port"
client docker rmi "$host/local/team/app:1" "$host/local/other/app:2"
client docker pull "$host/local/other/app:2"
same "$image" "$(docker images --quiet --no-trunc "$host/local/other/app:2")" "the image's id"

step "a push to a mirrored name is refused, and the message has the local patterns"
for name in docker.io/library/x library/x x; do
    client docker tag "$host/local/other/app:2" "$host/$name:1"
    refused 'denied: .*local/\*\*' docker push "$host/$name:1"
done

step "no pull without a login"
client docker logout "$host"
client docker rmi --force "$image"
refused 'no basic auth|unauthorized|authentication required|denied' docker pull "$host/local/other/app:2"
