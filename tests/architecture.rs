//! The shape of the source: which module may import which, and that a name means one thing. `doc/architecture.md` describes it.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the top: a file imports from its own floor and from those below. Modules of `src/` that are not named here are
/// the ground, which all others stand on.
const FLOORS: [&[&str]; 8] = [
    &["main", "bin"],
    &["task"],
    &["restore"],
    &["postgres", "health"],
    &["catalogue"],
    &["store", "host"],
    &["config"],
    &["cli"],
];

/// Words that say nothing of what a thing is.
const VAGUE: [&str; 6] = ["tell", "conclude", "look", "wanted", "held", "living"];

/// A source file: its module's path and its text, without comments, strings and tests.
struct Source {
    module: Vec<String>,
    text: String,
}

/// The source files by their paths.
fn sources() -> BTreeMap<PathBuf, Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
                let relative = path.strip_prefix(&root).unwrap();
                let mut module: Vec<String> =
                    relative.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                if name == "mod" || relative == Path::new("lib.rs") {
                    module.pop();
                }
                let source = Source { module, text: code(&fs::read_to_string(&path).unwrap()) };
                files.insert(relative.to_owned(), source);
            }
        }
    }
    files.retain(|path, _| !path.iter().any(|part| part == "tests"));
    assert!(files.len() > 200, "{} files", files.len());
    files
}

/// The text up to its tests, without comments and strings.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut code = String::new();
    let mut in_string = false;
    for line in text.lines() {
        let mut chars = line.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '\\' if in_string => drop(chars.next()),
                // A quotation mark as a character or a byte begins no string.
                '\'' if !in_string && chars.peek() == Some(&'"') => drop(chars.next()),
                '"' => in_string = !in_string,
                '/' if !in_string && chars.peek() == Some(&'/') => break,
                _ if in_string => {}
                _ => code.push(char),
            }
        }
        code.push('\n');
    }
    code
}

/// The paths that a `use` statement names, as `a::b::{c, d::e}` has two.
fn named(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((before, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let prefix: Vec<String> =
        before.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    let inner = &inner[..inner.rfind('}').unwrap()];
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for char in inner.chars() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match char {
            ',' if depth == 0 => parts.push(String::new()),
            char => parts.last_mut().unwrap().push(char),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| named(part)).map(|path| [prefix.clone(), path].concat()).collect()
}

/// The paths into the house that a text has, in its `use` statements and in its code: those in `crate::`, `super::` and
/// `pgcellar::`, and those that begin with a module of the file's own.
fn paths(text: &str, own: &BTreeSet<&str>) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = String::new();
    for statement in text.split_inclusive(';') {
        match statement.split("\nuse ").nth(1).or_else(|| statement.split("\npub use ").nth(1)) {
            Some(tree) => found.extend(named(tree.trim_end_matches(';'))),
            None => rest.push_str(statement),
        }
    }
    let is_part_of_path = |char: char| char.is_alphanumeric() || char == '_' || char == ':';
    for path in rest.split(|char| !is_part_of_path(char)).filter(|path| path.contains("::")) {
        found.push(path.trim_end_matches(':').split("::").map(ToOwned::to_owned).collect());
    }
    let roots = ["crate", "super", "self", "pgcellar"];
    found.retain(|path| roots.contains(&path[0].as_str()) || own.contains(path[0].as_str()));
    found
}

/// Which file imports from which.
fn imports(files: &BTreeMap<PathBuf, Source>) -> BTreeMap<&Path, BTreeSet<&Path>> {
    let modules: BTreeMap<&[String], &Path> =
        files.iter().map(|(path, source)| (source.module.as_slice(), path.as_path())).collect();
    let mut all = BTreeMap::new();
    for (file, source) in files {
        let imported: &mut BTreeSet<&Path> = all.entry(file.as_path()).or_default();
        let own: BTreeSet<&str> = modules
            .keys()
            .filter(|module| module.len() == source.module.len() + 1 && module.starts_with(&source.module))
            .filter(|_| file != Path::new("main.rs"))
            .map(|module| module[module.len() - 1].as_str())
            .collect();
        for path in paths(&source.text, &own) {
            let supers = path.iter().take_while(|part| *part == "super").count();
            let base = &source.module[..source.module.len().saturating_sub(supers)];
            let absolute = match path[0].as_str() {
                "crate" | "pgcellar" => path[1..].to_vec(),
                "self" => [base, &path[1..]].concat(),
                first if own.contains(first) => [base, &path[..]].concat(),
                _ => [base, &path[supers..]].concat(),
            };
            let module = (1..=absolute.len()).rev().find_map(|length| modules.get(&absolute[..length]));
            imported.extend(module.filter(|module| **module != file));
        }
    }
    all
}

/// The floor of a file, from the top.
fn floor(file: &Path) -> usize {
    let first = file.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
    FLOORS.iter().position(|modules| modules.contains(&first)).unwrap_or(FLOORS.len())
}

#[test]
fn imports_are_read() {
    let files = sources();
    let imports = imports(&files);
    let has = |from: &str, to: &str| imports[Path::new(from)].contains(Path::new(to));
    assert!(has("task/restore.rs", "error.rs") && has("main.rs", "cli.rs"), "the reader of imports sees nothing");
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 1_000);
    assert_eq!(named("a::{b, c::{d, self}}").len(), 3);
}

#[test]
fn no_file_imports_from_a_floor_above() {
    let files = sources();
    let up: Vec<String> = imports(&files)
        .iter()
        .flat_map(|(from, to)| to.iter().map(move |to| (*from, *to)))
        .filter(|(from, to)| floor(from) > floor(to))
        .map(|(from, to)| format!("{} imports {}", from.display(), to.display()))
        .collect();
    assert!(up.is_empty(), "{up:#?}");
}

#[test]
fn no_verb_imports_another() {
    let files = sources();
    let verb = |file: &Path| {
        let mut parts = file.iter();
        let is_task = parts.next().is_some_and(|part| part == "task");
        let verb = parts.next().filter(|_| is_task)?.to_str()?.trim_end_matches(".rs").to_owned();
        Some(verb).filter(|verb| verb != "mod")
    };
    let across: Vec<String> = imports(&files)
        .iter()
        .flat_map(|(from, to)| to.iter().map(move |to| (*from, *to)))
        .filter(|(from, to)| verb(from).zip(verb(to)).is_some_and(|(from, to)| from != to))
        .map(|(from, to)| format!("{} imports {}", from.display(), to.display()))
        .collect();
    assert!(across.is_empty(), "{across:#?}");
}

#[test]
fn no_files_import_each_other() {
    let files = sources();
    let imports = imports(&files);
    let reaches = |from: &Path, to: &Path| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            if file == to {
                return true;
            }
            if seen.insert(file) {
                next.extend(imports.get(file).into_iter().flatten().copied());
            }
        }
        false
    };
    let circles: Vec<String> = imports
        .iter()
        .flat_map(|(from, to)| to.iter().map(move |to| (*from, *to)))
        .filter(|(from, to)| reaches(to, from))
        .map(|(from, to)| format!("{} imports {}", from.display(), to.display()))
        .collect();
    assert!(circles.is_empty(), "in a circle: {circles:#?}");
}

/// Each public type's name with the files that declare it.
fn types(files: &BTreeMap<PathBuf, Source>) -> BTreeMap<&str, Vec<&Path>> {
    let mut all: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for (file, source) in files {
        for line in source.text.lines().map(str::trim_start).filter(|line| line.starts_with("pub")) {
            let mut words = line.split([' ', '<', '(', '{', ';', ':']).filter(|word| !word.is_empty());
            if words.any(|word| ["struct", "enum", "trait", "type", "union"].contains(&word)) {
                all.entry(words.next().unwrap()).or_default().push(file);
            }
        }
    }
    all
}

#[test]
fn a_name_is_one_type() {
    let files = sources();
    let types = types(&files);
    assert!(types.len() > 300, "{} types", types.len());
    let usual = ["Error", "Result"];
    let double: Vec<_> = types.iter().filter(|(name, files)| files.len() > 1 && !usual.contains(name)).collect();
    assert!(double.is_empty(), "{double:#?}");
}

#[test]
fn names_say_what_a_thing_is() {
    let files = sources();
    let mut vague = Vec::new();
    for (file, source) in &files {
        let names = source.text.lines().filter_map(|line| line.split_once("fn ")).filter_map(|(_, rest)| {
            rest.split(['(', '<']).next().filter(|name| name.chars().all(|char| char.is_alphanumeric() || char == '_'))
        });
        let own = source.module.last().map(String::as_str);
        let words = |name: &str| name.split('_').any(|word| VAGUE.contains(&word));
        vague.extend(names.chain(own).filter(|name| words(name)).map(|name| format!("{}: {name}", file.display())));
    }
    let types = types(&files);
    vague.extend(types.keys().filter(|name| VAGUE.contains(&name.to_lowercase().as_str())).map(ToString::to_string));
    assert!(vague.is_empty(), "{vague:#?}");
}
