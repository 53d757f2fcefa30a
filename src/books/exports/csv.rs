//! CSV as RFC 4180 has it: UTF-8 without a byte order mark, CRLF, one header record, quotes where they are needed.
//!
//! Text that a spreadsheet would take for a formula gets an apostrophe in front of it, also after a semicolon, a tab or a line
//! break inside of it: where the list separator is not the comma, a cell begins there. Numbers, ids and times are ours and stay
//! what they are.

use super::columns::{self, Cell};
use super::text;
use crate::books::history::Scope;
use crate::money::transactions::Transaction;

/// The first cell of the trailer: no id looks like it.
const END: &str = "#end";

pub(super) fn header(scope: Scope, out: &mut Vec<u8>) {
    for (index, name) in columns::names(scope).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

pub(super) fn row(scope: Scope, row: &Transaction, out: &mut Vec<u8>) {
    let mut first = true;
    columns::each(scope, row, |cell| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write(cell, out);
    });
    out.extend_from_slice(b"\r\n");
}

/// A record of as many fields as every other: [`END`], the trailer as JSON, and nothing.
pub(super) fn trailer(scope: Scope, json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(END.as_bytes());
    out.push(b',');
    quoted(json, out);
    out.extend(std::iter::repeat_n(b',', columns::names(scope).count().saturating_sub(2)));
    out.extend_from_slice(b"\r\n");
}

fn write(cell: Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Empty => {}
        Cell::Word(word) => out.extend_from_slice(word.as_bytes()),
        Cell::Text(value) => free_text(value, out),
        Cell::Id(id) => text::id(out, id),
        Cell::Integer(number) => text::integer(out, number),
        Cell::Decimal(amount) => text::decimal(out, amount),
        Cell::Time(at) => text::time(out, at),
    }
}

fn free_text(value: &str, out: &mut Vec<u8>) {
    let told = defused(value);
    if told.len() > value.len() || told.contains(['"', ',', ';', '\t', '\r', '\n']) {
        quoted(&told, out);
    } else {
        out.extend_from_slice(told.as_bytes());
    }
}

fn quoted(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in value.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// An apostrophe before whatever a spreadsheet would start to calculate at, at the beginning and wherever one that separates by
/// something else than commas begins a cell: to it, quotes in the middle of a cell quote nothing.
fn defused(value: &str) -> String {
    let mut told = String::with_capacity(value.len());
    if value.starts_with(['\t', '\r', '\n']) {
        told.push('\'');
    }
    let mut begins = true;
    for character in value.chars() {
        if begins && is_formula(character) {
            told.push('\'');
        }
        told.push(character);
        begins = match character {
            ';' | '\t' | '\r' | '\n' => true,
            '"' | ' ' => begins,
            _ => false,
        };
    }
    told
}

/// The wide forms too, which some spreadsheets take for the narrow ones.
fn is_formula(character: char) -> bool {
    matches!(character, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &str) -> String {
        let mut out = Vec::new();
        free_text(value, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_formula_becomes_text() {
        for start in ["=", "+", "-", "@", "＝", "＋", "－", "＠"] {
            for separator in [";", "\t", "\r", "\n", "; \"", "\"x\";\""] {
                let quoted = separator.replace('"', "\"\"");
                let (value, told) = (format!("a{separator}{start}1"), format!("\"a{quoted}'{start}1\""));
                assert_eq!(written(&value), told, "{start:?} after {separator:?}");
            }
        }
        for start in ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"] {
            assert_eq!(written(&format!("{start}1+1")), format!("\"'{start}1+1\""), "{start:?}");
        }
        assert_eq!(written("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        for harmless in ["rent = 5", "a-b", "", "ünï ☃"] {
            assert_eq!(written(harmless), harmless);
        }
    }

    #[test]
    fn quotes_only_where_they_are_needed() {
        assert_eq!(written("a,b"), "\"a,b\"");
        assert_eq!(written("a\"b"), "\"a\"\"b\"");
        assert_eq!(written("a\nb"), "\"a\nb\"");
        assert_eq!(written("a;b"), "\"a;b\"");
    }
}
