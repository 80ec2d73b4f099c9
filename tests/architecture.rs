//! The walls of the house: which room may import which, as one table, and no import circle between files.
//!
//! A room is a file or folder at the top of `src`. The rooms stand in the order of the table: a room imports rooms
//! above it only, and of those only the ones that its line names. An import against that order is an exception, and its
//! reason stands next to it. Tests inside the rooms (`#[cfg(test)]`, `tests.rs`) are free.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A room, and the rooms that it may import.
///
/// From the ground up: what needs nothing, the nouns, the stages from left to right, and the process around them.
const ROOMS: &[(&str, &[&str])] = &[
    ("runtime", &[]),
    ("click", &[]),
    ("link", &[]),
    ("event", &[]),
    ("config", &["event", "link", "runtime"]),
    ("telemetry", &["config", "runtime"]),
    ("files", &["runtime"]),
    ("object", &["click", "config", "event", "runtime"]),
    ("quality", &["click", "config", "event", "files", "link", "runtime"]),
    ("visitor", &["click", "config", "event", "files", "link", "quality", "runtime", "telemetry"]),
    ("session", &["click", "config", "runtime", "telemetry", "visitor"]),
    ("catalog", &["config", "files", "link", "runtime", "telemetry"]),
    ("stats", &["config", "object", "runtime", "telemetry"]),
    ("tls", &["config", "files", "runtime", "telemetry"]),
    ("listener", &["click", "config", "runtime", "telemetry", "tls"]),
    (
        "redirect",
        &[
            "catalog",
            "click",
            "config",
            "event",
            "files",
            "link",
            "listener",
            "quality",
            "runtime",
            "session",
            "stats",
            "telemetry",
            "visitor",
        ],
    ),
    ("capture", &["click", "config", "runtime", "telemetry"]),
    (
        "enrich",
        &[
            "capture",
            "click",
            "config",
            "event",
            "files",
            "quality",
            "runtime",
            "session",
            "stats",
            "telemetry",
            "visitor",
        ],
    ),
    ("spool", &["capture", "click", "config", "enrich", "event", "object", "runtime", "stats", "telemetry"]),
    ("deliver", &["click", "config", "event", "files", "object", "runtime", "spool", "telemetry", "tls"]),
    ("fleet", &["catalog", "config", "deliver", "object", "runtime", "telemetry", "tls"]),
    (
        "pipeline",
        &[
            "capture",
            "catalog",
            "config",
            "deliver",
            "enrich",
            "files",
            "fleet",
            "listener",
            "quality",
            "redirect",
            "runtime",
            "session",
            "spool",
            "stats",
            "telemetry",
            "tls",
            "visitor",
        ],
    ),
    ("verify", &["config", "deliver", "object", "runtime"]),
    ("admin", &["catalog", "config", "files", "link", "object", "pipeline", "runtime", "stats", "telemetry"]),
    (
        "server",
        &[
            "admin",
            "capture",
            "catalog",
            "click",
            "config",
            "files",
            "listener",
            "pipeline",
            "redirect",
            "runtime",
            "telemetry",
            "tls",
        ],
    ),
    ("doctor", &["catalog", "config", "files", "listener", "runtime", "server", "spool"]),
    (
        "cli",
        &[
            "admin", "capture", "catalog", "click", "config", "deliver", "doctor", "event", "files", "fleet", "link",
            "listener", "object", "pipeline", "quality", "runtime", "server", "session", "spool", "tls", "verify",
        ],
    ),
    ("manual", &[]),
    ("main", &[]),
];

/// Imports against the order of the table, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "redirect",
    "capture",
    "a click is written into its ring before the answer: anything between the two would cost every click an indirect call",
)];

#[test]
fn every_room_imports_only_what_the_table_allows() {
    let mut problems = Vec::new();
    let known: BTreeMap<_, _> = ROOMS.iter().map(|(room, allowed)| (*room, *allowed)).collect();
    for (room, imports) in rooms() {
        let Some(allowed) = known.get(&*room) else {
            problems.push(format!("`{room}` is missing in the table; it imports {imports:?}"));
            continue;
        };
        for (other, file) in &imports {
            let is_exception = EXCEPTIONS.iter().any(|(from, to, _)| (*from, *to) == (&*room, &**other));
            if !is_exception && !allowed.contains(&&**other) {
                problems.push(format!("{} imports `{other}`, which `{room}` may not", file.display()));
            }
        }
        let unused = allowed.iter().filter(|other| !imports.contains_key(**other));
        problems.extend(unused.map(|other| format!("`{room}` does not import `{other}` any more: remove it")));
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn the_table_has_no_arrow_upwards() {
    let place = |room: &str| ROOMS.iter().position(|(name, _)| *name == room).expect("a room of the table");
    for (room, allowed) in ROOMS {
        for other in *allowed {
            assert!(place(other) < place(room), "`{room}` stands above `{other}`, which it imports");
        }
    }
    let imports = rooms();
    for (from, to, reason) in EXCEPTIONS {
        assert!(place(to) > place(from) && !reason.is_empty(), "`{from}` -> `{to}` is not an exception");
        assert!(imports[*from].contains_key(*to), "`{from}` does not import `{to}` any more: remove the exception");
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = Files::read();
    let mut edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (module, source) in &files.sources {
        for path in imports(source, module) {
            let target = files.module_of(&path);
            // A module and those inside it are one place with several files.
            if !target.starts_with(module) && !module.starts_with(&target) {
                edges.entry(module.clone()).or_default().insert(target);
            }
        }
    }
    let mut circles = Vec::new();
    for (module, targets) in &edges {
        for target in targets {
            if reaches(&edges, target, module) {
                circles.push(format!("{} -> {}", module.join("::"), target.join("::")));
            }
        }
    }
    assert!(circles.is_empty(), "imports that are part of a circle:\n{}", circles.join("\n"));
}

/// For each room, the rooms that it imports, each with a file that does.
fn rooms() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let files = Files::read();
    let mut rooms: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for (module, source) in &files.sources {
        let Some(room) = module.first() else { continue };
        let imported = rooms.entry(room.clone()).or_default();
        for path in imports(source, module) {
            if let Some(other) = path.first().filter(|other| *other != room && files.is_room(other)) {
                imported.entry(other.clone()).or_insert_with(|| path_of(module));
            }
        }
    }
    rooms
}

fn reaches(edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>, from: &[String], to: &[String]) -> bool {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![from.to_vec()]);
    while let Some(module) = waiting.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module.clone()) {
            waiting.extend(edges.get(&module).into_iter().flatten().cloned());
        }
    }
    false
}

/// The source files of the crate, by module path.
struct Files {
    sources: BTreeMap<Vec<String>, String>,
}

impl Files {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder of src") {
                let path = entry.expect("an entry of src").path();
                let relative = path.strip_prefix(&root).expect("below src").with_extension("");
                let module: Vec<_> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                if module.iter().any(|part| part == "tests") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") && module != ["lib"] {
                    let text = fs::read_to_string(&path).expect("a source file");
                    sources.insert(module, without_tests_and_comments(&text));
                }
            }
        }
        Self { sources }
    }

    fn is_room(&self, name: &str) -> bool {
        self.sources.contains_key(&[name.to_owned()][..])
    }

    /// The module that a path leads into: its longest part that is a file.
    fn module_of(&self, path: &[String]) -> Vec<String> {
        let parts = (1..=path.len()).rev().map(|length| &path[..length]);
        parts.into_iter().find(|part| self.sources.contains_key(*part)).unwrap_or_default().to_vec()
    }
}

fn path_of(module: &[String]) -> PathBuf {
    Path::new("src").join(module.join("/")).with_extension("rs")
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The absolute paths that a module names: in `use`, and wherever else a path begins with `crate` or `super`.
fn imports(source: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let starts = ["crate::", "super::"].iter().flat_map(|start| source.match_indices(start));
    for (at, _) in starts {
        let is_inside_a_path = source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if is_inside_a_path {
            continue;
        }
        let mut tree = Vec::new();
        leaves(&mut tokens(&source[at..]), &mut Vec::new(), &mut tree);
        paths.extend(tree.into_iter().filter_map(|path| absolute(path, module)));
    }
    paths
}

fn absolute(path: Vec<String>, module: &[String]) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let base = if path.first()? == "crate" { &[] } else { &module[..module.len().checked_sub(ups)?] };
    let rest = path.into_iter().skip(ups.max(1)).filter(|part| part != "self");
    Some(base.iter().cloned().chain(rest).collect())
}

/// The words and signs of a path or a `use` tree, as far as it goes.
fn tokens(source: &str) -> std::iter::Peekable<impl Iterator<Item = &str>> {
    let mut rest = source;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let word = rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
        let length = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            usize::from(rest.starts_with(['{', '}', ',', '*']))
        };
        let token;
        (token, rest) = rest.split_at(length);
        (length > 0).then_some(token)
    })
    .peekable()
}

/// Collects the paths of a `use` tree that begins with `prefix`.
fn leaves<'a>(
    tokens: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    prefix: &mut Vec<String>,
    out: &mut Vec<Vec<String>>,
) {
    let depth = prefix.len();
    loop {
        match tokens.next() {
            Some("{") => {
                while tokens.peek().is_some_and(|token| *token != "}") {
                    leaves(tokens, prefix, out);
                    if tokens.peek() == Some(&",") {
                        tokens.next();
                    }
                }
                tokens.next();
                break;
            }
            Some("*") | None => {
                out.push(prefix.clone());
                break;
            }
            Some(word) => {
                prefix.push(word.to_owned());
                if tokens.peek() == Some(&"::") {
                    tokens.next();
                } else {
                    out.push(prefix.clone());
                    if tokens.peek() == Some(&"as") {
                        tokens.next();
                        tokens.next();
                    }
                    break;
                }
            }
        }
    }
    prefix.truncate(depth);
}

#[test]
fn a_use_tree_is_read_whole() {
    let source = "use crate::{a::{b, c as d, self}, e::*};\nlet x = super::f::g(crate::h);";
    let paths: Vec<_> = imports(source, &["m".into(), "n".into()]).iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["a::b", "a::c", "a", "e", "h", "m::f::g"]);
}
