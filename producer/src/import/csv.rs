//! Records of RFC 4180, one at a time: commas, quotes that may hold commas and line ends. A record
//! has the limit of a line, so that a quote that never ends costs no more memory than that.

use super::lines::{LINE_BYTES_MAX, Lines, Next};

/// What the next record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NextRecord {
    /// Its fields can be read now.
    Record,
    /// It is none, and why.
    Bad(String),
    /// The file cannot be read any further, and why.
    Broken(String),
    /// There is none.
    End,
}

/// The records of a file.
pub(crate) struct Records {
    lines: Lines,
    line: Vec<u8>,
    text: Vec<u8>,
    ends: Vec<usize>,
    first_line: u64,
}

impl Records {
    pub fn new(lines: Lines) -> Records {
        Records { lines, line: Vec::new(), text: Vec::new(), ends: Vec::new(), first_line: 0 }
    }

    /// The line that the record starts on.
    pub fn line(&self) -> u64 {
        self.first_line
    }

    /// The fields of the record, in order.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|index| self.field(index))
    }

    /// How many fields the record has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// One field; empty where there is none.
    pub fn field(&self, index: usize) -> &str {
        let Some(end) = self.ends.get(index) else { return "" };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        // Fields end at ASCII characters of a text that was checked as a whole.
        std::str::from_utf8(&self.text[start..*end]).unwrap_or_default()
    }

    /// Reads the next record that is not blank.
    pub fn next(&mut self) -> NextRecord {
        loop {
            self.line.clear();
            self.text.clear();
            self.ends.clear();
            let next = self.lines.next(&mut self.line);
            self.first_line = self.lines.number();
            match next {
                Next::Line if self.line.is_empty() => {}
                Next::Line => return self.record(),
                Next::TooLong => return NextRecord::Bad(too_long()),
                Next::Broken(reason) => return NextRecord::Broken(reason),
                Next::End => return NextRecord::End,
            }
        }
    }

    fn record(&mut self) -> NextRecord {
        let mut is_open = self.split(false);
        while is_open {
            self.line.clear();
            let next = self.lines.next(&mut self.line);
            let lines = format!("lines {} to {}", self.first_line, self.lines.number());
            match next {
                Next::Line => {}
                Next::TooLong => return NextRecord::Bad(too_long()),
                Next::Broken(reason) => return NextRecord::Broken(reason),
                Next::End => {
                    return NextRecord::Bad(format!(
                        "a quoted field never ends ({lines}); close its quote"
                    ));
                }
            }
            self.text.push(b'\n');
            is_open = self.split(true);
            if self.text.len() > LINE_BYTES_MAX {
                return NextRecord::Bad(format!(
                    "a quoted field has more than {LINE_BYTES_MAX} bytes ({lines}); close its quote"
                ));
            }
        }
        match std::str::from_utf8(&self.text) {
            Ok(_) => NextRecord::Record,
            Err(error) => {
                let before = self.ends.iter().filter(|end| **end <= error.valid_up_to()).count();
                let number = before + 1;
                NextRecord::Bad(format!("field {number} is not UTF-8; save the file as UTF-8"))
            }
        }
    }

    /// Takes a line into the record; true when it ends within quotes.
    fn split(&mut self, mut is_quoted: bool) -> bool {
        let start = |ends: &Vec<usize>| ends.last().copied().unwrap_or(0);
        let mut bytes = self.line.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' if is_quoted => match bytes.next_if_eq(&b'"') {
                    Some(quote) => self.text.push(quote),
                    None => is_quoted = false,
                },
                b'"' if self.text.len() == start(&self.ends) => is_quoted = true,
                b',' if !is_quoted => self.ends.push(self.text.len()),
                byte => self.text.push(byte),
            }
        }
        if !is_quoted {
            self.ends.push(self.text.len());
        }
        is_quoted
    }
}

pub(crate) fn too_long() -> String {
    format!("has more than {LINE_BYTES_MAX} bytes; shorten it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Vec<(u64, Result<Vec<String>, String>)> {
        let lines = Lines::new(std::io::Cursor::new(bytes.to_vec())).unwrap();
        let mut records = Records::new(lines);
        let mut read = Vec::new();
        loop {
            let record = match records.next() {
                NextRecord::Record => Ok(records.fields().map(str::to_owned).collect()),
                NextRecord::Bad(reason) | NextRecord::Broken(reason) => Err(reason),
                NextRecord::End => return read,
            };
            read.push((records.line(), record));
        }
    }

    fn check(text: &str, expected: &[(u64, &[&str])]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(line, fields)| (*line, Ok(fields.iter().map(|f| (*f).to_owned()).collect())))
            .collect();
        assert_eq!(read(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn fields_and_quotes() {
        check("", &[]);
        check("a,b\n", &[(1, &["a", "b"])]);
        check("a,,b,\n", &[(1, &["a", "", "b", ""])]);
        check("a\n\n\nb\n", &[(1, &["a"]), (4, &["b"])]);
        check("\"a,b\",c", &[(1, &["a,b", "c"])]);
        check("\"a\"\"b\",c", &[(1, &["a\"b", "c"])]);
        check("\"a\nb\",c\nd", &[(1, &["a\nb", "c"]), (3, &["d"])]);
        check("\"\",x\r\n", &[(1, &["", "x"])]);
        check("5\" pipe,b\nc", &[(1, &["5\" pipe", "b"]), (2, &["c"])]);
        check("Côte d'Ivoire,b", &[(1, &["Côte d'Ivoire", "b"])]);
    }

    #[test]
    fn what_is_no_record_says_why() {
        let reason = |bytes: &[u8]| -> String {
            read(bytes).into_iter().find_map(|(_, record)| record.err()).unwrap()
        };
        assert!(reason(b"a\n\"b\nc\n").contains("never ends (lines 2 to 3)"));
        assert!(reason(b"a,b\xff,\n").contains("field 2 is not UTF-8"));
        let open = format!("\"{}", "x\n".repeat(LINE_BYTES_MAX));
        assert!(reason(open.as_bytes()).contains("more than 1048576 bytes"));
        assert!(reason("y".repeat(LINE_BYTES_MAX + 1).as_bytes()).contains("shorten"));
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(
            rows in prop::collection::vec(prop::collection::vec("[a-z,\"\n é]{0,6}", 1..5), 0..8),
        ) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let text: String = rows
                .iter()
                .map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n")
                .collect();
            let back: Vec<_> =
                read(text.as_bytes()).into_iter().map(|(_, record)| record.unwrap()).collect();
            prop_assert_eq!(back, rows);
        }
    }
}
