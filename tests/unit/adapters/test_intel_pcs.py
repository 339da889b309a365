"""The upstream of a collateral service, against a service that speaks Intel's formats over real HTTPS."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.support.intel_pcs import SUBSCRIPTION_KEY, FakeIntel, Fault
from tests.support.manufacturer import Manufacturer

from casemate.adapters.intel_pcs import (
    CacheUpstream,
    IntelUpstream,
    Limits,
    Means,
    UpstreamAddress,
    proxy_address,
)
from casemate.collateral.admission import admit
from casemate.collateral.names import (
    CertificateAuthority,
    DocumentName,
    EnclaveRole,
    EvaluationNumbersName,
    IdentityName,
    PckCrlName,
    RootCrlName,
    TcbInfoName,
    Tee,
    Update,
)
from casemate.collateral.store import PlatformId, RawTcb
from casemate.collateral.upstream import PckQuery, UpstreamError, UpstreamProblem
from casemate.errors import UsageError
from casemate.verifier.roots import TrustRoots
from casemate.verifier.vouching import Trust

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
FMSPC = "00606a000000"
TCB_INFO = TcbInfoName(tee=Tee.SGX, fmspc=FMSPC, edition=Update.STANDARD)
PATH = "/sgx/certification/v4/tcb"
NAMES: tuple[DocumentName, ...] = (
    *(TcbInfoName(tee=tee, fmspc=FMSPC, edition=edition) for tee in Tee for edition in (*Update, 16)),
    *(IdentityName(role=role, edition=edition) for role in EnclaveRole for edition in (Update.EARLY, 18)),
    *(EvaluationNumbersName(tee=tee) for tee in Tee),
    *(PckCrlName(authority=authority) for authority in CertificateAuthority),
    RootCrlName(),
)
REACH = "see that the service can be reached from here, and is well"


@dataclass
class Clock:
    """Time that passes only while somebody sleeps."""

    seconds: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds

    @property
    def means(self) -> Means:
        return Means(monotonic=lambda: self.seconds, now=lambda: NOW, sleep=self.sleep, chance=lambda: 0.5)


@pytest.fixture(scope="module")
def maker() -> Manufacturer:
    return Manufacturer.create(NOW)


@pytest.fixture
def intel(maker: Manufacturer, tmp_path: Path) -> Iterator[FakeIntel]:
    with FakeIntel.running(maker, tmp_path) as intel:
        yield intel


@pytest.fixture
def clock() -> Clock:
    return Clock()


def upstream(intel: FakeIntel, clock: Clock, **options: Any) -> IntelUpstream:
    address = UpstreamAddress.parse(intel.url)
    limits = options.pop("limits", Limits(read=20, answer=30))
    return IntelUpstream(address, address, ca=intel.ca, means=clock.means, limits=limits, **options)


def cache(intel: FakeIntel, clock: Clock) -> CacheUpstream:
    return CacheUpstream(UpstreamAddress.parse(intel.url), ca=intel.ca, means=clock.means)


def refusal(asked: IntelUpstream | CacheUpstream, name: DocumentName = TCB_INFO) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        asked.document(name)
    return caught.value


def query(maker: Manufacturer) -> PckQuery:
    known = maker.platforms[0]
    return PckQuery(
        id=PlatformId(qe_id=known.qe_id, pce_id=known.pce_id),
        tcb=RawTcb(cpu_svn=known.cpu_svn, pce_svn=known.pce_svn),
        encrypted_ppid=known.encrypted_ppid,
        manifest="",
    )


@pytest.mark.parametrize("name", NAMES, ids=lambda name: "-".join((name.kind.value, *name.key)))
def test_what_comes_is_vouched_for_under_the_name_that_was_asked_for(
    intel: FakeIntel, maker: Manufacturer, clock: Clock, name: DocumentName
) -> None:
    trust = Trust(roots=TrustRoots.simulated(maker.root.certificate_pem()), at=NOW, root_crl=maker.root_crl())
    entry = admit(name, upstream(intel, clock).document(name), trust)
    assert entry.name == name
    assert intel.count() == 1


def test_a_document_is_kept_as_it_came(intel: FakeIntel, maker: Manufacturer, clock: Clock) -> None:
    answer = upstream(intel, clock).document(TCB_INFO)
    assert answer.body == maker.tcb_info("sgx", FMSPC, 17)
    assert answer.issuer_chain == maker.tcb_signer.certificate_pem() + maker.root.certificate_pem()
    (asked,) = intel.asked
    assert (asked.path, asked.parameters) == (PATH, {"fmspc": FMSPC.upper(), "update": "standard"})


def test_all_certificates_of_a_platform_come_by_ppid_or_manifest(
    intel: FakeIntel, maker: Manufacturer, clock: Clock
) -> None:
    known = maker.platforms[0]
    by_ppid = upstream(intel, clock).pck_certificates(query(maker))
    by_manifest = upstream(intel, clock).pck_certificates(replace(query(maker), manifest=known.manifest))
    assert by_ppid == by_manifest
    assert [asked.method for asked in intel.asked] == ["GET", "POST"]
    assert intel.asked[1].parameters == {"platformManifest": known.manifest, "pceid": known.pce_id}
    newer, own, older = known.levels
    assert by_ppid.missing == (newer,)
    assert [one.tcbm for one in by_ppid.certificates] == [own, older]
    assert [one.pem for one in by_ppid.certificates] == [
        known.levels[tcbm].certificate_pem() for tcbm in (own, older)
    ]
    assert (by_ppid.chosen, by_ppid.fmspc, by_ppid.authority) == ("", FMSPC, CertificateAuthority.PLATFORM)
    assert by_ppid.issuer_chain.endswith(maker.root.certificate_pem())


def test_a_platform_of_which_nothing_is_known_is_not_asked_for(
    intel: FakeIntel, maker: Manufacturer, clock: Clock
) -> None:
    no_tcb = RawTcb(cpu_svn="", pce_svn="")
    for asked, unknown, expected in (
        (upstream(intel, clock), {"encrypted_ppid": ""}, "an encrypted PPID or a platform manifest"),
        (cache(intel, clock), {"tcb": no_tcb}, "the CPUSVN and PCESVN of the platform"),
    ):
        with pytest.raises(UpstreamError) as caught:
            asked.pck_certificates(replace(query(maker), **unknown))
        assert str(caught.value) == f"PCK certificates from localhost: expected {expected}, got none"
        assert caught.value.problem is UpstreamProblem.REJECTED
    assert intel.count() == 0


def test_a_version_that_intel_has_ended_is_not_asked_for(intel: FakeIntel, clock: Clock) -> None:
    error = refusal(upstream(intel, clock), replace(TCB_INFO, version=3))
    assert error.problem is UpstreamProblem.WITHDRAWN
    assert str(error) == (
        "collateral from localhost: expected version 4 of the API, got version 3, which Intel has ended"
    )
    assert intel.count() == 0


def test_a_cache_is_asked_for_the_same_and_may_answer_in_hexadecimal(
    intel: FakeIntel, maker: Manufacturer, clock: Clock
) -> None:
    intel.is_cache = True
    asked = cache(intel, clock)
    assert asked.document(RootCrlName()).body == maker.root_crl()
    for name in NAMES[:3]:
        assert asked.document(name).issuer_chain.endswith(maker.root.certificate_pem())
    for authority in CertificateAuthority:
        issuer_chain = asked.document(PckCrlName(authority=authority)).issuer_chain
        assert issuer_chain.endswith(maker.root.certificate_pem())
    answer = asked.pck_certificates(query(maker))
    known = maker.platforms[0]
    assert answer.chosen == known.cpu_svn + known.pce_svn
    assert [(one.tcbm, one.pem) for one in answer.certificates] == [
        (answer.chosen, known.simulated.quoting_enclave.pck.certificate_pem())
    ]


def test_what_a_cache_says_in_its_body_is_repeated(intel: FakeIntel, clock: Clock) -> None:
    intel.is_cache = True
    error = refusal(cache(intel, clock), EvaluationNumbersName(tee=Tee.SGX))
    assert error.problem is UpstreamProblem.NOT_FOUND
    assert error.got == f"status 404 (No data for the given parameters.) Request-ID {1:032x}"


@pytest.mark.parametrize(
    ("fault", "problem", "got", "hint"),
    [
        (Fault.BAD_REQUEST, "rejected", "status 400 (BadRequest: Invalid request parameters.)", None),
        (
            Fault.UNAUTHORISED,
            "unauthorised",
            "status 401 (Unauthorized: Access denied due to invalid subscription key.)",
            "see that the subscription key is there and was not revoked",
        ),
        (Fault.NOT_FOUND, "not-found", "status 404 (NotFound: No data for the given parameters.)", None),
        (
            Fault.WITHDRAWN,
            "withdrawn",
            "status 410 (Gone: TCB Evaluation Data Number is no longer supported.)",
            None,
        ),
        (Fault.REDIRECT, "unavailable", "status 302 (a redirection, which is not followed)", REACH),
    ],
    ids=["400", "401", "404", "410", "302"],
)
def test_an_answer_that_stands_is_not_asked_for_again(
    intel: FakeIntel, clock: Clock, fault: Fault, problem: str, got: str, hint: str | None
) -> None:
    intel.fail(fault)
    error = refusal(upstream(intel, clock))
    assert str(error) == (
        f"collateral from localhost: expected status 200, got {got} Request-ID {1:032x} ({intel.url}{PATH})"
    )
    assert (error.problem.value, error.hint, error.retry_after) == (problem, hint, None)
    assert intel.count() == 1
    assert clock.pauses == []


@pytest.mark.parametrize(
    ("fault", "got", "attempts"),
    [
        (Fault.CLOSED, "the end of the connection instead of an answer, 4 times", 4),
        (Fault.TRUNCATED, "{size} bytes of {one_more}, 4 times", 4),
        (Fault.NOT_HTTP, "a broken answer (BadStatusLine), 4 times", 4),
        (Fault.BAD_GZIP, "a compressed answer that cannot be read, 4 times", 4),
        (Fault.ENDLESS, "an answer of more than 4194304 bytes", 1),
        (Fault.HUGE, "an answer of 99999999999 bytes", 1),
        (Fault.UNBOUNDED, "an answer that does not say where it ends", 1),
        (Fault.BOMB, "an answer of more than 4194304 bytes, compressed to 32658", 1),
        (Fault.ODD_CODING, "the content coding 'br'", 1),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Fault) else None,
)
def test_an_answer_that_is_not_whole_is_refused(
    intel: FakeIntel, maker: Manufacturer, clock: Clock, fault: Fault, got: str, attempts: int
) -> None:
    intel.fail(fault)
    error = refusal(upstream(intel, clock))
    size = len(maker.tcb_info("sgx", FMSPC, 17))
    assert error.problem is UpstreamProblem.UNAVAILABLE
    assert error.got is not None
    assert (
        error.got.partition("compressed to")[0]
        == (got.format(size=size, one_more=size + 1).partition("compressed to")[0])
    )
    assert error.hint == REACH
    assert intel.count() == attempts


@pytest.mark.parametrize(
    "fault", [Fault.SILENT, Fault.SLOW, Fault.SLOW_HEADERS], ids=lambda f: f.name.lower()
)
def test_no_answer_takes_longer_than_it_may(intel: FakeIntel, clock: Clock, fault: Fault) -> None:
    intel.fail(fault)
    silent = fault is Fault.SILENT
    limits = Limits(read=0.3 if silent else 20, answer=20 if silent else 0.4, attempts=1)
    begin = time.monotonic()
    error = refusal(upstream(intel, clock, limits=limits))
    assert time.monotonic() - begin < 10
    assert error.got == ("nothing in time" if silent else "no whole answer in 0.4 seconds")


def test_a_host_that_never_finishes_the_handshake_is_left(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = UpstreamAddress.parse(f"https://127.0.0.1:{server.getsockname()[1]}")
        limits = Limits(connect=0.2, answer=5, attempts=1)
        error = refusal(CacheUpstream(address, limits=limits, means=clock.means))
    assert error.got == "nothing in time"


def test_pauses_grow_and_the_service_may_come_back(intel: FakeIntel, clock: Clock) -> None:
    intel.fail(Fault.UNAVAILABLE, times=1)
    intel.fail(Fault.CLOSED, times=1)
    intel.fail(Fault.ERROR, times=1)
    assert upstream(intel, clock).document(TCB_INFO).body
    assert clock.pauses == [0.375, 0.75, 1.5]


def test_no_attempt_begins_after_the_time_for_all_of_them(intel: FakeIntel, clock: Clock) -> None:
    intel.fail(Fault.ERROR)
    error = refusal(upstream(intel, clock, limits=Limits(call=1.0, attempts=100)))
    assert clock.pauses == [0.375]
    assert error.got is not None
    assert error.got.endswith(", 2 times")


@pytest.mark.parametrize(
    "retry_after", ["7", "Fri, 01 May 2026 12:00:07 GMT"], ids=["in seconds", "as a date"]
)
def test_a_rate_limit_is_respected(intel: FakeIntel, clock: Clock, retry_after: str) -> None:
    intel.retry_after = retry_after
    intel.fail(Fault.LIMITED, times=2)
    assert upstream(intel, clock).document(TCB_INFO).body
    assert clock.pauses == [7.0, 7.0]


@pytest.mark.parametrize(
    ("retry_after", "told"),
    [
        ("3600", 3600.0),
        ("999999999", 86400.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("Fri, 99 May 2026", None),
    ],
)
def test_a_rate_limit_for_longer_than_a_call_may_take_is_passed_on(
    intel: FakeIntel, clock: Clock, retry_after: str, told: float | None
) -> None:
    intel.retry_after = retry_after
    intel.fail(Fault.LIMITED)
    error = refusal(upstream(intel, clock))
    assert (error.problem, error.retry_after) == (UpstreamProblem.RATE_LIMITED, told)
    assert intel.count() == 1


def test_a_service_that_is_down_is_reported_as_that(intel: FakeIntel, clock: Clock) -> None:
    intel.stop()
    error = refusal(upstream(intel, clock))
    assert error.got == "Connection refused, 4 times"
    intel.start()
    assert upstream(intel, clock).document(TCB_INFO).body


def test_a_certificate_of_somebody_else_is_refused_at_once(
    intel: FakeIntel, clock: Clock, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    address = UpstreamAddress.parse(intel.url)
    for ca in (other, None):
        error = refusal(CacheUpstream(address, ca=ca, means=clock.means))
        assert error.got is not None
        assert error.got.startswith("a certificate that is refused: ")
    by_address = UpstreamAddress.parse(intel.url.replace("localhost", "127.0.0.1"))
    error = refusal(CacheUpstream(by_address, ca=intel.ca, means=clock.means))
    assert error.got == (
        "a certificate that is refused: IP address mismatch, certificate is not valid for '127.0.0.1'."
    )
    assert clock.pauses == []


def test_an_answer_without_its_issuers_is_refused(intel: FakeIntel, clock: Clock) -> None:
    intel.fail(Fault.HEADERLESS)
    error = refusal(upstream(intel, clock))
    assert str(error) == (
        f"answer of localhost: expected header TCB-Info-Issuer-Chain: one, got 0 ({intel.url}{PATH})"
    )
    assert error.hint == "see that the URL is that of such a service"


def test_the_subscription_key_is_sent_for_certificates_alone(
    intel: FakeIntel, maker: Manufacturer, clock: Clock
) -> None:
    intel.needs_key = True
    with pytest.raises(UpstreamError) as caught:
        upstream(intel, clock).pck_certificates(query(maker))
    assert caught.value.problem is UpstreamProblem.UNAUTHORISED
    asked = upstream(intel, clock, subscription_key=SUBSCRIPTION_KEY)
    assert asked.pck_certificates(query(maker)).certificates
    for name in NAMES:
        asked.document(name)
    with_key = [one.path for one in intel.asked if "ocp-apim-subscription-key" in one.headers]
    assert with_key == ["/sgx/certification/v4/pckcerts"]


def test_the_subscription_key_is_never_printed(
    intel: FakeIntel, maker: Manufacturer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    intel.echo = f" Your key is {SUBSCRIPTION_KEY}."
    asked = upstream(intel, clock, subscription_key=SUBSCRIPTION_KEY)
    intel.fail(Fault.UNAUTHORISED)
    with pytest.raises(UpstreamError) as caught:
        asked.pck_certificates(query(maker))
    said = "".join(traceback.format_exception(caught.value))
    assert "Your key is <redacted>." in said
    assert SUBSCRIPTION_KEY not in said + caplog.text + repr(asked._service)


@pytest.mark.parametrize("key", ["two words", "line\n", "\u00fcber", "nul\0"])
def test_a_subscription_key_that_cannot_be_sent_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        IntelUpstream(subscription_key=key)
    assert str(caught.value) == (
        "subscription key: expected visible ASCII characters without spaces, got others among them"
    )


def test_what_a_service_says_stays_on_one_line_and_is_short(intel: FakeIntel, clock: Clock) -> None:
    intel.echo = " \x1b[2J" + "x" * 5000
    intel.fail(Fault.NOT_FOUND)
    error = refusal(upstream(intel, clock))
    assert error.got is not None
    assert error.got.isprintable()
    assert len(error.got) == 200


def test_intel_is_where_it_is_unless_told_otherwise() -> None:
    assert IntelUpstream().name == "api.trustedservices.intel.com"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://pccs.example", "https://pccs.example"),
        ("https://pccs.example:8081/", "https://pccs.example:8081"),
        ("https://pccs.example:8081/sgx/certification/v4/", "https://pccs.example:8081"),
        ("https://pccs.example/below/sgx/certification/v3", "https://pccs.example/below"),
        ("https://[::1]:8081", "https://[::1]:8081"),
    ],
)
def test_the_paths_of_the_api_may_be_part_of_a_url(url: str, said: str) -> None:
    assert str(UpstreamAddress.parse(url)) == said


@pytest.mark.parametrize(
    "url",
    [
        "http://pccs.example",
        "pccs.example",
        "https://",
        "https://user:secret@pccs.example",
        "https://pccs.example:0",
        "https://pccs.example:99999",
        "https://pccs.example?x=1",
        "https://pccs.example#x",
        "https://pccs.example/a b",
        "https://pccs.example/\r\nHost: x",
        "https://p\u00e4ccs.example",
        "https://[::1",
    ],
)
def test_what_is_no_url_of_a_service_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        UpstreamAddress.parse(url)
    assert str(caught.value) == (
        "URL of the upstream service: expected https://HOST, https://HOST:PORT or the same with a path, "
        "got something else"
    )


@pytest.mark.parametrize("url", ["https://proxy:1", "proxy:3128", "http://user:secret@/", "http://p/path"])
def test_what_is_no_url_of_a_proxy_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        proxy_address(url)
    assert str(caught.value) == (
        "URL of the proxy: expected http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, got something else"
    )


class Proxy:
    """Gives tunnels to whoever says the password, or the refusal that it was told to give."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.refusal = refusal
        self.heads: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://user:p%40ss@127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        with client:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.heads.append(head)
            if self.refusal:
                client.sendall(self.refusal)
                return
            host, _, port = head.split()[1].decode().partition(":")
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with socket.create_connection((host, int(port))) as server:
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_a_proxy_is_used_when_it_is_named(intel: FakeIntel, clock: Clock) -> None:
    proxy = Proxy()
    with proxy.listener:
        asked = upstream(intel, clock, proxy=proxy_address(proxy.url))
        assert asked.document(TCB_INFO).body
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT localhost:")
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in head


def test_a_proxy_of_the_environment_is_not_used(
    intel: FakeIntel, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy()
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    with proxy.listener:
        assert upstream(intel, clock).document(TCB_INFO).body
    assert proxy.heads == []


def test_a_proxy_that_gives_no_tunnel_is_reported_without_its_password(
    intel: FakeIntel, clock: Clock
) -> None:
    proxy = Proxy(b"HTTP/1.1 407 say p@ss\r\n\r\n")
    with proxy.listener:
        error = refusal(upstream(intel, clock, proxy=proxy_address(proxy.url)))
    assert error.got == "no tunnel from the proxy, 4 times"
    assert "p@ss" not in "".join(traceback.format_exception(error))


def test_a_proxy_that_is_down_is_named_in_the_place_of_the_service(intel: FakeIntel, clock: Clock) -> None:
    proxy = Proxy()
    proxy.listener.shutdown(socket.SHUT_RDWR)
    proxy.listener.close()
    error = refusal(upstream(intel, clock, proxy=proxy_address(proxy.url)))
    place = proxy.url.rpartition("@")[2]
    assert str(error) == (
        f"collateral from localhost: expected status 200, got the proxy {place}: Connection refused, 4 times "
        f"({intel.url}/sgx/certification/v4/tcb)"
    )
    assert error.hint == "see that the service can be reached from here, and is well"


def test_an_unreadable_file_of_authorities_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")
    with pytest.raises(UsageError) as caught:
        IntelUpstream(ca=empty)
    assert str(caught.value) == (
        "authorities of the upstream service: expected a PEM file of certificates, got no certificate "
        f"({empty})"
    )


def test_documents_of_an_earlier_day_and_number_come_as_they_are(intel: FakeIntel, clock: Clock) -> None:
    """Whether they are kept is not decided here."""
    intel.fail(Fault.OLDER)
    body = upstream(intel, clock).document(TCB_INFO).body
    assert b'"tcbEvaluationDataNumber":16' in body
    assert b'"issueDate":"2026-04-30T12:00:00Z"' in body
