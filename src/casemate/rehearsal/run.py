"""One rehearsal, from start to report."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from casemate.builder.enclave.measurement import DEFAULT_GRAMINE_VERSION
from casemate.builder.layout import APPLICATION_ROOT
from casemate.errors import RehearsalError
from casemate.formats.manifest import load_manifest
from casemate.rehearsal import tree
from casemate.rehearsal.attestation import AttestationDevice
from casemate.rehearsal.filesystem import FileServer
from casemate.rehearsal.findings import Kind, Recorder, find_stack_reader
from casemate.rehearsal.kernel_files import process_files, topology
from casemate.rehearsal.plan import HOSTNAME, Plan
from casemate.rehearsal.printed import missing_files, missing_modules, said_by_attester, survived
from casemate.rehearsal.report import Report, Stop
from casemate.rehearsal.sandbox import Sandbox
from casemate.rehearsal.seccomp import assemble
from casemate.rehearsal.session import END_TIMEOUT, Session
from casemate.rehearsal.supervisor import Supervisor
from casemate.rehearsal.system_calls import Limits, make_rules
from casemate.rehearsal.watching import Surroundings, Watcher
from casemate.simulator.enclave import SimulatedEnclave

_RESOLV_CONF: Final = "/etc/resolv.conf"
_NO_MEMORY: Final = re.compile(r"MemoryError|Cannot allocate memory|std::bad_alloc|Out of memory")
_RESOLVER_OPTIONS: Final = ("edns0", "inet6", "rotate", "use-vc")
#: Modes of a mount's folder before its key is set and after.
_LOCKED: Final = 0o500
_UNLOCKED: Final = 0o700
#: What a shell adds to the number of the signal that ended a program.
_BY_SIGNAL: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that a rehearsal runs.

    Attributes:
        manifest: Bytes of the measured manifest.
        rootfs: The image's root file system on this machine.
        enclave: Whom the quotes are about.
        left_out: Paths that the environment had and the image does not.
        reasons: Path of a trusted file to the reason for which it is there.
        notes: What the report has to say about the bundle itself.
        instead: Path in the image to a file of this machine that is shown in its place.
        gramine: Version of Gramine whose system calls there are, major and minor.
    """

    manifest: bytes
    rootfs: Path
    enclave: SimulatedEnclave
    left_out: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    instead: Mapping[str, Path] = field(default_factory=dict)
    gramine: str = DEFAULT_GRAMINE_VERSION


class Rehearsal(Session):
    """Runs one application in the sandbox.

    Args:
        stage: Makes what is run, given a private empty folder for what it has to unpack.
        outside: The variables that the manifest's passthrough may have.
        stdout: Descriptor that the application writes to; this process's own by default.
        stderr: The same for its errors.
    """

    def __init__(
        self,
        stage: Callable[[Path], Stage],
        *,
        outside: Mapping[str, str],
        stdout: int = 1,
        stderr: int = 2,
    ) -> None:
        super().__init__(stdout=stdout, stderr=stderr)
        self._make_stage = stage
        self._outside = outside

    def _prepare(self, private: Path) -> None:
        self._stage = self._make_stage(private)
        self._plan = Plan.from_manifest(load_manifest(self._stage.manifest))
        self._recorder = _recorder(self._plan, self._stage)
        self._tree = self._make_tree()
        self._server = FileServer(self._tree, self._recorder, uid=self._plan.uid, gid=self._plan.gid)

    def _make_tree(self) -> tree.Tree:
        device = AttestationDevice(
            self._stage.enclave,
            remote_attestation=self._plan.remote_attestation,
            key_names=self._plan.key_names,
            unlock=self._unlock,
        )
        pseudo = dict(device.files())
        if self._plan.domain_names:
            resolver = _resolver_configuration(Path(_RESOLV_CONF))
            pseudo[_RESOLV_CONF] = tree.Pseudo(load=lambda _: resolver)
        return tree.Tree(
            self._stage.rootfs,
            self._plan,
            pseudo=pseudo,
            left_out=self._stage.left_out,
            instead=self._stage.instead,
        )

    def _execute(self, private: Path, stack: contextlib.ExitStack) -> None:
        root = private / "root"
        root.mkdir()
        (private / "proc").mkdir()
        rules = make_rules(_limits(self._plan, self._stage.gramine))
        instructions = _instructions(self._plan, private, root, self._plan.variables(self._outside))
        folders = contextlib.ExitStack()
        stack.enter_context(folders)

        def supervise(listener: int, mounts: list[int]) -> None:
            for descriptor in mounts:
                folders.callback(os.close, descriptor)
            paths = (mount.path for mount in self._plan.mounts)
            self._folders = dict(zip(paths, mounts, strict=True))
            surroundings = Surroundings(threads=self._plan.threads, mounts=self._folders)
            self._watcher = Watcher(surroundings)
            supervisor = Supervisor(rules, self._recorder, self._watcher)
            folders.callback(supervisor.close)
            supervisor.start(listener)

        try:
            self._sandbox = Sandbox(
                {**instructions, "filter": assemble(rules).hex()},
                private,
                self._server.start,
                supervise,
                stdout=self._output.descriptor,
                stderr=self._errors.descriptor,
            )
        except RehearsalError as error:
            self._server.join(END_TIMEOUT)
            raise _with_findings(error, self._recorder) from None
        stack.callback(self._server.join, END_TIMEOUT)
        stack.callback(self._sandbox.close)

    def _unlock(self, key: str) -> None:
        """Let the application make files on the mounts whose key it has set."""
        for mount in self._plan.mounts:
            if mount.key == key:
                os.fchmod(self._folders[mount.path], _UNLOCKED)

    def _finish(self, code: int) -> Report:
        self._sandbox.close()
        if self._watcher.ended_by is not None:
            code = _BY_SIGNAL + self._watcher.ended_by
        self._server.join(END_TIMEOUT)
        self._output.finish(END_TIMEOUT)
        printed = self._errors.finish(END_TIMEOUT)
        if code != 0:
            self._note_what_nothing_asked_for(printed)
        else:
            self._note_modules(survived(printed))
        enclave = self._stage.enclave
        return Report(
            exit_code=code,
            stop=self._stop,
            mrenclave=enclave.mrenclave.hex(),
            mrsigner=enclave.mrsigner.hex(),
            root_sha256=_root_digest(enclave),
            opened=self._tree.opened,
            asked=self._tree.asked,
            seconds=self.seconds,
            findings=self._recorder.findings,
            notes=(
                *self._stage.notes,
                *_notes(self._plan, self._stop),
                *_memory_note(self._plan, printed),
            ),
            said=said_by_attester(printed) if code != 0 else None,
        )

    def _note_modules(self, printed: str) -> None:
        """Modules that the import system did not see and the build left out."""
        known = (*self._stage.left_out, *self._tree.absent_trusted())
        for path, frame in missing_modules(printed, known):
            self._recorder.note(path, Kind.MISSING, frame)

    def _note_what_nothing_asked_for(self, printed: str) -> None:
        """Modules that the import system did not see, libraries that the loader found nowhere, missing files.

        None shows in a request that is refused for good, so they count for an application that failed.
        """
        self._note_modules(printed)
        for path, frame in missing_files(printed):
            self._recorder.note(path, Kind.MISSING, frame)
        for path in self._tree.missed_libraries:
            self._recorder.note(path, Kind.MISSING, None)


def _recorder(plan: Plan, stage: Stage) -> Recorder:
    """Frames of the interpreter's own library, below the folder of its program, are not the application's."""
    home = str(Path(plan.entrypoint).parent.parent)
    return Recorder(
        interpreter_home=home,
        application=APPLICATION_ROOT,
        reasons=stage.reasons,
        reader=find_stack_reader(),
    )


def _instructions(plan: Plan, private: Path, root: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """What :mod:`casemate.rehearsal.inside` is told."""
    return {
        "private": str(private),
        "image": None,
        "root": str(root),
        "uid": plan.uid,
        "gid": plan.gid,
        "hostname": None if plan.domain_names else HOSTNAME,
        "devices": [device for device in tree.DEVICES if Path(device).exists()],
        "topology": [file.path for file in topology()],
        "proc": [] if plan.subprocesses else [file.path for file in process_files()],
        "tmpfs": [
            (mount.path, f"{_LOCKED if mount.key in plan.key_names else _UNLOCKED:04o}")
            for mount in plan.mounts
        ],
        "tmpfs_size": plan.enclave_size,
        "start_dir": plan.start_dir,
        "entrypoint": plan.entrypoint,
        "argv": list(plan.argv),
        "env": dict(variables),
        "limits": {
            "RLIMIT_NOFILE": plan.descriptors,
            "RLIMIT_STACK": plan.stack,
            "RLIMIT_AS": plan.memory,
            "RLIMIT_CORE": 0,
        },
    }


def _limits(plan: Plan, version: str) -> Limits:
    return Limits(
        version=version,
        subprocesses=plan.subprocesses,
        flock=plan.flock,
        threads_limited=plan.threads is not None,
        uid=plan.uid,
        gid=plan.gid,
    )


def _memory_note(plan: Plan, printed: str) -> tuple[str, ...]:
    """What ended, when the application says that memory did."""
    if not _NO_MEMORY.search(printed):
        return ()
    return (f"memory ended at {plan.memory >> 20} MiB of addresses: raise [enclave] size in casemate.toml",)


def _notes(plan: Plan, stop: Stop | None) -> tuple[str, ...]:
    notes = [
        f"{mount.path} was kept in memory; Gramine encrypts it on disk with the key {mount.key}"
        for mount in plan.mounts
        if mount.key is not None
    ]
    if stop is not None and not plan.sigterm:
        notes.append("SIGTERM does not reach the application: sys.enable_sigterm_injection is not set")
    return tuple(notes)


def _with_findings(error: RehearsalError, recorder: Recorder) -> RehearsalError:
    """The error of a program that could not be executed, with the file that was refused to it."""
    last = next(reversed(recorder.findings), None)
    if last is None or (last.kind is Kind.MISSING and last.path == error.where):
        return error
    return RehearsalError(
        error.subject,
        expected=error.expected,
        got=f"{error.got}, because {last.path} is {last.kind.value}",
        where=error.where,
        hint=error.hint,
    )


def _root_digest(enclave: SimulatedEnclave) -> str:
    root = x509.load_pem_x509_certificate(enclave.platform.root_certificate)
    return sha256(root.public_bytes(Encoding.DER)).hexdigest()


def _resolver_configuration(path: Path) -> bytes:
    """What Gramine takes over of this machine's resolver configuration, in Gramine's order."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return b""
    fields = [line.split() for line in lines if re.match(r"(nameserver|search|options)\s", line)]
    servers = [f"nameserver {words[1]}" for words in fields if words[0] == "nameserver"]
    search = [" ".join(words) for words in fields if words[0] == "search"][-1:]
    chosen = {word for words in fields if words[0] == "options" for word in words[1:]}
    options = [f"options {word}" for word in _RESOLVER_OPTIONS if word in chosen]
    return "".join(f"{line}\n" for line in (*servers, *search, *options)).encode()
