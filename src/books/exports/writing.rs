//! An export while it is written: its format, its sums and the hash of its bytes so far. It knows neither where the rows come
//! from nor where the bytes go, and between two pages it can be stored and taken up again, by any process, byte for byte.

use serde::{Deserialize, Serialize};
use sha2::Digest;
use sha2::Sha256;
use sha2::digest::common::hazmat::SerializableState;
use uuid::Uuid;

use super::trailer::{StoredLine, Totals, Trailer};
use super::xlsx::Workbook;
use super::{Format, csv, jsonl};
use crate::books::history::Scope;
use crate::money::transactions::Transaction;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};

pub(super) struct Writing {
    scope: Scope,
    after: Option<Uuid>,
    encoder: Encoder,
    totals: Totals,
    hash: Sha256,
    bytes: u64,
}

enum Encoder {
    Csv,
    Jsonl,
    Xlsx(Workbook),
}

/// A [`Writing`] between two pages.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    after: Option<Uuid>,
    workbook: Option<Workbook>,
    totals: Vec<StoredLine>,
    /// The state inside SHA-256.
    hash: Vec<u8>,
    bytes: u64,
}

impl Writing {
    /// Writes what comes before the first row. `after` is only told in the trailer.
    pub(super) fn begin(format: Format, scope: Scope, after: Option<Uuid>, out: &mut Vec<u8>) -> Self {
        let before = out.len();
        let encoder = match format {
            Format::Csv => {
                csv::header(scope, out);
                Encoder::Csv
            }
            Format::Jsonl => Encoder::Jsonl,
            Format::Xlsx => Encoder::Xlsx(Workbook::begin(scope, out)),
        };
        let mut writing = Self { scope, after, encoder, totals: Totals::default(), hash: Sha256::new(), bytes: 0 };
        writing.count(out, before);
        writing
    }

    /// # Errors
    /// [`Error::Invalid`] that names `format` when it cannot hold so many rows.
    pub(super) fn rows(&mut self, rows: Vec<Transaction>, out: &mut Vec<u8>) -> Result<()> {
        let before = out.len();
        rows.iter().for_each(|row| self.totals.add(row));
        match &mut self.encoder {
            Encoder::Csv => rows.iter().for_each(|row| csv::row(self.scope, row, out)),
            Encoder::Jsonl => rows.into_iter().for_each(|row| jsonl::row(self.scope, row, out)),
            Encoder::Xlsx(workbook) => workbook.rows(self.scope, &rows, out)?,
        }
        self.count(out, before);
        Ok(())
    }

    /// Writes the trailer and whatever the format needs after it.
    pub(super) fn finish(mut self, now: DateTime, out: &mut Vec<u8>) -> Trailer {
        let before = out.len();
        if let Encoder::Xlsx(workbook) = &mut self.encoder {
            workbook.end_rows(out);
        }
        self.count(out, before);
        let trailer = Trailer {
            rows: self.totals.rows(),
            bytes: self.bytes,
            sha256: hex(&self.hash.finalize()),
            after: self.after,
            finished_at: now,
            totals: self.totals.told(),
        };
        match self.encoder {
            Encoder::Csv => csv::trailer(self.scope, &jsonl::text(&trailer), out),
            Encoder::Jsonl => jsonl::trailer(&trailer, out),
            Encoder::Xlsx(workbook) => workbook.finish(&trailer, out),
        }
        trailer
    }

    pub(super) fn row_count(&self) -> u64 {
        self.totals.rows()
    }

    pub(super) fn store(&self) -> Stored {
        Stored {
            after: self.after,
            workbook: match &self.encoder {
                Encoder::Csv | Encoder::Jsonl => None,
                Encoder::Xlsx(workbook) => Some(workbook.clone()),
            },
            totals: self.totals.store(),
            hash: self.hash.serialize().to_vec(),
            bytes: self.bytes,
        }
    }

    /// # Errors
    /// When it was not stored by us.
    pub(super) fn resume(format: Format, scope: Scope, stored: Stored) -> Result<Self> {
        let unreadable = || Error::internal("the checkpoint of an export cannot be read");
        let hash = stored.hash.as_slice().try_into().map_err(|_| unreadable())?;
        let encoder = match format {
            Format::Csv => Encoder::Csv,
            Format::Jsonl => Encoder::Jsonl,
            Format::Xlsx => Encoder::Xlsx(stored.workbook.ok_or_else(unreadable)?),
        };
        Ok(Self {
            scope,
            after: stored.after,
            encoder,
            totals: Totals::read(&stored.totals)?,
            hash: Sha256::deserialize(hash).map_err(|_| unreadable())?,
            bytes: stored.bytes,
        })
    }

    fn count(&mut self, out: &[u8], before: usize) {
        let new = &out[before..];
        self.hash.update(new);
        self.bytes = self.bytes.saturating_add(u64::try_from(new.len()).unwrap_or(u64::MAX));
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
