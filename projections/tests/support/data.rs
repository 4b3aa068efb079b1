//! The shared data beside the project; tests that want it say so and pass when it is not there.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use agon_schema::EventTime;

/// The bytes of a shared file, unpacked; `None`, with a line on the output, when it is not there.
pub fn data(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) => {
            println!("skipped: {}: {error}", path.display());
            return None;
        }
    };
    let mut bytes = Vec::new();
    if name.ends_with(".gz") {
        flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    } else {
        file.read_to_end(&mut bytes).unwrap();
    }
    Some(bytes)
}

pub fn text(name: &str) -> Option<String> {
    data(name).map(|bytes| String::from_utf8(bytes).unwrap())
}

/// One line of a uniform match file.
#[derive(Clone, Debug)]
pub struct MatchLine {
    pub match_id: String,
    pub played_on: EventTime,
    pub a: String,
    pub b: String,
    pub outcome_a: f64,
    /// Parts separated by `|`.
    pub context: String,
}

pub fn match_lines(name: &str) -> Option<Vec<MatchLine>> {
    let bytes = data(name)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let header = "seq,match_id,played_on,a,b,score_a,score_b,outcome_a,context";
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>().join(","), header);
    let line = |record: csv::StringRecord| MatchLine {
        match_id: record[1].to_owned(),
        played_on: EventTime { at: record[2].parse().unwrap(), filled_in: false },
        a: record[3].to_owned(),
        b: record[4].to_owned(),
        outcome_a: record[7].parse().unwrap(),
        context: record[8].to_owned(),
    };
    Some(reader.records().map(|record| line(record.unwrap())).collect())
}
