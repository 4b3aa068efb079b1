//! Who may do what: roles, the rule of a route, and the row that a route cannot be without.

use std::fmt;
use std::str::FromStr;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a user was made for. `author` and `producer` stand side by side, above `viewer` and below
/// `operator`.
///
/// | role | may |
/// |---|---|
/// | viewer | read what needs a token |
/// | author | that, and look after agents of its own |
/// | producer | what a viewer may, and write: definitions, matches, submissions, scores |
/// | operator | all of these, and run the service |
/// | admin | everything: users and corrections too |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads what needs a token.
    Viewer,
    /// Looks after agents of its own.
    Author,
    /// Writes events.
    Producer,
    /// Runs the service.
    Operator,
    /// May everything.
    Admin,
}

impl Role {
    /// Every role, from the least.
    pub const ALL: [Role; 5] =
        [Role::Viewer, Role::Author, Role::Producer, Role::Operator, Role::Admin];

    /// The word on the command line and in tokens.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Author => "author",
            Role::Producer => "producer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// Whether who has this role may do what asks for `needed`.
    pub fn grants(self, needed: Role) -> bool {
        match self {
            Role::Admin => true,
            Role::Operator => needed != Role::Admin,
            Role::Author | Role::Producer => needed == self || needed == Role::Viewer,
            Role::Viewer => needed == Role::Viewer,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a role; choose viewer, author, producer, operator or admin")]
pub struct BadRole;

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Role, BadRole> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or(BadRole)
    }
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everyone; a token is not looked at.
    Anyone,
    /// Whoever shows a valid token, whatever its roles.
    AnyToken,
    /// Whoever has a role that grants this one.
    Role(Role),
}

impl Who {
    /// Whether a known caller with these roles is let through.
    pub fn lets(self, roles: &[Role]) -> bool {
        match self {
            Who::Anyone | Who::AnyToken => true,
            Who::Role(needed) => roles.iter().any(|role| role.grants(needed)),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Anyone => f.write_str("anyone"),
            Who::AnyToken => f.write_str("any token"),
            Who::Role(role) => role.fmt(f),
        }
    }
}

/// One row of the policy table: a served path template, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    /// The method; a row of GET serves HEAD too.
    pub method: Method,
    /// The whole path with its parameters in braces: `/api/v1/environments/{id}`.
    pub path: String,
    /// Who may.
    pub who: Who,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_roles() {
        //             needed: viewer author producer operator admin
        for (role, granted) in [
            (Role::Viewer, [true, false, false, false, false]),
            (Role::Author, [true, true, false, false, false]),
            (Role::Producer, [true, false, true, false, false]),
            (Role::Operator, [true, true, true, true, false]),
            (Role::Admin, [true, true, true, true, true]),
        ] {
            assert_eq!(Role::ALL.map(|needed| role.grants(needed)), granted, "{role}");
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        assert_eq!("root".parse::<Role>(), Err(BadRole));
    }

    #[test]
    fn a_role_without_the_right_is_not_let_through() {
        assert!(Who::AnyToken.lets(&[]));
        assert!(!Who::Role(Role::Producer).lets(&[]));
        assert!(!Who::Role(Role::Producer).lets(&[Role::Viewer, Role::Author]));
        assert!(Who::Role(Role::Producer).lets(&[Role::Viewer, Role::Producer]));
    }
}
