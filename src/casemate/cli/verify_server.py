"""``casemate verify server``: appraise the RA-TLS certificate of a running service."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from casemate.cli.reading import read_file, read_public_key
from casemate.cli.second_opinion import second_opinion_option, second_verifier, with_second_opinion
from casemate.cli.shown_checks import show_result
from casemate.cli.verify_policy import policy_option, read_policy, require_one_kind
from casemate.cli.verify_trust import Trust, all_option, explain_option, trust_options

if TYPE_CHECKING:
    from casemate.adapters.dcap_qvl_opinion import SecondVerifier
    from casemate.verifier.policy import Policy
    from casemate.verifier.result import AttestationResult

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
@policy_option
@click.option(
    "--write-certificate",
    "pin",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the certificate there, PEM, when it is affirmed, to be pinned.",
)
@all_option
@explain_option
@second_opinion_option
@trust_options
def command(  # noqa: PLR0913 - one argument for each option
    url: str,
    *,
    bundle: Path | None,
    reference_values: Path | None,
    reference_keys: tuple[Path, ...],
    policy_file: Path | None,
    pin: Path | None,
    trust: Trust,
    as_json: bool,
    everything: bool,
    explain: bool,
    second_opinion: bool,
) -> None:
    """Appraise the RA-TLS certificate of the service at URL, https://HOST[:PORT].

    The evidence in the certificate has to be that of the bundle's enclave, or of what the policy accepts, and
    speak for the key with which the TLS connection was made. The verdict is "affirming" when every check has
    passed; otherwise "contraindicated": do not talk to it. Pin an affirmed certificate with
    --write-certificate, or verify each connection: whoever connects without either may talk to anybody.
    """
    import hashlib

    from casemate.adapters.tls_peer import server_certificate
    from casemate.verifier.ratls import refused_without_evidence
    from casemate.verifier.result import require_affirming

    policy = _expected(
        trust,
        bundle=bundle,
        reference_values=reference_values,
        reference_keys=reference_keys,
        policy_file=policy_file,
    )
    other = second_verifier(trust.simulated_root) if second_opinion else None
    certificate = server_certificate(url, timeout=_TIMEOUT)
    result = refused_without_evidence(certificate) or _appraised(certificate, trust, policy, other)
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
        show_result(result, everything=everything, explain=explain)
        click.echo(f"certificate: SHA-256 {fingerprint}")
    require_affirming(result)
    if pin is not None:
        _pin(certificate, pin, url, tell=not as_json)


def _appraised(
    certificate: bytes, trust: Trust, policy: Policy, other: SecondVerifier | None
) -> AttestationResult:
    """What the evidence in a certificate is worth."""
    from casemate.formats.eat import AttestedCertificate
    from casemate.verifier.ratls import appraise_certificate

    evidence = AttestedCertificate.parse(certificate).evidence.quote
    collateral = trust.endorsements(evidence)
    result = appraise_certificate(
        certificate,
        endorsements=collateral,
        trust_roots=trust.roots(),
        policy=policy,
        at=trust.at,
        pck_chain=collateral.pck_certificate_chain,
    )
    if other is None:
        return result
    return with_second_opinion(result, other, evidence, collateral, trust.at)


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


def _expected(
    trust: Trust,
    *,
    bundle: Path | None,
    reference_values: Path | None,
    reference_keys: tuple[Path, ...],
    policy_file: Path | None,
) -> Policy:
    """What has to be running there."""
    from casemate.builder.bundles.bundle import Bundle
    from casemate.verifier.reference_values import ReferenceValues, appraisal_policy

    if sum(given is not None for given in (bundle, reference_values, policy_file)) != 1:
        raise click.UsageError("Give one of --bundle, --reference-values and --policy.")
    if policy_file is not None:
        if reference_keys or trust.statuses:
            raise click.UsageError("Beside --policy, --reference-key and --accept-status say nothing.")
        return read_policy(policy_file, trust.simulated_root)
    file = reference_values or Bundle(bundle or Path()).reference_values_path
    keys = tuple(read_public_key(path) for path in reference_keys)
    values = ReferenceValues.parse(read_file(file), str(file), keys)
    require_one_kind(file, simulated=values.simulated, simulated_root=trust.simulated_root)
    return replace(appraisal_policy(values), accepted_statuses=trust.accepted())
