//! Loading: the file, then the environment, then the rules between keys.
//!
//! **Not here**: SIGHUP (`crate::reload`).

use std::collections::BTreeMap;
use std::path::Path;

use super::bounds;
use super::environment::Environment;
use super::fault::{Fault, Faults, Finding, Origin, Place};
use super::read::read;
use super::reader::Reader;
use super::settings::Config;
use super::tree;
use crate::machine::Machine;

/// Loads the configuration of a node: the file where there is one, else the defaults; overridden by the environment.
///
/// # Errors
///
/// All faults that were found, not only the first.
pub fn load(file: Option<&Path>, environment: &Environment, machine: &Machine) -> Result<Config, Faults> {
    check(file, environment, machine, |_| Vec::new())
}

/// Loads as [`load`] does, and adds the findings of `inspect` about this machine to the faults. `inspect` gets the
/// default in place of each value that already has a fault.
///
/// # Errors
///
/// All faults that were found.
pub fn check(
    file: Option<&Path>,
    environment: &Environment,
    machine: &Machine,
    inspect: impl FnOnce(&Config) -> Vec<Finding>,
) -> Result<Config, Faults> {
    let faults = |list| Faults {
        file: file.map(Path::to_owned),
        list,
    };
    let text = match file {
        None => String::new(),
        Some(path) => read(path, bounds::FILE_BYTES_MAX).map_err(|problem| {
            let origin = Origin::File(Place { line: 1, column: 1 });
            faults(vec![Fault {
                path: String::new(),
                origin,
                seen: None,
                problem,
            }])
        })?,
    };
    judge(&text, environment, machine, inspect).map_err(faults)
}

/// Loads the configuration from the text of a file.
///
/// # Errors
///
/// All faults that were found.
pub fn load_text(text: &str, environment: &Environment, machine: &Machine) -> Result<Config, Vec<Fault>> {
    judge(text, environment, machine, |_| Vec::new())
}

fn judge(
    text: &str,
    environment: &Environment,
    machine: &Machine,
    inspect: impl FnOnce(&Config) -> Vec<Finding>,
) -> Result<Config, Vec<Fault>> {
    let mut reader = Reader::new(environment);
    let tree = tree::parse(text, &mut reader.faults);
    if let Ok(tree) = &tree {
        reader.file(tree);
    }
    reader.overrides();
    match tree {
        Ok(_) => {
            super::check::check(&mut reader, machine);
            for finding in inspect(&reader.config) {
                reader.found(finding);
            }
        }
        // The rest of the file is unknown, so no rule between keys can be applied.
        Err(fault) => reader.faults.push(*fault),
    }
    if reader.faults.is_empty() {
        return Ok(reader.config);
    }
    reader.faults.sort_by(|left, right| left.origin.cmp(&right.origin));
    Err(reader.faults)
}

/// The source of each key that a file or the environment sets; every other key has its default.
#[must_use]
pub fn origins(file: Option<&Path>, environment: &Environment) -> BTreeMap<&'static str, Origin> {
    let mut reader = Reader::new(environment);
    let text = file.and_then(|path| read(path, bounds::FILE_BYTES_MAX).ok());
    if let Ok(tree) = tree::parse(&text.unwrap_or_default(), &mut reader.faults) {
        reader.file(&tree);
    }
    reader.overrides();
    reader.origins()
}
