"""The sandbox's server on a system that lacks something: `python -m tests.data_prep.sandbox.weaker LACKS SOCKET ...`.

LACKS: of `namespaces`, `landlock` and `seccomp` those that are not there, with commas between them.
"""

import sys

from data_prep.sandbox import isolation, server


def missing(*arguments: object, **more: object) -> bytes:
    raise isolation.Unavailable(1, "not in this test")


if __name__ == "__main__":
    lacks = sys.argv.pop(1).split(",")
    if "namespaces" in lacks:
        isolation.enter_namespaces = missing  # type: ignore[assignment]
    if "landlock" in lacks:
        isolation.landlock_version = lambda: 0
    if "seccomp" in lacks:
        isolation.seccomp_filter = missing
    server.main()
