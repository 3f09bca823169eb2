"""The outcome of a claim: a finding for each comparison, and the verdict on all of them."""

from __future__ import annotations

from dataclasses import dataclass

from raycl.papers.claims import Claim
from raycl.papers.judging import NOT_RUN, Judgement, Step, gravest
from raycl.results.grammar import Stored

SUBSET, SUBSTITUTE = "subset", "substitute"  # Words for data that are not those of the paper.


@dataclass(frozen=True)
class ClaimFinding:
    """One comparison of a claim.

    Attributes:
        word: The word of the comparison; see `judging.GRAVEST`.
        lean: Whether an undecided comparison is met or missed in the mean; "" for every other word.
        where: The benchmarks as they are printed, or "" for arithmetic.
        subset: Why the numbers on these benchmarks cannot be compared with published ones, or "".
        other_data: Which of `SUBSET` and `SUBSTITUTE` apply to these benchmarks.
        left, right: The sides that were compared.
        left_rows, right_rows: The labels of the rows that were compared, where the study has several that fit
            a side; () where there is no choice.
        chosen: Whether the right side is the best of several.
        values: The mean of each side, or the means along the axis of a trend.
        levels: The places on that axis.
        difference: The mean paired difference left - right (for a trend, last - first; for a ratio,
            left - margin right), or None.
        half_width: The half-width of the difference's 95 % confidence interval; None where there is no
            difference or only a single pair.
        n: The number of pairs behind the comparison; 0 for arithmetic.
        unit: What was paired: "seed", "order" or, for the trials of a grid, "setting".
        step: The single step that decides about a trend, or None if its whole change does.
        source: Where values come from that are not those of final runs, or "".
        asked: The number of elementary comparisons that the claim asks for in this one: of each method of
            one side with each of the other, on each benchmark, at each level of a trend.
        compared: How many of them there are numbers for.
        reason: Why the comparison was not run.
        unmeasured: Whether that is because finished runs do not have the metric.
    """

    word: str
    lean: str = ""
    where: str = ""
    subset: str = ""
    other_data: tuple[str, ...] = ()
    left: str = ""
    right: str = ""
    left_rows: tuple[str, ...] = ()
    right_rows: tuple[str, ...] = ()
    chosen: bool = False
    values: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    difference: float | None = None
    half_width: float | None = None
    n: int = 0
    unit: str = "seed"
    source: str = ""
    step: Step | None = None
    asked: int = 1
    compared: int = 0
    reason: str = ""
    unmeasured: bool = False

    @property
    def informative(self) -> bool:
        """Whether the reason says more than what a study lacks, such as why a stand-in is refused."""
        return bool(self.reason) and (": " in self.reason or not self.reason.startswith("needs "))


@dataclass(frozen=True)
class Verdict:
    """A claim with all its comparisons.

    Attributes:
        claim: The claim.
        findings: The comparisons.
    """

    claim: Claim
    findings: tuple[ClaimFinding, ...]

    @property
    def judgement(self) -> Judgement:
        """The outcome of the gravest comparison that was run."""
        return gravest(Judgement(finding.word, finding.lean) for finding in self.findings)

    @property
    def word(self) -> str:
        """The word of the gravest comparison that was run."""
        return self.judgement.word

    @property
    def arithmetic(self) -> bool:
        """Whether the claim is arithmetic and needs no runs."""
        return all(isinstance(side, Stored) for side in self.claim.left)

    @property
    def asked(self) -> int:
        """The number of elementary comparisons that the claim asks for."""
        return sum(finding.asked for finding in self.findings)

    @property
    def compared(self) -> int:
        """How many of them there are numbers for."""
        return sum(finding.compared for finding in self.findings)

    @property
    def other_data(self) -> tuple[str, ...]:
        """Which of `SUBSET` and `SUBSTITUTE` apply to the data of comparisons that were run."""
        run = [finding for finding in self.findings if finding.word != NOT_RUN]
        return tuple(word for word in (SUBSET, SUBSTITUTE) if any(word in one.other_data for one in run))

    @property
    def complete(self) -> bool:
        """Whether all was compared that the claim is about, on the data of the paper."""
        return self.compared == self.asked and not self.other_data

    @property
    def said(self) -> str:
        """The word as reports print it: ``holds``, or ``holds so far`` if the verdict is not complete."""
        return self.word if self.complete or self.word == NOT_RUN else f"{self.word} so far"

    @property
    def coverage(self) -> str:
        """How much of the claim the verdict covers, such as ``2 of 9, with substitutes``; "" if all of it."""
        if self.complete or self.word == NOT_RUN:
            return ""
        data = " and ".join(f"{word}s" for word in self.other_data)
        return f"{self.compared} of {self.asked}" + (f", with {data}" if data else "")
