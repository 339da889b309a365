"""``/dev/attestation`` as Gramine 1.9 presents it, on a simulated platform.

Every process has its own report data, target info and keys, because under Gramine every process is its own
enclave. A child begins with the keys of its parent and with neither report data nor target info.

* ``user_report_data`` and ``target_info`` are written, cut or padded with zeros to 64 and 512 bytes; opened
  for reading they are empty until something is written through the same descriptor.
* ``report``, ``quote`` and ``my_target_info`` are made when they are opened.
* ``keys/NAME`` exists for every key that a mount of the manifest names, and is empty until 16 bytes, no more
  and no less, are written. The sealing keys cannot be written.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from casemate.rehearsal.findings import Asker
from casemate.rehearsal.plan import SEALING_KEYS
from casemate.rehearsal.tree import Denied, Pseudo
from casemate.simulator.enclave import SimulatedEnclave

FOLDER: Final = "/dev/attestation"
KEY_SIZE: Final = 16
REPORT_DATA_SIZE: Final = 64
TARGET_INFO_SIZE: Final = 512


@dataclass(slots=True)
class _State:
    """What one process has written."""

    report_data: bytes = bytes(REPORT_DATA_SIZE)
    target_info: bytes = bytes(TARGET_INFO_SIZE)
    keys: dict[str, bytes] = field(default_factory=dict, repr=False)


class AttestationDevice:
    """The state behind the files, process by process.

    Args:
        enclave: Whom the quotes are about.
        remote_attestation: ``sgx.remote_attestation``; with ``"none"`` there is no quote.
        key_names: Keys that the mounts of the manifest use.
        unlock: Told the name of a key that has been set.
    """

    def __init__(
        self,
        enclave: SimulatedEnclave,
        *,
        remote_attestation: str,
        key_names: tuple[str, ...],
        unlock: Callable[[str], None],
    ) -> None:
        self._enclave = enclave
        self._remote_attestation = remote_attestation
        self._key_names = key_names
        self._unlock = unlock
        self._states: dict[tuple[int, int], _State] = {}
        self._latest: dict[int, _State] = {}

    def files(self) -> Mapping[str, Pseudo]:
        """Path to behaviour of every file below ``/dev/attestation``."""
        files = {
            "attestation_type": Pseudo(load=lambda _: self._remote_attestation.encode()),
            "my_target_info": Pseudo(load=lambda _: self._enclave.my_target_info()),
            "report": Pseudo(load=self._report),
            "user_report_data": Pseudo(load=lambda _: b"", save=self._save_report_data),
            "target_info": Pseudo(load=lambda _: b"", save=self._save_target_info),
        }
        if self._remote_attestation != "none":
            files["quote"] = Pseudo(load=self._quote)
        for name in SEALING_KEYS:
            files[f"keys/{name}"] = Pseudo(load=self._sealing_key(name))
        for name in self._key_names:
            files[f"keys/{name}"] = Pseudo(load=self._key(name), save=self._save_key(name))
        return {f"{FOLDER}/{name}": behaviour for name, behaviour in files.items()}

    def _state(self, asker: Asker) -> _State:
        identity = (asker.process, asker.started)
        state = self._states.get(identity)
        if state is None:
            parent = self._latest.get(asker.parent)
            state = _State(keys=dict(parent.keys) if parent is not None else {})
            self._states[identity] = self._latest[asker.process] = state
        return state

    def _report(self, asker: Asker) -> bytes:
        state = self._state(asker)
        return self._enclave.report(state.target_info, state.report_data)

    def _quote(self, asker: Asker) -> bytes:
        return self._enclave.quote(self._state(asker).report_data)

    def _save_report_data(self, asker: Asker, data: bytes) -> None:
        self._state(asker).report_data = data[:REPORT_DATA_SIZE].ljust(REPORT_DATA_SIZE, b"\0")

    def _save_target_info(self, asker: Asker, data: bytes) -> None:
        self._state(asker).target_info = data[:TARGET_INFO_SIZE].ljust(TARGET_INFO_SIZE, b"\0")

    def _sealing_key(self, name: str) -> Callable[[Asker], bytes]:
        return lambda _: self._enclave.key(name)

    def _key(self, name: str) -> Callable[[Asker], bytes]:
        return lambda asker: self._state(asker).keys.get(name, b"")

    def _save_key(self, name: str) -> Callable[[Asker, bytes], None]:
        def save(asker: Asker, data: bytes) -> None:
            if len(data) != KEY_SIZE:
                raise Denied(errno.EACCES)
            self._state(asker).keys[name] = data
            self._unlock(name)

        return save
