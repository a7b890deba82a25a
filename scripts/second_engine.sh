#!/usr/bin/env bash
# Run a command against a second, newer Docker engine, beside the machine's own.
#
#   scripts/second_engine.sh COMMAND…     start it, run the command with DOCKER_HOST set, end it
#   scripts/second_engine.sh --path       unpack it only, and print the directories of its programs
#
# On Debian, as root: dockerd and containerd are unpacked from the packages of a newer Debian into a folder
# and run from there, with this machine's runc, a socket, a data root and a bridge of their own. Nothing
# is installed. The images of the tests are copied from the engine that answers now. The command also gets
# FUMEHOOD_ENGINE_PATH, by which the fault suite's own engines are of the same release:
#
#   FUMEHOOD_ENGINE_PATH=$(scripts/second_engine.sh --path) .venv/bin/pytest tests/faults
#
# With FUMEHOOD_RUNTIME the engine has that runtime beside runc, and the hostile suite's sessions run in it.
# A runtime goes with engines of its own age (crun of Debian 12 does not know what Docker 26 asks of it), so
# FUMEHOOD_ENGINE_RELEASE can also be "installed": the release that this machine has.
#
#   FUMEHOOD_RUNTIME=crun FUMEHOOD_ENGINE_RELEASE=installed scripts/second_engine.sh .venv/bin/pytest tests/hostile
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

readonly release=${FUMEHOOD_ENGINE_RELEASE:-trixie}
readonly runtime=${FUMEHOOD_RUNTIME:-}
readonly packages=$PWD/.build/engine-$release
if [[ $release == installed ]]; then
    readonly programs=$PATH
else
    readonly programs=$packages/root/usr/bin:$packages/root/usr/sbin
fi
readonly images=(test-python test-python-nonroot test-busybox test-scratch)
readonly patience=60 # seconds until a new dockerd must answer, and until it must have ended

(($# > 0)) || die "no command is given" "For example: scripts/second_engine.sh .venv/bin/pytest tests/contract"
if ! { has_apt && is_root; }; then die "a second engine needs Debian's packages and root"; fi

# Packages of another release, with lists of their own: this machine's apt does not hear of them.
download() {
    mkdir -p "$packages"/apt/{lists/partial,cache/archives/partial,sources}
    printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$release" /usr/share/keyrings/debian-archive-keyring.gpg >"$packages/apt/sources/release.sources"
    local apt=(apt-get -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$packages/apt/sources"
        -o "Dir::State::lists=$packages/apt/lists" -o "Dir::Cache=$packages/apt/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$packages" && rm -f ./*.deb && "${apt[@]}" download docker.io containerd)
    local package
    for package in "$packages"/*.deb; do dpkg-deb --extract "$package" "$packages/root"; done
    rm -f "$packages"/*.deb
}

[[ $release == installed || -x $packages/root/usr/sbin/dockerd ]] || step "unpack Docker of Debian $release" download
if [[ $1 == --path ]]; then
    echo "$programs"
    exit
fi

[[ -z $runtime ]] || have "$runtime" || apt_install "$runtime"

# Short, since a socket's path has little room; not on a tmpfs, since overlayfs would not work there.
place=$(mktemp -d /var/tmp/fumehood-engine.XXXXXX)
readonly place socket=unix://$place/docker.sock bridge=fh${place##*.}
readonly gateway=10.213.$((RANDOM % 254 + 1)).1 # there may be several such engines at a time

finish() {
    local status=$?
    trap - EXIT
    local daemon
    if [[ -s $place/started ]]; then
        daemon=$(<"$place/started")
        kill "$daemon" 2>/dev/null || true
        timeout "$patience" tail --pid="$daemon" -f /dev/null || kill -9 "$daemon" || true
    fi
    ip link delete "$bridge" 2>/dev/null || true
    ((status == 0)) || [[ ! -e $place/log ]] || tail -n 20 "$place/log" >&2
    # Whatever it may have left mounted keeps its files from being removed.
    awk -v place="$place/" 'index($2, place) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n 1 umount || true
    rm -rf --one-file-system "$place"
    exit "$status"
}
trap finish EXIT

# crun refuses a machine where both versions of control groups have controllers, as systemd's hybrid layout has
# when one is left over. Nothing of the engine's needs the second: it does not see it.
apart=()
if [[ -n $runtime && -e /sys/fs/cgroup/unified/cgroup.controllers ]]; then
    apart=(unshare --mount sh -c 'umount /sys/fs/cgroup/unified && exec "$@"' sh)
fi

start() {
    # A bridge of its own: an engine without one would delete the other's.
    ip link add "$bridge" type bridge
    ip address add "$gateway/24" dev "$bridge"
    ip link set "$bridge" up
    PATH=$programs:$PATH setsid "${apart[@]}" dockerd --host "$socket" \
        --data-root "$place/data" --exec-root "$place/exec" --pidfile "$place/pid" \
        ${runtime:+--add-runtime "$runtime=$(command -v "$runtime")"} \
        --bridge "$bridge" --iptables=false --ip6tables=false >"$place/log" 2>&1 </dev/null &
    local daemon=$! waited
    # This is a subshell: whoever ends the engine reads it there.
    echo "$daemon" >"$place/started"
    for ((waited = 0; waited < patience * 5; waited++)); do
        ! bounded 10 docker --host "$socket" version >/dev/null 2>&1 || return 0
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.2
    done
    die "the second engine does not answer"
}

copy_images() {
    local name
    for name in "${images[@]}"; do
        docker save "fumehood/$name" | docker --host "$socket" load --quiet
    done
}

step "start it" start
step "copy the images of the tests" copy_images
say "  $(PATH=$programs:$PATH dockerd --version)"
DOCKER_HOST=$socket FUMEHOOD_ENGINE_PATH=$programs "$@"
