//! The debt of the archive in words.

use gophership_proto::view::archive::ArchiveStatusView;

use crate::out::human;

/// What is not archived yet.
pub(crate) fn archive_debt(archive: &ArchiveStatusView, now_unix_nano: u64) -> String {
    if archive.debt_segments == 0 {
        return "nothing".to_owned();
    }
    let oldest = match archive.debt_oldest_unix_nano {
        Some(at) => format!(", the oldest sealed {} ago", human::age(at, now_unix_nano)),
        None => String::new(),
    };
    format!(
        "{} segments, {} entries, {}{oldest}",
        human::count(archive.debt_segments),
        human::count(archive.debt_entries),
        human::bytes(archive.debt_bytes)
    )
}
