#!/usr/bin/env bash
# Run every linter and every check of generated files; report all that fail, not only the first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
PATH=$PWD/.venv/bin:$PATH

failed=()

check() {
    local name=$1 output status=0 started verdict=ok
    shift
    started=$(now)
    output=$("$@" 2>&1 </dev/null) || status=$?
    if ((status != 0)); then
        verdict=FAILED
        failed+=("$name")
        printf '%s\n' "$output"
    fi
    local tenths=$((($(now) - started) / 100000))
    printf '  %-44s %-6s %4d.%d s\n' "$name" "$verdict" $((tenths / 10)) $((tenths % 10))
}

check "ruff check" ruff check --no-cache .
check "ruff format" ruff format --no-cache --check .
check "mypy --strict" mypy
check "pyright strict" pyright
check "pyright: the public API is fully typed" python scripts/verify_types.py
check "import-linter" lint-imports --no-cache
check "shellcheck" shellcheck --external-sources scripts/*.sh .ci/run
check "uv.lock names public sources only" python scripts/check_lock.py
check "protocol: generated files are current" python protocol/generate.py --check
check "promises: each has its tests, and each case its promise" python scripts/promises.py --check
check "golden vectors are current" python protocol/vectors/make.py --check
check "blocking API: generated files are current" python scripts/generate_sync.py --check

if ((${#failed[@]} > 0)); then
    die "$(printf '%s, ' "${failed[@]}")failed"
fi
