"""The page: whole, self-contained, escaped, the same bytes for the same store."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from raycl.reporting import render, standing
from raycl.reporting.html import write_html
from raycl.results.collect import collect, sections
from raycl.space import Choice, Int
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.values import Seeds
from tests.helpers import hand
from tests.helpers.hand import ALONE, BENCHMARK, OTHER, RATE, SEARCH

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks that tags close in order; keeps attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


EVIL = '<b>&"$x$'


@pytest.fixture
def page(store) -> str:
    return make(store)


def make(store) -> str:
    """A study with all that a page can show: a search, a divergence, a label that wants to be HTML."""
    domains = {"fit.lr": RATE, "fit.patience": Int(1, 8), "fit.batch": Choice(16, 32)}
    study = hand.study(
        methods={"one": {"method": ALONE}, "finetune": domains, EVIL: {"method": OTHER}}, search=SEARCH
    )
    cells = hand.cells(study)
    hand.filled(store, study)
    trials = [
        ({"fit.lr": lr, "fit.patience": n + 1, "fit.batch": 16 * (n % 2 + 1)},
         None if n == 1 else hand.reports([[lr + 0.5], [lr + 0.4, lr + 0.5]]))
        for n, lr in enumerate((0.1, 0.2, 0.3, 0.05))
    ]  # fmt: skip
    hand.put_trials(store, cells[f"finetune/{BENCHMARK}"], trials)
    for seed in (1, 2):
        spec = cells[f"{EVIL}/{BENCHMARK}"].spec({}, seed)
        hand.put(store, spec, hand.reports(hand.ONE[seed]), raycl="0.1.0", commit="abc123", numerics="strict")
    return render(study, hand.read(store, study), "html", command="raycl run 'my <study>.py'")


WORDS = (
    "small",
    "3 methods on 1 benchmark",
    "not complete",
    "raycl run 'my <study>.py'",
    "0.1.0 abc123",
    "Accuracy while learning",
    "Task by task",
    "Accuracy matrices",
    "Searches",
    "Configurations",
    "What the numbers mean",
    "2023-11-14 22:13 UTC",
    "fewer than 30 trials say little",
    "fit.lr = 0.3",
)


def test_the_page_is_well_formed_and_has_its_parts(page):
    parsed = Page(page)
    for words in WORDS:
        assert words in parsed.words, words


def test_nothing_is_fetched_from_anywhere(page):
    for tag, attributes in Page(page).tags:
        assert tag not in ("link", "iframe", "object"), tag
        assert tag != "script" or not attributes, "the script is in the page itself"
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value[:60])
    addresses = set(re.findall(r"https?://[^\"' <>]*", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not places
    assert "@import" not in page and "url(http" not in page


def test_ids_are_unique_and_references_meet_them(page):
    ids = [value for _, attributes in Page(page).tags if (value := attributes.get("id"))]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_what_a_user_wrote_is_text(page):
    assert "<b>" not in page
    parsed = Page(page)
    assert EVIL in parsed.words and parsed.words.count(EVIL) >= 5  # tables and figures


def test_figures_carry_axes_with_units(page):
    assert page.count("<svg ") == 7  # tradeoff, curves, by task, matrices, progress, sensitivity, one search
    for label in ("test accuracy (fraction)", "tasks learnt", "seconds", "fwt_vs_one (fraction)", "trial",
                  "validation accuracy (fraction)", "tested on task", "fit.lr",
                  "compute time (s)", "stored after the last task"):  # fmt: skip
        assert f">{label}<" in page, label


def test_results_come_first_and_provenance_last(page):
    heads = ["Results", "More numbers", "Parameter sensitivity and cost of the search</h3>",
             "What the numbers mean", "What was run, where and when"]  # fmt: skip
    places = [page.index(f"{head}<" if "<" not in head else head, page.index("</nav>")) for head in heads]
    assert places == sorted(places)
    assert page.index("accuracy against compute time and stored bytes") < page.index("<table")


def test_the_best_and_what_is_within_noise_of_it_are_marked(store):
    methods = {"one": {"method": ALONE}} | {
        f"lr {lr}": {"method": "finetune", "fit.lr": lr} for lr in (0.1, 0.2, 0.3)
    }
    study = hand.study(methods=methods)
    for label, acc in zip(methods, (0.99, 0.9, 0.895, 0.5), strict=True):
        for seed in (1, 2):
            level = acc + (0.01 if seed == 1 else -0.01)
            spec = hand.cells(study)[f"{label}/{BENCHMARK}"].spec({}, seed)
            hand.put(store, spec, hand.reports([[level], [level, level]]))
    page = render(study, hand.read(store, study), "html")
    table = page[page.index('<table class="sort">') : page.index("</table>")]
    found = dict(re.findall(r'</span>([^<]*)</th>\s*<td(?: class="(\w+)")?>', table))
    assert found == {"one": "", "lr 0.1": "best", "lr 0.2": "near", "lr 0.3": ""}
    single = hand.study(name="single", methods=methods, final=Seeds(1))
    assert 'class="best"' not in render(single, hand.read(store, single), "html")


def test_means_over_benchmarks_are_of_methods_that_have_all_of_them(store):
    other = "digits_permuted(tasks=2, data_seed=7)"
    study = hand.study(methods={"one": {"method": ALONE}, "finetune": {}, "hat": {}},
                       benchmarks=[BENCHMARK, other])  # fmt: skip
    accs = {("one", BENCHMARK): 0.9, ("one", other): 0.5, ("finetune", BENCHMARK): 0.8,
            ("finetune", other): 0.7, ("hat", other): 0.9}  # fmt: skip
    for (label, benchmark), acc in accs.items():
        spec = hand.cells(study)[f"{label}/{benchmark}"].spec({}, 1)
        hand.put(store, spec, hand.reports([[acc], [acc, acc]], main=2.0))
    found = sections(study, collect(study, hand.read(store, study)))
    header, rows = standing.means(study, found)
    assert header == ["method", "acc", "fwt_vs_one", "bwt", "mean rank", "ps", "time, summed (s)"]
    assert rows == [
        ["one", ".700", "-", "-", "1.5", "-", "8.0"],
        ["finetune", ".750", "+.050", ".000", "1.5", "-", "8.0"],
    ]
    assert standing.means(study, found[:1])[1] == []


@pytest.mark.skipif(shutil.which("node") is None, reason="node, which executes the script, is not installed")
def test_tables_sort_by_number_with_absent_ones_last(page, tmp_path):
    script = page[page.index("<script>") + 8 : page.index("</script>")]
    column = [".91", "-", "1.000", "-.02", "12 k", "3 kB", "1.2 M"]
    (tmp_path / "sort.js").write_text(
        "const document = { querySelectorAll: () => [] };\n"
        + script
        + f"""
const rows = {column}.map((text) => ({{ cells: [{{ textContent: text }}] }}));
const body = {{ rows, append: (...all) => (body.rows = all) }}, set = {{}};
const head = {{ cellIndex: 0, closest: () => ({{ tBodies: [body] }}), parentNode: {{ cells: [] }},
  getAttribute: (name) => set[name] ?? null, setAttribute: (name, value) => (set[name] = value) }};
for (const _ of [1, 2]) {{
  sort(head);
  console.log(body.rows.map((row) => row.cells[0].textContent).join(" "), set["aria-sort"]);
}}"""
    )
    done = subprocess.run(["node", tmp_path / "sort.js"], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines() == [
        "1.2 M 12 k 3 kB 1.000 .91 -.02 - descending",
        "-.02 .91 1.000 3 kB 12 k 1.2 M - ascending",
    ]


def test_the_same_store_gives_the_same_bytes(store, page, tmp_path):
    assert make(store) == page
    study = hand.study()
    path = write_html(study, hand.read(store, study), tmp_path / "deep" / "page.html", "raycl run small.py")
    assert path.read_text() == render(study, hand.read(store, study), "html", command="raycl run small.py")


def test_an_empty_store_still_makes_a_page(store):
    study = hand.study(search=SEARCH, methods={"finetune": {"fit.lr": RATE}})
    parsed = Page(render(study, hand.read(store, study), "html"))
    assert "not run" in parsed.words and "0 of 4 runs done" in parsed.words


@pytest.mark.parametrize(
    "rows", [[[0.5], [None, 0.5]], [[], [0.5, 0.5]], [[0.0], [0.0, 0.0]], [[1.0], [1.0, 1.0]]]
)
def test_matrices_with_holes_and_at_the_edges(store, rows):
    study = hand.study(methods={"finetune": {}}, final=Seeds(1))
    rows = [{i: a for i, a in enumerate(row) if a is not None} for row in rows]
    made = hand.reports([[0.5], [0.5, 0.5]])
    made = tuple(type(r)(**{**vars(r), "test": row}) for r, row in zip(made, rows, strict=True))
    result = hand.put(store, hand.cells(study)[f"finetune/{BENCHMARK}"].spec({}, 1), made)
    store._known[result.key] = result  # from disk not all of these would be believed
    assert "Accuracy matrices" in Page(render(study, Agenda(cells_of(study), store), "html")).words


def test_orders_and_a_single_task(store):
    study = hand.study(orders=2, methods={"finetune": {}, "one": {"method": ALONE}}, final=Seeds(1, 2))
    for cell in hand.cells(study).values():
        for seed in (1, 2):
            hand.put(store, cell.spec({}, seed), hand.reports(hand.TUNED[seed]))
    parsed = Page(render(study, hand.read(store, study), "html"))
    assert "By order of the tasks" in parsed.words and "seeds and orders" in parsed.words
    single = hand.study(benchmarks=["digits_permuted(tasks=1)"], final=Seeds(1))
    for cell in hand.cells(single).values():
        hand.put(store, cell.spec({}, 1), hand.reports([[0.5]]))
    assert "Accuracy while learning" not in Page(render(single, hand.read(store, single), "html")).words


def test_many_methods_stay_apart():
    from raycl.reporting.plots import styles_of

    styles = styles_of([f"m{n}" for n in range(20)])
    assert len(set(styles.values())) == 20
    assert styles == styles_of(list(styles))


def test_tables_and_the_terminal_do_not_wait_for_matplotlib():
    code = (
        "import sys, raycl.terminal.view, raycl.reporting.table, raycl.reporting.csvfile; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'ray', 'optuna', 'mlflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
