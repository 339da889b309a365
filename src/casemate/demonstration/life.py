"""The steps of the demonstration, in the order of a workload's life."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from casemate.adapters.platform_directory import save_platform
from casemate.adapters.service_certificate import make_service_certificates
from casemate.builder.bundles.bundle import Bundle
from casemate.demonstration.attacks import replay_against_broker, replay_against_client, tamper_with_a_file
from casemate.demonstration.client import PinnedClient
from casemate.demonstration.stage import Service, Stage, free_port
from casemate.simulator.platform import SimulatedPlatform

_BROKER_PORT = 18080
_APPLICATION_PORT = 18443
_SECRET = "default/notes/notes-key"  # noqa: S105 - the name of a secret, not a secret
#: Where the sample application looks for its key; the enclave's memory, never the image.
_KEY_FILE = "/run/secrets/notes-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        name: Its key in the summary's ``seconds``.
        title: What happens, for the person who watches.
        play: Does it; gives what is worth showing, as pairs of a label and a value.
    """

    name: str
    title: str
    play: Callable[[], Mapping[str, Any]]


class Demonstration:
    """Takes one application through its life; a context manager, because services run while it lasts.

    Attributes:
        facts: What the steps have found out so far, by the names of ``summary.json``.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._services = ExitStack()
        self._workload: Service | None = None
        self._broker_port = free_port(_BROKER_PORT)
        self._port = free_port(_APPLICATION_PORT)
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._services.close()

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step, in order. Each needs the ones before it."""
        return (
            Step(name="prepare", title="Look at the application", play=self._prepare),
            Step(name="build", title="Build the smallest image and its manifest", play=self._build),
            Step(name="sign", title="Sign with a development key", play=self._sign),
            Step(name="broker", title="Start the key broker", play=self._start_broker),
            Step(
                name="rehearse", title="Start the workload; it attests and gets its key", play=self._rehearse
            ),
            Step(name="verify", title="Verify the running service from outside", play=self._verify),
            Step(name="request", title="Use the service over the verified channel", play=self._request),
            Step(name="replay", title="Attack: a stolen quote with another key", play=self._replay),
            Step(name="stop", title="Stop the workload and read its report", play=self._stop),
            Step(name="tamper", title="Attack: one changed byte in a trusted file", play=self._tamper),
        )

    @property
    def _url(self) -> str:
        return f"https://localhost:{self._port}"

    @property
    def _broker_url(self) -> str:
        return f"https://localhost:{self._broker_port}"

    def _prepare(self) -> Mapping[str, Any]:
        stage = self._stage
        stage.clear()
        now = datetime.now(UTC)
        make_service_certificates(stage.broker / "tls", ("localhost", "127.0.0.1"), now)
        save_platform(SimulatedPlatform.create(now=now), stage.platform)
        ca = stage.application / "broker-ca.pem"
        ca.write_bytes((stage.broker / "tls" / "ca.pem").read_bytes())
        stage.casemate(
            "init",
            stage.application,
            *("--port", str(self._port)),
            *("--env", f"NOTES_KEY_FILE={_KEY_FILE}"),
            *("--env", "NOTES_DATABASE=/var/lib/notes/notes.db"),
            *("--mount", "/var/lib/notes=tmpfs"),
            *("--secret", f"{_KEY_FILE}=kbs:///{_SECRET}"),
            *("--broker", self._broker_url, "--broker-ca", ca),
        )
        return {"sample": stage.sample.name, "port": self._port}

    def _build(self) -> Mapping[str, Any]:
        built = self._stage.casemate("build", self._stage.application, "-o", self._stage.bundle)
        tcb = Bundle.open(self._stage.bundle).tcb
        self.facts |= {
            "image_files": tcb.considered.files,
            "image_bytes": tcb.considered.size,
            "trusted_files": len(tcb.files),
            "trusted_bytes": tcb.size,
            "mrenclave": built["mrenclave"],
            "simulated": built["simulated"],
        }
        return {"MRENCLAVE": built["mrenclave"], "image": built["image_digest"]}

    def _sign(self) -> Mapping[str, Any]:
        # SGX fixes both numbers: a 3072-bit modulus and the public exponent 3 (Intel SDM 3D, 39.1.2).
        key = rsa.generate_private_key(public_exponent=3, key_size=3072)
        path = self._stage.signing_key
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        signed = self._stage.casemate("sign", self._stage.bundle, "--key", f"file:{path}")
        self.facts |= {"mrsigner": signed["mrsigner"]}
        return {"MRSIGNER": signed["mrsigner"]}

    def _start_broker(self) -> Mapping[str, Any]:
        stage = self._stage
        broker = self._services.enter_context(
            stage.service(
                "broker.log",
                *("serve", "broker", "--listen", f"127.0.0.1:{self._broker_port}"),
                *("--tls", stage.broker / "tls", "--store", stage.broker / "store.db"),
                *("--reference-values", stage.bundle / "reference-values.json"),
                *self._trust(),
                *("--generate", f"{_SECRET}=32"),
            )
        )
        broker.wait_for_port(self._broker_port)
        return {"address": self._broker_url, "secret": f"kbs:///{_SECRET}, 32 random bytes, made just now"}

    def _trust(self) -> tuple[str | Path, ...]:
        """The endorsements of the simulated platform, and its root: accepted because it is named here."""
        platform = self._stage.platform
        return ("--collateral", platform / "collateral.json", "--simulated-root", platform / "root.pem")

    def _rehearse(self) -> Mapping[str, Any]:
        stage = self._stage
        started = time.monotonic()
        self._workload = self._services.enter_context(
            stage.service("workload.log", "rehearse", stage.bundle, "--platform", stage.platform)
        )
        self._workload.wait_for_port(self._port)
        return {"address": self._url, "listening after": f"{time.monotonic() - started:.1f} s"}

    def _verify(self) -> Mapping[str, Any]:
        verified = self._stage.casemate(
            "verify", "server", self._url, "--bundle", self._stage.bundle, *self._trust()
        )
        result = verified["attestation"]
        self.facts |= {
            "attestation": {"status": result["tcb_status"], "reasons": result["checks"]},
            "ratls_verified": result["verdict"] == "affirming",
        }
        return {"verdict": result["verdict"], "checks": len(result["checks"])}

    def _request(self) -> Mapping[str, Any]:
        """Write a note and read it back: both need the key that only the broker had."""
        with PinnedClient(self._url) as client:
            written = client.post("/api/notes", {"title": "Sealed", "body": "Only the enclave reads this."})
            page = client.get("/")
        self.facts |= {
            "https_status": page.status,
            "secret_released": written.status == 201 and b"Sealed" in page.body,
        }
        return {"POST /api/notes": written.status, "GET /": page.status}

    def _replay(self) -> Mapping[str, Any]:
        """The quote is public; whoever has read it tries to pass for the enclave, on both sides."""
        stage = self._stage
        broker_says = replay_against_broker(self._url, self._broker_url, stage.broker / "tls" / "ca.pem")
        client_says = replay_against_client(stage, self._url, self._trust())
        self.facts |= {"replayed_quote_refused": broker_says.refused and client_says.refused}
        return {"the broker says": _brief(broker_says.reason), "the client says": _brief(client_says.reason)}

    def _stop(self) -> Mapping[str, Any]:
        report = self._workload.stop() if self._workload else {}
        return {"files opened": report.get("opened"), "findings": len(report.get("findings", ()))}

    def _tamper(self) -> Mapping[str, Any]:
        outcome = tamper_with_a_file(self._stage)
        self.facts |= {"tampered_file_refused": outcome.refused}
        return {"the workload says": outcome.reason}


def _brief(reason: str) -> str:
    """``reason`` with its long numbers cut, for people to read."""
    return re.sub(r"([0-9a-f]{12})[0-9a-f]{20,}", r"\1…", reason)
