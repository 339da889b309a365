"""``/dev/attestation`` in a rehearsal, as Gramine 1.9 presents it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from casemate.formats.sgx.report import Report
from casemate.rehearsal.sandbox import available
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.platform import SimulatedPlatform
from casemate.verifier.appraisal import appraise
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.result import Verdict
from casemate.verifier.roots import TrustRoots

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"cannot rehearse here: {available()}"),
]

Runner = Callable[..., Any]


def program(source: str) -> str:
    """A program with ``ask``, ``look`` and ``attempt``, and two functions for made-up files."""
    functions = """
        A = "/dev/attestation/"
        def read(name):
            with open(A + name, "rb") as file:
                return file.read().hex()
        def write(name, data):
            with open(A + name, "wb") as file:
                file.write(data)
    """
    return "from asking import *\n" + textwrap.dedent(functions) + textwrap.dedent(source)


def affirmed(platform: SimulatedPlatform, enclave: SimulatedEnclave, quote: bytes, data: bytes) -> bool:
    result = appraise(
        quote,
        endorsements=platform.collateral,
        trust_roots=TrustRoots.simulated(platform.root_certificate),
        policy=AppraisalPolicy(mrenclaves=(enclave.mrenclave,), report_data=data),
        at=datetime.now(UTC),
    )
    return result.verdict is Verdict.AFFIRMING


def test_the_files_are_gramines(run: Runner) -> None:
    source = """
        print(json.dumps([
            sorted(os.listdir(A)),
            sorted(os.listdir(A + "keys")),
            {name: oct(os.stat(A + name).st_mode) for name in os.listdir(A)},
            bytes.fromhex(read("attestation_type")).decode(),
            {name: os.stat(A + name).st_size for name in os.listdir(A) if name != "keys"},
        ]))
    """
    names, keys, modes, kind, sizes = run(program(source)).result
    assert names == [
        "attestation_type",
        "keys",
        "my_target_info",
        "quote",
        "report",
        "target_info",
        "user_report_data",
    ]
    assert keys == ["_sgx_mrenclave", "_sgx_mrsigner"]
    assert modes == {
        "attestation_type": "0o100444",
        "keys": "0o40555",
        "my_target_info": "0o100444",
        "quote": "0o100444",
        "report": "0o100444",
        "target_info": "0o100666",
        "user_report_data": "0o100666",
    }
    assert kind == "dcap"
    assert set(sizes.values()) == {0}


def test_a_quote_over_the_written_report_data_is_affirmed(
    run: Runner, platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    done = run(program('write("user_report_data", b"bound"); print(json.dumps(read("quote")))'))
    quote = bytes.fromhex(done.result)
    assert affirmed(platform, enclave, quote, b"bound".ljust(64, b"\0"))
    assert not affirmed(platform, enclave, quote, bytes(64))


def test_each_process_has_its_own_report_data(
    run: Runner, platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    source = """
        def child(data, ready, go):
            if data is not None:
                write("user_report_data", data)
            os.write(ready, b"x")
            os.read(go, 1)
            return read("quote")

        answers = []
        write("user_report_data", b"parent")
        children = []
        for data in (b"one", b"two", None):
            ready, written = os.pipe()
            go, gone = os.pipe()
            answer, answered = os.pipe()
            if os.fork() == 0:
                os.write(answered, child(data, written, go).encode())
                os._exit(0)
            os.close(answered)
            children.append((ready, gone, answer))
        for ready, _, _ in children:
            os.read(ready, 1)
        for _, gone, _ in children:
            os.write(gone, b"x")
        for _, _, answer in children:
            text = b""
            while piece := os.read(answer, 65536):
                text += piece
            answers.append(text.decode())
            os.wait()
        print(json.dumps([read("quote"), *answers]))
    """
    parent, one, two, fresh = (bytes.fromhex(quote) for quote in run(program(source)).result)
    for quote, data in ((parent, b"parent"), (one, b"one"), (two, b"two"), (fresh, b"")):
        assert affirmed(platform, enclave, quote, data.ljust(64, b"\0"))


def test_threads_share_the_report_data_of_their_process(
    run: Runner, platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    source = """
        import threading
        thread = threading.Thread(target=write, args=("user_report_data", b"from a thread"))
        thread.start()
        thread.join()
        print(json.dumps(read("quote")))
    """
    quote = bytes.fromhex(run(program(source)).result)
    assert affirmed(platform, enclave, quote, b"from a thread".ljust(64, b"\0"))


def test_reports_are_for_the_written_target(run: Runner, enclave: SimulatedEnclave) -> None:
    source = """
        target = bytes.fromhex(read("my_target_info"))
        write("target_info", target)
        write("user_report_data", b"x" * 70)
        print(json.dumps([target.hex(), read("report")]))
    """
    target, report = (bytes.fromhex(text) for text in run(program(source)).result)
    assert target == enclave.my_target_info()
    assert report == enclave.report(target, b"x" * 64)
    assert Report.parse(report).body.mrenclave == enclave.mrenclave


def test_what_is_written_is_read_back_only_through_the_same_descriptor(run: Runner) -> None:
    source = """
        with open(A + "user_report_data", "r+b", buffering=0) as file:
            before = file.read().hex()
            file.write(b"first")
            file.write(b"second")
            file.seek(0)
            same = file.read().decode()
        print(json.dumps([before, same, read("user_report_data")]))
    """
    assert run(program(source)).result == ["", "second", ""]


def test_keys_exist_for_mounts_only_and_take_16_bytes(run: Runner, image: Any) -> None:
    image.manifest["fs"]["mounts"].append(
        {"type": "encrypted", "path": "/data", "uri": "file:/data", "key_name": "store"}
    )
    source = """
        before = read("keys/store")
        print(json.dumps([
            before,
            attempt(write, "keys/store", b"short"),
            attempt(write, "keys/store", bytes(17)),
            attempt(write, "keys/store", b"k" * 16),
            read("keys/store"),
            attempt(write, "keys/other", b"k" * 16),
            ask(A + "keys/other"),
            attempt(write, "keys/_sgx_mrenclave", b"k" * 16),
            attempt(write, "quote", b"k"),
        ]))
    """
    assert run(program(source)).result == [
        "",
        "EACCES",
        "EACCES",
        "done",
        b"k".hex() * 16,
        "EACCES",
        "ENOENT",
        "EACCES",
        "EACCES",
    ]


def test_a_child_begins_with_the_keys_of_its_parent_and_keeps_its_own(run: Runner, image: Any) -> None:
    image.manifest["fs"]["mounts"].append(
        {"type": "encrypted", "path": "/data", "uri": "file:/data", "key_name": "store"}
    )
    source = """
        write("keys/store", b"p" * 16)
        reading, writing = os.pipe()
        if os.fork() == 0:
            inherited = read("keys/store")
            write("keys/store", b"c" * 16)
            os.write(writing, inherited.encode())
            os._exit(0)
        os.wait()
        print(json.dumps([os.read(reading, 100).decode(), read("keys/store")]))
    """
    assert run(program(source)).result == [b"p".hex() * 16, b"p".hex() * 16]


def test_sealing_keys_are_those_of_the_enclave(run: Runner, enclave: SimulatedEnclave) -> None:
    source = 'print(json.dumps([read("keys/_sgx_mrenclave"), read("keys/_sgx_mrsigner")]))'
    assert run(program(source)).result == [
        enclave.key("_sgx_mrenclave").hex(),
        enclave.key("_sgx_mrsigner").hex(),
    ]


def test_without_remote_attestation_there_is_no_quote(run: Runner, image: Any) -> None:
    image.manifest["sgx"]["remote_attestation"] = "none"
    source = 'print(json.dumps([read("attestation_type"), ask(A + "quote"), len(read("report"))]))'
    assert run(program(source)).result == [b"none".hex(), "ENOENT", 864]
