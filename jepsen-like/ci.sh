#!/usr/bin/env bash
# A short fault-injection run against the release binaries, and its control: a node that acknowledges before it syncs must be seen to lose.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
jepsen="$target/release/jepsen-like"
# Says what is not run and why; with NO_SKIP that fails.
skip() { echo "SKIPPED: $1"; [ -z "${NO_SKIP:-}" ]; }

# The control first, and moved away: a node that loses data is never left under the real one's name.
cargo build --release -p gophership --features ack-before-sync
mv "$target/release/gophership" "$target/release/gophership-acks-early"
cargo build --release -p gophership -p gs-ctl -p jepsen-like
"$jepsen" kill-loop --rounds 20 --connections 4
"$jepsen" clean-restart --rounds 2
"$jepsen" disk-full --rounds 1
"$jepsen" bit-flip --rounds 1
"$jepsen" export-kill --rounds 3
"$jepsen" sink-answers --seconds 15
"$jepsen" disk-tiers
if command -v strace >/dev/null; then
    "$jepsen" sync-error --rounds 5
    "$jepsen" bad-sector --rounds 1
else
    skip "sync-error and bad-sector need strace"
fi
if [ "$(id -u)" = 0 ]; then
    "$jepsen" power-cut --rounds 20
    "$jepsen" disk-full --by filler --rounds 1
    "$jepsen" power-cut --rounds 3 --skip-syncs
    "$jepsen" power-cut --rounds 30 --expect-loss --node "$target/release/gophership-acks-early"
else
    skip "power cuts and full file systems need root"
fi
