"""The process in which a student's file runs: it answers calls, and can do nothing else.

Started with ``python -I worker.py FILE [ALLOWED...]``. It reads calls from its standard input and writes answers to a pipe
of its own, line by line as JSON; what the file prints goes nowhere. It knows nothing of the book: no formula, no example
and no expected result is in this process. So it does not matter what a file patches here, or what it answers by itself.

What a file must not do at all, it is stopped at, by an audit hook, which Python cannot take away again: read other files
than those of Python, NumPy and SciPy, write, start processes, send signals, open connections. The hook calls nothing that
a file can replace: only functions written in C, which it holds itself.

This file imports nothing of the package.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import importlib
import inspect
import json
import os
import signal  # noqa: F401, before what it needs is taken away
import site
import sys
import sysconfig
import threading
import types
import warnings
from collections import namedtuple
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MEMORY = 2 * 2**30
"""How much memory a file may take, in bytes, beside what its modules have taken when it is loaded; twice that with others than NumPy."""

TIME = 1800
"""How many seconds of processor time, in case that nobody ends the process."""

LARGEST = 2_000_000
"""How many numbers a result may have."""

ALLOWED = ("numpy", "numpy.libs", "scipy", "scipy.libs")
"""Folders of libraries that every file may use."""

FORBIDDEN = {
    "os.fork": "starts a process",
    "os.exec": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.spawn": "starts a process",
    "os.startfile": "starts a process",
    "os.system": "starts a process",
    "subprocess.": "starts a process",
    "pty.": "starts a process",
    "_winapi.": "starts a process",
    "os.kill": "sends a signal",
    "signal.": "sends a signal",
    "os.remove": "deletes a file",
    "os.rename": "renames a file",
    "os.mkdir": "makes a folder",
    "os.rmdir": "deletes a folder",
    "os.truncate": "writes a file",
    "os.link": "writes a file",
    "os.symlink": "writes a file",
    "os.utime": "changes a file",
    "os.ch": "changes a file",
    "os.lchown": "changes a file",
    "os.setxattr": "changes a file",
    "os.removexattr": "changes a file",
    "shutil.": "changes files",
    "sqlite3.": "opens a file",
    "dbm.": "opens a file",
    "socket.": "opens a connection",
    "urllib.": "opens a connection",
    "http.": "opens a connection",
    "ctypes.": "calls a library of C",
    "fcntl.": "calls the system",
    "resource.": "changes its limits",
    "gc.get_": "looks for what is not its own",
    "sys._current_frames": "looks for what is not its own",
    "sys.settrace": "looks for what is not its own",
    "sys.setprofile": "looks for what is not its own",
    "sys.monitoring": "looks for what is not its own",
    "sys.addaudithook": "looks for what is not its own",
    "code.__new__": "makes code that is not Python",
}
"""What a file must not do: how names of Python's audit events begin."""

CLOSED = {
    "tinyddpm": "imports tinyddpm, which has the answers",
    "_posixsubprocess": "starts a process",
    "_xxsubinterpreters": "starts another interpreter",
    "_interpreters": "starts another interpreter",
    "_testcapi": "calls a library of C",
    "_testinternalcapi": "calls a library of C",
    "_ctypes": "calls a library of C",
    "_gdbm": "opens a file",
    "_dbm": "opens a file",
}
"""Modules that a file must not import."""

SILENT = {
    "posix": ("mkfifo", "mknod"),
    "os": ("mkfifo", "mknod"),
    "_signal": ("pidfd_send_signal", "signal", "setitimer", "alarm"),
    "signal": ("pidfd_send_signal", "signal", "setitimer", "alarm"),
    "_posixsubprocess": ("fork_exec",),
    "subprocess": ("_fork_exec",),
    "_imp": ("create_builtin",),
}
"""Functions of which no audit hook hears; they are taken away."""

Step = namedtuple("Step", "beta alpha alpha_bar alpha_bar_prev noise_var noise_var_prev")
"""The numbers of one time, as the exercises call them."""


def main(path: str, allowed: list[str]) -> int:
    """Load a file and answer calls until there are no more."""
    import numpy as np

    channel = os.dup(1)
    out = os.fdopen(channel, "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    sys.stdout = sys.stderr = os.fdopen(nowhere, "w", encoding="utf-8", errors="replace")
    with open(path, "rb") as file:
        source = file.read()
    for name in _imported(source, ("scipy", *allowed)):  # before the hook: libraries look at many files as they begin
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            WARMED.get(name, lambda: None)()

    def say(**answer: object) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True
    _limit(_taken() + (2 * MEMORY if allowed else MEMORY))
    _take_away()
    _watch(channel, path, allowed, os.path.dirname(np.__file__))
    _become(os.environ.get("TINYDDPM_USER"))
    module = types.ModuleType("student")
    module.__file__ = path
    sys.modules["student"] = module
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))
        functions = {
            name: _parameters(value)
            for name, value in vars(module).items()
            if callable(value) and not isinstance(value, type) and not name.startswith("_")
        }
    except BaseException as problem:
        say(error=_said(problem, path))
        return 1
    say(functions=functions)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            given: list[Any] = [_decoded(value, np) for value in call["given"]]
            before: list[Any] = [value.copy() if isinstance(value, np.ndarray) else value for value in given]
            first = call["positional"]
            named = dict(zip(call["names"][first:], given[first:], strict=True))
            with np.errstate(all="ignore"):
                result = getattr(module, call["name"])(*given[:first], **named)
            for name, old, new in zip(call["names"], before, given, strict=True):
                if isinstance(old, np.ndarray) and not np.array_equal(old, new, equal_nan=True):
                    raise _OtherError(f"changes its argument {name} in place")
            say(result=_encoded(result, np))
        except _OtherError as problem:
            say(error=str(problem))
        except NotImplementedError:
            say(missing=True)
        except BaseException as problem:
            say(error=f"raises {_said(problem, path)}")
    return 0


class _OtherError(Exception):
    """What is wrong with a call that raises nothing."""


def _parameters(function: object) -> list[tuple[str, str, bool]]:
    """The parameters of a function: name, kind, and whether it has a default."""
    try:
        found = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):  # written in C
        return [("arguments", "VAR_POSITIONAL", False)]
    return [(each.name, each.kind.name, each.default is not each.empty) for each in found]


def _become(user: str | None) -> None:
    """Go on as another user, who may do less: for graders that run as root."""
    if user:
        import pwd

        known = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(known.pw_gid)
        os.setuid(known.pw_uid)


def _imported(source: bytes, libraries: tuple[str, ...]) -> list[str]:
    """The modules of some libraries that a file imports."""
    try:
        nodes = [*ast.walk(ast.parse(source))]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    names += [name.partition(".")[0] for name in names]
    return sorted({name for name in names if name.partition(".")[0] in libraries})


def _warm_torch() -> None:
    """A step of training: with its first optimiser torch imports half of itself, and writes files as it does."""
    import torch

    weight = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.Adam([weight])
    (weight**2).sum().backward()
    optimiser.step()
    optimiser.zero_grad()


WARMED = {"torch": _warm_torch}
"""What a module needs once, before files may not be written any more."""


def _taken() -> int:
    """How much address space this process has, in bytes; 0 where that cannot be read."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _limit(memory: int) -> None:
    """Limits that the system itself keeps: memory, time, and no byte in any file."""
    limits = {"RLIMIT_AS": memory, "RLIMIT_CPU": TIME, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, most in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):  # not on every system
            resource.setrlimit(getattr(resource, name), (most, most))


def _take_away() -> None:
    """Import what is built in, so that nothing of it need be imported later, and take away what no audit hook hears of."""
    for name in (*sys.builtin_module_names, "_posixsubprocess"):
        if name not in CLOSED or name == "_posixsubprocess":
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    for module, names in SILENT.items():
        for name in names:
            if hasattr(sys.modules.get(module), name):
                setattr(sys.modules[module], name, None)


def _watch(channel: int, path: str, allowed: list[str], numpy: str) -> None:
    """Stop the process at what a file must not do."""
    windows, write, end = os.name == "nt", os.write, os._exit

    def plain(place: str) -> str:
        """A path in one spelling, or nothing if it is none of an exact place."""
        if windows:
            place = place.replace("\\", "/").lower()
        names = [name for name in place.split("/") if name not in ("", ".")]
        return "" if ".." in names or not (place[:1] == "/" or place[1:2] == ":") else "/" + "/".join(names)

    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    root, own = os.path.dirname(package), "tinyddpm" in allowed
    sites = {*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    places = {
        os.path.dirname(os.__file__): True,
        sysconfig.get_path("platstdlib"): True,
        os.path.join(sys.base_prefix, "DLLs"): True,  # on Windows
        **dict.fromkeys(sites, bool(allowed)),
        **{os.path.join(os.path.dirname(numpy), name): True for name in ALLOWED},
        package: own,
        os.path.join(package, "exercises"): False,
        os.path.join(package, "tests"): False,
        os.path.join(root, "tests"): False,
        os.path.join(root, "solutions"): False,
        path: True,
        os.devnull: True,
        "/dev/urandom": True,
    }
    # From here on nothing is looked up that the file could change; the longest place that holds a path decides.
    exact = {plain(place): may for place, may in places.items() if plain(place)}
    readable = tuple(sorted(exact.items(), key=lambda each: -len(each[0])))
    forbidden, nothing = tuple(FORBIDDEN.items()), plain(os.devnull) or "/dev/null"
    closed = tuple(
        (name, words) for name, words in CLOSED.items() if name not in allowed and not (own and name[0] == "_")
    )
    if allowed:  # libraries use these themselves
        free = ("ctypes.", "code.__new__")
        forbidden = tuple(each for each in forbidden if each[0] not in free)
        closed = tuple(each for each in closed if each[0] != "_ctypes")
    kind, text, raw, whole = type, str, bytes, int
    inside, thread = 0, threading.get_ident
    changing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

    def stop(words: str) -> None:
        good = "".join([letter for letter in words if letter.isalnum() or letter in " ._-,;()"])
        write(channel, b'{"forbidden": "' + good.encode("ascii", "replace") + b'"}\n')
        end(3)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal inside
        if inside == thread():  # code of the file, called by the garbage collector from here, asks for this frame
            stop("looks for what is not its own")
        inside = thread()
        try:
            judge(event, arguments)
        finally:
            inside = 0

    def judge(event: str, arguments: tuple[Any, ...]) -> None:
        for name, words in forbidden:
            if event.startswith(name):
                stop(words)
        if event == "import":
            asked, file = arguments[0], arguments[1]
            if kind(asked) is not text:
                stop("imports what has no plain name")
            for name, words in closed:
                if asked == name or asked.startswith(name + "."):
                    stop(words)
            if file is not None:
                look(file, False)
        elif event == "open":
            mode, flags = arguments[1], arguments[2]
            writes = kind(mode) is text and ("w" in mode or "a" in mode or "x" in mode or "+" in mode)
            writes = writes or (kind(flags) is whole and flags & changing != 0)
            if kind(arguments[0]) is not whole:
                look(arguments[0], writes)
            elif writes and arguments[0] > 2:
                stop("writes to what it has not opened")

    def look(place: Any, writes: bool) -> None:
        if kind(place) is raw:
            place = place.decode("utf-8", "replace")
        if kind(place) is not text:
            stop("opens a file that has no plain name")
        at = plain(place)  # type: ignore[arg-type]
        names = [name for name in place.replace("\\", "/").split("/") if name != "__pycache__"]
        last = names[-1]
        if last.startswith("__init__.") and names[1:]:
            last = names[-2]
        if writes and at != nothing:
            stop("writes the file " + last)
        for known, may in readable:
            if at == known or at.startswith(known + "/"):
                if may:
                    return
                break
        stop("reads the file " + last)

    sys.addaudithook(hook)


def _said(problem: BaseException, path: str) -> str:
    """An error in a line, with the line of the file."""
    lines, at = [], problem.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == path:
            lines.append(at.tb_lineno)
        at = at.tb_next
    if isinstance(problem, SyntaxError) and problem.lineno:
        lines = [problem.lineno]
    try:
        words = str(problem.msg if isinstance(problem, SyntaxError) else problem)[:300]
    except BaseException:
        words = ""
    if isinstance(problem, ModuleNotFoundError):
        words += "; NumPy, SciPy and Python's own modules are there"
    return f"{type(problem).__name__}{f': {words}' if words else ''}{f' (line {lines[-1]})' if lines else ''}"


def _decoded(value: Any, np: Any) -> Any:
    if isinstance(value, dict) and "array" in value:
        flat = np.frombuffer(base64.b64decode(value["array"]), dtype=value["dtype"])
        return flat.reshape(value["shape"]).copy()
    if isinstance(value, dict) and "step" in value:
        return Step(*(_decoded(each, np) for each in value["step"]))
    return value


def _encoded(value: Any, np: Any) -> object:
    """A result as JSON; of what is no number, array or list of them, only the name of its type."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiuc":
        if value.size > LARGEST:
            raise _OtherError(f"gives an array of shape {value.shape}, which is too large")
        data = np.ascontiguousarray(value)
        return {
            "array": base64.b64encode(data.tobytes()).decode(),
            "dtype": str(data.dtype),
            "shape": list(value.shape),
        }
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, tuple):
        return {"tuple": [_encoded(each, np) for each in value]}
    if isinstance(value, list):
        return {"list": [_encoded(each, np) for each in value]}
    return {"type": type(value).__name__}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
