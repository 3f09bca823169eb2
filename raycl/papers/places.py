"""The benchmarks of a study to which the places of a claim refer.

A place that the study does not have may be represented by a stand-in, as `catalogue.json` lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

from raycl.catalogue import catalogue
from raycl.papers.claims import Claim
from raycl.papers.matching import is_place, recipe_here, same
from raycl.papers.opposites import opposed
from raycl.results.grammar import Place, parse_place


@dataclass(frozen=True)
class PlaceFound:
    """Benchmarks of a study that a place means.

    Attributes:
        texts: The benchmarks as the study writes them; () if there is none.
        substitute: Whether they are stand-ins.
        refused: Why a stand-in that the study has does not count, or "".
    """

    texts: tuple[str, ...] = ()
    substitute: bool = False
    refused: str = ""


class Places:
    """The benchmarks of a study, as a claim refers to them.

    Args:
        claim: The claim.
        benchmarks: The benchmarks as the study writes them.
        exact: Whether stand-ins do not count.
        others: The claims of the paper, with which a stand-in must not bring the claim into contradiction.
    """

    def __init__(
        self, claim: Claim, benchmarks: Iterable[str], exact: bool = False, others: Sequence[Claim] = ()
    ) -> None:
        self.claim, self.exact, self.others = claim, exact, others
        self.benchmarks = tuple(dict.fromkeys(benchmarks))
        self.own = [item.place for item in claim.items if item.place is not None]

    def of_claim(self, place: Place) -> PlaceFound:
        """Return the benchmarks of a place in the column `benchmark`.

        A setting of the benchmark that a method with a place of its own names must have its default value
        here: the claim compares that method with others on the benchmark as it usually is.
        """
        found = self.found(place, self._opposite(place))
        named = {name for own in self.own if own.benchmark == place.benchmark for name, _ in own.fields}
        usual = [text for text in found.texts if _at_default(text, named - dict(place.fields).keys())]
        return PlaceFound(tuple(usual), found.substitute, found.refused)

    def of_item(self, place: Place) -> PlaceFound:
        """Return the benchmarks of a place that a method of the claim has of its own."""
        return self.found(place, [(other, "") for other in self.own if other != place])

    def found(self, place: Place, told_apart: Iterable[tuple[Place, str]] = ()) -> PlaceFound:
        """Return the benchmarks that a place means, or else its stand-ins.

        A benchmark that the claim is about itself does not stand in for another one of its places.

        Args:
            place: The place.
            told_apart: Other places with which the claim must not confuse it, each with the id of the claim
                that says the opposite of them, or "" for this claim itself.
        """
        if texts := self._named(place):
            return PlaceFound(texts)
        itself = {text for other in self.claim.places for text in self._named(other)}
        texts = tuple(text for text in self._stand_ins(place) if text not in itself)
        for other, claim in told_apart:
            shared = [text for text in texts if text in (self._named(other) or self._stand_ins(other))]
            if shared:
                why = f", of which {claim} says the opposite" if claim else ""
                return PlaceFound(refused=f"{shared[0]} also stands in for {other}{why}")
        return PlaceFound(texts, substitute=bool(texts))

    def _named(self, place: Place) -> tuple[str, ...]:
        return tuple(text for text in self.benchmarks if is_place(text, place))

    def _stand_ins(self, place: Place) -> tuple[str, ...]:
        """Return the benchmarks that stand in for a place; none has the parts of another."""
        known = () if self.exact or place.part else catalogue()["stand_ins"].get(place.benchmark, ())
        for stand_in in map(parse_place, known):
            if stand_in is not None and (texts := self._named(stand_in)):
                return texts
        return ()

    def _opposite(self, place: Place) -> Iterator[tuple[Place, str]]:
        """Yield the places of claims that contradict this one, with the ids of these claims."""
        for other in self.others:
            if opposed(self.claim, other):
                yield from ((there, other.id) for there in other.places if there != place)


def _at_default(text: str, names: set[str]) -> bool:
    recipe = recipe_here(text)
    defaults = {field.name: field.default for field in fields(recipe)}
    return all(same(getattr(recipe, name), defaults[name]) for name in names & defaults.keys())
