"""The mutants: what is counted, what is proved the same, and what the report says."""

import json

import pytest

from tinyddpm import against, cli, equations, mutants
from tinyddpm.equation import find
from tinyddpm.slips import Slip, slips


def test_a_mutant_that_is_the_same_function_is_proved_so():
    known = find("posterior.variance")

    def same(step):
        return step.beta * (1 - step.alpha_bar_prev) / (1 - step.alpha_bar)

    def other(step):
        return step.beta * (1 - step.alpha_bar) / (1 - step.alpha_bar_prev)

    assert mutants.same(known, Slip(same, "", "")) and not mutants.same(known, Slip(other, "", ""))
    assert not mutants.same(find("mixture.Mixture.score"), Slip(same, "", ""))  # no algebra


def test_a_report_is_renewed_row_by_row(tmp_path):
    file = tmp_path / "mutants.json"
    mutants.save({"posterior.mean": mutants.Score(mutants=3, killed=3)}, file)
    mutants.save({"forward.snr": mutants.Score(mutants=2, killed=1, survivors=["return 1"])}, file)
    found = mutants.load(file)
    assert [*found] == ["forward.snr", "posterior.mean"]
    assert found["posterior.mean"].caught == "3 of 3" and found["forward.snr"].caught == "1 of 2"
    assert {*mutants.changed(file)} == {known.name for known in equations()}
    known = find("forward.snr")
    mutants.save({"forward.snr": mutants.Score(code=mutants.identity(known))}, file)
    assert "forward.snr" not in mutants.changed(file)


def test_the_command(tmp_path, monkeypatch, capsys):
    file, scores = tmp_path / "mutants.json", {"forward.snr": mutants.Score(5, 3, ["a"], {"b": "why"})}
    monkeypatch.setattr(mutants, "run", lambda names, workers: scores)
    assert cli.main(["mutants", "forward.snr", "--report", str(file)]) == 0
    said = "1 equations: 5 mutants, 3 caught, 1 proved the same function, 1 the same for a reason, 0 survive"
    assert said in capsys.readouterr().out and json.loads(file.read_text())["forward.snr"]["killed"] == 3
    scores["forward.snr"].survivors.append("return 1")
    assert cli.main(["mutants", "--report", str(file)]) == 1
    assert cli.main(["mutants", "forward.snr", "--changed"]) == 2
    assert "changed must be left out where names are given" in capsys.readouterr().err


@pytest.mark.parametrize("row", mutants.REASONS)
def test_what_is_right_for_a_reason_gives_the_same_on_all_examples(row):
    name, _, code = row.partition(": ")
    (slip, *_) = (slip for slip in slips(find(name), own=True) if slip.code == code)
    verdict = against.compare(name, slip.function, name_slip=False)
    assert verdict.outcome == "passes" and verdict.examples > 5


@pytest.mark.skipif(not mutants.REPORT.is_file(), reason="the report does not travel with the package")
def test_in_the_report_no_mutant_survives():
    for name, score in mutants.load().items():
        assert not score.survivors, name
        assert score.killed > 0 or name in mutants.PLAIN, name
