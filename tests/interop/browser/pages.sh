#!/usr/bin/env bash
# Chromium: pushed scripts do not run, pages of other origins change nothing, and a UI on another origin lists and deletes
source "$(dirname "$0")/../lib.sh"
needs chromedriver chromium python3 curl

ports driver upstream port second page third
spawn chromedriver chromedriver --port="$driver"
ready chromedriver curl -sf "http://127.0.0.1:$driver/status"
pages() {
    client python3 "$INTEROP/browser/pages.py" "$driver" "$@"
}
entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$upstream"]}
YAML

step "scripts in manifests and blobs do not run"
pages scripts "$port" "$upstream"

step "a page of another origin and a rebound page change nothing"
pages deputy "$port"

# A UI that reads answers and deletes needs these headers.
cors="Access-Control-Allow-Origin: ['http://ui.example:$page'], Access-Control-Allow-Methods: ['HEAD, GET, OPTIONS, DELETE'],
  Access-Control-Allow-Headers: ['Authorization, Accept, Cache-Control'], Access-Control-Expose-Headers: [Docker-Content-Digest]"

step "a UI on another origin lists and deletes with a login"
# The password of alice is `secret`.
echo "alice:\$2y\$05\$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92" >"$WORK/users"
cat >"$WORK/cors.yml" <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $WORK/cors}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$second", headers: {$cors}}
auth: {htpasswd: {realm: test, path: $WORK/users}}
YAML
entrepot_again "$second" cors
pages ui "$second" "$page"

# The UI's code is not part of this repository: JOXIT_UI names the `dist` directory of github.com/Joxit/docker-registry-ui.
if [[ -n ${JOXIT_UI:-} ]]; then
    step "Joxit's registry UI lists and deletes"
    cat >"$WORK/joxit.yml" <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $WORK/joxit}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$third", headers: {$cors}}
YAML
    entrepot_again "$third" joxit
    pages joxit "$third" "$page" "$JOXIT_UI"
else
    echo "    Joxit's registry UI itself is not tested: set JOXIT_UI to its dist directory"
fi
