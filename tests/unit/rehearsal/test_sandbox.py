from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from casemate.errors import RehearsalError
from casemate.rehearsal.findings import Kind
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"cannot rehearse here: {available()}"),
]


Runner = Callable[..., Any]


def program(source: str) -> str:
    """A program with ``ask``, ``look`` and ``attempt``."""
    return "from asking import *\n" + textwrap.dedent(source)


def test_the_environment_is_exactly_the_manifests(run: Runner) -> None:
    done = run("import os, json; print(json.dumps(dict(os.environ)))", outside={"HOME": "/root"})
    assert done.result == {"LD_LIBRARY_PATH": "/lib/glibc", "COLOUR": "blue"}
    assert done.report.exit_code == 0


def test_the_host_is_not_there(run: Runner) -> None:
    program = """
        import os, json, socket
        print(json.dumps({
            "root": sorted(os.listdir("/")),
            "host": [path for path in ("/root", "/home", "/usr", "/etc", "/var") if os.path.exists(path)],
            "pid": os.getpid(),
            "uid": os.getuid(),
            "name": socket.gethostname(),
            "cwd": os.getcwd(),
            "processes": [name for name in os.listdir("/proc") if name.isdigit()],
            "capabilities": [line for line in open("/proc/self/status") if line.startswith(("Cap", "NoNew"))],
        }))
    """
    result = run(program).result
    assert result["root"] == ["app", "dev", "lib", "lib64", "opt", "proc", "sys", "tmp"]
    assert result["host"] == []
    assert (result["pid"], result["uid"], result["cwd"]) == (1, 0, "/app")
    assert result["name"] == "localhost"
    assert result["processes"] == ["1"]
    values = {line.split()[0]: line.split()[1] for line in result["capabilities"]}
    assert {name: int(value, 16) for name, value in values.items()} == {
        "CapInh:": 0,
        "CapPrm:": 0,
        "CapEff:": 0,
        "CapBnd:": 0,
        "CapAmb:": 0,
        "NoNewPrivs:": 1,
    }


def test_files_have_the_times_and_the_owner_that_gramine_gives_them(run: Runner) -> None:
    program = """
        import os, json
        s = os.stat("/app/main.py")
        print(json.dumps([s.st_mtime, s.st_atime, s.st_ctime, s.st_uid, s.st_gid, s.st_nlink, s.st_blksize]))
    """
    assert run(program).result == [0, 0, 0, 0, 0, 1, 4096]


def test_an_untrusted_file_can_be_seen_and_not_opened(run: Runner, image: Any) -> None:
    image.write("/app/stray.txt", "x", trust=False)
    done = run(program('print(json.dumps([look("/app/stray.txt"), ask("/app/stray.txt")]))'))
    assert done.result == ["done", "EACCES"]
    (finding,) = done.report.findings
    assert (finding.path, finding.kind) == ("/app/stray.txt", Kind.UNTRUSTED)


def test_a_changed_file_can_be_neither_seen_nor_opened_nor_its_folder_listed(run: Runner, image: Any) -> None:
    image.write("/app/data/changed.txt", "as measured")
    (image.rootfs / "enclave/app/data/changed.txt").write_text("as Measured")
    source = """
        print(json.dumps([
            look("/app/data/changed.txt"),
            ask("/app/data/changed.txt"),
            attempt(os.listdir, "/app/data"),
        ]))
    """
    done = run(program(source))
    assert done.result == ["EPERM", "EPERM", "EPERM"]
    (finding,) = done.report.findings
    assert (finding.path, finding.kind) == ("/app/data/changed.txt", Kind.CHANGED)


def test_a_refused_file_is_reported_with_the_line_that_asked(run: Runner, image: Any) -> None:
    image.write("/app/stray.txt", "x", trust=False)
    source = """
        def load(path):
            with open(path) as file:
                return file.read()

        def main():
            try:
                load("/app/stray.txt")
            except OSError:
                pass

        main()
    """
    (finding,) = run(textwrap.dedent(source)).report.findings
    assert str(finding.asked_by) == "/app/main.py:3 load"
    assert [str(frame) for frame in finding.stack] == [
        "/app/main.py:3 load",
        "/app/main.py:8 main",
        "/app/main.py:12 <module>",
    ]
    assert finding.pid == 1


def test_the_line_is_found_in_the_thread_that_asked(run: Runner, image: Any) -> None:
    image.write("/app/stray.txt", "x", trust=False)
    source = """
        import threading, time
        def asking():
            try:
                open("/app/stray.txt")
            except OSError:
                pass
        others = [threading.Thread(target=time.sleep, args=(2,), daemon=True) for _ in range(3)]
        for other in others:
            other.start()
        thread = threading.Thread(target=asking)
        thread.start()
        thread.join()
    """
    (finding,) = run(textwrap.dedent(source)).report.findings
    assert str(finding.asked_by) == "/app/main.py:5 asking"


def test_a_path_that_the_build_left_out_is_reported_when_it_is_missed(run: Runner) -> None:
    done = run(
        program('print(json.dumps([ask("/opt/zone"), ask("/opt/zone"), ask("/opt/unknown")]))'),
        left_out=("/opt/zone",),
    )
    assert done.result == ["ENOENT", "ENOENT", "ENOENT"]
    assert [(finding.path, finding.kind) for finding in done.report.findings] == [("/opt/zone", Kind.MISSING)]


def test_whatever_the_application_misses_in_its_own_folder_is_reported(run: Runner) -> None:
    done = run(program('print(json.dumps([ask("/app/data/table.csv"), ask("/app/__pycache__")]))'))
    assert done.result == ["ENOENT", "ENOENT"]
    assert [(finding.path, str(finding.asked_by)) for finding in done.report.findings] == [
        ("/app/data", "/app/main.py:2 <module>")
    ]


def test_a_folder_at_the_top_that_is_missing_is_reported_and_guesses_are_not(run: Runner) -> None:
    done = run(program('print(json.dumps([ask("/data/shop.db", "w"), ask("/home/me/x"), ask("/.env")]))'))
    assert done.result == ["ENOENT", "ENOENT", "ENOENT"]
    assert [(finding.path, str(finding.asked_by)) for finding in done.report.findings] == [
        ("/data", "/app/main.py:2 <module>")
    ]


def test_a_measured_file_that_the_node_lacks_is_reported_with_its_reason(run: Runner, image: Any) -> None:
    image.write("/opt/table.csv", "a,b").unlink()
    done = run('open("/opt/table.csv")', reasons={"/opt/table.csv": "[closure] include"})
    (finding,) = done.report.findings
    assert (finding.kind, finding.reason) == (Kind.MISSING, "[closure] include")
    with pytest.raises(RehearsalError) as caught:
        done.report.require_success()
    assert caught.value.hint == (
        "/opt/table.csv (missing), asked for by /app/main.py:1 <module>: "
        "it was measured and this image lacks it; use the image of the bundle"
    )


def test_a_missing_module_that_the_attester_names_is_reported(run: Runner) -> None:
    source = """
        import sys
        sys.exit("casemate: error: application: expected a module, got "
                 "ModuleNotFoundError for json.tool at /app/notes.py:5 (notes:app)")
    """
    done = run(textwrap.dedent(source), left_out=("/opt/python/lib/python3/json/tool.py",))
    (finding,) = done.report.findings
    assert (finding.kind, str(finding.asked_by)) == (Kind.MISSING, "/app/notes.py:5 <module>")


def test_the_source_of_a_module_shipped_as_bytecode_is_not_reported(run: Runner, image: Any) -> None:
    image.write("/app/store.pyc", b"bytecode")
    done = run(program('print(json.dumps(ask("/app/store.py")))'), left_out=("/app/store.py",))
    assert done.result == "ENOENT"
    assert done.report.findings == ()


def test_a_missing_module_that_stops_the_application_is_reported(run: Runner) -> None:
    done = run("import json.tool", left_out=("/opt/python/lib/python3/json/tool.py",))
    assert done.report.exit_code == 1
    (finding,) = done.report.findings
    assert (finding.path, str(finding.asked_by)) == (
        "/opt/python/lib/python3/json/tool.py",
        "/app/main.py:1 <module>",
    )


@pytest.mark.parametrize("said", ["casemate: error: request: ", ""])
def test_a_module_of_the_application_that_a_request_misses_is_reported(run: Runner, said: str) -> None:
    line = f"{said}ModuleNotFoundError for plug.a at /app/web.py:7"
    source = f"import sys; print('ERROR in app', {line!r}, sep='\\n', file=sys.stderr); print(1)"
    done = run(source, left_out=("/app/plug/a.py",))
    assert done.report.exit_code == 0
    (finding,) = done.report.findings
    assert (finding.path, str(finding.asked_by)) == ("/app/plug/a.py", "/app/web.py:7 <module>")


def test_a_missing_module_that_an_application_goes_on_without_is_not_reported(run: Runner) -> None:
    source = "import sys; print(\"No module named 'plug.a', doing without\", file=sys.stderr); print(1)"
    assert run(source, left_out=("/app/plug/a.py",)).report.findings == ()


def test_nothing_of_the_image_can_be_written(run: Runner, image: Any) -> None:
    source = """
        print(json.dumps([
            ask("/app/main.py", "r+"),
            ask("/app/main.py", "w"),
            ask("/app/new.txt", "w"),
            attempt(os.truncate, "/app/main.py", 0),
            attempt(os.unlink, "/app/main.py"),
            attempt(os.mkdir, "/app/folder"),
            attempt(os.rename, "/app/main.py", "/app/other.py"),
            attempt(os.symlink, "/app/main.py", "/app/link"),
            attempt(os.utime, "/app/main.py"),
            os.access("/app/main.py", os.W_OK),
        ]))
    """
    before = image.write("/app/main.py", program(source)).read_bytes()
    done = run(program(source))
    assert done.result[:4] == ["EACCES", "EACCES", "EACCES", "EACCES"]
    assert done.result[4:] == ["EACCES", "EACCES", "EACCES", "ENOSYS", "ENOSYS", True]
    assert (image.rootfs / "enclave/app/main.py").read_bytes() == before
    read_only = [finding.path for finding in done.report.findings if finding.kind is Kind.READ_ONLY]
    assert read_only == ["/app/main.py", "/app/new.txt", "/app/folder"]


def test_a_tmpfs_mount_can_be_written_and_is_empty_at_first(run: Runner, image: Any) -> None:
    image.write("/tmp/in-image", "hidden by the mount")
    source = """
        before = os.listdir("/tmp")
        with open("/tmp/note", "w") as file:
            file.write("kept")
        print(json.dumps([before, open("/tmp/note").read(), oct(os.stat("/tmp").st_mode)]))
    """
    assert run(program(source)).result == [[], "kept", "0o40700"]


def test_a_mount_below_a_path_that_the_image_lacks_appears(run: Runner, image: Any) -> None:
    image.manifest["fs"]["mounts"].append({"type": "tmpfs", "path": "/run/secrets/deep"})
    done = run(program('print(json.dumps([os.listdir("/run"), ask("/run/secrets/deep/key", "w")]))'))
    assert done.result == [["secrets"], "done"]


def test_an_encrypted_mount_is_kept_in_memory_and_this_is_said(run: Runner, image: Any) -> None:
    image.manifest["fs"]["mounts"].append(
        {"type": "encrypted", "path": "/var/lib/notes", "uri": "file:/notes", "key_name": "store"}
    )
    done = run(
        program("""
            before = [ask("/var/lib/notes/db", "w"), ask("/var/lib/notes/db"), os.listdir("/var/lib/notes")]
            with open("/dev/attestation/keys/store", "wb") as key:
                key.write(bytes(16))
            print(json.dumps([before, ask("/var/lib/notes/db", "w"), os.listdir("/dev/attestation/keys")]))
        """)
    )
    assert done.result == [
        ["EACCES", "ENOENT", []],
        "done",
        ["_sgx_mrenclave", "_sgx_mrsigner", "store"],
    ]
    assert done.report.notes == (
        "/var/lib/notes was kept in memory; Gramine encrypts it on disk with the key store",
    )


def test_links_of_the_image_are_followed_inside_it_and_seen_as_files(run: Runner, image: Any) -> None:
    image.write("/app/real.txt", "real")
    folder = image.rootfs / "enclave/app"
    (folder / "absolute").symlink_to("/enclave/app/real.txt")
    (folder / "relative").symlink_to("real.txt")
    (folder / "outside").symlink_to("/etc/passwd")
    (folder / "climbing").symlink_to("../../../../../../../../etc/passwd")
    (folder / "loop").symlink_to("loop")
    for name in ("absolute", "relative"):
        image.trusted[f"/enclave/app/{name}"] = image.trusted["/enclave/app/real.txt"]
    source = """
        paths = ["/app/" + name for name in ("absolute", "relative", "outside", "climbing", "loop")]
        print(json.dumps([[ask(path) for path in paths], os.path.islink("/app/relative")]))
    """
    result = run(program(source)).result
    assert result == [["done", "done", "ENOENT", "ENOENT", "ELOOP"], False]


def test_the_devices_are_there(run: Runner) -> None:
    source = """
        import stat
        print(json.dumps([
            sorted(os.listdir("/dev")),
            [stat.S_ISCHR(os.stat("/dev/" + name).st_mode) for name in ("null", "zero", "random", "urandom")],
            len(open("/dev/urandom", "rb").read(16)),
            os.readlink("/dev/stdin"),
            os.path.samefile("/dev/stdin", "/dev/null"),
        ]))
    """
    result = run(program(source)).result
    assert result == [
        ["attestation", "fd", "null", "random", "stderr", "stdin", "stdout", "tty", "urandom", "zero"],
        [True, True, True, True],
        16,
        "/proc/self/fd/0",
        True,
    ]


def test_proc_and_sys_have_what_gramine_has_of_them(run: Runner, image: Any) -> None:
    image.manifest["sys"]["disallow_subprocesses"] = True
    source = """
        os.chdir("/tmp")
        print(json.dumps([
            sorted(os.listdir("/proc")),
            sorted(os.listdir("/proc/self")),
            sorted(os.listdir("/proc/sys/kernel")),
            [os.readlink("/proc/self/" + name) for name in ("cwd", "root", "exe")],
            os.listdir("/proc/self/task"),
            "MemTotal" in open("/proc/meminfo").read(),
            open("/proc/self/cmdline").read().split("\\0")[0] == os.readlink("/proc/self/exe"),
            ask("/proc/self/environ"), ask("/proc/uptime"), ask("/proc/self/maps", "w"),
            sorted(name for name in os.listdir("/sys/devices/system/cpu") if not name.startswith("cpu")),
            os.listdir("/sys/devices"),
            ask("/sys/devices/system/cpu/online"), ask("/sys/devices/system/cpu/cpu0/topology/core_id"),
        ]))
    """
    done = run(program(source))
    assert done.result[:5] == [
        ["1", "cpuinfo", "meminfo", "self", "stat", "sys"],
        ["cmdline", "cwd", "exe", "fd", "maps", "root", "stat", "statm", "status", "task"],
        ["pid_max"],
        ["/tmp", "/", image.python],
        ["1"],
    ]
    assert done.result[5:] == [
        *(True, True, "ENOENT", "ENOENT", "EROFS"),
        ["kernel_max", "offline", "online", "possible", "present"],
        ["system"],
        *("done", "done"),
    ]


def test_passthrough_takes_the_value_from_outside(run: Runner, image: Any) -> None:
    image.manifest["loader"]["env"] |= {"ZONE": {"passthrough": True}, "ABSENT": {"passthrough": True}}
    done = run("import os, json; print(json.dumps(dict(os.environ)))", outside={"ZONE": "eu", "X": "1"})
    assert done.result == {"LD_LIBRARY_PATH": "/lib/glibc", "COLOUR": "blue", "ZONE": "eu"}


def test_limits_are_the_manifests(run: Runner, image: Any) -> None:
    image.manifest["sys"]["fds"] = {"limit": 77}
    source = """
        import resource, json
        names = (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK, resource.RLIMIT_CORE)
        print(json.dumps([resource.getrlimit(name)[0] for name in names]))
    """
    assert run(source).result == [77, 2 << 20, 0]


def test_memory_ends_with_the_enclave_and_the_report_says_so(run: Runner, image: Any) -> None:
    image.manifest["sgx"]["enclave_size"] = "128M"
    done = run("first = bytes(50 << 20); print('first', flush=True); second = bytes(100 << 20)")
    assert (done.report.exit_code, done.stdout) == (1, "first\n")
    assert done.report.notes == (
        "memory ended at 114 MiB of addresses: raise [enclave] size in casemate.toml",
    )


def test_uid_and_gid_are_the_manifests(run: Runner, image: Any) -> None:
    image.manifest["loader"] |= {"uid": 1000, "gid": 1001}
    done = run("import os, json; print(json.dumps([os.getuid(), os.getgid(), os.stat('/app').st_uid]))")
    assert done.result == [1000, 1001, 1000]


def test_an_application_that_fails_is_an_error_that_names_what_it_missed(run: Runner, image: Any) -> None:
    image.write("/app/stray.txt", "x", trust=False)
    report = run("open('/app/stray.txt')").report
    with pytest.raises(RehearsalError) as caught:
        report.require_success()
    assert str(caught.value) == (
        "application in the rehearsal: expected exit code 0, got 1 (requests refused: 1)"
    )
    assert caught.value.hint == (
        "/app/stray.txt (untrusted), asked for by /app/main.py:1 <module>: "
        "add it to [closure] include in casemate.toml and build again"
    )


def test_an_entry_point_that_was_changed_is_refused_by_name(run: Runner, image: Any) -> None:
    program_file = image.rootfs / f"enclave{image.python}"
    content = bytearray(program_file.read_bytes())
    program_file.unlink()
    content[-1] ^= 1
    program_file.write_bytes(content)
    program_file.chmod(0o755)
    with pytest.raises(RehearsalError) as caught:
        run("pass")
    assert str(caught.value) == (
        "entry point: expected a program that can be executed, got Operation not permitted, because "
        f"{image.python} is changed ({image.python})"
    )


def test_a_library_that_the_loader_finds_nowhere_is_reported(run: Runner, image: Any) -> None:
    (image.rootfs / "enclave/lib/glibc/libm.so.6").unlink()
    del image.trusted["/enclave/lib/glibc/libm.so.6"]
    done = run("pass")
    assert done.report.exit_code == 127
    assert [(finding.path, finding.kind) for finding in done.report.findings] == [
        ("/lib/glibc/libm.so.6", Kind.MISSING)
    ]


def test_a_loader_that_was_changed_is_named_by_its_place(run: Runner, image: Any) -> None:
    loader = image.rootfs / "enclave/lib/glibc/ld-linux-x86-64.so.2"
    content = loader.read_bytes()
    loader.unlink()
    loader.write_bytes(content + b"x")
    loader.chmod(0o755)
    with pytest.raises(RehearsalError) as caught:
        run("pass")
    assert str(caught.value) == (
        "entry point: expected a program that can be executed, got Operation not permitted, because "
        f"/lib/glibc/ld-linux-x86-64.so.2 is changed ({image.python})"
    )


def test_a_start_dir_that_does_not_exist_is_refused(run: Runner, image: Any) -> None:
    image.manifest["fs"]["start_dir"] = "/nowhere"
    with pytest.raises(RehearsalError) as caught:
        run("pass")
    assert str(caught.value) == (
        "fs.start_dir: expected a folder of the image, got No such file or directory (/nowhere)"
    )


def test_what_the_import_system_misses_means_nothing(run: Runner, image: Any) -> None:
    image.write("/app/parcel/__init__.py", "import parcel.inner\n")
    image.write("/app/parcel/inner.py", "")
    done = run(
        program("""
            import sys
            sys.path.insert(0, "/app")
            import parcel
            print(json.dumps(parcel.inner.__name__))
        """)
    )
    assert done.result == "parcel.inner"
    assert done.report.findings == ()
