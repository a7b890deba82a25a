#!/usr/bin/env bash
# Make sure that the programs which a kind of test runs are on this machine.
#
#   scripts/tools.sh test          what the Python tests run beside Python
#   scripts/tools.sh supervisor    what the C tests, the analysis and the fuzzers need
#
# On Debian and Ubuntu, as root, what is missing is installed. Elsewhere it is named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

case ${1:-} in
test)
    commands=(gcc make openssl tmux unshare setpriv qemu-aarch64-static)
    packages=(gcc libc6-dev make openssl tmux util-linux qemu-user-static)
    ;;
supervisor)
    commands=(gcc make python3 clang clang-tidy llvm-symbolizer cppcheck)
    packages=(gcc libc6-dev make python3 clang clang-tidy llvm cppcheck)
    ;;
*) die "unknown kind of test: ${1:-none}" "Use 'test' or 'supervisor'." ;;
esac

missing() {
    local command
    for command in "${commands[@]}"; do have "$command" || printf '%s ' "$command"; done
}

# The sanitizers and libFuzzer of the very clang that is there are a package of their own since 14.
clang_runtime() {
    local directory
    directory=$(clang -print-resource-dir 2>/dev/null) || return 1
    compgen -G "$directory/lib/linux/libclang_rt.fuzzer-*" >/dev/null ||
        compgen -G "$directory/lib/*/libclang_rt.fuzzer*" >/dev/null
}

lacks=$(missing)
if [[ -n $lacks ]]; then
    if ! { has_apt && is_root; }; then
        die "this machine lacks: $lacks" "On Debian or Ubuntu: apt-get install ${packages[*]}"
    fi
    apt_install "${packages[@]}"
fi
if [[ $1 == supervisor ]] && ! clang_runtime; then
    runtime=libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev
    if ! { has_apt && is_root; }; then
        die "this clang has no sanitizers or libFuzzer" "On Debian or Ubuntu: apt-get install $runtime"
    fi
    apt_install "$runtime"
fi
