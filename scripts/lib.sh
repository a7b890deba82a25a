# shellcheck shell=bash
# Read by the set-up scripts: how they speak, and what they know of the machine.

# Every message goes to stderr: the standard output of a script is its answer.
say() { printf '%s\n' "$*" >&2; }

# Say what went wrong and what to do next, then end.
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf '  %s\n' "$@" >&2
    exit 1
}

# Microseconds; a bash before version 5 (macOS brings one) counts whole seconds.
now() {
    local time=${EPOCHREALTIME:-$(date +%s).000000}
    printf '%s' "${time/[.,]/}"
}

# bounded SECONDS COMMAND…: end it when it takes longer, where the machine has a tool for that.
bounded() {
    if have timeout; then timeout "$@"; else "${@:2}"; fi
}

# step NAME COMMAND…: run it and say how long it took. Its output is shown when it fails.
step() {
    local name=$1 started log status
    shift
    started=$(now)
    log=$(mktemp)
    # Not `"$@" || status=$?`: that would switch -e off inside a function that is the command.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    status=$?
    set -e
    local tenths=$((($(now) - started) / 100000))
    if ((status != 0)); then
        tail -n 40 "$log" >&2
        rm -f "$log"
        die "$name failed after $((tenths / 10)).$((tenths % 10)) s (exit code $status)"
    fi
    rm -f "$log"
    printf '  %-52s %6s s\n' "$name" "$((tenths / 10)).$((tenths % 10))" >&2
}

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [[ $(id -u) == 0 ]]; }

has_apt() { have apt-get && [[ -e /etc/debian_version ]]; }

# The package lists are fetched at most once in one run of a script.
apt_lists_are_fresh=""

# apt_install PACKAGE…: install what is missing, without asking. Needs root.
apt_install() {
    local package missing=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done
    ((${#missing[@]} > 0)) || return 0
    if [[ -z $apt_lists_are_fresh ]]; then
        # A source that does not answer (a vendor's, say) must not stop what Debian's own can give.
        step "apt-get update" bash -c 'apt-get update -q || true'
        apt_lists_are_fresh=yes
    fi
    step "apt-get install ${missing[*]}" \
        env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
}
