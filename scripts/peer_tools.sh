#!/usr/bin/env bash
# Make programs that some peers of `make bench-peers` need, without installing anything.
#
#   scripts/peer_tools.sh     unpack what this machine lacks; print the directory that holds it
#
# These are bubblewrap, and Docker Compose as a plugin of the command line (inspect-ai starts its
# containers with it, and asks for 2.21 or newer). On Debian, as root, they are unpacked from Debian's
# packages into a folder of .build. Elsewhere nothing is done: a peer without its program is left out
# of the run, and the page says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

readonly place=$PWD/.build/peers/tools
readonly compose_release=trixie # the first with a Compose that is new enough
readonly plugin=usr/libexec/docker/cli-plugins/docker-compose

# unpack RELEASE PACKAGE: with lists of their own, since this machine's apt need not hear of them.
unpack() {
    local release=$1 package=$2 lists=$place/apt/$1
    mkdir -p "$lists"/{lists/partial,cache/archives/partial,sources,packages}
    printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$release" /usr/share/keyrings/debian-archive-keyring.gpg >"$lists/sources/release.sources"
    local apt=(apt-get -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$lists/sources"
        -o "Dir::State::lists=$lists/lists" -o "Dir::Cache=$lists/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$lists/packages" && "${apt[@]}" download "$package")
    dpkg-deb --extract "$lists/packages/$package"_*.deb "$place/root"
    rm -rf "$lists"
}

can_unpack() { has_apt && is_root; }

mkdir -p "$place/root"
if ! have bwrap && [[ ! -x $place/root/usr/bin/bwrap ]] && can_unpack; then
    # Of this machine's own release: it is linked to libraries that are here.
    step "unpack bubblewrap" unpack "$(. /etc/os-release && echo "$VERSION_CODENAME")" bubblewrap
fi
if ! docker compose version >/dev/null 2>&1 && [[ ! -x $place/root/$plugin ]] && can_unpack; then
    step "unpack Docker Compose of Debian $compose_release" unpack "$compose_release" docker-compose
fi
# A directory of settings for the command line, in which it looks for plugins.
if [[ -x $place/root/$plugin ]]; then
    mkdir -p "$place/docker/cli-plugins"
    ln -sf "$place/root/$plugin" "$place/docker/cli-plugins/docker-compose"
fi
echo "$place"
