"""What only some systems have."""

import os
import sys

from companion.net.posix import keep_freed_memory


def test_freed_memory_is_kept_where_glibc_is():
    glibc = sys.platform == "linux" and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")

    assert keep_freed_memory() is glibc
