"""The files below /etc and /usr/share that an image gets."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.support.projects import project

from casemate.builder.contents import Rule
from casemate.builder.native.system_files import HostSystem, system_files, workload
from casemate.errors import CasemateError, ProjectError, ToolchainError
from casemate.project import Interface, Project
from casemate.project.places import hides_measured
from casemate_attester import configuration as attester

_PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
_BROKER = '[broker]\nurl = "https://broker:8080"\nca = "ca.pem"\n'


@pytest.fixture
def host(tmp_path: Path) -> HostSystem:
    zones = tmp_path / "zoneinfo"
    (zones / "Europe").mkdir(parents=True)
    (zones / "Europe" / "Berlin").write_bytes(b"TZif berlin")
    bundle = tmp_path / "authorities.crt"
    bundle.write_text(_PEM)
    return HostSystem(ca_bundle=bundle, zones=zones)


def _files(host: HostSystem, value: Project, folder: Path = Path("/nowhere")) -> dict[str, bytes]:
    return {file.path: file.read() for file in system_files(value, folder, Interface.WSGI, host)}


def test_every_image_gets_the_same_files_of_the_c_library(host: HostSystem) -> None:
    files = _files(host, project())

    assert files["/etc/hosts"] == b"127.0.0.1 localhost\n::1 localhost\n"
    assert b"hosts: files dns\n" in files["/etc/nsswitch.conf"]
    assert files["/etc/passwd"].startswith(b"root:x:0:0:")
    assert {"/etc/group", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols"} < files.keys()
    assert "/etc/resolv.conf" not in files


def test_no_folder_with_one_of_them_can_be_mounted(host: HostSystem) -> None:
    value = project('[env]\nTZ = "Europe/Berlin"\n')

    for file in _files(host, value):
        assert all(hides_measured(str(folder)) for folder in Path(file).parents)


def test_the_time_zone_is_utc_unless_tz_says_otherwise(host: HostSystem) -> None:
    utc = _files(host, project())
    berlin = _files(host, project('[env]\nTZ = "Europe/Berlin"\n'))

    assert utc["/usr/share/zoneinfo/UTC"] == utc["/etc/localtime"]
    assert berlin["/usr/share/zoneinfo/Europe/Berlin"] == berlin["/etc/localtime"] == b"TZif berlin"
    assert "/usr/share/zoneinfo/UTC" not in berlin


def test_utc_needs_nothing_of_the_host(tmp_path: Path, host: HostSystem) -> None:
    (tmp_path / "zoneinfo").rename(tmp_path / "elsewhere")

    zone = ZoneInfo.from_file(io.BytesIO(_files(host, project())["/etc/localtime"]), key="UTC")

    assert datetime(2026, 7, 1, tzinfo=zone).utcoffset() == timedelta(0)
    assert datetime(2026, 7, 1, tzinfo=zone).tzname() == "UTC"


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "../authorities.crt", "/etc/passwd", "Europe", ":"])
def test_what_is_no_time_zone_is_refused(host: HostSystem, zone: str) -> None:
    with pytest.raises(ProjectError) as refused:
        _files(host, project(f'[env]\nTZ = "{zone}"\n'))
    assert str(refused.value) == (
        f"time zone: expected a name such as UTC or Europe/Berlin, got {zone.strip(':') or 'nothing'}"
        " ([env] TZ)"
    )


def test_the_authorities_of_the_host_are_taken(host: HostSystem) -> None:
    assert _files(host, project())["/etc/ssl/certs/ca-certificates.crt"] == _PEM.encode()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        pytest.param("authorities.crt", "certificate authorities of this machine", id="authorities"),
        pytest.param("zoneinfo", "time zones of this machine", id="time zones"),
    ],
)
def test_a_host_that_lacks_something_is_told_what(
    host: HostSystem, tmp_path: Path, missing: str, message: str
) -> None:
    (tmp_path / missing).rename(tmp_path / "elsewhere")

    with pytest.raises(ToolchainError) as refused:
        _files(host, project('[env]\nTZ = "Europe/Berlin"\n'))
    assert refused.value.subject == message
    assert refused.value.where == str(tmp_path / missing)


def test_the_broker_s_certificate_is_measured(host: HostSystem, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(_PEM)

    files = system_files(project(_BROKER), tmp_path, Interface.WSGI, host)

    (file,) = [file for file in files if file.path == "/etc/casemate/broker-ca.pem"]
    assert file.read() == _PEM.encode()
    assert file.reason.rule is Rule.CONFIGURATION


@pytest.mark.parametrize(
    ("content", "got"),
    [
        pytest.param(None, "No such file or directory", id="missing"),
        pytest.param("hello", "no certificate", id="no certificate"),
        pytest.param(_PEM + "-----BEGIN PRIVATE KEY-----\n", "a private key", id="private key"),
    ],
)
def test_a_broker_s_certificate_that_is_none_is_refused(
    host: HostSystem, tmp_path: Path, content: str | None, got: str
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)

    with pytest.raises(CasemateError) as refused:
        _files(host, project(_BROKER), tmp_path)
    assert refused.value.subject == "certificate of the broker"
    assert refused.value.got == got


def test_the_attester_is_told_what_casemate_toml_says(host: HostSystem) -> None:
    value = project(
        '[secrets]\n"/run/secrets/key" = "kbs:///default/notes/key"\n' + _BROKER + "[enclave]\nthreads = 10\n"
    )

    told = workload(value, Interface.WSGI)

    assert told == attester.Workload(
        application=attester.Application(
            interface=attester.Interface.WSGI, target="notes:app", path=("/app",)
        ),
        listen=attester.Listen(port=8443, threads=6),
        broker=attester.Broker(url="https://broker:8080", ca="/etc/casemate/broker-ca.pem"),
        secrets=(attester.Secret(destination="/run/secrets/key", resource="kbs:///default/notes/key"),),
    )


@pytest.mark.parametrize(
    ("command", "told"),
    [
        pytest.param('["python", "-m", "notes", "--now"]', ("python", "-m", "notes", "--now"), id="module"),
        pytest.param('["python3", "bin/serve.py", "x"]', ("python", "/app/bin/serve.py", "x"), id="script"),
    ],
)
def test_a_command_is_run_by_the_attester_s_own_python(command: str, told: tuple[str, ...]) -> None:
    value = project(app=f'[app]\nname = "notes"\ncommand = {command}\n')

    application = workload(value, None).application

    assert (application.interface, application.command) == (attester.Interface.COMMAND, told)


def test_an_application_without_known_interface_is_refused() -> None:
    with pytest.raises(ProjectError) as refused:
        workload(project(), None)
    assert str(refused.value) == (
        "interface of the application: expected wsgi or asgi, got neither can be told ([app] serve)"
    )
