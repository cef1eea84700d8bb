//! The scenarios that need no root, shortened, against the programs of this build: run `cargo build -p gophership -p
//! gs-ctl` first.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use jepsen_like::load::Retry;
use jepsen_like::node::Binaries;
use jepsen_like::report::Report;
use jepsen_like::scenario::{
    Plan, bad_sector, bit_flip, clean_restart, cluster, dead_sink, disk_full, disk_tiers, export_kill, kill_loop,
    sink_answers, sync_error,
};

fn plan(rounds: u32) -> Plan {
    let given = |name| std::env::var_os(name).map(Into::into);
    let binaries = Binaries::find(given("GOPHERSHIP_BIN"), given("GS_CTL_BIN")).unwrap();
    Plan::new(binaries, rand::random(), rounds)
}

fn assert_passed(report: &Report) {
    assert!(report.passed(), "\n{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_nothing() {
    assert_passed(&kill_loop::run(&plan(3)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_with_clients_that_send_the_same_again_gives_only_their_duplicates() {
    let mut plan = plan(2);
    plan.load.retry = Retry::Same;
    assert_passed(&kill_loop::run(&plan).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_restart_loses_nothing() {
    assert_passed(&clean_restart::run(&plan(2)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_vault_refuses_and_recovers() {
    assert_passed(&disk_full::run_limit(&plan(1)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_costs_at_most_its_entry_or_block() {
    assert_passed(&bit_flip::run(&plan(1)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_is_never_acknowledged() {
    assert_passed(&sync_error::run(&plan(2)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_costs_nothing_but_itself() {
    assert_passed(&bad_sector::run(&plan(1)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_one_node_of_three_loses_nothing() {
    assert_passed(&cluster::kill::run(&plan(2), 3).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_is_noticed_by_no_client() {
    let report = dead_sink::run(&plan(1), 20.0, Duration::from_secs(2)).await.unwrap();
    assert_passed(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_an_exporting_node_leaves_nothing_out_at_the_sink() {
    assert_passed(&export_kill::run(&plan(1)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_of_a_sink_is_handled_as_it_should_be() {
    assert_passed(&sink_answers::run(&plan(1), Duration::from_secs(6)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_full_of_debt_refuses_or_drops_the_oldest() {
    assert_passed(&disk_tiers::run(&plan(1)).await.unwrap());
}
