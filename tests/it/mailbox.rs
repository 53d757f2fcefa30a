//! The folder that a test's service writes its mails into.

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;

/// Gone with the test.
pub(crate) struct Mailbox(PathBuf);

/// One mail, as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Received(pub(crate) String);

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("octoco-mails-{}", Uuid::now_v7().simple())))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the system's folder has a plain name")
    }

    /// The mails to an address, oldest first.
    pub(crate) fn to(&self, address: &str) -> Vec<Received> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
        // Named by row: in the order of time.
        files.sort();
        let mails = files.iter().map(|file| Received(fs::read_to_string(file).expect("a mail is text")));
        mails.filter(|mail| mail.header("To") == Some(address)).collect()
    }

    /// The newest mail to an address that has this word in its subject.
    pub(crate) fn newest(&self, address: &str, subject: &str) -> Received {
        let mails = self.to(address);
        let found = mails.iter().rfind(|mail| mail.header("Subject").is_some_and(|text| text.contains(subject)));
        found.unwrap_or_else(|| panic!("no mail about {subject} among {mails:?}")).clone()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        // A test that sends no mail has no folder.
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next().unwrap_or_default();
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// What follows `#token=` in its link.
    pub(crate) fn token(&self) -> String {
        let token = self.0.split("#token=").nth(1).and_then(|rest| rest.split_whitespace().next());
        token.unwrap_or_else(|| panic!("no link in {}", self.0)).to_owned()
    }
}
