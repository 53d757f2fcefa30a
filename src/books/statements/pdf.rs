//! A statement as PDF, for people and for banks that ask for one: A4, the same lines as JSON and CSV with the running balance, and the same
//! bytes for the same statement: nothing in it is random or of now.
//!
//! It is laid out in tenths of a point, whole numbers, from the top left. What is ours is set glyph by glyph; a name, which may be of any
//! script, is shaped, in pieces of one direction each. The font is in the binary and only what is used of it goes into the file; of a
//! character that it lacks the file shows a box and still has the text, for who searches or copies.

use std::ops::Range;
use std::sync::LazyLock;

use krilla::Document;
use krilla::color::luma;
use krilla::geom::{PathBuilder, Point, Rect, Transform};
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;
use krilla::text::{Font, GlyphId, KrillaGlyph, TextDirection};
use tokio::sync::Semaphore;
use ttf_parser::Face;
use uuid::Uuid;

use super::{Line, Statement, Summary};
use crate::books::files::decimal;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::zone::Zone;

const FONT: &[u8] = include_bytes!("DejaVuSans.ttf");
/// Written at once by a process: each takes a core for as long as it takes.
const AT_ONCE: usize = 2;
static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// A4 in tenths of a point, and what is left free around it.
const WIDTH: i16 = 5_953;
const HEIGHT: i16 = 8_419;
const LEFT: i16 = 400;
const RIGHT: i16 = WIDTH - LEFT;
const TOP: i16 = 480;
const BOTTOM: i16 = HEIGHT - 640;
const ROW: i16 = 130;
/// Where a column begins, or ends where it is of amounts.
const KIND: i16 = 1_430;
const ID: i16 = 2_420;
const AMOUNT: i16 = 4_640;
const TEXT: i16 = 80;
const SMALL: i16 = 60;
const BOX: char = '\u{25a1}';

/// Whose it is and whose clock it shows.
#[derive(Debug, Clone)]
pub struct Head {
    pub customer: String,
    pub user_id: Uuid,
    pub zone: Zone,
}

/// How a piece of a name is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rightwards,
    Leftwards,
    /// The font lacks it.
    Missing,
}

struct Fonts {
    font: Font,
    face: Face<'static>,
}

static FONTS: LazyLock<Option<Fonts>> = LazyLock::new(|| {
    let font = Font::new(FONT.into(), 0)?;
    Some(Fonts { font, face: Face::parse(FONT, 0).ok()? })
});

/// Not on the threads that answer others.
pub async fn write(statement: Statement, head: Head) -> Result<Vec<u8>> {
    let turn = TURNS.acquire().await.map_err(Error::unavailable)?;
    let work = tokio::task::spawn_blocking(move || {
        // Of the work, which goes on where its caller has gone away.
        let _turn = turn;
        file(&statement, &head)
    });
    work.await.map_err(Error::internal)?
}

fn file(statement: &Statement, head: &Head) -> Result<Vec<u8>> {
    let fonts = FONTS.as_ref().ok_or_else(|| Error::internal("the font of statements cannot be read"))?;
    let name = fonts.lines(&head.customer, 110, RIGHT - LEFT);
    let mut rest = statement.lines.as_slice();
    let first = rows_below(head_height(name.len())).min(rest.len());
    let mut pages = vec![rest.split_off(..first).unwrap_or_default()];
    while let Some(page) = rest.split_off(..rows_below(TOP).min(rest.len())).filter(|page| !page.is_empty()) {
        pages.push(page);
    }
    let mut document = Document::new();
    let currency = statement.summary.currency;
    document.set_metadata(Metadata::new().title(format!("Statement {currency}")).language("en".to_owned()));
    for (place, lines) in pages.iter().enumerate() {
        let size = |tenths: i16| f32::from(tenths / 10);
        let settings = PageSettings::from_wh(size(WIDTH), size(HEIGHT)).ok_or_else(|| Error::internal("a page"))?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        surface.push_transform(&Transform::from_scale(0.1, 0.1));
        let mut sheet = Sheet { surface, fonts, head, summary: &statement.summary, y: TOP };
        if place == 0 {
            sheet.begin(&name, &statement.lines);
        }
        sheet.columns();
        if place == 0 {
            sheet.balance(statement.summary.from, "opening balance", statement.summary.opening_balance);
        }
        lines.iter().for_each(|line| sheet.line(line));
        if place + 1 == pages.len() {
            sheet.balance(statement.summary.to, "closing balance", statement.summary.closing_balance);
        }
        sheet.foot(place + 1, pages.len());
        sheet.surface.pop();
    }
    document.finish().map_err(|error| Error::internal(format!("a statement cannot be written as PDF: {error:?}")))
}

/// The name's lines, who and when, the sums.
fn head_height(name_lines: usize) -> i16 {
    i16::try_from(name_lines).unwrap_or(i16::MAX / 256).saturating_mul(160).saturating_add(TOP + 1_130)
}

/// How many movements fit on a page whose table begins here, with the names of its columns, a balance before and one after them.
fn rows_below(y: i16) -> usize {
    usize::try_from((BOTTOM - y) / ROW - 4).unwrap_or(1).max(1)
}

/// A page while it is written.
struct Sheet<'a> {
    surface: Surface<'a>,
    fonts: &'a Fonts,
    head: &'a Head,
    summary: &'a Summary,
    /// Of the next base line.
    y: i16,
}

impl Sheet<'_> {
    fn begin(&mut self, name: &[String], lines: &[Line]) {
        self.left(LEFT, 180, "Statement");
        self.y += 230;
        for line in name {
            self.name(LEFT, 110, line);
            self.y += 160;
        }
        let (summary, zone) = (self.summary, self.head.zone);
        let period = format!("{} to {} ({})", self.time(summary.from), self.time(summary.to), zone.name());
        let account = format!("{} account of customer {}", summary.currency, self.head.user_id);
        let is_final = match summary.is_final {
            true => "Final: nothing can be added to this period any more.",
            false => "Not final: the period reaches to the present, and a movement may still be added to it.",
        };
        for text in [account.as_str(), period.as_str(), is_final] {
            self.left(LEFT, TEXT, text);
            self.y += ROW;
        }
        self.y += 60;
        let sum = |wanted: fn(i64) -> bool| {
            lines.iter().map(|line| line.amount).filter(|amount| wanted(*amount)).sum::<i64>()
        };
        let sums = [
            ("Opening balance", summary.opening_balance),
            ("Total in", sum(i64::is_positive)),
            ("Total out", sum(i64::is_negative)),
            ("Closing balance", summary.closing_balance),
        ];
        let width = (RIGHT - LEFT) / 4;
        for (place, (what, minor)) in (1_i16..).zip(sums) {
            let end = LEFT + width * place;
            self.right(end, width - 40, what);
            self.y += 150;
            let told = self.decimal(minor);
            self.right(end, width - 40, &told);
            self.y -= 150;
        }
        self.y += 420;
    }

    fn columns(&mut self) {
        let (currency, zone) = (self.summary.currency, self.head.zone.name());
        self.left(LEFT, SMALL, &format!("Time ({zone})"));
        self.left(KIND, SMALL, "Movement");
        self.left(ID, SMALL, "Transaction");
        self.right(AMOUNT, 1_000, &format!("Amount {currency}"));
        self.right(RIGHT, 860, &format!("Balance {currency}"));
        self.rule();
        self.y += ROW;
    }

    fn balance(&mut self, at: DateTime, what: &str, minor: i64) {
        let (at, told) = (self.time(at), self.decimal(minor));
        self.left(LEFT, TEXT, &at);
        self.left(KIND, TEXT, what);
        self.right(RIGHT, 860, &told);
        self.rule();
        self.y += ROW;
    }

    fn line(&mut self, line: &Line) {
        let (at, amount, balance) = (self.time(line.at), self.decimal(line.amount), self.decimal(line.running_balance));
        self.left(LEFT, TEXT, &at);
        self.left(KIND, TEXT, &line.kind.replace('_', " "));
        self.left(ID, SMALL, &line.transaction_id.to_string());
        self.right(AMOUNT, 1_000, &amount);
        self.right(RIGHT, 860, &balance);
        self.y += ROW;
    }

    fn foot(&mut self, page: usize, pages: usize) {
        self.y = HEIGHT - 400;
        let whose = format!("{} account of customer {}", self.summary.currency, self.head.user_id);
        self.left(LEFT, SMALL, &whose);
        self.right(RIGHT, 1_500, &format!("Page {page} of {pages}"));
    }

    fn time(&self, at: DateTime) -> String {
        self.head.zone.wall(at).format("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn decimal(&self, minor: i64) -> String {
        decimal(minor, self.summary.currency.exponent())
    }

    fn left(&mut self, x: i16, size: i16, text: &str) {
        let glyphs = self.fonts.glyphs(text);
        let (font, start) = (self.fonts.font.clone(), Point::from_xy(f32::from(x), f32::from(self.y)));
        self.surface.draw_glyphs(start, &glyphs, font, text, f32::from(size), false);
    }

    /// So that it ends there; what is wider than its column is set smaller.
    fn right(&mut self, end: i16, width: i16, text: &str) {
        let mut size = TEXT;
        while self.fonts.width(text, size) > width && size > 20 {
            size -= 5;
        }
        self.left(end - self.fonts.width(text, size), size, text);
    }

    /// In pieces, from the left.
    fn name(&mut self, mut x: i16, size: i16, text: &str) {
        for (kind, piece) in self.fonts.pieces(text) {
            let start = Point::from_xy(f32::from(x), f32::from(self.y));
            // A space at the end would stand at the left of what goes leftwards.
            let (font, size_pt, shown) = (self.fonts.font.clone(), f32::from(size), piece.trim_end());
            match kind {
                Kind::Rightwards => {
                    self.surface.draw_text(start, font, size_pt, shown, false, TextDirection::LeftToRight);
                }
                Kind::Leftwards => {
                    self.surface.draw_text(start, font, size_pt, shown, false, TextDirection::RightToLeft);
                }
                Kind::Missing => self.left(x, size, shown),
            }
            x = x.saturating_add(self.fonts.width(piece, size));
        }
    }

    fn rule(&mut self) {
        let line = Rect::from_xywh(f32::from(LEFT), f32::from(self.y + 40), f32::from(RIGHT - LEFT), 4.0);
        let mut path = PathBuilder::new();
        line.into_iter().for_each(|line| path.push_rect(line));
        self.surface.set_fill(Some(Fill { paint: luma::Color::new(160).into(), ..Fill::default() }));
        path.finish().into_iter().for_each(|path| self.surface.draw_path(&path));
        self.surface.set_fill(None);
    }
}

impl Fonts {
    /// Of a character that the font lacks, a box: the font's own sign for that has no text in a PDF file.
    fn glyph(&self, character: char) -> ttf_parser::GlyphId {
        let known = self.face.glyph_index(character).or_else(|| self.face.glyph_index(BOX));
        known.unwrap_or_default()
    }

    fn advance(&self, character: char) -> u16 {
        self.face.glyph_hor_advance(self.glyph(character)).unwrap_or(0)
    }

    /// In tenths of a point, at a size in the same.
    fn width(&self, text: &str, size: i16) -> i16 {
        let units: i64 = text.chars().map(|character| i64::from(self.advance(character))).sum();
        let width = units.saturating_mul(i64::from(size)) / i64::from(self.face.units_per_em());
        i16::try_from(width).unwrap_or(i16::MAX)
    }

    /// A character a glyph: for texts of ours, which need no more.
    fn glyphs(&self, text: &str) -> Vec<KrillaGlyph> {
        let glyph = |(start, character): (usize, char)| {
            let id = GlyphId::new(u32::from(self.glyph(character).0));
            let advance = ems(self.advance(character), self.face.units_per_em());
            KrillaGlyph::new(id, advance, 0.0, 0.0, 0.0, start..start.saturating_add(character.len_utf8()), None)
        };
        text.char_indices().map(glyph).collect()
    }

    /// As many lines as it takes, broken between words where there are any.
    fn lines(&self, text: &str, size: i16, width: i16) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in text.split_inclusive(' ') {
            let fits = |line: &String, more: &str| self.width(&format!("{line}{more}"), size) <= width;
            if !lines.last().is_some_and(|line| fits(line, word)) {
                lines.push(String::new());
            }
            for character in word.chars() {
                if !lines.last().is_some_and(|line| fits(line, character.encode_utf8(&mut [0; 4]))) {
                    lines.push(String::new());
                }
                lines.last_mut().into_iter().for_each(|line| line.push(character));
            }
        }
        lines.retain(|line| !line.trim().is_empty());
        lines
    }
}

impl Fonts {
    /// Cut where the kind changes; what has none of its own, as spaces, goes with what is before it.
    fn pieces<'t>(&self, text: &'t str) -> Vec<(Kind, &'t str)> {
        let mut pieces: Vec<(Kind, Range<usize>)> = Vec::new();
        for (place, character) in text.char_indices() {
            let end = place.saturating_add(character.len_utf8());
            let kind = self.kind(character);
            match pieces.last_mut() {
                Some((last, range)) if kind.is_none_or(|kind| kind == *last) => range.end = end,
                _ => pieces.push((kind.unwrap_or(Kind::Rightwards), place..end)),
            }
        }
        pieces.into_iter().filter_map(|(kind, range)| Some((kind, text.get(range)?))).collect()
    }

    fn kind(&self, character: char) -> Option<Kind> {
        if self.face.glyph_index(character).is_none() {
            return Some(Kind::Missing);
        }
        // Hebrew, Arabic and their neighbours.
        let leftwards = matches!(character, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}');
        let kind = if leftwards { Kind::Leftwards } else { Kind::Rightwards };
        Some(kind).filter(|_| leftwards || character.is_alphanumeric())
    }
}

/// How much of an em.
#[expect(clippy::float_arithmetic, reason = "the measure of a glyph, as the library wants it; no money")]
fn ems(units: u16, of: u16) -> f32 {
    f32::from(units) / f32::from(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_where_its_direction_changes_and_broken_where_the_line_ends() {
        let fonts = FONTS.as_ref().expect("the font is whole");
        let (right, left, none) = (Kind::Rightwards, Kind::Leftwards, Kind::Missing);
        let mixed = fonts.pieces("Ali محمد علي Smith 张伟");
        assert_eq!(mixed, [(right, "Ali "), (left, "محمد علي "), (right, "Smith "), (none, "张伟")]);
        assert_eq!(fonts.pieces("Thandi O'Neil-Nkosi 2"), [(right, "Thandi O'Neil-Nkosi 2")]);
        assert_eq!(fonts.pieces(""), []);
        assert_eq!(fonts.lines("Thandi Nkosi", 110, 5_000), ["Thandi Nkosi"]);
        let long = "W".repeat(200);
        let lines = fonts.lines(&long, 110, 5_000);
        assert_eq!(lines.concat(), long);
        assert!(lines.len() > 3 && lines.iter().all(|line| fonts.width(line, 110) <= 5_000));
    }

    #[test]
    fn digits_are_as_wide_as_each_other_so_that_amounts_stand_in_columns() {
        let fonts = FONTS.as_ref().expect("the font is whole");
        assert!(('0'..='9').all(|digit| fonts.advance(digit) == fonts.advance('0')));
    }
}
