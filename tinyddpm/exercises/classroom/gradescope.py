"""The autograder for Gradescope: what is in its folder, and what it writes.

The layout is Gradescope's: ``source`` holds the folder that was uploaded, ``submission`` the student's files, and
``results/results.json`` is written. All of it is in ``/autograder``, or where the variable ``AUTOGRADER`` says.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

VISIBILITIES = ("visible", "after_due_date", "after_published", "hidden")
"""When students see results, as Gradescope calls it."""

SETUP = """\
#!/usr/bin/env bash
# Runs once, when the autograder is built.
set -euo pipefail
root=${{AUTOGRADER:-/autograder}}
apt-get install -y python3 python3-pip python3-venv
id student || adduser student --no-create-home --disabled-password --gecos ""
python3 -m venv "$root/venv"
cd "$root/source"
"$root/venv/bin/pip" install torch --index-url https://download.pytorch.org/whl/cpu
"$root/venv/bin/pip" install {install}
"""
"""What is installed."""

RUN = """\
#!/usr/bin/env bash
# Runs for each submission.
root=${{AUTOGRADER:-/autograder}}
results=$root/results/results.json
mkdir -p "$root/results"
printf '{{"score": 0, "output": "The grader has stopped before its end. Please tell your teacher."}}' > "$results"
if id student > /dev/null 2>&1 && [ "$(id -u)" = 0 ]; then export TINYDDPM_USER=student; fi
exec "$root/venv/bin/python" -m tinyddpm.exercises.classroom.gradescope "$root" {visibility}
"""
"""What grades one submission. A file of results is there from the beginning, so that a grader that is ended says so."""


def results(root: Path, visibility: str) -> dict[str, Any]:
    """The results of a submission in Gradescope's format: a test for each exercise, with its points."""
    from . import exercise
    from .command import read_set
    from .grader import grade

    begun, points = time.monotonic(), read_set(root / "source" / "exercises.txt")
    tests = []
    for chapter in dict.fromkeys(name.partition(".")[0] for name in points):
        chosen = [exercise(name) for name in points if name.startswith(f"{chapter}.")]
        found = sorted((root / "submission").rglob(f"{chapter}.py"), key=lambda file: len(file.parts))
        grades = {each.name: each for each in grade(found[0], chosen)} if found else {}
        for each in chosen:
            mark = grades.get(each.name)
            words = "" if mark is None else mark.words or ("is not attempted yet" if not mark.passed else "passes")
            worth = points[each.name]
            tests.append(
                {
                    "name": f"{each.name}: {each.title}",
                    "score": worth if mark is not None and mark.passed else 0.0,
                    "max_score": worth,
                    "status": "passed" if mark is not None and mark.passed else "failed",
                    "output": words or f"{chapter}.py is not among the files that were handed in",
                    "output_format": "text",
                    "visibility": visibility,
                }
            )
    done = sum(each["status"] == "passed" for each in tests)
    return {
        "execution_time": round(time.monotonic() - begun),
        "output": f"{done} of {len(tests)} exercises are done.",
        "output_format": "text",
        "stdout_visibility": "hidden",
        "tests": tests,
    }


def main(root: Path, visibility: str) -> int:
    """Grade a submission and write its results."""
    made = results(root, visibility)
    (root / "results" / "results.json").write_text(json.dumps(made, indent=2), "utf-8")
    print(made["output"])
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
