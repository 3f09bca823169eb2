"""The addresses of MLflow's pages for every experiment of a database, for `raycl ui`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow.tracking import MlflowClient

from raycl.tune import pages
from raycl.tune.experiment import quiet, run_id_of


@dataclass(frozen=True)
class Addresses:
    """The addresses of an experiment's pages.

    Attributes:
        name: The name of the experiment.
        runs: The table of its runs.
        wide: The same table with all columns.
        compared: By benchmark, the page that compares its methods; a benchmark with one method has none.
    """

    name: str
    runs: str
    wide: str
    compared: dict[str, str]


def addresses(uri: str, base: str) -> Iterator[Addresses]:
    """Yield the addresses of the experiments that raycl wrote, the one that was used last first.

    Args:
        uri: The tracking URI.
        base: The address of MLflow's pages.
    """
    quiet()
    client = MlflowClient(tracking_uri=uri)
    found = client.search_experiments(max_results=1000, order_by=["last_update_time DESC"])
    for experiment in found:
        known = str(experiment.experiment_id)
        cells = client.search_runs([known], "tags.`raycl.kind` = 'cell'", max_results=1000)
        if not cells:
            continue
        by_benchmark: dict[str, list[str]] = {}
        for run in sorted(cells, key=lambda run: str(run.info.run_name)):
            by_benchmark.setdefault(run.data.params.get("benchmark", ""), []).append(run_id_of(run))
        compared = {
            name: pages.compare_link(base, known, ids)
            for name, ids in by_benchmark.items()
            if 1 < len(ids) <= pages.COMPARED
        }
        runs, wide = (pages.runs_link(base, known, view) for view in pages.VIEWS)
        yield Addresses(experiment.name, runs, wide, compared)
