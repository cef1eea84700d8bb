//! Settings with a few possible words.

/// A setting with a few possible words.
pub(super) trait Choice {
    /// The word of its present value.
    fn word(&self) -> &'static str;
    /// Sets the value to that of a word. Returns false where no value has this word.
    fn choose(&mut self, word: &str) -> bool;
}

/// Defines an enum, the words that stand for its values, and its [`Choice`]. The first word is the default.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $(#[$first_meta:meta])* $first:ident = $first_word:literal,
            $($(#[$rest_meta:meta])* $rest:ident = $rest_word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name {
            $(#[$first_meta])*
            #[default]
            $first,
            $($(#[$rest_meta])* $rest,)*
        }

        impl $name {
            pub(in crate::config) const WORDS: &'static [&'static str] = &[$first_word, $($rest_word,)*];

            /// The word that stands for the value.
            #[must_use]
            pub fn name(&self) -> &'static str {
                $crate::config::choice::Choice::word(self)
            }
        }

        impl $crate::config::choice::Choice for $name {
            fn word(&self) -> &'static str {
                match self {
                    Self::$first => $first_word,
                    $(Self::$rest => $rest_word,)*
                }
            }

            fn choose(&mut self, word: &str) -> bool {
                *self = match word {
                    $first_word => Self::$first,
                    $($rest_word => Self::$rest,)*
                    _ => return false,
                };
                true
            }
        }
    };
}

pub(super) use choice;
