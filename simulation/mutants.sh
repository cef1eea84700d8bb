#!/usr/bin/env bash
# Shows that the tests see a broken rule in the code that runs: builds it with each rule of replication broken in turn,
# and fails unless the test that is named beside it fails. `simulation/mutants.sh FEATURE ...` takes these alone.
#
# The features are off by default and never in a release. What is broken:
#   ack-at-one-copy       The owner acknowledges without any replica.
#   answer-before-sync    A replica answers for frames that it has not synced.
#   ignore-fence          A replica goes on taking the owner's frames of a segment that a recovery has fenced.
#   mark-over-sets        What a replica has of one segment counts for an earlier one, whose replicas are others.
#   seal-with-one-holder  A segment is sealed when one node has all of it.
set -euo pipefail
cd "$(dirname "$0")/.."

# Mutant, test target, test, seeds of the simulation.
mutants="
ack-at-one-copy      sim no_seed_breaks_a_promise 400
answer-before-sync   sim no_seed_breaks_a_promise 400
ignore-fence         sim no_seed_breaks_a_promise 400
mark-over-sets       sim no_seed_breaks_a_promise 400
seal-with-one-holder sim no_seed_breaks_a_promise 400
ack-at-one-copy      seam without_its_only_peer_nothing_is_acknowledged_and_appends_go_on 0
mark-over-sets       seam a_laggard_that_takes_the_next_segment_before_it_has_this_one_acknowledges_nothing 0
seal-with-one-holder seam the_set_changes_at_a_roll_and_a_peer_of_the_next_segment_does_not_acknowledge_this_one 0
"

failed=0
while read -r mutant target test seeds; do
    [ -n "$mutant" ] || continue
    [ $# = 0 ] || [[ " $* " == *" $mutant "* ]] || continue
    build=(cargo test --workspace --features "gophership/mutant-$mutant" --test "$target")
    "${build[@]}" --no-run --quiet
    out=$(mktemp)
    if GS_SIM_SEEDS=$seeds "${build[@]}" --quiet -- --exact "$test" >"$out" 2>&1; then
        echo "$mutant: NOT CAUGHT by $target $test"
        failed=1
    elif grep -q "^test result: FAILED. 0 passed; 1 failed" "$out"; then
        echo "$mutant: caught by $target $test: $(grep -m1 -E '^seed [0-9]+:|panicked at' "$out")"
    else
        echo "$mutant: $target $test did not run:"
        tail -20 "$out"
        failed=1
    fi
    rm "$out"
done <<<"$mutants"
exit $failed
