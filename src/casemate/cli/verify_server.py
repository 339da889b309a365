"""``casemate verify server``: appraise the RA-TLS certificate of a running service."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from casemate.cli.reading import read_file, read_public_key
from casemate.cli.shown_checks import show_result
from casemate.cli.verify_trust import Trust, all_option, trust_options

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Seconds for a connection to a server, and for each step of its handshake.
_TIMEOUT = 20


@click.command("server")
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
@all_option
@trust_options
def command(  # noqa: PLR0913 - one argument for each option
    url: str,
    *,
    bundle: Path | None,
    reference_values: Path | None,
    reference_keys: tuple[Path, ...],
    pin: Path | None,
    trust: Trust,
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
    from casemate.verifier.ratls import appraise_certificate
    from casemate.verifier.reference_values import ReferenceValues, appraisal_policy
    from casemate.verifier.result import require_affirming

    expected = _reference_file(bundle, reference_values)
    values = ReferenceValues.parse(
        read_file(expected), str(expected), tuple(read_public_key(path) for path in reference_keys)
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
