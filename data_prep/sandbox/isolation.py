"""What keeps a program inside: namespaces, seccomp, Landlock, resource limits. Runs in the fork server, Linux only.

The server enters namespaces of its own once (`enter_namespaces`), and each program, forked from it, gives up what is
left before it runs (`confine`). Written against the kernel's interfaces, since Python 3.11 has none of them:
https://man7.org/linux/man-pages/man7/namespaces.7.html, https://docs.kernel.org/userspace-api/seccomp_filter.html,
https://docs.kernel.org/userspace-api/landlock.html. bubblewrap uses the same kernel facilities and need not be there.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from contextlib import suppress
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# clone(2), mount(2), prctl(2)
NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, BIND, REC, PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
DETACH = 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
# Numbers that are the same on every architecture.
MOUNT_SETATTR, CLOSE_RANGE = 442, 436
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
NOBODY = 65534
UNUSED_USERS = 0x70000000  # and 2^28 ids from there on: https://systemd.io/UIDS-GIDS
LANDLOCK_WITH_TRUNCATE = 3  # an older one lets a file be cut that can only be read

DEVICES = ("null", "zero", "random", "urandom")
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime")

# System call numbers: x86-64, aarch64; None where an architecture has it not.
READING = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None),
    "poll": (7, None), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "access": (21, None),
    "pipe": (22, None), "select": (23, None), "sched_yield": (24, 124), "mremap": (25, 216), "mincore": (27, 232),
    "madvise": (28, 233), "dup": (32, 23), "dup2": (33, None), "pause": (34, None), "nanosleep": (35, 101),
    "getitimer": (36, 102), "alarm": (37, None), "setitimer": (38, 103), "getpid": (39, 172), "exit": (60, 93),
    "uname": (63, 160), "getcwd": (79, 17), "chdir": (80, 49), "readlink": (89, None), "umask": (95, 166),
    "gettimeofday": (96, 169), "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179),
    "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177),
    "getppid": (110, 173), "sigaltstack": (131, 132), "statfs": (137, 43), "fstatfs": (138, 44),
    "arch_prctl": (158, None), "gettid": (186, 178), "time": (201, None), "futex": (202, 98),
    "sched_getaffinity": (204, 123), "getdents64": (217, 61), "set_tid_address": (218, 96),
    "restart_syscall": (219, 128), "fadvise64": (221, 223), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "epoll_wait": (232, None), "epoll_ctl": (233, 21),
    "newfstatat": (262, 79), "readlinkat": (267, 78), "faccessat": (269, 48), "pselect6": (270, 72),
    "ppoll": (271, 73), "set_robust_list": (273, 99), "eventfd2": (290, 19), "epoll_create1": (291, 20),
    "dup3": (292, 24), "pipe2": (293, 59), "getrandom": (318, 278), "membarrier": (324, 283), "statx": (332, 291),
    "rseq": (334, 293), "epoll_pwait": (281, 22), "faccessat2": (439, 439), "close_range": (436, 436),
}  # fmt: skip
WRITING = {  # only where the files that can be written are the program's own
    "fsync": (74, 82), "fdatasync": (75, 83), "truncate": (76, 45), "ftruncate": (77, 46), "rename": (82, None),
    "mkdir": (83, None), "rmdir": (84, None), "unlink": (87, None), "flock": (73, 32), "mkdirat": (258, 34),
    "unlinkat": (263, 35), "renameat": (264, 38), "fallocate": (285, 47), "renameat2": (316, 276),
}  # fmt: skip
# Landlock lets them through for every file of the user's.
MARKING = {"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "utimensat": (280, 88)}
OPEN, OPENAT, FCNTL, CLONE, CLONE3, PRLIMIT = (2, None), (257, 56), (72, 25), (56, 220), (435, 435), (302, 261)
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 1030)  # no signals to others: duplicates, flags, locks
CLONE_THREAD = 0x10000
WRITE_FLAGS = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o20000000  # O_ACCMODE, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM, EACCES, ENOSYS = 1, 13, 38


class Unavailable(OSError):
    """The system does not give this kind of isolation."""


def checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise Unavailable(number, f"{what}: {os.strerror(number)}")
    return result


# ---------------------------------------------------------------------------------------------------------- namespaces


def enter_namespaces(readable: list[str]) -> None:
    """Moves this process into a file system of `/usr`, `readable` and nothing else, read-only, without network.

    The processes that it forks from then on are in a process namespace of their own. As root without a user namespace
    (programs then run as `unused_user`), else with one. Raises Unavailable, and nothing has changed, where that is
    forbidden.
    """
    apart = NEW_MOUNTS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 or libc.unshare(apart) != 0:
        checked(libc.unshare(apart | NEW_USER), "unshare")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    mount("none", "/", None, REC | PRIVATE)
    build_root([*SYSTEM, *readable])


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    result = libc.mount(source.encode(), target.encode(), kind and kind.encode(), flags, options.encode())
    checked(result, f"mount {target}")


def build_root(paths: list[str]) -> None:
    """Makes a file system of these paths the root, all read-only, with an empty /tmp and `folder_beside` them."""
    base = "/tmp" if os.path.isdir("/tmp") else "/mnt"
    opened = {path: os.open(path, os.O_PATH) for path in dict.fromkeys(paths) if os.path.exists(path)}
    devices = {f"/dev/{name}": os.open(f"/dev/{name}", os.O_PATH) for name in DEVICES}
    links = {path: os.readlink(path) for path in opened if os.path.islink(path)}
    folders = {path: os.path.isdir(path) for path in opened}
    fds = {f: f"/proc/self/fd/{f}" for f in (*opened.values(), *devices.values())}
    mount("tmpfs", base, "tmpfs", NOSUID | NODEV, "size=1m,mode=755")
    for path, descriptor in (*opened.items(), *devices.items()):
        target = base + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if path in links:
            os.symlink(links[path], target)
            continue
        if os.path.lexists(target):  # inside of one that is there already
            continue
        if folders.get(path):
            os.makedirs(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        mount(fds[descriptor], target, None, BIND | REC)
        if path not in devices:
            read_only(target)
    for path in ("/tmp", folder_beside(paths)):
        os.makedirs(base + path, exist_ok=True)
    for descriptor in fds:
        os.close(descriptor)
    os.chdir(base)
    checked(libc.pivot_root(b".", b"."), "pivot_root")
    checked(libc.umount2(b".", DETACH), "umount")
    mount("none", "/", None, 32 | BIND | RDONLY | NOSUID | NODEV)  # 32: MS_REMOUNT
    os.chdir("/")


def read_only(target: str) -> None:
    """Everything below `target` read-only, without devices and set-user-id programs (mount_setattr(2), Linux 5.12)."""
    attributes = struct.pack("QQQQ", RDONLY | NOSUID | NODEV, 0, 0, 0)
    result = libc.syscall(MOUNT_SETATTR, -100, target.encode(), 0x8000, attributes, len(attributes))
    checked(result, f"read-only {target}")


# ------------------------------------------------------------------------------------------------------------- seccomp


def jump(operation: int, k: int, true: int, false: int) -> bytes:
    return struct.pack("HBBI", 0x05 | operation, true, false, k)


def load(offset: int) -> bytes:
    return struct.pack("HBBI", 0x20, 0, 0, offset)


def give(action: int) -> bytes:
    return struct.pack("HBBI", 0x06, 0, 0, action)


EQUAL, ANY_BIT, AT_LEAST = 0x10, 0x40, 0x30
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data


def argument(index: int) -> int:
    return 16 + 8 * index  # the low half; both architectures are little-endian


def seccomp_filter(writing: bool, marking: bool) -> bytes:
    """The program for the kernel: a list of allowed calls, everything else fails with EPERM.

    Not on the list: processes and programs, sockets, signals to others, tracing, mounts, and, unless `writing`,
    anything that changes a file, unless `marking` its rights and times. Raises Unavailable on another architecture.
    """
    if platform.machine() not in ARCHITECTURES or sys.byteorder != "little":
        raise Unavailable(ENOSYS, f"seccomp: no list of system calls for {platform.machine()}")
    column, architecture = ARCHITECTURES[platform.machine()]
    actions: dict[int, tuple[bytes, ...]] = {}

    def when(numbers: tuple[int | None, ...], *then: bytes) -> None:
        number = numbers[column]
        if number is not None:
            actions[number] = then

    for numbers in (READING | (WRITING if writing else {}) | (MARKING if marking else {})).values():
        when(numbers, give(ALLOW))
    for numbers, flags in ((OPEN, 1), (OPENAT, 2)):
        looked_at = load(argument(flags)), jump(ANY_BIT, WRITE_FLAGS, 1, 0), give(ALLOW), give(ERRNO | EACCES)
        when(numbers, *([give(ALLOW)] if writing else looked_at))
    when(CLONE, load(argument(0)), jump(ANY_BIT, CLONE_THREAD, 0, 1), give(ALLOW), give(ERRNO | EPERM))
    when(CLONE3, give(ERRNO | ENOSYS))  # the C library then uses clone, whose flags can be looked at
    when(PRLIMIT, load(argument(0)), jump(EQUAL, 0, 0, 1), give(ALLOW), give(ERRNO | EPERM))
    known = [jump(EQUAL, command, len(FCNTL_COMMANDS) - i, 0) for i, command in enumerate(FCNTL_COMMANDS)]
    when(FCNTL, load(argument(1)), *known, give(ERRNO | EPERM), give(ALLOW))
    begin = load(ARCHITECTURE), jump(EQUAL, architecture, 1, 0), give(ERRNO | EPERM), load(NUMBER)
    # From number `first` on, up to the next one, what is done.
    starts: list[tuple[int, tuple[bytes, ...]]] = [(0, (give(ERRNO | EPERM),))]
    for number in sorted(actions):
        if starts[-1][0] == number:
            starts.pop()
        if not starts or starts[-1][1] != actions[number]:
            starts.append((number, actions[number]))
        if number + 1 not in actions:
            starts.append((number + 1, (give(ERRNO | EPERM),)))
    return b"".join([*begin, *search(starts)])


def search(starts: list[tuple[int, tuple[bytes, ...]]]) -> list[bytes]:
    """A binary search for the last start that is not above the number of the call, and what is done from there on.

    The kernel goes through the program for every call that there is when it is installed: a list would take 0.2 ms.
    """
    if len(starts) == 1:
        return list(starts[0][1])
    middle = len(starts) // 2
    below, above = search(starts[:middle]), search(starts[middle:])
    if len(below) < 256:
        return [jump(AT_LEAST, starts[middle][0], len(below), 0), *below, *above]
    return [jump(AT_LEAST, starts[middle][0], 0, 1), struct.pack("HBBI", 0x05, 0, 0, len(below)), *below, *above]


class SeccompProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install_seccomp(code: bytes) -> None:
    program = SeccompProgram(len(code) // 8, code)
    checked(libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0), "seccomp")


# ------------------------------------------------------------------------------------------------------------ Landlock


def landlock_version() -> int:
    """Version of the kernel's Landlock interface, 0 where it has none."""
    return max(0, libc.syscall(LANDLOCK_CREATE, None, 0, 1))


def restrict_files(readable: list[str], writable: str) -> None:
    """Nothing outside of these paths can be opened any more, nothing outside of `writable` changed."""
    reading = 0b1101  # execute, read file, read folder
    writing = 0b1_1111_1111_1111 if landlock_version() < 3 else 0b111_1111_1111_1111  # with refer and truncate
    rules = struct.pack("Q", reading | writing)
    ruleset = checked(libc.syscall(LANDLOCK_CREATE, rules, len(rules), 0), "Landlock")
    for path, allowed in (*((path, reading) for path in readable), (writable, reading | writing)):
        with suppress(FileNotFoundError):
            place = os.open(path, os.O_PATH)
            if not os.path.isdir(path):
                allowed &= 0b100000000000111  # what there is for a file: execute, write, read, truncate
            rule = struct.pack("=Qi", allowed, place)
            checked(libc.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0), f"Landlock {path}")
            os.close(place)
    checked(libc.syscall(LANDLOCK_RESTRICT, ruleset, 0), "Landlock")
    os.close(ruleset)


# ----------------------------------------------------------------------------------------------------------- a program


def limit(memory: int, file_size: int, seconds: int, threads: int | None) -> None:
    """Resource limits of this process: bytes of address space and of a file, seconds of CPU time, threads.

    The kernel counts the threads of a user: None where this process's user has others.
    """
    if threads is not None:
        with suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        with suppress(ValueError):  # the system's own limit is lower
            resource.setrlimit(kind, (value, value))
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def unused_user() -> int:
    """A user id that nobody else has, where root may take any: threads are counted by user. Else nobody's."""
    user = UNUSED_USERS | int.from_bytes(os.urandom(4)) >> 4
    for kind in ("uid", "gid"):
        ranges = [map(int, line.split()) for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
        if not any(first <= user < first + n for first, _, n in ranges):
            return NOBODY
    return user


def is_open_to_all(folder: str) -> bool:
    return all(os.stat(path).st_mode & 0o5 == 0o5 for path in (Path(folder), *Path(folder).parents))


def give_up_privileges(user: int) -> None:
    """Becomes `user` where this process is root; no capabilities, none to be had by any program."""
    if os.geteuid() == 0:
        with suppress(PermissionError):  # in a container without that right: it stays root, without capabilities
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    checked(libc.capset(header, none), "capset")
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def folder_beside(readable: list[str]) -> str:
    """Where programs have their folder: /tmp, unless something that they may read lies below it and would be hidden."""
    return "/home/program" if any(f"{path}/".startswith("/tmp/") for path in readable) else "/tmp"


def private_folder(path: str, size: int) -> None:
    """An empty folder of `size` bytes that is gone with this process, which is in a mount namespace of the server's."""
    checked(libc.unshare(NEW_MOUNTS), "unshare")
    mount("tmpfs", path, "tmpfs", NOSUID | NODEV, f"size={size},nr_inodes=256,mode=1777")


def die_with_parent(parent: int) -> None:
    libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
