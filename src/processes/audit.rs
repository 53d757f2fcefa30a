//! `octoco audit`: the chain of the audit log, computed again: in the database, or in a file that was taken out of it. Called by `main`.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use crate::app::App;
use crate::identity::audit::{self, Actor, ChainCheck, Head, pack};
use crate::money::approvals::routes::note_of_command;
use crate::platform::error::BoxError;

#[derive(Subcommand)]
pub enum Command {
    /// Computes the whole chain again and names the first row that was changed: exit status 0 or 1
    Verify {
        /// A head that was noted before, as the log has it (`audit.head`): the chain must still go through it
        #[arg(long, value_name = "POSITION:HASH", value_parser = Head::parse)]
        head: Option<Head>,
    },
    /// Computes the links of a month's file again (`GET /v1/admin/audit/packs/{month}`), without the service: exit status 0 or 1
    VerifyPack {
        /// Its head is printed: compare it with what was noted elsewhere
        file: PathBuf,
    },
    /// Notes in the ledger the head that there is now, after PostgreSQL was put back to an earlier moment: exit status 0 or 1
    AcceptHead {
        /// What was put back and why: for the audit log
        #[arg(long, value_parser = note_of_command)]
        note: String,
    },
}

pub async fn run(app: App, command: Command) -> Result<ExitCode, BoxError> {
    match command {
        Command::VerifyPack { file } => verify_pack(&file),
        Command::AcceptHead { note } => say(audit::accept_head(&app, &Actor::operator(), &note).await?),
        Command::Verify { head } => say(match audit::noted_in_ledger(&app).await? {
            Ok(_) => audit::verify(&app, head.as_ref()).await?,
            Err(broken) => broken,
        }),
    }
}

/// Needs no settings and no database.
pub fn verify_pack(file: &Path) -> Result<ExitCode, BoxError> {
    say(pack::verify(BufReader::new(File::open(file)?))?)
}

fn say(verdict: ChainCheck) -> Result<ExitCode, BoxError> {
    match verdict {
        ChainCheck::Intact { head, unsealed } => {
            writeln!(io::stdout().lock(), "the chain is intact; head {head}; {unsealed} rows wait to be chained")?;
            Ok(ExitCode::SUCCESS)
        }
        ChainCheck::Broken { position, entry_id, reason } => {
            let row = entry_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
            writeln!(io::stderr().lock(), "octoco: the chain is broken at {position}, row {row}: {reason}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
