"""The HTTP shell: slow, broken and interrupted requests, and defects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from starlette.types import Message

from casemate.broker.app import RequestLimits, make_app
from casemate.broker.release import Broker

INTERNAL = "broker: expected to answer, got a failure of its own; look at the broker's log"


class Defective:
    """A broker with a defect."""

    def authenticate(self, *_request: object) -> None:
        raise ZeroDivisionError("a secret detail")


def post(receive: Callable[[], Awaitable[Message]], sent: list[Message]) -> None:
    """``POST /kbs/v0/auth`` of a client that sends what ``receive`` gives."""
    app = make_app(
        cast("Broker", Defective()),
        clock=lambda: datetime.now(UTC),
        limits=RequestLimits(body=100, seconds=0.05),
    )
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/kbs/v0/auth",
        "raw_path": b"/kbs/v0/auth",
        "query_string": b"",
        "headers": [],
        "client": None,
    }

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))


def answer(sent: list[Message]) -> tuple[int, str, str]:
    body = json.loads(b"".join(message.get("body", b"") for message in sent))
    return sent[0]["status"], body["type"].rpartition("/")[2], body["detail"]


def test_a_body_that_does_not_come_in_time_is_refused() -> None:
    async def receive() -> Message:
        await asyncio.sleep(60)
        return {}

    sent: list[Message] = []
    post(receive, sent)
    assert answer(sent) == (
        408,
        "HTTPFailed",
        "request body: expected all of it within 0.05 seconds, got less",
    )


def test_a_body_that_comes_in_drops_is_refused_in_the_same_time() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    sent: list[Message] = []
    post(receive, sent)
    assert sent[0]["status"] == 408


def test_a_connection_that_is_closed_is_no_defect() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    sent: list[Message] = []
    post(receive, sent)
    assert answer(sent) == (400, "SerdeError", "request body: expected all of it, got a closed connection")


def test_a_defect_is_answered_without_its_details_and_is_not_swallowed() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    sent: list[Message] = []
    with pytest.raises(ZeroDivisionError):
        post(receive, sent)
    assert answer(sent) == (500, "PluginInternalError", INTERNAL)


def test_the_limits_are_these() -> None:
    assert (RequestLimits().body, RequestLimits().seconds) == (131_072, 10.0)
