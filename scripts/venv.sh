#!/usr/bin/env bash
# Make or update .venv from uv.lock, with the extras of fumehood's own parts and every development
# tool. Those of the agent frameworks are large: `make conformance` has environments for them.
#
# uv is taken from PATH; where there is none, it is installed from PyPI into .uv/, for this checkout
# only. On Debian and Ubuntu, as root, a missing python3-venv is installed too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

has_venv() { have python3 && python3 -c 'import venv, ensurepip' >/dev/null 2>&1; }

install_uv() {
    if ! has_venv; then
        { has_apt && is_root; } || die "neither uv nor Python's venv module is on this machine" \
            "Install uv: https://docs.astral.sh/uv/getting-started/installation/"
        apt_install python3 python3-venv ca-certificates
    fi
    step "uv into .uv/" bash -c \
        'python3 -m venv --clear .uv && .uv/bin/python -m pip install --quiet "uv>=0.8"'
}

# uv can fetch a Python of its own, but the system's needs one network address less.
if ! have python3 && has_apt && is_root; then apt_install python3; fi

# A uv that is on PATH but cannot run (a version manager's shim, say) does not count.
uv=uv
if ! uv --version >/dev/null 2>&1; then
    uv=.uv/bin/uv
    "$uv" --version >/dev/null 2>&1 || install_uv
fi

# The environment of another project may be active: this one is always .venv.
sync() { env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.venv "$uv" sync --locked --extra cli --extra egress --extra tools --extra mcp --all-groups "$@"; }

# Nothing to do is the usual case, and a silent one.
sync --quiet --check 2>/dev/null || step "Python environment from uv.lock" sync
