//! A workbook (Office Open XML, ECMA-376), streamed: sheets of rows, then a sheet `Trailer`. Times are real dates and amounts
//! real numbers; whatever is text is stored as text, so that nothing in it is ever calculated.
//!
//! Written here and not by a library: those that there are keep a whole sheet in memory or on disk until the workbook is
//! closed, and none of them can go on where another process stopped.

mod package;

use serde::{Deserialize, Serialize};

use super::columns::{self, Cell};
use super::text;
use super::trailer::{Sums, Trailer};
use crate::books::history::Scope;
use crate::money::transactions::Transaction;
use crate::platform::error::{Error, Result};
use package::Package;

/// What a sheet can hold.
const SHEET_ROWS_MAX: u32 = 1_048_576;
/// More than any program opens.
const SHEETS_MAX: usize = 20;
/// A cell holds 32,767 UTF-16 units; a character is at most two.
const CELL_CHARS_MAX: usize = 16_383;

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const CONTENT: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";

/// Cell formats, by their place in `styles.xml`.
const TIME_STYLE: &[u8] = b"1";
const DECIMAL_STYLES: [&[u8]; 5] = [b"2", b"3", b"4", b"5", b"6"];

/// What is written so far, as far as what comes next depends on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Workbook {
    package: Package,
    sheets: usize,
    /// Of the sheet at hand, its header included.
    rows: u32,
    rows_max: u32,
}

impl Workbook {
    pub(super) fn begin(scope: Scope, out: &mut Vec<u8>) -> Self {
        Self::with_sheets_of(SHEET_ROWS_MAX, scope, out)
    }

    fn with_sheets_of(rows_max: u32, scope: Scope, out: &mut Vec<u8>) -> Self {
        let mut workbook = Self { package: Package::default(), sheets: 0, rows: 0, rows_max };
        workbook.package.whole("[Content_Types].xml", &content_types(), out);
        let target = format!(
            r#"{HEAD}<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" Type="{RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>"#
        );
        workbook.package.whole("_rels/.rels", &target, out);
        workbook.package.whole("xl/styles.xml", &styles(), out);
        workbook.begin_sheet(scope, out);
        workbook
    }

    /// # Errors
    /// [`Error::Invalid`] that names `format` when there are more rows than a workbook takes.
    pub(super) fn rows(&mut self, scope: Scope, rows: &[Transaction], out: &mut Vec<u8>) -> Result<()> {
        let mut rest = rows;
        while !rest.is_empty() {
            if self.rows >= self.rows_max || self.package.is_full() {
                self.end_sheet(out);
                if self.sheets >= SHEETS_MAX || self.package.is_full() {
                    return Err(Error::field("format", "xlsx cannot hold so many rows: use csv or jsonl"));
                }
                self.begin_sheet(scope, out);
            }
            let room = usize::try_from(self.rows_max.saturating_sub(self.rows)).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            let mut xml = Vec::with_capacity(now.len().saturating_mul(900));
            for transaction in now {
                row(&mut xml, |xml| columns::each(scope, transaction, |cell| write(cell, xml)));
            }
            self.package.write(&xml, out);
            self.rows = self.rows.saturating_add(u32::try_from(now.len()).unwrap_or(u32::MAX));
            rest = later;
        }
        Ok(())
    }

    /// Ends the last sheet of rows: what follows is not part of what the trailer hashes.
    pub(super) fn end_rows(&mut self, out: &mut Vec<u8>) {
        self.end_sheet(out);
    }

    /// The sheet `Trailer`, and what makes a workbook of all these parts.
    pub(super) fn finish(mut self, trailer: &Trailer, out: &mut Vec<u8>) {
        self.package.whole("xl/worksheets/trailer.xml", &trailer_sheet(trailer), out);
        let numbers = 1..=self.sheets;
        let sheet =
            |name: &str, number: usize| format!(r#"<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>"#);
        let named = |number: usize| {
            if number == 1 { "Transactions".to_owned() } else { format!("Transactions {number}") }
        };
        let (last, styles) = (self.sheets.saturating_add(1), self.sheets.saturating_add(2));
        let sheets: String = numbers.clone().map(|number| sheet(&named(number), number)).collect();
        let book = format!(
            r#"{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>{sheets}{}</sheets></workbook>"#,
            sheet("Trailer", last)
        );
        self.package.whole("xl/workbook.xml", &book, out);
        let relation = |number: usize, kind: &str, target: &str| {
            format!(r#"<Relationship Id="rId{number}" Type="{RELATIONS}/{kind}" Target="{target}"/>"#)
        };
        let sheets: String =
            numbers.map(|number| relation(number, "worksheet", &format!("worksheets/sheet{number}.xml"))).collect();
        let relations = format!(
            r#"{HEAD}<Relationships xmlns="{PACKAGE}/relationships">{sheets}{}{}</Relationships>"#,
            relation(last, "worksheet", "worksheets/trailer.xml"),
            relation(styles, "styles", "styles.xml")
        );
        self.package.whole("xl/_rels/workbook.xml.rels", &relations, out);
        self.package.finish(out);
    }

    fn begin_sheet(&mut self, scope: Scope, out: &mut Vec<u8>) {
        self.sheets = self.sheets.saturating_add(1);
        self.rows = 1;
        self.package.begin(format!("xl/worksheets/sheet{}.xml", self.sheets), out);
        let mut xml = sheet_start().into_bytes();
        row(&mut xml, |xml| columns::names(scope).for_each(|name| write(Cell::Word(name), xml)));
        self.package.write(&xml, out);
    }

    fn end_sheet(&mut self, out: &mut Vec<u8>) {
        self.package.write(b"</sheetData></worksheet>", out);
        self.package.end(out);
    }
}

fn sheet_start() -> String {
    format!(r#"{HEAD}<worksheet xmlns="{MAIN}"><sheetData>"#)
}

/// Sheets are the default for XML, so that this can stand at the front, where their number is not known yet.
fn content_types() -> String {
    format!(
        r#"{HEAD}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="{CONTENT}.worksheet+xml"/><Override PartName="/xl/workbook.xml" ContentType="{CONTENT}.sheet.main+xml"/><Override PartName="/xl/styles.xml" ContentType="{CONTENT}.styles+xml"/></Types>"#
    )
}

/// The formats in the order that [`TIME_STYLE`] and [`DECIMAL_STYLES`] count them.
fn styles() -> String {
    let formats: String = [0, 164, 1, 165, 2, 166, 167]
        .map(|id| format!(r#"<xf numFmtId="{id}" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>"#))
        .concat();
    format!(
        r#"{HEAD}<styleSheet xmlns="{MAIN}"><numFmts count="4"><numFmt numFmtId="164" formatCode="yyyy\-mm\-dd\ hh:mm:ss.000"/><numFmt numFmtId="165" formatCode="0.0"/><numFmt numFmtId="166" formatCode="0.000"/><numFmt numFmtId="167" formatCode="0.0000"/></numFmts><fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="7">{formats}</cellXfs></styleSheet>"#
    )
}

fn trailer_sheet(trailer: &Trailer) -> String {
    let mut xml = sheet_start().into_bytes();
    let mut line = |cells: &[&str]| row(&mut xml, |xml| cells.iter().for_each(|cell| write(Cell::Text(cell), xml)));
    line(&["rows", &trailer.rows.to_string()]);
    line(&["bytes", &trailer.bytes.to_string()]);
    line(&["sha256", &trailer.sha256]);
    line(&["after", &trailer.after.map(|id| id.to_string()).unwrap_or_default()]);
    let mut finished_at = Vec::new();
    text::time(&mut finished_at, trailer.finished_at);
    line(&["finished_at", &String::from_utf8_lossy(&finished_at)]);
    line(&["currency", "kind", "rows", "amount", "completed_amount", "completed_credits", "completed_debits"]);
    let mut sums = |currency: &str, kind: &str, sums: &Sums| {
        let (all, completed) = (&sums.amount, &sums.completed_amount);
        let rows = sums.rows.to_string();
        line(&[currency, kind, &rows, all, completed, &sums.completed_credits, &sums.completed_debits]);
    };
    for (currency, totals) in &trailer.totals {
        sums(currency, "", &totals.sums);
        totals.kinds.iter().for_each(|(kind, of_kind)| sums(currency, kind, of_kind));
    }
    xml.extend_from_slice(b"</sheetData></worksheet>");
    String::from_utf8(xml).expect("only text was written")
}

fn row(xml: &mut Vec<u8>, cells: impl FnOnce(&mut Vec<u8>)) {
    xml.extend_from_slice(b"<row>");
    cells(xml);
    xml.extend_from_slice(b"</row>");
}

fn write(cell: Cell<'_>, xml: &mut Vec<u8>) {
    match cell {
        Cell::Empty => xml.extend_from_slice(b"<c/>"),
        Cell::Word(word) => inline(xml, |xml| xml.extend_from_slice(word.as_bytes())),
        Cell::Text(value) => inline(xml, |xml| escaped(value, xml)),
        Cell::Id(id) => inline(xml, |xml| text::id(xml, id)),
        Cell::Integer(number) => value(xml, b"0", |xml| text::integer(xml, number)),
        Cell::Decimal(amount) => {
            let style = DECIMAL_STYLES[usize::from(amount.currency().exponent())];
            value(xml, style, |xml| text::decimal(xml, amount));
        }
        Cell::Time(at) => value(xml, TIME_STYLE, |xml| text::serial_day(xml, at)),
    }
}

fn inline(xml: &mut Vec<u8>, contents: impl FnOnce(&mut Vec<u8>)) {
    xml.extend_from_slice(br#"<c t="inlineStr"><is><t xml:space="preserve">"#);
    contents(xml);
    xml.extend_from_slice(b"</t></is></c>");
}

fn value(xml: &mut Vec<u8>, style: &[u8], contents: impl FnOnce(&mut Vec<u8>)) {
    xml.extend_from_slice(br#"<c s=""#);
    xml.extend_from_slice(style);
    xml.extend_from_slice(br#""><v>"#);
    contents(xml);
    xml.extend_from_slice(b"</v></c>");
}

/// Text as XML. What XML cannot hold is written as `_xHHHH_` (ECMA-376, ST_Xstring), and so is what looks like that.
fn escaped(value: &str, xml: &mut Vec<u8>) {
    for (place, character) in value.char_indices().take(CELL_CHARS_MAX) {
        match character {
            '&' => xml.extend_from_slice(b"&amp;"),
            '<' => xml.extend_from_slice(b"&lt;"),
            '>' => xml.extend_from_slice(b"&gt;"),
            '_' if looks_escaped(&value[place..]) => xml.extend_from_slice(b"_x005F_"),
            '\t' | '\n' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => {
                xml.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => xml.extend_from_slice(format!("_x{:04X}_", u32::from(other)).as_bytes()),
        }
    }
}

fn looks_escaped(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 7 && bytes[1] == b'x' && bytes[6] == b'_' && bytes[2..6].iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use calamine::{Reader, Xlsx};
    use chrono::{TimeZone, Utc};
    use ledger::{Amount, Currency};
    use std::collections::BTreeMap;
    use std::io::Cursor;
    use uuid::Uuid;

    use crate::money::transactions::{Direction, Kind, Provider, Reversed, State};

    fn transaction(number: u128) -> Transaction {
        let at = Utc.with_ymd_and_hms(2026, 3, 2, 9, 0, 0).single().expect("a time");
        Transaction {
            id: Uuid::from_u128(number << 8),
            user_id: Uuid::nil(),
            kind: Kind::Deposit,
            direction: Direction::Credit,
            state: State::Failed,
            amount: Amount::new(1, Currency::ZAR).expect("an amount"),
            parent_id: None,
            bank_account_id: None,
            provider: Provider::default(),
            failure_reason: None,
            description: None,
            reversed: Reversed { refunded_minor: 0, charged_back_minor: 0 },
            repaid_minor: 0,
            owed_minor: 0,
            held_reason: None,
            due_at: None,
            attempts: 0,
            version: 0,
            created_at: at,
            updated_at: at,
            completed_at: None,
        }
    }

    fn trailer() -> Trailer {
        let finished_at = transaction(1).created_at;
        Trailer { rows: 0, bytes: 0, sha256: String::new(), after: None, finished_at, totals: BTreeMap::new() }
    }

    #[test]
    fn rows_go_on_in_further_sheets_and_end_at_the_last_one() {
        let rows: Vec<Transaction> = (1..=7).map(transaction).collect();
        let mut out = Vec::new();
        let mut workbook = Workbook::with_sheets_of(3, Scope::All, &mut out);
        // Pages that do not fit the sheets.
        for page in rows.chunks(3) {
            workbook.rows(Scope::All, page, &mut out).expect("there is room");
        }
        workbook.end_rows(&mut out);
        workbook.finish(&trailer(), &mut out);
        let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(out)).expect("a workbook");
        let names = ["Transactions", "Transactions 2", "Transactions 3", "Transactions 4", "Trailer"];
        assert_eq!(book.sheet_names(), names);
        let mut ids = Vec::new();
        for name in &names[..4] {
            let range = book.worksheet_range(name).expect("a sheet");
            assert_eq!(range.rows().next().map(|header| header[0].to_string()).as_deref(), Some("id"), "{name}");
            ids.extend(range.rows().skip(1).map(|row| row[0].to_string()));
        }
        assert_eq!(ids, rows.iter().map(|row| row.id.to_string()).collect::<Vec<_>>());

        let mut workbook = Workbook::with_sheets_of(3, Scope::All, &mut Vec::new());
        let room: Vec<Transaction> = (1..=40).map(transaction).collect();
        workbook.rows(Scope::All, &room, &mut Vec::new()).expect("twenty sheets of two rows");
        assert!(matches!(workbook.rows(Scope::All, &rows, &mut Vec::new()), Err(Error::Invalid(_))));
    }
}
