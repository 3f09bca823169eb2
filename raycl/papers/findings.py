"""What is said of a claim: a finding for each comparison, and the verdict on all of them."""

from __future__ import annotations

from dataclasses import dataclass

from raycl.papers.claims import Claim
from raycl.papers.judging import GRAVEST
from raycl.results.grammar import Stored


@dataclass(frozen=True)
class ClaimFinding:
    """One comparison of a claim.

    Attributes:
        where: benchmarks as they are printed, "" of arithmetic.
        left, right: what was compared.
        chosen: whether the right side is the best of several.
        values: mean of either side, or along the axis of a trend.
        levels: the places on that axis.
        difference: mean paired difference left - right (of a trend: last - first); None where there is none.
        half_width: of its 95 % confidence interval; None where there is no difference, or a single pair.
        n: seeds, or orders, behind it; 0 of arithmetic.
        reason: why it was not run.
    """

    word: str
    where: str = ""
    subset: str = ""
    left: str = ""
    right: str = ""
    chosen: bool = False
    values: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    difference: float | None = None
    half_width: float | None = None
    n: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """A claim and all its comparisons; `word` is that of the gravest one that was run."""

    claim: Claim
    findings: tuple[ClaimFinding, ...]
    orders: bool = False  # whether orders were paired, not seeds

    @property
    def word(self) -> str:
        return min((finding.word for finding in self.findings), key=GRAVEST.index)

    @property
    def arithmetic(self) -> bool:
        """Whether no run is asked."""
        return all(isinstance(side, Stored) for side in self.claim.left)
