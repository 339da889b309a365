"""PID 1 of the enclave: read the measured configuration, attest, place the secrets, run the application.

Each step is a line on stderr, which the host can read: it says that something happened, never what a secret
is. Nothing here looks at arguments, and of the environment only variables with a measured rule are read: both
may come from the host.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Generator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TextIO

from cryptography.hazmat.primitives.asymmetric import ec

from casemate_attester.binding import ReportData
from casemate_attester.configuration import Application, Broker, Interface, Secret, Workload
from casemate_attester.discretion import describe
from casemate_attester.errors import AttesterError, ConfigurationError
from casemate_attester.evidence import DEVICE, fetch_quote
from casemate_attester.exchange import Answer, Call, EvidenceWanted, Quote, Reply, Step, exchange
from casemate_attester.messages import TeePublicKey, WrappedSecret
from casemate_attester.placement import place_secret
from casemate_attester.ratls import issue_identity
from casemate_attester.serving import run_application, server_context
from casemate_attester.transport import PAUSES, BrokerConnection, pinned_context
from casemate_attester.unwrap import SecretBytes, unwrap
from casemate_attester.variables import admit

__all__ = ["CONFIGURATION", "Surroundings", "drive", "main"]

CONFIGURATION = Path("/etc/casemate/workload.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the attester finds around itself.

    Attributes:
        configuration: The measured configuration.
        device: Gramine's folder of attestation files.
        temporary: A tmpfs.
        environment: The environment of the process.
        log: Where the steps are written.
        sleep: Waits for so many seconds.
    """

    configuration: Path = CONFIGURATION
    device: Path = DEVICE
    temporary: Path = Path("/tmp")  # noqa: S108 - a tmpfs in enclave memory, which nobody else can reach
    environment: MutableMapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    log: TextIO = field(default_factory=lambda: sys.stderr)
    sleep: Callable[[float], None] = time.sleep

    def say(self, line: str) -> None:
        """One line to the log."""
        self.log.write(f"casemate: {line}\n")
        self.log.flush()


def main(surroundings: Surroundings | None = None) -> int:
    """Runs the workload and gives the exit code, unless the application ends the process with its own."""
    around = surroundings or Surroundings()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _run(around)
    except AttesterError as error:
        around.say(f"error: {error}")
        if error.hint is not None:
            around.say(f"hint: {error.hint}")
        return 1
    except Exception as error:  # noqa: BLE001 - a traceback would show the text of any exception to the host
        around.say(f"error: not foreseen: {describe(error)}")
        return 1
    return 0


def _terminate(_signal: int, _frame: object) -> NoReturn:
    """Ends the process as if the application had returned; servers let requests finish first."""
    raise SystemExit(0)


def _run(around: Surroundings) -> None:
    workload = _read_configuration(around.configuration)
    application = workload.application
    around.say(f"configuration read: {_name(application)}")
    admit(workload.variables, around.environment)

    def quote_for(report_data: ReportData) -> bytes:
        return fetch_quote(report_data, around.device)

    context = None
    if application.interface is not Interface.COMMAND:
        context = server_context(issue_identity(quote_for), around.temporary)
        around.say("certificate issued: evidence binds the key of this process")
    if workload.broker is not None:
        _provision(workload.broker, workload.secrets, quote_for, around)
    run_application(application, workload.listen, context, lambda: around.say(_start(workload)))


def _read_configuration(path: Path) -> Workload:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            "workload configuration",
            expected="a readable file",
            got=os.strerror(error.errno or 0),
            where=str(path),
            hint="run an image that `casemate build` has made",
        ) from error
    return Workload.parse(data)


def _provision(
    broker: Broker,
    secrets: tuple[Secret, ...],
    quote_for: Callable[[ReportData], bytes],
    around: Surroundings,
) -> None:
    """Convinces the broker, then opens all secrets, then places them: none is placed when one does not open.

    The key that opens them ends with this function.
    """
    private_key = ec.generate_private_key(ec.SECP256R1())
    resources = [secret.source for secret in secrets]
    dialogue = exchange(TeePublicKey.from_key(private_key.public_key()), resources)

    def wait(seconds: float) -> None:
        attempt = PAUSES.index(seconds) + 2
        around.say(
            f"no answer from the broker: trying again in {seconds:g} s ({attempt} of {len(PAUSES) + 1})"
        )
        around.sleep(seconds)

    connection = BrokerConnection(broker, pinned_context(Path(broker.ca)), pauses=PAUSES, sleep=wait)
    around.say(f"attesting: to {broker.url}")
    wrapped = drive(dialogue, connection.call, quote_for)
    around.say(f"attested: token received, and {len(wrapped)} wrapped secrets")
    opened: list[SecretBytes] = [unwrap(item, private_key) for item in wrapped]
    for secret, value in zip(secrets, opened, strict=True):
        place_secret(value, secret.place, environment=around.environment, device=around.device)
        around.say(f"secret placed: {secret.destination}")


def drive(
    dialogue: Generator[Step, Reply, tuple[WrappedSecret, ...]],
    call: Callable[[Call], Answer],
    quote_for: Callable[[ReportData], bytes],
) -> tuple[WrappedSecret, ...]:
    """Runs a dialogue to its end with calls and quotes that are real."""
    try:
        step = next(dialogue)
        while True:
            match step:
                case Call():
                    step = dialogue.send(call(step))
                case EvidenceWanted():
                    step = dialogue.send(Quote(value=quote_for(step.report_data)))
    except StopIteration as end:
        result: tuple[WrappedSecret, ...] = end.value
        return result


def _name(application: Application) -> str:
    return f"{application.interface.value} {application.target or ' '.join(application.command)}"


def _start(workload: Workload) -> str:
    if workload.application.interface is Interface.COMMAND:
        return f"starting: {_name(workload.application)}"
    place = f"{workload.listen.host} port {workload.listen.port}"
    return f"serving: {_name(workload.application)} by https on {place}"
