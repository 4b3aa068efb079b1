//! The embedded control store keeps its port's contract: on a real disk, and on a simulated one
//! whose power is lost at each reopening.

use std::sync::Arc;

use agon_embedded::control::{ControlSettings, EmbeddedControl};
use agon_embedded::files::{Crash, DataDir, DiskFiles, Files, SimFiles};
use agon_ports::ControlStore;
use agon_ports::conformance::control_store::ControlStoreFixture;

fn open(files: Arc<dyn Files>, path: &std::path::Path) -> Arc<dyn ControlStore> {
    let dir = DataDir::open(files, path).expect("the directory is free");
    let store = EmbeddedControl::open(Arc::new(dir), ControlSettings::default());
    Arc::new(store.expect("the store opens"))
}

mod disk {
    use super::*;

    struct Fixture(tempfile::TempDir);

    #[async_trait::async_trait]
    impl ControlStoreFixture for Fixture {
        async fn open(&mut self) -> Arc<dyn ControlStore> {
            open(Arc::new(DiskFiles), self.0.path())
        }
    }

    fn make_fixture() -> Fixture {
        Fixture(tempfile::tempdir().expect("a temporary directory"))
    }

    agon_ports::control_store_conformance!(make_fixture);
}

mod power_loss {
    use super::*;

    struct Fixture(SimFiles);

    #[async_trait::async_trait]
    impl ControlStoreFixture for Fixture {
        async fn open(&mut self) -> Arc<dyn ControlStore> {
            self.0.crash(Crash::LoseUnsynced);
            open(Arc::new(self.0.clone()), "/data".as_ref())
        }
    }

    fn make_fixture() -> Fixture {
        Fixture(SimFiles::new(1))
    }

    agon_ports::control_store_conformance!(make_fixture);
}
