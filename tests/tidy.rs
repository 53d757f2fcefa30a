//! The shape of the source, held by a test: sizes, homes of the libraries, who may import whom, no dead files. The levels are
//! those of `src/lib.rs`; a module imports only from a lower level.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;

/// The levels, lowest first; modules of one line do not know each other.
const LEVELS: &[&[&str]] = &[
    &["clock", "crash"],
    &["keys", "vault", "revio", "mailer", "permissions", "tls"],
    &["tokens"],
    &["config"],
    &["limits", "telemetry", "error", "wake"],
    &["access", "hashing"],
    &["problems", "app"],
    &["audit"],
    &["http"],
    &["mails"],
    &["users", "bank_accounts", "accounts", "transactions"],
    &["restrictions", "approvals", "debts"],
    &["sessions", "deposits", "withdrawals", "reversals", "adjustments", "history", "projector", "statements"],
    &["exports", "inbox", "held", "health", "admin", "credentials", "search", "contract", "docs"],
    &["router", "worker", "seed"],
    &["server"],
];

/// What may stand only in certain files: the text, and the ends of the paths that may hold it.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx::query", &["/store.rs", "/wake.rs"]),
    ("axum::", &["/routes.rs", "/http.rs", "/error.rs", "/router.rs", "/server.rs", "http/"]),
    ("std::env::", &["/config.rs"]),
    ("tigerbeetle_unofficial", &[]),
    ("reqwest::Client", &["/revio.rs"]),
    ("lettre::", &["/mailer.rs"]),
];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Without the unit tests at its end: those may look down at anything.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }

    /// The top module that the file belongs to: `deposits` for `src/deposits/routes.rs`.
    fn module(&self) -> String {
        let inside = self.path.strip_prefix(root().join("src")).unwrap_or(&self.path);
        let first = inside.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
        first.unwrap_or_default().trim_end_matches(".rs").to_owned()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("readable");
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no source");
    found
}

fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > LINES_MAX).then(|| format!("{} has {lines} lines, at most {LINES_MAX}", source.name()))
}

fn without_doc(source: &Source) -> Option<String> {
    (!source.text.starts_with("//! ")).then(|| format!("{} does not start by saying what it is", source.name()))
}

fn homeless(source: &Source) -> Vec<String> {
    let code: String = source.code().lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let name = source.name();
    let stray = |(text, homes): &&(&str, &[&str])| code.contains(text) && !homes.iter().any(|home| name.contains(home));
    HOMES.iter().filter(stray).map(|(text, _)| format!("{name} must not mention {text}")).collect()
}

fn upward(source: &Source) -> Vec<String> {
    let levels: BTreeMap<&str, usize> =
        LEVELS.iter().enumerate().flat_map(|(level, names)| names.iter().map(move |name| (*name, level))).collect();
    let module = source.module();
    let Some(own) = levels.get(module.as_str()) else {
        return match module.as_str() {
            "main" | "lib" => Vec::new(),
            _ => vec![format!("{module} has no level in tests/tidy.rs")],
        };
    };
    let imported = imports(source.code());
    let wrong = |name: &&String| **name != module && levels.get(name.as_str()).is_some_and(|level| level >= own);
    imported
        .iter()
        .filter(wrong)
        .map(|name| format!("{} imports {name}, which is not below it", source.name()))
        .collect()
}

/// The modules that a file names as `crate::name` or `crate::{name, other}`.
fn imports(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split("};").next().unwrap_or_default();
                names.extend(list.split(',').map(|name| word(name.trim())));
            }
            None => names.push(word(rest)),
        }
    }
    names
}

/// Files that no `mod` line names: the compiler never saw them.
fn dead(sources: &[Source]) -> Vec<String> {
    let declared = |source: &Source| {
        let stem = source.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let lines = [format!("mod {stem};"), format!("mod {stem} {{")];
        ["main", "lib", "tidy"].contains(&stem.as_str())
            || source.path.components().any(|part| part.as_os_str() == "tests") && sources.len() == 1
            || sources.iter().any(|other| {
                other.text.lines().any(|line| lines.iter().any(|mod_line| line.ends_with(mod_line.as_str())))
            })
    };
    sources.iter().filter(|source| !declared(source)).map(|source| format!("{} is dead", source.name())).collect()
}

#[test]
fn the_source_has_its_shape() {
    let mut wrong = Vec::new();
    for folder in ["src", "ledger/src", "revio-sim/src", "tests"] {
        let sources = sources(folder);
        wrong.extend(sources.iter().filter_map(too_long));
        wrong.extend(sources.iter().filter_map(without_doc));
        wrong.extend(dead(&sources));
        if folder == "src" {
            wrong.extend(sources.iter().flat_map(homeless));
            wrong.extend(sources.iter().flat_map(upward));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fault_is_found_when_it_is_planted() {
    let planted = |name: &str, text: &str| Source { path: root().join("src").join(name), text: text.to_owned() };
    assert!(too_long(&planted("clock.rs", &"\n".repeat(LINES_MAX + 1))).is_some());
    assert!(without_doc(&planted("clock.rs", "use std::fs;")).is_some());
    assert_eq!(homeless(&planted("deposits.rs", "sqlx::query!(\"\")")).len(), 1);
    assert_eq!(homeless(&planted("deposits/store.rs", "sqlx::query!(\"\")")).len(), 0);
    assert_eq!(homeless(&planted("revio.rs", "use tigerbeetle_unofficial as tb;")).len(), 1);
    assert_eq!(upward(&planted("users.rs", "use crate::sessions;")).len(), 1);
    assert_eq!(upward(&planted("deposits.rs", "use crate::{withdrawals, app};")).len(), 1, "the same level");
    assert_eq!(upward(&planted("deposits/routes.rs", "use crate::app::App;")).len(), 0);
    assert_eq!(upward(&planted("nameless.rs", "")).len(), 1);
    assert_eq!(dead(&[planted("a.rs", "mod b;"), planted("b.rs", "")]).len(), 1, "a is dead, b is not");
}

/// The tests that a document names as `file::name`: beside the code in `src/`, or in `tests/it/`.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let pairs = quoted.filter_map(|quoted| quoted.split_once("::"));
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/".contains(c));
    // Sentences have several words; a function of ours that is named has one or two.
    let sentences = pairs.filter(|(file, name)| plain(file) && plain(name) && name.matches('_').count() >= 2);
    sentences.map(|(file, name)| (file.to_owned(), name.to_owned())).collect()
}

fn missing_test((file, name): &(String, String)) -> Option<String> {
    let places = [format!("tests/it/{file}.rs"), format!("src/{file}.rs"), format!("ledger/src/{file}.rs")];
    let there = places
        .iter()
        .any(|place| fs::read_to_string(root().join(place)).is_ok_and(|text| text.contains(&format!("fn {name}("))));
    (!there).then(|| format!("docs/security.md names {file}::{name}, which does not exist"))
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let text = fs::read_to_string(root().join("docs/security.md")).expect("the document is there");
    let named = named_tests(&text);
    assert!(named.len() > 40, "{} tests are named", named.len());
    let missing: Vec<String> = named.iter().filter_map(missing_test).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let planted = named_tests("a `users::nobody_ever_wrote_this` b");
    assert_eq!(planted.iter().filter_map(missing_test).count(), 1);
}
