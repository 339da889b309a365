"""Attestation results as tokens: EAR, the EAT Attestation Result, in a JWT signed by ES256.

draft-ietf-rats-ear (claims) and draft-ietf-rats-ar4si, section 2.3 (what the numbers of a trustworthiness
vector mean); names that begin with ``ear.veraison`` are of Veraison, and used by Trustee alike. Not checked
here: that a token is fresh, and who may sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from casemate.errors import FormatError, KeyUnfitError, RefusedError

#: The profile of Veraison, and that of Trustee: the same claims, and ``tee-pubkey`` in the evidence.
VERAISON_PROFILE: Final = "tag:github.com,2023:veraison/ear"
TRUSTEE_PROFILE: Final = "tag:github.com,2024:confidential-containers/Trustee"
#: Further claims of a submodule.
EVIDENCE: Final = "ear.veraison.annotated-evidence"
POLICY_CLAIMS: Final = "ear.veraison.policy-claims"

_ALGORITHM: Final = "ES256"
_STATUS: Final = "ear.status"
_VECTOR: Final = "ear.trustworthiness-vector"
_POLICY_ID: Final = "ear.appraisal-policy-id"
_VERIFIER: Final = "ear.verifier-id"
_TOKEN: Final = "attestation result"  # noqa: S105 - what it is called
_Kind = TypeVar("_Kind")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Tier(Enum):
    """What a relying party may do with the attester; the value is EAR's word."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"

    @classmethod
    def of(cls, claim: int) -> Tier:
        """The tier of a trustworthiness claim, -128 to 127 (AR4SI, section 2.3.2)."""
        if -1 <= claim <= 1:
            return cls.NONE
        if -32 <= claim <= 31:
            return cls.AFFIRMING
        return cls.WARNING if -96 <= claim <= 95 else cls.CONTRAINDICATED


_SEVERITY: Final = {tier: severity for severity, tier in enumerate(Tier)}


def worst(*tiers: Tier) -> Tier:
    """The most severe of several tiers."""
    return max(tiers, key=_SEVERITY.__getitem__, default=Tier.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustVector:
    """Trustworthiness claims, -128 to 127 each; 0: the verifier says nothing (AR4SI, section 2.3.4).

    Attributes:
        instance_identity: Which attester it is.
        configuration: How it is set up.
        executables: What runs in it.
        file_system: What it has on disk.
        hardware: What it runs on.
        runtime_opaque: Whether others see its memory.
        storage_opaque: Whether others see what it keeps.
        sourced_data: What it has read from others.
    """

    instance_identity: int = 0
    configuration: int = 0
    executables: int = 0
    file_system: int = 0
    hardware: int = 0
    runtime_opaque: int = 0
    storage_opaque: int = 0
    sourced_data: int = 0

    @property
    def tier(self) -> Tier:
        """The tier of its worst claim."""
        return worst(*(Tier.of(claim) for claim in asdict(self).values()))

    def to_claims(self) -> dict[str, int]:
        """The claims by their names."""
        return {_claim_name(name): claim for name, claim in asdict(self).items()}

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> TrustVector:
        """What :meth:`to_claims` gave; what is missing is 0.

        Raises:
            FormatError: A claim that is not known, or not a number of 8 bits.
        """
        names = {_claim_name(member.name): member.name for member in fields(cls)}
        for name, claim in claims.items():
            right = isinstance(claim, int) and not isinstance(claim, bool) and -128 <= claim <= 127
            if name not in names or not right:
                raise FormatError(
                    "trustworthiness vector",
                    expected="known claims, numbers from -128 to 127",
                    got=ascii(name)[:40],
                    where=_TOKEN,
                )
        return cls(**{names[name]: claim for name, claim in claims.items()})


def _claim_name(field_name: str) -> str:
    return field_name.replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    """What was found of one attester.

    Attributes:
        status: What may be done with it.
        vector: Why.
        policy_id: Which policy was applied.
        further: Further claims, by their whole names.
    """

    status: Tier
    vector: TrustVector
    policy_id: str
    further: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    def to_claims(self) -> dict[str, Any]:
        """The claims by their names."""
        return {
            _STATUS: self.status.value,
            _VECTOR: self.vector.to_claims(),
            _POLICY_ID: self.policy_id,
            **self.further,
        }

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Submodule:
        """What :meth:`to_claims` gave.

        Raises:
            FormatError: A claim is missing, or is not what it must be.
        """
        word = _claim(claims, _STATUS, str)
        if word not in {tier.value for tier in Tier}:
            raise FormatError(_STATUS, expected="a tier of EAR", got=ascii(word)[:40], where=_TOKEN)
        return cls(
            status=Tier(word),
            vector=TrustVector.from_claims(_claim(claims, _VECTOR, dict)),
            policy_id=_claim(claims, _POLICY_ID, str),
            further={
                name: claim for name, claim in claims.items() if name not in {_STATUS, _VECTOR, _POLICY_ID}
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """An attestation result.

    Attributes:
        profile: Which profile of EAR.
        issued_at: When, with a time zone.
        build: Which verifier: name and version.
        submodules: What was found, by the name of the attester.
        expires: Until when it may be relied on; ``None``: it does not say.
        issuer: Who has issued it; ``None``: it does not say.
        nonce: The nonce that the evidence answered; ``None``: there was none.
        id: Of the token; ``None``: it has none.
    """

    profile: str
    issued_at: datetime
    build: str
    submodules: Mapping[str, Submodule]
    expires: datetime | None = None
    issuer: str | None = None
    nonce: str | None = None
    id: str | None = None

    def sign(self, key: ECKey) -> str:
        """The token.

        Args:
            key: P-256, private.
        """
        header = {"typ": "JWT", "alg": _ALGORITHM, "kid": key.thumbprint()}
        return jwt.encode(header, self._claims(), key, algorithms=[_ALGORITHM])

    def _claims(self) -> dict[str, Any]:
        optional = {
            "iss": self.issuer,
            "exp": None if self.expires is None else int(self.expires.timestamp()),
            "jti": self.id,
            "eat_nonce": self.nonce,
        }
        return {
            "eat_profile": self.profile,
            "iat": int(self.issued_at.timestamp()),
            **{name: claim for name, claim in optional.items() if claim is not None},
            _VERIFIER: {"developer": "casemate", "build": self.build},
            "submods": {name: one.to_claims() for name, one in self.submodules.items()},
        }

    @classmethod
    def verify(cls, token: str, key: ECKey) -> Ear:
        """Read a token.

        Args:
            token: As it came.
            key: P-256, whose signature it has to carry.

        Raises:
            RefusedError: It carries no signature of that key by ES256.
            FormatError: What is signed is no attestation result.
        """
        try:
            claims = jwt.decode(token, key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise RefusedError(
                _TOKEN, expected="a JWT with the signature of that key by ES256", got="another one"
            ) from error
        expires = _claim(claims, "exp", int) if "exp" in claims else None
        verifier = _claim(claims, _VERIFIER, dict)
        return cls(
            profile=_claim(claims, "eat_profile", str),
            issued_at=_instant(_claim(claims, "iat", int)),
            build=_claim(verifier, "build", str),
            submodules={
                name: Submodule.from_claims(_claim({name: one}, name, dict))
                for name, one in _claim(claims, "submods", dict).items()
            },
            expires=None if expires is None else _instant(expires),
            issuer=_claim(claims, "iss", str) if "iss" in claims else None,
            nonce=_claim(claims, "eat_nonce", str) if "eat_nonce" in claims else None,
            id=_claim(claims, "jti", str) if "jti" in claims else None,
        )


def read_signing_key(pem: bytes, *, where: str) -> ECKey:
    """The key that signs attestation results.

    Args:
        pem: A private key, PEM, not encrypted.
        where: Which file, for messages.

    Raises:
        KeyUnfitError: Not a private key on P-256.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unfit("something else", where) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _unfit("another kind of key", where)
    return ECKey.import_key(pem)


def _unfit(got: str, where: str) -> KeyUnfitError:
    return KeyUnfitError(
        "key of the attestation result",
        expected="a private key on P-256, PEM, not encrypted",
        got=got,
        where=where,
        hint="make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem",
    )


def _claim(claims: Mapping[str, Any], name: str, kind: type[_Kind]) -> _Kind:
    claim = claims.get(name)
    if not isinstance(claim, kind) or isinstance(claim, bool):
        raise FormatError(
            ascii(name)[1:-1][:60],
            expected=f"a claim of type {kind.__name__}",
            got=type(claim).__name__,
            where=_TOKEN,
        )
    return claim


def _instant(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise FormatError(
            "time of the token", expected="a time until 9999", got="another one", where=_TOKEN
        ) from error
