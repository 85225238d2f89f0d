"""A throwaway PostgreSQL cluster, on a socket in a folder of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from measure import ENVIRONMENT

# The user that the server runs as when the bench runs as root. Debian's server package makes it.
SERVER_USER = "postgres"
START_LIMIT = 60

# Like a server's that is used, but for durability, which a backup does not ask for: what is measured is reading.
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


def newest_bindir():
    """The programs of the newest PostgreSQL that Debian's packages have installed."""
    bindirs = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not bindirs:
        sys.exit("bench: there is no PostgreSQL in /usr/lib/postgresql (scripts/install-test-deps installs it)")
    return max(bindirs, key=lambda bindir: int(bindir.parent.name))


class Cluster:
    """Runs as long as it is entered."""

    def __init__(self, folder, **settings):
        self.bindir = newest_bindir()
        self.folder = folder / "cluster"
        self.settings = SETTINGS | settings
        self.server = None

    def __enter__(self):
        self.folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.folder, SERVER_USER, SERVER_USER)
        self.folder.chmod(0o755)
        initdb = [self.bindir / "initdb", "--pgdata", self.folder / "data", "--username=postgres", "--auth=trust"]
        initdb += ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(self.as_server(initdb), env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
        postgres = [self.bindir / "postgres", "-D", self.folder / "data", "-k", self.folder]
        for name, value in self.settings.items():
            postgres += ["-c", f"{name}={value}"]
        with open(self.folder / "log", "wb") as log:
            # Should the bench be killed, the kernel ends the server (an immediate shutdown).
            self.server = subprocess.Popen(
                self.as_server(postgres, "--pdeathsig=QUIT"),
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # An immediate shutdown: the data is thrown away.
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait()
        shutil.rmtree(self.folder)

    def as_server(self, command, *options):
        if os.geteuid() == 0:
            options += (f"--reuid={SERVER_USER}", f"--regid={SERVER_USER}", "--clear-groups")
        return ["setpriv", *options, "--", *command] if options else command

    def wait_until_ready(self):
        deadline = time.monotonic() + START_LIMIT
        ready = [self.bindir / "pg_isready", "--quiet", "--host", self.folder]
        while subprocess.run(ready, env=ENVIRONMENT, check=False).returncode != 0:
            if self.server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: PostgreSQL did not start\n{(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def connection(self):
        """libpq's options for a connection; psql, pg_dump and pgcellar have the same."""
        return ["-h", str(self.folder), "-U", "postgres"]

    def sql(self, database, script):
        """Runs a script by psql and returns its output; ends the bench at its first error."""
        psql = [self.bindir / "psql", *self.connection(), "-d", database, "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        done = subprocess.run(psql, env=ENVIRONMENT, input=script, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            sys.exit(f"bench: psql: {done.stderr}")
        return done.stdout.strip()

    def version(self):
        """The server's version."""
        return self.sql("postgres", "SHOW server_version").split()[0]
