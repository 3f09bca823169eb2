"""Expansion of a study into its cells, which earlier processes may have made and checked already."""

from __future__ import annotations

from collections.abc import Sequence

from raycl import oldnames, remembering
from raycl.study import memory
from raycl.study.cells import Cell
from raycl.study.given import with_names
from raycl.study.notelines import STUDY, with_notes
from raycl.study.values import Study


def cells_of(study: Study, only: str | None = None, check: bool = True) -> list[Cell]:
    """Return all cells of a study, checked.

    Args:
        study: The study.
        only: A pattern over ``label/benchmark`` that selects cells; None takes all of them.
        check: Whether to check as well that the data are here and that the networks fit them, which loads
            the benchmarks.

    Raises:
        UserError: If the study is wrong; the message names the value, the place and the remedy.
    """
    study = with_names(study)
    found = memory.recalled(study, only, check)
    if found is None:
        from raycl.study.making import made_cells  # imported here, because it loads torch

        found, lasting = made_cells(study, only, check)
        if lasting:
            memory.remember(study, only, check, found)
        remembering.save()
    return with_notes(found, [f"{STUDY}{line}" for line in oldnames.take_seen()])


def references_left_out(study: Study, cells: Sequence[Cell], only: str | None) -> list[Cell]:
    """Return the cells of reference methods that a choice of cells leaves out.

    Transfer is measured against a reference method on the same benchmark in the same order of tasks, so
    reports need its results in any case.

    Args:
        study: The study.
        cells: The cells that were chosen.
        only: The pattern that chose them; None leaves nothing out, and all cells need not be made again.
    """
    if only is None:
        return []
    there = {cell.name for cell in cells}
    needed = {(cell.benchmark, cell.order) for cell in cells}
    return [
        cell
        for cell in cells_of(study, check=False)
        if cell.kinds.is_reference and cell.name not in there and (cell.benchmark, cell.order) in needed
    ]
