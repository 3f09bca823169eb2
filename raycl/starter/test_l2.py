"""Tests of the method and the study: python -m pytest"""

import csv
import io
from pathlib import Path

from l2 import L2

from raycl import Seeds, Study, report, run_study

HERE = Path(__file__).parent


def accuracies(method, store, **settings):
    """Return the accuracies of a small study of one method on scikit-learn's digits."""
    study = Study(
        methods={"it": {"method": method, **settings}},
        benchmarks=["digits_split"],
        network="mlp(hidden=8)",
        preset="spg+desk",
        fit={"epochs": 1},
        search=None,
        final=Seeds(1),
    )
    assert run_study(study, store, local=True).code == 0
    rows = csv.DictReader(io.StringIO(report(study, store, "csv")))
    return [row["acc"] for row in rows]


def test_strength_zero_gives_the_same_bits_as_finetuning(tmp_path):
    assert accuracies(L2, tmp_path, **{"method.lamb": 0.0}) == accuracies("finetune", tmp_path)


def test_a_penalty_changes_the_result(tmp_path):
    assert accuracies(L2, tmp_path, **{"method.lamb": 1.0}) != accuracies("finetune", tmp_path)


def test_the_study_can_be_run(tmp_path):
    assert "mine" in report(HERE / "study.py", tmp_path)
