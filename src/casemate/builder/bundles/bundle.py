"""The bundle: a folder with the image and everything that was decided while building it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.tcb import Tcb
from casemate.builder.packing.image import ImageDocuments, ImageLayout
from casemate.builder.reading import read_regular
from casemate.errors import FormatError, ToolchainError, UsageError
from casemate.formats.deployment import Deployment
from casemate.formats.reference_values import Statement, read_statement


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDocuments:
    """Everything in a bundle but its layers, each file read once.

    Whoever judges a bundle and then acts on it keeps to these: the files may be others by then.

    Attributes:
        manifest: The bytes of the measured manifest.
        measurement: What the enclave measures to.
        tcb: Every trusted file and why it is there.
        reference_values: The in-toto statement.
        deployment: What a cluster has to be told.
        image: What the image says of itself.
    """

    manifest: bytes
    measurement: MeasurementRecord
    tcb: Tcb
    reference_values: Statement
    deployment: Deployment
    image: ImageDocuments


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of a bundle by name, and what they hold.

    The readers raise :class:`FormatError` for a file that is missing or that another version wrote.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """The bundle at ``path``.

        Raises:
            UsageError: There is none.
        """
        bundle = cls(path)
        if not bundle.measurement_path.is_file():
            raise UsageError(
                "bundle",
                expected="a folder that casemate build made",
                got="another folder" if path.is_dir() else "a file" if path.exists() else "nothing",
                where=str(path),
                hint="make one with: casemate build DIR -o BUNDLE",
            )
        return bundle

    @property
    def image(self) -> ImageLayout:
        """The OCI image layout."""
        return ImageLayout(self.path / "image")

    @property
    def manifest_path(self) -> Path:
        """The measured manifest: exactly the bytes that MRENCLAVE covers."""
        return self.path / "app.manifest.sgx"

    @property
    def signature_path(self) -> Path:
        """The SIGSTRUCT; there after signing."""
        return self.path / "app.sig"

    @property
    def tcb_path(self) -> Path:
        """Every trusted file and why it is there."""
        return self.path / "tcb.json"

    @property
    def measurement_path(self) -> Path:
        """What the enclave measures to."""
        return self.path / "measurement.json"

    @property
    def reference_values_path(self) -> Path:
        """The in-toto statement for brokers and verifiers."""
        return self.path / "reference-values.json"

    @property
    def sbom_path(self) -> Path:
        """The bill of materials."""
        return self.path / "sbom.cdx.json"

    @property
    def provenance_path(self) -> Path:
        """How the image came about; there after signing."""
        return self.path / "provenance.json"

    @property
    def deployment_path(self) -> Path:
        """What a cluster has to be told."""
        return self.path / "deployment.json"

    def read(self, path: Path) -> bytes:
        """The bytes of one of its files.

        Raises:
            FormatError: It cannot be read.
        """
        return _read(path)

    @property
    def manifest(self) -> bytes:
        """The bytes of the measured manifest."""
        return _read(self.manifest_path)

    @property
    def tcb(self) -> Tcb:
        """Every trusted file and why it is there."""
        return Tcb.parse(_read(self.tcb_path))

    @property
    def measurement(self) -> MeasurementRecord:
        """What the enclave measures to."""
        return MeasurementRecord.parse(_read(self.measurement_path))

    @property
    def reference_values(self) -> bytes:
        """The bytes of the in-toto statement, or of the envelope that holds it."""
        return _read(self.reference_values_path)

    @property
    def sbom(self) -> bytes:
        """The bytes of the bill of materials."""
        return _read(self.sbom_path)

    @property
    def provenance(self) -> bytes | None:
        """The bytes of the provenance, or of the envelope that holds it; ``None`` before signing."""
        return _read(self.provenance_path) if self.provenance_path.exists() else None

    @property
    def deployment(self) -> Deployment:
        """What a cluster has to be told."""
        return Deployment.parse(_read(self.deployment_path))

    @property
    def signature(self) -> bytes | None:
        """The SIGSTRUCT; ``None`` before signing."""
        return _read(self.signature_path) if self.signature_path.exists() else None

    def documents(self) -> BundleDocuments:
        """All documents, each read once."""
        return BundleDocuments(
            manifest=self.manifest,
            measurement=self.measurement,
            tcb=self.tcb,
            reference_values=read_statement(self.reference_values, "reference-values.json"),
            deployment=self.deployment,
            image=self.image.documents(),
        )


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise FormatError(
            f"{path.name} of the bundle",
            expected="a file",
            got=error.strerror,
            where=str(path),
            hint="build the bundle again",
        ) from error


@contextmanager
def new_bundle(path: Path) -> Iterator[Bundle]:
    """A bundle to fill, beside ``path``; it moves there when the block ends without an error.

    A bundle that is there already is replaced then, and not before.

    Raises:
        UsageError: What is at ``path`` is neither a bundle nor an empty folder.
        ToolchainError: The folder cannot be made or moved.
    """
    path = path.absolute()
    _require_replaceable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise ToolchainError("bundle cannot be written", got=error.strerror, where=str(path)) from error
    try:
        inner = draft / "bundle"
        inner.mkdir()
        yield Bundle(inner)
        _require_replaceable(path)
        _move(inner, path, draft / "former")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _require_replaceable(path: Path) -> None:
    is_bundle = Bundle(path).measurement_path.is_file()
    if path.exists() and not (path.is_dir() and (is_bundle or not any(path.iterdir()))):
        raise UsageError(
            "output",
            expected="a new folder, or a bundle to replace",
            got="something else",
            where=str(path),
            hint="name another folder with -o",
        )


def _move(inner: Path, path: Path, former: Path) -> None:
    try:
        if path.exists():
            path.rename(former)
        inner.rename(path)
    except OSError as error:
        if former.exists() and not path.exists():
            former.rename(path)
        raise ToolchainError("bundle cannot be written", got=error.strerror, where=str(path)) from error
