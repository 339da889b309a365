"""How fast is the verifier, against the signature checks that nobody can leave out, and against another one?

    .venv/bin/python benchmarks/verify.py [--quotes N] [--repeat N] [--lines N]

A simulated platform makes N different quotes, once each from a quoting enclave of its own (`new`), and once
all from the same one (`known`). Endorsements are verified before the clock runs, which is that of the
processor's time. In the same process, in turn, the fastest run of each counts:

- `casemate`: `casemate.verifier.appraisal.Verifier.appraise`, with a policy
- `floor`: the bare signature checks and hashes. For `new` quotes: the PCK's key over the quoting enclave's
  report, SHA-256 of what it binds, loading the attestation key, its signature over the quote. For `known`
  ones: the last. Both with SHA-256 over the quote, by which it is recognised.
- `dcap_qvl`: `dcap_qvl.verify_with_root_ca` (Rust), which has no policy and no memory

Then `casemate verify batch` judges the `new` quotes over and over, --lines of them, with one process and with
two, as whole commands and by the wall clock: on a machine that does nothing else.

Goals: at most 1.25 times the floor for `new` quotes, 1.4 for `known` ones; two processes at least 1.7 times
as fast as one, where there are two processors. Both ratios to dcap-qvl are printed.

The last line on standard output is JSON; what a person reads goes to standard error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dcap_qvl
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.pki import new_key
from casemate.simulator.platform import SimulatedPlatform
from casemate.verifier.appraisal import Verifier
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.result import Verdict
from casemate.verifier.roots import TrustRoots

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
AT = NOW + timedelta(hours=1)
MRENCLAVE = MrEnclave(bytes(range(32)))
GOALS = {"new": 1.25, "known": 1.4}
BATCH_GOAL = 1.7
ECDSA = ec.ECDSA(hashes.SHA256())
P256 = ec.SECP256R1()

Check = Callable[[], object]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quotes", type=int, default=500, help="how many quotes of each kind (default: 500)")
    parser.add_argument("--repeat", type=int, default=9, help="runs of each, the fastest counts (default: 9)")
    parser.add_argument(
        "--lines", type=int, default=40_000, help="how many lines of a batch (default: 40000)"
    )
    options = parser.parse_args()

    platform = SimulatedPlatform.create(NOW)
    microseconds = {
        "new": fastest(
            platform, quotes_of_new_enclaves(platform, options.quotes), options.repeat, known=False
        ),
        "known": fastest(
            platform, quotes_of_one_enclave(platform, options.quotes), options.repeat, known=True
        ),
    }
    ratios = {
        kind: {
            "casemate_over_floor": round(times["casemate"] / times["floor"], 3),
            "dcap_qvl_over_casemate": round(times["dcap_qvl"] / times["casemate"], 2),
        }
        for kind, times in microseconds.items()
    }
    batch = batches(platform, quotes_of_new_enclaves(platform, options.quotes), options.lines)
    reached = all(ratios[kind]["casemate_over_floor"] <= goal for kind, goal in GOALS.items())
    if (os.cpu_count() or 1) > 1:
        reached = reached and batch["one_over_two"] >= BATCH_GOAL
    result = {
        "benchmark": "verify",
        "microseconds": {
            kind: {name: round(value, 1) for name, value in times.items()}
            for kind, times in microseconds.items()
        },
        **ratios,
        "batch": batch,
        "goals": GOALS | {"batch": BATCH_GOAL},
        "reached": reached,
    }
    told = [sentence(kind, microseconds[kind], ratios[kind]) for kind in GOALS]
    told.append(f"batch: two processes {batch['one_over_two']} times as fast as one (goal {BATCH_GOAL})")
    print("; ".join(told), file=sys.stderr)
    print(json.dumps(result))
    return 0 if reached else 1


def batches(platform: SimulatedPlatform, quotes: Sequence[bytes], lines: int) -> dict[str, float]:
    """Seconds of `casemate verify batch` with one process and with two, and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "collateral.json").write_bytes(platform.collateral.to_json())
        (folder / "root.pem").write_bytes(platform.root_certificate)
        for number, quote in enumerate(quotes):
            (folder / f"{number}.bin").write_bytes(quote)
        (folder / "lines").write_text("".join(line(number % len(quotes)) for number in range(lines)))
        seconds = {jobs: min(batch(folder, jobs, lines) for _ in range(2)) for jobs in (1, 2)}
    return {
        "lines": lines,
        "seconds_one": round(seconds[1], 2),
        "seconds_two": round(seconds[2], 2),
        "one_over_two": round(seconds[1] / seconds[2], 2),
    }


def line(number: int) -> str:
    fields = {"quote": f"{number}.bin", "collateral": "collateral.json", "at": int(AT.timestamp())}
    return json.dumps(fields) + "\n"


def batch(folder: Path, jobs: int, lines: int) -> float:
    casemate = Path(sys.executable).with_name("casemate")
    command = [casemate, "verify", "batch", "lines", "--jobs", str(jobs), "--simulated-root", "root.pem"]
    start = time.perf_counter()
    done = subprocess.run([*command, "--fail"], cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0 or done.stdout.count("\n") != lines:
        sys.exit(f"a batch was not judged, so its time means nothing: {done.stderr}")
    return seconds


def sentence(kind: str, times: dict[str, float], ratios: dict[str, float]) -> str:
    return (
        f"{kind} quoting enclave: {times['casemate']:.0f} µs a quote, {ratios['casemate_over_floor']} times"
        f" the floor (goal {GOALS[kind]}), dcap-qvl {ratios['dcap_qvl_over_casemate']} times as long"
    )


def quotes_of_one_enclave(platform: SimulatedPlatform, number: int) -> list[bytes]:
    enclave = SimulatedEnclave(
        platform=platform, mrenclave=MRENCLAVE, mrsigner=MrSigner(bytes(32)), isvprodid=1
    )
    return [enclave.quote(index.to_bytes(64, "big")) for index in range(number)]


def quotes_of_new_enclaves(platform: SimulatedPlatform, number: int) -> list[bytes]:
    return [
        quote
        for _ in range(number)
        for quote in quotes_of_one_enclave(
            replace(platform, quoting_enclave=replace(platform.quoting_enclave, attestation_key=new_key())),
            1,
        )
    ]


def fastest(
    platform: SimulatedPlatform, quotes: Sequence[bytes], repeat: int, *, known: bool
) -> dict[str, float]:
    """Microseconds for one quote: ours, the floor, and those of dcap-qvl."""
    rounds = {
        "casemate": lambda: appraisals(platform, quotes, known=known),
        "floor": lambda: [floor(platform, quote, known=known) for quote in quotes],
        "dcap_qvl": lambda: [other(platform, quote) for quote in quotes],
    }
    seconds = dict.fromkeys(rounds, float("inf"))
    for _ in range(repeat):
        for name, prepare in rounds.items():
            seconds[name] = min(seconds[name], timed(prepare()))
    return {name: value / len(quotes) * 1e6 for name, value in seconds.items()}


def timed(checks: Sequence[Check]) -> float:
    start = time.process_time()
    for check in checks:
        check()
    return time.process_time() - start


def appraisals(platform: SimulatedPlatform, quotes: Sequence[bytes], *, known: bool) -> list[Check]:
    """Appraisals under warm endorsements, by a verifier that knows the platform."""
    root = TrustRoots.simulated(platform.root_certificate)
    policy = AppraisalPolicy(mrenclaves=(MRENCLAVE,))
    verifier = Verifier(Endorsements.of(platform.collateral, root), policy)
    warm = quotes[0] if known else quotes_of_one_enclave(platform, 1)[0]
    if verifier.appraise(warm, AT).verdict is not Verdict.AFFIRMING:
        sys.exit("a good quote is refused, so its time means nothing")

    def check(quote: bytes) -> Check:
        return lambda: verifier.appraise(quote, AT)

    return [check(quote) for quote in quotes]


def floor(platform: SimulatedPlatform, data: bytes, *, known: bool) -> Check:
    """What nobody can leave out."""
    quote = Quote.parse(data)
    point = b"\x04" + quote.attestation_key
    signature, signed = der(quote.signature), quote.signed
    attestation_key = ec.EllipticCurvePublicKey.from_encoded_point(P256, point)
    attestation_key.verify(signature, signed, ECDSA)
    if known:

        def last() -> None:
            hashlib.sha256(data).digest()
            attestation_key.verify(signature, signed, ECDSA)

        return last
    pck = platform.quoting_enclave.pck.key.public_key()
    report, report_signature = quote.qe_report, der(quote.qe_report_signature)
    bound = quote.attestation_key + quote.qe_auth_data

    def both() -> None:
        hashlib.sha256(data).digest()
        pck.verify(report_signature, report, ECDSA)
        hashlib.sha256(bound).digest()
        key = ec.EllipticCurvePublicKey.from_encoded_point(P256, point)
        key.verify(signature, signed, ECDSA)

    return both


def der(signature: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def other(platform: SimulatedPlatform, quote: bytes) -> Check:
    """The same quote with dcap-qvl, whose collateral has been read before."""
    collateral = dcap_qvl.QuoteCollateralV3.from_json(platform.collateral.to_json().decode())
    root = platform.authorities.root.certificate
    moment = int(AT.timestamp())
    return lambda: dcap_qvl.verify_with_root_ca(quote, collateral, root, moment)


if __name__ == "__main__":
    sys.exit(main())
