//! Cells in memory, loaded from the store when first asked for and kept up by the change feed.

pub(crate) mod boards;
pub(crate) mod load;
pub(crate) mod slot;
pub(crate) mod view;
