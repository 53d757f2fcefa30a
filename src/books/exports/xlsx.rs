//! A workbook (Office Open XML, ECMA-376), streamed: sheets of rows, then a sheet `Trailer`. Times are real dates and amounts
//! real numbers; whatever is text is stored as text, so that nothing in it is ever calculated.
//!
//! The XML is written here and not by a library: those that there are keep a whole sheet in memory or on disk until the
//! workbook is closed.

use std::borrow::Cow;
use std::io::{self, Write};

use chrono::NaiveDateTime;
use uuid::Uuid;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::columns::Cell;
use super::trailer::{Sums, Trailer};
use crate::books::files::{self, Output};

/// What a sheet can hold.
pub(super) const SHEET_ROWS_MAX: usize = 1_048_576;
/// Beyond 4 GiB a part would need ZIP64, which not every program reads; the rest is for the last page.
const SHEET_BYTES_MAX: usize = (1 << 32) - (64 << 20);
/// More than any program opens.
const SHEETS_MAX: usize = 20;
/// A cell holds 32,767 UTF-16 units; a character is at most two.
const CELL_CHARS_MAX: usize = 16_383;

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const CONTENT: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";
const SHEET_END: &str = "</sheetData></worksheet>";

/// Cell formats, by their place in [`styles`]: those of decimals follow each other by the places of the currency.
const TIME_STYLE: u8 = 1;
const DECIMAL_STYLE: u8 = 2;
/// Behind those of no place to four.
const DAY_STYLE: u8 = 7;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Day 0 of a spreadsheet is 1899-12-30; this is 1970-01-01.
const EPOCH_DAY: i64 = 25_569;

pub(super) struct Workbook {
    zip: ZipWriter<StreamWriter<Output>>,
    /// The names of the columns.
    header: Vec<Cell<'static>>,
    sheets: usize,
    /// Of the sheet at hand, its header included.
    rows: usize,
    bytes: usize,
    rows_max: usize,
}

impl Workbook {
    pub(super) fn begin(rows_max: usize, header: Vec<Cell<'static>>, output: &Output) -> io::Result<Self> {
        let zip = ZipWriter::new_stream(output.clone());
        let mut workbook = Self { zip, header, sheets: 0, rows: 0, bytes: 0, rows_max };
        workbook.part("[Content_Types].xml", &content_types())?;
        workbook.part("_rels/.rels", &relations(&relation(1, "officeDocument", "xl/workbook.xml")))?;
        workbook.part("xl/styles.xml", &styles())?;
        workbook.begin_sheet()?;
        Ok(workbook)
    }

    pub(super) fn rows(&mut self, rows: &[Vec<Cell<'_>>]) -> io::Result<()> {
        let mut rest = rows;
        while !rest.is_empty() {
            if self.rows >= self.rows_max || self.bytes > SHEET_BYTES_MAX {
                self.write(SHEET_END)?;
                if self.sheets >= SHEETS_MAX {
                    return Err(io::Error::other("xlsx cannot hold so many rows: use csv or jsonl"));
                }
                self.begin_sheet()?;
            }
            let (now, later) = rest.split_at(self.rows_max.saturating_sub(self.rows).min(rest.len()));
            let mut xml = String::with_capacity(now.len().saturating_mul(1_000));
            now.iter().for_each(|cells| row(&mut xml, cells));
            self.write(&xml)?;
            self.rows = self.rows.saturating_add(now.len());
            rest = later;
        }
        Ok(())
    }

    /// Ends the last sheet of rows: what is written from here on is not part of what the trailer hashes.
    pub(super) fn end_rows(&mut self) -> io::Result<()> {
        self.write(SHEET_END)?;
        // A part ends when the next one begins.
        self.start("xl/worksheets/trailer.xml")
    }

    /// The sheet `Trailer`, and what makes a workbook of all these parts.
    pub(super) fn finish(mut self, trailer: &Trailer) -> io::Result<()> {
        self.write(&trailer_sheet(trailer))?;
        let (mut sheets, mut related) = (String::new(), String::new());
        let last = self.sheets.saturating_add(1);
        for number in 1..=last {
            let (name, file) = match number {
                1 => ("Transactions".to_owned(), "sheet1".to_owned()),
                _ if number == last => ("Trailer".to_owned(), "trailer".to_owned()),
                _ => (format!("Transactions {number}"), format!("sheet{number}")),
            };
            sheets.push_str(&format!(r#"<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>"#));
            related.push_str(&relation(number, "worksheet", &format!("worksheets/{file}.xml")));
        }
        related.push_str(&relation(last.saturating_add(1), "styles", "styles.xml"));
        let book =
            format!(r#"{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>{sheets}</sheets></workbook>"#);
        self.part("xl/workbook.xml", &book)?;
        self.part("xl/_rels/workbook.xml.rels", &relations(&related))?;
        self.zip.finish()?;
        Ok(())
    }

    fn begin_sheet(&mut self) -> io::Result<()> {
        (self.sheets, self.rows, self.bytes) = (self.sheets.saturating_add(1), 1, 0);
        self.start(&format!("xl/worksheets/sheet{}.xml", self.sheets))?;
        let mut xml = sheet_start();
        row(&mut xml, &self.header);
        self.write(&xml)
    }

    fn part(&mut self, name: &str, contents: &str) -> io::Result<()> {
        self.start(name)?;
        self.write(contents)
    }

    fn start(&mut self, name: &str) -> io::Result<()> {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        // The quickest: a workbook is to come as fast as its rows.
        Ok(self.zip.start_file(name, options.compression_level(Some(1)))?)
    }

    fn write(&mut self, xml: &str) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(xml.len());
        self.zip.write_all(xml.as_bytes())
    }
}

fn sheet_start() -> String {
    format!(r#"{HEAD}<worksheet xmlns="{MAIN}"><sheetData>"#)
}

fn relation(number: usize, kind: &str, target: &str) -> String {
    format!(r#"<Relationship Id="rId{number}" Type="{RELATIONS}/{kind}" Target="{target}"/>"#)
}

fn relations(all: &str) -> String {
    format!(r#"{HEAD}<Relationships xmlns="{PACKAGE}/relationships">{all}</Relationships>"#)
}

/// Sheets are the default for XML, so that this can stand at the front, where their number is not known yet.
fn content_types() -> String {
    format!(
        r#"{HEAD}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="{CONTENT}.worksheet+xml"/><Override PartName="/xl/workbook.xml" ContentType="{CONTENT}.sheet.main+xml"/><Override PartName="/xl/styles.xml" ContentType="{CONTENT}.styles+xml"/></Types>"#
    )
}

/// Text, times, then decimals of no place to four, then days.
fn styles() -> String {
    let formats: String = [0, 164, 1, 165, 2, 166, 167, 168]
        .map(|id| format!(r#"<xf numFmtId="{id}" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>"#))
        .concat();
    format!(
        r#"{HEAD}<styleSheet xmlns="{MAIN}"><numFmts count="5"><numFmt numFmtId="164" formatCode="yyyy\-mm\-dd\ hh:mm:ss.000"/><numFmt numFmtId="165" formatCode="0.0"/><numFmt numFmtId="166" formatCode="0.000"/><numFmt numFmtId="167" formatCode="0.0000"/><numFmt numFmtId="168" formatCode="yyyy\-mm\-dd"/></numFmts><fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="8">{formats}</cellXfs></styleSheet>"#
    )
}

fn trailer_sheet(trailer: &Trailer) -> String {
    let mut xml = sheet_start();
    let mut line =
        |cells: &[&str]| row(&mut xml, &cells.iter().map(|cell| Cell::Text(Cow::Borrowed(*cell))).collect::<Vec<_>>());
    line(&["rows", &trailer.rows.to_string()]);
    line(&["bytes", &trailer.bytes.to_string()]);
    line(&["sha256", &trailer.sha256]);
    line(&["after", &trailer.after.map(|id| id.to_string()).unwrap_or_default()]);
    line(&["finished_at", &trailer.finished_at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)]);
    line(&["currency", "kind", "rows", "amount", "completed_amount", "completed_credits", "completed_debits"]);
    let mut sums = |currency: &str, kind: &str, sums: &Sums| {
        let amounts = [sums.amount, sums.completed_amount, sums.completed_credits, sums.completed_debits];
        let [all, completed, credits, debits] = amounts.map(|amount| amount.to_string());
        line(&[currency, kind, &sums.rows.to_string(), &all, &completed, &credits, &debits]);
    };
    for (currency, totals) in &trailer.totals.0 {
        sums(currency, "", &totals.sums);
        totals.kinds.iter().for_each(|(kind, of_kind)| sums(currency, kind, of_kind));
    }
    xml + SHEET_END
}

fn row(xml: &mut String, cells: &[Cell<'_>]) {
    xml.push_str("<row>");
    for cell in cells {
        match cell {
            Cell::Empty => xml.push_str("<c/>"),
            Cell::Text(value) => text(xml, value),
            Cell::Id(id) => text(xml, id.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
            Cell::Integer(value) => number(xml, 0, &value.to_string()),
            Cell::Decimal(amount) => {
                let places = amount.currency().exponent();
                number(xml, DECIMAL_STYLE.saturating_add(places), &files::decimal(amount.minor(), places));
            }
            Cell::Time(time) => number(xml, TIME_STYLE, &serial_day(time.zone.wall(time.at))),
            Cell::Day(day) => number(xml, DAY_STYLE, &serial_day(day.and_time(chrono::NaiveTime::MIN))),
            Cell::Json(metadata) => text(xml, &metadata.to_json().to_string()),
        }
    }
    xml.push_str("</row>");
}

fn number(xml: &mut String, style: u8, value: &str) {
    xml.push_str(&format!(r#"<c s="{style}"><v>{value}</v></c>"#));
}

/// Days since 1899-12-30, as spreadsheets count: to eleven places, which is finer than a microsecond.
fn serial_day(at: NaiveDateTime) -> String {
    let micros = at.and_utc().timestamp_micros();
    let day = micros.div_euclid(MICROS_PER_DAY).saturating_add(EPOCH_DAY);
    // 10^11 / 86,400,000,000 in lowest terms, so that it stays within 64 bits.
    let fraction = micros.rem_euclid(MICROS_PER_DAY).saturating_mul(125).div_euclid(108);
    format!("{day}.{fraction:011}")
}

/// What XML cannot hold is written as `_xHHHH_` (ECMA-376, ST_Xstring), and so is each `_` that a reader could take for the beginning
/// of that: whatever follows the four digits, for it may be written with a `_` itself.
fn text(xml: &mut String, value: &str) {
    xml.push_str(r#"<c t="inlineStr"><is><t xml:space="preserve">"#);
    for (place, character) in value.char_indices().take(CELL_CHARS_MAX) {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '_' if looks_escaped(&value[place..]) => xml.push_str("_x005F_"),
            '\t' | '\n' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => xml.push(character),
            other => xml.push_str(&format!("_x{:04X}_", u32::from(other))),
        }
    }
    xml.push_str("</t></is></c>");
}

fn looks_escaped(text: &str) -> bool {
    let digits = text.strip_prefix("_x").and_then(|rest| rest.as_bytes().get(..4));
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use calamine::{Reader, Xlsx};
    use chrono::{TimeZone, Utc};
    use std::io::Cursor;

    use super::super::trailer::Totals;

    #[test]
    fn rows_go_on_in_further_sheets_and_end_at_the_last_one() {
        let begin = |output| Workbook::begin(3, vec![Cell::Text("id".into())], output).expect("into memory");
        let rows: Vec<Vec<Cell<'_>>> = (1..=40).map(|number| vec![Cell::Integer(number)]).collect();
        let output = Output::new();
        let mut workbook = begin(&output);
        // Pages that do not fit the sheets.
        rows[..7].chunks(3).for_each(|page| workbook.rows(page).expect("there is room"));
        workbook.end_rows().expect("into memory");
        let (finished_at, totals) = (chrono::DateTime::UNIX_EPOCH, Totals::default());
        let trailer = Trailer { rows: 7, bytes: 0, sha256: String::new(), after: None, finished_at, totals };
        workbook.finish(&trailer).expect("into memory");
        let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(output.take())).expect("a workbook");
        let names = ["Transactions", "Transactions 2", "Transactions 3", "Transactions 4", "Trailer"];
        assert_eq!(book.sheet_names(), names);
        let mut column = |name| {
            let range = book.worksheet_range(name).expect("a sheet");
            range.rows().map(|row| row[0].to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            names[..4].iter().map(|name| column(name)).collect::<Vec<_>>(),
            [vec!["id", "1", "2"], vec!["id", "3", "4"], vec!["id", "5", "6"], vec!["id", "7"],]
        );
        let mut workbook = begin(&Output::new());
        workbook.rows(&rows).expect("twenty sheets of two rows");
        assert!(workbook.rows(&rows[..1]).is_err());
    }

    /// As a program that knows the standard reads a cell.
    fn read_back(value: &str) -> String {
        let mut xml = String::new();
        text(&mut xml, value);
        let inner = xml.strip_prefix(r#"<c t="inlineStr"><is><t xml:space="preserve">"#).expect("a text");
        let inner = inner.strip_suffix("</t></is></c>").expect("a text");
        let inner = inner.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let (mut rest, mut read) = (inner.as_str(), String::new());
        while let Some(first) = rest.chars().next() {
            let escaped = rest.get(..7).filter(|cut| cut.starts_with("_x") && cut.ends_with('_'));
            match escaped.and_then(|cut| u32::from_str_radix(&cut[2..6], 16).ok()).and_then(char::from_u32) {
                Some(character) => (read.push(character), rest = &rest[7..]).0,
                None => (read.push(first), rest = &rest[first.len_utf8()..]).0,
            }
        }
        read
    }

    #[test]
    fn every_text_is_read_back_as_it_was_written() {
        for awkward in [
            "_x0041_", "_x0041", "\u{fffe}", "_x0041\u{fffe}", "_x0041\u{7}", "_x0041_x0042_", "__x0041__",
            "_x005F_x0041_", "_x005F\u{ffff}_", "_xFFFE_", "_X0041_", "_x00g1_", "_x004", "a&amp;_x0026_<b>",
            "\u{fffe}_x0041_\u{fffe}", "_x0041é_",
        ] {
            assert_eq!(read_back(awkward), awkward, "{awkward:?}");
        }
        // Every text of up to eight of the characters that matter.
        let alphabet = ['_', 'x', '0', 'F', '\u{fffe}'];
        for number in 0..5_u32.pow(8) {
            let digits = (0..8).map(|place| number / 5_u32.pow(place) % 5);
            let word: String = digits.map(|digit| alphabet[usize::try_from(digit).expect("small")]).collect();
            assert_eq!(read_back(&word), word, "{word:?}");
        }
    }

    #[test]
    fn a_spreadsheet_counts_days() {
        let at = |micros| serial_day(Utc.timestamp_micros(micros).single().expect("a time").naive_utc());
        assert_eq!(at(0), "25569.00000000000");
        assert_eq!(at(43_200_000_000), "25569.50000000000");
        let evening = Utc.with_ymd_and_hms(2026, 3, 2, 18, 0, 0).single().expect("a time");
        assert_eq!(serial_day(evening.naive_utc()), "46083.75000000000");
    }
}
