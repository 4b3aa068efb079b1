//! `agon user`: the people and programs that may log in.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use agon_edge::{Ensured, Role, Users};
use agon_memory::SystemClock;

use crate::cli::{Place, User};
use crate::exit::Exit;
use crate::{node, output, place};

/// Bytes of the line with the password that are read; a password is far shorter.
const LINE_BYTES_MAX: u64 = 4096;
/// The right of everyone on the machine to read a file.
const ALL_MAY_READ: u32 = 0o004;

/// Runs the command.
///
/// # Errors
/// A name or password out of bounds, a directory that is in use or cannot be read.
pub async fn run(command: User) -> Result<(), Exit> {
    match command {
        User::Add { name, role, password_stdin: _, password_file, or_set_password, place } => {
            let password = match password_file {
                Some(path) => of_file(&path)?,
                None => first_line(std::io::stdin(), "standard input")?,
            };
            let users = users(&place).await?;
            match or_set_password {
                true => ensure(&name, &password, &role, &users).await,
                false => add(&name, &password, &role, &users).await,
            }
        }
        User::List { place } => list(&place).await,
    }
}

async fn users(place: &Place) -> Result<Users, Exit> {
    Ok(Users::new(place::control(place).await?, Arc::new(SystemClock)))
}

/// The password in a file, unless everyone on this machine could have read it.
fn of_file(path: &Path) -> Result<String, Exit> {
    let place = path.display().to_string();
    let failed = |error| Exit::Usage(format!("read the password from {place}: {error}"));
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.permissions().mode() & ALL_MAY_READ != 0 {
        return Err(Exit::Usage(format!(
            "{place} may be read by everyone on this machine; take that right away (chmod o-r, or \
             defaultMode: 0440 of a mounted Secret) and choose another password"
        )));
    }
    first_line(file, &place)
}

fn first_line(from: impl Read, place: &str) -> Result<String, Exit> {
    let mut line = String::new();
    let read = BufReader::new(from.take(LINE_BYTES_MAX)).read_line(&mut line);
    read.map_err(|error| Exit::Usage(format!("read the password from {place}: {error}")))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

async fn add(name: &str, password: &str, roles: &[Role], users: &Users) -> Result<(), Exit> {
    users.add(name, password, roles).await.map_err(Exit::usage)?;
    say_added(name, roles);
    Ok(())
}

fn say_added(name: &str, roles: &[Role]) {
    let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    output::say(format_args!("added {name} with role {}", roles.join(", ")));
}

async fn ensure(name: &str, password: &str, roles: &[Role], users: &Users) -> Result<(), Exit> {
    match users.ensure(name, password, roles).await.map_err(Exit::usage)? {
        Ensured::Added => say_added(name, roles),
        Ensured::AsItWas => output::say(format_args!("{name} is there with this password")),
        Ensured::GivenPassword => output::say(format_args!(
            "{name} has this password now; whoever was logged in by the old one is logged out"
        )),
    }
    Ok(())
}

async fn list(place: &Place) -> Result<(), Exit> {
    if place.store()?.is_none() {
        node::must_exist(&place.data.data)?;
    }
    for user in users(place).await?.list().await.map_err(Exit::missing)? {
        let roles: Vec<&str> = user.roles.iter().map(|role| role.name()).collect();
        output::line(format_args!("{}\t{}\t{}", user.name, roles.join(","), user.created_at))?;
    }
    Ok(())
}
