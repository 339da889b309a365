"""The rules for Dockerfiles, in the order of the reference."""

from __future__ import annotations

from typing import Final

from casemate.builder.lint.rule import ERROR, WARNING, Rule, rule

DOCKERFILE_RULES: Final[tuple[Rule, ...]] = (
    rule(
        "docker-syntax",
        ERROR,
        "Docker cannot build it.",
        "Mend the line that is named.",
    ),
    rule(
        "docker-unpinned-base",
        WARNING,
        "A tag names another image tomorrow: the enclave then measures otherwise, or trusts what nobody saw.",
        "Name the image by digest, as in FROM python:3.11-slim-bookworm@sha256:…; docker buildx imagetools "
        "inspect IMAGE tells it, and so does skopeo inspect docker://IMAGE.",
    ),
    rule(
        "docker-secret-arg",
        ERROR,
        "The values of build arguments stay readable in the history of the image.",
        "RUN --mount=type=secret,id=…",
    ),
    rule(
        "docker-secret-env",
        ERROR,
        "Everyone who has the image reads its environment, and GSC copies it into the manifest.",
        "Let a key broker release the secret to the attested enclave.",
    ),
    rule(
        "docker-secret-run",
        ERROR,
        "Commands stay readable in the history of the image.",
        "RUN --mount=type=secret,id=…",
    ),
    rule(
        "docker-secret-file",
        WARNING,
        "Everyone who has the image reads its files, those that a later layer removes included.",
        "RUN --mount=type=secret,id=…, or leave the file out by .dockerignore.",
    ),
    rule(
        "docker-root",
        WARNING,
        "The container runs as root, with more rights on the node than Gramine's loader needs.",
        "Add USER with a number above 0 to the last stage.",
    ),
    rule(
        "docker-shell-entrypoint",
        WARNING,
        "A shell stands between the container and the program: it does not pass on SIGTERM, and inside "
        "an enclave it costs a second one.",
        'Use the JSON form, as in ENTRYPOINT ["/path/program", "argument"].',
    ),
    rule(
        "docker-add-url",
        WARNING,
        "What a URL gives tomorrow is not what was reviewed.",
        "ADD --checksum=sha256:…, or COPY a file of the build context.",
    ),
)
