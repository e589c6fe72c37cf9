"""rvh_trace's ring under ThreadSanitizer: no data race between threads that record and export."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from labchannel.cache import cache_folder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
TARGET = "x86_64-unknown-linux-gnu"
# The standard library is not instrumented, which the compiler would refuse to link: only what is
# compiled here is watched, the ring and the crate that it is made of. These of its types then look
# racy, at the end of a thread and where the test runner hears of a test.
NOT_OURS = ("lifecycle::Packet<", "thread::thread::Inner", "scoped::ScopeData", "CompletedTest")


def has_runtime() -> bool:
    """Whether this Rust comes with ThreadSanitizer's runtime."""
    sysroot = subprocess.run(
        ["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return any(Path(sysroot, "lib/rustlib", TARGET, "lib").glob("librustc*_rt.tsan.a"))


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Rust has ThreadSanitizer on Linux and macOS only"
)
def test_no_data_race(tmp_path: Path) -> None:
    if not has_runtime():
        pytest.skip("this Rust comes without ThreadSanitizer's runtime")
    suppressions = tmp_path / "suppressions"
    suppressions.write_text("".join(f"race:{name}\n" for name in NOT_OURS))
    # A sanitizer is an option of the nightly compilers; RUSTC_BOOTSTRAP lets this one have it.
    flags = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer -Cdebuginfo=1"
    environment = os.environ | {
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": flags,
        "TSAN_OPTIONS": f"suppressions={suppressions}",
    }
    # zig, which the toolchain channel links by, does not know how to take the runtime in.
    if machines := shutil.which("cc", path=os.defpath):
        environment["CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"] = machines
    # With a target, build scripts are not instrumented. Without features nothing of C is linked.
    result = subprocess.run(
        [
            *("cargo", "test", "--locked", "--package", "rvh_trace", "--no-default-features"),
            *("--target", TARGET),
            *("--target-dir", str(cache_folder("slow") / "thread-sanitizer")),
            *("--lib", "ring::"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
    assert "1 passed" in result.stdout
