"""docs/cluster.md: its commands are real, its files exist, its numbers are those of the code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from raycl.cli import parser
from raycl.errors import UserError

HOME = Path(__file__).parents[2]
GUIDE = (HOME / "docs" / "cluster.md").read_text()
MADE = "docker/secrets/"  # by make-secrets, and committed by nobody


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.S)


def lines() -> list[str]:
    """The guide's shell lines and inline code, without comments."""
    shell = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", GUIDE, flags=re.S))
    return [line for line in [*shell, *inline] if line]


def raycl_commands() -> Iterator[tuple[str, str]]:
    """Every ``raycl ...`` of the guide and of the recipes, with its place."""
    places = [("docs/cluster.md", line) for line in lines()]
    for file in sorted((HOME / "docker").glob("*.yaml")):
        text = file.read_text().splitlines()
        places += [(file.name, line) for line in text if re.search(r"\braycl (run|submit|doctor) ", line)]
    for place, line in places:
        if found := re.search(r"(?:^|exec head |'|entrypoint: )(raycl \w+ [^']+)", line):
            yield place, found[1].partition("  #")[0].strip()


def test_every_raycl_command_parses(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(raycl_commands())
    assert len(found) >= 12 and {place for place, _ in found} >= {"docs/cluster.md", "compose.yaml"}
    for place, line in found:
        try:
            parser().parse_args(shlex.split(line)[1:])
        except (SystemExit, UserError) as error:
            pytest.fail(f"{place}: {line!r}: {error} {capsys.readouterr().err}")
    with pytest.raises(UserError, match="unrecognized arguments: --adress"):
        parser().parse_args(["run", "study.py", "--adress", "auto"])


def test_every_ray_start_parses() -> None:
    from click.exceptions import UsageError
    from ray.scripts.scripts import start

    found = [line for line in lines() if line.startswith("ray start")]
    assert len(found) == 2
    for line in found:
        start.make_context("start", shlex.split(line)[2:])
    with pytest.raises(UsageError):
        start.make_context("start", ["--haed"])


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"(?<![\w/~.])((?:docker|studies)/[\w./-]*\w)", GUIDE))
    named |= {f"docs/{link}" for link in re.findall(r"\]\(([\w./-]+)\)", GUIDE)}
    assert len(named) >= 9
    missing = [name for name in named if not (HOME / name).exists() and not name.startswith(MADE)]
    assert not missing
    made = set(re.findall(r"place (secrets/\w+)", (HOME / "docker" / "make-secrets").read_text()))
    assert {name.removeprefix("docker/") for name in named if name.startswith(MADE)} <= made


def test_every_recipe_is_in_it() -> None:
    recipes = {path.name for path in (HOME / "docker").iterdir() if path.suffix in (".yaml", ".sh")}
    assert recipes and not [name for name in recipes if f"docker/{name}" not in GUIDE]


def test_targets_and_codes_are_real() -> None:
    from raycl import api
    from raycl.tune.cluster_watch import GONE

    makefile = (HOME / "Makefile").read_text()
    targets = re.findall(r"`make (\w+)`", GUIDE)
    assert targets and all(re.search(rf"^{target}:", makefile, flags=re.M) for target in targets)
    said = re.search(r"0 complete, 1 some cells .*?130\s+interrupted", GUIDE, flags=re.S)
    assert said and f"{GONE} the cluster is gone" in said[0]
    assert (api.COMPLETE, api.INCOMPLETE, api.INTERRUPTED) == (0, 1, 130)


def test_the_resources_in_it_are_a_studys() -> None:
    from raycl import Resources, Study

    [block] = blocks("python")
    names: dict[str, object] = {"Resources": Resources}
    exec(block, names)
    study = Study(methods={"cat": {}}, benchmarks=["digits_split"], resources=names["resources"])
    assert study.resources["*"] == Resources(cpus=1, gpus=0.25)


def test_it_is_short() -> None:
    assert len(GUIDE.splitlines()) <= 185
