//! `agon verify`.

use crate::bar::Bar;
use crate::cli::{ReportFormat, Verify};
use crate::exit::Exit;
use crate::place::Opened;
use crate::{output, verify};

/// Compares the store with the fold of the log, and reports.
///
/// # Errors
/// Exit code 1 when there is a difference.
pub async fn run(options: Verify) -> Result<(), Exit> {
    let opened = Opened::open(&options.place).await?;
    let bar = Bar::new("verifying", 0);
    let on_record = |records| bar.set(records);
    let report = verify::verify(opened.log()?, opened.inspector()?, &on_record)
        .await
        .map_err(Exit::missing)?;
    drop(bar);
    match options.format {
        ReportFormat::Text => output::line(report.to_text())?,
        ReportFormat::Json => {
            output::line(serde_json::to_string(&report).map_err(Exit::missing)?)?;
        }
    }
    match report.differences {
        0 => Ok(()),
        count => Err(Exit::No(format!(
            "{count} differences; `agon rebuild` folds the store anew from the log"
        ))),
    }
}
