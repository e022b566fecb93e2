# Functions that .ci/run and .ci/nightly share. A script sources this file in the repository's root, and then calls
# `section NAME COMMAND…` for each check. The first check that fails ends the script; the times of all sections are printed.
# shellcheck shell=bash

export CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never DEBIAN_FRONTEND=noninteractive
export PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
# shellcheck disable=SC2034  # the scripts use it
target=${CARGO_TARGET_DIR:-target}
timings=()
current=start
as_root=()
((EUID == 0)) || as_root=(sudo "--preserve-env=DEBIAN_FRONTEND,PATH")

section() {
    local begin=$SECONDS name=$1
    shift
    echo
    echo "##### $name"
    current=$name
    "$@"
    timings+=("$(printf '%5d s  %s' $((SECONDS - begin)) "$name")")
    current=
}

finish() {
    local status=$?
    echo
    ((${#timings[@]} == 0)) || printf '%s\n' "${timings[@]}"
    if ((status == 0)); then
        echo "all passed after $SECONDS s"
    else
        echo "FAILED in \"$current\" after $SECONDS s"
    fi
}
trap finish EXIT

# install COMMAND:PACKAGE...: installs the Debian packages whose commands are missing.
install() {
    local wanted missing=()
    for wanted in "$@"; do
        command -v "${wanted%:*}" >/dev/null || missing+=("${wanted#*:}")
    done
    if ((${#missing[@]} == 0)); then
        echo "everything is installed"
        return
    fi
    echo "installing: ${missing[*]}"
    "${as_root[@]}" apt-get -q update
    "${as_root[@]}" apt-get -q -y install --no-install-recommends "${missing[@]}"
}

# Installs the clients that Debian has.
clients() {
    local docker=docker.io
    # Newer releases have the docker command in a package of its own, which exists only after an update.
    command -v docker >/dev/null || "${as_root[@]}" apt-get -q update
    if apt-cache show docker-cli >/dev/null 2>&1; then docker="docker-cli"; fi
    install curl:curl curl:ca-certificates python3:python3 dockerd:docker.io "docker:$docker" containerd:containerd \
        ctr:containerd runc:runc podman:podman buildah:buildah skopeo:skopeo docker-registry:docker-registry \
        htpasswd:apache2-utils chromium:chromium chromedriver:chromium-driver
}

# interop BINARY CASE...: runs cases as tests/interop/run takes them. A missing client is a failure.
interop() {
    local binary=$1
    shift
    "${as_root[@]}" env "PATH=$PATH" INTEROP_STRICT=1 ENTREPOT="$binary" tests/interop/run "$@"
}
