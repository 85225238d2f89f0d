//! Wrappers around PostgreSQL's programs.

use std::fs;
use std::path::{Path, PathBuf};

use super::process::{hand_over, must, new_folder, plain};
use super::version::Version;

/// A folder for `PG_BINDIR` with scripts that run PostgreSQL's own programs.
#[derive(Debug)]
pub struct Programs {
    folder: tempfile::TempDir,
    real: PathBuf,
}

impl Programs {
    /// The programs that backups use; the scripts only run them.
    pub fn of(version: Version) -> Programs {
        let folder = new_folder();
        hand_over(folder.path());
        let programs = Programs { folder, real: version.bin_dir() };
        programs.before("pg_dump", "").before("pg_dumpall", "").before("psql", "").before("pg_restore", "");
        programs
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the real programs.
    pub fn real(&self) -> &Path {
        &self.real
    }

    /// Runs shell commands before a program, unless it is only asked for its version. They have its arguments and its
    /// environment, and `$real` is its path.
    pub fn before(&self, program: &str, commands: &str) -> &Programs {
        self.before_all(program, &format!("[ \"$1\" = --version ] || {{\n:\n{commands}\n}}"))
    }

    /// The same, also when it is asked for its version.
    pub fn before_all(&self, program: &str, commands: &str) -> &Programs {
        let real = self.real.join(program);
        let script = format!("#!/bin/sh\nreal='{}'\n{commands}\nexec \"$real\" \"$@\"\n", real.display());
        let text = self.folder.path().join(format!("{program}.text"));
        fs::write(&text, script).unwrap();
        // Another process writes the program: a file that ours has open for writing, or that a child of another thread
        // inherits, cannot be run (ETXTBSY).
        must(plain("install").args(["-m", "0755"]).arg(&text).arg(self.folder.path().join(program)));
        self
    }

    /// Holds a program at its start until the gate is opened.
    pub fn gate(&self, program: &str) -> Gate {
        let gate = Gate::new(self.folder.path(), program);
        self.before(program, &gate.commands());
        gate
    }

    /// The same, also when it is asked for its version.
    pub fn gate_all(&self, program: &str) -> Gate {
        let gate = Gate::new(self.folder.path(), program);
        self.before_all(program, &gate.commands());
        gate
    }
}

/// A place where a program waits.
#[derive(Debug)]
pub struct Gate {
    fifo: PathBuf,
    reached: PathBuf,
}

impl Gate {
    fn new(folder: &Path, program: &str) -> Gate {
        let gate =
            Gate { fifo: folder.join(format!("{program}.gate")), reached: folder.join(format!("{program}.reached")) };
        must(plain("mkfifo").args(["-m", "0666"]).arg(&gate.fifo));
        gate
    }

    /// The shell itself waits, so a signal need not reach another process.
    fn commands(&self) -> String {
        let (fifo, reached) = (self.fifo.display(), self.reached.display());
        format!("echo $$ >'{reached}.new' && mv '{reached}.new' '{reached}'\nread -r _ <'{fifo}'")
    }

    /// The process that waits, once it does.
    pub fn reached(&self) -> Option<rustix::process::Pid> {
        let text = fs::read_to_string(&self.reached).ok()?;
        text.trim().parse().ok().and_then(rustix::process::Pid::from_raw)
    }

    /// Lets the program go on.
    pub fn open(&self) {
        fs::write(&self.fifo, "\n").unwrap();
    }
}
