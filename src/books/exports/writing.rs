//! An export while it is written: its format, its sums and the hash of its bytes so far. It knows neither where the rows come
//! from nor where the bytes go, and holds none of either.

use std::io::{self, Write};

use serde_json::json;
use uuid::Uuid;

use super::Format;
use super::columns::{cells, header};
use super::more::Entry;
use super::trailer::{Totals, Trailer};
use super::xlsx::{SHEET_ROWS_MAX, Workbook};
use crate::books::files::{self, Output};
use crate::books::history::Scope;
use crate::platform::{clock::DateTime, zone::Zone};

pub(super) struct Writing {
    scope: Scope,
    zone: Zone,
    after: Option<Uuid>,
    encoder: Encoder,
    output: Output,
    totals: Totals,
}

enum Encoder {
    Csv(Box<csv::Writer<Output>>),
    Jsonl,
    Xlsx(Box<Workbook>),
}

impl Writing {
    /// Writes what comes before the first row. `after` is only told in the trailer.
    pub(super) fn begin(format: Format, scope: Scope, zone: Zone, after: Option<Uuid>) -> io::Result<Self> {
        let output = Output::new();
        let encoder = match format {
            Format::Csv => {
                let mut csv = files::csv(&output, false);
                csv.serialize(header(scope))?;
                Encoder::Csv(Box::new(csv))
            }
            Format::Jsonl => Encoder::Jsonl,
            Format::Xlsx => Encoder::Xlsx(Box::new(Workbook::begin(SHEET_ROWS_MAX, header(scope), &output)?)),
        };
        Ok(Self { scope, zone, after, encoder, output, totals: Totals::default() })
    }

    /// The bytes of these rows, as far as they are written: a workbook keeps some kilobytes back.
    pub(super) fn rows(&mut self, rows: Vec<Entry>) -> io::Result<Vec<u8>> {
        rows.iter().for_each(|row| self.totals.add(&row.row));
        match &mut self.encoder {
            Encoder::Csv(csv) => {
                for row in &rows {
                    csv.serialize(cells(self.scope, self.zone, row))?;
                }
                csv.flush()?;
            }
            Encoder::Jsonl => {
                for row in rows {
                    line(&mut self.output, row.into_json(self.scope)?)?;
                }
            }
            Encoder::Xlsx(workbook) => {
                workbook.rows(&rows.iter().map(|row| cells(self.scope, self.zone, row)).collect::<Vec<_>>())?;
            }
        }
        Ok(self.output.take())
    }

    /// The rest: the trailer, and whatever the format needs before and after it.
    pub(super) fn finish(mut self, now: DateTime) -> io::Result<(Vec<u8>, Trailer)> {
        match &mut self.encoder {
            Encoder::Csv(csv) => csv.flush()?,
            Encoder::Jsonl => {}
            Encoder::Xlsx(workbook) => workbook.end_rows()?,
        }
        let rest = self.output.take();
        let (bytes, sha256) = self.output.taken();
        let (rows, totals) = (self.totals.rows(), self.totals);
        let trailer = Trailer { rows, bytes, sha256, after: self.after, finished_at: now, totals };
        match self.encoder {
            Encoder::Csv(mut csv) => files::end(&mut csv, &trailer, header(self.scope).len())?,
            Encoder::Jsonl => line(&mut self.output, serde_json::to_vec(&json!({"trailer": trailer}))?)?,
            Encoder::Xlsx(workbook) => workbook.finish(&trailer)?,
        }
        Ok(([rest, self.output.take()].concat(), trailer))
    }
}

fn line(output: &mut Output, mut line: Vec<u8>) -> io::Result<()> {
    line.push(b'\n');
    output.write_all(&line)
}
