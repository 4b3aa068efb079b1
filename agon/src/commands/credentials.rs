//! The first administrator of a new directory.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use agon_edge::{Role, Users, generate_password};

use crate::exit::Exit;
use crate::output;

/// Name of the file in the data directory.
pub const FILE: &str = "credentials";
/// Name of the first administrator.
pub const ADMIN: &str = "admin";

/// Makes an administrator when there is no user yet; answers the password it was given. The file
/// is written first: a user whose password nobody knows would be worse than a file without a user.
///
/// # Errors
/// When users cannot be read or the file cannot be written.
pub async fn first_admin(users: &Users, dir: &Path) -> Result<Option<String>, Exit> {
    if !users.list().await.map_err(Exit::missing)?.is_empty() {
        return Ok(None);
    }
    let password = generate_password().map_err(Exit::missing)?;
    let path = dir.join(FILE);
    write_private(&path, &format!("username: {ADMIN}\npassword: {password}\n"))
        .map_err(|error| Exit::Missing(format!("write {}: {error}", path.display())))?;
    users.add(ADMIN, &password, &[Role::Admin]).await.map_err(Exit::missing)?;
    output::say(format_args!("made user {ADMIN}; its password is in {}", path.display()));
    Ok(Some(password))
}

/// Writes a file that only its owner may read, whole and synced, in place of an older one.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
