"""A world in which a simulated enclave's evidence is affirmed, and ways to make one thing in it wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.collateral import Collateral
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import INIT, MODE64BIT, Attributes, MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.endorsements import Standing
from casemate.simulator.pki import (
    PCK_NAME,
    ROOT_NAME,
    TCB_SIGNING_NAME,
    CertificateProfile,
    Identity,
    issue_certificate,
    issue_crl,
    new_key,
    public_point,
    raw_signature,
)
from casemate.simulator.platform import SimulatedPlatform
from casemate.verifier.appraisal import appraise
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.result import AttestationResult
from casemate.verifier.roots import TrustRoots

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MRENCLAVE = MrEnclave(bytes(range(32)))
MRSIGNER = MrSigner(bytes(range(32, 64)))
PRODUCTION = Attributes(flags=INIT | MODE64BIT, xfrm=0xE7)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that an appraisal depends on, all of it good."""

    platform: SimulatedPlatform
    evidence: bytes
    collateral: Collateral
    roots: TrustRoots
    policy: AppraisalPolicy
    at: datetime = NOW + timedelta(hours=1)

    def appraise(self) -> AttestationResult:
        return appraise(
            self.evidence,
            endorsements=self.collateral,
            trust_roots=self.roots,
            policy=self.policy,
            at=self.at,
        )


def facts(world: World) -> dict[str, object]:
    """What messages name and what differs from platform to platform."""
    authorities, pck = world.platform.authorities, world.platform.quoting_enclave.pck
    found: dict[str, object] = {
        "pck_serial": f"{pck.serial:x}",
        "size": len(world.evidence) - 440 - 1 + 4,
        "crl_size": len(world.collateral.pck_crl) - 1,
        "other_root": public_point(OTHER_ROOT.key).hex(),
        "other_key": public_point(OTHER_KEY).hex(),
        "tcb_chain_serial": _leaf_serial(world.collateral.tcb_info_issuer_chain),
        "qe_chain_serial": _leaf_serial(world.collateral.qe_identity_issuer_chain),
    }
    for label, identity in (("root", authorities.root), ("ca", authorities.pck_ca)):
        point = b"\x04" + public_point(identity.key)
        found[f"{label}_point"] = point.hex()
        found[f"{label}_key"] = hashlib.sha1(point).hexdigest()  # noqa: S324  # key identifiers are SHA-1
        found[f"{label}_serial"] = f"{identity.serial:x}"
    found["size_1"] = found["size"] + 1  # type: ignore[operator]  # an int
    found["crl_size_1"] = found["crl_size"] + 1  # type: ignore[operator]  # an int
    return found


def _leaf_serial(pem: bytes) -> str:
    return f"{x509.load_pem_x509_certificates(pem)[0].serial_number:x}"


def binding_of(world: World) -> bytes:
    """What the quoting enclave's report data has to begin with."""
    quote = Quote.parse(world.evidence)
    return hashlib.sha256(quote.attestation_key + quote.qe_auth_data).digest()


def good_world(**platform: Any) -> World:
    made = SimulatedPlatform.create(NOW, **platform)
    return World(
        platform=made,
        evidence=enclave(made).quote(bytes(64)),
        collateral=made.collateral,
        roots=TrustRoots.simulated(made.root_certificate),
        policy=AppraisalPolicy(
            mrenclaves=(MRENCLAVE,),
            mrsigner=MRSIGNER,
            isvprodid=7,
            min_isvsvn=3,
            attributes=PRODUCTION,
            misc_select=bytes(4),
            report_data=bytes(64),
        ),
    )


def enclave(platform: SimulatedPlatform, **changes: Any) -> SimulatedEnclave:
    values: dict[str, Any] = {"mrenclave": MRENCLAVE, "mrsigner": MRSIGNER, "isvprodid": 7, "isvsvn": 3}
    return SimulatedEnclave(platform=platform, **(values | changes))


# What can be changed, each leaving everything else right.


def with_enclave(world: World, **changes: Any) -> World:
    return replace(world, evidence=enclave(world.platform, **changes).quote(bytes(64)))


def with_flags(world: World, flags: int, **policy: Any) -> World:
    """An enclave with these flags, which the policy does not mind."""
    changed = with_enclave(world, attributes=Attributes(flags=flags, xfrm=0xE7))
    return with_policy(changed, attributes=None, **policy)


def with_policy(world: World, **changes: Any) -> World:
    return replace(world, policy=replace(world.policy, **changes))


def with_quote(world: World, **changes: Any) -> World:
    return replace(world, evidence=replace(Quote.parse(world.evidence), **changes).to_bytes())


def with_signed(world: World, offset: int, value: bytes) -> World:
    """Other bytes under the attestation key's signature."""
    signed = bytearray(Quote.parse(world.evidence).signed)
    signed[offset : offset + len(value)] = value
    key = world.platform.quoting_enclave.attestation_key
    return with_quote(world, signed=bytes(signed), signature=raw_signature(key, bytes(signed)))


def with_qe_body(world: World, **changes: Any) -> World:
    quoting = world.platform.quoting_enclave
    platform = replace(
        world.platform,
        quoting_enclave=replace(quoting, body=quoting.body._replace(**changes)),
    )
    return replace(world, evidence=enclave(platform).quote(bytes(64)))


def with_qe_report_data(world: World, report_data: bytes) -> World:
    quote = Quote.parse(world.evidence)
    report = quote.qe_report[:320] + report_data
    return with_quote(
        world, qe_report=report, qe_report_signature=world.platform.quoting_enclave.pck.sign(report)
    )


def with_attestation_key(world: World, key: bytes) -> World:
    """Another attestation key, bound as it should be."""
    quote = Quote.parse(world.evidence)
    bound = hashlib.sha256(key + quote.qe_auth_data).digest() + bytes(32)
    return with_qe_report_data(with_quote(world, attestation_key=key), bound)


def with_pck(world: World, issuer: Identity | None = None, **changes: Any) -> World:
    """The same key with another certificate."""
    quoting = world.platform.quoting_enclave
    profile = replace(leaf_profile(PCK_NAME), sgx_extension=world.platform.sgx_extension.to_der())
    pck = issue_certificate(
        key=quoting.pck.key,
        issuer=issuer or world.platform.authorities.pck_ca,
        profile=replace(profile, **changes),
    )
    platform = replace(world.platform, quoting_enclave=replace(quoting, pck=pck))
    return replace(world, platform=platform, evidence=enclave(platform).quote(bytes(64)))


def with_configuration(world: World, **changes: bool) -> World:
    """The same platform, set up in another way."""
    extension = world.platform.sgx_extension
    assert extension.configuration is not None
    changed = replace(extension, configuration=replace(extension.configuration, **changes))
    return with_pck(world, sgx_extension=changed.to_der())


def with_pck_chain(world: World, *certificates: bytes) -> World:
    return with_quote(world, certification_data=encode_certificates(certificates) + b"\x00")


def with_collateral(world: World, **changes: Any) -> World:
    return replace(world, collateral=replace(world.collateral, **changes))


def with_crl_chain(world: World, *identities: Identity) -> World:
    return with_collateral(world, pck_crl_issuer_chain=chain_of(*identities))


def with_authority_of_crl(world: World, authority: Identity) -> World:
    """A PCK CRL of another authority, with its chain."""
    root = world.platform.authorities.root
    return with_collateral(world, pck_crl_issuer_chain=chain_of(authority, root), pck_crl=crl_of(authority))


def with_pck_under_root(world: World, root: Identity) -> World:
    """The chain of the same platform under another root, which has certified the same authority."""
    authorities, pck = world.platform.authorities, world.platform.quoting_enclave.pck
    authority = again(authorities.pck_ca, root, path_length=0)
    return with_pck_chain(world, pck.certificate, authority.certificate, root.certificate)


def with_tcb_chain(world: World, *identities: Identity) -> World:
    signature = identities[0].sign(world.collateral.tcb_info)
    return with_collateral(world, tcb_info_issuer_chain=chain_of(*identities), tcb_info_signature=signature)


def with_qe_chain(world: World, *identities: Identity) -> World:
    signature = identities[0].sign(world.collateral.qe_identity)
    return with_collateral(
        world, qe_identity_issuer_chain=chain_of(*identities), qe_identity_signature=signature
    )


def with_tcb_info(world: World, change: Callable[[dict[str, Any]], object]) -> World:
    document = json.loads(world.collateral.tcb_info)
    change(document)
    return with_signed_tcb_info(world, json.dumps(document).encode())


def with_signed_tcb_info(world: World, data: bytes) -> World:
    signature = world.platform.authorities.tcb_signer.sign(data)
    return with_collateral(world, tcb_info=data, tcb_info_signature=signature)


def with_qe_identity(world: World, change: Callable[[dict[str, Any]], object]) -> World:
    document = json.loads(world.collateral.qe_identity)
    change(document)
    return with_signed_qe_identity(world, json.dumps(document).encode())


def with_signed_qe_identity(world: World, data: bytes) -> World:
    signature = world.platform.authorities.tcb_signer.sign(data)
    return with_collateral(world, qe_identity=data, qe_identity_signature=signature)


def with_standing(world: World, **standing: Any) -> World:
    return replace(world, collateral=world.platform.endorsed(NOW, Standing(**standing)).collateral)


def with_signer_revoked(world: World, chain: Callable[..., World]) -> World:
    """A second signing certificate, for one document only, on the root's CRL."""
    root = world.platform.authorities.root
    signer = issue_certificate(key=new_key(), issuer=root, profile=leaf_profile(TCB_SIGNING_NAME))
    crl = issue_crl(root, this_update=NOW, next_update=NOW + DAY, revoked=(signer.serial,))
    return with_collateral(chain(world, signer, root), root_ca_crl=crl)


def leaf_profile(common_name: str) -> CertificateProfile:
    return CertificateProfile(
        common_name=common_name, not_before=NOW - 100 * DAY, life=200 * DAY, crl_url="https://example.com/crl"
    )


def again(identity: Identity, issuer: Identity | None = None, **changes: Any) -> Identity:
    """A certificate like that of ``identity``, for the same key, with something else in it."""
    profile = replace(leaf_profile(identity.name.rfc4514_string().rpartition("CN=")[2]), **changes)
    return issue_certificate(key=identity.key, issuer=issuer, profile=profile)


def impostor_of(identity: Identity) -> Identity:
    """Somebody with the same certificate and another key."""
    return Identity(certificate=identity.certificate, key=new_key())


def chain_of(*identities: Identity) -> bytes:
    return encode_certificates(tuple(identity.certificate for identity in identities))


def flipped(data: bytes, index: int) -> bytes:
    changed = bytearray(data)
    changed[index] ^= 1
    return bytes(changed)


def root(world: World) -> Identity:
    return world.platform.authorities.root


def ca(world: World) -> Identity:
    return world.platform.authorities.pck_ca


def signer(world: World) -> Identity:
    return world.platform.authorities.tcb_signer


def crl_of(
    issuer: Identity,
    *,
    this_update: datetime = NOW - 9 * DAY,
    next_update: datetime = NOW + 9 * DAY,
    revoked: tuple[int, ...] = (),
) -> bytes:
    return issue_crl(issuer, this_update=this_update, next_update=next_update, revoked=revoked)


def crl_with_foreign_key_id(issuer: Identity) -> bytes:
    """A CRL signed by ``issuer`` that says another key signed it."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.name)
        .last_update(NOW)
        .next_update(NOW + DAY)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(bytes(20), None, None), critical=False)
    )
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)


OTHER_KEY = new_key()
OTHER_ROOT = issue_certificate(
    key=new_key(), issuer=None, profile=replace(leaf_profile(ROOT_NAME), path_length=1)
)
