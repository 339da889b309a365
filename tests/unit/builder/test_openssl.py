"""What OpenSSL opens by the paths that are built into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.image_files import library

from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.native.openssl import openssl_files

CRYPTO = "/lib/native/libcrypto.so.3"
SSL = "/usr/lib/ssl"
MODULES = "/usr/lib/ossl-modules"
_FOLDERS = f'\0OPENSSLDIR: "{SSL}"\0MODULESDIR: "{MODULES}"\0'.encode()


class Below:
    """The files of a build host, below a folder."""

    def __init__(self, root: Path, files: dict[str, str]) -> None:
        self.root = root
        for path, text in files.items():
            self.file(path).parent.mkdir(parents=True, exist_ok=True)
            self.file(path).write_text(text)

    def path(self, file: Path) -> str:
        return f"/{file.relative_to(self.root)}"

    def file(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def _image(tmp_path: Path, **files: bytes) -> list[ImageFile]:
    image = []
    for number, (name, data) in enumerate(files.items()):
        file = tmp_path / f"file{number}"
        file.write_bytes(data)
        path = CRYPTO if name == "crypto" else f"/opt/python/lib/{name}.so"
        reason = Reason(rule=Rule.NEEDED_LIBRARY, of=None, detail="x")
        image.append(ImageFile(path=path, content=file, reason=reason))
    return image


def test_the_configuration_is_taken_from_the_folder_that_the_library_names(tmp_path: Path) -> None:
    host = Below(tmp_path / "host", {f"{SSL}/openssl.cnf": "[default]", f"{MODULES}/legacy.so": ""})
    image = _image(tmp_path, crypto=library() + _FOLDERS)
    (file,) = openssl_files(image, host)
    assert file.path == f"{SSL}/openssl.cnf"
    assert file.content == host.file(file.path)
    detail = "libcrypto.so.3 reads its configuration there (OPENSSLDIR)"
    assert file.reason == Reason(rule=Rule.SYSTEM_FILE, of=CRYPTO, detail=detail)
    assert openssl_files([*image, file], host) == ()


def test_a_host_without_configuration_gives_none(tmp_path: Path) -> None:
    assert openssl_files(_image(tmp_path, crypto=library() + _FOLDERS), Below(tmp_path / "host", {})) == ()


def test_the_legacy_provider_is_taken_when_a_library_loads_it(tmp_path: Path) -> None:
    host = Below(tmp_path / "host", {f"{MODULES}/legacy.so": ""})
    loads = library(needed=("libcrypto.so.3",)) + b"\0OSSL_PROVIDER_load\0legacy\0"
    other = library() + b"\0OSSL_PROVIDER_load\0legacy\0"
    image = _image(tmp_path, crypto=library() + _FOLDERS, other=other, rust=loads)
    (file,) = openssl_files(image, host)
    assert file.path == f"{MODULES}/legacy.so"
    detail = "loads the provider legacy (MODULESDIR)"
    assert file.reason == Reason(rule=Rule.NAMED_LIBRARY, of="/opt/python/lib/rust.so", detail=detail)
    assert openssl_files(image[:2], host) == ()


def test_providers_that_the_configuration_activates_are_taken(tmp_path: Path) -> None:
    text = "[provider_sect]\ndefault = default_sect\nlegacy = legacy_sect\n# fips = fips_sect\n"
    host = Below(
        tmp_path / "host", {f"{SSL}/openssl.cnf": text, f"{MODULES}/legacy.so": "", f"{MODULES}/fips.so": ""}
    )
    files = openssl_files(_image(tmp_path, crypto=library() + _FOLDERS), host)
    assert [file.path for file in files] == [f"{MODULES}/legacy.so", f"{SSL}/openssl.cnf"]


@pytest.mark.parametrize("folder", ["/usr/../etc", "relative", "/a b", "/"])
def test_folders_that_are_no_plain_paths_are_passed_over(tmp_path: Path, folder: str) -> None:
    host = Below(tmp_path / "host", {"/etc/openssl.cnf": "", "/a b/openssl.cnf": "", "/openssl.cnf": ""})
    data = library() + f'OPENSSLDIR: "{folder}"\0'.encode()
    assert openssl_files(_image(tmp_path, crypto=data), host) == ()
