"""Programs that try to get out of the sandbox, or to bring it down: one property each, watched from both sides.

From inside a program prints ESCAPED when it has got what it must not have. From outside `Bait` sees whether a file, a
process or a listening socket was touched, and whether a secret came out. In the programs $NAME stands for an attribute
of the bait.
"""

import os
import platform
import secrets
import shutil
import socket
import string
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data_prep.sandbox.client import Execution, Program, Sandbox

LIMITS = frozenset({"timed out", "memory", "output", "error", "died"})


@dataclass(frozen=True)
class Attack:
    """`statuses`: how it has to end, if that is not its own affair. `then`: a second program that looks for traces.

    `reads`: it only reads files, which is open where neither namespaces nor Landlock hold.
    """

    name: str
    code: str
    statuses: frozenset[str] = frozenset()
    then: str = ""
    reads: bool = False


class Bait:
    """What an escape would touch: files that anybody may change, sockets that anybody may connect to, a process."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(16)
        self.folder = Path(tempfile.mkdtemp(prefix="redstar-bait-"))
        self.folder.chmod(0o777)
        self.canary = self.folder / "canary"
        self.secret = self.folder / "secret"
        self.victim = self.folder / "victim"
        for path, content in ((self.secret, self.token), (self.victim, "untouched")):
            path.write_text(content)
            path.chmod(0o666)
        self.module = Path(sysconfig.get_paths()["purelib"]) / "redstar_canary.py"
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp_port = self.udp.getsockname()[1]
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix_path = str(self.folder / "socket")
        self.unix.bind(self.unix_path)
        os.chmod(self.unix_path, 0o777)
        self.unix.listen()
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract_name = f"redstar-{self.token[:8]}"
        self.abstract.bind(f"\0{self.abstract_name}")
        self.abstract.listen()
        for listening in (self.tcp, self.udp, self.unix, self.abstract):
            listening.setblocking(False)
        self.sentinel_process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        self.sentinel = self.sentinel_process.pid
        self.client = os.getpid()
        os.environ["REDSTAR_BAIT"] = self.token  # before the sandbox starts

    def close(self) -> None:
        os.environ.pop("REDSTAR_BAIT", None)
        self.sentinel_process.kill()
        self.sentinel_process.wait()
        for listening in (self.tcp, self.udp, self.unix, self.abstract):
            listening.close()
        shutil.rmtree(self.folder)

    def program(self, code: str) -> str:
        values = {name: str(value) for name, value in vars(self).items() if isinstance(value, str | int | Path)}
        values.pop("token")
        return string.Template(code).safe_substitute(values)

    def touched(self) -> list[str]:
        """What an escape has left outside; makes it whole again."""
        found = []
        for listening in (self.tcp, self.unix, self.abstract):
            with suppress(BlockingIOError):
                listening.accept()[0].close()
                found.append(f"a connection to {listening.getsockname()!r}")
        with suppress(BlockingIOError):
            found.append(f"a datagram: {self.udp.recv(100)!r}")
        for path in (self.canary, self.module):
            if os.path.lexists(path):
                found.append(f"{path} was made")
                path.unlink()
        for path, content in ((self.secret, self.token), (self.victim, "untouched")):
            whole = path.is_file() and path.stat().st_mode & 0o777 == 0o666 and path.read_text() == content
            if not whole or path.stat().st_mtime < 1e6:
                found.append(f"{path} was changed")
                path.unlink(missing_ok=True)
                path.write_text(content)
                path.chmod(0o666)
        if self.sentinel_process.poll() is not None:
            found.append("the process was ended")
        return found


def escapes(attack: Attack, sandbox: Sandbox, bait: Bait, timeout: float) -> list[str]:
    """Runs an attack; what it got, or where its end was not as it has to be."""
    executions = [sandbox.submit(Program(bait.program(attack.code), timeout=timeout)).result()]
    if attack.then:
        executions.append(sandbox.submit(Program(bait.program(attack.then), timeout=timeout)).result())
    return seen(attack, executions, bait, timeout)


def seen(attack: Attack, executions: Iterable[Execution], bait: Bait, timeout: float) -> list[str]:
    found = bait.touched()
    for execution in executions:
        if "ESCAPED" in execution.output + execution.error:
            found.append(f"it says so: {execution.output[:200]}")
        if bait.token in execution.output + execution.error:
            found.append("the secret is out")
        if execution.seconds > timeout + 2:
            found.append(f"it ran for {execution.seconds:.1f} s")
        if attack.statuses and execution.status not in attack.statuses and not attack.then:
            found.append(f"it ended {execution.status!r}: {execution.output[:100]!r} {execution.error[:200]!r}")
    return found


# ------------------------------------------------------------------------------------------------------------- programs

X86 = platform.machine() == "x86_64"
NUMBERS = {
    name: number[0] if X86 else number[1]
    for name, number in {
        "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435), "execve": (59, 221),
        "execveat": (322, 281), "socket": (41, 198), "socketpair": (53, 199), "mount": (165, 40), "unshare": (272, 97),
        "setns": (308, 268), "open_by_handle_at": (304, 265), "memfd_create": (319, 279), "io_uring_setup": (425, 425),
        "bpf": (321, 280), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217), "prctl": (157, 167),
        "personality": (135, 92), "ptrace": (101, 117), "process_vm_readv": (310, 270), "kill": (62, 129),
        "tgkill": (234, 131), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
        "rt_sigqueueinfo": (129, 138), "chroot": (161, 51), "pivot_root": (155, 41), "umount2": (166, 39),
        "perf_event_open": (298, 241), "init_module": (175, 105), "kexec_load": (246, 104), "reboot": (169, 142),
        "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "setuid": (105, 146),
        "setresuid": (117, 147), "setgroups": (116, 159), "capset": (126, 91), "setpriority": (141, 140),
        "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "name_to_handle_at": (303, 264),
        "open_tree": (428, 428), "fsopen": (430, 430), "move_mount": (429, 429), "landlock_create_ruleset": (444, 444),
        "seccomp": (317, 277), "symlinkat": (266, 36), "linkat": (265, 37), "mknodat": (259, 33), "ioctl": (16, 29),
        "sethostname": (170, 161), "settimeofday": (164, 170), "acct": (163, 89), "swapon": (167, 224),
        "quotactl": (179, 60), "syslog": (103, 116), "fanotify_init": (300, 262), "inotify_init1": (294, 26),
        "setxattr": (188, 5), "splice": (275, 76), "iopl": (172, None), "modify_ldt": (154, None), "setsid": (112, 157),
    }.items()
    if (number[0] if X86 else number[1]) is not None
}  # fmt: skip
RAW = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    ctypes.set_errno(0)
    return libc.syscall(ctypes.c_long(number), *arguments)
"""


def raw(name: str, *arguments: str) -> Attack:
    """A system call by its number, which has to fail. Where it forks, the child ends at once."""
    asked = ", ".join([str(NUMBERS[name]), *arguments])
    code = f"{RAW}\nr = call({asked})\nif r == 0 and {name.startswith(('fork', 'vfork', 'clone'))}: os._exit(0)\n"
    return Attack(f"raw {name}", f"{code}print('ESCAPED' if r >= 0 else 'held', r)")


def tries(name: str, code: str, reads: bool = False, then: str = "") -> Attack:
    """Code whose last line says ESCAPED if nothing before it has failed."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    text = f"import os, sys\ntry:\n{lines}\n    print('ESCAPED')\nexcept Exception as error:\n    print('held', error)"
    return Attack(name, text, reads=reads, then=then)


def ends(name: str, code: str, *statuses: str) -> Attack:
    """A program that has to be stopped at a limit, or to end in one of these ways."""
    return Attack(name, code, frozenset(statuses))


RAW_CALLS = [
    raw("clone", "17, 0, 0, 0, 0"), raw("clone3", "ctypes.create_string_buffer(88), 88"),
    raw("execve", "b'/bin/sh', 0, 0"), raw("execveat", "-100, b'/bin/sh', 0, 0, 0"), raw("socket", "2, 1, 0"),
    raw("socketpair", "1, 1, 0, ctypes.create_string_buffer(8)"),
    raw("mount", "b'none', b'/tmp', b'tmpfs', 0, 0"), raw("unshare", "0x10000000"), raw("setns", "0, 0"),
    raw("open_by_handle_at", "-100, ctypes.create_string_buffer(64), 0"), raw("memfd_create", "b'x', 0"),
    raw("io_uring_setup", "4, ctypes.create_string_buffer(240)"),
    raw("bpf", "0, ctypes.create_string_buffer(128), 128"), raw("userfaultfd", "1"), raw("keyctl", "0, -3, 1"),
    raw("add_key", "b'user', b'k', b'v', 1, -3"), raw("prctl", "4, 1, 0, 0, 0"), raw("personality", "0x40000"),
    raw("ptrace", "0, 0, 0, 0"), raw("process_vm_readv", "1, 0, 0, 0, 0, 0"), raw("kill", "-1, 0"),
    raw("tgkill", "1, 1, 0"), raw("pidfd_open", "1, 0"), raw("pidfd_getfd", "0, 0, 0"),
    raw("pidfd_send_signal", "0, 0, 0, 0"), raw("rt_sigqueueinfo", "1, 0, ctypes.create_string_buffer(128)"),
    raw("chroot", "b'/tmp'"), raw("pivot_root", "b'.', b'.'"), raw("umount2", "b'/tmp', 2"),
    raw("perf_event_open", "ctypes.create_string_buffer(128), 0, -1, -1, 0"), raw("shmget", "0, 4096, 0o1600"),
    raw("msgget", "0, 0o1600"), raw("semget", "0, 1, 0o1600"), raw("mq_open", "b'x', 0o102, 0o600, 0"),
    raw("setuid", "0"), raw("setresuid", "0, 0, 0"), raw("setgroups", "0, 0"),
    raw("capset", "(ctypes.c_uint * 2)(0x20080522, 0), (ctypes.c_uint * 6)(*[0xffffffff] * 6)"),
    raw("setpriority", "0, 0, -10"), raw("sched_setscheduler", "0, 1, ctypes.byref(ctypes.c_int(50))"),
    raw("sched_setaffinity", "0, 8, ctypes.byref(ctypes.c_long(1))"), raw("open_tree", "-100, b'/', 1"),
    raw("fsopen", "b'tmpfs', 0"), raw("seccomp", "0, 0, 0"), raw("symlinkat", "b'/', -100, b'link'"),
    raw("linkat", "-100, b'/etc/passwd', -100, b'link', 0"), raw("mknodat", "-100, b'node', 0o20666, 0x101"),
    raw("ioctl", "0, 0x5421, ctypes.byref(ctypes.c_int(1))"), raw("sethostname", "b'x', 1"),
    raw("syslog", "3, ctypes.create_string_buffer(4096), 4096"), raw("fanotify_init", "0, 0"),
    raw("setxattr", "b'$victim', b'user.x', b'y', 1, 0"), raw("setsid"),
    *([raw("fork"), raw("vfork"), raw("iopl", "3")] if X86 else []),
]  # fmt: skip
OTHER_TABLES = [  # of system calls: x32 by a bit in the number, 32 bits by the old interrupt
    Attack("x32 fork", f"{RAW}\nr = call(0x40000000 + 57)\nif r == 0: os._exit(0)\nprint('ESCAPED' if r > 0 else r)"),
    Attack("x32 socket", f"{RAW}\nprint('ESCAPED' if call(0x40000000 + 41, 2, 1, 0) >= 0 else 'held')"),
    *(
        Attack(
            f"int 80 {name}",
            f"{RAW}\nimport mmap\npage = mmap.mmap(-1, 4096, prot=7)\n"
            f"page.write(bytes.fromhex('53b8{number:02x}0000008b5c2408cd805bc3'))\n"  # eax: number; int 0x80; return
            "address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
            "r = ctypes.CFUNCTYPE(ctypes.c_int)(address)()\n"
            f"if r == 0 and {number} == 2: os._exit(0)\n"
            "print('ESCAPED' if r >= 0 else 'held', r)",
        )
        for name, number in (("getpid", 20), ("fork", 2), ("setuid", 23))
    ),
]
PROCESSES = [
    tries("os.fork", "if os.fork() == 0: os._exit(0)"),
    tries("os.forkpty", "if os.forkpty()[0] == 0: os._exit(0)"),
    tries("os.posix_spawn", "os.posix_spawn('/bin/sh', ['sh', '-c', 'echo x > $canary'], {})"),
    tries("subprocess", "import subprocess\nsubprocess.run([sys.executable, '-c', 'print(1)'], check=True)"),
    tries("subprocess in a shell", "import subprocess\nsubprocess.check_output('id', shell=True)"),
    tries("os.execv", "os.execv('/bin/sh', ['sh', '-c', 'echo ESCAPED'])"),
    tries("multiprocessing", "import multiprocessing\np = multiprocessing.Process(target=print)\np.start()"),
    Attack("os.system", "import os\nprint('ESCAPED' if os.system('echo ESCAPED; touch $canary') == 0 else 'held')"),
    tries("os.popen", "assert os.popen('echo x').read()"),
    tries("kill of the parent", "os.kill(os.getppid(), 9)"),
    tries("kill of the first process", "os.kill(1, 9)"),
    tries("kill of a process outside", "os.kill($sentinel, 9)"),
    tries("kill of the client", "os.kill($client, 0)"),
    tries("kill of the group", "os.killpg(0, 0)"),
    tries("signal by fcntl", "import fcntl\nfcntl.fcntl(0, 8, os.getppid())"),
    tries("ptrace", "import ctypes\nassert ctypes.CDLL(None).ptrace(16, $sentinel, 0, 0) == 0"),
    tries("rlimits of another process", "import resource\nresource.prlimit($sentinel, resource.RLIMIT_CPU, (1, 1))"),
    *(
        tries(f"rlimit {name} upwards", f"import resource\n"
              f"resource.setrlimit(resource.RLIMIT_{name}, (1 << 40, 1 << 40))")
        for name in ("AS", "FSIZE", "NOFILE", "NPROC", "CPU", "CORE")
    ),
    tries("nice", "os.nice(-5)"),
    tries("real-time scheduling", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"),
    tries("setuid", "os.setuid(0)\nassert os.getuid() == 0"),
    tries("setgid", "os.setgid(0)"),
    ends("fork bomb", "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n"
         "        pass", "timed out"),
]  # fmt: skip
NETWORK = [
    tries("TCP", "import socket\nsocket.create_connection(('127.0.0.1', $port), 0.3)"),
    tries("UDP", "import socket\nsocket.socket(2, 2).sendto(b'x', ('127.0.0.1', $udp_port))"),
    tries("unix socket", "import socket\nsocket.socket(1).connect('$unix_path')"),
    tries("abstract unix socket", "import socket\nsocket.socket(1).connect('\\0$abstract_name')"),
    tries("ICMP", "import socket\nsocket.socket(2, 3, 1)"),
    tries("packet socket", "import socket\nsocket.socket(17, 3)"),
    tries("netlink", "import socket\nsocket.socket(16, 3, 0)"),
    tries("vsock", "import socket\nsocket.socket(40, 1).connect((2, 22))"),
    tries("IPv6", "import socket\nsocket.create_server(('::1', 0), family=10)"),
    tries("listening", "import socket\nsocket.create_server(('127.0.0.1', 0))"),
    tries("urllib", "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:$port', timeout=0.3)"),
]
READS = [
    tries("a secret file", "print(open('$secret').read())", reads=True),
    tries("a secret by ..", "print(open('../' * 20 + '$secret'.lstrip('/')).read())", reads=True),
    tries("a secret through /proc", "print(open('/proc/1/root$secret').read())", reads=True),
    tries("the folder of a secret", "assert 'secret' in os.listdir('$folder')", reads=True),
    tries("/etc/passwd", "open('/etc/passwd').read()", reads=True),
    tries("/etc/shadow", "open('/etc/shadow').read()", reads=True),
    tries("~/.ssh", "os.listdir('/root/.ssh')", reads=True),
    tries("the home folders", "assert os.listdir('/home') + os.listdir('/root/.config')", reads=True),
    tries("/proc", "os.listdir('/proc')", reads=True),
    tries("/proc/self", "open('/proc/self/mem', 'rb')", reads=True),
    tries("/sys", "os.listdir('/sys')", reads=True),
    tries("devices", "os.listdir('/dev/disk')", reads=True),
    tries("kernel memory", "open('/dev/mem', 'rb')"),
    tries("a terminal", "open('/dev/tty')"),
    Attack("the environment", "import os\nprint(dict(os.environ), os.environb)"),
    Attack("the environment in memory", "import ctypes\np = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "
           "'environ')\ni = 0\nwhile p[i]:\n    print(p[i])\n    i += 1"),
    tries("the environment of the client", "print(open('/proc/$client/environ').read())", reads=True),
]  # fmt: skip
WRITES = [
    tries("a file outside", "os.makedirs('$folder', exist_ok=True)\nopen('$canary', 'w').write('x')\n"
          "assert os.path.exists('$secret')"),
    tries("a file changed", "open('$victim', 'r+').write('x')"),
    tries("a file appended to", "os.write(os.open('$victim', os.O_WRONLY | os.O_APPEND), b'x')"),
    tries("a file cut", "os.truncate('$victim', 0)"),
    tries("a file cut by opening", "os.open('$victim', os.O_RDONLY | os.O_TRUNC)"),
    tries("a file deleted", "os.unlink('$victim')"),
    tries("a file renamed", "os.rename('$victim', '$victim.old')"),
    tries("a file brought in", "os.rename('$victim', 'mine')"),
    tries("a file's rights", "os.chmod('$victim', 0)"),
    tries("a file's times", "os.utime('$victim', (0, 0))"),
    tries("a file's owner", "os.chown('$victim', 0, 0)"),
    tries("a file locked", "import fcntl\nfcntl.flock(os.open('$victim', os.O_RDWR), 2)"),
    tries("Python's packages", "open('$module', 'w').write('x')"),
    tries("Python itself", "open(os.__file__, 'r+')"),
    tries("the system", "open('/usr/lib/canary', 'w')"),
    tries("a folder at the root", "os.mkdir('/canary')"),
    tries("a symbolic link", "os.symlink('$secret', 'link')\nprint(open('link').read())"),
    tries("a hard link", "os.link('$victim', 'link')\nopen('link', 'w').write('x')"),
    tries("a device", "os.mknod('disk', 0o60666, os.makedev(254, 0))"),
    tries("chroot", "os.mkdir('r')\nos.chroot('r')\nos.chdir('../../../..')\nos.chroot('.')\nopen('$secret').read()"),
    tries("a deleted working folder", "os.mkdir('d')\nos.chdir('d')\nos.rmdir('../d')\n"
          "print(open('../$secret').read())"),
    tries("an attribute", "os.setxattr('$victim', 'user.x', b'y')"),
]  # fmt: skip
DESCRIPTORS = [
    Attack("inherited descriptors", "import os\nfor i in range(4, 1024):\n    try:\n        os.write(i, b'x')\n"
           "        print('ESCAPED', i)\n    except OSError:\n        pass\n    try:\n        os.read(i, 1)\n"
           "        print('ESCAPED', i)\n    except OSError:\n        pass"),
    Attack("a forged report", "import os\nos.write(3, b'{\"status\": \"unconfined\", \"error\": \"x\"}')\nos._exit(0)",
           frozenset({"died"})),
    Attack("a report with another status", "import os\nos.write(3, b'{\"status\": [1], \"value\": {}}')\nos._exit(0)",
           frozenset({"died"})),
    ends("a report that nests", "import os\nos.write(3, b'[' * 60000)\nos._exit(0)", "died"),
    ends("a report of bytes", "import os\nos.write(3, bytes(range(256)) * 9)\nos._exit(0)", "died"),
    ends("two reports", "import os\nos.write(3, b'{\"status\": \"ok\"}')", "died"),
    ends("a flood of reports", "import os\nwhile True:\n    os.write(3, b'x' * 60000)", "output"),
    ends("closed descriptors", "import os\nfor i in range(4):\n    os.close(i)\nwhile True: pass", "timed out"),
    ends("the report closed", "import os\nos.close(3)", "died"),
    ends("the report read", "import os\nos.read(3, 10)", "error"),
    ends("the output closed", "import os\nos.close(1)\n1", "ok"),
    Attack("objects of the server", "import gc, sys, socket\n"
           "for thing in gc.get_objects():\n    if isinstance(thing, socket.socket):\n"
           "        try:\n            thing.send(b'x')\n            print('ESCAPED')\n        except OSError:\n"
           "            pass\nframe = sys._getframe()\nwhile frame:\n    for value in list(frame.f_locals.values()):\n"
           "        if isinstance(value, socket.socket):\n            try:\n                value.sendall(b'x')\n"
           "                print('ESCAPED')\n            except OSError:\n                pass\n"
           "    frame = frame.f_back"),
]  # fmt: skip
STATE = [
    Attack("a file left behind", "open('/tmp/left', 'w').write('x')\nopen('left', 'w').write('x')",
           then="import os\nif os.path.exists('left') or os.path.exists('/tmp/left'): print('ESCAPED')"),
    Attack("a module left behind", "import sys, json, math\nsys.modules['left'] = sys\nmath.pi = 3\n"
           "json.dumps = lambda *a, **k: 'ESCAPED'",
           then="import sys, math, json\nif 'left' in sys.modules or math.pi == 3 or json.dumps(1) != '1': "
           "print('ESCAPED')"),
    Attack("builtins changed", "import builtins\nbuiltins.print = lambda *a: None\nbuiltins.len = None\n"
           "builtins.left = 1", then="if len('a') != 1 or hasattr(__builtins__, 'left'): print('ESCAPED')"),
    Attack("os changed", "import os\nos.write = os._exit = os.read = lambda *a: 1\n"
           "os.fork = lambda: 0", then="print(1)"),
    Attack("the environment left", "import os\nos.environ['LEFT'] = '1'\nos.umask(0)\nos.chdir('/')",
           then="import os\nif 'LEFT' in os.environ or os.getcwd() == '/': print('ESCAPED')"),
    Attack("random state left", "import random\nrandom.seed(7)\nx = random.random()",
           then="import random\nx = random.random()\nrandom.seed(7)\nif x == random.random(): print('ESCAPED')"),
    Attack("a thread left", "import threading, time\n"
           "threading.Thread(target=lambda: (time.sleep(0.3), open('/tmp/late', 'w')), daemon=True).start()",
           then="import time, os\ntime.sleep(0.5)\nif os.path.exists('/tmp/late'): print('ESCAPED')"),
    Attack("a signal handler left", "import signal\nsignal.signal(signal.SIGALRM, lambda *a: print('ESCAPED'))\n"
           "signal.setitimer(0, 0.2)", then="import time\ntime.sleep(0.4)"),
]  # fmt: skip
ENDLESS = "while True:\n    try:\n        while True: pass\n    except BaseException:\n        pass"
ENDS = [
    ends("an endless loop", "while True: pass", "timed out"),
    ends("an endless sleep", "import time\ntime.sleep(1e6)", "timed out"),
    ends("everything caught", ENDLESS, "timed out"),
    ends("signals trapped", "import signal\nfor s in range(1, 65):\n    try:\n"
         "        signal.signal(s, signal.SIG_IGN)\n"
         f"    except (OSError, ValueError):\n        pass\n{ENDLESS}", "timed out"),
    ends("handlers that go on", "import signal\nfor s in (15, 24, 14):\n    signal.signal(s, lambda *a: None)\n"
         f"{ENDLESS}", "timed out"),
    ends("a thread that goes on", "import threading\ndef f():\n    while True: pass\n"
         "threading.Thread(target=f).start()",
         "timed out"),
    ends("a C call that goes on", "pow(3, 10**9)", "timed out", "memory"),
    ends("a regular expression", "import re\nre.match('(a+)+$$', 'a' * 40 + 'b')", "timed out"),
    ends("endless output", "while True: print('x' * 1000)", "output"),
    ends("endless raw output", "import os\nwhile True: os.write(1, b'x' * 60000)", "output"),
    ends("endless errors", "import sys\nwhile True: sys.stderr.write('x' * 1000)", "timed out"),
    ends("endless warnings", "import warnings\nwarnings.simplefilter('always')\n"
         "while True: warnings.warn('x')", "timed out"),
    ends("endless recursion", "def f(): return f()\nf()", "error"),
    ends("deep recursion", "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\n"
         "f()", "died", "memory", "timed out"),
    ends("deep recursion in C", "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return "
         "repr(self)\nrepr(A())", "died", "memory", "timed out"),
    ends("a nested literal", "eval('[' * 10**5)", "error", "memory"),
    ends("a nested program", "(" * 10**5, "error", "memory"),
    ends("nested operators", "-" * 10**5 + "1", "error", "memory"),
    ends("one large object", "x = bytearray(1 << 40)", "memory"),
    ends("large objects", "x = []\nwhile True: x.append(bytearray(1 << 20))", "memory"),
    ends("small objects", "x = []\nwhile True: x.append([x] * 99)", "memory", "timed out", "died"),
    ends("a large string", "x = 'a' * (1 << 33)", "memory"),
    ends("mapped memory", "import mmap\nx = []\nwhile True:\n    x.append(mmap.mmap(-1, 1 << 24))\n    x[-1][::4096] = "
         "bytes(1 << 12)", "error"),
    ends("memory in C", "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\n"
         "while p := libc.malloc(1 << 24): ctypes.memset(p, 1, 1 << 24)\nraise MemoryError", "memory"),
    ends("memory in the folder", "f = open('/tmp/x', 'wb')\nwhile True: f.write(bytes(1 << 20))", "error"),
    ends("many files in the folder", "i = 0\nwhile True:\n    open(f'f{i}', 'w').write('x' * 100000)\n"
         "    i += 1", "error",
         "timed out"),
    ends("many empty files", "i = 0\nwhile True:\n    open(f'f{i}', 'w')\n    i += 1", "error", "timed out"),
    ends("a sparse file", "f = open('x', 'wb')\nf.seek(1 << 40)\nf.write(b'x')\nf.flush()", "error"),
    ends("a large input", "import os\nos.ftruncate(0, 1 << 34)", "error"),
    ends("many pipes", "import os\nx = []\nwhile True: x.append(os.pipe())", "error"),
    ends("many threads", "import threading, time\nthreading.stack_size(65536)\nwhile True: "
         "threading.Thread(target=time.sleep, args=(9,)).start()", "error", "timed out", "memory"),
    ends("a large value", "'x' * 10**7", "output"),
    ends("a large nested value", "x = []\nfor _ in range(10**5): x = [x]\nx", "error", "died"),
    ends("a large message", "raise ValueError('x' * 10**7)", "error"),
    ends("a value that raises", "class A:\n    def __str__(self): raise SystemExit(1)\nA()", "error"),
    ends("a value that goes on", "class A:\n    def __str__(self):\n        while True: pass\nA()", "timed out"),
    ends("a value that is no text", "class A:\n    def __str__(self): return 1\nA()", "error"),
    ends("a message that raises", "class A(Exception):\n    def __str__(self): raise KeyboardInterrupt\n"
         "raise A", "error"),
    ends("a message that goes on", "class A(Exception):\n    def __str__(self):\n        while True: pass\nraise A",
         "timed out"),
    ends("an exit that raises", "class A:\n    def __str__(self): raise ValueError\nimport sys\n"
         "sys.exit(A())", "died", "error"),
    ends("os._exit", "import os\nos._exit(0)", "died"),
    ends("a segmentation fault", "import ctypes\nctypes.string_at(0)", "died"),
    ends("an abort", "import os\nos.abort()", "died"),
    ends("a call into nothing", "import ctypes\nctypes.CFUNCTYPE(None)(1)()", "died"),
    ends("an exit function that goes on", "import atexit\n@atexit.register\ndef f():\n"
         "    while True: pass", "timed out"),
    ends("an object that comes back", "class A:\n    def __del__(self):\n        while True: pass\nx = A()\ndel x",
         "timed out"),
    ends("trace functions", "import sys\nsys.settrace(lambda *a: 1 / 0)\nsys.setprofile(lambda *a: 1 / 0)\nlen('')",
         "error", "died", "ok"),
    ends("modules removed", "import sys\nsys.modules.clear()\nsys.path.clear()\n"
         "sys.meta_path.clear()", "ok", "died", "error"),
    ends("its own code replaced", "import gc, types\nfor f in gc.get_objects():\n"
         "    if isinstance(f, types.FunctionType) and 'sandbox' in f.__module__:\n"
         "        f.__code__ = (lambda *a, **k: None).__code__", "ok", "died", "error"),
]  # fmt: skip
ATTACKS = [
    *RAW_CALLS, *(OTHER_TABLES if X86 else []), *PROCESSES, *NETWORK, *READS, *WRITES, *DESCRIPTORS, *STATE, *ENDS,
]  # fmt: skip
