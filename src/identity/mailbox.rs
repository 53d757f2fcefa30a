//! The mailbox that mails to an address reach: what they are counted under, so that nobody's is filled through its many addresses. `users`
//! and `emails` count what is asked for, `mails` what is told to an address that nobody has proven, and the links for forgotten passwords there.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};

use crate::platform::digest::sha256;

/// Redis need not know whose it is. The mailbox's own address, as `mailbox` makes it, is counted apart from all others that reach it: nobody uses
/// up what its owner may be sent by making up others.
pub fn bucket(email: &str) -> String {
    let mailbox = mailbox(email);
    if mailbox == email { hashed(email) } else { format!("others:{}", hashed(&mailbox)) }
}

pub fn hashed(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(sha256(text.as_bytes()))
}

/// Without what mail servers leave out: a tag behind a plus, and the dots that Google ignores. For counting only: what is stored and
/// written to is the address itself.
fn mailbox(email: &str) -> String {
    let Some((local, domain)) = email.rsplit_once('@') else { return email.to_owned() };
    let untagged = local.split_once('+').map_or(local, |(mailbox, _)| mailbox);
    let local = if untagged.is_empty() { local } else { untagged };
    match domain.trim_end_matches('.') {
        "gmail.com" | "googlemail.com" => format!("{}@gmail.com", local.replace('.', "")),
        domain => format!("{local}@{domain}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_mailbox_are_counted_as_one() {
        for (email, counted) in [
            ("thandi+5@example.com", "thandi@example.com"),
            ("thandi+a+b@example.com", "thandi@example.com"),
            ("t.han.di+x@gmail.com", "thandi@gmail.com"),
            ("thandi@googlemail.com", "thandi@gmail.com"),
            ("t.handi@example.com", "t.handi@example.com"),
            ("+5@example.com", "+5@example.com"),
        ] {
            assert_eq!(mailbox(email), counted);
            assert_eq!(bucket(email) == bucket(counted), email == counted, "{email}");
        }
        assert_eq!(bucket("thandi+1@example.com"), bucket("thandi+2@example.com"));
    }
}
