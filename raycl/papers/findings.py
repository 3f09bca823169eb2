"""The outcome of a claim: a finding for each comparison, and the verdict on all of them."""

from __future__ import annotations

from dataclasses import dataclass

from raycl.papers.claims import Claim
from raycl.papers.judging import GRAVEST
from raycl.results.grammar import Stored


@dataclass(frozen=True)
class ClaimFinding:
    """One comparison of a claim.

    Attributes:
        word: The word of the comparison; see `judging.GRAVEST`.
        where: The benchmarks as they are printed, or "" for arithmetic.
        subset: Why the numbers on these benchmarks cannot be compared with published ones, or "".
        left, right: The sides that were compared.
        chosen: Whether the right side is the best of several.
        values: The mean of each side, or the means along the axis of a trend.
        levels: The places on that axis.
        difference: The mean paired difference left - right (for a trend, last - first), or None.
        half_width: The half-width of the difference's 95 % confidence interval; None where there is no
            difference or only a single pair.
        n: The number of seeds, or of orders, behind the comparison; 0 for arithmetic.
        reason: Why the comparison was not run.
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
    """A claim with all its comparisons.

    Attributes:
        claim: The claim.
        findings: The comparisons.
        orders: Whether orders were paired instead of seeds.
    """

    claim: Claim
    findings: tuple[ClaimFinding, ...]
    orders: bool = False

    @property
    def word(self) -> str:
        """The word of the gravest comparison that was run."""
        return min((finding.word for finding in self.findings), key=GRAVEST.index)

    @property
    def arithmetic(self) -> bool:
        """Whether the claim is arithmetic and needs no runs."""
        return all(isinstance(side, Stored) for side in self.claim.left)
