//! One HTTP/1.1 connection that asks one thing at a time, and costs next to nothing: on two cores the generator stands beside what it
//! measures.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADERS_MAX: usize = 48;
const READ_BYTES: usize = 16 * 1024;

pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: &'a [u8],
}

/// What counts of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    status: u16,
    /// Where the body begins, and how long it is.
    begin: usize,
    length: usize,
    /// The connection is of no more use.
    pub(crate) closes: bool,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ_BYTES) })
    }

    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = head(&self.buffer)? {
                let Head { status, begin, length, .. } = head;
                while self.buffer.len() < begin + length {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                return Ok(Answer { status, head, body: &self.buffer[begin..begin + length] });
            }
        }
    }
}

/// Once it is whole.
fn head(read: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(read).map_err(io::Error::other)?;
    let httparse::Status::Complete(begin) = parsed else { return Ok(None) };
    let (mut length, mut closes, mut retry_after) = (None, false, None);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = number(header.value).and_then(|length| usize::try_from(length).ok());
        }
        closes |= header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close");
        if header.name.eq_ignore_ascii_case("retry-after") {
            retry_after = number(header.value);
        }
    }
    let length = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
    Ok(Some(Head { status: response.code.unwrap_or_default(), begin, length, closes, retry_after }))
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The bytes of a request.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) token: &'a str,
    pub(crate) headers: &'a str,
    pub(crate) body: &'a str,
}

impl<'a> Request<'a> {
    /// Its control API asks for no key.
    pub(crate) fn to_simulator(path: &'a str, body: &'a str) -> Self {
        Self { method: "POST", path, token: "", headers: "", body }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { method, path, token, headers, body } = self;
        let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nHost: octoco\r\n{authorization}{json}{headers}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }
}
