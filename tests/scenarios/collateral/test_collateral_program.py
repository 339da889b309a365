"""``casemate serve collateral`` as a program: killed, restarted, sharing a database, carrying packages."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.collateral_service import ADMIN_TOKEN, USER_TOKEN, PccsClient, sha512
from tests.support.intel_pcs import FakeIntel
from tests.support.manufacturer import Manufacturer
from tests.support.postgresql import PostgreSql

from casemate.adapters.collateral_sqlite import open_sqlite_store
from casemate.cli.main import run
from casemate.collateral.admission import admit, admit_platform
from casemate.collateral.upstream import Answer
from casemate.formats.dsse import key_id
from casemate.formats.public_key import parse_public_key
from casemate.verifier.roots import TrustRoots
from casemate.verifier.vouching import Trust

SGX, TDX = "/sgx/certification/v4", "/tdx/certification/v4"


@pytest.fixture
def intel(tmp_path: Path) -> Iterator[FakeIntel]:
    maker = Manufacturer.create(datetime.now(UTC) - timedelta(hours=1))
    (tmp_path / "root.pem").write_bytes(maker.root.certificate_pem())
    with FakeIntel.running(maker, tmp_path) as fake:
        yield fake


@pytest.fixture
def arguments(tmp_path: Path, intel: FakeIntel) -> list[str]:
    return [
        *("--listen", "127.0.0.1:0", "--tls", f"{tmp_path}/tls", "--json"),
        *("--pcs", intel.url, "--pcs-certificates", intel.url, "--upstream-ca", str(intel.ca)),
        *("--simulated-root", f"{tmp_path}/root.pem"),
        *("--user-token-hash", sha512(USER_TOKEN), "--admin-token-hash", sha512(ADMIN_TOKEN)),
    ]


@contextmanager
def started(arguments: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[str], PccsClient]]:
    """A service that runs, with a client; it is killed at the end if it still runs."""
    command = [sys.executable, "-m", "casemate", "serve", "collateral", *arguments]
    log = folder / "log"
    with (
        log.open("ab") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            ready = json.loads(line)
            assert (ready["version"], ready["kind"]) == (1, "casemate.collateral")
            client = PccsClient(port=ready["port"], ca=folder / "tls" / "ca.pem")
            with closing(client):
                yield process, client
        finally:
            process.kill()
            process.wait()


def stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(20)


def test_it_serves_ends_cleanly_and_remembers(arguments: list[str], intel: FakeIntel, tmp_path: Path) -> None:
    arguments += ["--store", f"{tmp_path}/collateral.db"]
    with started(arguments, tmp_path) as (process, client):
        first = client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc)
        assert first.status == 200
        assert stop(process) == 0
    intel.stop()
    with started(arguments, tmp_path) as (process, client):
        second = client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc)
        assert (second.status, second.body) == (200, first.body)
        assert stop(process) == 0
    log = (tmp_path / "log").read_text()
    assert "trusts a simulated root: it protects nothing" in log
    assert "Traceback" not in log
    assert intel.maker.platforms[0].encrypted_ppid not in log


def test_killed_at_any_moment_it_leaves_no_corrupt_row(
    arguments: list[str], intel: FakeIntel, tmp_path: Path
) -> None:
    path = tmp_path / "collateral.db"
    arguments += ["--store", str(path)]
    platform = intel.maker.platforms[0]
    parameters = {
        "qeid": platform.qe_id,
        "cpusvn": platform.cpu_svn,
        "pcesvn": platform.pce_svn,
        "pceid": platform.pce_id,
        "encrypted_ppid": platform.encrypted_ppid,
    }
    trust = Trust(roots=TrustRoots.simulated(intel.maker.root.certificate_pem()), at=datetime.now(UTC))
    written = 0
    for pause in (0.0, 0.02, 0.06, 0.12, 0.2, 0.3):
        with started(arguments, tmp_path) as (process, client):
            busy = threading.Event()
            keep_busy = threading.Thread(target=write_on, args=(client, intel, parameters, busy))
            keep_busy.start()
            busy.wait(10)
            time.sleep(pause)
            process.kill()
            process.wait()
            keep_busy.join(20)
        with closing(open_sqlite_store(path)) as store:
            for entry in store.entries():
                answer = Answer(body=entry.body, issuer_chain=entry.issuer_chain)
                again = admit(entry.name, answer, trust)
                assert (again.begins, again.ends) == (entry.begins, entry.ends)
                written += 1
            for kept in store.platforms():
                assert len(admit_platform(kept, trust).certificates) == 2
    assert written > 6
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def write_on(client: PccsClient, intel: FakeIntel, parameters: dict[str, str], busy: threading.Event) -> None:
    """Requests that write, until the service is gone."""
    fmspc = intel.maker.fmspc
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            client.get(f"{SGX}/pckcert", **parameters)
            busy.set()
            for tee in (SGX, TDX):
                client.get(f"{tee}/tcb", fmspc=fmspc)
                client.get(f"{tee}/qe/identity")
            client.admin("POST", f"{SGX}/refresh")
            client.admin("POST", f"{SGX}/refresh", type="certs")


def test_replicas_share_a_postgresql_database(
    arguments: list[str], intel: FakeIntel, tmp_path: Path, postgresql: PostgreSql
) -> None:
    arguments += ["--store", postgresql.new_database()]
    fmspc = intel.maker.fmspc
    with started(arguments, tmp_path) as (_, one), started(arguments, tmp_path) as (_, two):
        first = one.get(f"{SGX}/tcb", fmspc=fmspc)
        asked = intel.count()
        assert two.get(f"{SGX}/tcb", fmspc=fmspc).body == first.body
        assert intel.count() == asked
        intel.maker.issued_at += timedelta(minutes=10)
        assert one.admin("POST", f"{SGX}/refresh").status == 200
        # The other one notices within a second, as it says it does.
        end = time.monotonic() + 5
        while two.get(f"{SGX}/tcb", fmspc=fmspc).headers["ETag"] == first.headers["ETag"]:
            assert time.monotonic() < end
            time.sleep(0.1)
        postgresql.stop()
        try:
            assert one.get("/readyz").status == 503
            assert one.get("/healthz").status == 200
        finally:
            postgresql.start()


def test_a_package_goes_into_a_closed_network(
    arguments: list[str], intel: FakeIntel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, public, package = tmp_path / "key.pem", tmp_path / "pub.pem", tmp_path / "collateral.package"
    assert run(["key", "generate", f"file:{key}", "--unencrypted"]) == 0
    capsys.readouterr()
    assert run(["key", "show", f"file:{key}"]) == 0
    printed = capsys.readouterr().out
    public.write_text(printed[printed.index("-----BEGIN") :])
    with started([*arguments, "--store", f"{tmp_path}/outside.db"], tmp_path) as (_, client):
        outside = client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc)
        command = ["serve", "collateral", "--store", f"{tmp_path}/outside.db"]
        assert run([*command, "--export", str(package), "--key", f"file:{key}"]) == 0
    root = ["--simulated-root", f"{tmp_path}/root.pem"]
    inside = ["serve", "collateral", "--store", f"{tmp_path}/inside.db", *root]
    capsys.readouterr()
    assert run([*inside, "--import", str(package), "--trust", str(public)]) == 0
    taken = capsys.readouterr().out
    assert (
        "1 documents, 0 platforms, 0 policies taken in; 0 documents older than those here, 0 refused" in taken
    )
    intel.stop()
    offline = [*arguments, "--mode", "offline", "--store", f"{tmp_path}/inside.db"]
    with started(offline, tmp_path) as (_, client):
        assert client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc).body == outside.body


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Missing option '--tls'"),
        (["--export", "p"], "Missing option '--key'"),
        (["--user-token-hash", "abc", "--tls", "tls"], "hash of the user-token: expected SHA-512"),
        (["--listen", "8081", "--tls", "tls"], "listening address: expected HOST:PORT, got 8081 (--listen)"),
        (["--upstream", "ftp://x", "--tls", "tls"], "expected"),
        (
            ["--mode", "offline", "--upstream", "https://x", "--tls", "tls"],
            "Error: With --mode offline, --upstream is never asked: leave one of them out.\n",
        ),
    ],
)
def test_wrong_use_is_named(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["serve", "collateral", "--store", "c.db", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "tls").exists()


def test_a_store_that_does_not_exist_is_not_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mistyped, package = tmp_path / "mistyped.db", tmp_path / "package"
    export = ["--export", str(package), "--key", f"file:{tmp_path}/key.pem"]
    assert run(["serve", "collateral", "--store", str(mistyped), *export]) == 2
    assert capsys.readouterr().err == (
        "error: collateral store: expected one that exists, as --export writes what is in it, got no such "
        f"file ({mistyped})\n"
        "hint: name with --store the file that the service keeps its documents in\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["mysql", "postgresql+psycopg"])
def test_a_store_in_another_database_is_refused_without_its_password(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = f"{scheme}://user:secret@host/collateral"
    assert run(["serve", "collateral", "--store", store, "--tls", "tls"]) == 2
    assert capsys.readouterr().err == (
        "error: collateral store: expected the name of an SQLite file, or postgresql://…, got "
        f"{scheme}://… (--store)\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_package_or_not_signed_by_a_trusted_key_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, ours = tmp_path / "package", tmp_path / "ours.pem"
    store = ["serve", "collateral", "--store", f"{tmp_path}/store.db"]
    open_sqlite_store(tmp_path / "store.db").close()
    ids = []
    for name in ("theirs", "ours"):
        assert run(["key", "generate", f"file:{tmp_path}/{name}", "--unencrypted"]) == 0
        printed = capsys.readouterr().out
        ours.write_text(printed[printed.index("-----BEGIN") :])
        ids.append(key_id(parse_public_key(ours.read_bytes(), where="")))
    take = [*store, "--import", str(package), "--trust", str(ours)]
    package.write_bytes(b"no package\n")
    assert run(take) == 1
    assert capsys.readouterr().err == (
        f"error: package: expected a signed envelope on the first line, got something else ({package})\n"
        "hint: a package is made by casemate serve collateral --export\n"
    )
    assert run([*store, "--export", str(package), "--key", f"file:{tmp_path}/theirs"]) == 0
    capsys.readouterr()
    assert run(take) == 1
    assert capsys.readouterr().err == (
        f"error: signature of an envelope: expected one of a key that is trusted: {ids[1]}, got signatures "
        f"of {ids[0]} ({package})\n"
        "hint: if you know who signed it, name its key with --trust\n"
    )
