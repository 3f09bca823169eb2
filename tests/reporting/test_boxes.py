"""Boxplots: which runs make which point, and what the reports show of them."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import pytest

from raycl import Boxes, BoxFigure, BoxKind
from raycl.cli import main
from raycl.errors import UserError
from raycl.reporting import render
from raycl.reporting.shapes import Box
from raycl.reporting.table import view_lines
from raycl.reporting.view import View, joined
from raycl.results.collect import collect, sections
from raycl.runs.store import Store
from raycl.study.values import Study
from tests.helpers import hand

TASKS = "digits_permuted(tasks=2, first=3)"
DENSITIES = (0.1, 0.2)


def labels() -> dict[str, dict[str, Any]]:
    """Two kinds of basis of two sizes, and own masks, at two densities each."""
    found: dict[str, dict[str, Any]] = {}
    for density in DENSITIES:
        found[f"own masks {density}"] = {"method": "supsup", "method.density": density}
        for kind, short in (("heterogeneous", "het"), ("random", "rnd")):
            for k in (2, 3):
                keys = {"method": "impresslearn", "method.basis": kind, "method.k": k}
                found[f"{short} {k} {density}"] = {**keys, "method.density": density}
    return found


def study(*views: View, methods: Any = None) -> Study:
    return hand.study(methods=methods or labels(), benchmarks=[TASKS], network="lenet_300_100",
                      preset="impresslearn_alpha_mnist", views=views)  # fmt: skip


def filled(store: Store, of: Study) -> None:
    """acc = k / 10 (own masks: .6) + density + seed / 50; .02 less and more on first and second task."""
    for cell in hand.cells(of).values():
        k = cell.settings.get("method.k")
        base = (k.value / 10 if k else 0.6) + cell.settings["method.density"].value
        for seed in (1, 2):
            acc = base + seed / 50
            rows = hand.reports([[acc], [acc - 0.02, acc + 0.02]])
            diagnostics = {"x_acc": seed / 10} if k is None else {}
            rows = tuple(dataclasses.replace(report, diagnostics=diagnostics) for report in rows)
            hand.put(store, cell.spec({}, seed), rows)


def boxes_of(store: Store, view: Boxes) -> list[Box]:
    of = study(view)
    filled(store, of)
    (section,) = sections(of, collect(of, hand.read(store, of)))
    return view.boxes(section)


def sized(boxes: Sequence[Box]) -> list[tuple[str, Any, int]]:
    return [(box.kind, box.place, len(box.values)) for box in boxes]


def test_a_box_per_kind_and_size_and_a_point_per_seed_and_density(store: Store) -> None:
    found = boxes_of(store, Boxes("t"))
    assert sized(found) == [("own masks", "own masks", 4), ("heterogeneous", 2, 4), ("heterogeneous", 3, 4),
                            ("random", 2, 4), ("random", 3, 4)]  # fmt: skip
    assert sorted(found[1].values) == pytest.approx([0.32, 0.34, 0.42, 0.44])  # the mean over tasks
    assert found[1].quartiles == pytest.approx((0.335, 0.38, 0.425))


def test_points_may_go_by_less_and_rows_be_chosen(store: Store) -> None:
    found = boxes_of(store, Boxes("t", point=["seed"], rows="het *,rnd 3 *"))
    assert sized(found) == [("heterogeneous", 2, 2), ("heterogeneous", 3, 2), ("random", 3, 2)]
    assert found[0].values == pytest.approx((0.37, 0.39))


KINDS = [
    BoxKind("own", "own *", band=True),
    BoxKind("wrong", "own *", value="x_acc", place="X"),
    BoxKind("trained", "het *"),
    BoxKind("given", "own *"),
]


def test_kinds_say_which_rows_and_which_number_and_where(store: Store) -> None:
    found = boxes_of(store, Boxes("t", kinds=KINDS))
    assert [(box.kind, box.place, box.band) for box in found] == [
        ("own", "own", True), ("wrong", "X", False), ("trained", 2, False), ("trained", 3, False),
        # Rows without a size stand at the sizes of the rows that run on the same benchmark.
        ("given", 2, False), ("given", 3, False),
    ]  # fmt: skip
    assert sorted(found[1].values) == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert found[0].values == found[4].values == found[5].values
    alone = boxes_of(store, Boxes("t", kinds=KINDS[3:]))
    assert [(box.kind, box.place) for box in alone] == [("given", "given")]  # there is no size to stand at


def test_names_are_left_of_numbers_in_a_figure(store: Store) -> None:
    of = study(Boxes("t", kinds=[KINDS[2], KINDS[1]]))
    filled(store, of)
    page = render(of, hand.read(store, of), "html")
    figure = page[page.index('aria-label="t on') :]
    assert figure.index(">X<") < figure.index(">2<") < figure.index(">3<")


def test_panels_of_all_benchmarks_are_one_figure(store: Store) -> None:
    other = "digits_permuted(tasks=2)"
    methods = labels()
    for label in ("het 2 0.1", "het 2 0.2"):
        methods[f"again {label}"] = methods[label] | {"method.stage": "basis_gn", "benchmarks": [other]}
    left, right = Boxes("New", kinds=KINDS[:3]), Boxes("Old", kinds=[BoxKind("trained", "again *")])
    of = study(BoxFigure("Both", [left, right], notes=["mind the gap"]), VIEW, methods=methods)
    filled(store, of)
    agenda = hand.read(store, of)
    text = render(of, agenda)
    assert (
        text.count("Both: digits_permuted") == text.count("mind the gap") - text.count("two densities") == 1
    )
    table = text[text.index("Both: ") : text.index("mind")].splitlines()
    assert [line.split("  ")[0] for line in table[2:]] == [
        "New", "own", "wrong", "trained", "trained", "Old", "trained"
    ]  # fmt: skip
    assert text.index("Both: ") < text.index("method ")
    page = render(of, agenda, "markdown", path=store.root / "page.md")
    assert page.count("![Both") == 1 and page.index("![Both") < page.index("| method |")
    html = render(of, agenda, "html")
    assert html.count('aria-label="Both on digits_permuted"') == 1
    assert html.count(">New<") >= 1 and html.count(">Old<") >= 1
    points = list(csv.DictReader(io.StringIO(render(of, agenda, "csv", points=True))))
    ours = [line for line in points if line["view"] == "Both: Old"]
    assert {line["benchmark"] for line in ours} == {other} and len(ours) == 2 * 2 * 2
    with pytest.raises(UserError, match=r"panels and notes are lists; write panels=\[Boxes"):
        BoxFigure("t", left)  # type: ignore[arg-type]


def test_a_reference_is_a_band_and_other_metrics_are_columns(store: Store) -> None:
    found = boxes_of(store, Boxes("t", rows="het 2 *", reference="own *", also={"X": "x_acc"}))
    assert [(box.kind, box.place, box.band) for box in found] == [
        ("own masks", "own masks", True), ("heterogeneous", 2, False), ("X", "X", False)
    ]  # fmt: skip
    assert sorted(found[2].values) == pytest.approx([0.1, 0.1, 0.2, 0.2])


VIEW = Boxes("Fig. 3", rows="own*,het *", notes=["two densities; mind the gap"])

TABLE = """\
Fig. 3: digits_permuted(tasks=2, first=3)
kind           K  points  mean  lower  median  upper
own masks      -       4  .780   .735    .780   .825
heterogeneous  2       4  .380   .335    .380   .425
heterogeneous  3       4  .480   .435    .480   .525
two densities; mind the gap"""


def test_the_table_of_a_view_follows_the_main_one(store: Store) -> None:
    of = study(VIEW)
    filled(store, of)
    agenda = hand.read(store, of)
    text = render(of, agenda)
    assert TABLE in text and text.index("method") < text.index(TABLE)
    assert max(map(len, text.splitlines())) <= 80
    (section,) = sections(of, collect(of, agenda))
    wide = view_lines(dataclasses.replace(VIEW, also={"a name of many words " * 6: "acc"}), section)
    assert max(map(len, wide)) <= 80 and wide[-2].startswith("a name of many")


def test_a_page_with_views_has_their_figures(store: Store) -> None:
    of = study(VIEW, Boxes("reference", reference="own*", also={"X": "x_acc"}))
    filled(store, of)
    page = render(of, hand.read(store, of), "html")
    assert 'aria-label="Fig. 3 on digits_permuted(tasks=2, first=3)"' in page
    assert ">heterogeneous<" in page and ">own masks<" in page and "mind the gap" in page
    assert "Accuracy while learning" in page  # few labels: the figures with a line for each stay
    assert page == render(of, hand.read(store, of), "html")


def test_with_very_many_labels_views_come_first_and_figures_by_label_are_left_out(store: Store) -> None:
    many = {f"{label} again {n}": {**keys, "fit.lr": 0.01 * (n + 1)} for n in range(3)
            for label, keys in labels().items()}  # fmt: skip
    of = study(VIEW, methods=many)
    filled(store, of)
    agenda = hand.read(store, of)
    text = render(of, agenda)
    assert text.index("Fig. 3") < text.index("method")
    page = render(of, agenda, "html")
    assert "Accuracy while learning" not in page and "Accuracy matrices" not in page
    assert "30 methods would crowd the curves" in page and "Fig. 3 on digits_permuted" in page
    plain = dataclasses.replace(of, views=())
    assert "Accuracy matrices" in render(plain, agenda, "html")


def test_raw_points_as_csv(store: Store) -> None:
    of = study(dataclasses.replace(VIEW, also={"X": "x_acc"}))
    filled(store, of)
    lines = list(csv.DictReader(io.StringIO(render(of, hand.read(store, of), "csv", points=True))))
    assert list(lines[0]) == ["view", "benchmark", "subset", "label", "kind", "seed", "order", "k", "basis",
                              "density", "task", "acc", "x_acc"]  # fmt: skip
    assert len(lines) == 6 * 2 * 2 + 2 * 2  # labels, seeds and tasks; and X of two labels and seeds
    one = [line for line in lines if (line["label"], line["seed"]) == ("het 3 0.2", "2")]
    assert [(line["kind"], line["k"], line["density"], line["task"], float(line["acc"])) for line in one] == [
        ("heterogeneous", "3", "0.2", "1", pytest.approx(0.52)),
        ("heterogeneous", "3", "0.2", "2", pytest.approx(0.56)),
    ]
    assert {(line["k"], line["task"]) for line in lines if line["kind"] == "X"} == {("", "")}
    with pytest.raises(UserError, match="this study has no views"):
        render(hand.study(), hand.read(store, hand.study()), "csv", points=True)
    with pytest.raises(UserError, match="are written only in the format csv"):
        render(of, hand.read(store, of), "html", points=True)


def test_what_a_view_cannot_do_is_told_at_once() -> None:
    with pytest.raises(UserError, match=r"'k' should be a setting such as 'method\.k'"):
        Boxes("t", x="k")
    with pytest.raises(UserError, match=r"notes = 'mind' should be a list; write \['mind'\]"):
        Boxes("t", notes="mind")
    with pytest.raises(UserError, match="point = 'seed' should be a list"):
        Boxes("t", point="seed")
    with pytest.raises(UserError, match=r"also\['other'\] = 'acc\[' should be a metric such as"):
        Boxes("t", also={"other": "acc["})
    with pytest.raises(UserError, match=r"value = 'acc\[' should be a metric such as"):
        Boxes("t", value="acc[")
    with pytest.raises(UserError, match=r"value of kind 'own' = 'acc\[' should be a metric such as"):
        Boxes("t", kinds=[BoxKind("own", "own *", value="acc[")])
    with pytest.raises(UserError, match="kinds replace rows, reference and also"):
        Boxes("t", kinds=KINDS, reference="own *")
    with pytest.raises(
        UserError, match=r"'t' uses 'method.kk', which is not a setting of any .*; did you mean 'method.k'\?"
    ):
        hand.cells(study(Boxes("t", x="method.kk")))
    with pytest.raises(UserError, match="views = 'boxes' should be a list of views"):
        hand.cells(hand.study(views="boxes"))


STUDY = """
from raycl import Boxes, Seeds, Study
STUDY = Study(methods={"supsup": {}}, benchmarks=["digits_split"], search=None, final=Seeds(1),
              views=[Boxes("t", x="method.density", colour="method.mask_values", point=["seed"])])
"""


def test_the_command_line_knows_claims_and_points(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "seen.py"
    file.write_text(STUDY)
    words = ["report", str(file), "--store", str(tmp_path / "store")]
    assert main([*words, "--claims"]) == 0
    assert capsys.readouterr().out == "claims: none is about the methods and benchmarks of this study\n"
    assert main([*words, "--points"]) == 0
    assert main([*words, "--points", "--claims"]) == 2


def test_results_on_all_benchmarks_are_named_after_each(store: Store) -> None:
    of = hand.study(benchmarks=["digits_permuted(tasks=2)", "digits_split"])
    found = sections(of, collect(of, hand.read(store, of)))
    names = ("my digits", "")
    mine = [dataclasses.replace(section, named=name) for section, name in zip(found, names, strict=True)]
    assert joined(mine).name == "my digits, digits_split"
