//! A ZIP archive written front to back, as a workbook needs it: nothing is seeked to, and the state between two pieces is
//! small enough to be stored, so that another process can go on with the same bytes.
//!
//! Each piece is deflated on its own and ends at a byte. Sizes and checksum of a part come after it (a data descriptor) and
//! again in the directory at the end (APPNOTE.TXT 4.3.9, 4.3.12). No ZIP64: [`Package::is_full`] says when to stop.

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use serde::{Deserialize, Serialize};

/// The archive, and each part of it, must stay below 4 GiB; the rest is for the last piece and the directory.
const BYTES_MAX: u64 = (1 << 32) - (64 << 20);
/// Sizes follow the part; names are UTF-8.
const FLAGS: u16 = 0x0808;
const DEFLATED: u16 = 8;
/// What a reader must know: 2.0, folders and deflate.
const VERSION: u16 = 20;
/// 1980-01-01: every archive of the same rows has the same bytes.
const DOS_DATE: u16 = 0x0021;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Package {
    /// Bytes written so far.
    offset: u64,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    name: String,
    offset: u64,
    crc: u32,
    plain: u64,
    deflated: u64,
}

impl Package {
    /// Begins a part; the one before it was ended.
    pub(super) fn begin(&mut self, name: String, out: &mut Vec<u8>) {
        let before = out.len();
        out.extend_from_slice(b"PK\x03\x04");
        for field in [VERSION, FLAGS, DEFLATED, 0, DOS_DATE] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&short(name.len()).to_le_bytes());
        out.extend_from_slice(&0_u16.to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        self.parts.push(Part { name, offset: self.offset, crc: 0, plain: 0, deflated: 0 });
        self.advance(out, before);
    }

    /// A piece of the part that was begun last.
    pub(super) fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let before = out.len();
        deflate(piece, FlushCompress::Sync, out);
        let part = self.parts.last_mut().expect("a part was begun");
        let mut hasher = Hasher::new_with_initial(part.crc);
        hasher.update(piece);
        part.crc = hasher.finalize();
        part.plain = part.plain.saturating_add(long(piece.len()));
        part.deflated = part.deflated.saturating_add(long(out.len().saturating_sub(before)));
        self.advance(out, before);
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let before = out.len();
        deflate(&[], FlushCompress::Finish, out);
        let part = self.parts.last_mut().expect("a part was begun");
        part.deflated = part.deflated.saturating_add(long(out.len().saturating_sub(before)));
        out.extend_from_slice(b"PK\x07\x08");
        for field in [part.crc, word(part.deflated), word(part.plain)] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        self.advance(out, before);
    }

    /// A small part at once.
    pub(super) fn whole(&mut self, name: &str, contents: &str, out: &mut Vec<u8>) {
        self.begin(name.to_owned(), out);
        self.write(contents.as_bytes(), out);
        self.end(out);
    }

    /// The directory: nothing comes after it.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let (start, before) = (self.offset, out.len());
        for part in &self.parts {
            out.extend_from_slice(b"PK\x01\x02");
            for field in [VERSION, VERSION, FLAGS, DEFLATED, 0, DOS_DATE] {
                out.extend_from_slice(&field.to_le_bytes());
            }
            for field in [part.crc, word(part.deflated), word(part.plain)] {
                out.extend_from_slice(&field.to_le_bytes());
            }
            out.extend_from_slice(&short(part.name.len()).to_le_bytes());
            out.extend_from_slice(&[0; 12]);
            out.extend_from_slice(&word(part.offset).to_le_bytes());
            out.extend_from_slice(part.name.as_bytes());
        }
        let size = long(out.len().saturating_sub(before));
        let count = short(self.parts.len()).to_le_bytes();
        out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        out.extend_from_slice(&[count, count].concat());
        out.extend_from_slice(&word(size).to_le_bytes());
        out.extend_from_slice(&word(start).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        self.advance(out, before);
    }

    /// Whether the archive, or the part at hand, has no room for another piece.
    pub(super) fn is_full(&self) -> bool {
        self.offset > BYTES_MAX || self.parts.last().is_some_and(|part| part.plain > BYTES_MAX)
    }

    fn advance(&mut self, out: &[u8], before: usize) {
        self.offset = self.offset.saturating_add(long(out.len().saturating_sub(before)));
    }
}

/// Appends `piece`, deflated without looking at anything before it.
fn deflate(piece: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
    let mut compress = Compress::new(Compression::fast(), false);
    let mut rest = piece;
    loop {
        // Never too little, so that where the library stops does not depend on the room it has.
        out.reserve(rest.len().saturating_add(rest.len() / 4).saturating_add(1024));
        let (taken, written) = (compress.total_in(), out.len());
        let room = out.capacity().saturating_sub(written);
        compress.compress_vec(rest, out, flush).expect("deflating into memory does not fail");
        let taken = compress.total_in().saturating_sub(taken);
        rest = &rest[usize::try_from(taken).unwrap_or(rest.len())..];
        // Room that is left says that there was nothing more to write.
        if rest.is_empty() && out.len().saturating_sub(written) < room {
            return;
        }
    }
}

fn long(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits into 64 bits")
}

fn word(value: u64) -> u32 {
    u32::try_from(value).expect("is_full is asked before anything is written")
}

fn short(value: usize) -> u16 {
    u16::try_from(value).expect("names are short and parts are few")
}
