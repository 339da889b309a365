"""The text of an exception stays in the enclave, whichever way it goes."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from casemate_attester.discretion import describe, report

#: Begins every program; what follows begins with line 5.
BEGIN = """\
import logging, sys, threading
from casemate_attester.discretion import keep_texts_inside
keep_texts_inside()
"""
WAYS = {
    "the handler of last resort": (
        """
        try:
            raise ValueError("SECRET")
        except ValueError:
            logging.getLogger("app").exception("request failed")
        """,
        "request failed\nValueError at {place}:6\n",
    ),
    "a handler as Flask has it": (
        """
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s in %(module)s: %(message)s"))
        logging.getLogger("app").addHandler(handler)
        try:
            raise ValueError("SECRET")
        except ValueError:
            logging.getLogger("app").error("Exception on %s", "/", exc_info=True)
        """,
        "ERROR in program: Exception on /\nValueError at {place}:9\n",
    ),
    "a log without an exception": (
        """
        logging.getLogger("app").exception("nothing was raised")
        """,
        "nothing was raised\nNoneType: None\n",
    ),
    "a record that cannot be formatted": (
        """
        logging.getLogger("app").error("%d", "SECRET")
        """,
        "",
    ),
    "a thread": (
        """
        def work():
            raise ValueError("SECRET")
        threading.Thread(target=work).start()
        """,
        "casemate: error: not caught in a thread: ValueError at {place}:6\n",
    ),
    "a thread that ends itself": (
        """
        threading.Thread(target=lambda: sys.exit("SECRET")).start()
        """,
        "",
    ),
    "a finaliser": (
        """
        class Resource:
            def __del__(self):
                raise ValueError("SECRET")
        Resource()
        """,
        "casemate: error: not caught: ValueError at {place}:7\n",
    ),
    "a task that nobody waits for": (
        """
        import asyncio, gc
        async def work():
            raise ValueError("SECRET")
        async def main():
            asyncio.get_running_loop().create_task(work())
            await asyncio.sleep(0.01)
            gc.collect()
        asyncio.run(main())
        """,
        "Task exception was never retrieved\nValueError at {place}:7\n",
    ),
    "a callback of the loop": (
        """
        import asyncio
        def work(secret):
            raise ValueError(secret)
        async def main():
            asyncio.get_running_loop().call_soon(work, "SECRET")
            await asyncio.sleep(0.01)
        asyncio.run(main())
        """,
        "Exception in callback work\nValueError at {place}:7\n",
    ),
    "the main thread": (
        """
        raise ValueError("SECRET")
        """,
        "casemate: error: not caught: ValueError at {place}:5\n",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_printed_about_an_exception_is_its_class_and_place(tmp_path: Path, way: str) -> None:
    program, said = WAYS[way]
    place = tmp_path / "program.py"
    place.write_text(BEGIN + textwrap.dedent(program))
    result = subprocess.run([sys.executable, str(place)], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("", said.format(place=place))


def test_what_an_application_raised_stays_with_the_record(tmp_path: Path) -> None:
    """A handler that an application makes, for a log that the host cannot read, sees all of it."""
    program = """
    class Handler(logging.Handler):
        def emit(self, record):
            print(record.exc_info[1], record.args)
    logging.getLogger("app").addHandler(Handler())
    logging.getLogger("app").error("%s", "argument", exc_info=ValueError("whole text"))
    """
    place = tmp_path / "program.py"
    place.write_text(BEGIN + textwrap.dedent(program))
    result = subprocess.run([sys.executable, str(place)], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("whole text ('argument',)\n", "")


def test_the_first_process_of_the_enclave_keeps_texts_inside() -> None:
    program = """
    import runpy, logging
    try:
        runpy.run_module("casemate_attester", run_name="__main__")
    except SystemExit:
        logging.error("afterwards", exc_info=ValueError("SECRET"))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert result.stderr.splitlines()[0].startswith("casemate: error: workload configuration: ")
    assert result.stderr.endswith("ERROR:root:afterwards\nValueError\n")


def description(folder: Path, statement: str) -> str:
    """What is said of an exception of an application's only line."""
    place = folder / "application.py"
    place.write_text(statement)
    try:
        exec(compile(statement, str(place), "exec"), {})  # noqa: S102 - code of this test
    except Exception as error:  # noqa: BLE001 - whatever it raises
        return describe(error, within=description).replace(str(place), "APPLICATION")
    return ""


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "import pathlib; pathlib.Path('/run/secrets/api-key').read_text()",
            "FileNotFoundError for /run/secrets/api-key at APPLICATION:1",
        ),
        ("open('settings/notes.json')", "FileNotFoundError for settings/notes.json at APPLICATION:1"),
        ("open('/')", "IsADirectoryError at APPLICATION:1"),
        ("open('correct horse battery')", "FileNotFoundError at APPLICATION:1"),
        ("open('Zm9vYmFyYmF6')", "FileNotFoundError at APPLICATION:1"),
        ("open('-----BEGIN PRIVATE KEY-----\\nMC4C')", "FileNotFoundError at APPLICATION:1"),
        ("import json; json.loads('{hush}')", "JSONDecodeError at APPLICATION:1"),
    ],
)
def test_the_line_is_the_applications_own_and_the_file_is_named(
    tmp_path: Path, statement: str, said: str
) -> None:
    assert description(tmp_path, statement) == said


def test_an_exception_from_nowhere_has_no_place() -> None:
    assert describe(KeyError("hush")) == "KeyError"


def test_the_place_is_where_it_was_raised_not_who_called() -> None:
    def catch() -> str:
        try:
            int("hush")
        except ValueError as error:
            return describe(error, within=catch)
        return ""

    assert catch() == "ValueError"


@pytest.mark.parametrize("error", [None, SystemExit("hush")])
def test_an_end_that_is_wanted_is_not_reported(
    error: SystemExit | None, capsys: pytest.CaptureFixture[str]
) -> None:
    report("request", error)
    assert capsys.readouterr().err == ""
