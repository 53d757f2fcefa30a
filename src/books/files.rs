//! What the files of exports and of statements have in common: they are sent while they are written, hashed on their way, and
//! end with `#end`. Their CSV is that of RFC 4180: UTF-8 without a byte order mark, CRLF, quotes where they are needed.

use std::borrow::Cow;
use std::future::{Future, ready};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use csv::{QuoteStyle, Terminator, WriterBuilder};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::time::Instant;

use crate::app::App;
use crate::identity::staff::Admitted;
use crate::platform::error::{BoxError, Error, Result};

/// How long a file may take to go out; a reader who is slower is cut off, and sees it by the end that is not there.
const STREAM_MAX: Duration = Duration::from_secs(600);

/// The first cell of a file's last record: no id and no time looks like it.
const END: &str = "#end";

/// What is sent while it is read. Nothing is held between two pages, no connection and no snapshot.
pub(super) trait Pages: Send + 'static {
    /// The bytes of the next page; `None` after the last one.
    fn next(&mut self, app: &App) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;
}

/// The next page is read when the one before has gone out, if the caller may still have it. A failure on the way breaks the transfer off.
/// `first` was made before the head of the answer: what fails by then is refused.
pub(super) fn sent(
    app: App,
    admitted: Admitted,
    first: Vec<u8>,
    pages: impl Pages,
) -> impl Stream<Item = Result<Vec<u8>, BoxError>> + Send {
    let started = Instant::now();
    let rest = stream::try_unfold(pages, move |mut pages| {
        let app = app.clone();
        async move {
            let page = match admitted.require(&app).await {
                Err(error) => Err(error),
                Ok(()) if started.elapsed() > STREAM_MAX => Err(Error::unavailable("the reader is too slow")),
                Ok(()) => pages.next(&app).await,
            };
            let page = page.inspect_err(|error| tracing::error!(error = error.chain(), "a file broke off"))?;
            Ok::<_, BoxError>(page.map(|page| (page, pages)))
        }
    });
    stream::once(ready(Ok(first))).chain(rest)
}

/// A file while it is written. Whoever writes has a clone of it; what was written is taken away and hashed.
#[derive(Clone)]
pub(super) struct Output(Arc<Mutex<Written>>);

struct Written {
    new: Vec<u8>,
    /// Of what was taken.
    hash: digest::Context,
    bytes: u64,
}

impl Output {
    pub(super) fn new() -> Self {
        let hash = digest::Context::new(&digest::SHA256);
        Self(Arc::new(Mutex::new(Written { new: Vec::new(), hash, bytes: 0 })))
    }

    /// What was written since the last time.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut written = self.lock();
        let new = std::mem::take(&mut written.new);
        written.hash.update(&new);
        written.bytes = written.bytes.saturating_add(u64::try_from(new.len()).unwrap_or(u64::MAX));
        new
    }

    /// How many bytes were taken, and their SHA-256.
    pub(super) fn taken(&self) -> (u64, String) {
        let written = self.lock();
        (written.bytes, hex::encode(written.hash.clone().finish()))
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().new.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `has_header`: the first record that is serialized tells the names of its fields.
pub(super) fn csv(output: &Output, has_header: bool) -> csv::Writer<Output> {
    WriterBuilder::new()
        .has_headers(has_header)
        .terminator(Terminator::CRLF)
        .quote_style(QuoteStyle::Necessary)
        .from_writer(output.clone())
}

/// A record of as many fields as every other: [`END`], the trailer as JSON, and nothing.
pub(super) fn end(csv: &mut csv::Writer<Output>, trailer: &impl Serialize, columns: usize) -> io::Result<()> {
    let trailer = serde_json::to_string(trailer)?;
    let empty = std::iter::repeat_n("", columns.saturating_sub(2));
    csv.write_record([END, &trailer].into_iter().chain(empty))?;
    csv.flush()
}

/// An apostrophe before whatever a spreadsheet would start to calculate at: at the beginning, and inside wherever one that
/// separates by something else than commas begins a cell. To it, quotes in the middle of a cell quote nothing.
pub(super) fn defused(value: &str) -> Cow<'_, str> {
    let breaks = |character| matches!(character, '\t' | '\r' | '\n');
    if !value.contains(|character| is_formula(character) || breaks(character)) {
        return Cow::Borrowed(value);
    }
    let mut quoted = String::with_capacity(value.len().saturating_add(1));
    if value.starts_with(breaks) {
        quoted.push('\'');
    }
    let mut begins = true;
    for character in value.chars() {
        if begins && is_formula(character) {
            quoted.push('\'');
        }
        quoted.push(character);
        begins = breaks(character) || character == ';' || begins && matches!(character, '"' | ' ');
    }
    Cow::Owned(quoted)
}

/// The wide forms too, which some spreadsheets take for the narrow ones.
pub(super) fn is_formula(character: char) -> bool {
    matches!(character, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠')
}

/// `-12.50` of -1250 with two places.
pub fn decimal(minor: i64, places: u8) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let places = usize::from(places);
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = places.saturating_add(1));
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(places));
    let point = if places == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_has_the_places_of_its_currency() {
        for (minor, places, expected) in [
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (1250, 2, "12.50"),
            (-125_000, 2, "-1250.00"),
            (7, 0, "7"),
            (-1, 3, "-0.001"),
            (i64::MAX, 2, "92233720368547758.07"),
            (i64::MIN, 2, "-92233720368547758.08"),
        ] {
            assert_eq!(decimal(minor, places), expected);
        }
    }

    #[test]
    fn a_formula_becomes_text() {
        for start in ["=", "+", "-", "@", "＝", "＋", "－", "＠"] {
            for separator in [";", "\t", "\r", "\n", "; \"", "\"x\";\""] {
                assert_eq!(defused(&format!("a{separator}{start}1")), format!("a{separator}'{start}1"));
            }
        }
        for start in ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"] {
            assert_eq!(defused(&format!("{start}1+1")), format!("'{start}1+1"));
        }
        for harmless in ["rent = 5", "a-b", "", "ünï ☃", "a;b"] {
            assert_eq!(defused(harmless), harmless);
        }
    }

    #[test]
    fn a_file_is_hashed_as_it_is_taken_and_its_end_is_a_record_like_every_other() {
        let output = Output::new();
        let mut csv = csv(&output, false);
        for record in [["a", "b", ""], ["a,b", "a\"b", "a\r\nb"]] {
            csv.write_record(record).expect("three fields");
        }
        csv.flush().expect("into memory");
        assert_eq!(output.take(), b"a,b,\r\n\"a,b\",\"a\"\"b\",\"a\r\nb\"\r\n");
        let before = output.taken();
        assert_eq!(before.0, 27);
        end(&mut csv, &before.1, 3).expect("three fields");
        assert_eq!(output.take(), format!("#end,\"\"\"{}\"\"\",\r\n", before.1).into_bytes());
        assert!(csv.write_record(["a"]).is_err(), "fields are missing");
    }
}
