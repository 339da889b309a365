"""``casemate verify``: judge evidence from outside, with every reason."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.accepted_status import accept_status_option, accepted_statuses
from casemate.cli.hexadecimal import hex_bytes
from casemate.cli.shown_checks import show_checks, show_result, show_summary

if TYPE_CHECKING:
    from casemate.builder.bundle_parts import BundleCheck
    from casemate.builder.bundle_verification import BundleVerification
    from casemate.formats.sgx.collateral import Collateral, TcbStatus
    from casemate.keys import RsaPublicKey
    from casemate.verifier.policy import AppraisalPolicy
    from casemate.verifier.roots import TrustRoots

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Seconds for a connection to a server, and for each step of its handshake.
_TIMEOUT = 20


def _moment(text: str) -> datetime:
    """A time with its zone, ISO 8601."""
    moment: datetime | None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(f"{text!r} is not a time with a zone, as in 2026-11-20T12:00:00Z.")
    return moment.astimezone(UTC)


@click.group(name="verify")
def command() -> None:
    """Appraise evidence or a bundle, and say every reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trust:
    """Whom to believe, and as of when.

    Attributes:
        collateral: File with the endorsements.
        simulated_root: Root of a simulated platform, to be trusted instead of Intel's.
        statuses: TCB statuses that are accepted besides UpToDate.
        at: The instant of the appraisal.
    """

    collateral: Path
    simulated_root: Path | None
    statuses: tuple[str, ...]
    at: datetime

    def endorsements(self) -> Collateral:
        from casemate.cli.reading import read_file
        from casemate.errors import FormatError
        from casemate.formats.sgx.collateral import Collateral

        try:
            return Collateral.parse_json(read_file(self.collateral))
        except FormatError as error:
            raise FormatError(
                error.subject,
                expected=error.expected,
                got=error.got,
                where=str(self.collateral),
                hint="--collateral takes one JSON document with the certificates, CRLs, TCB info and QE "
                "identity of the platform; a simulated platform has it as collateral.json",
            ) from error

    def roots(self) -> TrustRoots:
        from casemate.cli.reading import read_file
        from casemate.verifier.roots import TrustRoots

        return (
            TrustRoots.simulated(read_file(self.simulated_root))
            if self.simulated_root
            else TrustRoots.intel()
        )

    def accepted(self) -> frozenset[TcbStatus]:
        return accepted_statuses(self.statuses)


def _trust_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say whom to believe, handed over as one :class:`_Trust`."""

    @functools.wraps(function)
    def packed(
        *,
        collateral: Path,
        simulated_root: Path | None,
        statuses: tuple[str, ...],
        at: datetime | None,
        **rest: Any,
    ) -> None:
        moment = at or datetime.now(UTC)
        trust = _Trust(collateral=collateral, simulated_root=simulated_root, statuses=statuses, at=moment)
        function(trust=trust, **rest)

    command: Callable[..., None] = packed
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option(
            "--at",
            type=_moment,
            metavar="TIME",
            help="Judge as of this time, as in 2026-11-20T12:00:00Z.  [default: now]",
        ),
        accept_status_option,
        click.option(
            "--simulated-root",
            type=_FILE,
            help="Root certificate of a simulated platform: accept its quotes, and no others.",
        ),
        click.option(
            "--collateral",
            required=True,
            type=_FILE,
            help="Intel's collateral for the platform, JSON, one file.",
        ),
    ):
        command = option(command)
    return command


_all_option = click.option(
    "--all", "everything", is_flag=True, help="Show every check, not only those that were refused."
)


@command.command(name="quote")
@click.argument("file", type=_FILE)
@click.option(
    "--mrenclave",
    "mrenclaves",
    multiple=True,
    type=hex_bytes(32),
    metavar="HEX",
    help="An accepted measurement; repeatable.",
)
@click.option("--mrsigner", type=hex_bytes(32), metavar="HEX", help="The accepted signer.")
@click.option("--isvprodid", type=click.IntRange(0, 0xFFFF), help="The accepted product of that signer.")
@click.option("--min-isvsvn", type=click.IntRange(0, 0xFFFF), help="The least security version.")
@click.option(
    "--report-data",
    type=hex_bytes(64),
    metavar="HEX",
    help="What the enclave must have bound into the quote.",
)
@click.option("--allow-debug", is_flag=True, help="Accept an enclave that the host can read.")
@_all_option
@_trust_options
def quote(file: Path, *, trust: _Trust, as_json: bool, everything: bool, **accepted: Any) -> None:
    """Appraise the SGX quote in FILE.

    Name the enclave by --mrenclave, or by --mrsigner with --isvprodid. The verdict is "affirming" when every
    check has passed, and the exit code 0; otherwise "contraindicated": do not rely on that enclave. A check
    that was refused is shown with what was expected and what was found.
    """
    from casemate.cli.reading import read_file
    from casemate.verifier.appraisal import appraise
    from casemate.verifier.result import require_affirming

    result = appraise(
        read_file(file),
        endorsements=trust.endorsements(),
        trust_roots=trust.roots(),
        policy=_policy(trust, **accepted),
        at=trust.at,
    )
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        show_result(result, everything=everything)
    require_affirming(result)


@command.command(name="bundle")
@click.argument("path", metavar="BUNDLE", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--key", type=_FILE, metavar="PUB.pem", help="Whose signature it must have: a public key.")
@click.option(
    "--provenance-key",
    type=_FILE,
    metavar="PUB.pem",
    help="Who must have signed reference values and provenance.  [default: the enclave's signer]",
)
@click.option(
    "--accept-unsigned-statements",
    is_flag=True,
    help="Accept reference values and provenance that nobody has signed, as sign --attach leaves them. Not "
    "where a key is named.",
)
@click.option(
    "--rebuild",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="SOURCE",
    help="Build the application in SOURCE again and compare bit for bit.",
)
@click.option(
    "--python", type=_FILE, metavar="PATH", help="For --rebuild.  [default: the Python that runs casemate]"
)
@click.option(
    "--gramine",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="PREFIX",
    help="For --rebuild: prefix of the Gramine that was measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def bundle(
    path: Path,
    *,
    key: Path | None,
    provenance_key: Path | None,
    accept_unsigned_statements: bool,
    source: Path | None,
    as_json: bool,
    **tools: Path | None,
) -> None:
    """Check everything in BUNDLE against everything else, offline.

    The measurement is made again, every file of the image is hashed, and every document is held against
    the measured manifest. Each check is shown with what was expected and what was found; the exit code is
    0 only when all of them have passed.
    """
    from casemate.builder.bundle import Bundle
    from casemate.builder.bundle_verification import require_sound, verify_bundle
    from casemate.simulator.platform_image import platform_image

    if accept_unsigned_statements and (key or provenance_key):
        raise click.UsageError("--accept-unsigned-statements goes with neither --key nor --provenance-key.")
    result = verify_bundle(
        Bundle.open(path),
        simulated_platform_image=platform_image(),
        key=None if key is None else _public_key(key),
        provenance_key=None if provenance_key is None else _public_key(provenance_key),
        accept_unsigned_statements=accept_unsigned_statements,
    )
    if source is not None:
        result = replace(result, checks=(*result.checks, *_rebuild(path, source, **tools)))
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        show_checks((f"{check.part}: {check.name}", check) for check in result.checks)
        click.echo()
        show_summary(_bundle_summary(result))
    require_sound(result)


def _rebuild(
    path: Path, source: Path, *, python: Path | None, gramine: Path | None
) -> tuple[BundleCheck, ...]:
    """What a rebuild from ``source`` says of the bundle at ``path``; nothing where that cannot be read."""
    from tempfile import TemporaryDirectory

    from casemate.builder.bundle import Bundle
    from casemate.builder.bundle_parts import read_parts, require_parts
    from casemate.builder.rebuild import compare_rebuild
    from casemate.cli.build import build_bundle

    given, _ = read_parts(Bundle.open(path))
    if given is None:
        return ()
    with TemporaryDirectory(prefix="casemate-") as scratch:
        again = Path(scratch) / "bundle"
        build_bundle(source, again, python=python, gramine=gramine)
        return compare_rebuild(given, require_parts(Bundle.open(again)))


def _public_key(path: Path) -> RsaPublicKey:
    from casemate.cli.reading import read_file
    from casemate.formats.public_key import parse_public_key

    return parse_public_key(read_file(path), where=str(path))


def _bundle_summary(result: BundleVerification) -> dict[str, str]:
    """The lines under the table."""
    refused = len(result.refusals)
    lines = {
        "checks": f"{len(result.checks)}, of which {refused} refused"
        if refused
        else f"{len(result.checks)}, all passed"
    }
    if not result.complete:
        lines["not compared"] = "parts with each other, because not all of them can be read"
    else:
        lines["workload"] = str(result.name)
        lines["MRENCLAVE"] = str(result.mrenclave)
        lines["MRSIGNER"] = result.mrsigner or "none: the bundle is not signed"
    if result.statements_signed is False:
        lines["not signed"] = (
            "reference values and provenance: only MRSIGNER vouches, for what MRENCLAVE covers"
        )
    if result.simulated:
        lines["simulated"] = "yes: the measurement holds on no SGX machine"
    return lines


@command.command(name="server")
@click.argument("url")
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The signed bundle that has to be running there.",
)
@click.option(
    "--reference-values", type=_FILE, help="Its reference-values.json, for those who have no bundle."
)
@click.option(
    "--reference-key",
    "reference_keys",
    type=_FILE,
    multiple=True,
    metavar="PUB.pem",
    help="Who must have signed the reference values; repeatable, one is enough.",
)
@click.option(
    "--write-certificate",
    "pin",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the certificate there, PEM, when it is affirmed, to be pinned.",
)
@_all_option
@_trust_options
def server(  # noqa: PLR0913 - one argument for each option
    url: str,
    *,
    bundle: Path | None,
    reference_values: Path | None,
    reference_keys: tuple[Path, ...],
    pin: Path | None,
    trust: _Trust,
    as_json: bool,
    everything: bool,
) -> None:
    """Appraise the RA-TLS certificate of the service at URL, https://HOST[:PORT].

    The evidence in the certificate has to be that of the bundle's enclave, and speak for the key with which
    the TLS connection was made. The verdict is "affirming" when every check has passed; otherwise
    "contraindicated": do not talk to it. Pin an affirmed certificate with --write-certificate, or verify each
    connection: whoever connects without either may talk to anybody.
    """
    import hashlib

    from casemate.adapters.tls_peer import server_certificate
    from casemate.cli.reading import read_file
    from casemate.verifier.ratls import appraise_certificate
    from casemate.verifier.reference_values import ReferenceValues, appraisal_policy
    from casemate.verifier.result import require_affirming

    expected = _reference_file(bundle, reference_values)
    values = ReferenceValues.parse(
        read_file(expected), str(expected), tuple(_public_key(path) for path in reference_keys)
    )
    _require_one_kind(expected, simulated=values.simulated, simulated_root=trust.simulated_root)
    certificate = server_certificate(url, timeout=_TIMEOUT)
    result = appraise_certificate(
        certificate,
        endorsements=trust.endorsements(),
        trust_roots=trust.roots(),
        policy=replace(appraisal_policy(values), accepted_statuses=trust.accepted()),
        at=trust.at,
    )
    fingerprint = hashlib.sha256(certificate).hexdigest()
    if as_json:
        document = {
            "version": 1,
            "url": url,
            "certificate_sha256": fingerprint,
            "attestation": result.to_dict(),
        }
        click.echo(json.dumps(document, indent=2))
    else:
        show_result(result, everything=everything)
        click.echo(f"certificate: SHA-256 {fingerprint}")
    require_affirming(result)
    if pin is not None:
        _pin(certificate, pin, url, tell=not as_json)


def _pin(certificate: bytes, path: Path, url: str, *, tell: bool) -> None:
    """Write the certificate, and say how a client uses it."""
    import shlex
    import ssl
    from urllib.parse import urlsplit

    from casemate.builder.writing import write_files

    write_files({path: ssl.DER_cert_to_PEM_cert(certificate).encode()})
    if tell:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        # The one name in the certificate is localhost: an enclave does not know how it is called outside.
        name = f"[{host}]" if ":" in host else host
        detour = [] if host == "localhost" else ["--connect-to", f"localhost:{port}:{name}:{port}"]
        words = ["curl", "--cacert", str(path), *detour, f"https://localhost:{port}/"]
        click.echo(f"use it with: {shlex.join(words)}")


def _reference_file(bundle: Path | None, reference_values: Path | None) -> Path:
    from casemate.builder.bundle import Bundle

    if (bundle is None) == (reference_values is None):
        raise click.UsageError("Give one of --bundle and --reference-values.")
    return reference_values or Bundle(bundle or Path()).reference_values_path


def _require_one_kind(where: Path, *, simulated: bool, simulated_root: Path | None) -> None:
    """Simulated reference values go with a simulated root, real ones with Intel's; never crosswise."""
    if simulated == (simulated_root is not None):
        return
    from casemate.errors import RefusedError

    raise RefusedError(
        "reference values",
        expected="simulated ones, as a simulated root is named"
        if simulated_root
        else "real ones, as no simulated root is named",
        got="simulated ones" if simulated else "real ones",
        where=str(where),
        hint="A simulated bundle runs on a simulated platform only: name its root with --simulated-root."
        if simulated
        else "Leave --simulated-root away: Intel's root is trusted without naming it.",
    )


def _policy(
    trust: _Trust,
    *,
    mrenclaves: tuple[Any, ...],
    mrsigner: Any,
    isvprodid: int | None,
    min_isvsvn: int | None,
    report_data: bytes | None,
    allow_debug: bool,
) -> AppraisalPolicy:
    from casemate.verifier.policy import AppraisalPolicy

    return AppraisalPolicy(
        mrenclaves=mrenclaves,
        mrsigner=mrsigner,
        isvprodid=isvprodid,
        min_isvsvn=min_isvsvn,
        report_data=report_data,
        allow_debug=allow_debug,
        accepted_statuses=trust.accepted(),
    )
