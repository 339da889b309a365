"""The API: one method per endpoint, from request to answer. Functions of values; they may block.

Endpoints, parameters, headers and status codes are those of Intel's PCCS, and
``tcbevaluationdatanumbers`` and ``tcbEvaluationDataNumber`` those of Intel's own service.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Final

import msgspec

from casemate.collateral.access import Role, Tokens
from casemate.collateral.admission import trust_of
from casemate.collateral.documents import CacheRules, Documents, Mode, Served, Surroundings
from casemate.collateral.intake import read_delivery
from casemate.collateral.messages import (
    IDENTITY_CHAIN,
    MAX_URI,
    NUMBERS_CHAIN,
    PCK_CHAIN,
    PCK_CRL_CHAIN,
    TCB_INFO_CHAIN,
    Request,
    Response,
    authority_of,
    chain_header,
    edition_of,
    need_hex,
    optional_hex,
    qe_id_of,
    text_response,
    update_of,
)
from casemate.collateral.metrics import CONTENT_TYPE, render
from casemate.collateral.names import (
    EnclaveRole,
    EvaluationNumbersName,
    IdentityName,
    PckCrlName,
    RootCrlName,
    TcbInfoName,
    Tee,
    Update,
)
from casemate.collateral.platforms import Platforms
from casemate.collateral.policies import read_policy
from casemate.collateral.problem import CollateralRefusedError, Problem
from casemate.collateral.store import PlatformId, RawTcb, Registration, RegistrationState
from casemate.collateral.upstream import PckQuery

_SUCCESS: Final = "Operation successful."
_JSON: Final = "application/json"
_PEM: Final = "application/x-pem-file"
_CRL: Final = "application/pkix-crl"
_END_OF_V3: Final = (
    '299 - "PCS API version 3 is no longer available. Cached collateral downloaded from API version 3 is '
    'deprecated, will not be refreshed, and may expire."'
)
_STALE: Final = '110 - "Response is Stale"'
#: How long a chosen certificate is given out from memory: its choice depends on TCB info, which may end.
_CHOICE_LIFE: Final = timedelta(minutes=10)
#: Time that an administrator waits for a refresh; what is left is renewed in the background.
_REFRESH_PATIENCE: Final = timedelta(seconds=20)
#: Where Intel publishes the CRLs of its root and of its authorities for platforms.
_ROOT_CRL_URI = re.compile(
    r"https://([a-zA-Z0-9-]*certificates\.trustedservices\.intel\.com|certprx\.adsdcsp\.com)/IntelSGXRootCA\..*"
)
_PCK_CRL_URI = re.compile(
    r"https://([a-zA-Z0-9-]*\.?api\.trustedservices\.intel\.com|[a-zA-Z0-9-]+\.az\.sgx(prod|np)\.adsdcsp\.com)"
    r"/sgx/certification/v[1-9][0-9]*/pckcrl\?(?P<query>.*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path.

    Attributes:
        label: What metrics call it.
        version: Of the API, 3 or 4.
        methods: What answers each method.
        roles: Who may use a method; nobody in particular where it has none.
    """

    label: str
    version: int
    methods: Mapping[str, Callable[[Request], Response]]
    roles: Mapping[str, Role] = field(default_factory=dict)


class Api:
    """What the service answers.

    Args:
        surroundings: What documents and platforms are kept with.
        rules: How documents are renewed.
        tokens: Who may do what.
    """

    def __init__(self, surroundings: Surroundings, rules: CacheRules, tokens: Tokens) -> None:
        self._around = surroundings
        self._rules = rules
        self._documents = Documents(surroundings, rules)
        self._platforms = Platforms(surroundings, self._documents, rules.mode)
        self._tokens = tokens
        self.routes: Final = self._routes()

    @property
    def documents(self) -> Documents:
        """The documents, for who renews them."""
        return self._documents

    def authorise(self, route: Route, method: str, headers: Mapping[str, str]) -> None:
        """See that a request comes from someone who may use ``method`` of ``route``.

        Raises:
            CollateralRefusedError: It does not.
        """
        role = route.roles.get(method)
        if role is not None:
            self._tokens.require(role, headers)

    def ready(self) -> Response:
        """``/readyz``: the store can be used.

        Raises:
            ServiceError: It cannot.
        """
        self._around.store.revision()
        return text_response(200, "ready\n")

    def metrics(self) -> Response:
        """``/metrics``.

        Raises:
            ServiceError: The store cannot be used.
        """
        body = render(self._around.counters.snapshot(), self._around.store.listing(), self._around.clock())
        return Response(status=200, headers=(("Content-Type", CONTENT_TYPE),), body=body)

    def _routes(self) -> dict[str, Route]:
        routes: dict[str, Route] = {}
        for version in (3, 4):
            for name, methods, roles in self._sgx_endpoints():
                routes[f"/sgx/certification/v{version}/{name}"] = Route(
                    label=f"v{version}/sgx/{name}", version=version, methods=methods, roles=roles
                )
        for tee in Tee:
            for name, method in self._further_endpoints(tee):
                routes[f"/{tee.value}/certification/v4/{name}"] = Route(
                    label=f"v4/{tee.value}/{name}", version=4, methods={"GET": method}
                )
        return routes

    def _sgx_endpoints(
        self,
    ) -> Iterable[tuple[str, Mapping[str, Callable[[Request], Response]], Mapping[str, Role]]]:
        both = {"GET": Role.ADMIN, "POST": Role.ADMIN}
        return (
            ("pckcert", {"GET": self._pck_certificate}, {}),
            ("pckcrl", {"GET": self._pck_crl}, {}),
            ("tcb", {"GET": lambda request: self._tcb_info(Tee.SGX, request)}, {}),
            ("qe/identity", {"GET": lambda request: self._identity(EnclaveRole.QE, request)}, {}),
            ("qve/identity", {"GET": lambda request: self._identity(EnclaveRole.QVE, request)}, {}),
            ("rootcacrl", {"GET": self._root_crl}, {}),
            ("crl", {"GET": self._crl}, {}),
            (
                "platforms",
                {"GET": self._list_platforms, "POST": self._register},
                {"GET": Role.ADMIN, "POST": Role.USER},
            ),
            ("platformcollateral", {"PUT": self._take_delivery}, {"PUT": Role.ADMIN}),
            ("refresh", {"GET": self._refresh, "POST": self._refresh}, both),
            (
                "appraisalpolicy",
                {"GET": self._policies, "PUT": self._keep_policy},
                {"PUT": Role.ADMIN},
            ),
        )

    def _further_endpoints(self, tee: Tee) -> Iterable[tuple[str, Callable[[Request], Response]]]:
        """Those of version 4 that are for TDX, too, or that PCCS does not have."""
        yield "tcbevaluationdatanumbers", lambda request: self._evaluation_numbers(tee, request)
        if tee is Tee.TDX:
            yield "tcb", lambda request: self._tcb_info(tee, request)
            yield "qe/identity", lambda request: self._identity(EnclaveRole.TD_QE, request)
        else:
            yield "qae/identity", lambda request: self._identity(EnclaveRole.QAE, request)

    def _tcb_info(self, tee: Tee, request: Request) -> Response:
        name = TcbInfoName(
            tee=tee,
            fmspc=need_hex(request.parameters, "fmspc", 12),
            edition=edition_of(request.parameters),
            version=request.version,
        )
        served = self._documents.get(name)
        return _document(request, served, served.entry.body, _JSON, TCB_INFO_CHAIN[request.version])

    def _identity(self, role: EnclaveRole, request: Request) -> Response:
        name = IdentityName(role=role, edition=edition_of(request.parameters), version=request.version)
        served = self._documents.get(name)
        return _document(request, served, served.entry.body, _JSON, IDENTITY_CHAIN)

    def _evaluation_numbers(self, tee: Tee, request: Request) -> Response:
        served = self._documents.get(EvaluationNumbersName(tee=tee))
        return _document(request, served, served.entry.body, _JSON, NUMBERS_CHAIN)

    def _pck_crl(self, request: Request) -> Response:
        served = self._documents.get(PckCrlName(authority=authority_of(request.parameters)))
        if request.parameters.get("encoding", "").lower() == "der":
            return _document(request, served, served.entry.body, _CRL, PCK_CRL_CHAIN)
        return _document(request, served, served.entry.body.hex().encode(), _PEM, PCK_CRL_CHAIN, "-hex")

    def _root_crl(self, request: Request) -> Response:
        served = self._documents.get(RootCrlName())
        return _document(request, served, served.entry.body.hex().encode(), _CRL, None, "-hex")

    def _crl(self, request: Request) -> Response:
        """Whatever the address, it is one of three documents."""
        uri = request.parameters.get("uri", "")
        found = _PCK_CRL_URI.fullmatch(uri)
        name: RootCrlName | PckCrlName = RootCrlName()
        if len(uri) > MAX_URI or not (found or _ROOT_CRL_URI.fullmatch(uri)):
            raise CollateralRefusedError(
                Problem.INVALID,
                "uri",
                expected="the address of a CRL of Intel's",
                got=ascii(uri[:100])[1:-1] or "nothing",
                where="query",
            )
        if found:
            parameters = dict(part.partition("=")[::2] for part in found["query"].split("&"))
            name = PckCrlName(authority=authority_of(parameters))
        served = self._documents.get(name)
        return _document(request, served, served.entry.body, _CRL, None)

    def _pck_certificate(self, request: Request) -> Response:
        parameters = request.parameters
        query = PckQuery(
            id=PlatformId(qe_id=qe_id_of(parameters, "qeid"), pce_id=need_hex(parameters, "pceid", 4)),
            tcb=RawTcb(cpu_svn=need_hex(parameters, "cpusvn", 32), pce_svn=need_hex(parameters, "pcesvn", 4)),
            encrypted_ppid=optional_hex(parameters, "encrypted_ppid", 768),
            manifest="",
        )
        chosen = self._platforms.certificate(query)
        platform = chosen.platform
        return Response(
            status=200,
            headers=(
                ("SGX-TCBm", chosen.certificate.tcbm.upper()),
                ("SGX-FMSPC", platform.fmspc.upper()),
                ("SGX-PCK-Certificate-CA-Type", platform.authority.value.upper()),
                (PCK_CHAIN, chain_header(platform.issuer_chain)),
                ("Content-Type", _PEM),
                *_of_version(request),
            ),
            body=chosen.certificate.pem,
            until=(self._around.clock() + _CHOICE_LIFE).timestamp(),
        )

    def _register(self, request: Request) -> Response:
        update = request.parameters.get("update", Update.STANDARD.value)
        updates = tuple(Update) if update.lower() == "all" else (update_of(update),)
        self._platforms.register(read_registration(request.body), updates)
        return text_response(200, _SUCCESS, *_of_version(request))

    def _list_platforms(self, request: Request) -> Response:
        source = request.parameters.get("source") or "reg"
        store = self._around.store
        states = {"reg": RegistrationState.NEW, "reg_na": RegistrationState.NOT_AVAILABLE}
        if source in states:
            taken = store.take_registrations(states[source])
            rows = [_row(one.id, one.tcb, one.encrypted_ppid, one.manifest) for one in taken]
        else:
            platforms = store.platforms(_fmspcs(source, "source"))
            rows = [
                _row(one.id, tcb, one.encrypted_ppid, one.manifest) for one in platforms for tcb in one.tcbs
            ]
        return Response(
            status=200,
            headers=(
                ("platform-count", str(len(rows))),
                ("Content-Type", "application/json; charset=utf-8"),
                *_of_version(request),
            ),
            body=msgspec.json.encode(rows),
        )

    def _take_delivery(self, request: Request) -> Response:
        around = self._around
        trust = trust_of(around.store, around.roots, around.clock())
        delivery = read_delivery(request.body, trust, version=request.version)
        newer = [entry for entry in delivery.entries if not self._documents.keep(entry)]
        for platform in delivery.platforms:
            around.store.put_platform(platform)
        around.changed()
        text = _SUCCESS
        if newer:
            names = ", ".join(" ".join((entry.name.kind.value, *entry.name.key)) for entry in newer)
            text += f" Newer ones were kept of: {names}."
        return text_response(200, text, *_of_version(request))

    def _refresh(self, request: Request) -> Response:
        kind = request.parameters.get("type")
        if kind not in (None, "", "certs"):
            raise CollateralRefusedError(
                Problem.INVALID, "type", expected="certs, or none", got=ascii(kind[:40])[1:-1], where="query"
            )
        if self._rules.mode is Mode.OFFLINE or self._around.asking is None:
            raise CollateralRefusedError(
                Problem.UNSERVICEABLE,
                "refresh",
                got="a service that is offline",
                hint="import a newer package, or send it with PUT platformcollateral",
            )
        if kind:
            families = request.parameters.get("fmspc", "")
            # One family, a list of them as the administrator's tool has it, or all.
            listed = families if families.startswith("[") else f"[{families}]"
            self._platforms.refresh(_fmspcs(listed, "fmspc"))
        else:
            self._refresh_documents()
        return text_response(200, _SUCCESS, *_of_version(request))

    def _refresh_documents(self) -> None:
        """One after the other; one that fails does not keep the others from being renewed."""
        started = self._around.clock()
        left = self._around.store.make_due(started)
        while left > 0 and self._documents.renew_due():
            left -= 1
            if self._around.clock() - started > _REFRESH_PATIENCE:
                return
        failed = [one for one in self._around.store.listing() if one.failures and one.name.key[:1] != ("3",)]
        if failed:
            raise CollateralRefusedError(
                Problem.UNSERVICEABLE,
                "refresh",
                expected="every document renewed",
                got=f"{len(failed)} failures, the first of which is of "
                f"{' '.join((failed[0].name.kind.value, *failed[0].name.key))}: {failed[0].reason}",
                hint="what is kept stays; renewal is tried again in the background",
            )

    def _keep_policy(self, request: Request) -> Response:
        policy = read_policy(request.body)
        self._around.store.put_policy(policy)
        self._around.changed()
        return text_response(200, policy.id, *_of_version(request))

    def _policies(self, request: Request) -> Response:
        fmspc = need_hex(request.parameters, "fmspc", 12)
        policies = self._around.store.policies(fmspc)
        if not policies:
            raise CollateralRefusedError(
                Problem.NO_DATA,
                "appraisal policy",
                expected=f"a default one for {fmspc}",
                got="none",
                hint="send one with PUT appraisalpolicy and is_default true",
            )
        return text_response(200, ",".join(one.policy for one in policies), *_of_version(request))


class _RegistrationForm(msgspec.Struct, frozen=True):
    qe_id: str
    pce_id: str
    cpu_svn: str = ""
    pce_svn: str = ""
    enc_ppid: str = ""
    platform_manifest: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{2})*\Z")] | None = None


def read_registration(body: bytes) -> Registration:
    """What a platform says of itself: its manifest, or its encrypted PPID and at which TCB it runs.

    Raises:
        CollateralRefusedError: Not of that form.
    """
    where = "registration"
    try:
        form = msgspec.json.decode(body, type=_RegistrationForm)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CollateralRefusedError(
            Problem.INVALID, where, expected="JSON with qe_id and pce_id", got=str(error)
        ) from error
    fields = {name: value for name, value in msgspec.structs.asdict(form).items() if value}
    identity = PlatformId(
        qe_id=qe_id_of(fields, "qe_id", where=where), pce_id=need_hex(fields, "pce_id", 4, where=where)
    )
    if form.platform_manifest:
        return Registration(
            id=identity,
            tcb=RawTcb(cpu_svn="", pce_svn=""),
            encrypted_ppid="",
            manifest=form.platform_manifest.lower(),
        )
    return Registration(
        id=identity,
        tcb=RawTcb(
            cpu_svn=need_hex(fields, "cpu_svn", 32, where=where),
            pce_svn=need_hex(fields, "pce_svn", 4, where=where),
        ),
        encrypted_ppid=need_hex(fields, "enc_ppid", 768, where=where),
        manifest="",
    )


def _document(
    request: Request, served: Served, body: bytes, content_type: str, chain: str | None, variant: str = ""
) -> Response:
    """The answer with a document; ``variant`` tells encodings of it apart in the validator."""
    entry = served.entry
    etag = f'{entry.etag[:-1]}{variant}"'
    headers = [("Content-Type", content_type), ("ETag", etag), *_of_version(request)]
    if chain is not None:
        headers.insert(0, (chain, chain_header(entry.issuer_chain)))
    if served.stale:
        headers.append(("Warning", _STALE))
    return Response(
        status=200,
        headers=tuple(headers),
        body=body,
        etag=etag,
        until=0 if served.stale else entry.ends.timestamp(),
    )


def _of_version(request: Request) -> tuple[tuple[str, str], ...]:
    return (("Warning", _END_OF_V3),) if request.version == 3 else ()


def _fmspcs(text: str, name: str) -> tuple[str, ...]:
    """``[FMSPC,…]``; none of them stand for all."""
    if not (text.startswith("[") and text.endswith("]")):
        raise CollateralRefusedError(
            Problem.INVALID,
            name,
            expected="reg, reg_na or [FMSPC,…]",
            got=ascii(text[:80])[1:-1],
            where="query",
        )
    inner = text[1:-1].strip()
    parts = inner.split(",") if inner else []
    return tuple(need_hex({name: part.strip()}, name, 12) for part in parts)


def _row(identity: PlatformId, tcb: RawTcb, encrypted_ppid: str, manifest: str) -> dict[str, str]:
    """A platform as the administrator's tool reads it."""
    return {
        "qe_id": identity.qe_id.upper(),
        "pce_id": identity.pce_id.upper(),
        "cpu_svn": tcb.cpu_svn.upper(),
        "pce_svn": tcb.pce_svn.upper(),
        "platform_manifest": manifest.upper(),
        "enc_ppid": encrypted_ppid.upper(),
    }
