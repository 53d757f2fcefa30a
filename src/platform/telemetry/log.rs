//! The log's way out: who has a line puts it into memory and goes on, and one thread takes what is there to standard output. Whoever reads
//! that may stand still, and then a pipe takes 64 KiB and no more: a thread that wrote there itself would wait for ever, and with it
//! whatever runs on it, deadlines and a stop too. A line for which there is no room is dropped and counted, and how many there were is told
//! once lines go out again. (`tracing-appender` bounds the lines, not their bytes, and prints into the stuck output when it ends.)

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use std::{mem, thread};

use super::outlet::Counted;

/// As much again may be in hand, on its way out.
const ROOM_BYTES: usize = 4 * 1024 * 1024;

/// After what was written, lines gather for so long: to be woken for each costs more than to write it.
const GATHERING: Duration = Duration::from_millis(5);

/// The process's own.
static LOG: OnceLock<Log> = OnceLock::new();

/// Cheap to clone; each is a writer of whole lines that never waits.
#[derive(Clone)]
pub(super) struct Log(Arc<Shared>);

struct Shared {
    lines: Mutex<Lines>,
    /// There is something to write, or nothing any more.
    changed: Condvar,
    counted: Counted,
}

#[derive(Default)]
struct Lines {
    waiting: Vec<u8>,
    /// What was taken out of there is not written yet.
    in_hand: bool,
    /// Since the last were taken.
    dropped: u64,
}

/// To standard output, from the first line to [`flush`].
pub(super) fn start(counted: &Counted) -> io::Result<Log> {
    let log = Log::open(counted, io::stdout())?;
    Ok(LOG.get_or_init(|| log).clone())
}

/// Waits until everything is out, so long at most: whoever does not read is not waited for.
pub(super) fn flush(at_most: Duration) {
    if let Some(log) = LOG.get() {
        log.flush(at_most);
    }
}

impl Log {
    fn open(counted: &Counted, out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Shared { lines: Mutex::default(), changed: Condvar::new(), counted: Arc::clone(counted) };
        let log = Self(Arc::new(shared));
        let shared = Arc::clone(&log.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_out(out))?;
        Ok(log)
    }

    fn flush(&self, at_most: Duration) {
        let is_left = |lines: &mut Lines| lines.in_hand || !lines.waiting.is_empty();
        drop(self.0.changed.wait_timeout_while(self.0.lines(), at_most, is_left));
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &[u8]) {
        let mut lines = self.lines();
        if lines.waiting.len() + line.len() > ROOM_BYTES {
            lines.dropped = lines.dropped.saturating_add(1);
            drop(lines);
            return self.count_dropped(1);
        }
        let is_first = lines.waiting.is_empty();
        lines.waiting.extend_from_slice(line);
        drop(lines);
        if is_first {
            self.changed.notify_all();
        }
    }

    fn write_out(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let dropped = self.next(&mut lines);
            if out.write_all(&lines).and_then(|()| out.flush()).is_err() {
                self.count_dropped(lines.iter().filter(|byte| **byte == b'\n').count());
            }
            lines.clear();
            if dropped > 0 {
                tracing::warn!(lines = dropped, "lines of the log were dropped: whoever reads it stood still");
            }
            self.lines().in_hand = false;
            self.changed.notify_all();
            thread::sleep(GATHERING);
        }
    }

    /// Waits for lines and takes them all, in place of those that are written. How many were dropped since the last time.
    fn next(&self, written: &mut Vec<u8>) -> u64 {
        let lines = self.changed.wait_while(self.lines(), |lines| lines.waiting.is_empty());
        let mut lines = lines.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut lines.waiting, written);
        lines.in_hand = true;
        mem::take(&mut lines.dropped)
    }

    fn count_dropped(&self, lines: usize) {
        if let Some(leaving) = self.counted.get() {
            leaving.log_lines_dropped.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Instant;

    use super::*;
    use crate::platform::telemetry::Metrics;

    const LONG: Duration = Duration::from_secs(30);

    /// Takes nothing until it is told to, as a pipe that nobody reads.
    struct Stuck {
        released: Receiver<()>,
        written: SyncSender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // From then on whoever waits hears that the other side is gone, and goes on.
            self.released.recv().unwrap_or_default();
            self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_keeps_nobody_waiting_and_drops_what_it_has_no_room_for() {
        let (release, released) = sync_channel(0);
        let (written, read) = sync_channel(8);
        let (counted, metrics) = (Counted::default(), Metrics::new());
        counted.get_or_init(|| metrics.leaving.clone());
        let mut log = Log::open(&counted, Stuck { released, written }).expect("a thread");
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let fits = ROOM_BYTES / line.len();
        // At most as many again are in hand by then.
        for _ in 0..2 * fits + 10 {
            log.write_all(&line).expect("it never fails");
        }
        let dropped = usize::try_from(metrics.leaving.log_lines_dropped.get()).expect("few");
        assert!((10..=fits + 10).contains(&dropped), "{dropped} of {}", 2 * fits + 10);
        let began = Instant::now();
        Log::flush(&log, Duration::from_millis(50));
        assert!(began.elapsed() < LONG, "the end is not waited for");
        drop(release);
        Log::flush(&log, LONG);
        let bytes: usize = read.try_iter().map(|bytes: Vec<u8>| bytes.len()).sum();
        assert_eq!(bytes, (2 * fits + 10 - dropped) * line.len(), "all others are out");
    }

    #[test]
    fn where_standard_output_is_closed_what_cannot_be_written_is_counted() {
        let (release, released) = sync_channel::<()>(0);
        let (written, read) = sync_channel::<Vec<u8>>(0);
        drop((release, read));
        let (counted, metrics) = (Counted::default(), Metrics::new());
        counted.get_or_init(|| metrics.leaving.clone());
        let mut log = Log::open(&counted, Stuck { released, written }).expect("a thread");
        log.write_all(b"one\ntwo\n").expect("it never fails");
        Log::flush(&log, LONG);
        assert_eq!(metrics.leaving.log_lines_dropped.get(), 2);
    }
}
