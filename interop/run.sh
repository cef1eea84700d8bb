#!/usr/bin/env bash
# Runs the named interoperability tests (without a name: sdk collector collector_sink segments objects garbage hostile)
# against the built node, and counts the verdicts. With NO_SKIP set a skipped test counts as failed. Further options go
# to each test, e.g.: interop/run.sh sdk -- --records 500
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tests=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    tests+=("$1")
    shift
done
[ $# -gt 0 ] && shift
[ ${#tests[@]} -eq 0 ] && tests=(sdk collector collector_sink segments objects garbage hostile)

passed=0 failed=0 skipped=0
for name in "${tests[@]}"; do
    echo "== $name"
    printed=$(mktemp)
    if python3 "$here/$name.py" "$@" 2>&1 | tee "$printed"; then
        if tail -n 1 "$printed" | grep -q '^SKIPPED'; then
            skipped=$((skipped + 1))
        else
            passed=$((passed + 1))
        fi
    else
        failed=$((failed + 1))
    fi
    rm -f "$printed"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && { [ -z "${NO_SKIP:-}" ] || [ "$skipped" -eq 0 ]; }
