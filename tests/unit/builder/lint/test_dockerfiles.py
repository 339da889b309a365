"""Dockerfiles: how they are read, and every rule with its place."""

from __future__ import annotations

import pytest

from casemate.builder.lint.dockerfile import parse_dockerfile
from casemate.builder.lint.dockerfile_catalogue import DOCKERFILE_RULES
from casemate.builder.lint.dockerfile_rules import lint_dockerfile
from casemate.errors import FormatError

BASE = f"python:3.11@sha256:{'a' * 64}"
GOOD = f"""\
# syntax=docker/dockerfile:1
FROM {BASE} AS build
RUN --mount=type=secret,id=token pip install -r requirements.txt
FROM scratch
COPY --from=build /app /app
USER 65532:65532
ENTRYPOINT ["/app/service"]
CMD ["--port", "8443"]
"""


def found(text: str) -> list[tuple[str, int | None, int | None, str]]:
    return [
        (one.rule, one.line, one.column, one.message) for one in lint_dockerfile(text.encode(), "Dockerfile")
    ]


def stage(*lines: str) -> str:
    """One stage that is good but for ``lines``."""
    return "\n".join([f"FROM {BASE}", *lines, "USER 1000", 'ENTRYPOINT ["/x"]', ""])


def test_a_good_dockerfile_has_no_findings() -> None:
    assert found(GOOD) == []
    assert found(stage()) == []


CASES = [
    ("docker-syntax", stage("BLAH x"), 2, 1, "line: expected an instruction of Docker, got 'BLAH'"),
    (
        "docker-syntax",
        stage("RUN <<EOT", "x"),
        2,
        1,
        "RUN: expected a line 'EOT' that ends the here-document, got the end of the file",
    ),
    ("docker-syntax", "# nothing\n", 1, 1, "Dockerfile: expected FROM, got no such instruction"),
    ("docker-syntax", f"FROM {BASE} a\nUSER 1\n", 1, 1, "FROM: expected IMAGE or IMAGE AS NAME, got 2 words"),
    (
        "docker-unpinned-base",
        "FROM python:3.11\nUSER 1\n",
        1,
        6,
        "FROM: expected an image by digest, got python:3.11",
    ),
    (
        "docker-unpinned-base",
        "ARG V=3.11\nFROM --platform=linux/amd64 python:${V}\nUSER 1\n",
        2,
        29,
        "FROM: expected an image by digest, got python:3.11",
    ),
    (
        "docker-unpinned-base",
        "ARG I\nFROM $I\nUSER 1\n",
        2,
        6,
        "FROM: expected an image by digest, got $I, which a build argument decides",
    ),
    (
        "docker-unpinned-base",
        stage("COPY --from=nginx /a /a"),
        2,
        6,
        "COPY --from: expected an image by digest, got nginx",
    ),
    (
        "docker-unpinned-base",
        stage("RUN --mount=type=bind,from=golang:1,target=/go x"),
        2,
        5,
        "RUN --mount: expected an image by digest, got golang:1",
    ),
    (
        "docker-secret-arg",
        stage("ARG NPM_TOKEN"),
        2,
        5,
        "ARG NPM_TOKEN: expected no secret, got a name that says so",
    ),
    (
        "docker-secret-arg",
        stage("ARG X=https://u:tiger@h/"),
        2,
        5,
        "ARG X: expected no secret, got a value that looks like one",
    ),
    (
        "docker-secret-env",
        stage("ENV A=1 \\", "  # why", "", "  DB_PASSWORD=tiger"),
        5,
        3,
        "ENV DB_PASSWORD: expected no secret, got a name that says so, with a value",
    ),
    (
        "docker-secret-env",
        stage("ENV API_KEY tiger cat"),
        2,
        5,
        "ENV API_KEY: expected no secret, got a name that says so, with a value",
    ),
    (
        "docker-secret-env",
        stage("ONBUILD ENV API_KEY=tiger"),
        2,
        13,
        "ENV API_KEY: expected no secret, got a name that says so, with a value",
    ),
    (
        "docker-secret-run",
        stage("RUN curl https://u:tiger@h/"),
        2,
        10,
        "RUN: expected no secret, got what looks like one",
    ),
    ("docker-secret-file", stage("COPY a id_rsa /root/"), 2, 8, "COPY: expected no secret, got id_rsa"),
    ("docker-root", f"FROM {BASE}\n", 1, 1, "last stage: expected USER with a number above 0, got no USER"),
    (
        "docker-root",
        f"FROM {BASE}\nUSER 1\nUSER root:root\n",
        3,
        1,
        "USER: expected a number above 0, got root:root",
    ),
    ("docker-root", f"FROM {BASE} AS a\nUSER 0\nFROM a\n", 2, 1, "USER: expected a number above 0, got 0"),
    (
        "docker-shell-entrypoint",
        f"FROM {BASE}\nUSER 1\nENTRYPOINT exec x\n",
        3,
        1,
        "ENTRYPOINT: expected a program in the JSON form, got the shell form",
    ),
    (
        "docker-shell-entrypoint",
        f'FROM {BASE}\nUSER 1\nENTRYPOINT ["/bin/bash", "-c", "x"]\n',
        3,
        1,
        "ENTRYPOINT: expected a program in the JSON form, got the shell /bin/bash",
    ),
    (
        "docker-shell-entrypoint",
        f'FROM {BASE}\nUSER 1\nCMD ["/entry.sh"]\n',
        3,
        1,
        "CMD: expected a program in the JSON form, got the script /entry.sh",
    ),
    (
        "docker-add-url",
        stage("ADD https://h/x.tgz /x"),
        2,
        5,
        "ADD: expected a checksum, got a URL without one",
    ),
    (
        "docker-add-url",
        stage("ADD git@github.com:a/b.git#main /x"),
        2,
        5,
        "ADD: expected a checksum, got a URL without one",
    ),
]


@pytest.mark.parametrize(
    ("rule", "text", "line", "column", "message"), CASES, ids=[f"{c[0]}: {c[4]}" for c in CASES]
)
def test_what_breaks_a_rule_is_told_at_its_place(
    rule: str, text: str, line: int, column: int, message: str
) -> None:
    findings = found(text)
    assert (rule, line, column, message) in findings
    assert "tiger" not in f"{findings}"


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES} == {rule.id for rule in DOCKERFILE_RULES}


@pytest.mark.parametrize(
    "line",
    [
        "ADD --checksum=sha256:00 https://h/x.tgz /x",
        f"ADD https://github.com/a/b.git#{'0' * 40} /x",
        "ENV GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D",
        "ENV KEY_FILE=/run/secrets/key",
        "RUN <<EOT\nFROM x\nENV PASSWORD=1\nEOT",
        "RUN <<-'A' <<B\n\t\tA\nB",
        "COPY <<id_rsa /x\nid_rsa",
        "RUN echo a \\\n# not the end\n  && echo b",
        "HEALTHCHECK CMD curl localhost",
        'SHELL ["/bin/bash", "-c"]',
    ],
)
def test_what_is_well_is_left_alone(line: str) -> None:
    assert found(stage(line)) == []


def test_only_the_last_stage_is_judged_for_what_it_runs() -> None:
    text = f"FROM {BASE} AS a\nENTRYPOINT sh\nFROM {BASE}\nUSER 1\n"
    assert found(text) == []


def test_the_last_of_several_entry_points_counts() -> None:
    text = f'FROM {BASE}\nUSER 1\nENTRYPOINT sh\nENTRYPOINT ["/x"]\n'
    assert found(text) == []


def test_a_base_that_says_nonroot_is_believed() -> None:
    assert found(f"FROM gcr.io/distroless/python3:nonroot@sha256:{'a' * 64}\n") == []


def test_another_escape_character_is_obeyed() -> None:
    text = f"# escape=`\nFROM {BASE}\nENV A=C:\\ `\n  TOKEN=x\nUSER 1\n"
    assert [(rule, line) for rule, line, _, _ in found(text)] == [("docker-secret-env", 4)]


def test_words_lose_their_quotation_marks_and_keep_their_places() -> None:
    (instruction,) = parse_dockerfile("ENV A=\"b c\" 'D'=\\e").instructions
    assert [(word.text, word.offset) for word in instruction.words] == [("A=b c", 4), ("D=e", 12)]


def test_the_json_form_is_read() -> None:
    text = 'FROM a\nCMD ["a", "b"]\nCMD [1]\nCMD ["a"\nCMD []\n'
    assert [one.json for one in parse_dockerfile(text).instructions[1:]] == [("a", "b"), None, None, ()]


def test_line_ends_of_windows_are_line_ends() -> None:
    assert found(GOOD.replace("\n", "\r\n")) == []


def test_other_bytes_and_large_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FormatError) as refused:
        lint_dockerfile(b"FROM \xff", "Dockerfile")
    assert str(refused.value) == "Dockerfile: expected UTF-8, got other bytes (Dockerfile, offset 5)"
    monkeypatch.setattr("casemate.builder.lint.dockerfile_rules.MAX_SIZE", 3)
    with pytest.raises(FormatError) as refused:
        lint_dockerfile(b"FROM", "Dockerfile")
    assert str(refused.value) == "Dockerfile: expected at most 3 bytes, got 4 bytes (Dockerfile)"


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (
            "CMD flask run --host=0.0.0.0 --port 8080",
            'CMD ["flask", "run", "--host=0.0.0.0", "--port", "8080"]',
        ),
        ("CMD flask run --port $PORT", 'CMD ["/path/program", "argument"]'),
        ("CMD A=1 flask run", 'CMD ["/path/program", "argument"]'),
        ("CMD a && b", 'CMD ["/path/program", "argument"]'),
        ('CMD ["/bin/sh", "-c", "a"]', 'CMD ["/path/program", "argument"]'),
        ("ENTRYPOINT /app/run", 'ENTRYPOINT ["/app/run"]'),
    ],
)
def test_the_json_form_is_written_down(line: str, form: str) -> None:
    (finding,) = lint_dockerfile(f"FROM {BASE}\n{line}\nUSER 1000\n".encode(), "Dockerfile")
    assert (finding.rule, finding.mend) == ("docker-shell-entrypoint", f"Use the JSON form: {form}")


def test_how_to_find_a_digest_is_told() -> None:
    (finding,) = lint_dockerfile(b"FROM python:3.11\nUSER 1000\n", "Dockerfile")
    assert finding.mend == (
        "Name the image by digest, as in FROM python:3.11-slim-bookworm@sha256:…; docker buildx imagetools "
        "inspect IMAGE tells it, and so does skopeo inspect docker://IMAGE."
    )
