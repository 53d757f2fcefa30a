//! The links of the audit log: pure functions over rows and hashes.

use std::collections::HashMap;

use aws_lc_rs::digest::{Context, SHA256};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use uuid::Uuid;

use super::ChainCheck;
use super::store::{Link, Row};

const HASH_BYTES: usize = 32;

/// What [`crate::identity::audit::prune_reads`] leaves in the place of who read what.
const PRUNED: &str = "pruned";

/// A place in the chain: how many links there are and the hash of the last one. Written `POSITION:HASH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub position: i64,
    pub hash: Vec<u8>,
}

impl Head {
    pub fn start() -> Self {
        Self { position: 0, hash: vec![0; HASH_BYTES] }
    }

    pub(super) fn at(link: &Link) -> Self {
        Self { position: link.position, hash: link.hash.clone() }
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(position, hash)| {
            Some(Self { position: position.parse().ok()?, hash: BASE64_URL_SAFE_NO_PAD.decode(hash).ok()? })
        });
        parts
            .filter(|head| head.position > 0 && head.hash.len() == HASH_BYTES)
            .ok_or_else(|| "a head is POSITION:HASH, as the log has it".to_owned())
    }

    fn next(&self, row: &Row) -> Link {
        let position = self.position.saturating_add(1);
        let hash = hash(&self.hash, position, row);
        Link { position, entry_id: row.id, previous_hash: self.hash.clone(), hash }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.position, BASE64_URL_SAFE_NO_PAD.encode(&self.hash))
    }
}

pub(super) fn links(mut head: Head, rows: &[Row]) -> Vec<Link> {
    let link = |row| {
        let link = head.next(row);
        head = Head::at(&link);
        link
    };
    rows.iter().map(link).collect()
}

/// Goes along `links` from `head`, which is moved; the first one that is wrong ends it.
pub(super) fn check(head: &mut Head, links: &[Link], rows: &[Row], noted: Option<&Head>) -> Result<(), ChainCheck> {
    let rows: HashMap<Uuid, &Row> = rows.iter().map(|row| (row.id, row)).collect();
    let next = head.position.saturating_add(1);
    let broken = |position, entry_id, reason| Err(ChainCheck::Broken { position, entry_id, reason });
    if links.is_empty() {
        return broken(next, None, "the links from here to the head are missing");
    }
    for link in links {
        let next = head.position.saturating_add(1);
        if link.position != next {
            return broken(next, None, "the link is missing");
        }
        let Some(row) = rows.get(&link.entry_id) else {
            return broken(next, Some(link.entry_id), "the row is missing");
        };
        if link.previous_hash != head.hash {
            return broken(next, Some(row.id), "the link does not hold the hash of the link before it");
        }
        if row.pruned.is_some() && !is_pruned_read(row) {
            return broken(next, Some(row.id), "the row was pruned, and is no read");
        }
        if head.next(row).hash != link.hash {
            return broken(next, Some(row.id), "the row does not have the hash of its link");
        }
        *head = Head::at(link);
        if noted.is_some_and(|noted| noted.position == head.position && noted != head) {
            return broken(next, Some(row.id), "the link is not the one that was noted");
        }
    }
    Ok(())
}

/// Only what staff read may be pruned, and nothing of it but its kind and its time is left.
fn is_pruned_read(row: &Row) -> bool {
    let gone = [&row.actor_role, &row.before, &row.after, &row.request_id, &row.address];
    row.action == "staff.called" && row.actor == PRUNED && gone.iter().all(|field| field.is_none())
}

/// Over the hash before, the position and every field: who did what by a hash of its own, which can stand in its place.
fn hash(previous: &[u8], position: i64, row: &Row) -> Vec<u8> {
    let at = row.at.timestamp_micros().to_be_bytes();
    let content = row.pruned.clone().unwrap_or_else(|| content(row));
    digest(&[
        Some(previous),
        Some(&position.to_be_bytes()),
        Some(row.id.as_bytes()),
        Some(&at),
        Some(row.action.as_bytes()),
        Some(row.object_kind.as_bytes()),
        Some(row.object_id.as_bytes()),
        Some(&content),
    ])
}

/// What is left of a row's content when it is pruned.
pub(super) fn content(row: &Row) -> Vec<u8> {
    digest(&[
        Some(row.actor.as_bytes()),
        row.actor_role.as_deref().map(str::as_bytes),
        row.before.as_deref().map(str::as_bytes),
        row.after.as_deref().map(str::as_bytes),
        row.request_id.as_deref().map(str::as_bytes),
        row.address.as_deref().map(str::as_bytes),
    ])
}

/// SHA-256 over fields, each with its length, so that no two rows read alike.
fn digest(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for field in fields {
        // No field is as long as the length that stands for one that is not there.
        let length =
            field.map_or(Ok(u64::MAX), |bytes| u64::try_from(bytes.len())).expect("a length fits into 64 bits");
        context.update(&length.to_be_bytes());
        context.update(field.unwrap_or_default());
    }
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};

    fn row(id: u128) -> Row {
        Row {
            id: Uuid::from_u128(id),
            at: Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).single().expect("a time"),
            actor: "system".to_owned(),
            actor_role: None,
            action: "user.role_changed".to_owned(),
            object_kind: "user".to_owned(),
            object_id: "7".to_owned(),
            before: Some(r#"{"role": "user"}"#.to_owned()),
            after: Some(r#"{"role": "admin"}"#.to_owned()),
            request_id: None,
            address: None,
            pruned: None,
        }
    }

    fn position_of(verdict: Result<(), ChainCheck>) -> Option<i64> {
        match verdict {
            Ok(()) => None,
            Err(ChainCheck::Broken { position, .. }) => Some(position),
            Err(intact @ ChainCheck::Intact { .. }) => panic!("{intact:?}"),
        }
    }

    #[test]
    fn every_field_of_every_row_is_held() {
        let rows: Vec<Row> = (1..=4).map(row).collect();
        let links = links(Head::start(), &rows);
        let check = |links: &[Link], rows: &[Row]| position_of(check(&mut Head::start(), links, rows, None));
        assert_eq!(check(&links, &rows), None);
        let changes: [fn(&mut Row); 11] = [
            |row| row.at += chrono::TimeDelta::microseconds(1),
            |row| row.actor.push('x'),
            |row| row.actor_role = Some(String::new()),
            |row| row.action.push('x'),
            |row| row.object_kind.push('x'),
            |row| row.object_id.push('x'),
            |row| row.before = None,
            |row| row.after = Some("{}".to_owned()),
            |row| row.request_id = Some("x".to_owned()),
            |row| row.address = Some("x".to_owned()),
            // The same letters over the border of two fields.
            |row| (row.object_kind, row.object_id) = ("use".to_owned(), "r7".to_owned()),
        ];
        for change in changes {
            let mut rows = rows.clone();
            change(&mut rows[2]);
            assert_eq!(check(&links, &rows), Some(3));
        }
        assert_eq!(check(&links, &rows[..3]), Some(4), "a row is gone");
        assert_eq!(check(&links[1..], &rows), Some(1), "a link is gone");
        let swapped = [&links[..1], &links[2..3], &links[1..2], &links[3..]].concat();
        assert_eq!(check(&swapped, &rows), Some(2));
    }

    #[test]
    fn a_read_that_was_pruned_keeps_its_place_and_nothing_else_may_be_pruned() {
        let mut rows: Vec<Row> = (1..=3).map(row).collect();
        rows[1] = Row { action: "staff.called".to_owned(), address: Some("192.0.2.1".to_owned()), ..row(2) };
        let links = links(Head::start(), &rows);
        let check = |rows: &[Row]| position_of(check(&mut Head::start(), &links, rows, None));
        let pruned = |row: &Row| Row {
            pruned: Some(content(row)),
            actor: PRUNED.to_owned(),
            before: None,
            after: None,
            address: None,
            ..row.clone()
        };
        let read = pruned(&rows[1]);
        let with = |index: usize, row: Row| {
            let mut rows = rows.clone();
            rows[index] = row;
            rows
        };
        assert_eq!(check(&with(1, read.clone())), None);
        assert_eq!(check(&with(2, pruned(&rows[2]))), Some(3), "it was a change of a role");
        assert_eq!(check(&with(1, Row { actor: "somebody".to_owned(), ..read.clone() })), Some(2));
        assert_eq!(check(&with(1, Row { pruned: Some(vec![0; HASH_BYTES]), ..read.clone() })), Some(2));
        assert_eq!(check(&with(1, Row { object_id: "audit.read".to_owned(), ..read })), Some(2), "what it read stays");
    }

    #[test]
    fn a_head_that_was_noted_is_compared() {
        let rows: Vec<Row> = (1..=2).map(row).collect();
        let links = links(Head::start(), &rows);
        let noted = Head::parse(&Head::at(&links[0]).to_string()).expect("as it was written");
        assert_eq!(noted, Head::at(&links[0]));
        assert_eq!(position_of(check(&mut Head::start(), &links, &rows, Some(&noted))), None);
        let other = Head { hash: vec![1; HASH_BYTES], ..noted };
        assert_eq!(position_of(check(&mut Head::start(), &links, &rows, Some(&other))), Some(1));
        for wrong in ["", "1", "1:", "1:AAAA", "x:AAAA"] {
            assert!(Head::parse(wrong).is_err(), "{wrong}");
        }
    }
}
