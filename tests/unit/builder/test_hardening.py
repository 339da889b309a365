"""Settings that nobody signs unasked."""

from __future__ import annotations

from typing import Any

import pytest

from casemate.builder.enclave.hardening import insecure_settings


@pytest.mark.parametrize(
    ("manifest", "shown"),
    [
        ({"sgx": {"debug": True}}, "sgx.debug = true"),
        ({"sgx": {"allowed_files": ["file:/tmp/"]}}, "sgx.allowed_files = …"),
        ({"sgx": {"file_check_policy": "allow_all_but_log"}}, "sgx.file_check_policy = 'allow_all_but_log'"),
        ({"sgx": {"enable_stats": True}}, "sgx.enable_stats = true"),
        ({"sgx": {"vtune_profile": True}}, "sgx.vtune_profile = true"),
        ({"sgx": {"profile": {"enable": "all"}}}, "sgx.profile.enable = 'all'"),
        ({"sgx": {"insecure__rpc_thread_num": 4}}, "sgx.insecure__rpc_thread_num = 4"),
        (
            {"sgx": {"insecure__allow_memfaults_without_exinfo": True}},
            "sgx.insecure__allow_memfaults_without_exinfo = true",
        ),
        ({"loader": {"log_level": "debug"}}, "loader.log_level = 'debug'"),
        ({"loader": {"insecure__use_cmdline_argv": True}}, "loader.insecure__use_cmdline_argv = true"),
        ({"loader": {"insecure__use_host_env": True}}, "loader.insecure__use_host_env = true"),
        ({"loader": {"insecure__disable_aslr": True}}, "loader.insecure__disable_aslr = true"),
        ({"sys": {"insecure__allow_eventfd": True}}, "sys.insecure__allow_eventfd = true"),
        ({"sys": {"experimental__enable_flock": True}}, "sys.experimental__enable_flock = true"),
        ({"sys": {"debug__mock_syscalls": [{"name": "x"}]}}, "sys.debug__mock_syscalls = …"),
        ({"fs": {"insecure__keys": {"default": "00112233"}}}, "fs.insecure__keys = …"),
    ],
    ids=lambda value: value.partition(" ")[0] if isinstance(value, str) else "",
)
def test_each_insecure_setting_is_named_and_no_key_is_shown(manifest: dict[str, Any], shown: str) -> None:
    assert tuple(insecure_settings(manifest).values()) == (shown,)


def test_settings_that_are_off_are_not_insecure() -> None:
    manifest = {
        "sgx": {
            "debug": False,
            "allowed_files": [],
            "file_check_policy": "strict",
            "profile": {"enable": "none"},
            "insecure__rpc_thread_num": 0,
        },
        "loader": {"log_level": "error", "insecure__use_host_env": False, "env": {"debug": "1"}},
        "fs": {"insecure__keys": {}},
    }
    assert not insecure_settings(manifest)


def test_all_of_them_are_listed_sorted() -> None:
    manifest = {"sgx": {"debug": True, "allowed_files": ["x"]}, "loader": {"log_level": "all"}}
    assert tuple(insecure_settings(manifest).values()) == (
        "loader.log_level = 'all'",
        "sgx.allowed_files = …",
        "sgx.debug = true",
    )
