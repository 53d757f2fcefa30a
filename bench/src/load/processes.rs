//! Processor time and memory of a process with all that it has started, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::str::FromStr;

use octoco::platform::error::BoxError;
use serde_json::{Map, Value, json};

/// As Linux counts processor time, everywhere that this runs.
const TICK_MS: u64 = 10;

#[derive(Debug, Clone)]
pub(crate) struct Process {
    name: String,
    pid: u32,
}

impl FromStr for Process {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let (name, pid) = given.split_once('=').ok_or("must be name=pid")?;
        Ok(Self { name: name.to_owned(), pid: pid.parse().map_err(|_| "must be name=pid")? })
    }
}

/// This one.
pub(crate) fn own(name: &str) -> Process {
    Process { name: name.to_owned(), pid: std::process::id() }
}

/// Milliseconds so far, by name.
pub(crate) fn spent(processes: &[Process]) -> Result<Vec<(String, u64)>, BoxError> {
    let tree = tree()?;
    let of = |process: &Process| (process.name.clone(), sum(&tree, process.pid, &|stat: &Stat| stat.ticks) * TICK_MS);
    Ok(processes.iter().map(of).collect())
}

/// Milliseconds for each of `calls`.
pub(crate) fn each(before: &[(String, u64)], after: &[(String, u64)], calls: u64) -> Map<String, Value> {
    let took = before.iter().zip(after).map(|((name, before), (_, after))| {
        let each = after.saturating_sub(*before) as f64 / calls.max(1) as f64;
        (name.clone(), json!((each * 1000.0).round() / 1000.0))
    });
    took.collect()
}

pub(crate) fn resident(processes: &[Process]) -> Result<Map<String, Value>, BoxError> {
    let of = |process: &Process| Ok((process.name.clone(), json!(resident_of(process.pid)?)));
    processes.iter().map(of).collect()
}

fn resident_of(pid: u32) -> Result<u64, BoxError> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    Ok(line.split_whitespace().next().unwrap_or("0").parse::<u64>()? / 1000)
}

struct Stat {
    parent: u32,
    /// Its own, and those of children that have ended.
    ticks: u64,
}

fn tree() -> Result<HashMap<u32, Stat>, BoxError> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended meanwhile.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // A name may hold anything; behind its parenthesis the fields are fixed: state, parent, …, utime, stime, cutime, cstime.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let parent = u32::try_from(number(1)).unwrap_or(0);
        all.insert(pid, Stat { parent, ticks: (11..=14).map(number).sum() });
    }
    Ok(all)
}

fn sum(tree: &HashMap<u32, Stat>, of: u32, what: &dyn Fn(&Stat) -> u64) -> u64 {
    let own = tree.get(&of).map_or(0, what);
    tree.iter().filter(|(_, stat)| stat.parent == of).fold(own, |all, (child, _)| all + sum(tree, *child, what))
}
