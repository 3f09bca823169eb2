"""Lists, or deletes, what no study needs."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from raycl.archives import Artefact
from raycl.errors import NoStudy, UserError
from raycl.runs.build import masks_for, parts_of, runs_for
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.values import Study


def collect_garbage(root: Path, studies: list[Path], yes: bool) -> int:
    """Print what in the store no study needs; with `yes`, delete it.

    Raises:
        UserError: no study to keep, which would make everything garbage; one that is broken, so that what it
            needs is not known; or something in the store could not
            be read, so that what depends on it is not known, and nothing is deleted.
    """
    files = studies or sorted(Path("studies").rglob("*.py"))
    kept, read = set(), 0
    store = Store(root, warn=print, wait=False).look()
    for file in files:
        forms = 0
        for small in (False, True):
            try:
                study = read_study(file, small=small)
            except NoStudy:  # most have no small form; below ./studies, some are helpers of others
                continue
            forms += 1
            kept |= _needed(study, store)
        if not forms and studies:
            read_study(file)
        read += bool(forms)
    if not read:
        raise UserError("gc: no study to keep: name study files, or run it where ./studies is")
    unwanted = _unwanted(store, kept)
    for path in unwanted:
        print(f"{_bytes(path):>12,}  {path}")
    total = sum(map(_bytes, unwanted))
    if yes and store.left_out:
        raise UserError(
            f"gc: {len(store.left_out)} files of {root} could not be read, so what depends on them is not "
            "known; nothing was deleted: mend them or play their studies, then try again"
        )
    verb = "deleted" if yes else "would be deleted (--yes deletes them)"
    print(f"{len(unwanted)} of no use to {read} studies, {total:,} bytes, {verb}")
    if yes:
        for path in unwanted:
            shutil.rmtree(path) if _is_folder(path) else path.unlink(missing_ok=True)
    return 0


def _needed(study: Study, store: Store) -> set[str]:
    """Keys of its runs, of those that they build on or are made of, and of their basis masks."""
    states = Agenda(cells_of(study, check=False), store).states
    specs = [trial.spec for state in states for trial in [*state.trials, *state.finals.values()]]
    found: set[str] = set()
    while specs:
        found |= {key for spec in specs for key in (spec.key, *(mask.key for mask in masks_for(spec)))}
        for spec in specs:
            if store.get(spec.key) is None:
                with contextlib.suppress(UserError):  # its data are not here, so no part of it was played
                    found |= {part.key for part in parts_of(spec)}
        specs = [run for spec in specs for run in runs_for(spec).values()]
    return found


def _unwanted(store: Store, kept: set[str]) -> list[Path]:
    """Runs and checkpoints that no study names, results set aside, and what a dead process left."""
    finished = set(store.finished())
    found = [path for path in sorted(store.root.glob("runs/??/*.json")) if path.stem not in kept]
    for folder in sorted(store.checkpoints.glob("*")):
        if folder.name not in kept or folder.name in finished:
            found.append(folder)
    for path in sorted(store.root.glob("failures/*.json")):
        if path.stem not in kept:
            found.append(path)
    for kind in Artefact:
        found += [p for p in sorted(store.root.glob(f"{kind.folder}/??/*.npz")) if p.stem not in kept]
    damaged = store.root / "damaged"
    return (
        found
        + ([damaged] if damaged.exists() else [])
        + [
            *sorted(store.root.glob("runs/??/.*")),
            *(path for kind in Artefact for path in sorted(store.root.glob(f"{kind.folder}/??/.*"))),
            *sorted(store.root.glob("searches/??/*/.*")),
            *sorted(store.root.glob("failures/.*")),
        ]
    )


def _bytes(path: Path) -> int:
    """Of a file, or of all in a folder; 0 of what cannot be asked. A link is what it is, and not its end."""
    try:
        if _is_folder(path):
            return sum(p.lstat().st_size for p in path.rglob("*") if not _is_folder(p))
        return path.lstat().st_size
    except OSError:
        return 0


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
