//! The environment variables, as a value, so that a test can provide its own.
//!
//! **Not here**: the settings that they override (`reader.rs`).

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Environment variables by name. A variable whose name is not UTF-8 is left out, since no setting has such a name.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

/// The value of a variable.
pub(super) enum Variable<'a> {
    Missing,
    NotText,
    Text(&'a str),
}

impl Environment {
    /// The variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }

    pub(super) fn get(&self, name: &str) -> Variable<'_> {
        match self.0.get(name).map(|value| value.to_str()) {
            None => Variable::Missing,
            Some(None) => Variable::NotText,
            Some(Some(text)) => Variable::Text(text),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}
