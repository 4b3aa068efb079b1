//! A part of one segment in memory: what the scan at opening and the readers parse frames from.

use std::io;

use super::segment::Place;
use crate::files::DataFile;

pub(super) struct Window {
    /// Kept at its largest size, so that nothing is zeroed twice.
    bytes: Vec<u8>,
    filled: usize,
    /// Where the first byte stands.
    at: Place,
}

impl Window {
    pub(super) fn new() -> Window {
        Window { bytes: Vec::new(), filled: 0, at: Place::first(0) }
    }

    /// What is in memory from a place on.
    pub(super) fn rest(&self, place: Place) -> &[u8] {
        let skip = place.byte.checked_sub(self.at.byte).and_then(|skip| usize::try_from(skip).ok());
        match skip {
            Some(skip) if self.at.segment == place.segment => {
                self.bytes[..self.filled].get(skip..).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// Reads on, so that `want` bytes from `place` are in memory, or all up to `end_byte`, or all
    /// there are in the file.
    ///
    /// # Errors
    /// When the disk refuses; the window is then empty.
    pub(super) fn fill(
        &mut self,
        file: &dyn DataFile,
        place: Place,
        end_byte: u64,
        want: usize,
    ) -> io::Result<()> {
        let keep = self.rest(place).len();
        self.bytes.copy_within(self.filled - keep..self.filled, 0);
        self.at = place;
        self.filled = 0;
        let left = usize::try_from(end_byte.saturating_sub(place.byte)).unwrap_or(usize::MAX);
        let goal = want.min(left).max(keep);
        if self.bytes.len() < goal {
            self.bytes.resize(goal, 0);
        }
        let read = file.read_at(&mut self.bytes[keep..goal], place.byte + keep as u64)?;
        self.filled = keep + read;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::files::{Files, Mode, SimFiles};

    #[test]
    fn it_reads_on_and_keeps_what_it_has() {
        let files = SimFiles::new(1);
        files.create_dir(Path::new("d")).unwrap();
        files.put(Path::new("d/f"), (0..100).collect());
        let file = files.open(Path::new("d/f"), Mode::Read).unwrap();
        let at = |byte| Place { segment: 1, byte };
        let mut window = Window::new();
        assert!(window.rest(at(0)).is_empty());
        window.fill(file.as_ref(), at(10), 100, 20).unwrap();
        assert_eq!(window.rest(at(10)), (10..30).collect::<Vec<u8>>());
        assert_eq!(window.rest(at(25)), (25..30).collect::<Vec<u8>>());
        assert!(window.rest(at(9)).is_empty() && window.rest(at(30)).is_empty());
        assert!(window.rest(Place { segment: 2, byte: 10 }).is_empty());
        window.fill(file.as_ref(), at(25), 50, 100).unwrap();
        assert_eq!(window.rest(at(25)), (25..50).collect::<Vec<u8>>());
        window.fill(file.as_ref(), at(45), 1000, 1000).unwrap();
        assert_eq!(window.rest(at(45)), (45..100).collect::<Vec<u8>>());
    }
}
