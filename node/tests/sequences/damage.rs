//! Damage to bytes on disk, and the entries that it hurts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gophership_vault::ids::Lsn;

use crate::model::Model;
use crate::rng::Rng;
use crate::step::Spot;
use crate::world::World;

/// Bytes of an entry's header in a WAL file.
const HEADER: usize = 64;

/// Index of the segment that a WAL or segment file is named after.
pub(crate) fn index_of(path: &Path) -> Option<u32> {
    let (index, kind) = path.file_name()?.to_str()?.split_once('.')?;
    matches!(kind, "wal" | "seg").then(|| index.parse().ok())?
}

/// The position of each entry in a WAL file, header included.
fn places(bytes: &[u8], index: u32, model: &Model) -> BTreeMap<Lsn, (usize, usize)> {
    let of_it = model.entries.values().filter(|e| e.lsn.index().get() == index);
    let place = |payload: &[u8]| bytes.windows(payload.len()).position(|window| window == payload);
    of_it
        .filter_map(|e| place(&e.payload).map(|at| (e.lsn, (at - HEADER, at + e.payload.len()))))
        .collect()
}

/// Flips a bit of a file of the node, which is down, and notes the entries that this hurts.
pub(crate) fn flip(world: &mut World, spot: Spot, bit: u8) {
    let wanted = if matches!(spot, Spot::Segment(_)) { "seg" } else { "wal" };
    let files: Vec<(u32, PathBuf)> = world
        .files()
        .into_iter()
        .flat_map(|(index, paths)| paths.into_iter().map(move |path| (index, path)))
        .filter(|(index, path)| {
            path.extension().is_some_and(|e| e == wanted)
                && world.model.entries.keys().any(|lsn| lsn.index().get() == *index)
        })
        .collect();
    let (Spot::WalEnd(at) | Spot::OldestWalEnd(at) | Spot::WalEntry(at) | Spot::WalByte(at) | Spot::Segment(at)) = spot;
    let mut rng = Rng::new(u64::from(at));
    let choices = if matches!(spot, Spot::OldestWalEnd(_)) {
        1
    } else {
        files.len().max(1)
    };
    let Some((index, path)) = files.get(rng.below(choices as u64) as usize).cloned() else {
        return;
    };
    let mut bytes = fs::read(&path).unwrap();
    let places = places(&bytes, index, &world.model);
    let within = |rng: &mut Rng, (from, to): (usize, usize)| from + rng.below((to - from) as u64) as usize;
    let offset = match spot {
        Spot::Segment(_) => within(&mut rng, (0, bytes.len())),
        Spot::WalByte(_) => {
            let end = places.values().map(|(_, to)| *to).max().unwrap_or(4096);
            within(&mut rng, (0, end + HEADER))
        }
        Spot::WalEnd(_) | Spot::OldestWalEnd(_) | Spot::WalEntry(_) => {
            let nth = if matches!(spot, Spot::WalEntry(_)) {
                rng.below(places.len().max(1) as u64)
            } else {
                0
            };
            let Some(place) = places.values().rev().nth(nth as usize) else {
                return;
            };
            within(&mut rng, *place)
        }
    };
    bytes[offset] ^= 1 << bit;
    fs::write(&path, &bytes).unwrap();
    note(world, wanted == "seg", index, offset, &places);
}

/// Notes the entries that a flipped bit hurts: in a WAL file the one that holds it, in a segment file those of its
/// block. A second flip in the same file may cost all of it, since the damage of the one is found with the help of what
/// the other hit.
fn note(world: &mut World, sealed: bool, index: u32, offset: usize, places: &BTreeMap<Lsn, (usize, usize)>) {
    let flips = world.model.flips.entry(index).or_default();
    *flips += 1;
    let all = *flips > 1;
    let blocks = world.blocks.get(&index);
    let in_block = |lsn: &Lsn| {
        let number = lsn.number();
        let is_hit = |at: u64, len: u64| (at..at + len).contains(&(offset as u64));
        blocks.is_none_or(|blocks| {
            blocks
                .iter()
                .any(|b| is_hit(b.offset, b.stored_bytes) && b.first <= number && number <= b.last)
        })
    };
    let in_entry = |lsn: &Lsn| places.get(lsn).is_some_and(|(from, to)| (*from..*to).contains(&offset));
    if !sealed && !places.keys().any(in_entry) {
        world.model.idle_hit.insert(index);
    }
    for entry in world
        .model
        .entries
        .values_mut()
        .filter(|e| e.lsn.index().get() == index)
    {
        entry.hurt |= all
            || if sealed {
                in_block(&entry.lsn)
            } else {
                in_entry(&entry.lsn)
            };
    }
}

/// Takes from a copy of the files what a power cut may take: of entries that no sync covers all, a part, or nothing.
/// Segment files that are being written may end anywhere, since they are synced before they get their name.
pub(crate) fn tear(files: &mut [(PathBuf, Vec<u8>)], model: &Model, boot: u64, synced: Option<Lsn>, torn: u64) {
    let mut rng = Rng::new(torn);
    for (path, bytes) in files {
        let name = path.to_string_lossy().into_owned();
        if name.ends_with(".open") || name.ends_with(".recut") {
            let keep = rng.pick(&[(1, bytes.len() as u64), (1, rng_below(torn, bytes.len()))]);
            bytes.truncate(keep as usize);
        }
        let Some(index) = index_of(path).filter(|_| name.ends_with(".wal")) else {
            continue;
        };
        let places = places(bytes, index, model);
        let unsynced = places.iter().filter(|(lsn, _)| {
            let entry = &model.entries[lsn];
            entry.boot == boot && !entry.kept && Some(**lsn) > synced
        });
        for (from, to) in unsynced.map(|(_, place)| *place).collect::<Vec<_>>() {
            match rng.below(3) {
                0 => {}
                1 => bytes[from..to].fill(0),
                _ => {
                    let at = from + rng.below((to - from) as u64) as usize;
                    bytes[at..to].fill(0);
                }
            }
        }
    }
}

fn rng_below(seed: u64, end: usize) -> u64 {
    Rng::new(seed).below(end.max(1) as u64)
}
