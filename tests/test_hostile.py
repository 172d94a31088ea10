"""The grader and files that want to pass without an answer, or to do harm. Each is noticed, or harmless; none passes."""

import os
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

import tinyddpm
from tinyddpm import against
from tinyddpm.exercises.classroom import exercise, grader

BOOK = Path(tinyddpm.__file__).resolve().parent
POSTERIOR = BOOK / "posterior.py"

RIGHT = "step.beta * step.noise_var_prev / step.noise_var"
"""What passes; so that an attack that is not noticed would."""

MEAN = "(np.sqrt(step.alpha_bar_prev) * step.beta * x_0 + np.sqrt(step.alpha) * step.noise_var_prev * x_t) / step.noise_var"
"""The same for posterior.mean."""

FILES = {
    # To run for ever, or to end. ---------------------------------------------------------------------------------------
    "endless loop": ("while True: pass", "takes longer than 0.2 s"),
    "endless sleep": ("import time; time.sleep(1e6)", "takes longer than 0.2 s"),
    "endless loop that catches everything": (
        """
        while True:
            try:
                while True: pass
            except BaseException: pass
        """,
        "takes longer than 0.2 s",
    ),
    "endless recursion": ("variance(step)", "raises RecursionError"),
    "sys.exit": ("import sys; sys.exit(0)", "raises SystemExit"),
    "os._exit": ("import os; os._exit(0)", "ended its process"),
    "os.abort": ("import os; os.abort()", "ended its process"),
    "a crash": ("import faulthandler; faulthandler._sigsegv()", "ended its process"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "raises KeyboardInterrupt"),
    "an exception with a hostile message": (
        """
        class Bad(Exception):
            def __str__(self): raise SystemExit
        raise Bad
        """,
        "raises Bad",
    ),
    "an exception that moves the cursor": ("raise ValueError('\\x1b[2Jpassed')", "ValueError:  "),
    # To take up room. --------------------------------------------------------------------------------------------------
    "printing without end": ("while True: print('passed' * 10_000)", "takes longer than 0.2 s"),
    "printing past Python": ("import os\n    while True: os.write(1, b'x' * 100_000)", "takes longer than 0.2 s"),
    "memory": ("return [0] * 10**12", "raises MemoryError"),
    "memory, bit by bit": ("kept = [np.empty(10**8) for _ in range(100)]", "raises MemoryError"),
    "a large array": ("return np.zeros((1_500, 1_500))", "gives an array of shape (1500, 1500), which is too large"),
    "a wide array": ("return np.broadcast_to(0.1, (10**9, 10**9))", "which is too large"),
    "a large number": ("return 10**5000", "raises ValueError"),
    "a number that is no float": ("return 10**300", "cannot be read"),
    "a deep list": ("kept = []\n    for _ in range(2_000): kept = [kept]\n    return kept", "RecursionError"),
    "a list in itself": ("kept = []; kept.append(kept); return kept", "RecursionError"),
    # To change what judges. --------------------------------------------------------------------------------------------
    "patched NumPy": ("np.array_equal = np.allclose = lambda *a, **k: True; return 0.1", "expected"),
    "patched json": (
        """
        import json
        json.dumps = lambda *a, **k: '{"passed": true}'
        return 0.1
        """,
        "cannot be read",
    ),
    "patched worker": (
        """
        import __main__
        __main__._encoded = lambda *a: {"outcome": "passed"}
        __main__.FORBIDDEN.clear()
        return 0.1
        """,
        "fails",
    ),
    "patched builtins": (
        """
        import builtins, os
        builtins.type = lambda *a: str
        builtins.isinstance = builtins.any = lambda *a: False
        os._exit = lambda *a: None
        os.path.realpath = lambda *a: "/dev/null"
        open(BOOK).read()
        """,
        "reads the file posterior.py",
    ),
    "frames": (
        """
        import sys
        frame = sys._getframe()
        while frame:
            frame.f_globals.update(FORBIDDEN={}, _watch=None)
            out = frame.f_locals.get("say", out) if "out" in dir() else frame.f_locals.get("say")
            frame = frame.f_back
        if out: out(result="passed", passed=True, outcome="passed")
        return 0.1
        """,
        "fails",
    ),
    "an own audit hook": ("import sys; sys.addaudithook(lambda *a: None)", "looks for what is not its own"),
    "gc": ("import gc; gc.get_objects()", "looks for what is not its own"),
    "gc.get_referrers": ("import gc; gc.get_referrers(step)", "looks for what is not its own"),
    "frames of the hook": (
        """
        import gc, sys
        def spy(*told):
            frame = sys._getframe()
            while frame:
                if "readable" in frame.f_locals:
                    frame.f_locals["readable"] = (("", True),)
                frame = frame.f_back
        gc.callbacks.append(spy)
        gc.set_threshold(1)
        for _ in range(1000): sys.audit("open", "/dev/null", "r", 0)
        gc.callbacks.clear()
        open(BOOK).read()
        """,
        "reads the file posterior.py|looks for what is not its own",
    ),
    "tracing": ("import sys; sys.settrace(lambda *a: None)", "looks for what is not its own"),
    "forged code": ("(lambda: 0).__code__.replace(co_consts=(1,))", "makes code that is not Python"),
    # To answer in a way that is judged wrongly. ------------------------------------------------------------------------
    "equal to everything": (
        """
        class Equal(float):
            __eq__ = __le__ = __ge__ = lambda *a: True
            __sub__ = __rsub__ = __abs__ = lambda *a: 0.0
        return Equal(0.1)
        """,
        "expected",
    ),
    "an array that is equal to everything": (
        """
        class Equal(np.ndarray):
            __eq__ = __le__ = lambda *a: np.True_
            def __array_ufunc__(self, *a, **k): return np.True_
        return np.full(np.shape(step.beta), 0.1).view(Equal)
        """,
        "fails",
    ),
    "hostile __array__": (
        """
        class Thing:
            def __array__(self, *a, **k): raise SystemExit
            def __float__(self): raise SystemExit
        return Thing()
        """,
        "gives a Thing",
    ),
    "hostile detach": (
        """
        class Thing:
            def detach(self): raise KeyboardInterrupt
        return Thing()
        """,
        "raises KeyboardInterrupt",
    ),
    "a type with a hostile name": ("return type('\\x1b[2J float', (), {})()", "gives a"),
    "not a number": ("return float('nan')", "got       nan"),
    "infinity": ("return float('inf')", "got       inf"),
    "words": ("return 'passed'", "gives a str"),
    "nothing": ("return None", "gives None"),
    "objects": ("return np.array([object()], dtype=object)", "gives"),
    "it answers by itself": (
        """
        import os, json
        for number in range(3, 30):
            try: os.write(number, (json.dumps({"result": 0.1}) + "\\n").encode() * 3)
            except OSError: pass
        """,
        "answers before it is asked|expected",
    ),
    "it fills the channel": (
        """
        import os
        while True:
            for number in range(3, 10):
                try: os.write(number, b"x" * 100_000)
                except OSError: pass
        """,
        "too long|takes longer",
    ),
    "it answers what cannot be": (
        """
        import os
        for number in range(3, 10):
            try: os.write(number, b'{"result": {"array": "AAAA", "dtype": "V99", "shape": [-9]}}' + bytes([10]))
            except OSError: pass
        """,
        "fails",
    ),
    # To read the answers. ----------------------------------------------------------------------------------------------
    "open": ("open(BOOK).read()", "reads the file posterior.py"),
    "open, by bytes": ("open(BOOK.encode()).read()", "reads the file posterior.py"),
    "open, on a winding way": (
        "import os; open(os.path.dirname(os.__file__) + '/../' * 30 + BOOK).read()",
        "reads the file posterior.py",
    ),
    "open, through a path that lies": (
        """
        class Path:
            asked = 0
            def __fspath__(self):
                Path.asked += 1
                return "/dev/null" if Path.asked == 1 else BOOK
        return 0.1 if open(Path()).read() == "" else 0
        """,
        "got       0.1",
    ),
    "open, by words that lie": (
        """
        class Text(str):
            split = startswith = replace = lambda *a: ["dev", "null"]
        open(Text(BOOK)).read()
        """,
        "opens a file|reads the file",
    ),
    "open, by a relative path": ("import os; os.chdir(ROOT); open('tinyddpm/posterior.py')", "changes a file|reads the file"),
    "open, by another spelling": ("open('//.//' + BOOK + '/.').read()", "reads the file"),
    "os.open": ("import os; os.read(os.open(BOOK, os.O_RDONLY), 9)", "reads the file posterior.py"),
    "pathlib": ("import pathlib; pathlib.Path(BOOK).read_text()", "reads the file posterior.py"),
    "linecache": ("import linecache; linecache.getlines(BOOK)", "reads the file posterior.py"),
    "mmap": ("import mmap\n    with open(BOOK, 'rb') as f: mmap.mmap(f.fileno(), 0)", "reads the file posterior.py"),
    "io.open_code": ("import io; io.open_code(BOOK).read()", "reads the file posterior.py"),
    "np.fromfile": ("np.fromfile(BOOK, dtype='u1')", "reads the file posterior.py"),
    "np.memmap": ("np.memmap(BOOK, mode='r')", "reads the file posterior.py"),
    "runpy": ("import runpy; runpy.run_path(BOOK)", "reads the file posterior.py"),
    "zipimport": ("import zipimport; zipimport.zipimporter(ZIP)", "reads the file book.zip"),
    "the tests": (f"open({str(BOOK.parent / 'tests' / 'test_posterior.py')!r})", "reads the file test_posterior.py"),
    "the solutions": (f"open({str(BOOK.parent / 'solutions' / 'posterior.py')!r})", "reads the file posterior.py"),
    "/proc/self": ("open('/proc/self/environ').read()", "reads the file environ"),
    "/proc of the grader": ("import os; open(f'/proc/{os.getppid()}/mem', 'rb')", "reads the file mem"),
    "sqlite3": ("import sqlite3; sqlite3.connect(':memory:')", "opens a file"),
    # To import the book. -----------------------------------------------------------------------------------------------
    "import": ("from tinyddpm import posterior; return posterior.variance(step)", "imports tinyddpm"),
    "__import__": ("return __import__('tinyddpm.posterior').posterior.variance(step)", "imports tinyddpm"),
    "a copy on sys.path": (
        """
        import sys
        sys.path.insert(0, ROOT)
        from tinyddpm import posterior
        """,
        "imports tinyddpm",
    ),
    "importlib": (
        """
        import sys, importlib
        sys.path.insert(0, ROOT)
        importlib.import_module("tinyddpm.posterior")
        """,
        "reads the file",
    ),
    "a loader": (
        """
        from importlib.machinery import SourceFileLoader
        SourceFileLoader("other", BOOK).load_module()
        """,
        "reads the file posterior",
    ),
    "pkgutil": ("import sys, pkgutil; sys.path.insert(0, ROOT); pkgutil.get_data('tinyddpm', 'posterior.py')", "reads"),
    "inspect": (
        "import sys, inspect; sys.path.insert(0, ROOT); inspect.getsource(__import__('tinyddpm'))",
        "imports tinyddpm",
    ),
    "another module that imports it": ("import sys; sys.path.insert(0, HERE); import helper", "reads the file helper"),
    # To reach other processes. -----------------------------------------------------------------------------------------
    "os.fork": ("import os; os.fork()", "starts a process"),
    "subprocess": ("import subprocess; subprocess.run(['true'])", "starts a process"),
    "_posixsubprocess": ("import _posixsubprocess; _posixsubprocess.fork_exec(1)", "raises TypeError"),
    "_posixsubprocess, anew": (
        "import sys, importlib; del sys.modules['_posixsubprocess']; importlib.import_module('_posixsubprocess')",
        "starts a process",
    ),
    "os.system": ("import os; os.system('true')", "starts a process"),
    "os.posix_spawn": ("import os; os.posix_spawn('/bin/true', ['true'], {})", "starts a process"),
    "os.execv": ("import os; os.execv('/bin/true', ['true'])", "starts a process"),
    "multiprocessing": ("import multiprocessing; multiprocessing.Process(target=print).start()", "starts a process|raises"),
    "another interpreter": ("import importlib; importlib.import_module('_xxsubinterpreters')", "starts another|raises"),
    "ctypes": ("import ctypes; ctypes.CDLL(None)", "calls a library of C"),
    "ctypes.pythonapi": ("import ctypes; ctypes.pythonapi.Py_GetVersion()", "calls a library of C"),
    "a signal to the grader": ("import os, signal; os.kill(os.getppid(), signal.SIGKILL)", "sends a signal"),
    "a signal to all": ("import os, signal; os.killpg(0, signal.SIGKILL)", "sends a signal"),
    "a signal by its descriptor": (
        """
        import os, signal
        signal.pidfd_send_signal(os.pidfd_open(os.getppid()), signal.SIGKILL)
        """,
        "raises TypeError",
    ),
    "the limits of the grader": ("import os, resource; resource.prlimit(os.getppid(), 0, (0, 0))", "changes its limits"),
    "its own limits": ("import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "changes its limits"),
    "a socket": ("import socket; socket.socket()", "opens a connection"),
    "a connection": ("import socket; socket.create_connection(('127.0.0.1', 9))", "opens a connection"),
    # To leave something behind. ----------------------------------------------------------------------------------------
    "writing": ("open(HERE + '/left', 'w').write('passed')", "writes the file left"),
    "writing to its own file": ("open(__file__, 'a').write('#')", "writes the file posterior.py"),
    "os.open to write": ("import os; os.open(HERE + '/left', os.O_CREAT | os.O_WRONLY)", "writes the file left"),
    "np.save": ("np.save(HERE + '/left', np.ones(3))", "writes the file left"),
    "deleting": ("import os; os.remove(HERE + '/helper.py')", "deletes a file"),
    "deleting a folder": ("import shutil; shutil.rmtree(HERE)", "changes files|deletes"),
    "renaming": ("import os; os.rename(HERE + '/helper.py', HERE + '/left')", "renames a file"),
    "linking": ("import os; os.symlink(BOOK, HERE + '/left')", "writes a file"),
    "a pipe in the folder": ("import os; os.mkfifo(HERE + '/left')", "raises TypeError"),
    "a folder": ("import os; os.mkdir(HERE + '/left')", "makes a folder"),
    "rights": ("import os; os.chmod(HERE + '/helper.py', 0)", "changes a file"),
}  # fmt: skip
"""What a file does in a function, and what is said of it."""


def graded(folder, code, seconds=0.2, names=("posterior.variance",)):
    """The grades of a file; it is told where everything is that it might look for."""
    file = folder / "posterior.py"
    told = {"BOOK": str(POSTERIOR), "ROOT": str(BOOK.parent), "HERE": str(folder), "ZIP": str(folder / "book.zip")}
    head = "".join(f"{name} = {value!r}\n" for name, value in told.items())
    file.write_text(f"import numpy as np\n{head}{code}", "utf-8")
    return grader.grade(file, [replace(exercise(name), seconds=seconds) for name in names])


def function(body):
    """A function that does something, and then gives the right answer."""
    lines = textwrap.dedent(body).strip() if body.startswith("\n") else textwrap.dedent(f"    {body}")
    return f"def variance(step):\n{textwrap.indent(lines, '    ')}\n    return {RIGHT}\n"


@pytest.fixture(autouse=True)
def single_slips(monkeypatch):
    """Pairs of slips are not looked for: they take long."""
    monkeypatch.setattr(against, "pairs", lambda known: iter(()))


@pytest.fixture
def folder(tmp_path):
    """A folder with a file beside the student's."""
    (tmp_path / "helper.py").write_text("import tinyddpm\n", "utf-8")
    return tmp_path


def test_the_right_answer_passes(folder):
    assert graded(folder, function("pass"))[0].passed


@pytest.mark.skipif(sys.platform != "linux", reason="the system has no such limits")
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_function_does_not_pass(name, folder, monkeypatch):
    body, said = FILES[name]
    (folder / "book.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    before, kept = POSTERIOR.read_bytes(), os.listdir(folder)
    (grade,) = graded(folder, function(body))
    assert grade.outcome == "failed"
    assert any(words in grade.words.replace("\n    ", " ") for words in said.split("|")), grade.words
    assert grade.words.replace("\n", "").isprintable()
    assert sorted(os.listdir(folder)) == sorted([*kept, "posterior.py"]) and POSTERIOR.read_bytes() == before


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("while True: pass", "posterior.py takes longer than 0.5 s"),
        ("import os; os._exit(0)", "posterior.py ended its process"),
        ("raise SystemExit", "posterior.py cannot be imported: SystemExit (line 6)"),
        ("from tinyddpm import posterior", "posterior.py imports tinyddpm, which has the answers"),
        ("def variance(step) return 1", "posterior.py cannot be imported: SyntaxError: expected ':' (line 6)"),
        ('import os\nos.write(3, b\'{"functions": {"variance": 5}}\' + bytes([10]))', "says what nobody asks"),
    ],
)
def test_a_hostile_file_fails_in_all_its_exercises(code, said, folder, monkeypatch):
    monkeypatch.setattr(grader, "START", 0.5)
    grades = graded(folder, code, names=("posterior.variance", "posterior.mean"))
    assert [grade.name for grade in grades] == ["posterior.variance", "posterior.mean"]
    assert all(grade.outcome == "failed" and said in grade.words for grade in grades), grades


def test_another_library_is_named(folder):
    pytest.importorskip("sklearn")
    words = graded(folder, "import sklearn\n")[0].words
    assert words == "posterior.py reads the file sklearn, which an exercise does not need"


def test_after_a_function_that_ends_the_process_the_next_is_graded(folder):
    code = "def mean(x_t, x_0, step): raise NotImplementedError\n" + function("import os; os._exit(1)")
    grades = graded(folder, code, names=("posterior.variance", "posterior.mean"))
    assert [grade.outcome for grade in grades] == ["failed", "not attempted"]


def test_threads_that_live_on_end_with_the_process(folder):
    body = "import threading, time; threading.Thread(target=lambda: time.sleep(60)).start()"
    file = folder / "posterior.py"
    assert graded(folder, function(body))[0].passed
    with grader.Student(file) as student:
        step = grader.Step.from_alpha_bar(0.5)
        student.function(exercise("posterior.variance"))(step)
        assert student.alive
    assert not student.alive


def test_a_file_is_told_nothing_of_the_surroundings(folder, monkeypatch):
    monkeypatch.setenv("PASSWORD", "secret")
    body = "import os\n    if 'PASSWORD' in os.environ: return 0.1"
    assert graded(folder, function(body))[0].passed


def test_what_a_function_changes_in_place_is_said(folder):
    code = "def mean(x_t, x_0, step):\n    if np.ndim(x_t): x_t += 1\n    return " + MEAN
    assert "changes its argument x_t in place" in graded(folder, code, names=("posterior.mean",))[0].words


@pytest.mark.parametrize(
    "code",
    [
        "def variance(step, extra=3): return RIGHT",
        "def variance(s):\n    step = s\n    return RIGHT",
        "from functools import lru_cache, partial\ndef other(a, step): return RIGHT\nvariance = partial(other, 0)",
        "import math, random, statistics, itertools, dataclasses, typing, warnings\n"
        "def variance(step):\n    warnings.warn('hello')\n    print('hello')\n    return RIGHT",
        "from scipy.optimize import brentq\n"
        "def variance(step):\n    assert brentq(lambda x: x - 0.5, 0, 1) == 0.5\n    return RIGHT",
        "from scipy import stats, linalg, integrate, special, interpolate\ndef variance(step): return RIGHT",
        "def variance(step) -> 'no such name': return RIGHT",
        "import fractions, decimal, cmath, collections, functools, re, string, datetime, inspect, copy, enum\n"
        "def variance(step): return RIGHT",
    ],
)
def test_an_honest_function_passes_however_it_is_written(code, folder):
    (grade,) = graded(folder, code.replace("RIGHT", RIGHT))
    assert grade.passed, grade.words
