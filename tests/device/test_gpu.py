"""`make gpu`: what it would do on a GPU, with few steps on the CPU and on the pretended accelerator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from bench import gpu
from raycl import devices, registry
from tests.helpers import pretend as helper
from tests.helpers.pretend import PretendProcess

FEW = gpu.Sizes(
    steps=3,
    networks=gpu.Sizes().networks[:1],
    methods=("finetune", "supsup", "ucl"),
    masks=(1, 2),
    batches=1,
    runs=(1, 2),
    seconds=0.1,
    tests=("tests/supermasks/test_alpha.py",),
)


def test_without_a_gpu_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(devices, "available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "page.md")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err == f"raycl: {gpu.NO_GPU}\n" and not list(tmp_path.iterdir())


def test_it_measures_every_method() -> None:
    assert gpu.Sizes().methods == tuple(registry.method_names())
    assert gpu.Sizes().masks == (1, 16, 64, 250) and gpu.Sizes().runs == (1, 2, 4, 8)


def _parity() -> list[str]:
    return gpu.parity(helper.device(), FEW)


def test_losses_agree_where_the_kernels_are_the_same(pretend: PretendProcess) -> None:
    """Of a method that draws on the device as well, because the comparison draws on the CPU."""
    rows = pretend.run(_parity)[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| finetune", "| supsup", "| ucl"]
    assert all(re.search(r"\| [\d.e+-]+ \|  \|$", row) for row in rows), rows


def test_a_difference_and_a_failure_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    train = gpu.train

    def strange(name: str, *args: object, **kwargs: object) -> gpu.Trained:
        if name == "ucl":
            raise RuntimeError("out of | memory\nand more")
        found = train(name, *args, **kwargs)  # type: ignore[arg-type]
        strange.calls += 1  # type: ignore[attr-defined]
        return gpu.Trained([loss + (strange.calls == 2) for loss in found.losses], 1.0, None)  # type: ignore[attr-defined]

    strange.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(gpu, "train", strange)
    rows = gpu.parity(torch.device("cpu"), FEW)[2:]
    assert "**above 0.0001**" in rows[0] and "above" not in rows[1]
    assert rows[2] == "| ucl | | **failed: RuntimeError: out of   memory** |"


def _times() -> list[str]:
    return gpu.step_times(helper.device(), FEW)


def test_steps_are_timed(pretend: PretendProcess) -> None:
    for rows in (pretend.run(_times), gpu.step_times(torch.device("cpu"), FEW)):
        assert len(rows) == 2 + 3 and "failed" not in "".join(rows)
        assert all(float(row.split(" | ")[2]) > 0 for row in rows[2:])


def _masks() -> list[str]:
    return gpu.many_masks(helper.device(), FEW)


def test_masks_are_trained_one_at_a_time_and_together(pretend: PretendProcess) -> None:
    for rows in (pretend.run(_masks), gpu.many_masks(torch.device("cpu"), FEW)):
        assert [row.split(" | ")[0] for row in rows[2:]] == ["| one at a time, eager", "| 1", "| 2"]


def test_a_part_that_fails_is_reported_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(device: torch.device, sizes: gpu.Sizes) -> list[str]:
        raise RuntimeError("no memory")

    monkeypatch.setattr(gpu, "PARTS", {"First": broken, "Second": lambda device, sizes: ["fine"]})
    text = gpu.page(torch.device("cpu"), FEW)
    assert "## First\n\n**failed: RuntimeError: no memory**" in text and "## Second\n\nfine" in text
    assert "no memory" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_share_a_device_and_tests_are_run() -> None:
    rows = gpu.shared(torch.device("cpu"), FEW)[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| 1", "| 2"]
    assert all(float(row.split(" | ")[1].replace(",", "")) > 0 for row in rows)
    (said,) = gpu.tests(torch.device("cpu"), FEW)
    assert said.startswith("Passed: ") and "skipped" in said
