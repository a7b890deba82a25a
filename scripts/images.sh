#!/usr/bin/env bash
# Make the images of the demo and the tests. Only what is missing or out of date is built.
#
#   scripts/images.sh            all test images
#   scripts/images.sh demo       one image for the demo; prints its name to stdout
#
#   fumehood/test-python           Debian with Python, bash, git, curl and a wheel of pip; runs as root
#   fumehood/test-python-nonroot   the same, USER user (uid 1000)
#   fumehood/test-busybox          static busybox; no /etc/passwd, no /tmp
#   fumehood/test-scratch          one static binary, /hello, and nothing else
#
# On Debian and Ubuntu no registry is needed: packages are enough. On other machines two of them are
# built from public images. The recipe's hash is a label of the image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

readonly suite=bookworm
readonly public_image=python:3.13-slim
readonly label=fumehood-test-recipe
readonly work=.build/images
readonly python=${PYTHON:-.venv/bin/python}

# is_current IMAGE RECIPE: the engine has the image, made by this very recipe.
is_current() {
    [[ $(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null) == "$2" ]]
}

# recipe FUNCTION… [FILE…]: a hash of the functions' text and of the files that they use.
recipe() {
    local item
    for item in "$@"; do
        if [[ $(type -t "$item") == function ]]; then declare -f "$item"; else cat "$item"; fi
    done | (sha256sum 2>/dev/null || shasum -a 256) | cut -c1-16
}

# can_have COMMAND PACKAGE: the command is there, or was just installed.
can_have() {
    have "$1" && return
    if has_apt && is_root; then apt_install "$2"; else return 1; fi
}

# Ask the public registry with a short patience: without a network this must fail in seconds.
registry_answers() {
    "$python" - <<'PYTHON' 2>/dev/null
import urllib.error, urllib.request
try:
    urllib.request.urlopen("https://registry-1.docker.io/v2/", timeout=3)
except urllib.error.HTTPError as error:
    raise SystemExit(error.code != 401)
PYTHON
}

# from_dockerfile IMAGE NAME RECIPE: build it from public images, without a build context.
from_dockerfile() {
    local image=$1 file=tests/images/$2.Dockerfile
    # `docker build` cannot tell in time that no registry answers.
    registry_answers || die "$image cannot be made: no image registry answers" \
        "On Debian and Ubuntu, mmdebstrap and busybox-static (apt-get install) are enough for it."
    step "build $image from $file" build_from "$file" --label "$label=$3" --tag "$image"
}

# The file is all of the build: there is no context to send.
build_from() { docker build --quiet "${@:2}" - <"$1"; }

# --- Debian with Python -----------------------------------------------------------------------

# shellcheck disable=SC2016 # "$1" in a hook is for mmdebstrap to fill: the new root directory
python_rootfs() {
    mmdebstrap --quiet --variant=minbase \
        --include=python3,bash,git,curl,python3-pip-whl,procps,coreutils,findutils,tar \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='ln -s python3 "$1/usr/bin/python"' \
        --customize-hook='chroot "$1" useradd --create-home --uid 1000 --shell /bin/bash user' \
        --customize-hook='chroot "$1" useradd --no-create-home --uid 65532 --shell /bin/bash nonroot' \
        "$suite" "$1"
}

build_python() {
    local image=fumehood/test-python id
    id=$(recipe build_python python_rootfs tests/images/python.Dockerfile)
    is_current $image "$id" && return
    can_have mmdebstrap mmdebstrap || { from_dockerfile $image python "$id" && return; }
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || apt_install debian-archive-keyring
    step "Debian $suite with Python" python_rootfs "$work/python.tar"
    step "import $image" docker import \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV LANG=C.UTF-8' \
        --change 'CMD ["python3"]' \
        --change "LABEL $label=$id" \
        "$work/python.tar" $image
    rm -f "$work/python.tar"
}

commit_nonroot() {
    local container
    container=$(docker create --network none fumehood/test-python true)
    docker commit --change 'USER user' --change 'WORKDIR /home/user' --change "LABEL $label=$1" \
        "$container" fumehood/test-python-nonroot
    docker rm "$container"
}

build_nonroot() {
    local id
    # It shares the layers of the image above, so it follows it.
    id=$(recipe build_nonroot commit_nonroot)-$(docker image inspect --format '{{.Id}}' fumehood/test-python)
    is_current fumehood/test-python-nonroot "$id" && return
    step "tag fumehood/test-python-nonroot" commit_nonroot "$id"
}

# --- busybox ----------------------------------------------------------------------------------

busybox_rootfs() {
    local root applet
    root=$(mktemp -d)
    mkdir "$root/bin"
    install -m 0755 "$(command -v busybox)" "$root/bin/busybox"
    for applet in $(busybox --list); do
        [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
    done
    tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
        --directory "$root" --file "$1" bin
    rm -rf "$root"
}

build_busybox() {
    local image=fumehood/test-busybox id
    id=$(recipe build_busybox busybox_rootfs tests/images/busybox.Dockerfile)
    is_current $image "$id" && return
    can_have busybox busybox-static || { from_dockerfile $image busybox "$id" && return; }
    # A dynamic busybox would not run in an image that has no libc.
    ! ldd "$(command -v busybox)" >/dev/null 2>&1 || apt_install busybox-static
    step "busybox root" busybox_rootfs "$work/busybox.tar"
    step "import $image" docker import \
        --change 'ENV PATH=/bin' --change 'CMD ["sh"]' --change "LABEL $label=$id" \
        "$work/busybox.tar" $image
    rm -f "$work/busybox.tar"
}

# --- scratch ----------------------------------------------------------------------------------

scratch_rootfs() {
    local root
    root=$(mktemp -d)
    case $(docker version --format '{{.Server.Arch}}') in
    amd64) local target=x86_64-linux-musl ;;
    arm64) local target=aarch64-linux-musl ;;
    *) die "the engine's architecture is neither amd64 nor arm64" ;;
    esac
    "$python" -m ziglang cc -target "$target" -std=gnu11 -Os -static -s -Wall -Wextra \
        -o "$root/hello" tests/images/hello.c
    chmod 0755 "$root/hello"
    tar --create --mtime=@0 --owner=0 --group=0 --numeric-owner \
        --directory "$root" --file "$1" hello
    rm -rf "$root"
}

build_scratch() {
    local image=fumehood/test-scratch id
    id=$(recipe build_scratch scratch_rootfs tests/images/hello.c)
    is_current $image "$id" && return
    [[ -x $python ]] || die "$python is missing" "Run 'make images': it makes the environment first."
    step "static binary /hello" scratch_rootfs "$work/scratch.tar"
    step "import $image" docker import \
        --change 'CMD ["/hello"]' --change "LABEL $label=$id" "$work/scratch.tar" $image
    rm -f "$work/scratch.tar"
}

# --- the demo's -------------------------------------------------------------------------------

demo_image() {
    if docker image inspect $public_image >/dev/null 2>&1; then
        echo $public_image
    elif docker image inspect fumehood/test-python >/dev/null 2>&1; then
        build_python
        echo fumehood/test-python
    elif registry_answers && (step "pull $public_image" bounded 120 docker pull -q $public_image); then
        echo $public_image
    else
        say "  no image registry answers: building an image from Debian's packages"
        build_python
        echo fumehood/test-python
    fi
}

mkdir -p "$work"
# Two runs at once (two terminals) must not build the same image twice.
exec 9>"$work/.lock"
! have flock || flock 9

case ${1:-all} in
demo) demo_image ;;
all)
    build_python
    build_nonroot
    build_busybox
    build_scratch
    ;;
*) die "unknown argument $1" "Use 'demo' or nothing." ;;
esac
