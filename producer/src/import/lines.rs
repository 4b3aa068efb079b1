//! Lines of a file, plain or gzip, with bounded memory and a name for whatever is wrong.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// Bytes of one line, at most.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// How gzip begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];
const BUFFER_BYTES: usize = 64 << 10;

/// What the next line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It was appended to the buffer, without its end.
    Line,
    /// It is over the limit and was passed over.
    TooLong,
    /// The file cannot be read any further, and why.
    Broken(String),
    /// There is none.
    End,
}

/// How many bytes of the file were read, for a progress bar.
#[derive(Clone, Debug, Default)]
pub struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    /// Bytes so far, before unpacking.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Counted<R>(R, BytesRead);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.0.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The lines of one input.
pub(crate) struct Lines {
    input: Box<dyn BufRead + Send>,
    is_gzip: bool,
    is_over: bool,
    number: u64,
}

impl Lines {
    /// Opens a file; gzip is told by its first bytes, whatever its name.
    pub fn open(path: &Path) -> io::Result<(Lines, BytesRead)> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        let read = BytesRead::default();
        let lines = Lines::new(Counted(file, read.clone()))?;
        Ok((lines, read))
    }

    /// Reads any input.
    pub fn new(input: impl Read + Send + 'static) -> io::Result<Lines> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let is_gzip = input.fill_buf()?.starts_with(&GZIP);
        let input: Box<dyn BufRead + Send> = match is_gzip {
            true => {
                let unpacked = MultiGzDecoder::new(input);
                Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked))
            }
            false => Box::new(input),
        };
        Ok(Lines { input, is_gzip, is_over: false, number: 0 })
    }

    /// The number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes as they come, for a reader with lines of its own, of which it has read `lines`; none
    /// at the end. They come again until they are [`Lines::used`].
    pub fn chunk(&mut self, lines: u64) -> Result<&[u8], String> {
        self.number = lines;
        // Asked twice, for what is borrowed in one branch is borrowed in all.
        if let Err(error) = self.input.fill_buf() {
            return Err(self.broken(&error));
        }
        self.input.fill_buf().map_err(|error| error.to_string())
    }

    /// Passes over bytes of the last chunk.
    pub fn used(&mut self, bytes: usize) {
        self.input.consume(bytes);
    }

    /// Appends the next line to `line`.
    pub fn next(&mut self, line: &mut Vec<u8>) -> Next {
        if self.is_over {
            return Next::End;
        }
        let start = line.len();
        // One byte more than a line with its end may have.
        let limit = LINE_BYTES_MAX as u64 + 3;
        match self.input.by_ref().take(limit).read_until(b'\n', line) {
            Err(error) => {
                line.truncate(start);
                return Next::Broken(self.broken(&error));
            }
            Ok(0) => {
                self.is_over = true;
                return Next::End;
            }
            Ok(_) => self.number += 1,
        }
        if self.number == 1 && line[start..].starts_with(&BOM) {
            line.drain(start..start + BOM.len());
        }
        let is_whole = line.ends_with(b"\n");
        for end in [b'\n', b'\r'] {
            if line.len() > start && line.last() == Some(&end) {
                line.pop();
            }
        }
        if line.len() - start <= LINE_BYTES_MAX {
            return Next::Line;
        }
        line.truncate(start);
        match is_whole {
            true => Next::TooLong,
            false => self.pass_over(line),
        }
    }

    /// Reads the rest of a line without keeping it.
    fn pass_over(&mut self, scratch: &mut Vec<u8>) -> Next {
        let start = scratch.len();
        loop {
            let piece = self.input.by_ref().take(BUFFER_BYTES as u64);
            let read = { piece }.read_until(b'\n', scratch);
            let is_end = scratch.len() == start || scratch.ends_with(b"\n");
            scratch.truncate(start);
            match read {
                Err(error) => return Next::Broken(self.broken(&error)),
                Ok(_) if is_end => return Next::TooLong,
                Ok(_) => {}
            }
        }
    }

    /// What was read of the line that broke off is not a line.
    fn broken(&mut self, error: &io::Error) -> String {
        self.is_over = true;
        let after = format!("the last good line is {}", self.number);
        let is_cut = error.kind() == io::ErrorKind::UnexpectedEof;
        match (self.is_gzip, is_cut) {
            (true, true) => {
                format!("the gzip file is cut off, {after}; fetch the whole file and import again")
            }
            (true, false) => {
                format!("the gzip file is damaged ({error}), {after}; fetch the file again")
            }
            (false, _) => format!("the file cannot be read any further ({error}), {after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: Vec<u8>) -> Vec<String> {
        let mut lines = Lines::new(io::Cursor::new(bytes)).unwrap();
        let mut read = Vec::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let next = lines.next(&mut line);
            let text = String::from_utf8_lossy(&line).into_owned();
            read.push(match next {
                Next::Line => format!("{}:{text}", lines.number()),
                Next::TooLong => format!("{}!", lines.number()),
                Next::Broken(reason) => reason,
                Next::End => return read,
            });
        }
    }

    #[test]
    fn line_ends_and_byte_order_marks_are_no_content() {
        for (bytes, expected) in [
            (&b""[..], vec![]),
            (b"a", vec!["1:a"]),
            (b"a\nb\n", vec!["1:a", "2:b"]),
            (b"a\r\nb\r\n", vec!["1:a", "2:b"]),
            (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", vec!["1:a", "2:\u{feff}b"]),
            (b"\n\nb", vec!["1:", "2:", "3:b"]),
            (b"\r\n\r", vec!["1:", "2:"]),
        ] {
            assert_eq!(read(bytes.to_vec()), expected, "{bytes:?}");
            assert_eq!(read(gzip(bytes)), expected, "{bytes:?} packed");
        }
    }

    #[test]
    fn a_line_over_the_limit_is_passed_over() {
        let max = "x".repeat(LINE_BYTES_MAX);
        let read_lengths = |text: String| -> Vec<usize> {
            read(text.into_bytes()).iter().map(String::len).collect()
        };
        assert_eq!(read_lengths(format!("{max}\r\nb\n")), [LINE_BYTES_MAX + 2, 3]);
        for more in [1, 2, 3, 4, 200_000, 2_000_000] {
            let long = format!("{max}{}", "y".repeat(more));
            assert_eq!(read(format!("a\n{long}\nb\n").into_bytes()), ["1:a", "2!", "3:b"]);
            assert_eq!(read(long.into_bytes()), ["1!"]);
        }
    }

    #[test]
    fn a_cut_gzip_names_the_last_good_line() {
        let text: String = (0..20_000).map(|n| format!("{n},{}\n", n * 7919 % 10_007)).collect();
        let mut packed = gzip(text.as_bytes());
        packed.truncate(packed.len() / 2);
        let read = read(packed);
        let (last, good) = read.split_last().unwrap();
        assert!(good.len() > 1000);
        assert!(
            good.iter()
                .zip(text.lines())
                .enumerate()
                .all(|(index, (line, expected))| { *line == format!("{}:{expected}", index + 1) })
        );
        assert!(last.contains("cut off"), "{last}");
        assert!(last.contains(&format!("the last good line is {}", good.len())), "{last}");
    }

    #[test]
    fn a_damaged_gzip_is_named_too() {
        let mut packed = gzip("abc,def\n".repeat(1000).as_bytes());
        let end = packed.len();
        packed[end - 6] ^= 0xff;
        let read = read(packed);
        assert!(read.last().unwrap().contains("damaged"), "{:?}", read.last());
    }
}
