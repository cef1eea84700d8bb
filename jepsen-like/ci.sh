#!/usr/bin/env bash
# Fault injection against the release binaries (`cargo build --release --workspace`). CI runs `short` with each change;
# `long` has more rounds, and the controls: a node that acknowledges before it syncs, and a disk that drops syncs, must
# be seen to lose.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
jepsen="$target/release/jepsen-like"
# Prints the test that is not run, and the reason; with NO_SKIP that fails.
skip() { echo "SKIPPED: $1"; [ -z "${NO_SKIP:-}" ]; }
# rounds SHORT LONG: as many as this run has.
length=${1:-short}
rounds() { if [ "$length" = long ]; then echo "$2"; else echo "$1"; fi; }

if [ "$length" = long ]; then
    # The control first, and moved away: a node that loses data is never left under the real one's name.
    cargo build --release --workspace --features gophership/ack-before-sync
    mv "$target/release/gophership" "$target/release/gophership-acks-early"
    cargo build --release --workspace
fi
"$jepsen" kill-loop --rounds "$(rounds 6 20)" --connections 4
"$jepsen" clean-restart --rounds 2
"$jepsen" disk-full --rounds 1
"$jepsen" bit-flip --rounds 1
"$jepsen" export-kill --rounds "$(rounds 1 3)"
"$jepsen" sink-answers --seconds 15
"$jepsen" disk-tiers
"$jepsen" cluster kill --rounds "$(rounds 5 20)"
"$jepsen" cluster wipe --rounds 1
"$jepsen" cluster alone --rounds "$(rounds 1 3)"
if [ "$length" = long ]; then
    "$jepsen" cluster kill --nodes 5 --rounds 10
    "$jepsen" cluster pause --rounds 6
    "$jepsen" cluster takeover --rounds 3
    if ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1; then
        "$jepsen" cluster clock --rounds 6
    else
        skip "wrong clocks need libfaketime"
    fi
fi
if command -v strace >/dev/null; then
    "$jepsen" sync-error --rounds "$(rounds 2 5)"
    "$jepsen" bad-sector --rounds 1
else
    skip "sync-error and bad-sector need strace"
fi
if [ "$(id -u)" = 0 ]; then
    "$jepsen" power-cut --rounds "$(rounds 8 20)"
    "$jepsen" disk-full --by filler --rounds 1
    "$jepsen" cluster power-cut --rounds "$(rounds 2 10)"
    if command -v nft >/dev/null; then
        if [ "$length" = long ]; then
            "$jepsen" cluster cut --rounds 27
            "$jepsen" cluster cut --nodes 5 --rounds 9
            "$jepsen" cluster mixed --rounds 30
            "$jepsen" cluster pairs --rounds 1
        else
            "$jepsen" cluster cut --rounds 4 --seconds 8 --cut leader --cut deaf-leader --cut mute --cut loss
        fi
    else
        skip "cut links need nft"
    fi
    if [ "$length" = long ]; then
        "$jepsen" power-cut --rounds 3 --skip-syncs
        "$jepsen" power-cut --rounds 30 --expect-loss --node "$target/release/gophership-acks-early"
    fi
else
    skip "power cuts, full file systems and cut links need root"
fi
