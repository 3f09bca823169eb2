"""A network trained on the first task once, for all that start from it; tasks learnt side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from raycl import registry
from raycl.archives import Artefact, DamagedArtefact
from raycl.errors import UserError
from raycl.methods import _first
from raycl.methods._first import BACKBONE
from raycl.networks._backbone import adopt, state_of
from raycl.runs import artefacts, execution
from raycl.runs.artefacts import Pretrained
from raycl.runs.execution import execute, recalled, trained
from raycl.runs.inputs import parts_of, runs_for
from raycl.runs.reports import TaskReport, join_reports
from raycl.runs.result import Result
from raycl.runs.store import Store, model_path
from raycl.specs import RunSpec
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.gc import _needed
from raycl.study.jobs import Job, Role
from raycl.study.proposer import nothing_to_propose
from raycl.study.values import Seeds, Study
from raycl.terminal.plan import plan_text
from tests.helpers import facts, toys

SHORT = {"fit.epochs": 2, "fit.milestones": (1,), "method.initial": "ksm_initial", "method.initial_epochs": 2}
MASKS = {"preset": "ksm_mask_paper", **SHORT}
NET = "mlp(hidden=16, drop1=0.0, drop2=0.0)"


def study(**methods: Any) -> Study:
    methods = methods or {"piggyback": MASKS, "ksm": MASKS}
    return Study(methods=methods, benchmarks=["digits_split"], network=NET, search=None, final=Seeds(1))


def agenda_of(store: Path, wanted: Study | None = None, **options: Any) -> Agenda:
    return Agenda(cells_of(wanted or study()), Store(store).open(), nothing_to_propose, **options)


def finish(agenda: Agenda, job: Any) -> Result:
    result = execute(job.spec, store=agenda.store.root)
    agenda.finish(job.key, result)
    return result


def played(agenda: Agenda) -> list[str]:
    """Names of all jobs, in the order in which they were handed out."""
    found = []
    while (job := agenda.next()) is not None:
        assert isinstance(job, Job)
        found.append(job.name)
        assert finish(agenda, job).status == "done", agenda.store.failure(job.key)
    assert agenda.over
    return found


def spec_of(method: str, **keys: Any) -> RunSpec:
    (cell,) = cells_of(study(**{method: MASKS | keys}))
    return cell.spec({}, 1)


def plain(result: Result) -> list[Any]:
    """What of a result does not depend on the clock."""
    return [
        (r.val, r.test, r.epochs, r.updates, r.parameters, r.stored_bytes, r.diagnostics)
        for r in result.reports
    ]


def test_one_backbone_is_trained_and_its_tasks_are_handed_out_at_once(tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path)
    first = agenda.next()
    assert (
        isinstance(first, Job)
        and first.spec.kind == "pretrain"
        and first.role == Role(seed=1, steps=("backbone",))
    )
    assert agenda.next() is None and not agenda.over  # everything else builds on it
    finish(agenda, first)
    jobs = []
    while (job := agenda.next()) is not None:
        jobs.append(job)
    assert [str(job.role) for job in jobs] == [f"seed 1, task {t}" for _ in range(2) for t in range(1, 6)]
    assert len(list(tmp_path.glob("backbones/??/*.npz"))) == 1
    told: list[str] = []
    agenda.listeners.append(lambda event: told.append(f"{type(event).__name__} {event.job.role}"))
    for job in reversed(jobs):  # in whatever order they end
        finish(agenda, job)
    assert agenda.over and all(state.complete for state in agenda.states)
    assert told.count("Finished seed 1") == 2 and told[-2:] == ["Finished seed 1, task 1", "Finished seed 1"]
    assert len(list(Store(tmp_path).finished())) == 3  # the parts went into the whole


@pytest.mark.parametrize("method", ["piggyback", "ksm"])
def test_side_by_side_equals_one_after_another(method: str, tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path, study(**{method: MASKS}))
    names_played = played(agenda)
    assert len(names_played) == 6
    (state,) = agenda.states
    whole = state.finals[1].result
    assert whole is not None and [sorted(r.test) for r in whole.reports] == [
        list(range(t)) for t in range(1, 6)
    ]
    alone, reports = trained(whole.spec, tmp_path)
    assert plain(whole) == plain(dataclasses.replace(whole, reports=tuple(reports)))
    assert whole.reports[0].epochs == {"main": 2} and whole.reports[0].seconds["main"] > 0
    facts.assert_same_state(facts.state(alone), facts.state(trained(whole.spec, tmp_path)[0]))


def test_the_measured_rows_follow_evaluate() -> None:
    parts = [
        TaskReport(t, {t: 0.5}, {t: 0.1 * t}, {}, 1, {}, 0.0, 0, 7, 100 + 10 * t, {}, 9.0 - t)
        for t in range(3)
    ]
    assert [sorted(r.test) for r in join_reports(parts)] == [[0], [0, 1], [0, 1, 2]]
    assert [sorted(r.test) for r in join_reports(parts, "ends")] == [[0], [1], [0, 1, 2]]
    assert [r.stored_bytes for r in join_reports(parts)] == [100, 110, 130]
    assert [r.ended for r in join_reports(parts)] == [9.0, 9.0, 9.0]


def test_a_backbone_taken_over_is_the_one_trained_here() -> None:
    on = toys.benchmark()
    plain_net: Any = toys.method("finetune", on, "resnet18(nf=2)")
    first = registry.method("finetune")
    assert first is not _first.FirstTask
    spec_fit = {"epochs": 3, "batch": 16}
    toys.learn_one(plain_net, on, toys.fit(**spec_fit), 0)
    tensors = state_of(plain_net.net)
    fresh: Any = toys.method("finetune", on, "resnet18(nf=2)", seed=5)
    adopt(fresh.net, tensors)
    wanted = facts.logits(plain_net, on, [0])[0]
    assert facts.same_bits(facts.logits(fresh, on, [0])[0], wanted)
    assert {name.split(".")[1] for name in tensors if name.startswith("heads.")} == {"0"}


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    found = Pretrained({"body.a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}, 1.5, 2, 30)
    path = tmp_path / "one.npz"
    path.write_bytes(artefacts.backbone_to_bytes(found, "k"))
    again = artefacts.backbone_from_file(path, "k")
    assert (again.seconds, again.epochs, again.updates) == (1.5, 2, 30)
    assert all(
        torch.equal(again.tensors[n], t) and again.tensors[n].dtype == t.dtype
        for n, t in found.tensors.items()
    )
    with pytest.raises(DamagedArtefact, match="another run"):
        artefacts.backbone_from_file(path, "other")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DamagedArtefact, match="is damaged"):
        artefacts.backbone_from_file(path, "k")


def test_another_networks_backbone_is_refused() -> None:
    on = toys.benchmark()
    one: Any = toys.method("finetune", on, "mlp(hidden=8)")
    other: Any = toys.method("finetune", on, "mlp(hidden=9)")
    with pytest.raises(DamagedArtefact, match="does not fit the network at body"):
        adopt(other.net, state_of(one.net))


@pytest.mark.parametrize("how", ["gone", "torn", "garbled"])
def test_a_lost_or_damaged_backbone_is_trained_again(how: str, tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path, study(piggyback=MASKS))
    job = agenda.next()
    assert isinstance(job, Job)
    finish(agenda, job)
    path = Artefact.BACKBONE.path(tmp_path, job.key)
    whole, before = path.read_bytes(), artefacts.backbone_from_file(path, job.key).tensors
    if how == "gone":
        path.unlink()
    else:
        place = len(whole) // 2
        path.write_bytes(whole[:place] + (b"" if how == "torn" else bytes(64) + whole[place + 64 :]))
    again = agenda_of(tmp_path, study(piggyback=MASKS))
    roles = []
    while (job := again.next()) is not None:
        assert isinstance(job, Job)
        roles.append(str(job.role))
        finish(again, job)
    assert "seed 1, backbone" in roles and all(state.complete for state in again.states)
    after = artefacts.backbone_from_file(path, path.stem).tensors
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_a_backbone_that_fails_blocks_what_builds_on_it(tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path)
    job = agenda.next()
    assert isinstance(job, Job)
    agenda.finish(job.key, Result(job.spec, "failed", message="no memory", provenance={}))
    assert agenda.over and not any(state.complete for state in agenda.states)
    assert all("no memory" in message for state in agenda.states for message in state.failed.values())


def test_a_diverged_backbone_blocks_with_its_reason(tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path, study(ksm=MASKS))
    job = agenda.next()
    assert isinstance(job, Job)
    agenda.finish(job.key, Result(job.spec, "diverged", message="loss is nan", provenance={"seconds": 1.0}))
    (state,) = agenda.states
    assert agenda.over and list(state.failed.values()) == ["its backbone diverged: loss is nan"]


def test_a_diverged_part_makes_the_run_diverged(tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path, study(ksm=MASKS))
    job = agenda.next()
    assert isinstance(job, Job)
    finish(agenda, job)
    while (job := agenda.next()) is not None:
        assert isinstance(job, Job)
        if job.spec.part == 2:
            about = {"seconds": 1.0, "started": 2.0}
            agenda.finish(job.key, Result(job.spec, "diverged", message="loss is nan", provenance=about))
        else:
            finish(agenda, job)
    result = agenda.states[0].finals[1].result
    assert result is not None and (result.status, result.message) == ("diverged", "task 3: loss is nan")


def test_fresh_plays_backbone_and_tasks_again(tmp_path: Path) -> None:
    before = played(agenda_of(tmp_path, study(ksm=MASKS)))
    assert played(agenda_of(tmp_path, study(ksm=MASKS))) == []
    assert played(agenda_of(tmp_path, study(ksm=MASKS), fresh=True)) == before


def test_a_run_whose_method_is_kept_is_not_learnt_in_parts(tmp_path: Path) -> None:
    """Its parts would leave no method; the accuracies are the same either way."""
    played(agenda_of(tmp_path, study(ksm=MASKS)))
    before = agenda_of(tmp_path, study(ksm=MASKS)).states[0].finals[1].result
    kept = agenda_of(tmp_path, study(ksm=MASKS).with_(keep="final"))
    job = kept.next()
    assert isinstance(job, Job) and (str(job.role), job.keep) == ("seed 1", True)
    result = execute(job.spec, store=tmp_path, keep=job.keep)
    kept.finish(job.key, result)
    assert kept.over and kept.store.has_model(job.key)
    assert before is not None and plain(result) == plain(before)
    assert recalled(job.spec, model_path(tmp_path, job.key)).reports == list(result.reports)


def test_gc_keeps_the_backbone_and_the_parts_of_what_is_not_whole(tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path, study(ksm=MASKS))
    for _ in range(3):
        job = agenda.next()
        assert isinstance(job, Job)
        finish(agenda, job)
    kept = _needed(study(ksm=MASKS), Store(tmp_path))
    assert set(Store(tmp_path).finished()) <= kept
    played(agenda)
    assert {path.stem for path in tmp_path.glob("backbones/??/*.npz")} <= kept


def test_the_plan_counts_what_runs_build_on(tmp_path: Path) -> None:
    def plan() -> str:
        return plan_text(study(), Agenda(cells_of(study()), Store(tmp_path)), tmp_path, 2)

    agenda = agenda_of(tmp_path)
    assert "1 run that these build on, 1 to do first" in plan()
    job = agenda.next()
    assert isinstance(job, Job)
    finish(agenda, job)
    assert "build on" not in plan()


def test_what_a_key_holds() -> None:
    spec = spec_of("ksm")
    backbone = runs_for(spec)[BACKBONE]
    assert spec.inputs == {BACKBONE: backbone.key} and backbone.part == 0
    assert RunSpec.from_json(parts_of(spec)[2].to_json()).key == parts_of(spec)[2].key != spec.key
    assert [part.part for part in parts_of(spec)] == [0, 1, 2, 3, 4]
    assert runs_for(spec_of("piggyback"))[BACKBONE].key == backbone.key  # shared by methods and variants
    assert runs_for(spec_of("ksm", **{"fit.lr": 1e-3}))[BACKBONE].key == backbone.key
    assert runs_for(spec_of("ksm", **{"method.initial_epochs": 3}))[BACKBONE].key != backbone.key
    assert parts_of(spec_of("ksm", **{"method.initial": "", "method.initial_epochs": 0})) == ()
    # tasks that are not learnt yet are asked as well, which no part could answer
    assert parts_of(dataclasses.replace(spec, evaluate="full")) == ()
    assert len(parts_of(dataclasses.replace(spec, evaluate="ends"))) == 5
    finetune = spec_of("copies", **{"method.start": "first"})
    assert runs_for(finetune)[BACKBONE].key == backbone.key and parts_of(finetune) == ()


CPG = {
    "preset": "ksm_cpg",
    "fit.epochs": 2,
    "fit.milestones": (1,),
    "method.initial_epochs": 2,
    "method.stage_epochs": 1,
    "method.ramp_epochs": 1,
    "method.targets": (0.3, 0.6),
    "method.repick_epochs": 1,
    "method.goal_epochs": 2,
}


def test_goals_come_from_a_finished_run_of_another_method(tmp_path: Path) -> None:
    copies = {"method": "copies", "method.start": "first", "preset": "ksm_finetune", "fit.epochs": 2,
              "method.initial": "ksm_initial", "method.initial_epochs": 2}  # fmt: skip
    wanted = study(cpg=CPG, finetuned=copies)
    agenda = agenda_of(tmp_path, wanted)
    found = played(agenda)
    assert len(found) == 3 and "backbone" in found[0] and found[2] == "cpg / digits_split / seed 1"
    assert len(list(Store(tmp_path).finished())) == 3  # the study's own fine-tuning is the goals' run
    by_label = {state.cell.label: state.finals[1].result for state in agenda.states}
    goals, cpg = by_label["finetuned"], by_label["cpg"]
    assert goals is not None and cpg is not None
    assert [r.diagnostics["goal"] for r in cpg.reports] == [r.val[r.task] for r in goals.reports]
    assert runs_for(spec_of("cpg", **CPG, **{"method.goals": ""})).keys() == {BACKBONE}


def test_an_unknown_preset_of_the_first_task_is_refused() -> None:
    with pytest.raises(UserError, match=r"method\.initial: unknown preset 'ksm_initail'"):
        cells_of(study(ksm=MASKS | {"method.initial": "ksm_initail"}))
    with pytest.raises(UserError, match=r"method\.goals: unknown preset 'ksm_finetun'"):
        cells_of(study(cpg=CPG | {"method.goals": "ksm_finetun"}))


def test_a_given_network_is_not_trained() -> None:
    on = toys.benchmark()
    subject: Any = toys.method("finetune", on)
    first = _first.FirstTask(subject.world, subject.config)
    before = facts.state(first)
    first.net.pretrained = True
    toys.learn_one(first, on, toys.fit(epochs=1), 0)
    facts.assert_same_state(before, facts.state(first))
    first.net.pretrained = False
    toys.learn_one(first, on, toys.fit(epochs=1), 0)
    assert any(not torch.equal(t, before[n]) for n, t in facts.state(first).items())


def test_a_run_whose_input_is_not_there_fails_and_names_it(tmp_path: Path) -> None:
    result = execution.execute(spec_of("ksm"), store=tmp_path)
    assert result.status == "failed" and "backbone" in result.message
    assert result.provenance["damaged_backbone"] == runs_for(spec_of("ksm"))[BACKBONE].key
