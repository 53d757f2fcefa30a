//! The shape of the source, held by a test: sizes, homes of the libraries, which room may know which, no circles, no dead files.
//! The rooms are those of `src/lib.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;
/// All of `src/`, comments and unit tests included: whoever adds deletes first. It was 20,000 for the flows, the books and access; what
/// has come since stands in nouns of its own: Revio's objects, suspense, safe mode, clocks, second factor, requests, retention;
/// the company's journals, reconciliation, reporting, closed months; cancelling, waiting, webhooks of ours, service accounts, support.
/// Then what is read and written for many at once, what stands between an outage, or a restore, and money, turns for long reads, and what
/// keeps a correction, or an answer that lacks something, from being booked twice.
const LINES_IN_ALL_MAX: usize = 66_350;
const ENTRIES_MAX: usize = 11;

/// Lowest first: a room imports from those above it in this list and from itself.
const ROOMS: &[&str] =
    &["platform", "provider", "app", "identity", "money", "webhooks", "books", "finance", "processes"];

/// What may stand only in certain files: the text, and the parts of the paths that may hold it.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx::query", &["/store.rs", "platform/notifier.rs"]),
    (
        "axum::",
        &[
            "/routes.rs", "platform/http", "platform/error.rs", "processes/", "identity/caller.rs",
            "identity/cookies.rs", "identity/quota.rs", "identity/staff.rs",
        ],
    ),
    ("std::env::", &["platform/config.rs"]),
    ("tigerbeetle_unofficial", &[]),
    ("reqwest::Client", &["provider/revio.rs", "platform/outbound.rs", "platform/telemetry.rs"]),
    ("sentry::", &["platform/telemetry.rs", "platform/telemetry/sentry.rs"]),
    ("opentelemetry", &["platform/telemetry/otlp.rs"]),
    ("lettre::", &["platform/mailer.rs"]),
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

    /// `["money", "deposits", "routes"]` for `src/money/deposits/routes.rs`.
    fn module(&self) -> Vec<String> {
        let inside = self.path.strip_prefix(root().join("src")).unwrap_or(&self.path).with_extension("");
        inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
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

fn too_much(sources: &[Source]) -> Option<String> {
    let lines: usize = sources.iter().map(|source| source.text.lines().count()).sum();
    (lines > LINES_IN_ALL_MAX).then(|| format!("src has {lines} lines, at most {LINES_IN_ALL_MAX}"))
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
    let level = |room: &str| ROOMS.iter().position(|known| *known == room);
    let module = source.module();
    if module == ["main"] || module == ["lib"] {
        return Vec::new();
    }
    let Some(own) = level(&module[0]) else { return vec![format!("{} is in no room", source.name())] };
    let rooms: BTreeSet<String> = imports(source).into_iter().filter_map(|path| path.first().cloned()).collect();
    rooms
        .iter()
        .filter(|room| level(room).is_some_and(|level| level > own))
        .map(|room| format!("{} imports from {room}, which is not below it", source.name()))
        .collect()
}

/// The paths inside the crate that a file names, as `crate::a::b` or `super::b`, lists of them taken apart.
fn imports(source: &Source) -> Vec<Vec<String>> {
    let code: String =
        source.code().lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let own = source.module();
    let parent = &own[..own.len().saturating_sub(1)];
    let absolute = code.split("crate::").skip(1).flat_map(|rest| tree(&[], rest));
    let relative = code.split("super::").skip(1).flat_map(|rest| tree(parent, rest));
    absolute.chain(relative).collect()
}

/// `b::{c, d::E}` below `above`, as paths.
fn tree(above: &[String], text: &str) -> Vec<Vec<String>> {
    let mut path = above.to_vec();
    let mut rest = text;
    loop {
        if let Some(list) = rest.strip_prefix('{') {
            return branches(list).into_iter().flat_map(|branch| tree(&path, branch.trim())).collect();
        }
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        rest = &rest[name.len()..];
        path.push(name);
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => return vec![path],
        }
    }
}

/// The parts of a list, up to the bracket that ends it.
fn branches(list: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0_usize, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&list[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Who imports whom: between nouns (a file and what is below it are one), and between the files of one noun, where parent and
/// child may know each other.
fn circles(sources: &[Source]) -> Vec<String> {
    let files: BTreeSet<Vec<String>> = sources.iter().map(Source::module).collect();
    let mut nouns: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    let mut parts: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for source in sources {
        let own = source.module();
        for path in imports(source) {
            let Some(there) = (1..=path.len()).rev().map(|end| path[..end].to_vec()).find(|path| files.contains(path))
            else {
                continue;
            };
            let (noun, other) = (own[..own.len().min(2)].to_vec(), there[..there.len().min(2)].to_vec());
            if noun != other {
                nouns.entry(noun).or_default().insert(other);
            } else if !there.starts_with(&own) && !own.starts_with(&there) {
                parts.entry(own.clone()).or_default().insert(there);
            }
        }
    }
    [nouns, parts].iter().flat_map(in_circles).collect()
}

fn in_circles(graph: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Vec<String> {
    let reaches_itself = |start: &Vec<String>| {
        let (mut open, mut seen) = (vec![start], BTreeSet::new());
        while let Some(node) = open.pop() {
            for next in graph.get(node).into_iter().flatten() {
                if next == start {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    };
    graph.keys().filter(|node| reaches_itself(node)).map(|node| format!("{} is in a circle", node.join("::"))).collect()
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
    for folder in ["src", "bench/src", "ledger/src", "revio-sim/src", "tests"] {
        let sources = sources(folder);
        wrong.extend(sources.iter().filter_map(too_long));
        wrong.extend(sources.iter().filter_map(without_doc));
        wrong.extend(dead(&sources));
        if folder == "src" {
            wrong.extend(sources.iter().flat_map(homeless));
            wrong.extend(sources.iter().flat_map(upward));
            wrong.extend(circles(&sources));
            wrong.extend(too_much(&sources));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Messages of the log that are put together: a value in them would leave the house with the error (`telemetry/allowed.rs`). A line is
/// taken up to the end of its call; what stands before the last text are fields.
fn put_together(source: &Source) -> Vec<String> {
    let calls = ["error!(", "warn!(", "info!("].iter().flat_map(|call| source.code().split(call).skip(1));
    let line = |rest: &str| rest.split(");").next().unwrap_or_default().to_owned();
    let message = |line: &str| line.rsplit('"').nth(1).unwrap_or_default().to_owned();
    let wrong = calls.map(line).map(|line| message(&line)).filter(|message| message.contains('{'));
    wrong.map(|message| format!("{}: {message:?} is put together", source.name())).collect()
}

#[test]
fn every_message_of_the_log_stands_in_the_source() {
    let all: Vec<Source> = ["src", "ledger/src"].into_iter().flat_map(sources).collect();
    let wrong: Vec<String> = all.iter().flat_map(put_together).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let planted = |text: &str| Source { path: root().join("src/a.rs"), text: text.to_owned() };
    assert_eq!(put_together(&planted(r#"tracing::error!(id = 1, "no {name}");"#)).len(), 1);
    assert_eq!(put_together(&planted(r#"tracing::error!(id = "{", "no name");"#)).len(), 0);
}

#[test]
fn the_house_has_at_most_eleven_entries() {
    let entries = fs::read_dir(root().join("src")).expect("the folder is there").count();
    assert!(entries <= ENTRIES_MAX, "{entries} entries in src");
}

#[test]
fn every_fault_is_found_when_it_is_planted() {
    let planted = |name: &str, text: &str| Source { path: root().join("src").join(name), text: text.to_owned() };
    assert!(too_long(&planted("platform/clock.rs", &"\n".repeat(LINES_MAX + 1))).is_some());
    assert!(too_much(&[planted("platform/clock.rs", &"\n".repeat(LINES_IN_ALL_MAX + 1))]).is_some());
    assert!(without_doc(&planted("platform/clock.rs", "use std::fs;")).is_some());
    assert_eq!(homeless(&planted("money/deposits.rs", "sqlx::query!(\"\")")).len(), 1);
    assert_eq!(homeless(&planted("money/deposits/store.rs", "sqlx::query!(\"\")")).len(), 0);
    assert_eq!(homeless(&planted("provider/revio.rs", "use tigerbeetle_unofficial as tb;")).len(), 1);
    assert_eq!(upward(&planted("identity/users.rs", "use crate::money::deposits;")).len(), 1);
    assert_eq!(upward(&planted("identity/users.rs", "use crate::{app, books::{history, search}};")).len(), 1);
    assert_eq!(upward(&planted("money/deposits/routes.rs", "use crate::app::App;")).len(), 0);
    assert_eq!(upward(&planted("attic/trunk.rs", "")).len(), 1);
    let circle = |a: &str, b: &str| {
        circles(&[planted("money/a.rs", a), planted("money/b/c.rs", b), planted("money/b.rs", "")]).len()
    };
    assert_eq!(
        circle("use crate::money::{b::X};", "use crate::money::a::{Y, Z};"),
        2,
        "between nouns, through a child"
    );
    assert_eq!(circle("use crate::money::b;", "use crate::money::b::X;"), 0, "a child knows its parent");
    let siblings = [planted("money/a/b.rs", "use super::c::X;"), planted("money/a/c.rs", "use crate::money::a::b;")];
    assert_eq!(circles(&siblings).len(), 2);
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
    let rooms = ROOMS.iter().map(|room| format!("src/{room}/{file}.rs"));
    let places = [format!("tests/it/{file}.rs"), format!("ledger/src/{file}.rs")].into_iter().chain(rooms);
    let there = places
        .into_iter()
        .any(|place| fs::read_to_string(root().join(place)).is_ok_and(|text| text.contains(&format!("fn {name}("))));
    (!there).then(|| format!("{file}::{name} does not exist"))
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut named = Vec::new();
    for document in fs::read_dir(root().join("docs")).expect("there are documents") {
        let path = document.expect("readable").path();
        if path.extension().is_some_and(|kind| kind == "md") {
            named.extend(named_tests(&fs::read_to_string(&path).expect("readable")));
        }
    }
    assert!(named.len() > 150, "{} tests are named", named.len());
    let missing: Vec<String> = named.iter().filter_map(missing_test).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let planted = named_tests("a `users::nobody_ever_wrote_this` b");
    assert_eq!(planted.iter().filter_map(missing_test).count(), 1);
}
