"""A bundle under ``gramine-direct`` of an installed Gramine: the same LibOS, without SGX.

The bundle's image is shown as a node shows it: read-only, in namespaces of its own, with ``/proc``, ``/sys``,
``/dev`` and ``/etc/resolv.conf``. Gramine's loader runs in it with the bundle's manifest, changed in few
places that the report names. ``gramine-direct`` attests nothing, so the attester gets a document in place of
a quote, asks no broker, and the application starts without its secrets. Encrypted mounts have a key that is
forgotten at the end.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.layout import ENCLAVE_ROOT, GRAMINE_ROOT, MANIFEST_PREFIX, WORKLOAD_CONFIGURATION
from casemate.builder.packing.image import unpack_image
from casemate.errors import RehearsalError
from casemate.formats.manifest import dump_manifest, load_manifest
from casemate.rehearsal.findings import Finding
from casemate.rehearsal.gramine_log import explanations, refusals
from casemate.rehearsal.plan import SEALING_KEYS, Plan
from casemate.rehearsal.printed import said_by_attester
from casemate.rehearsal.report import Report
from casemate.rehearsal.sandbox import Sandbox
from casemate.rehearsal.session import END_TIMEOUT, Session
from casemate.rehearsal.tree import DEVICES
from casemate_attester.configuration import Workload

#: In the image as it is shown: Gramine's loader for this machine, and its log.
_LOADER: Final = "/gramine-direct/libpal.so"
_LOG_FOLDER: Final = "/gramine-log"
_LOG: Final = f"{_LOG_FOLDER}/log"
_RESOLV_CONF: Final = "/etc/resolv.conf"
#: Where the stand-in for the attestation device lies in the enclave: on the tmpfs that every bundle has.
_DEVICE: Final = "/tmp/.casemate-direct"  # noqa: S108  # in the enclave's memory
_KEYS: Final = "/dev/attestation/keys"
#: Stands in for the keys that only SGX gives.
_OWN_KEY: Final = "casemate-direct"

_PROGRAM: Final = """
import json, os, sys
from pathlib import Path
from casemate_attester.entrypoint import Surroundings, main
device = Path({device!r})
device.mkdir()
device.joinpath("attestation_type").write_bytes(b"dcap")
device.joinpath("user_report_data").write_bytes(b"")
device.joinpath("quote").write_bytes(b"gramine-direct attests nothing")
workload = json.loads(Path({workload!r}).read_bytes())
workload["broker"], workload["secrets"] = None, []
device.joinpath("workload.json").write_text(json.dumps(workload))
for name in {keys!r}:
    Path({folder!r}, name).write_bytes(os.urandom(16))
sys.exit(main(Surroundings(configuration=device / "workload.json", device=device)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectGramine:
    """What is taken of an installed Gramine.

    Attributes:
        version: Major and minor number.
        loader: Its ``direct/libpal.so``.
        libos: Its ``libsysdb.so``.
    """

    version: str
    loader: Path
    libos: Path


class DirectRehearsal(Session):
    """Runs one bundle under ``gramine-direct``.

    Args:
        bundle: The bundle; built for this very Gramine.
        gramine: The Gramine.
        outside: The variables that the manifest's passthrough may have.
        program: Python to run in place of the attester; ``None`` runs the attester.
        stdout: Descriptor that the application writes to; this process's own by default.
        stderr: The same for its errors.
    """

    def __init__(
        self,
        bundle: Bundle,
        gramine: DirectGramine,
        *,
        outside: Mapping[str, str],
        program: str | None = None,
        stdout: int = 1,
        stderr: int = 2,
    ) -> None:
        super().__init__(stdout=stdout, stderr=stderr)
        self._bundle = bundle
        self._gramine = gramine
        self._outside = outside
        self._program = program

    def _prepare(self, private: Path) -> None:
        record = self._bundle.measurement
        if record.simulated:
            raise RehearsalError(
                "bundle",
                expected="one that was built for an installed Gramine",
                got="a simulated one, with the C library of this machine",
                where=str(self._bundle.path),
                hint="build it with: casemate build --gramine PREFIX",
            )
        manifest = load_manifest(self._bundle.manifest)
        self._plan = Plan.from_manifest(manifest)
        self._image = private / "image"
        self._image.mkdir()
        unpack_image(self._bundle.image, self._image)
        self._require_the_same_libos()
        self._changes = self._change(manifest)
        place = self._image / f"{MANIFEST_PREFIX}.manifest".lstrip("/")
        place.write_bytes(dump_manifest(manifest))
        self._volumes = self._make_volumes(private, manifest)
        self._log = private / "log" / Path(_LOG).name

    def _execute(self, private: Path, stack: contextlib.ExitStack) -> None:
        root = private / "root"
        root.mkdir()
        self._sandbox = Sandbox(
            self._instructions(private, root),
            private,
            stdout=self._output.descriptor,
            stderr=self._errors.descriptor,
        )
        stack.callback(self._sandbox.close)

    def _require_the_same_libos(self) -> None:
        """The loader, the LibOS and the C library of the image are parts of one build."""
        version = self._bundle.measurement.gramine_version
        held = (self._image / f"{GRAMINE_ROOT}/libsysdb.so".lstrip("/")).read_bytes()
        if version != self._gramine.version or held != self._gramine.libos.read_bytes():
            raise RehearsalError(
                "Gramine",
                expected=f"the build of {version} that the bundle was built for",
                got=f"another build, of {self._gramine.version}",
                where=str(self._gramine.loader),
                hint="build the bundle with --gramine and the prefix of the Gramine that is to run it",
            )

    def _change(self, manifest: dict[str, Any]) -> tuple[str, ...]:
        """Make the manifest one for ``gramine-direct``; says what was changed."""
        loader = manifest["loader"]
        argv = list(self._plan.argv)
        flags = argv[1 : argv.index("-m")] if "-m" in argv else ["-I", "-B", "-u"]
        loader["argv"] = [argv[0], *flags, "-c", self._program or self._attester_without_device()]
        loader["log_level"] = "warning"  # the level at which Gramine says what it refuses
        loader["log_file"] = _LOG
        changed = ["loader.argv", "loader.log_level", "loader.log_file"]
        for mount in manifest["fs"]["mounts"]:
            if mount.get("key_name") in SEALING_KEYS:  # those are the processor's
                mount["key_name"] = _OWN_KEY
                changed.append(f"the key of {mount['path']}")
        changes = [f"the manifest was changed: {', '.join(changed)}"]
        if self._program is None:
            changes.append("gramine-direct attests nothing: certificates carry no evidence")
            changes += [f"secret not placed, as there is no release: {name}" for name in self._secrets()]
        changes += [
            f"{mount.path} was encrypted with a key of this run alone, and is gone"
            for mount in self._plan.mounts
            if mount.key is not None
        ]
        return tuple(changes)

    def _attester_without_device(self) -> str:
        return _PROGRAM.format(
            device=_DEVICE, workload=WORKLOAD_CONFIGURATION, keys=self._keys(), folder=_KEYS
        )

    def _keys(self) -> list[str]:
        """Names of the keys of the changed manifest."""
        names = {mount.key for mount in self._plan.mounts if mount.key is not None}
        return sorted({_OWN_KEY if name in SEALING_KEYS else name for name in names})

    def _secrets(self) -> list[str]:
        path = self._image / f"{ENCLAVE_ROOT}{WORKLOAD_CONFIGURATION}".lstrip("/")
        return [secret.destination for secret in Workload.parse(path.read_bytes()).secrets]

    def _make_volumes(self, private: Path, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Writable folders: one for the log, one for each encrypted mount; and where each is seen."""
        shown = {"log": _LOG_FOLDER}
        for number, mount in enumerate(manifest["fs"]["mounts"]):
            if mount["type"] == "encrypted":
                shown[f"volume-{number}"] = mount["uri"].removeprefix("file:")
        for name, target in shown.items():
            (private / name).mkdir()
            (self._image / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        for name in ("proc", "sys", "dev", "etc", Path(_LOADER).parent.name):
            (self._image / name).mkdir(exist_ok=True)
        with contextlib.suppress(OSError):  # a machine without one
            shutil.copyfile(_RESOLV_CONF, self._image / _RESOLV_CONF.lstrip("/"))
        loader = self._image / _LOADER.lstrip("/")
        shutil.copyfile(self._gramine.loader, loader)
        loader.chmod(0o755)
        return [(str(private / name), target) for name, target in shown.items()]

    def _instructions(self, private: Path, root: Path) -> dict[str, Any]:
        passed = {name: self._outside[name] for name in self._plan.passthrough if name in self._outside}
        return {
            "private": str(private),
            "image": str(self._image),
            "volumes": self._volumes,
            "root": str(root),
            "uid": self._plan.uid,
            "gid": self._plan.gid,
            "hostname": None,
            "devices": [device for device in DEVICES if Path(device).exists()],
            "topology": [],
            "proc": [],
            "tmpfs": [],
            "filter": None,
            "start_dir": "/",
            "entrypoint": _LOADER,
            "argv": [_LOADER, _LOADER, "init", MANIFEST_PREFIX],
            "env": passed,
            "limits": {"RLIMIT_CORE": 0},
        }

    def _finish(self, code: int) -> Report:
        self._sandbox.close()
        self._output.finish(END_TIMEOUT)
        printed = self._errors.finish(END_TIMEOUT)
        log = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        record = self._bundle.measurement
        return Report(
            runtime="gramine-direct",
            exit_code=code,
            stop=self._stop,
            mrenclave=record.mrenclave.hex(),
            mrsigner=(record.mrsigner or bytes(32)).hex(),
            root_sha256=None,
            opened=None,
            seconds=self.seconds,
            findings=tuple(
                Finding(path=refusal.name, kind=refusal.kind, pid=0, process="", answer=refusal.answer)
                for refusal in refusals(log)
            ),
            notes=(*self._changes, *explanations(log)),
            said=said_by_attester(printed) if code != 0 else None,
        )
