"""System calls of an application in the sandbox: what Gramine 1.9 answers, asked through the kernel."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from casemate.errors import RehearsalError
from casemate.rehearsal.advice import advice
from casemate.rehearsal.findings import Kind
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"cannot rehearse here: {available()}"),
]

Runner = Callable[..., Any]
#: ``call(number, …)`` gives ``"done"`` or the name of the error, whatever the C library would have done.
_CALL = """
    import ctypes, errno, json, os, signal, socket, threading, time
    from asking import attempt
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long

    def call(number, *arguments):
        words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
        words += [ctypes.c_long(0)] * (6 - len(words))
        if libc.syscall(ctypes.c_long(number), *words) == -1:
            return errno.errorcode[ctypes.get_errno()]
        return "done"

    def socket_of(*arguments):
        return attempt(lambda: socket.socket(*arguments).close())
"""


def asked(run: Runner, program: str, **changes: Any) -> Any:
    """What a program printed."""
    done = run(textwrap.dedent(_CALL) + textwrap.dedent(program), **changes)
    assert done.report.exit_code == 0, done.stderr
    return done.result


def test_calls_that_the_libos_lacks_are_not_implemented(run: Runner) -> None:
    result = asked(
        run,
        """
        names = {"utimensat": 280, "utimes": 235, "symlink": 88, "link": 86, "memfd_create": 319,
                 "inotify_init1": 294, "signalfd4": 289, "timerfd_create": 283, "semget": 64,
                 "shmget": 29, "getrusage": 98, "preadv": 295, "clone3": 435, "statx": 332,
                 "copy_file_range": 326, "io_uring_setup": 425, "unshare": 272, "mount": 165,
                 "between the tables": 400, "after the last": 500, "x32": 0x40000000}
        print(json.dumps({name: call(number, -1, -1, -1) for name, number in names.items()}))
        """,
    )
    assert set(result.values()) == {"ENOSYS"}


def test_a_call_by_the_32_bit_way_is_not_implemented(run: Runner) -> None:
    result = asked(
        run,
        r"""
        import mmap
        # getpid by int 0x80: mov eax, 20; int 0x80; ret
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        print(json.dumps(errno.errorcode[-ctypes.CFUNCTYPE(ctypes.c_int)(address)()]))
        """,
    )
    assert result == "ENOSYS"


def test_times_cannot_be_set_on_a_tmpfs_either(run: Runner) -> None:
    result = asked(
        run,
        """
        open("/tmp/note", "w").close()
        print(json.dumps([attempt(os.utime, "/tmp/note"), attempt(os.symlink, "/tmp/note", "/tmp/link")]))
        """,
    )
    assert result == ["ENOSYS", "ENOSYS"]


def test_the_report_names_the_call_and_the_line_that_made_it(run: Runner) -> None:
    done = run(
        textwrap.dedent(
            """
            import os
            def copy():
                os.utime("/tmp/note")
            open("/tmp/note", "w").close()
            copy()
            """
        )
    )
    (finding,) = done.report.findings
    assert (finding.path, finding.kind, finding.answer) == ("utimensat", Kind.SYSTEM_CALL, "ENOSYS")
    assert str(finding.asked_by) == "/app/main.py:4 copy"
    with pytest.raises(RehearsalError) as caught:
        done.report.require_success()
    assert caught.value.hint == (
        "utimensat (system-call), asked for by /app/main.py:4 copy: "
        "Gramine cannot set times of files; copy with shutil.copyfile, which does not try"
    )


def test_what_programs_do_without_is_answered_and_not_reported(run: Runner) -> None:
    done = run(
        textwrap.dedent(_CALL)
        + textwrap.dedent(
            """
            import mmap
            threading.Thread(target=print).start()  # clone3, rseq
            call(332), call(25), call(157, 15)
            print(json.dumps(socket_of(socket.AF_NETLINK, socket.SOCK_RAW)))
            """
        )
    )
    assert done.stdout.split() == ['"EAFNOSUPPORT"']
    assert done.report.findings == ()


def test_sockets_are_unix_streams_and_ip(run: Runner) -> None:
    result = asked(
        run,
        """
        print(json.dumps([
            socket_of(socket.AF_INET), socket_of(socket.AF_INET6, socket.SOCK_DGRAM),
            socket_of(socket.AF_UNIX),
            socket_of(socket.AF_UNIX, socket.SOCK_DGRAM),
            socket_of(socket.AF_UNIX, socket.SOCK_SEQPACKET),
            socket_of(socket.AF_INET, socket.SOCK_RAW, 1),
            socket_of(socket.AF_PACKET, socket.SOCK_RAW),
            attempt(socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM),
        ]))
        """,
    )
    assert result == [
        "done",
        "done",
        "done",
        "EPROTONOSUPPORT",
        "EPROTONOSUPPORT",
        "EPROTONOSUPPORT",
        "EAFNOSUPPORT",
        "EPROTONOSUPPORT",
    ]


def test_socket_options_and_flags_are_the_few_that_there_are(run: Runner) -> None:
    result = asked(
        run,
        """
        one = socket.socket()
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
        served.send(b"0123456789")
        print(json.dumps([
            attempt(one.setsockopt, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
            attempt(one.setsockopt, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            attempt(one.setsockopt, socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1),
            attempt(one.getsockopt, socket.IPPROTO_TCP, socket.TCP_INFO),
            attempt(one.setsockopt, socket.SOL_SOCKET, socket.SO_TYPE, 1),
            attempt(client.recv, 4, socket.MSG_PEEK),
            attempt(client.recv, 4, socket.MSG_WAITALL),
            attempt(client.send, b"x", socket.MSG_OOB),
        ]))
        """,
    )
    assert result == [
        "done",
        "done",
        "ENOPROTOOPT",
        "ENOPROTOOPT",
        "EPERM",
        "done",
        "ENOTSUP",
        "ENOTSUP",
    ]


def test_a_named_unix_socket_is_no_file_and_keeps_its_name(run: Runner) -> None:
    result = asked(
        run,
        """
        listener, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        listener.bind("/app/no-such-folder/server.sock")
        listener.listen()
        client.connect("/app/no-such-folder/server.sock")
        served, _ = listener.accept()
        served.send(b"hello")
        print(json.dumps([
            client.recv(10).decode(),
            os.path.exists("/app/no-such-folder/server.sock"),
            listener.getsockname(), client.getpeername(), served.getsockname(),
            attempt(os.unlink, "/app/no-such-folder/server.sock"),
            attempt(socket.socket(socket.AF_UNIX).connect, "/tmp/nobody"),
            attempt(socket.socket(socket.AF_UNIX).bind, "/app/no-such-folder/server.sock"),
            attempt(socket.socket(socket.AF_UNIX).listen),
            attempt(socket.socket().listen),
        ]))
        """,
    )
    name = "/app/no-such-folder/server.sock"
    assert result == [
        "hello", False, name, name, name, "ENOENT", "ENOENT", "EADDRINUSE", "EINVAL", "EINVAL",
    ]  # fmt: skip


def test_a_unix_socket_of_one_rehearsal_is_unknown_in_the_next(run: Runner) -> None:
    program = """
        one = socket.socket(socket.AF_UNIX)
        answer = attempt(one.connect, "\\0name")
        two = socket.socket(socket.AF_UNIX)
        two.bind("\\0name")
        two.listen()
        print(json.dumps([answer, attempt(one.connect, "\\0name")]))
    """
    assert asked(run, program) == asked(run, program) == ["ENOENT", "done"]


def test_files_know_locks_of_ranges_and_no_more(run: Runner) -> None:
    result = asked(
        run,
        """
        import mmap
        file = os.open("/tmp/note", os.O_CREAT | os.O_RDWR)
        lock, keep_size = 73, 1
        print(json.dumps([
            call(lock, file, 2),                 # flock: LOCK_EX
            call(72, file, 1033, 0),             # fcntl: F_ADD_SEALS
            call(285, file, keep_size, 0, 100),  # fallocate
            call(285, file, 0, 0, 100),
            call(8, file, 0, 4),                 # lseek: SEEK_HOLE
            call(16, file, 0x1234),              # ioctl
            attempt(os.open, "/tmp", os.O_TMPFILE | os.O_RDWR),
            attempt(os.mknod, "/tmp/device", 0o20600, 1),
            attempt(os.mkfifo, "/tmp/fifo"),
            attempt(os.chown, "/tmp/note", 7, 8),
            attempt(os.chown, "/app/main.py", 7, 8),
            attempt(os.setuid, 7),
            os.listxattr("/tmp/note"),
            attempt(os.getxattr, "/tmp/note", "user.x"),
        ]))
        """,
    )
    assert result == [
        "ENOSYS", "EINVAL", "ENOSYS", "done", "EINVAL", "ENOTTY", "EISDIR", "EINVAL", "done",
        "done", "done", "done", [], "ENODATA",
    ]  # fmt: skip


def test_flock_is_there_when_the_manifest_asks_for_it(run: Runner, image: Any) -> None:
    image.manifest["sys"]["experimental__enable_flock"] = True
    program = 'file = os.open("/tmp/note", os.O_CREAT | os.O_RDWR); print(json.dumps(call(73, file, 2)))'
    assert asked(run, program) == "done"


def test_a_folder_on_a_tmpfs_cannot_be_renamed(run: Runner) -> None:
    result = asked(
        run,
        """
        os.mkdir("/tmp/folder")
        open("/tmp/file", "w").close()
        os.chdir("/tmp")
        print(json.dumps([
            attempt(os.rename, "/tmp/folder", "/tmp/other"),
            attempt(os.rename, "folder", "other"),
            attempt(os.rename, "/tmp/file", "/tmp/renamed"),
            attempt(os.rename, "renamed", "/tmp/again"),
            attempt(os.rename, "/tmp/nothing", "/tmp/other"),
        ]))
        """,
    )
    assert result == ["ENOSYS", "ENOSYS", "done", "done", "ENOENT"]


def test_memory_that_gramine_cannot_give_is_refused(run: Runner) -> None:
    result = asked(
        run,
        """
        import mmap
        memory = mmap.mmap(-1, 4096)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        print(json.dumps([
            call(28, address, 4096, 4),    # madvise: DONTNEED
            call(28, address, 4096, 10),   # DONTFORK
            call(28, address, 4096, 21),   # PAGEOUT
            call(26, address, 4096, 2),    # msync: INVALIDATE
            call(10, address, 4096, 9),    # mprotect: READ | SEM
            call(25, address, 4096, 8192, 1),
            call(151, 3),                  # mlockall
        ]))
        """,
    )
    assert result == ["done", "ENOSYS", "EINVAL", "ENOSYS", "ENOTSUP", "ENOSYS", "done"]


def test_a_new_process_is_refused_when_the_manifest_says_so(run: Runner, image: Any) -> None:
    image.manifest["sys"]["disallow_subprocesses"] = True
    program = """
        def fork():
            if os.fork() == 0:
                os._exit(0)
        print(json.dumps([
            attempt(fork), call(57), call(58),
            attempt(os.posix_spawn, "/app/main.py", ["x"], {}),
        ]))
    """
    done = run(textwrap.dedent(_CALL) + textwrap.dedent(program))
    assert done.result == ["EAGAIN", "EAGAIN", "EAGAIN", "EAGAIN"]
    (finding,) = done.report.findings
    assert (finding.path, finding.answer) == ("a new process", "EAGAIN")
    assert done.report.remedy(finding) == (
        "the manifest allows one process (sys.disallow_subprocesses); "
        "do it in a thread, or in another service"
    )


def test_processes_can_be_made_when_the_manifest_allows_it(run: Runner) -> None:
    result = asked(
        run,
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, str(os.getppid()).encode())
            os._exit(3)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([status, os.read(reading, 10).decode(), call(56, 0x20000000 | 17)]))
        """,
    )
    assert result == [3, "1", "EINVAL"]


@pytest.mark.parametrize(
    ("path", "answer"),
    [("/app/stray", "EACCES"), ("/app/nothing", "ENOENT"), ("/app", "EACCES"), ("/app/main.py", "EACCES")],
)
def test_what_is_not_trusted_or_no_program_cannot_be_executed(
    run: Runner, image: Any, path: str, answer: str
) -> None:
    image.write("/app/stray", "#!/bin/sh\n", trust=False).chmod(0o755)
    assert asked(run, f"print(json.dumps(attempt(os.execv, {path!r}, ['x'])))") == answer


def test_threads_end_where_the_enclave_has_no_room(run: Runner, image: Any) -> None:
    image.manifest["sgx"]["max_threads"] = 6  # the LibOS has two, this program the first of the others
    program = """
        stop, made = threading.Event(), []
        try:
            while len(made) < 20:
                made.append(threading.Thread(target=stop.wait))
                made[-1].start()
        except RuntimeError as refusal:
            print(json.dumps([len(made) - 1, str(refusal)]))
        stop.set()
        for thread in made[:-1]:
            thread.join()
        time.sleep(0.2)  # a thread that was joined is about to end
        last = threading.Thread(target=lambda: None)
        last.start()
        last.join()
    """
    done = run(textwrap.dedent(_CALL) + textwrap.dedent(program))
    assert done.result == [3, "can't start new thread"]
    assert done.report.exit_code == 0
    (finding,) = done.report.findings
    assert finding.path == "more than 4 threads at once"
    assert str(finding.asked_by).startswith("/app/main.py:")


def test_threads_have_no_end_where_the_enclave_can_grow(run: Runner, image: Any) -> None:
    image.manifest["sgx"] |= {"edmm_enable": True, "max_threads": 4, "enclave_size": "1G"}
    program = """
        stop = threading.Event()
        made = [threading.Thread(target=stop.wait) for _ in range(10)]
        for thread in made:
            thread.start()
        stop.set()
        print(json.dumps(len(made)))
    """
    assert asked(run, program) == 10


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("os.abort()", 134),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(0, signal.SIGTERM)", 143),
        ("signal.signal(signal.SIGINT, signal.SIG_DFL); signal.raise_signal(signal.SIGINT)", 130),
        ("signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)", 138),
        ("ctypes.string_at(0)", 139),
    ],
)
def test_a_signal_that_the_application_sends_itself_ends_it(run: Runner, line: str, code: int) -> None:
    done = run(textwrap.dedent(_CALL) + line + "\ntime.sleep(5)\nprint('alive')\n")
    assert (done.report.exit_code, done.stdout) == (code, "")


def test_a_signal_that_is_handled_blocked_or_harmless_does_not(run: Runner) -> None:
    result = asked(
        run,
        """
        seen = []
        signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        me = os.getpid()
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD, signal.SIGTSTP, 0):
            os.kill(me, number)
        os.killpg(os.getpgid(0), signal.SIGUSR1)
        print(json.dumps([seen, sorted(signal.sigpending()), attempt(os.killpg, 99, signal.SIGTERM)]))
        """,
    )
    assert result == [[10, 10], [12], "ENOSYS"]


def test_advice_that_is_not_known_is_what_gramine_answers() -> None:
    assert advice("keyctl", "ENOSYS") == (
        "Gramine answers it with ENOSYS; the application has to do without it"
    )
    assert advice("more than 4 threads at once", "ENOMEM").startswith("raise [enclave] threads")
