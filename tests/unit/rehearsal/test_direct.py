"""A bundle under ``gramine-direct``: what is refused without Gramine, and real runs where there is one.

Real runs need a Gramine with ``-Ddirect=enabled``: below ``$CASEMATE_TEST_GRAMINE``, or in a usual place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.sample_bundle import BROKER_CA
from tests.support.small_bundle import Small, small_bundle

from casemate.adapters.gramine_installation import GramineInstallation, find_gramine
from casemate.builder.bundles.bundle import Bundle
from casemate.demonstration.stage import free_port
from casemate.errors import RehearsalError, ToolchainError
from casemate.rehearsal.direct import DirectGramine, DirectRehearsal
from casemate.rehearsal.findings import Kind
from casemate.rehearsal.sandbox import available

_PREFIX = os.environ.get("CASEMATE_TEST_GRAMINE")
_APPLICATION = """
import os

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""


def gramine() -> GramineInstallation | None:
    """The Gramine of this machine, if it can run without SGX."""
    try:
        found = find_gramine(None if _PREFIX is None else Path(_PREFIX))
        runs = found is not None and found.direct_loader.is_file()
    except ToolchainError:
        return None
    return found if runs else None


_GRAMINE = gramine()
real = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"cannot make namespaces here: {available()}"),
    pytest.mark.skipif(_GRAMINE is None, reason="no Gramine with gramine-direct (CASEMATE_TEST_GRAMINE)"),
]


def direct(tmp_path: Path, *, version: str = "1.9", libos: bytes = b"libos") -> DirectGramine:
    """Something that looks like a Gramine and runs nothing."""
    (tmp_path / "libpal.so").write_bytes(b"loader")
    (tmp_path / "libsysdb.so").write_bytes(libos)
    return DirectGramine(version=version, loader=tmp_path / "libpal.so", libos=tmp_path / "libsysdb.so")


def test_a_simulated_bundle_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle", Small(simulated=True))
    with pytest.raises(RehearsalError) as caught:
        DirectRehearsal(bundle, direct(tmp_path), outside={}).start()
    assert str(caught.value) == (
        "bundle: expected one that was built for an installed Gramine, "
        f"got a simulated one, with the C library of this machine ({tmp_path / 'bundle'})"
    )
    assert caught.value.hint == "build it with: casemate build --gramine PREFIX"


@pytest.mark.parametrize(("version", "libos"), [("1.8", b"libos"), ("1.9", b"another build")])
def test_another_gramine_than_the_one_that_was_built_for_is_refused(
    tmp_path: Path, version: str, libos: bytes
) -> None:
    bundle = small_bundle(tmp_path / "bundle", Small())
    with pytest.raises(RehearsalError) as caught:
        DirectRehearsal(bundle, direct(tmp_path, version=version, libos=libos), outside={}).start()
    assert str(caught.value) == (
        f"Gramine: expected the build of 1.9 that the bundle was built for, got another build, of {version} "
        f"({tmp_path / 'libpal.so'})"
    )


def test_a_gramine_that_needs_sgx_is_refused(tmp_path: Path) -> None:
    library = tmp_path / "lib/gramine"
    for name in ("sgx/libpal.so", "sgx/loader", "libsysdb.so", "runtime/glibc/libc.so.6"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gramine-sgx").write_text('echo "Gramine 1.9 (0)"\n')
    with pytest.raises(ToolchainError) as caught:
        _ = GramineInstallation.at(tmp_path).direct_loader
    assert str(caught.value) == (
        f"Gramine: expected lib/gramine/direct/libpal.so, got no such file ({tmp_path})"
    )
    assert caught.value.hint == "install a Gramine that is built with -Ddirect=enabled"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--runtime", "gramine-direct", "--rootfs", "."),
            "error: --rootfs: expected no such option with --runtime gramine-direct, got .\n",
        ),
        (
            ("--gramine", "."),
            "error: --gramine: expected no such option with --runtime sandbox, got .\n",
        ),
    ],
)
def test_an_option_of_the_other_runtime_is_refused(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    bundle = small_bundle(tmp_path / "bundle", Small(simulated=True))
    command = [sys.executable, "-m", "casemate", "rehearse", str(bundle.path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, message)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small application, built for the Gramine of this machine."""
    folder = tmp_path_factory.mktemp("application")
    (folder / "hello.py").write_text(_APPLICATION)
    (folder / "casemate.toml").write_text(
        '[app]\nname = "hello"\nserve = "hello:app"\ninterface = "wsgi"\nrequirements = ""\n'
        f"port = {free_port(18443)}\n"
        '[mounts]\n"/var/lib/hello" = { encrypted = "store", host = "/var/lib/hello" }\n'
        '"/var/lib/sealed" = { encrypted = "_sgx_mrenclave", host = "/var/lib/sealed" }\n'
        '[secrets]\n"/dev/attestation/keys/store" = "kbs:///default/hello/store-key"\n'
        '[broker]\nurl = "https://localhost:1"\nca = "ca.pem"\n'
    )
    (folder / "ca.pem").write_text(BROKER_CA)
    assert _GRAMINE is not None
    command = [sys.executable, "-m", "casemate", "build", str(folder), "-o", str(folder / "bundle")]
    subprocess.run([*command, "--gramine", str(_GRAMINE.prefix)], check=True, capture_output=True)
    return Bundle.open(folder / "bundle")


class TestRealRuns:
    """Runs under the Gramine of this machine."""

    pytestmark = real

    def session(self, bundle: Bundle, tmp_path: Path, program: str | None) -> DirectRehearsal:
        """A run that writes into files."""
        assert _GRAMINE is not None
        taken = DirectGramine(version=_GRAMINE.version, loader=_GRAMINE.direct_loader, libos=_GRAMINE.libos)
        out = os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY)
        return DirectRehearsal(bundle, taken, outside={}, program=program, stdout=out, stderr=out)

    def test_a_program_sees_what_the_manifest_gives(self, built: Bundle, tmp_path: Path) -> None:
        program = (
            "import os\n"
            "open('/dev/attestation/keys/store', 'wb').write(bytes(16))\n"
            "open('/var/lib/hello/kept', 'w').write('x')\n"
            "print(os.listdir('/var/lib/hello'), os.getpid(), os.environ['TMPDIR'])\n"
            "print(os.path.exists('/root'))\n"
            "try: os.utime('/tmp')\n"
            "except OSError as refusal: print(refusal.errno)\n"
        )
        with self.session(built, tmp_path, program) as session:
            report = session.wait(60)
        assert (tmp_path / "out").read_text() == "['kept'] 1 /tmp\nFalse\n38\n"
        assert (report.exit_code, report.runtime) == (0, "gramine-direct")
        assert [(finding.path, finding.kind) for finding in report.findings] == [
            ("utimensat", Kind.SYSTEM_CALL)
        ]
        assert report.notes[0] == (
            "the manifest was changed: loader.argv, loader.log_level, loader.log_file, "
            "the key of /var/lib/sealed"
        )

    def test_the_application_is_served_and_ends_at_sigterm(self, built: Bundle, tmp_path: Path) -> None:
        with self.session(built, tmp_path, None) as session:
            report = session.wait(6)
        assert "casemate: serving: wsgi hello:app" in (tmp_path / "out").read_text()
        assert not report.failed
        assert json.loads(json.dumps(report.to_json()))["platform"] is None

    def test_the_exit_code_is_the_programs(self, built: Bundle, tmp_path: Path) -> None:
        with self.session(built, tmp_path, "raise SystemExit(7)") as session:
            assert session.wait(60).exit_code == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--write",), "error: --write: expected --learn DIR beside it, got no --learn\n"),
        (
            ("--learn", "{empty}"),
            (
                "error: --learn: expected the folder with the casemate.toml of the bundle, "
                "got No such file or directory ({empty}/casemate.toml)\n"
            ),
        ),
    ],
)
def test_learning_needs_the_projects_file(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    bundle = small_bundle(tmp_path / "bundle", Small(simulated=True))
    empty = tmp_path / "empty"
    empty.mkdir()
    given = [option.format(empty=empty) for option in options]
    command = [sys.executable, "-m", "casemate", "rehearse", str(bundle.path), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, message.format(empty=empty))
