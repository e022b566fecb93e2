#!/usr/bin/env bash
# skopeo --preserve-digests both ways, all platforms; list, inspect, delete
source "$(dirname "$0")/../lib.sh"
needs docker-registry skopeo curl python3

ports upstream port
registry2 upstream "$upstream"
make_image "$WORK/images" one --megabytes 30
make_image "$WORK/images" many --platforms linux/amd64,linux/arm64,linux/s390x
publish "$WORK/images:one" "127.0.0.1:$upstream/library/one:1"
publish "$WORK/images:many" "127.0.0.1:$upstream/library/many:1"
publish "$WORK/images:one" "127.0.0.1:$upstream/library/schema2:1" --format v2s2

entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
YAML
host=127.0.0.1:$port

copy() {
    client skopeo copy --all --preserve-digests --src-tls-verify=false --dest-tls-verify=false "$@"
}
# same_files DIR DIR: compares two images in skopeo's `dir:` form, which names every blob by its digest.
same_files() {
    diff -r "$1" "$2" >>"$WORK/clients.log" || fail "$1 and $2 differ"
}

step "from an OCI layout into the local namespace, and back"
for image in one many; do
    copy "oci:$WORK/images:$image" "docker://$host/local/team/$image:1"
    copy "oci:$WORK/images:$image" "dir:$WORK/tmp/$image-source"
    copy "docker://$host/local/team/$image:1" "dir:$WORK/tmp/$image-back"
    same_files "$WORK/tmp/$image-source" "$WORK/tmp/$image-back"
    same "$(digest_of "127.0.0.1:$upstream" "library/$image" 1)" "$(digest_of "$host" "local/team/$image" 1)" "the digest of $image"
done

step "from the mirror into a directory"
for image in one many schema2; do
    copy "docker://127.0.0.1:$upstream/library/$image:1" "dir:$WORK/tmp/$image-upstream"
    copy "docker://$host/library/$image:1" "dir:$WORK/tmp/$image-mirror"
    same_files "$WORK/tmp/$image-upstream" "$WORK/tmp/$image-mirror"
done

step "from the mirror with the upstream gone, by its full name and by digest"
digest=$(digest_of "127.0.0.1:$upstream" library/many 1)
stop upstream
copy "docker://$host/docker.io/library/many@$digest" "dir:$WORK/tmp/many-digest"
same_files "$WORK/tmp/many-upstream" "$WORK/tmp/many-digest"

step "from the mirror into the local namespace"
copy "docker://$host/library/schema2:1" "docker://$host/local/kept/schema2:1"
copy "docker://$host/local/kept/schema2:1" "dir:$WORK/tmp/schema2-kept"
same_files "$WORK/tmp/schema2-upstream" "$WORK/tmp/schema2-kept"

step "list, inspect, delete"
same 1 "$(skopeo list-tags --tls-verify=false "docker://$host/local/team/one" | python3 -c 'import json, sys; print(*json.load(sys.stdin)["Tags"])')" "the tags"
client skopeo inspect --tls-verify=false "docker://$host/local/team/one:1"
client skopeo delete --tls-verify=false "docker://$host/local/team/one:1"
refused 'manifest unknown|not found|unknown' skopeo inspect --tls-verify=false "docker://$host/local/team/one:1"

step "a push to a mirrored name is refused, and the message has the local patterns"
refused 'local/\*\*' skopeo copy --dest-tls-verify=false "oci:$WORK/images:one" "docker://$host/library/one:2"
refused 'local/\*\*' skopeo copy --dest-tls-verify=false "oci:$WORK/images:one" "docker://$host/docker.io/library/one:2"
