//! No crate has a circle of files: what a file uses can be read before it. It uses another one where it imports, or
//! names by a path, an item that is defined there. Files that only pass an item on do not count, nor do tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, UseTree, Visibility};

/// A path of modules, or of an item in one.
type Name = Vec<String>;

#[derive(Default)]
struct File {
    modules: Vec<String>,
    /// What names stand for that are not defined here.
    imports: BTreeMap<String, Name>,
    paths: BTreeSet<Name>,
}

impl<'ast> Visit<'ast> for File {
    fn visit_item_mod(&mut self, of: &'ast ItemMod) {
        let condition = |of: &Attribute| of.meta.require_list().map(|list| list.tokens.to_string());
        let conditions: String = of.attrs.iter().flat_map(condition).collect();
        if !conditions.contains("test") {
            self.modules.extend(of.content.is_none().then(|| of.ident.to_string()));
            visit::visit_item_mod(self, of);
        }
    }

    fn visit_item_use(&mut self, of: &'ast ItemUse) {
        let mut names = Vec::new();
        add_names(&of.tree, &[], &mut names);
        if matches!(of.vis, Visibility::Inherited) {
            self.paths.extend(names.iter().map(|(name, _)| vec![name.clone()]));
        }
        self.imports.extend(names);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words = path.segments.iter();
        self.paths.insert(words.map(|of| of.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// The names that an import gives, each with what it stands for.
fn add_names(tree: &UseTree, path: &[String], into: &mut Vec<(String, Name)>) {
    let with = |last: &syn::Ident| [path, &[last.to_string()]].concat();
    match tree {
        UseTree::Path(of) => add_names(&of.tree, &with(&of.ident), into),
        UseTree::Group(of) => of.items.iter().for_each(|of| add_names(of, path, into)),
        UseTree::Name(of) if of.ident == "self" => into.push((path[path.len() - 1].clone(), path.to_vec())),
        UseTree::Name(of) => into.push((of.ident.to_string(), with(&of.ident))),
        UseTree::Rename(of) => into.push((of.rename.to_string(), with(&of.ident))),
        UseTree::Glob(_) => {} // variants of an enum
    }
}

/// Reads a module's file, and those of the modules that it declares, which are in `folder`.
fn read(path: &Path, folder: &Path, module: &[String], into: &mut BTreeMap<Name, File>) {
    let (mut file, text) = (File::default(), std::fs::read_to_string(path).expect("it is declared"));
    file.visit_file(&syn::parse_file(&text).expect("it is compiled"));
    for name in &file.modules {
        let below = folder.join(name);
        let files = [below.with_extension("rs"), below.join("mod.rs")];
        let file = &files[usize::from(!files[0].exists())];
        read(file, &below, &[module, std::slice::from_ref(name)].concat(), into);
    }
    into.insert(module.to_vec(), file);
}

/// The file that defines what a path in `module` names, `module` for what is not of the crate; `None` for a module.
fn definition(files: &BTreeMap<Name, File>, module: &[String], path: &[String]) -> Option<Name> {
    let (first, rest) = path.split_first()?;
    let below = [module, &path[..1]].concat();
    match (first.as_str(), files[module].imports.get(first)) {
        ("crate", _) => definition(files, &[], rest),
        ("self", _) => definition(files, module, rest),
        ("super", _) => definition(files, &module[..module.len() - 1], rest),
        _ if files.contains_key(&below) => definition(files, &below, rest),
        // An item may have the name of its crate.
        (_, Some(import)) if import.first() != Some(first) => definition(files, module, &[import, rest].concat()),
        _ => Some(module.to_vec()),
    }
}

fn leads_to(uses: &BTreeMap<Name, BTreeSet<Name>>, from: &Name, to: &Name) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        next.extend(uses[file].iter().filter(|file| seen.insert(*file)));
    }
    seen.contains(to)
}

#[test]
fn no_crate_has_a_circle_of_files() {
    let crates = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    let mut found = String::new();
    for folder in crates.map(|entry| entry.unwrap().path().join("src")) {
        let roots = ["lib.rs", "main.rs"].map(|name| folder.join(name));
        let (mut files, root) = (BTreeMap::new(), roots.iter().find(|path| path.exists()));
        root.inspect(|root| read(root, &folder, &[], &mut files));
        let uses_of = |(module, file): (&Name, &File)| {
            let uses = file.paths.iter().filter_map(|path| definition(&files, module, path));
            (module.clone(), uses.filter(|to| to != module).collect())
        };
        let uses: BTreeMap<Name, BTreeSet<Name>> = files.iter().map(uses_of).collect();
        for (from, to) in uses.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
            if leads_to(&uses, to, from) {
                found += &format!("{}: {} uses {}\n", folder.display(), from.join("/"), to.join("/"));
            }
        }
    }
    assert!(found.is_empty(), "files that use each other in a circle:\n{found}");
}
