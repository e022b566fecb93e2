#!/usr/bin/env bash
# helm: push, pull, show and render a chart, by version and by digest; with a login; through the mirror
source "$(dirname "$0")/../lib.sh"
needs helm docker-registry htpasswd curl python3

ports upstream port
host=127.0.0.1:$port
registry2 upstream "$upstream"
htpasswd -Bbc "$WORK/htpasswd" alice correct-horse 2>/dev/null
entrepot "$port" <<YAML
auth: {htpasswd: {realm: entrepot, path: "$WORK/htpasswd"}}
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
YAML

# chart NAME VERSION: writes a package with the run's nonce in its values; $package is its path.
chart() {
    mkdir -p "$WORK/charts"
    [[ -d $WORK/charts/$1 ]] || client helm create "$WORK/charts/$1"
    echo "nonce: \"$NONCE\"" >>"$WORK/charts/$1/values.yaml"
    client helm package --version "$2" --destination "$WORK/charts" "$WORK/charts/$1"
    package=$WORK/charts/$1-$2.tgz
}
# pulled REFERENCE FILE [ARGUMENTS]: checks that helm pulls the package, byte for byte.
pulled() {
    local reference=$1 file=$2
    shift 2
    rm -rf "$WORK/tmp/pulled"
    mkdir "$WORK/tmp/pulled"
    client helm pull --plain-http --destination "$WORK/tmp/pulled" "$reference" "$@"
    cmp "$file" "$WORK"/tmp/pulled/*.tgz >>"$WORK/clients.log" || fail "$reference came back changed"
}

step "push without a login, and with a wrong one"
chart web 1.0.0
one=$package
refused 'basic credential not found|401|[Uu]nauthorized' helm push --plain-http "$one" "oci://$host/local/charts"
refused '401|[Uu]nauthorized' helm registry login --plain-http --username alice --password wrong-horse "$host"
client helm registry login --plain-http --username alice --password correct-horse "$host"

step "push, pull, show, render"
chart web 1.1.0+build.7
two=$package
for package in "$one" "$two"; do client helm push --plain-http "$package" "oci://$host/local/charts"; done
pulled "oci://$host/local/charts/web" "$one" --version 1.0.0
pulled "oci://$host/local/charts/web" "$two" --version 1.1.0+build.7
pulled "oci://$host/local/charts/web" "$two" --version '^1.0'
same "version: 1.0.0" "$(helm show chart --plain-http "oci://$host/local/charts/web" --version 1.0.0 2>>"$WORK/clients.log" | grep '^version:')" "what show says"
helm show values --plain-http "oci://$host/local/charts/web" 2>>"$WORK/clients.log" | grep -q "$NONCE" || fail "the nonce is not among the values"
client helm template --plain-http probe "oci://$host/local/charts/web" --version 1.0.0

step "pull by digest; the media types are helm's own"
digest=$(curl -sf -u alice:correct-horse -H "$ACCEPT" "http://$host/v2/local/charts/web/manifests/1.0.0" | tee "$WORK/tmp/manifest" | sha256sum | cut -d ' ' -f 1)
pulled "oci://$host/local/charts/web@sha256:$digest" "$one"
same application/vnd.cncf.helm.config.v1+json "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["config"]["mediaType"])' "$WORK/tmp/manifest")" "the config's media type"
same "1.0.0 1.1.0_build.7" "$(curl -sf -u alice:correct-horse "http://$host/v2/local/charts/web/tags/list" | python3 -c 'import json, sys; print(*json.load(sys.stdin)["tags"])')" "the tags"

step "a push to a mirrored name is refused, and the message has the local patterns"
refused 'local/\*\*' helm push --plain-http "$one" "oci://$host/library"

step "a chart at the upstream, through the mirror; again with the upstream gone"
chart theirs 2.0.0
client helm push --plain-http "$package" "oci://127.0.0.1:$upstream/charts"
pulled "oci://$host/docker.io/charts/theirs" "$package" --version 2.0.0
stop upstream
pulled "oci://$host/docker.io/charts/theirs" "$package" --version 2.0.0
same "version: 2.0.0" "$(helm show chart --plain-http "oci://$host/docker.io/charts/theirs" --version 2.0.0 2>>"$WORK/clients.log" | grep '^version:')" "what show says"

step "dependencies from this registry"
mkdir -p "$WORK/charts/parent"
cat >"$WORK/charts/parent/Chart.yaml" <<YAML
apiVersion: v2
name: parent
version: 0.1.0
dependencies:
  - {name: web, version: 1.0.0, repository: "oci://$host/local/charts"}
YAML
client helm dependency update --plain-http "$WORK/charts/parent"
cmp "$one" "$WORK/charts/parent/charts/web-1.0.0.tgz" >>"$WORK/clients.log" || fail "the dependency is not the chart"

step "no pull after logout"
client helm registry logout "$host"
refused 'basic credential not found|401|[Uu]nauthorized' helm pull --plain-http --destination "$WORK/tmp" "oci://$host/local/charts/web" --version 1.0.0
