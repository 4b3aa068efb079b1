//! The write side on memory adapters: intake, HTTP routes and imports.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod bad_input;
mod definitions;
mod faults;
mod files;
mod folder;
mod http;
mod import;
mod intake;
mod outages;
mod policy;
mod real_files;
mod server;
mod site;
mod world;
