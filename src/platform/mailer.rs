//! Sends one mail of plain text. Which mail goes to whom, when, and how often it is tried is decided by `mails.rs`.
//!
//! | `SMTP_URL` | `MAIL_FOLDER` | a mail |
//! |---|---|---|
//! | set | ignored | goes to that server, within a deadline |
//! | not set | set | becomes a file there: development and tests |
//! | not set | not set | fails, and is listed as any mail that fails |
//!
//! An error says whose fault it is ([`Trouble`]): the server's, for which no mail is given up, or the mail's own.
//!
//! What a mail server says may repeat the address, so nothing of it goes further than its code.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{fs, os::unix::fs::OpenOptionsExt, time::Duration};

use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp::{self, extension::ClientId};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use uuid::Uuid;

use crate::platform::clock::DateTime;

/// Of RFC 5322, without the line break.
const LINE_BYTES_MAX: usize = 998;

/// One mail. Its words are ours alone, in ASCII: nothing that anybody could have chosen stands in it but the address.
pub struct Mail<'a> {
    /// A mail that is sent twice carries the same id.
    pub id: Uuid,
    pub to: &'a str,
    pub subject: &'a str,
    /// Printable ASCII in lines of at most 998 characters.
    pub text: &'a str,
    pub at: DateTime,
}

/// Why a mail did not go out; never whom it was for.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("neither SMTP_URL nor MAIL_FOLDER is set")]
    Nowhere,
    #[error("it cannot be written as a mail")]
    Unwritable,
    #[error("the mail server refused it with {0}")]
    Refused(u16),
    #[error("the mail server did not take it within {} s", .0.as_secs())]
    Deadline(Duration),
    #[error("the mail server did not say that it has it, and answers otherwise")]
    Unanswered,
    #[error("the mail server could not be used: {0}")]
    Server(String),
    #[error("it cannot be written into the folder: {0}")]
    Folder(io::ErrorKind),
}

/// Whose fault it is, which decides how long it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The server's, or of the way to it: it is so for every mail, and ends by itself.
    Server,
    /// The server takes this one later: greylisting, a mailbox that is full.
    Later,
    /// The mail's own: it will never be taken.
    Mail,
}

#[derive(Debug, Clone)]
pub enum Way {
    Smtp(SmtpUrl),
    Folder(PathBuf),
    Nowhere,
}

/// A mail server: `smtps://user:password@host`, or `smtp://…?tls=required` for STARTTLS.
#[derive(Debug, Clone)]
pub struct SmtpUrl(SecretString);

#[derive(Debug, Clone)]
pub struct Sender(Mailbox);

pub struct Mailer {
    from: Mailbox,
    outlet: Outlet,
    deadline: Duration,
}

enum Outlet {
    Smtp(Box<Smtp>),
    Folder(PathBuf),
    Nowhere,
}

type Smtp = AsyncSmtpTransport<Tokio1Executor>;

impl SmtpUrl {
    /// Whoever reads a link on its way has the account. So the way is encrypted, unless it does not leave the machine or
    /// `?tls=none` says that the network is ours.
    /// An error never repeats the value: it holds a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut url = reqwest::Url::parse(text).map_err(|_| "is not a URL".to_owned())?;
        let host = url.host_str().ok_or_else(|| "names no host".to_owned())?.to_owned();
        let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        match (url.scheme(), tls.as_deref()) {
            ("smtps", None) | ("smtp", Some("required")) => {}
            ("smtp", None) if ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str()) => {}
            ("smtp", Some("none")) => url.set_query(None),
            ("smtp", None) => return Err("must be smtps:// or end in ?tls=required (or ?tls=none)".to_owned()),
            _ => return Err("must be smtp:// or smtps://, with tls=required or tls=none if any".to_owned()),
        }
        transport(url.as_str()).map_err(|_| "cannot be used".to_owned())?;
        Ok(Self(SecretString::from(String::from(url))))
    }
}

impl Sender {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mailbox = text.parse::<Mailbox>().ok().filter(|_| text.is_ascii());
        mailbox.map(Self).ok_or_else(|| "is not `address` or `Name <address>`".to_owned())
    }
}

impl Mailer {
    pub fn new(way: &Way, from: &Sender, deadline: Duration) -> Result<Self, smtp::Error> {
        let from = from.0.clone();
        let outlet = match way {
            Way::Smtp(SmtpUrl(url)) => {
                let name = ClientId::Domain(from.email.domain().to_owned());
                let transport = transport(url.expose_secret())?.hello_name(name).timeout(Some(deadline)).build();
                Outlet::Smtp(Box::new(transport))
            }
            Way::Folder(folder) => Outlet::Folder(folder.clone()),
            Way::Nowhere => Outlet::Nowhere,
        };
        Ok(Self { from, outlet, deadline })
    }

    pub fn goes_somewhere(&self) -> bool {
        !matches!(self.outlet, Outlet::Nowhere)
    }

    /// After an error it may have arrived all the same.
    pub async fn send(&self, mail: &Mail<'_>) -> Result<(), MailError> {
        let message = self.message(mail)?;
        match &self.outlet {
            Outlet::Smtp(transport) => self.by_smtp(transport, message).await,
            Outlet::Folder(folder) => {
                let (folder, name, text) = (folder.clone(), mail.id.to_string(), message.formatted());
                let written = tokio::task::spawn_blocking(move || write(&folder, &name, &text)).await;
                let written = written.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
                written.map_err(|error| MailError::Folder(error.kind()))?;
                tracing::info!(mail.id = %mail.id, "a mail was written into MAIL_FOLDER");
                Ok(())
            }
            Outlet::Nowhere => Err(MailError::Nowhere),
        }
    }

    /// A server that is silent about one mail may have it, and would be sent it again and again: whether it is away is asked by itself.
    async fn by_smtp(&self, transport: &Smtp, message: Message) -> Result<(), MailError> {
        let error = match timeout(self.deadline, transport.send(message)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => MailError::of(&error),
            Err(_) => MailError::Deadline(self.deadline),
        };
        let is_silence = matches!(error, MailError::Deadline(_));
        let is_there = is_silence && matches!(timeout(self.deadline, transport.test_connection()).await, Ok(Ok(true)));
        Err(if is_there { MailError::Unanswered } else { error })
    }

    fn message(&self, mail: &Mail<'_>) -> Result<Message, MailError> {
        let fits = |line: &str| line.len() <= LINE_BYTES_MAX && line.bytes().all(|b| (b' '..=b'~').contains(&b));
        if !mail.text.lines().all(fits) {
            return Err(MailError::Unwritable);
        }
        // As it is: in any other encoding a link is broken into lines, and is one that somebody cannot copy.
        let text = mail.text.replace('\n', "\r\n").into_bytes();
        let body = Body::dangerous_pre_encoded(text, ContentTransferEncoding::SevenBit);
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, mail.to.parse().map_err(|_| MailError::Unwritable)?))
            .date(mail.at.into())
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())))
            .subject(mail.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body)
            .map_err(|_| MailError::Unwritable)
    }
}

impl MailError {
    pub fn trouble(&self) -> Trouble {
        match self {
            // 421: it shuts down. 53x: it does not let us in, whatever the mail is.
            Self::Deadline(_) | Self::Server(_) | Self::Folder(_) | Self::Refused(421 | 530..=539) => Trouble::Server,
            Self::Refused(400..500) => Trouble::Later,
            Self::Refused(_) | Self::Unanswered | Self::Nowhere | Self::Unwritable => Trouble::Mail,
        }
    }

    fn of(error: &smtp::Error) -> Self {
        if let Some(code) = error.status() {
            return Self::Refused(code.into());
        }
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            if let Some(error) = source.downcast_ref::<io::Error>() {
                return Self::Server(error.kind().to_string());
            }
            cause = source.source();
        }
        let what = if error.is_tls() {
            "TLS failed"
        } else if error.is_client() {
            "it lacks what this mail needs"
        } else {
            "what it says is not SMTP"
        };
        Self::Server(what.to_owned())
    }
}

fn transport(url: &str) -> Result<smtp::AsyncSmtpTransportBuilder, smtp::Error> {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
}

/// Whole or not at all, and for nobody else on the machine to read.
fn write(folder: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let (unfinished, done) = (folder.join(format!(".{name}")), folder.join(format!("{name}.eml")));
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(text)?;
    fs::rename(unfinished, done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_reached_encrypted_or_on_this_machine_or_knowingly_in_the_clear() {
        for good in [
            "smtps://user:secret@mail.example.com",
            "smtp://user:secret@mail.example.com:587?tls=required",
            "smtp://127.0.0.1:1025",
            "smtp://localhost",
            "smtp://relay:25?tls=none",
        ] {
            assert!(SmtpUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://user:secret@mail.example.com",
            "smtp://user:secret@mail.example.com?tls=opportunistic",
            "smtp://localhost.example.com",
        ] {
            let reason = SmtpUrl::parse(bad).expect_err(bad);
            assert!(!reason.contains("secret"));
        }
        assert!(!format!("{:?}", SmtpUrl::parse("smtps://user:secret@mail.example.com")).contains("secret"));
    }

    #[test]
    fn nothing_in_a_mail_can_become_a_header() {
        let from = Sender::parse("Octoco <octoco@example.com>").expect("an address");
        let mailer = Mailer::new(&Way::Nowhere, &from, Duration::from_secs(1)).expect("nothing to connect to");
        let link = format!("https://app.example.com/#token={}", "x".repeat(200));
        let write = |to, text: &str| {
            let mail = Mail { id: Uuid::nil(), to, subject: "Hello", text, at: DateTime::UNIX_EPOCH };
            mailer.message(&mail).map(|message| String::from_utf8(message.formatted()).expect("ASCII"))
        };
        let text = |to| write(to, &format!("a\n{link}\nb"));
        let mail = text("anna@example.com").expect("a mail");
        assert!(
            mail.contains("To: anna@example.com\r\n") && mail.ends_with(&format!("\r\n\r\na\r\n{link}\r\nb")),
            "{mail}"
        );
        assert!(mail.contains("Message-ID: <00000000-0000-0000-0000-000000000000@example.com>\r\n"), "{mail}");
        for to in ["anna@example.com\r\nBcc: b@example.com", "a@example.com,b@example.com", "anna@example.com\0", ""] {
            assert!(text(to).is_err(), "{to:?}");
        }
        for wrong in ["ä", "a\rb", "\0", &"x".repeat(999)] {
            assert!(write("anna@example.com", wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_sender_is_an_address_with_or_without_a_name() {
        for good in ["octoco@example.com", "Octoco <octoco@example.com>"] {
            assert!(Sender::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "octoco", "Octoco <octoco>", "a@example.com, b@example.com", "Öctoco <octoco@example.com>"] {
            assert!(Sender::parse(bad).is_err(), "{bad}");
        }
    }
}
