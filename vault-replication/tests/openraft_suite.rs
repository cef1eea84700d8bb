//! openraft's own suite of what a storage must do, over this crate's.

#[test]
fn the_storage_does_what_openraft_asks_of_one() {
    gophership_vault_replication::consensus::testkit::run_openraft_suite();
}
