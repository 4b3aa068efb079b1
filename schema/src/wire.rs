//! The generated wire types. Private: outside this crate only valid types are seen.
#![allow(missing_docs)]

include!(concat!(env!("OUT_DIR"), "/agon.v1.rs"));
