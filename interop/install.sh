#!/usr/bin/env bash
# Installs the foreign peers that the tests in this folder talk to, under target/interop:
#   venv     the Python OpenTelemetry SDK, grpcio, h2 and rotel, at the versions of requirements.txt
#   otelcol  the OpenTelemetry Collector, built from the Go module proxy (collector-build.yaml)
# and, where they are missing, h2load, lz4, zstd and protoc from Debian. `interop/install.sh rolling` also installs what
# only rolling.py needs: haproxy from Debian, and
#   go_sdk   a client with the Go OpenTelemetry SDK (go_sdk/)
# What is there already is left alone.
set -euo pipefail

rolling=${1:-}
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}/interop
collector_version=v0.165.0
mkdir -p "$target"
target=$(cd "$target" && pwd)

step() { # NAME COMMAND...: runs it, says how long it took
    local name=$1 start=$SECONDS
    shift
    "$@"
    echo "install: $name: done in $((SECONDS - start)) s"
}

debian_packages() {
    local missing=()
    command -v h2load >/dev/null || missing+=(nghttp2-client)
    command -v lz4 >/dev/null || missing+=(lz4)
    command -v zstd >/dev/null || missing+=(zstd)
    command -v protoc >/dev/null || missing+=(protobuf-compiler)
    [ "$rolling" != rolling ] || command -v haproxy >/dev/null || missing+=(haproxy)
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "install: not installed, no apt-get here: ${missing[*]}"
        return
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

python_venv() {
    if cmp -s "$here/requirements.txt" "$target/venv/.installed"; then
        return
    fi
    python3 -m venv "$target/venv"
    "$target/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$target/venv/.installed"
}

collector() {
    if [ -x "$target/otelcol" ] && cmp -s "$here/collector-build.yaml" "$target/otelcol.yaml"; then
        return
    fi
    if ! command -v go >/dev/null; then
        echo "install: not built, no go here: otelcol"
        return
    fi
    GOBIN="$target/bin" go install "go.opentelemetry.io/collector/cmd/builder@$collector_version"
    (cd "$target" && bin/builder --config "$here/collector-build.yaml" >otelcol-build.log 2>&1) ||
        { tail -n 30 "$target/otelcol-build.log"; return 1; }
    mv "$target/otelcol-src/otelcol" "$target/otelcol"
    cp "$here/collector-build.yaml" "$target/otelcol.yaml"
    rm -rf "$target/otelcol-src"
}

go_sdk() {
    if ! command -v go >/dev/null; then
        echo "install: not built, no go here: go_sdk"
        return
    fi
    (cd "$here/go_sdk" && go build -o "$target/go_sdk" .)
}

step "Debian packages" debian_packages
step "Python venv" python_venv
step "OpenTelemetry Collector $collector_version" collector
[ "$rolling" != rolling ] || step "Go SDK client" go_sdk
