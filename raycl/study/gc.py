"""Garbage collection: list or delete the files of a store that no study needs."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from raycl.archives import Artefact
from raycl.errors import NoStudy, UserError
from raycl.runs.inputs import masks_for, parts_of, runs_for
from raycl.runs.store import MODELS, PAUSED, Store, trace_path
from raycl.runs.summaries import FOLDER, Summaries
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.keeping import kept_runs
from raycl.study.values import Study


def collect_garbage(root: Path, studies: list[Path], yes: bool) -> int:
    """Print the files of the store that no study needs; with `yes`, delete them, and their summaries.

    Args:
        root: Folder of the store.
        studies: Files of the studies to keep; empty takes all studies below ``./studies``.
        yes: Whether to delete what is printed.

    Returns:
        The exit code 0.

    Raises:
        UserError: If there is no study to keep, which would make everything garbage; if a study is broken,
            so that its needs are unknown; or, with `yes`, if a file of the store could not be read, so that
            what depends on it is unknown. Nothing is deleted in any of these cases.
    """
    files = studies or sorted(Path("studies").rglob("*.py"))
    needed, kept, read = set[str](), set[str](), 0
    store = Store(root, warn=print, wait=False).look()
    for file in files:
        forms = 0
        for small in (False, True):
            try:
                study = read_study(file, small=small)
            except NoStudy:  # most studies have no small form, and some files only hold helpers
                continue
            forms += 1
            needed |= _needed(study, store)
            if (store.root / MODELS).is_dir():
                kept |= _kept(study, store)
        if not forms and studies:
            read_study(file)
        read += bool(forms)
    if not read:
        raise UserError("gc: there is no study to keep; name study files, or run gc where ./studies is")
    unwanted = _unwanted(store, needed, kept)
    for path in unwanted:
        print(f"{_bytes(path):>12,}  {path}")
    total = sum(map(_bytes, unwanted))
    if yes and store.left_out:
        raise UserError(
            f"gc: {len(store.left_out)} files of {root} could not be read, so what depends on them is "
            "unknown; nothing was deleted: repair them or run their studies, then try again"
        )
    verb = "deleted" if yes else "would be deleted (--yes deletes them)"
    print(f"{len(unwanted)} unneeded files or folders ({read} studies read), {total:,} bytes, {verb}")
    if yes:
        for path in unwanted:
            shutil.rmtree(path) if _is_folder(path) else path.unlink(missing_ok=True)
        kept = set(store.finished())
        searches = {path.name for path in store.root.glob("searches/??/*")}
        Summaries(store.root, store.whole).tidy(kept.__contains__, searches.__contains__)
    return 0


def _needed(study: Study, store: Store) -> set[str]:
    """Return the keys of a study's runs, of the runs and parts that they build on, and of their masks."""
    states = Agenda(cells_of(study, check=False), store).states
    specs = [trial.spec for state in states for trial in state.runs]
    found: set[str] = set()
    while specs:
        found |= {key for spec in specs for key in (spec.key, *(mask.key for mask in masks_for(spec)))}
        for spec in specs:
            if store.get(spec.key) is None:
                with contextlib.suppress(UserError):  # without its data, no part of it has run here
                    found |= {part.key for part in parts_of(spec)}
        specs = [run for spec in specs for run in runs_for(spec).values()]
    return found


def _kept(study: Study, store: Store) -> set[str]:
    """Return the keys of the runs whose trained methods a study needs, if they were kept.

    A study that keeps nothing by itself may have been run with --keep, so it needs those of all its runs.
    """
    states = Agenda(cells_of(study, check=False), store).states
    runs = [kept_runs(s) if study.keep != "none" else s.runs for s in states]
    return {trial.spec.key for trials in runs for trial in trials}


def _unwanted(store: Store, needed: set[str], kept: set[str]) -> list[Path]:
    """Return what no study needs, results set aside, and drafts of dead processes.

    Args:
        store: The store.
        needed: Keys of the runs and masks that a study needs.
        kept: Keys of the runs whose trained methods a study needs.
    """
    finished = set(store.finished())
    found = [path for path in sorted(store.root.glob("runs/??/*.json")) if path.stem not in needed]
    for folder in sorted(store.checkpoints.glob("*")):
        if folder.name not in needed or folder.name in finished:
            found.append(folder)
    for path in sorted(store.root.glob(f"{PAUSED}/??/*.json")):
        if path.stem not in needed or path.stem in finished:
            found.append(path)
    for path in sorted(store.root.glob("failures/*.json")):
        if path.stem not in needed:
            found += [path, *filter(Path.exists, [trace_path(store.root, path.stem)])]
    for kind in Artefact:
        found += [p for p in sorted(store.root.glob(f"{kind.folder}/??/*.npz")) if p.stem not in needed]
    found += [p for p in sorted(store.root.glob(f"{MODELS}/??/*.pt")) if p.stem not in kept]
    damaged = store.root / "damaged"
    return (
        found
        + ([damaged] if damaged.exists() else [])
        + [
            *sorted(store.root.glob("runs/??/.*")),
            *(path for kind in Artefact for path in sorted(store.root.glob(f"{kind.folder}/??/.*"))),
            *sorted(store.root.glob(f"{MODELS}/??/.*")),
            *sorted(store.root.glob(f"{PAUSED}/??/.*")),
            *sorted(store.root.glob("searches/??/*/.*")),
            *sorted(store.root.glob("failures/.*")),
            *sorted(store.root.glob(f"{FOLDER}/.*")),
        ]
    )


def _bytes(path: Path) -> int:
    """Return the bytes of a file or of a whole folder; 0 if they are unknown. Links are not followed."""
    try:
        if _is_folder(path):
            return sum(p.lstat().st_size for p in path.rglob("*") if not _is_folder(p))
        return path.lstat().st_size
    except OSError:
        return 0


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
