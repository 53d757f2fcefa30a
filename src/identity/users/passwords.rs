//! Which passwords somebody may choose: long enough, not one that anybody would try.

use std::{collections::HashSet, sync::LazyLock};

use secrecy::{ExposeSecret, SecretString};

use super::Email;
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::hashing::one_spelling;
use crate::platform::http::is_invisible;

pub const CHARS_MIN: usize = 8;
/// Longer ones add nothing but work for an attacker to give us.
pub const CHARS_MAX: usize = 128;
/// What people hang behind a word to please a rule: `Summer2024!` is `summer`.
const TAIL_CHARS_MAX: usize = 5;

static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().filter(|line| !line.starts_with('#')).collect());

/// Whether somebody may choose this password: long enough, not one that everybody tries, not the e-mail.
pub fn check(field: &str, password: &SecretString, email: Option<&Email>) -> Result<()> {
    let spelled = one_spelling(password);
    let password = spelled.as_ref().unwrap_or(password).expose_secret();
    if !(CHARS_MIN..=CHARS_MAX).contains(&password.chars().count()) {
        return Err(Error::field(field, Wrong::Length(CHARS_MIN, CHARS_MAX, "characters")));
    }
    // What has none may be a sign that is newer than the profile's tables, as an emoji is: it is taken as it is.
    if spelled.is_none() && password.chars().any(|c| c.is_control() || c != ' ' && is_invisible(c)) {
        return Err(Error::field(field, Wrong::Characters("must not hold control characters or what cannot be seen")));
    }
    let lower = password.to_lowercase();
    if is_common(&lower) {
        return Err(Error::field(field, "is one of the first that anybody would try"));
    }
    if email.is_some_and(|email| email.as_str() == lower || email.local_part() == lower) {
        return Err(Error::field(field, "must not be the e-mail"));
    }
    Ok(())
}

/// On the list, as it is or without its tail; or one character again and again.
fn is_common(lower: &str) -> bool {
    let stem = lower.trim_end_matches(|c: char| !c.is_alphabetic());
    let tail = lower.chars().count() - stem.chars().count();
    let first = lower.chars().next();
    COMMON.contains(lower) || tail <= TAIL_CHARS_MAX && COMMON.contains(stem) || lower.chars().all(|c| Some(c) == first)
}
