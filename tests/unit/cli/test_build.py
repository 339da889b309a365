"""``casemate build`` and ``casemate explain`` at their edges; whole builds are scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest

from casemate.cli.main import run


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        pytest.param(
            ["build", "FOLDER", "-o", "FOLDER/b", "--from", "podman:x"],
            "error: image: expected oci:DIR[:TAG], docker-archive:FILE[:REF] or docker://REF@sha256:DIGEST, "
            "got podman:x\n"
            "hint: one that docker or podman keeps: docker save NAME -o FILE, then docker-archive:FILE\n",
            2,
            id="another source",
        ),
        pytest.param(
            ["build", "FOLDER", "-o", "FOLDER/b", "--from", "oci:FOLDER/image"],
            "error: image: expected a folder with an OCI layout, got nothing there (oci:FOLDER/image)\n",
            2,
            id="no image",
        ),
        pytest.param(
            ["build", "FOLDER", "-o", "FOLDER/b", "--from", "oci:x", "--python", "/bin/sh"],
            "error: --python: expected only beside --from host, got oci:x\n"
            "hint: an image has its own interpreter\n",
            2,
            id="an interpreter for an image",
        ),
        pytest.param(
            ["build", "FOLDER", "-o", "FOLDER/b", "--gsc-manifest", "/bin/sh"],
            "error: --gsc-manifest: expected only beside --from IMAGE, got --from host\n",
            2,
            id="a manifest for GSC without an image",
        ),
        pytest.param(
            ["init", "FOLDER/none"],
            "error: DIRECTORY: expected a folder, got none (FOLDER/none)\n",
            2,
            id="nothing to look at",
        ),
        pytest.param(
            ["build", "FOLDER", "-o", "FOLDER/b", "--gramine", "FOLDER"],
            "error: Gramine: expected lib/x86_64-linux-gnu/gramine/sgx/libpal.so below the prefix, got none"
            " (FOLDER)\n"
            "hint: install the package gramine, or name the prefix that was given to meson\n",
            1,
            id="no gramine",
        ),
        pytest.param(
            ["explain", "FOLDER", "notes"],
            "error: bundle: expected a folder that casemate build made, got another folder (FOLDER)\n"
            "hint: make one with: casemate build DIR -o BUNDLE\n",
            2,
            id="no bundle",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, code: int
) -> None:
    assert run([argument.replace("FOLDER", str(tmp_path)) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert captured.err == message.replace("FOLDER", str(tmp_path))
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_casemate_toml_is_told_about_init(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["build", str(tmp_path), "-o", str(tmp_path / "b")]) == 1
    assert capsys.readouterr().err.endswith(
        f"error: casemate.toml: expected a file, got No such file or directory ({tmp_path}/casemate.toml)\n"
        f"hint: make one with: casemate init {tmp_path}\n"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'source = "/srv/app"\n',
            (
                'source: expected a path inside the folder of casemate.toml, got "/srv/app", a path of an '
                "image (casemate.toml: app.source)"
            ),
        ),
        (
            '[closure]\ninclude = ["/srv/data/**"]\n',
            (
                'include: expected a path inside the folder of casemate.toml, got "/srv/data/**", a path of '
                "an image (casemate.toml: closure.include)"
            ),
        ),
    ],
    ids=["source", "include"],
)
def test_paths_of_an_image_mean_nothing_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    (tmp_path / "casemate.toml").write_text(f'[app]\nname = "n"\nserve = "n:app"\nrequirements = ""\n{line}')
    assert run(["build", str(tmp_path), "-o", str(tmp_path / "b")]) == 1
    assert capsys.readouterr().err == (
        f"error: {message}\n"
        "hint: name the image: casemate build --from oci:DIR, docker-archive:FILE or docker://REF\n"
    )


def test_a_secret_in_the_environment_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "casemate.toml").write_text(
        '[app]\nname = "n"\nserve = "n:app"\nrequirements = ""\n[env]\nDB_PASSWORD = "hunter2"\n'
    )
    (tmp_path / "n.py").write_text("def app(environ, start_response):\n    pass\n")
    assert run(["preflight", str(tmp_path)]) == 0

    captured = capsys.readouterr()
    assert captured.out == (
        "casemate.toml: env.DB_PASSWORD: warning[secret-in-env]: DB_PASSWORD\n"
        "    the variable looks like a secret, and everyone who has the image can read its value in the "
        "manifest\n"
        "    deliver it by [secrets]\n"
    )
    assert "hunter2" not in captured.err


def test_a_source_that_is_a_link_out_of_the_application_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outside").mkdir()
    application = tmp_path / "app"
    application.mkdir()
    (application / "src").symlink_to("../outside")
    (application / "casemate.toml").write_text(
        '[app]\nname = "n"\nserve = "n:app"\nrequirements = ""\nsource = "src"\n'
    )
    assert run(["build", str(application), "-o", str(tmp_path / "b")]) == 1
    assert capsys.readouterr().err.endswith(
        "error: source: expected a folder inside that of casemate.toml, "
        f"got a link to {tmp_path}/outside (casemate.toml: app.source)\n"
        "hint: build where the application's files are\n"
    )
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_the_result_is_whole_lines_and_a_signature_that_goes_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    application, bundle = tmp_path / "app", tmp_path / ("long-name" * 12)
    application.mkdir()
    (application / "job.py").write_text("print(1)\n")
    (application / "casemate.toml").write_text(
        '[app]\nname = "job"\ncommand = ["python", "job.py"]\nrequirements = ""\n'
    )
    assert run(["build", str(application), "-o", str(bundle)]) == 0
    capsys.readouterr()
    (bundle / "app.sig").touch()
    assert run(["build", str(application), "-o", str(bundle)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"bundle         {bundle}"
    assert [line.split("  ")[0] for line in lines] == [
        "bundle",
        "trusted",
        "instead of",
        "MRENCLAVE",
        "measured with",
        "image",
    ]
    assert len(lines[-1]) == len("measured with  sha256:") + 64
    assert all(line == line.rstrip() for line in lines)
    assert err.endswith(
        f"The signature went with the former bundle; sign again: casemate sign {bundle} --key URI\n"
    )
