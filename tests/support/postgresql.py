"""A PostgreSQL server for tests, in a folder of its own, reached by a password and a Unix socket or TCP."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

USER = "casemate"
PASSWORD = "p@ss/word 1"
_INSTALLED = "/usr/lib/postgresql"
#: Accounts under which root runs the server, which refuses to run as root.
_ACCOUNTS = ("postgres", "nobody")
_LONGEST_START = 30.0
# Nothing here has to survive the machine.
_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass
class PostgreSql:
    """One server.

    Attributes:
        programs: Folder of ``initdb`` and ``postgres``.
        folder: Holds its data, its socket and its log; removed at the end.
        tcp_port: Where it listens on 127.0.0.1 as well; ``None``: nowhere.
    """

    programs: Path
    folder: Path
    _account: pwd.struct_passwd | None
    tcp_port: int | None = None
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    @contextmanager
    def running(cls, tcp_port: int | None = None) -> Iterator[PostgreSql]:
        """A server with no database yet; skips the test where PostgreSQL is not installed."""
        programs = _programs()
        if programs is None:
            pytest.skip("needs PostgreSQL: apt-get install postgresql")
        # Not in pytest's folder: the account of the server may not enter that, and a socket's path is short.
        folder = Path(tempfile.mkdtemp(prefix="casemate-postgresql-"))
        server = cls(programs, folder, _account(), tcp_port)
        try:
            server._initialise()
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder)

    def start(self) -> None:
        """Start, and wait until it answers."""
        listening = (
            ("listen_addresses=",)
            if self.tcp_port is None
            else ("listen_addresses=127.0.0.1", f"port={self.tcp_port}")
        )
        settings = [part for setting in (*_SETTINGS, *listening) for part in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder, *settings],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as_account(),
            )
        end = time.monotonic() + _LONGEST_START
        while self._run("pg_isready", "--quiet", "--host", str(self.folder)).returncode != 0:
            running = self._process.poll() is None and time.monotonic() < end
            assert running, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, without waiting for its clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=_LONGEST_START)
            self._process = None

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}", database="postgres")
        return self.url(name)

    def url(self, database: str, password: str = PASSWORD) -> str:
        """Where ``database`` is, with user and password."""
        host = quote(str(self.folder), safe="")
        return f"postgresql://{USER}:{quote(password, safe='')}@{host}/{database}"

    def tcp_url(self, database: str) -> str:
        """The same for those who cannot reach the socket."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.tcp_port}/{database}"

    def execute(self, statement: str, *, database: str) -> str:
        """What ``statement`` answers, a row a line."""
        # Not through our own driver: what a test looks at is seen by PostgreSQL's own eyes.
        options = ("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
        done = self._run("psql", *options, "--dbname", self.url(database), "--command", statement)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self._account is not None:
            for path in (self.folder, password):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        choices = (
            "--no-sync",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            f"--username={USER}",
        )
        done = self._run("initdb", *choices, f"--pwfile={password}", f"--pgdata={self.folder / 'data'}")
        assert done.returncode == 0, done.stdout + done.stderr

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        found = self.programs / program
        return subprocess.run(
            [found if found.exists() else program, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            # The name of the socket has the port in it.
            env={**os.environ, **({} if self.tcp_port is None else {"PGPORT": str(self.tcp_port)})},
            **self._as_account(),
        )

    def _as_account(self) -> dict[str, Any]:
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}


def _programs() -> Path | None:
    """Where the newest PostgreSQL of this machine is; Debian keeps the server's programs off PATH."""
    installed = sorted(Path(_INSTALLED).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _account() -> pwd.struct_passwd | None:
    """Whom to run as, where we are root."""
    if os.getuid() != 0:
        return None
    known = {account.pw_name: account for account in pwd.getpwall()}
    return next(known[name] for name in _ACCOUNTS if name in known)
