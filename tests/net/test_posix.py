"""What only some systems have."""

import os
import sys

import pytest

from companion.net.posix import MANY_FILES, allow_many_files, keep_freed_memory


def test_freed_memory_is_kept_where_glibc_is():
    glibc = sys.platform == "linux" and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")

    assert keep_freed_memory() is glibc


def test_the_limit_of_open_files_is_raised_and_never_lowered():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
        allow_many_files()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        allow_many_files()

        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == raised
        assert before[1] == resource.RLIM_INFINITY or raised == min(MANY_FILES, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
