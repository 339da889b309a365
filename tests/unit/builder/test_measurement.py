"""MRENCLAVE: that of Gramine's own signer for every vector, and a reason where there is none."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from casemate.builder.enclave.address_space import AreaKind
from casemate.builder.enclave.measurement import layout_of, measure
from casemate.errors import CasemateError, FormatError, ToolchainError

TESTS = Path(__file__).parents[2]
VECTORS = TESTS / "vectors/measurement"
FOLDERS = sorted(path.parent for path in VECTORS.glob("*/expected.json"))
IMAGES = runpy.run_path(str(TESTS / "elf_images.py"))
elf_image, Load = IMAGES["elf_image"], IMAGES["Load"]
REFERENCE = runpy.run_path(str(TESTS / "reference_measurement.py"))
PAL = (VECTORS / "pal/aligned.so").read_bytes()


def manifest(size: str = "256M", threads: int = 4, *, edmm: bool = False, padding: int = 0) -> bytes:
    return f"""
libos.entrypoint = "/app"
fs.mounts = []
loader.entrypoint = {{ uri = "file:/libsysdb.so", sha256 = "{"00" * 32}" }}
sgx = {{ enclave_size = "{size}", max_threads = {threads}, edmm_enable = {str(edmm).lower()} }}
# {"x" * padding}""".encode()


def refusal_of(manifest_bytes: bytes, image: bytes = PAL, version: str = "1.9") -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        measure(manifest_bytes, image, version)
    return refused.value


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_vector_is_measured_as_gramine_does(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    mrenclave = measure((folder / "app.manifest.sgx").read_bytes(), (folder / expected["pal"]).read_bytes())
    assert mrenclave.hex() == expected["mrenclave"]


def test_every_byte_of_the_manifest_counts() -> None:
    assert measure(manifest(padding=1), PAL) != measure(manifest(padding=2), PAL)


def test_every_byte_of_the_platform_image_that_is_loaded_counts() -> None:
    one, two = elf_image(Load(0x10, 10, 10)), bytearray(elf_image(Load(0x10, 10, 10)))
    two[-1] ^= 1
    assert measure(manifest(), one) != measure(manifest(), bytes(two))


def test_what_the_file_holds_beside_its_segments_does_not_count() -> None:
    image = elf_image(Load(0x10, 10, 10))
    assert measure(manifest(), image) == measure(manifest(), image + b"symbols")


def test_the_heap_is_part_of_the_enclave_unless_memory_is_added_at_run_time() -> None:
    kinds = [area.kind for area in layout_of(manifest(), PAL).areas]
    assert kinds.count(AreaKind.HEAP) == 1
    assert AreaKind.HEAP not in [area.kind for area in layout_of(manifest(edmm=True), PAL).areas]


def test_areas_neither_overlap_nor_leave_the_enclave() -> None:
    layout = layout_of(manifest(threads=7), PAL)
    areas = sorted(layout.areas, key=lambda area: area.address)
    assert [area.end for area in areas[:-1]] == [area.address for area in areas[1:]]
    assert (areas[0].address, areas[-1].end) == (0x10000, layout.size)


def test_a_manifest_that_fills_its_pages_gets_one_more_for_the_nul() -> None:
    short = manifest(padding=4096 - 1 - len(manifest()))
    full = manifest(padding=4096 - len(manifest()))
    assert (len(short), len(full)) == (4095, 4096)
    sizes = [layout_of(data, PAL).areas[0].size for data in (short, full)]
    assert sizes == [4096, 8192]


def test_a_version_whose_constants_are_not_known_is_refused() -> None:
    error = refusal_of(manifest(), version="1.5")
    assert isinstance(error, ToolchainError)
    assert str(error) == "Gramine version: expected 1.6, 1.7, 1.8 or 1.9, got 1.5"
    assert error.hint == "what is measured by the rules of another version is wrong without any error"


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_a_manifest_of_an_older_version_is_measured_by_its_own_rules(version: str) -> None:
    libos = f'{{ uri = "file:/libsysdb.so", sha256 = "{"00" * 32}" }}'
    old = manifest().decode().replace(libos, '"file:/libsysdb.so"')
    trusted = old.replace("sgx = {", f"sgx = {{ trusted_files = [{libos}],").encode()

    assert str(refusal_of(manifest(), version=version)) == (
        "manifest: expected a string, got a table (loader.entrypoint)"
    )
    assert str(refusal_of(old.encode(), version=version)) == (
        "manifest that is not yet complete: expected every default filled in and every trusted file hashed, "
        "got no digest of file:/libsysdb.so"
    )
    assert measure(trusted, PAL, version) == REFERENCE["measure"](trusted, PAL)


def test_an_enclave_that_is_too_small_is_told_how_much_it_needs() -> None:
    error = refusal_of(manifest(size="4M", threads=16))
    assert isinstance(error, FormatError)
    assert str(error) == (
        "enclave size: expected at least 6000640 bytes for 16 threads, manifest and platform image, "
        "got 4194304 (sgx.enclave_size)"
    )
    assert error.hint == "choose a larger power of two, or fewer threads"
    measure(manifest(size="8M", threads=16), PAL)


def test_an_enclave_of_exactly_the_needed_size_is_measured() -> None:
    image = elf_image(Load(0, 10, 10))
    needed = 4096 + 8 * 4096 + 2 * 4096 + 64 * 4096 + 16 * 4096 + 0x10000
    size = 1 << needed.bit_length()
    measure(manifest(size=str(size), threads=1), elf_image(Load(0, 10, size - needed)))
    error = refusal_of(manifest(size=str(size), threads=1), elf_image(Load(0, 10, size - needed + 1)))
    assert str(error).startswith(f"enclave size: expected at least {size + 4096} bytes for 1 threads")
    measure(manifest(size=str(size), threads=1), image)


def test_a_platform_image_whose_fixed_place_is_taken_is_refused() -> None:
    error = refusal_of(manifest(size="4M"), elf_image(Load(0x3F0000, 10, 10)))
    assert str(error) == (
        "place of the platform image in the enclave: expected free addresses between the first pages and the "
        "stacks, got a fixed base of 0x3f0000 in an enclave of 0x400000 bytes"
    )
    assert "0x1000 in" in str(refusal_of(manifest(), elf_image(Load(0x1000, 10, 10))))


def test_an_unexpanded_manifest_is_refused_with_the_command_that_expands_it() -> None:
    error = refusal_of((VECTORS / "defaults/app.manifest").read_bytes())
    assert str(error) == (
        "manifest that is not yet complete: expected every default filled in and every trusted file hashed, "
        "got no sgx.enclave_size and 1 more missing"
    )
    assert error.hint == (
        "expand it first: casemate sign --manifest M --pal P --key URI --output M.sgx --sigfile SIG"
    )


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(
            elf_image(), "platform image: expected segments with bytes to load, got none", id="none"
        ),
        pytest.param(
            elf_image(Load(0, 0, 0)),
            "platform image: expected segments with bytes to load, got an empty one",
            id="empty",
        ),
        pytest.param(
            elf_image(Load(0, 10, 10), Load(0x800, 10, 10)),
            "platform image: expected segments on pages of their own, got a page shared at 0x0",
            id="a shared page",
        ),
    ],
)
def test_a_platform_image_that_cannot_be_loaded_is_refused(image: bytes, message: str) -> None:
    assert str(refusal_of(manifest(), image)) == message
