#!/usr/bin/env bash
# Make sure that a Docker engine answers.
#
#   scripts/engine.sh            start one if none answers; prints what it found to stderr
#   scripts/engine.sh --stop     end the engine that this script started, and no other
#
# On Debian and Ubuntu, as root, it installs docker.io and starts dockerd in the background. On any
# other machine it says what to do and fails: starting a daemon there is its owner's decision.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

readonly state=.build/engine
readonly pidfile=$state/dockerd.pid daemon_log=$state/dockerd.log
readonly patience=60 # seconds until a new dockerd must answer

# The engine that docker's own client would use: DOCKER_HOST, its context, or the default socket.
answers() { have docker && bounded 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

is_ours() {
    [[ -s $pidfile ]] && local pid && pid=$(<"$pidfile") &&
        [[ $(ps -o comm= -p "$pid" 2>/dev/null) == dockerd ]]
}

stop() {
    is_ours || { say "no engine was started here"; return 0; }
    local pid
    pid=$(<"$pidfile")
    kill "$pid"
    # `tail --pid` returns when the process is gone: no polling of our own.
    timeout 30 tail --pid="$pid" -f /dev/null || die "dockerd (pid $pid) did not end within 30 s"
    rm -f "$pidfile"
    say "dockerd (pid $pid) ended"
}

install_engine() {
    if ! { has_apt && is_root; }; then
        die "no Docker engine answers" \
            "Start the one you have (Docker Desktop, 'systemctl start docker', 'colima start'), or" \
            "install one: https://docs.docker.com/engine/install/ and then run this command again." \
            "'docker version' must show a server: your user needs access to its socket."
    fi
    apt_install docker.io iptables procps
    # From Debian 13 on the client is a package of its own.
    have docker || apt_install docker-cli
}

start() {
    mkdir -p "$state"
    # The package may have started it through the machine's service manager.
    if have systemctl && [[ -d /run/systemd/system ]]; then
        systemctl start docker || true
    else
        # Its own session and no terminal: Ctrl-C in `make` must not reach it.
        setsid dockerd >"$daemon_log" 2>&1 </dev/null &
        echo $! >"$pidfile"
    fi
    local waited
    for ((waited = 0; waited < patience * 5; waited++)); do
        ! answers || return 0
        [[ ! -s $pidfile ]] || is_ours || break
        sleep 0.2
    done
    [[ ! -e $daemon_log ]] || tail -n 20 "$daemon_log" >&2
    die "dockerd does not answer" "Its log is $PWD/$daemon_log"
}

case ${1:-} in
--stop) stop ;;
"")
    answers && exit 0
    [[ -z ${DOCKER_HOST:-} ]] ||
        die "no engine answers at DOCKER_HOST=$DOCKER_HOST" "Unset it to use one on this machine."
    install_engine
    answers && exit 0
    step "start dockerd" start
    say "  a Docker engine was started; 'make engine-stop' ends it (log: $daemon_log)"
    ;;
*) die "unknown option $1" "Use --stop or nothing." ;;
esac
