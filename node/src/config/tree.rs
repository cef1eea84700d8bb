//! YAML as a tree of mappings, lists and words, each with its place.
//!
//! **Owns**: [`parse`] and [`Tree`]. The tree is built from the parser's events, so that the limits hold during the
//! reading.
//!
//! **Invariants**:
//! - I1: the tree is never larger than the file: aliases are refused, not followed.
//! - I2: depth and number of elements are bounded before anything is kept.
//! - I3: a key stands once in a mapping.
//!
//! **Not here**: the meaning of the words (`reader.rs`).

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::bounds;
use super::fault::{Fault, Origin, Place, Problem};

/// One element of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// The value of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A word, a number or a quoted text, as written.
    Text(String),
    /// A list, in the order of the file.
    List(Vec<Tree>),
    /// A mapping, in the order of the file.
    Map(Vec<(String, Place, Tree)>),
}

/// A mapping or list that is not closed yet.
struct Open {
    place: Place,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Tree>),
    Map {
        entries: Vec<(String, Place, Tree)>,
        key: Option<(Option<String>, Place)>,
    },
}

struct Builder {
    open: Vec<Open>,
    root: Option<Tree>,
    nodes: usize,
    faults: Vec<Fault>,
}

/// Reads one YAML document. Faults that do not end the reading are appended to `faults`.
///
/// # Errors
///
/// The fault at which the reading ended: not YAML, too deep, too many elements, a second document.
pub(super) fn parse(text: &str, faults: &mut Vec<Fault>) -> Result<Tree, Box<Fault>> {
    let mut builder = Builder {
        open: Vec::new(),
        root: None,
        nodes: 0,
        faults: Vec::new(),
    };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let marker = *error.marker();
            let place = Place {
                line: marker.line().max(1),
                column: marker.col() + 1,
            };
            Box::new(fault(
                String::new(),
                place,
                Problem::Syntax {
                    reason: error.info().to_string(),
                },
            ))
        })?;
        if let Event::DocumentStart(_) = event {
            documents += 1;
            if documents > 1 {
                return Err(fault(String::new(), place_of(span), Problem::SecondDocument).into());
            }
        }
        builder.take(event, place_of(span))?;
    }
    faults.append(&mut builder.faults);
    Ok(builder.root.unwrap_or(Tree {
        place: Place { line: 1, column: 1 },
        value: Value::Null,
    }))
}

fn place_of(span: Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn fault(path: String, place: Place, problem: Problem) -> Fault {
    Fault {
        path,
        origin: Origin::File(place),
        seen: None,
        problem,
    }
}

impl Builder {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Box<Fault>> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(place)?;
                self.refuse_features(anchor, tag.is_some(), place);
                if self.awaits_key() {
                    self.set_key(Some(text.into_owned()), place);
                } else {
                    let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                    self.put(Tree {
                        place,
                        value: if null {
                            Value::Null
                        } else {
                            Value::Text(text.into_owned())
                        },
                    });
                }
            }
            Event::Alias(_) => {
                self.count(place)?;
                self.report(place, Problem::Feature { what: "alias" });
                self.leaf_or_key(place);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_features(anchor, tag.is_some(), place);
                self.begin(place, OpenKind::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_features(anchor, tag.is_some(), place);
                self.begin(
                    place,
                    OpenKind::Map {
                        entries: Vec::new(),
                        key: None,
                    },
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// Counts an element, and so bounds their number (I2).
    fn count(&mut self, place: Place) -> Result<(), Box<Fault>> {
        self.nodes += 1;
        if self.nodes > bounds::NODES_MAX {
            return Err(fault(
                String::new(),
                place,
                Problem::TooMany {
                    limit: bounds::NODES_MAX,
                },
            )
            .into());
        }
        Ok(())
    }

    fn begin(&mut self, place: Place, kind: OpenKind) -> Result<(), Box<Fault>> {
        self.count(place)?;
        if self.open.len() >= bounds::DEPTH_MAX {
            return Err(fault(
                self.path(),
                place,
                Problem::TooDeep {
                    limit: bounds::DEPTH_MAX,
                },
            )
            .into());
        }
        self.open.push(Open { place, kind });
        Ok(())
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        if self.awaits_key() {
            self.report(open.place, Problem::KeyNotText);
            self.set_key(None, open.place);
            return;
        }
        let value = match open.kind {
            OpenKind::List(elements) => Value::List(elements),
            OpenKind::Map { entries, .. } => Value::Map(entries),
        };
        self.put(Tree {
            place: open.place,
            value,
        });
    }

    fn awaits_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                kind: OpenKind::Map { key: None, .. },
                ..
            })
        )
    }

    fn leaf_or_key(&mut self, place: Place) {
        if self.awaits_key() {
            self.set_key(None, place);
        } else {
            self.put(Tree {
                place,
                value: Value::Null,
            });
        }
    }

    /// Sets the key of the next value; `None` for one that was refused already.
    fn set_key(&mut self, name: Option<String>, place: Place) {
        if let Some(Open {
            kind: OpenKind::Map { key, .. },
            ..
        }) = self.open.last_mut()
        {
            *key = Some((name, place));
        }
    }

    fn put(&mut self, tree: Tree) {
        let path = self.path();
        let Some(open) = self.open.last_mut() else {
            self.root = Some(tree);
            return;
        };
        let (entries, key) = match &mut open.kind {
            OpenKind::List(elements) => return elements.push(tree),
            OpenKind::Map { entries, key } => (entries, key),
        };
        let Some((Some(name), place)) = key.take() else { return };
        match entries.iter().find(|(known, ..)| *known == name) {
            Some((_, first, _)) => {
                let problem = Problem::Duplicate { first: first.line };
                self.faults.push(fault(path, place, problem));
            }
            None => entries.push((name, place, tree)),
        }
    }

    fn refuse_features(&mut self, anchor: usize, tagged: bool, place: Place) {
        if anchor != 0 {
            self.report(place, Problem::Feature { what: "anchor" });
        }
        if tagged {
            self.report(place, Problem::Feature { what: "tag" });
        }
    }

    fn report(&mut self, place: Place, problem: Problem) {
        let path = self.path();
        self.faults.push(fault(path, place, problem));
    }

    /// The keys and places in lists from the root to the element that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.kind {
                OpenKind::List(elements) => path.push_str(&format!("[{}]", elements.len())),
                OpenKind::Map {
                    key: Some((Some(name), _)),
                    ..
                } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                OpenKind::Map { .. } => {}
            }
        }
        path
    }
}
