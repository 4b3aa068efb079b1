//! `agon user`: the people and programs that may log in.

use std::io::BufRead;
use std::sync::Arc;

use agon_edge::{Role, Users};
use agon_memory::SystemClock;

use crate::cli::{Place, User};
use crate::exit::Exit;
use crate::{node, output, place};

/// Runs the command.
///
/// # Errors
/// A name or password out of bounds, a directory that is in use or cannot be read.
pub async fn run(command: User) -> Result<(), Exit> {
    match command {
        User::Add { name, role, password_stdin: _, place } => add(&name, &role, &place).await,
        User::List { place } => list(&place).await,
    }
}

async fn users(place: &Place) -> Result<Users, Exit> {
    Ok(Users::new(place::control(place).await?, Arc::new(SystemClock)))
}

async fn add(name: &str, roles: &[Role], place: &Place) -> Result<(), Exit> {
    let mut password = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut password)
        .map_err(|error| Exit::Usage(format!("read the password from standard input: {error}")))?;
    let password = password.trim_end_matches(['\n', '\r']);
    users(place).await?.add(name, password, roles).await.map_err(Exit::usage)?;
    let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    output::say(format_args!("added {name} with role {}", roles.join(", ")));
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
