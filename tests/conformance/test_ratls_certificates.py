"""RA-TLS certificates that other projects have made are read, and speak for their own keys."""

from __future__ import annotations

import hashlib
import ssl

import pytest
from tests.support.dcap_corpus import CORPUS, needs_corpus

from casemate.formats.eat import AttestedCertificate
from casemate.formats.sgx.quote import Quote

pytestmark = needs_corpus


@pytest.mark.parametrize("maker", ["gramine", "rats-tls"])
def test_evidence_of_other_makers_binds_their_key(maker: str) -> None:
    folder = CORPUS / "ratls-certs"
    pem = (folder / f"{maker}-cert.pem").read_text()
    pem = pem[pem.index("-----BEGIN CERTIFICATE-----") :]
    attested = AttestedCertificate.parse(ssl.PEM_cert_to_DER_cert(pem))
    evidence = attested.evidence
    assert evidence.quote == (folder / f"ratls-{maker}.quote.bin").read_bytes()
    assert hashlib.new(evidence.key_hash_algorithm, attested.public_key).digest() == evidence.key_hash
    report_data = Quote.parse(evidence.quote).report.report_data
    assert report_data == hashlib.sha256(evidence.claims).digest().ljust(64, b"\0")
