"""The sources of the documentation's site, and a check of what was built from them.

    python -m sitepages.site build/docs    # writes the pages, and build/mkdocs.yml
    python -m sitepages.site --check site  # fails if a page loads anything from elsewhere

The pages are those of docs/, those that are made of the classes, the notebook's, and whatever `make results`
has written to docs/results. They are files, so that any program that reads mkdocs.yml can build the site.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

HOME = Path(__file__).parent.parent
DOCS = HOME / "docs"
CONFIG = HOME / "mkdocs.yml"
NOTEBOOK = DOCS / "notebook.ipynb"
SECTIONS = {"Methods": "methods", "Benchmarks": "benchmarks", "Networks": "networks"}
RESULTS_BEFORE = "How it works"  # the section of the navigation in front of which results are

_LOADED = re.compile(
    r"<(?:script|link|img|iframe|source|video|audio|object|embed)\b[^>]*"
    r"\b(?:src|href|data|srcset)=[\"']?((?:https?:)?//[^\"'\s>]+)|(?:url\(|@import\s)[\"']?((?:https?:)?//[^\"')\s]+)"
)


def write(out: Path) -> None:
    """Write the pages to a folder, and the configuration next to it; a folder that is there is replaced."""
    from sitepages import classes, notebook  # here, because they load torch, which a check does not need

    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(DOCS, out)
    made: dict[str, str | bytes] = {**classes.pages(), **notebook.pages(NOTEBOOK)}
    for name, content in made.items():
        file = out / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config |= {"docs_dir": str(out.resolve()), "site_dir": str(HOME / config["site_dir"])}
    config["nav"] = navigation(config["nav"], sorted(made))
    handler = config["plugins"][1]["mkdocstrings"]["handlers"]["python"]
    handler["paths"] = [str(HOME)]
    out.with_name(CONFIG.name).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def navigation(known: list[Any], made: list[str]) -> list[Any]:
    """Return the navigation of mkdocs.yml with entries for the pages that are made.

    Args:
        known: The navigation of mkdocs.yml.
        made: Paths of the pages.
    """
    found = list(known)
    results = [{_heading(page): f"results/{page.name}"} for page in sorted(DOCS.glob("results/*.md"))]
    if results:
        place = next(n for n, entry in enumerate(found) if RESULTS_BEFORE in entry)
        found.insert(place, {"Results": results})
    for title, folder in SECTIONS.items():
        index = f"{folder}/index.md"
        others = [page for page in made if page.startswith(f"{folder}/") and page != index]
        found.append({title: [index, *({Path(page).stem: page} for page in others)]})
    return found


def loaded_from_elsewhere(site: Path) -> list[str]:
    """Return each address from which a page or a style sheet would load something, with its file."""
    return [
        f"{file.relative_to(site)}: {match[1] or match[2]}"
        for file in sorted(site.rglob("*"))
        if file.suffix in (".html", ".css", ".svg")
        for match in _LOADED.finditer(file.read_text(encoding="utf-8"))
    ]


def _heading(page: Path) -> str:
    """Return the name of a page of results in the navigation: its heading up to a colon."""
    first = page.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").partition(":")[0].strip() or page.stem


def main() -> int:
    """Write the pages or check the site, as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the pages are written, or the site to check")
    parser.add_argument("--check", action="store_true", help="check a site that was built")
    arguments = parser.parse_args()
    if not arguments.check:
        write(arguments.folder)
        return 0
    if not (arguments.folder / "index.html").is_file():
        print(f"{arguments.folder} contains no site", file=sys.stderr)
        return 1
    found = loaded_from_elsewhere(arguments.folder)
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
