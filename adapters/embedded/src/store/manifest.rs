//! Checks the lists of tables before the database reads them.
//!
//! Every list `v<N>` has its checksum beside its number in `current`, but the database does not
//! look at it: a flipped bit could take a table out of the list, or shift the sequence numbers of
//! its rows, without a word.
//!
//! ```text
//! store/keyspaces/<id>/current    N: u64 LE, xxh3 of v<N>: u128 LE, kind of checksum: u8 = 0
//! store/keyspaces/<id>/v<N>       the list
//! ```

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::error::OpenError;

/// Checks the list of every keyspace in a store. A store that is not there has none.
pub(super) fn check(dir: &Path) -> Result<(), OpenError> {
    let keyspaces = match fs::read_dir(dir.join("keyspaces")) {
        Ok(keyspaces) => keyspaces,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io(dir, error)),
    };
    for keyspace in keyspaces {
        let keyspace = keyspace.map_err(|error| OpenError::io(dir, error))?.path();
        match check_keyspace(&keyspace) {
            Ok(None) => {}
            Ok(Some(what)) => {
                let what = format!("{}: {what}", keyspace.display());
                return Err(OpenError::damaged(dir, what));
            }
            Err(error) => return Err(OpenError::io(dir, error)),
        }
    }
    Ok(())
}

/// What is wrong with the list of a keyspace, if anything.
fn check_keyspace(keyspace: &Path) -> io::Result<Option<&'static str>> {
    let current = match fs::read(keyspace.join("current")) {
        Ok(current) => current,
        // Made, but not yet used, when the process died.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((number, rest)) = current.split_first_chunk::<8>() else {
        return Ok(Some("current is too short"));
    };
    let Some((checksum, [0])) = rest.split_first_chunk::<16>() else {
        return Ok(Some("current is not as it was written"));
    };
    let list = fs::read(keyspace.join(format!("v{}", u64::from_le_bytes(*number))))?;
    let is_whole = xxh3_128(&list) == u128::from_le_bytes(*checksum);
    Ok((!is_whole).then_some("the list of tables is not the one that current names"))
}
