"""What the checks said of each equation: read from the report that pytest wrote, never set by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinyddpm import mutants


class Report:
    """The report of `pytest --equation-report=FILE`; empty when there is no such file. And that of `tinyddpm mutants`."""

    def __init__(self, path: Path, planted: Path) -> None:
        self.mutants = mutants.load(planted)
        self.rows: dict[str, Any] = json.loads(path.read_text("utf-8"))["equations"] if path.is_file() else {}

    def status(self, name: str) -> str:
        """One of "proved", "checked", "failed" or "unchecked"; "not run" without a report."""
        return self.rows[name]["status"] if name in self.rows else "not run"

    def tests(self, name: str) -> list[dict[str, Any]]:
        """The tests of an equation, the cases of one test counted as one."""
        merged = {test["id"].partition("[")[0]: test["line"] for test in self.rows.get(name, {}).get("tests", [])}
        return [{"id": key, "line": line} for key, line in merged.items()]

    def sentence(self, name: str) -> str:
        """Such as "proved; 3 checks, 600 examples, largest residual 2e-15"."""
        if name not in self.rows:
            return "checks not run"
        row = self.rows[name]
        checks = len(self.tests(name))
        parts = [f"{checks} check{'' if checks == 1 else 's'}", f"{row['examples']:,} examples"]
        if row["residual"] is not None:
            parts.append(f"largest residual {row['residual']:.0e}")
        if name in self.mutants and self.mutants[name].mutants:
            parts.append(f"{self.mutants[name].caught} mutants caught")
        said = {"proved": "proved equal to its code; ", "checked": ""}.get(row["status"], f"{row['status']}; ")
        reason = f"; not proved, since {row['unproved_reason']}" if row.get("unproved_reason") else ""
        return said + ", ".join(parts) + reason
