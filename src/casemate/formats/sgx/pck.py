"""The SGX extension of a PCK certificate: which processor, and which security versions it is certified for.

Intel SGX PCK Certificate and Certificate Revocation List Profile Specification 1.5, section 1.3.5 (OID
1.2.840.113741.1.13.1). Fields stand in the order of the specification; anything else is refused. Not checked
here: the certificate around the extension.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from casemate.errors import FormatError
from casemate.formats import der

EXTENSION_OID = "1.2.840.113741.1.13.1"
#: Components of CPUSVN that TCB levels speak of.
TCB_COMPONENTS = 16

_WHERE = "SGX extension of the PCK certificate"
_PPID, _TCB, _PCE_ID, _FMSPC, _SGX_TYPE, _PLATFORM_INSTANCE, _CONFIGURATION = range(1, 8)
_PROCESSOR_FIELDS = 5
_PLATFORM_FIELDS = 7


class SgxType(Enum):
    """How the platform protects memory."""

    STANDARD = 0
    SCALABLE = 1
    SCALABLE_WITH_INTEGRITY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformConfiguration:
    """How a multi-package platform is set up; known for certificates of the platform CA only.

    Attributes:
        dynamic_platform: Packages may be added.
        cached_keys: Intel keeps the platform's root keys.
        smt_enabled: Simultaneous multithreading is on.
    """

    dynamic_platform: bool
    cached_keys: bool
    smt_enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PckExtension:
    """What the certificate authority says about the platform.

    Attributes:
        ppid: Platform provisioning id, 16 bytes.
        components: The 16 security versions of the TCB components.
        pce_svn: Security version of the provisioning certification enclave.
        cpu_svn: Raw CPUSVN, 16 bytes.
        pce_id: PCEID, 2 bytes.
        fmspc: Family, model, stepping, platform and custom SKU, 6 bytes.
        sgx_type: How memory is protected.
        platform_instance_id: 16 bytes; ``None`` for certificates of the processor CA.
        configuration: ``None`` for certificates of the processor CA.
    """

    ppid: bytes
    components: tuple[int, ...]
    pce_svn: int
    cpu_svn: bytes
    pce_id: bytes
    fmspc: bytes
    sgx_type: SgxType
    platform_instance_id: bytes | None = None
    configuration: PlatformConfiguration | None = None

    @property
    def dynamic_platform(self) -> bool | None:
        """Whether packages may be added; ``None`` where the certificate does not say."""
        return self.configuration.dynamic_platform if self.configuration else None

    @property
    def cached_keys(self) -> bool | None:
        """Whether Intel keeps the platform's root keys; ``None`` where the certificate does not say."""
        return self.configuration.cached_keys if self.configuration else None

    @property
    def smt_enabled(self) -> bool | None:
        """Whether simultaneous multithreading is on; ``None`` where the certificate does not say."""
        return self.configuration.smt_enabled if self.configuration else None

    @classmethod
    def parse(cls, data: bytes) -> PckExtension:
        """Read the content of the extension.

        Raises:
            FormatError: Not DER, or not the fields of the specification in their order.
        """
        fields = _fields(der.parse(data, where=_WHERE), EXTENSION_OID)
        if len(fields) not in (_PROCESSOR_FIELDS, _PLATFORM_FIELDS):
            raise FormatError(
                "SGX extension",
                expected=f"{_PROCESSOR_FIELDS} or {_PLATFORM_FIELDS} fields",
                got=str(len(fields)),
                where=_WHERE,
            )
        components, pce_svn, cpu_svn = _tcb(fields[_TCB - 1])
        instance = configuration = None
        if len(fields) == _PLATFORM_FIELDS:
            instance = _octets(fields[_PLATFORM_INSTANCE - 1], 16, "platform instance id")
            configuration = _configuration(fields[_CONFIGURATION - 1])
        return cls(
            ppid=_octets(fields[_PPID - 1], 16, "PPID"),
            components=components,
            pce_svn=pce_svn,
            cpu_svn=cpu_svn,
            pce_id=_octets(fields[_PCE_ID - 1], 2, "PCEID"),
            fmspc=_octets(fields[_FMSPC - 1], 6, "FMSPC"),
            sgx_type=_sgx_type(fields[_SGX_TYPE - 1]),
            platform_instance_id=instance,
            configuration=configuration,
        )

    def to_der(self) -> bytes:
        """The content of the extension."""
        tcb_oid = f"{EXTENSION_OID}.{_TCB}"
        svns = (*self.components, self.pce_svn)
        tcb = [_field(f"{tcb_oid}.{n}", der.encode_integer(svn)) for n, svn in enumerate(svns, start=1)]
        tcb.append(_field(f"{tcb_oid}.{TCB_COMPONENTS + 2}", der.encode(der.OCTET_STRING, self.cpu_svn)))
        values = [
            der.encode(der.OCTET_STRING, self.ppid),
            der.encode(der.SEQUENCE, *tcb),
            der.encode(der.OCTET_STRING, self.pce_id),
            der.encode(der.OCTET_STRING, self.fmspc),
            der.encode_integer(self.sgx_type.value, tag=der.ENUMERATED),
        ]
        if self.platform_instance_id is not None and self.configuration is not None:
            values.append(der.encode(der.OCTET_STRING, self.platform_instance_id))
            values.append(_encode_configuration(self.configuration))
        return der.encode(
            der.SEQUENCE, *(_field(f"{EXTENSION_OID}.{n}", value) for n, value in enumerate(values, start=1))
        )


def _field(oid: str, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(oid), value)


def _fields(sequence: der.Element, oid: str) -> tuple[der.Element, ...]:
    """The values of a sequence of (object identifier, value), with the identifiers ``oid``.1 and so on."""
    values: list[der.Element] = []
    for number, entry in enumerate(der.children(sequence, where=_WHERE), start=1):
        pair = der.children(entry, where=_WHERE)
        expected = der.encode_oid(f"{oid}.{number}")
        if len(pair) != 2 or pair[0].encoded != expected:
            raise FormatError(
                "SGX extension",
                expected=f"the field {oid}.{number}",
                got="another field, or more than an identifier and a value",
                where=_WHERE,
            )
        values.append(pair[1])
    return tuple(values)


def _tcb(element: der.Element) -> tuple[tuple[int, ...], int, bytes]:
    """The 16 components, PCESVN and CPUSVN."""
    fields = _fields(element, f"{EXTENSION_OID}.{_TCB}")
    if len(fields) != TCB_COMPONENTS + 2:
        raise FormatError(
            "TCB of the SGX extension",
            expected=f"{TCB_COMPONENTS + 2} fields",
            got=str(len(fields)),
            where=_WHERE,
        )
    components = tuple(
        _svn(field, 0xFF, f"SVN of TCB component {number}")
        for number, field in enumerate(fields[:TCB_COMPONENTS], start=1)
    )
    pce_svn = _svn(fields[TCB_COMPONENTS], 0xFFFF, "PCESVN")
    return components, pce_svn, _octets(fields[TCB_COMPONENTS + 1], 16, "CPUSVN")


def _svn(element: der.Element, maximum: int, what: str) -> int:
    value = der.integer_of(element, where=_WHERE)
    if value > maximum:
        raise FormatError(what, expected=f"at most {maximum}", got=str(value), where=_WHERE)
    return value


def _octets(element: der.Element, size: int, what: str) -> bytes:
    content = der.content_of(element, der.OCTET_STRING, where=_WHERE)
    if len(content) != size:
        raise FormatError(what, expected=f"{size} bytes", got=f"{len(content)} bytes", where=_WHERE)
    return content


def _sgx_type(element: der.Element) -> SgxType:
    value = der.integer_of(element, tag=der.ENUMERATED, where=_WHERE)
    try:
        return SgxType(value)
    except ValueError as error:
        raise FormatError("SGX type", expected="0, 1 or 2", got=str(value), where=_WHERE) from error


def _configuration(element: der.Element) -> PlatformConfiguration:
    fields = _fields(element, f"{EXTENSION_OID}.{_CONFIGURATION}")
    if len(fields) != 3:
        raise FormatError("platform configuration", expected="3 fields", got=str(len(fields)), where=_WHERE)
    dynamic, cached, smt = (der.boolean_of(field, where=_WHERE) for field in fields)
    return PlatformConfiguration(dynamic_platform=dynamic, cached_keys=cached, smt_enabled=smt)


def _encode_configuration(configuration: PlatformConfiguration) -> bytes:
    values = (configuration.dynamic_platform, configuration.cached_keys, configuration.smt_enabled)
    oid = f"{EXTENSION_OID}.{_CONFIGURATION}"
    return der.encode(
        der.SEQUENCE,
        *(_field(f"{oid}.{n}", der.encode_boolean(value=value)) for n, value in enumerate(values, start=1)),
    )
