"""The Dockerfile that makes a bundle: what it says, and that our own linter has nothing to say about it."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import uv

from casemate.builder.lint.dockerfile_rules import lint_dockerfile
from casemate.builder.packing.dockerfile import FOLDER, MARK, Recipe, dockerfile, dockerfile_files
from casemate.errors import UsageError

ROOT = Path(__file__).parents[3]
BASE = f"docker.io/library/python:3.11-slim-bookworm@sha256:{'ab' * 32}"
GRAMINE = f"gramineproject/gramine:1.9@sha256:{'cd' * 32}"
WHEELS = {"casemate-1.0-py3-none-any.whl": b"one", "casemate_attester-1.0-py3-none-any.whl": b"two"}
PLAIN = Recipe(name="notes", port=8443, base=None, gramine=None, mrenclave=None, epoch=0, wheels=WHEELS)
WHOLE = replace(PLAIN, base=BASE, gramine=GRAMINE, mrenclave="12" * 32, epoch=7)
TEXT = f"""\
# Written by `casemate render dockerfile`; render it again rather than changing it.
# The build context is the folder of casemate.toml.
#
#   docker build --target bundle --output bundle .     the bundle, which is then signed
#   cp bundle/app.sig . && docker build --target signed -t notes .

FROM {GRAMINE} AS gramine

FROM {BASE} AS builder
# No bytecode beside the interpreter's modules, which stay as they are; authorities are those of the base.
ENV PYTHONDONTWRITEBYTECODE=1 UV_SYSTEM_CERTS=true SOURCE_DATE_EPOCH=7
WORKDIR /casemate
COPY .casemate/ /casemate/wheels/
RUN ["python3", "-m", "venv", "/casemate/venv"]
WORKDIR /casemate/wheels
RUN ["/casemate/venv/bin/python", "-m", "pip", "install", "--require-hashes", "--no-deps", \
"--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check", "-r", "requirements.txt"]
COPY --from=gramine /usr/lib/x86_64-linux-gnu/gramine/ /casemate/gramine/lib/x86_64-linux-gnu/gramine/
COPY --from=gramine /usr/lib/x86_64-linux-gnu/libprotobuf-c.so.1* /casemate/gramine/lib/x86_64-linux-gnu/
COPY --from=gramine /usr/bin/gramine-sgx /casemate/gramine/bin/gramine-sgx
ENV LD_LIBRARY_PATH=/casemate/gramine/lib/x86_64-linux-gnu
COPY . /casemate/application/
RUN ["/casemate/venv/bin/casemate", "build", "/casemate/application", "-o", "/casemate/bundle", \
"--no-cache", "--gramine", "/casemate/gramine", "--expect", "{"12" * 32}"]
RUN ["/casemate/venv/bin/casemate", "unpack", "/casemate/bundle", "-o", "/casemate/image"]

# What `casemate build` writes, to be taken out of the build and signed.
FROM scratch AS bundle
COPY --from=builder /casemate/bundle/ /

# What runs: Gramine's loader and the files of the enclave, and nothing else.
FROM scratch AS image
COPY --from=builder /casemate/image/ /
USER 10001:10001
EXPOSE 8443
LABEL io.casemate.mrenclave="{"12" * 32}" org.opencontainers.image.title="notes"
ENTRYPOINT ["/gramine/loader", "/gramine/libpal.so", "init", "/casemate/app"]

# The same with the signature, which was made outside of this build.
FROM image AS signed
COPY app.sig /casemate/app.sig

# Without a target: what is not signed yet.
FROM image
"""


def test_the_whole_text() -> None:
    assert dockerfile(WHOLE) == TEXT


def test_without_a_base_the_build_asks_for_one_and_for_its_digest() -> None:
    text = dockerfile(PLAIN)
    assert "\nARG BASE\nARG BASE_SHA256\n\nFROM ${BASE}@sha256:${BASE_SHA256} AS builder\n" in text
    assert "gramine" not in text.replace("Gramine's loader", "")
    assert "--expect" not in text
    assert "ENTRYPOINT" not in text


@pytest.mark.parametrize("recipe", [PLAIN, WHOLE], ids=["plain", "whole"])
def test_our_own_linter_finds_nothing(recipe: Recipe) -> None:
    assert lint_dockerfile(dockerfile(recipe).encode(), "Dockerfile") == ()


def test_an_argument_for_the_whole_reference_is_still_found() -> None:
    (finding,) = lint_dockerfile(b"ARG BASE\nFROM ${BASE}\nUSER 1\n", "Dockerfile")
    assert finding.rule == "docker-unpinned-base"
    (finding,) = lint_dockerfile(b"ARG A\nFROM python@sha256:ab${A}\nUSER 1\n", "Dockerfile")
    assert finding.rule == "docker-unpinned-base"


def test_every_file_but_the_wheels_says_where_it_is_from() -> None:
    files = dockerfile_files(PLAIN)
    assert sorted(files) == [
        ".casemate/casemate-1.0-py3-none-any.whl",
        ".casemate/casemate_attester-1.0-py3-none-any.whl",
        ".casemate/requirements.txt",
        ".dockerignore",
        "Dockerfile",
    ]
    written = [data for name, data in files.items() if not name.endswith(".whl")]
    assert all(data.startswith(MARK.encode()) for data in written)


def test_everything_is_installed_by_hash() -> None:
    text = dockerfile_files(PLAIN)[f"{FOLDER}/requirements.txt"].decode()
    lines = text.replace("\\\n", " ").splitlines()
    assert all("--hash=sha256:" in line for line in lines if not line.startswith("#"))
    digest = hashlib.sha256(b"one").hexdigest()
    assert lines[1] == f"./casemate-1.0-py3-none-any.whl --hash=sha256:{digest}"


def test_what_is_installed_is_what_the_lock_says() -> None:
    text = (ROOT / "src/casemate/builder/toolchain_requirements.txt").read_text()
    command = next(line for line in text.splitlines() if line.startswith("# Made by: uv "))
    arguments = command.removeprefix("# Made by: uv ").split()
    done = subprocess.run(
        [uv.find_uv_bin(), "--offline", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "".join(line for line in text.splitlines(keepends=True) if line[0] != "#") == done.stdout


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (
            {"base": "python:3.11"},
            "image: expected its digest: NAME[:TAG]@sha256:…, got python:3.11 (--base)",
            "skopeo inspect --format '{{.Digest}}' docker://python:3.11 tells it",
        ),
        (
            {"gramine": f"gramine@sha256:{'AB' * 32}"},
            f"image: expected its digest: NAME[:TAG]@sha256:…, got gramine@sha256:{'AB' * 32} (--gramine)",
            "skopeo inspect --format '{{.Digest}}' docker://gramine tells it",
        ),
        (
            {"base": f"a\nRUN x@sha256:{'ab' * 32}"},
            f"image: expected its digest: NAME[:TAG]@sha256:…, got a\nRUN x@sha256:{'ab' * 32} (--base)",
            "skopeo inspect --format '{{.Digest}}' docker://a\nRUN x tells it",
        ),
        (
            {"wheels": {}},
            "wheels: expected one of casemate and one of casemate-attester, got none (--wheels)",
            "in the sources of Casemate: uv build --all-packages --wheel -o wheels",
        ),
        (
            {"wheels": {**WHEELS, "casemate-2.0-py3-none-any.whl": b""}},
            (
                "wheels: expected one of casemate and one of casemate-attester, got "
                "casemate-1.0-py3-none-any.whl, casemate-2.0-py3-none-any.whl, "
                "casemate_attester-1.0-py3-none-any.whl (--wheels)"
            ),
            "in the sources of Casemate: uv build --all-packages --wheel -o wheels",
        ),
    ],
    ids=["tag", "capitals", "line", "no wheels", "two versions"],
)
def test_what_is_not_pinned_is_refused(change: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        dockerfile_files(replace(PLAIN, **change))  # type: ignore[arg-type]  # names of its own fields
    assert (str(refused.value), refused.value.hint) == (message, hint)


def test_what_is_hidden_and_what_is_secret_is_not_sent_to_the_build() -> None:
    lines = dockerfile_files(PLAIN)[".dockerignore"].decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "**/.*",
        "!.casemate",
        "**/__pycache__",
        "**/node_modules",
        "**/image/blobs/sha256",
        "**/*.key",
        "**/*.p12",
        "**/*.pfx",
        "**/*key.pem",
    ]
