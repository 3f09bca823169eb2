"""Verdicts on claims about storage and sizes, which are exact and need no seeds."""

from __future__ import annotations

from dataclasses import replace

from raycl import registry
from raycl.errors import UserError
from raycl.papers.claims import Claim
from raycl.papers.findings import ClaimFinding
from raycl.papers.judging import HOLDS, NOT_RUN, REVERSED, satisfied
from raycl.results.grammar import Side, Stored
from raycl.results.numbers import setting
from raycl.results.rows import CellRow

# Torch, and the accounts that need it, are imported where a claim is about storage: it takes seconds to load.


def trunk_bytes(row: CellRow) -> float | None:
    """Return the bytes of a row's network without its heads, in float32.

    The result is None where the data are missing, because the shapes of the data determine the network.
    """
    cell = row.cell
    try:
        benchmark = registry.load(cell.benchmark, cell.trial_seed, 0, cell.identity)
    except UserError:
        return None
    values = {key.partition(".")[2]: setting(row, key) for key in cell.settings if key.startswith("net.")}
    import torch

    with torch.device("meta"):
        net = cell.network(benchmark.input_shape, benchmark.classes, cell.network.Config(**values))
    return 4.0 * sum(p.numel() for name, p in net.named_parameters() if not name.startswith("heads."))


def accounted(claim: Claim, left: Side, right: Side | None) -> ClaimFinding:
    """Return the finding on one pair of sides of a storage claim, in the unit of the claim.

    The comparison is exact; no seeds are needed.
    """
    values = [_stored(side, claim) if isinstance(side, Stored) else side for side in (left, right)]
    finding = ClaimFinding(
        NOT_RUN, left=str(left), right=f"{right:g}" if isinstance(right, float) else str(right)
    )
    lacking = [
        str(side) for side, v in zip((left, right), values, strict=True) if not isinstance(v, int | float)
    ]
    if lacking:
        return replace(finding, reason=f"no account of {lacking[0]} is known")
    pair = tuple(float(value) for value in values if isinstance(value, int | float))
    word = HOLDS if satisfied(claim, *pair) else REVERSED
    return replace(finding, word=word, values=pair, difference=pair[0] - pair[1], compared=1)


def _stored(stored: Stored, claim: Claim) -> float | None:
    """Return the number of a storage account in the unit of the claim, or None if there is no such account.

    An account is a row of ImpressLearn's Table 2, a given number of coefficients, or one of KSM's models and
    masks.
    """
    from raycl.papers.accounts import impresslearn
    from raycl.papers.accounts.ksm import account

    name, *rest = stored.arguments
    row = next((row for row in impresslearn.TABLE_2 if row.name == name), None)
    found = row.account() if row else None
    given = dict(part.partition("=")[::2] for part in rest)
    if name == "alpha" and given.keys() == {"K", "layers"}:
        found = impresslearn.storage(
            1, int(given["K"]), int(given["layers"]), 1, density=impresslearn.DENSITY
        )
    if found is None and not rest:
        counted = account(name, claim.metric.name)
    else:
        counted = getattr(found, "alphas" if claim.metric.name == "params" else claim.metric.name, None)
    return None if counted is None else counted / claim.scale
