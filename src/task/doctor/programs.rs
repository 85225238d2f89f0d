//! Checks of PostgreSQL's programs: whether they are installed, and fit the server.

use std::sync::Arc;

use crate::cli::DoctorPart;
use crate::error::{Error, Kind, Result};
use crate::host::surroundings::Surroundings;
use crate::postgres::programs::Programs;
use crate::task::doctor::check::Checks;
use crate::task::doctor::services::Services;

/// The programs that backups and restores call.
const CALLED: &[&str] = &["pg_dump", "pg_dumpall", "pg_restore", "psql"];

/// Checks the programs against the server's version.
pub async fn check(services: &Arc<Services>) -> Checks {
    let mut checks = Checks::new(DoctorPart::Programs);
    let bindir = services.args.connection.pg_bindir.as_deref();
    let Some(server) = services.server(&mut checks, DoctorPart::Programs).await else {
        match Programs::newest(bindir).await {
            Ok(found) => {
                let what = format!("pg_dump {} in {} is the newest", found.version, found.folder.display());
                checks.skipped("version", format!("{what}; whether it fits the server is not known without it"));
            }
            Err(error) => checks.failed("version", &error),
        }
        return checks;
    };
    let programs = match Programs::fitting(bindir, server.major).await {
        Ok(programs) => programs,
        Err(error) => {
            checks.failed("version", &error);
            return checks;
        }
    };
    let folder = programs.folder.display();
    match programs.mismatch(server.major) {
        Some(doubt) => checks.warning("version", doubt, Surroundings::here().client_programs(server.major)),
        None => {
            checks.ok("version", format!("pg_dump {} in {folder} fits PostgreSQL {}", programs.version, server.version))
        }
    }
    for program in CALLED {
        if let Err(error) = runs(&programs, program).await {
            checks.failed(*program, &error);
        }
    }
    checks
}

async fn runs(programs: &Programs, program: &str) -> Result<()> {
    let path = programs.folder.join(program);
    let failed = |why: String| {
        Error::new(Kind::System, format!("{} cannot be run: {why}", path.display()))
            .hint(format!("{}, which has all of them", Surroundings::here().client_programs(programs.major)))
    };
    // A wrapper that starts the program would not report that it is missing.
    if !path.is_file() {
        return Err(failed("there is no such file".to_owned()));
    }
    let output = programs.command(program).arg("--version").output().await;
    let output = output.map_err(|error| failed(crate::error::reason(&error)))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
