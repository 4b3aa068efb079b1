//! Holds the style that no compiler checks: heads, sizes, dead files, words that never stay.
//!
//! Every rule reads source text alone and has a negative control below.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const LINE_COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a test: its table is data, a row a case.
const TABLE_LINES_MAX: usize = 120;

/// Words that never stay, with what to write instead. Each is split, so that this file passes.
const BANNED: [(&str, &str); 10] = [
    (concat!("to", "do!"), "finish it, or leave it out"),
    (concat!("unimpl", "emented!"), "finish it, or leave it out"),
    (concat!("dbg", "!("), "use tracing, or a test"),
    (concat!("#[ig", "nore"), "a test runs, or does not exist"),
    (concat!("#[should_", "panic"), "compare the error"),
    (concat!("#[pa", "th"), "a module stands where its name says"),
    (concat!("/wo", "rk/"), "paths are relative to the project"),
    (concat!("/ro", "ot/"), "paths are relative to the project"),
    (concat!("/ho", "me/"), "paths are relative to the project"),
    (concat!("/Us", "ers/"), "paths are relative to the project"),
];

/// Folders that hold no sources of ours.
const SKIPPED: [&str; 2] = ["target", ".git"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every Rust file of the project, relative to its root.
fn sources() -> BTreeSet<PathBuf> {
    let root = root();
    let mut found = BTreeSet::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.strip_prefix(&root).unwrap().to_path_buf());
            }
        }
    }
    assert!(found.len() > 10, "only {} sources were found", found.len());
    found
}

/// What is wrong with one file's text, a line each.
fn untidy(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push("1: open with `//!`: what it is, and why".to_owned());
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("{lines}: at most {FILE_LINES_MAX} lines a file"));
    }
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX {
            found.push(format!("{number}: {columns} columns, at most {LINE_COLUMNS_MAX}"));
        }
        for (word, instead) in BANNED {
            if line.contains(word) {
                found.push(format!("{number}: `{word}`: {instead}"));
            }
        }
    }
    for (number, length) in long_functions(text) {
        found.push(format!("{number}: {length} lines are too many for a function"));
    }
    found
}

/// Where a function that is too long begins, and how many lines it has. Formatted code closes a
/// function by a brace alone, as far in as its first line.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        if !is_function(body) || body.ends_with(';') {
            continue;
        }
        let close = format!("{}}}", &line[..line.len() - body.len()]);
        let length = lines[start..].iter().position(|line| *line == close).map_or(0, |end| end + 1);
        let is_test = start > 0 && is_test_mark(lines[start - 1]);
        let most = if is_test { TABLE_LINES_MAX } else { FUNCTION_LINES_MAX };
        if length > most {
            found.push((start + 1, length));
        }
    }
    found
}

/// Whether a line marks the next one as a test.
fn is_test_mark(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[test]") || line.starts_with("#[tokio::test")
}

/// Whether a line without its indentation begins a function.
fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.by_ref().find(|word| !is_qualifier(word)) == Some("fn") && words.next().is_some()
}

fn is_qualifier(word: &str) -> bool {
    word == "pub" || word.starts_with("pub(") || matches!(word, "const" | "async" | "unsafe")
}

/// The modules that a file declares in files of their own.
fn declared(text: &str) -> Vec<&str> {
    let names = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.find(|word| !is_qualifier(word)).filter(|word| *word == "mod");
        name.and_then(|_| words.next()?.strip_suffix(';'))
    });
    names.collect()
}

/// Whether cargo itself finds the file: a crate's root, a test, an example or a benchmark. Folders
/// with a target's name hold targets beside `src` alone; within it they are modules like any other.
fn is_root(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    let folder = path.parent().unwrap().file_name().unwrap_or_default().to_string_lossy();
    if path.components().any(|part| part.as_os_str() == "src") {
        return folder == "src" && matches!(name.as_ref(), "lib.rs" | "main.rs");
    }
    matches!(folder.as_ref(), "tests" | "benches" | "examples")
        || matches!(name.as_ref(), "build.rs" | "main.rs")
}

/// The files that no root reaches by way of `mod`.
fn dead(files: &BTreeSet<PathBuf>, text_of: impl Fn(&Path) -> String) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = files.iter().filter(|path| is_root(path)).cloned().collect();
    let mut reached: BTreeSet<PathBuf> = open.iter().cloned().collect();
    while let Some(path) = open.pop() {
        let parent = path.parent().unwrap();
        let beside = is_root(&path) || path.ends_with("mod.rs");
        let folder = if beside { parent.to_path_buf() } else { path.with_extension("") };
        for name in declared(&text_of(&path)) {
            for file in [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")] {
                if files.contains(&file) && reached.insert(file.clone()) {
                    open.push(file);
                }
            }
        }
    }
    files.difference(&reached).cloned().collect()
}

fn read(path: &Path) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_source_is_tidy() {
    let mut found = Vec::new();
    for path in sources() {
        let lines = untidy(&read(&path));
        found.extend(lines.into_iter().map(|line| format!("{}:{line}", path.display())));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_source_is_dead() {
    let found = dead(&sources(), read);
    assert!(found.is_empty(), "no `mod` names {found:?}");
}

#[test]
fn untidy_text_is_found() {
    let long_file = format!("//! Head.\n{}", "\n".repeat(FILE_LINES_MAX));
    let long_line = format!("//! {}", "é".repeat(LINE_COLUMNS_MAX));
    let long_function =
        format!("//! Head.\nimpl A {{\n    pub fn f() {{\n{}    }}\n}}\n", "\n".repeat(69));
    for (text, expected) in [
        ("fn main() {}\n", "1: open with"),
        (&long_file, "501: at most 500 lines"),
        (&long_line, "1: 104 columns"),
        (&long_function, "3: 71 lines"),
        (concat!("//! Head.\n    to", "do!()"), "2: `to"),
        (concat!("//! Head.\n#[ig", "nore = \"slow\"]"), "2: `#[ig"),
        (concat!("//! Head.\n\"/ho", "me/me\""), "2: `/ho"),
    ] {
        let found = untidy(text);
        assert_eq!(found.len(), 1, "{expected}: {found:?}");
        assert!(found[0].starts_with(expected), "{expected}: {found:?}");
    }
}

#[test]
fn tidy_text_is_left_alone() {
    let full_file = format!("//! Head.\n{}", "\n".repeat(FILE_LINES_MAX - 1));
    let full_line = format!("//! {}", "é".repeat(LINE_COLUMNS_MAX - 4));
    let full_function = format!("//! Head.\nfn f() {{\n{}}}\n", "\n".repeat(68));
    for text in [full_file, full_line, full_function] {
        assert_eq!(untidy(&text), Vec::<String>::new());
    }
}

#[test]
fn dead_files_are_found() {
    let texts = [
        ("a/src/lib.rs", "//! A.\npub mod b;\nmod tests { }\n"),
        ("a/src/b.rs", "//! B.\npub(crate) mod c;\n"),
        ("a/src/b/c.rs", "//! C.\n// mod dead;\n"),
        ("a/src/b/dead.rs", "//! Named only in a comment.\n"),
        ("a/src/c.rs", "//! Named one folder deeper alone.\n"),
        ("a/src/tests/d.rs", "//! Within src, a folder named tests holds no targets.\n"),
        ("a/tests/e.rs", "//! A test.\nmod f;\n"),
        ("a/tests/f/mod.rs", "//! What tests share.\nmod g;\n"),
        ("a/tests/f/g.rs", "//! G.\n"),
        ("a/tests/h/main.rs", "//! A test in a folder.\nmod i;\n"),
        ("a/tests/h/i.rs", "//! I.\n"),
    ];
    let files: BTreeSet<PathBuf> = texts.iter().map(|(path, _)| PathBuf::from(path)).collect();
    let text_of =
        |path: &Path| texts.iter().find(|(name, _)| Path::new(name) == path).unwrap().1.to_owned();
    let expected = ["a/src/b/dead.rs", "a/src/c.rs", "a/src/tests/d.rs"];
    assert_eq!(dead(&files, text_of), expected.map(PathBuf::from));
}
