//! The embedded store against kills, damage, other versions and other logs: it opens with every
//! flush up to some point whole, or says why it does not.
#![allow(clippy::unwrap_used)]

mod damage;
mod kill;
mod refusals;
mod stopped;
mod support;
