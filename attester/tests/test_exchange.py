import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from casemate_attester.configuration import Resource
from casemate_attester.entrypoint import drive
from casemate_attester.errors import AttesterError, BrokerRefusedError, MessageError
from casemate_attester.exchange import Answer, Call, EvidenceWanted, Method, Quote, exchange
from casemate_attester.messages import HashAlgorithm, TeePublicKey, WrappedSecret
from casemate_attester.unwrap import unwrap

AUTH, ATTEST, SECRET = "/kbs/v0/auth", "/kbs/v0/attest", "/kbs/v0/resource/default/notes/db-key"
RESOURCE = Resource.parse("kbs:///default/notes/db-key")
PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = TeePublicKey.from_key(PRIVATE.public_key())


def run(
    call: Callable[[Call], Answer], resources: Sequence[Resource] = (RESOURCE,)
) -> tuple[WrappedSecret, ...]:
    return drive(exchange(KEY, resources), call, lambda report_data: report_data + b" in a quote")


def refusal(kind: type[AttesterError], call: Callable[[Call], Answer]) -> tuple[str, str | None]:
    with pytest.raises(kind) as caught:
        run(call)
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize("algorithm", [None, *HashAlgorithm])
def test_good_evidence_brings_the_secret(memory_broker: Any, algorithm: HashAlgorithm | None) -> None:
    broker = memory_broker({"default/notes/db-key": b"hush"}, algorithm)
    assert [unwrap(item, PRIVATE).value for item in run(broker)] == [b"hush"]
    assert broker.calls == [f"POST {AUTH}", f"POST {ATTEST}", f"GET {SECRET}"]


def test_secrets_come_in_the_order_in_which_they_are_asked_for(memory_broker: Any) -> None:
    broker = memory_broker({"a/b/1": b"one", "a/b/2": b"two"})
    resources = [Resource.parse(f"kbs:///a/b/{number}") for number in (2, 1, 2)]
    assert [unwrap(item, PRIVATE).value for item in run(broker, resources)] == [b"two", b"one", b"two"]


def test_without_secrets_the_broker_is_still_convinced(memory_broker: Any) -> None:
    broker = memory_broker()
    assert run(broker, ()) == ()
    assert broker.calls == [f"POST {AUTH}", f"POST {ATTEST}"]


def test_a_session_that_expires_between_two_secrets_is_opened_again_once(memory_broker: Any) -> None:
    broker = memory_broker({"a/b/1": b"one", "default/notes/db-key": b"hush"})
    broker.planned[SECRET] = [401]
    wrapped = run(broker, (Resource.parse("kbs:///a/b/1"), RESOURCE))
    assert [unwrap(item, PRIVATE).value for item in wrapped] == [b"one", b"hush"]
    get_one = "GET /kbs/v0/resource/a/b/1"
    session = [f"POST {AUTH}", f"POST {ATTEST}"]
    assert broker.calls == [*session, get_one, f"GET {SECRET}", *session, f"GET {SECRET}"]


def test_a_nonce_that_was_used_up_is_replaced_once(memory_broker: Any) -> None:
    broker = memory_broker({"default/notes/db-key": b"hush"}, planned={ATTEST: [401]})
    assert len(run(broker)) == 1
    assert broker.calls == [f"POST {AUTH}", f"POST {ATTEST}"] * 2 + [f"GET {SECRET}"]


def test_a_second_401_ends_the_dialogue(memory_broker: Any) -> None:
    broker = memory_broker(planned={ATTEST: [401, 401, 401]})
    assert refusal(BrokerRefusedError, broker) == (
        "evidence: expected a token, got status 401, PlannedError: as the test wants it",
        "compare the measurement of this image with the reference values that the broker holds",
    )
    assert broker.calls == [f"POST {AUTH}", f"POST {ATTEST}"] * 2


def test_one_401_to_evidence_and_one_to_a_secret_are_two(memory_broker: Any) -> None:
    broker = memory_broker(planned={ATTEST: [401], SECRET: [401]})
    assert refusal(BrokerRefusedError, broker) == (
        (
            "resource kbs:///default/notes/db-key: expected a wrapped secret, "
            "got status 401, PlannedError: as the test wants it"
        ),
        "see that the broker's policy releases it to this measurement",
    )
    assert len(broker.calls) == 5


def test_a_missing_resource_ends_the_dialogue_at_once(memory_broker: Any) -> None:
    broker = memory_broker()
    assert refusal(BrokerRefusedError, broker) == (
        (
            "resource kbs:///default/notes/db-key: expected a wrapped secret, "
            "got status 404, ResourceNotFound: default/notes/db-key"
        ),
        "store it with the broker under this name, or mend [secrets] in casemate.toml",
    )
    assert len(broker.calls) == 3


@pytest.mark.parametrize("status", [400, 403, 500, 302, 204])
def test_every_other_status_ends_the_dialogue_at_once(memory_broker: Any, status: int) -> None:
    for path in (AUTH, ATTEST, SECRET):
        broker = memory_broker(planned={path: [status]})
        message, _ = refusal(BrokerRefusedError, broker)
        assert message.endswith(f"got status {status}, PlannedError: as the test wants it")
        assert broker.calls[-1].endswith(path)


def test_a_broker_of_another_protocol_is_not_asked_twice(memory_broker: Any) -> None:
    broker = memory_broker(planned={AUTH: [401, 401]})
    assert refusal(BrokerRefusedError, broker) == (
        "session: expected a challenge, got status 401, PlannedError: as the test wants it",
        "see that [broker] url names a key broker of protocol 0.4.0 (Trustee from v0.14 on)",
    )
    assert broker.calls == [f"POST {AUTH}"]


def test_a_refusal_that_explains_nothing_is_still_one_line() -> None:
    message, _ = refusal(BrokerRefusedError, lambda _: Answer(status=502, body=b"<html>\n"))
    assert message == "session: expected a challenge, got status 502, without an explanation"


def test_an_explanation_is_one_line_of_bounded_length() -> None:
    body = json.dumps({"type": "x/\x1b[2JPolicyDeny", "detail": "no\n" + "o" * 1000}).encode()
    message, _ = refusal(BrokerRefusedError, lambda _: Answer(status=403, body=body))
    start = "session: expected a challenge, got status 403, ?[2JPolicyDeny: no?ooo"
    assert message.startswith(start)
    assert len(message) == len("session: expected a challenge, got status 403, ") + 300


def test_an_answer_that_is_no_message_is_refused() -> None:
    message, _ = refusal(MessageError, lambda _: Answer(status=200, body=b"{}"))
    assert message == ("nonce: expected 16 to 1024 printable characters, got no such field (Challenge)")


def test_a_call_knows_how_long_its_answer_may_be(memory_broker: Any) -> None:
    limits = {}

    broker = memory_broker({"default/notes/db-key": b"hush"})

    def call(step: Call) -> Answer:
        limits[step.path] = step.limit
        return broker(step)

    run(call)
    assert limits == {AUTH: 128 * 1024, ATTEST: 128 * 1024, SECRET: 2 * 1024 * 1024}


def test_a_driver_that_mixes_up_its_answers_is_told() -> None:
    dialogue = exchange(KEY, ())
    first = next(dialogue)
    assert isinstance(first, Call)
    assert (first.method, first.path) == (Method.POST, AUTH)
    with pytest.raises(TypeError, match="a call is answered with an answer"):
        dialogue.send(Quote(value=b""))


def test_a_driver_that_answers_a_wish_for_evidence_with_an_answer_is_told(memory_broker: Any) -> None:
    dialogue = exchange(KEY, ())
    first = next(dialogue)
    assert isinstance(first, Call)
    wish = dialogue.send(memory_broker()(first))
    assert isinstance(wish, EvidenceWanted)
    with pytest.raises(TypeError, match="a wish for evidence is answered with a quote"):
        dialogue.send(Answer(status=200, body=b""))
