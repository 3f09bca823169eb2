"""The recipes in docker/: each parsed and linted, and each command in them run, without a container engine.

`native.Room` stands for the container: a network, host names and process ids of its own. What runs in it is
taken out of the recipes; only paths are replaced, and ports that two services of one room cannot share.
"""

from __future__ import annotations

import base64
import importlib.resources
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from tests.helpers.hosts import no_tracking, why_not
from tests.helpers.native import (
    ADDRESS,
    DOCKER,
    HOME,
    Recipe,
    Room,
    filled_in,
    instructions,
)

SCRIPTS = Path(sysconfig.get_path("scripts"))
SECRETS = ("ray_token", "postgres_password", "mlflow_password", "flask_key")
PINNED = re.compile(r"^[\w./-]+:(?!latest$)[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?$")
STUDY = """
from raycl import Search, Seeds, Study

STUDY = Study(
    methods={"finetune": {}, "hat": {}},
    benchmarks=["digits_split"],
    network="mlp(hidden=8, drop1=0.0, drop2=0.0)",
    fit={"epochs": 2, "lr": 0.1},
    search=Search(trials=2, concurrency=2, startup_trials=2),
    final=Seeds(1),
)
"""
RUNS, CELLS = 3, 2  # finetune has nothing to search; the best trial of hat and its seed are one run

rooms = pytest.mark.skipif(bool(why_not()), reason=why_not())
databases = pytest.mark.skipif(bool(no_tracking()), reason=no_tracking())


def lint(tool: str, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPTS / tool, *words], input=text, capture_output=True, text=True)


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DOCKER / name).read_text()))


# The image.


def test_the_dockerfile_is_clean() -> None:
    found = lint("hadolint", str(DOCKER / "Dockerfile"))
    assert found.returncode == 0 and not found.stdout, found.stdout + found.stderr
    assert lint("hadolint", "-", text="FROM python\nRUN apt-get install wget\n").returncode != 0


def test_the_image_is_pinned_and_not_roots() -> None:
    steps = instructions()
    defaults = dict(words.split("=", 1) for name, words in steps if name == "ARG" and "=" in words)
    bases = [words.split()[0] for name, words in steps if name == "FROM"]
    assert set(bases) == {"${BASE}", "runtime", "${DEVICE}"} and PINNED.match(defaults["BASE"])
    stages = {words.split()[-1] for name, words in steps if name == "FROM" and " AS " in words}
    assert {"cpu", "cuda"} <= stages and defaults["DEVICE"] == "cpu"
    last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    users = [words for name, words in steps[last:] if name == "USER"]
    assert users == ["${UID}:${GID}"] and int(defaults["UID"]) > 0 and int(defaults["GID"]) > 0
    assert not [words for name, words in steps if name == "ADD"]
    assert ("ENV", "RAY_AUTH_MODE=token") in [
        ("ENV", word) for name, words in steps if name == "ENV" for word in words.split()
    ]
    for name, words in steps:
        if name in ("ARG", "ENV"):
            assert not re.search(r"(?i)(password|passwd|secret|token|key)\w*=(?!token\b)\S", words), words
        if name == "RUN" and "apt-get install" in words:
            assert words.endswith("rm -rf /var/lib/apt/lists/*") and "--no-install-recommends" in words
        if name == "RUN" and re.search(r"pip install", words):
            assert "--no-cache-dir" in words or "--mount=type=cache" in words  # no cache in a layer


def test_no_secret_can_get_into_the_image() -> None:
    rules = [
        line for line in (DOCKER / "Dockerfile.dockerignore").read_text().split("\n") if line[:1] not in "#"
    ]
    assert rules[0] == "*"  # nothing but what follows
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    assert not [rule for rule in allowed if rule == "docker" or "secret" in rule or ".env" in rule]
    copied = [words.split()[:-1] for name, words in instructions() if name == "COPY"]
    for source in (source for sources in copied for source in sources):
        assert source in allowed and (HOME / source).exists(), f"{source} is not in the build's context"


def test_every_node_gets_the_same_versions() -> None:
    pinned = [Requirement(line) for line in (DOCKER / "constraints.txt").read_text().split("\n")
              if line and not line.startswith("#")]  # fmt: skip
    versions = {
        entry.name: str(entry.specifier).removeprefix("==")
        for entry in pinned
        if entry.marker is None or entry.marker.evaluate({"python_full_version": "3.11.13"})
    }
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["tune"], *extras["cluster"]]:
        wanted = Requirement(text)
        assert wanted.name in versions, f"{wanted.name}: run the command at the head of constraints.txt"
        assert wanted.specifier.contains(versions[wanted.name]), (text, versions[wanted.name])
    job = next(document for document in documents("kuberay.yaml") if document["kind"] == "RayJob")
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == versions["ray"]


# Compose.


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(filled_in((DOCKER / "compose.yaml").read_text(), {})))


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cuda.yaml"])
def test_compose_files_meet_the_specification(name: str) -> None:
    place = importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(place.read_text())
    content = yaml.safe_load((DOCKER / name).read_text())
    jsonschema.validate(content, schema)
    content["services"]["worker"]["comand"] = "misspelt"
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.validate(content, schema)


def test_services_are_pinned_watched_and_closed(compose: dict[str, Any]) -> None:
    assert compose["services"].keys() == {"head", "worker", "mlflow", "db"}
    for name, service in compose["services"].items():
        assert PINNED.match(service["image"]), name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged") and service.get("network_mode") != "host"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is published to strangers: {port}"
        if name != "db":  # its entry point starts as root and gives that up itself
            assert service["cap_drop"] == ["ALL"]
    assert compose["networks"]["database"] == {"internal": True}
    assert compose["services"]["db"]["networks"] == ["database"]
    for name in ("head", "worker"):
        assert compose["services"][name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert "--num-cpus=0" in compose["services"]["head"]["command"]


def test_secrets_come_from_files_alone(compose: dict[str, Any]) -> None:
    for secret in compose["secrets"].values():
        assert set(secret) == {"file"} and secret["file"].startswith("./secrets/")
    for name, service in compose["services"].items():
        assert all(file.startswith("./secrets/") for file in service.get("env_file", []))
        for variable, value in service["environment"].items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", variable):
                assert str(value).startswith("/run/secrets/"), f"{name}: {variable}"
        for word in service.get("command", []):
            assert not re.search(r"://[^/]*:[^/]*@", str(word)), f"{name}: a password in {word}"
        known = service.get("secrets", [])
        assert {s if isinstance(s, str) else s["source"] for s in known} <= compose["secrets"].keys()
    settings = (DOCKER / "mlflow-auth.ini").read_text()
    assert not re.search(r"^\s*admin_password", settings, flags=re.M)
    assert not re.search(r"://[^/]*:[^/]*@", settings)


def test_nothing_secret_is_committed() -> None:
    ignored = (HOME / ".gitignore").read_text().split()
    assert {"docker/secrets/", "docker/.env"} <= set(ignored)


def test_make_secrets_makes_them_once_and_for_one_pair_of_eyes(tmp_path: Path) -> None:
    script = Path(shutil.copy(DOCKER / "make-secrets", tmp_path))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "ray_token").write_text("mine")
    assert "kept secrets/ray_token" in subprocess.check_output([script], text=True)
    first = {path: path.read_text() for path in [*(tmp_path / "secrets").iterdir(), tmp_path / ".env"]}
    assert len(first) == 8 and first[tmp_path / "secrets" / "ray_token"] == "mine"
    for path in first:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    values = [first[tmp_path / "secrets" / name] for name in SECRETS[1:]]
    assert len(set(values)) == 3 and all(re.fullmatch("[0-9a-f]{64}", value) for value in values)
    assert first[tmp_path / "secrets" / "pgpass"] == f"*:*:mlflow:mlflow:{values[0]}\n"
    again = subprocess.check_output([script], text=True)
    assert "made" not in again and {path: path.read_text() for path in first} == first


# The cloud, Kubernetes and SLURM.


def test_rays_own_check_accepts_the_launchers_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    [content] = documents("ray-cluster.yaml")
    validate_config(prepare_config(content))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(content | {"wokers": 3}))
    nodes = content["available_node_types"]
    assert nodes["head"]["resources"] == {"CPU": 0}
    worker = nodes["worker"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert worker["min_workers"] == worker["max_workers"] == content["max_workers"]
    for there, here in content["file_mounts"].items():
        assert there.startswith("/home/ubuntu/")
        assert (HOME / here).exists() or here == "docker/secrets/ray_token", here
    for command in [*content["head_start_ray_commands"], *content["worker_start_ray_commands"]]:
        assert "RAY_AUTH_MODE=token ~/env/bin/ray" in command
    assert (DOCKER / "ray-cluster.yaml").read_text().count("-FILL-IN") == 3


KUBERAY = {  # fields of KubeRay 1.6's custom resources that the manifest may use
    "job": {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
            "submitterPodTemplate", "rayClusterSpec"},
    "cluster": {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"},
    "head": {"rayStartParams", "template"},
    "worker": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}  # fmt: skip


def test_the_kubernetes_manifest_is_sound() -> None:
    import kubernetes_validate

    claim, defaults, policy, job = documents("kuberay.yaml")
    pods = list(pod_templates(job))
    whole = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **pod} for pod in pods]
    for document in [claim, defaults, policy, *whole]:
        kubernetes_validate.validate(document, "1.34", strict=True)
    wrong = {**whole[0], "spec": whole[0]["spec"] | {"runAsNonRoot": True}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)
    cluster = job["spec"]["rayClusterSpec"]
    assert job["spec"].keys() <= KUBERAY["job"] and cluster.keys() <= KUBERAY["cluster"]
    assert cluster["headGroupSpec"].keys() <= KUBERAY["head"]
    assert all(group.keys() <= KUBERAY["worker"] for group in cluster["workerGroupSpecs"])
    assert cluster["authOptions"] == {"mode": "token", "secretName": "raycl-token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    [first, last] = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["envFrom"]
    assert first["configMapRef"]["name"] == defaults["metadata"]["name"] and last["secretRef"]["optional"]


def test_no_pod_is_roots_and_none_is_open_to_strangers() -> None:
    claim, _, policy, job = documents("kuberay.yaml")
    labels = policy["spec"]["podSelector"]["matchLabels"]
    [mine, operators] = policy["spec"]["ingress"]
    assert mine["from"] == [{"podSelector": {"matchLabels": labels}}]
    assert [port["port"] for port in operators["ports"]] == [8265]
    for pod in pod_templates(job):
        assert labels.items() <= pod["metadata"]["labels"].items()
        user = pod["spec"]["securityContext"]
        assert user["runAsNonRoot"] and user["runAsUser"] > 0
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in pod["spec"]["containers"]:
            closed = container["securityContext"]
            assert closed == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
            assert PINNED.match(container["image"])
            assert not [entry for entry in container.get("env", []) if "TOKEN" in entry["name"]]
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"].get("volumes", [])
                  if "persistentVolumeClaim" in v]  # fmt: skip
        assert claims in ([], [claim["metadata"]["name"]])


def pod_templates(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    yield job["spec"]["submitterPodTemplate"]
    yield cluster["headGroupSpec"]["template"]
    yield from (group["template"] for group in cluster["workerGroupSpecs"])


@pytest.mark.parametrize(("name", "shell"), [("slurm.sh", "bash"), ("make-secrets", "sh")])
def test_scripts_are_clean(name: str, shell: str) -> None:
    script = DOCKER / name
    assert os.access(script, os.X_OK)
    assert subprocess.run([shell, "-n", script]).returncode == 0
    found = lint("shellcheck", "--severity=style", str(script))
    assert found.returncode == 0, found.stdout
    assert lint("shellcheck", "-", text="#!/bin/sh\nrm -rf $1/x\n").returncode != 0


# The compose file's commands, run: a cluster with PostgreSQL and MLflow, so marked slow.


@pytest.fixture(scope="module")
def running() -> Iterator[Recipe]:
    """PostgreSQL, MLflow, Ray's head and two workers: by their own commands, healthy by their own checks."""
    room = Room()
    try:
        recipe = Recipe(room)
        recipe.start_database()
        recipe.start("mlflow")
        recipe.start("head")
        room.wait("head", lambda: "Ray runtime started" in room.log("head").read_text())
        assert recipe.healthy("head")
        other = {"--node-manager-port=6380": "--node-manager-port=6381"}
        recipe.start("worker")
        recipe.start("worker", other, name="worker-2")
        room.wait("worker", lambda: recipe.healthy("worker"))
        room.wait("worker-2", lambda: recipe.healthy("worker", {"6380": "6381"}))
        room.wait("mlflow", lambda: recipe.healthy("mlflow"))
        yield recipe
    finally:
        room.close()


def composed(line: str, recipe: Recipe) -> list[str]:
    """A command that compose.yaml or the guide gives to `exec head`, with the room's paths."""
    room = recipe.room
    mounts = {"/studies": str(room.root / "studies"), "/store": str(room.root / "store")}
    return [re.sub(r"^/(studies|store)\b", lambda found: mounts[found[0]], w) for w in shlex.split(line)]


@pytest.fixture(scope="module")
def played(running: Recipe) -> list[str]:
    """The command that compose.yaml names, played; gives what `ps` showed meanwhile."""
    [line] = re.findall(r"exec head (raycl run .*)", (DOCKER / "compose.yaml").read_text())
    room, seen = running.room, set[str]()
    (room.root / "studies" / "quickstart.py").write_text(STUDY)
    driver = room.start("driver", composed(line, running), running.environment("head"))
    while driver.poll() is None:
        seen |= set(room.command_lines())
        time.sleep(0.5)
    assert driver.returncode == 0, room.log("driver").read_text()
    return sorted(seen | set(room.command_lines()))


ASK = """
import base64, json, os, sys, urllib.error, urllib.request
url, user, host = sys.argv[1:]
request = urllib.request.Request(url, json.dumps({"max_results": 1000, "experiment_ids": ["1"]}).encode())
request.add_header("Content-Type", "application/json")
if user:
    pair = f"{user}:{os.environ['ASKED_PASSWORD']}".encode()
    request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
if host:
    request.add_header("Host", host)
try:
    with urllib.request.urlopen(request, timeout=60) as answer:
        print(json.dumps([answer.status, json.load(answer)]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, None]))
"""


def ask(
    recipe: Recipe, password: str, user: str = "raycl", host: str = "", what: str = "runs"
) -> tuple[int, Any]:
    """The status and the answer of MLflow's server to a search."""
    url = f"http://mlflow:5000/api/2.0/mlflow/{what}/search"
    words = ["python", "-c", ASK, url, user, host]
    done = recipe.room.run(words, recipe.room.environment(ASKED_PASSWORD=password))
    assert done.returncode == 0, done.stderr
    status, answer = json.loads(done.stdout)
    return status, answer


@rooms
@databases
@pytest.mark.slow
def test_a_study_on_the_composed_cluster_stands_in_mlflow(running: Recipe, played: list[str]) -> None:
    status, answer = ask(running, running.secret("mlflow_password"))
    tags = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in answer["runs"]]
    assert status == 200 and len(tags) == RUNS + CELLS
    assert sorted(tag["raycl.kind"] for tag in tags).count("cell") == CELLS
    assert {run["info"]["status"] for run in answer["runs"]} == {"FINISHED"}
    results = list((running.room.root / "store" / "runs").glob("??/*.json"))
    assert len(results) == RUNS
    artefacts = [path.name for path in (running.room.root / "artifacts").rglob("*.json")]
    assert sorted(artefacts) == ["best.json"] * CELLS + ["matrices.json"] * CELLS


@rooms
@databases
@pytest.mark.release
def test_the_composed_cluster_is_fit(running: Recipe, played: list[str]) -> None:
    [line] = re.findall(r"exec head (raycl doctor .*)", (HOME / "docs" / "cluster.md").read_text())
    done = running.room.run(composed(line, running), running.environment("head"))
    assert done.returncode == 0 and done.stdout.rstrip().endswith("ready: no problems found"), done.stdout


@rooms
@databases
@pytest.mark.slow
def test_strangers_are_refused(running: Recipe, played: list[str]) -> None:
    password = running.secret("mlflow_password")
    assert ask(running, password)[0] == 200
    assert ask(running, "wrong")[0] == 401
    assert ask(running, password, user="")[0] == 401
    assert ask(running, password, host="evil.example")[0] == 403
    room = running.room
    (room.root / "wrong").write_text("0" * 64)
    wrong = running.environment("head") | {"RAY_AUTH_TOKEN_PATH": str(room.root / "wrong")}
    knock = room.run(["ray", "health-check", "--address", "head:6379"], wrong)
    assert knock.returncode != 0 and "InvalidAuthToken" in knock.stderr
    psql = ["psql", "--host=db", "--username=mlflow", "--dbname=mlflow", "--command=SELECT 1"]
    assert room.run(psql, room.environment(PGPASSWORD="wrong")).returncode != 0
    right = running.environment("mlflow")["PGPASSFILE"]
    assert room.run(psql, room.environment(PGPASSFILE=right)).returncode == 0


@rooms
@databases
@pytest.mark.slow
def test_raycl_with_a_wrong_token_or_password_says_so_in_a_line(running: Recipe, played: list[str]) -> None:
    room, given = running.room, running.environment("head")
    (room.root / "wrong").write_text("0" * 64)
    (room.root / "studies" / "again.py").write_text(STUDY.replace("Seeds(1)", "Seeds(2)"))
    study = [str(room.root / "studies" / "again.py"), "--store", str(room.root / "store")]
    for words, changes in (
        (["run", *study, "--address", "head:6379"], {"RAY_AUTH_TOKEN_PATH": str(room.root / "wrong")}),
        (["sync", *study], {"MLFLOW_TRACKING_USERNAME": "raycl", "MLFLOW_TRACKING_PASSWORD": "wrong"}),
    ):
        done = room.run(["raycl", *words], given | changes)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("raycl: "), done.stderr
    assert len(list((room.root / "store" / "runs").glob("??/*.json"))) == RUNS  # nothing was played


@rooms
@databases
@pytest.mark.slow
def test_no_secret_shows_in_ps_logs_results_or_mlflow(running: Recipe, played: list[str]) -> None:
    values = {name: running.secret(name) for name in SECRETS}
    pair = f"raycl:{values['mlflow_password']}".encode()
    values["login"] = base64.b64encode(pair).decode()
    assert any("gcs_server" in line for line in played) and any("uvicorn" in line for line in played)
    own = (running.folder, running.room.root / "home" / ".mlflow")
    files = [path for path in running.room.root.rglob("*")
             if path.is_file() and not any(path.is_relative_to(place) for place in own)]  # fmt: skip
    places = {str(path): path.read_bytes() for path in files}
    assert any("/logs/" in name for name in places) and any("/runs/" in name for name in places)
    places["ps"] = "\n".join([*played, *running.room.command_lines()]).encode()
    for what in ("runs", "experiments"):
        places[f"MLflow's {what}"] = json.dumps(ask(running, values["mlflow_password"], what=what)).encode()
    shown = [f"{name} in {place}" for place, content in places.items()
             for name, value in values.items() if value.encode() in content]  # fmt: skip
    assert not shown


# The other recipes' commands, run: minutes, so marked slow.


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    try:
        yield made
    finally:
        made.close()


SRUN = """#!/usr/bin/env python3
# One machine stands for all nodes: what a step does to their disks is done once, all else once for each task.
import os, pathlib, signal, subprocess, sys
words, options = sys.argv[1:], {}
while words[0].startswith("--"):
    name, _, value = words.pop(0).partition("=")
    options[name] = value
assert os.environ["SRUN_CPUS_PER_TASK"] == os.environ["SLURM_CPUS_PER_TASK"]
tasks = int(options.get("--ntasks", os.environ["SLURM_JOB_NUM_NODES"]))
steps = [subprocess.Popen(words) for _ in range(1 if words[0] in ("mkdir", "rm") else tasks)]

def below(pid):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [one for child in children for one in below(child)]

def end(*_):  # SLURM ends all processes of a step, whatever they make of SIGTERM
    for pid in below(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    sys.exit(143)

signal.signal(signal.SIGTERM, end)
sys.exit(max(abs(step.wait()) for step in steps))
"""
SCONTROL = """#!/bin/sh
case "$1 $2" in
"show hostnames") printf 'n1\\nn2\\nn3\\n' ;;
*) echo "$@" >>"$HOME/scontrol" ;;
esac
"""
JOB = str(100_000 + os.getpid())  # its scratch lies in /tmp, where other tests may run
LONGER = STUDY.replace("trials=2", "trials=8").replace('"epochs": 2', '"epochs": 40, "stop": "never"')


def submitted(room: Room, study: str, restarts: int = 0) -> subprocess.Popen[bytes]:
    """slurm.sh as SLURM starts it: on the first of three nodes, from the folder it was submitted in."""
    tools = room.root / "bin"
    tools.mkdir(exist_ok=True)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    given = room.environment()
    given |= {
        "PATH": f"{tools}:{given['PATH']}",
        "RAYCL_ENV": str(SCRIPTS.parent),
        "RAYCL_DATA": str(room.root / "data"),
        "SLURM_JOB_ID": JOB,
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_RESTART_COUNT": str(restarts),
        "SLURM_SUBMIT_DIR": str(room.root),
    }
    (room.root / "studies" / "mine.py").write_text(study)
    words = ["bash", str(DOCKER / "slurm.sh"), str(room.root / "studies" / "mine.py"), "--set", "final=1"]
    return room.start("slurm", words, given)


def finished(room: Room) -> dict[str, float]:
    return {path.stem: path.stat().st_mtime for path in (room.root / "results" / "runs").glob("??/*.json")}


@rooms
@pytest.mark.release
def test_a_slurm_job_whose_time_is_up_queues_again_and_resumes(room: Room) -> None:
    job = submitted(room, LONGER)
    room.wait("slurm", lambda: len(finished(room)) >= 3)
    folders = list((room.root / "home").glob(f".raycl-{JOB}-*"))
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700]
    token = folders[0] / "ray_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text()) == 64
    assert not [line for line in room.command_lines() if token.read_text() in line]
    room.signal("bash", "slurm.sh", signal.SIGUSR1)  # as --signal=B:USR1 does: to the script alone
    said = room.log("slurm")
    assert job.wait(200) == 130, said.read_text()
    assert (room.root / "home" / "scontrol").read_text() == f"requeue {JOB}\n"
    before = finished(room)
    assert 3 <= len(before) < 10 and not list((room.root / "home").glob(f".raycl-{JOB}-*"))
    assert not [line for line in room.command_lines() if "gcs_server" in line or "raylet" in line]
    assert submitted(room, LONGER, restarts=1).wait(400) == 0, said.read_text()
    after = finished(room)
    assert len(after) > len(before) and before.items() <= after.items()  # nothing was computed again
    assert not list(Path("/tmp").glob(f"raycl-{JOB}-*"))


@rooms
@pytest.mark.release
def test_the_launchers_commands_start_a_cluster(room: Room) -> None:
    """Two nodes, each with process ids of its own: `ray stop` on one must not end the other."""
    [content] = documents("ray-cluster.yaml")
    home = room.root / "home"
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("a1" * 32)
    (home / ".profile").write_text("")
    (home / "env").symlink_to(SCRIPTS.parent)
    (home / "studies").mkdir()
    (home / "studies" / "quickstart.py").write_text(STUDY)
    (home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(content))
    given = room.environment(RAY_HEAD_IP=ADDRESS, RAYCL_DATA=str(room.root / "data"))
    [profile] = [command for command in content["setup_commands"] if ".profile" in command]
    for name, commands in (
        ("head", [profile, *content["head_start_ray_commands"]]),
        ("worker", content["worker_start_ray_commands"]),
    ):
        script = "\n".join([f"cd {home}", *commands, "exec sleep infinity"])
        own = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script]
        room.start(name, own, given)
        room.wait(name, lambda name=name: "Ray runtime started" in room.log(name).read_text())  # type: ignore[misc]
    [line] = re.findall(r"ray exec .* '(raycl run .*)'", (DOCKER / "ray-cluster.yaml").read_text())
    words = line.replace("/store/", f"{room.root}/store/")
    inside = room.inside("head")
    done = subprocess.run(
        [*inside, "bash", "--login", "-c", f"cd && {words}"], env=given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((room.root / "store" / "results" / "runs").glob("??/*.json"))) == RUNS
    assert (home / "mlflow.db").exists() and not (room.root / "store" / "results" / "mlflow.db").exists()


@rooms
@pytest.mark.release
def test_the_kubernetes_jobs_command_plays_a_study(room: Room) -> None:
    """Its head and workers as KubeRay starts them: by these parameters, with the secret as a variable."""
    _, defaults, _, job = documents("kuberay.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    head, [workers] = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    given = room.environment(RAY_AUTH_MODE=cluster["authOptions"]["mode"], RAY_AUTH_TOKEN="b2" * 32)

    def started(name: str, role: list[str], group: dict[str, Any]) -> None:
        options = [f"--{option}={value}" for option, value in group["rayStartParams"].items()]
        room.start(name, ["ray", "start", *role, *options, "--block"], given, restarts=3)
        room.wait(name, lambda: "Ray runtime started" in room.log(name).read_text())

    started("head", ["--head", "--port=6379", "--include-dashboard=false"], head)
    started("worker", ["--address=head:6379", "--num-cpus=2"], workers)
    [container] = head["template"]["spec"]["containers"]
    [data] = [entry["value"] for entry in container["env"] if entry["name"] == "RAYCL_DATA"]
    place = {"/store": str(room.root / "store"), "/studies": str(room.root / "studies")}
    (room.root / "studies" / "study.py").write_text(STUDY)

    def here(word: str) -> str:
        return re.sub(r"^/(store|studies)\b", lambda found: place[found[0]], word)

    words = [here(word) for word in shlex.split(job["spec"]["entrypoint"])]
    address = defaults["data"]["MLFLOW_TRACKING_URI"].replace("/tmp", str(room.root / "home"))
    done = room.run(words, given | {"RAYCL_DATA": here(data), "MLFLOW_TRACKING_URI": address})
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((room.root / "store" / "results" / "runs").glob("??/*.json"))) == RUNS
    assert (room.root / "home" / "mlflow.db").exists()


def outside() -> dict[str, str]:
    """This process's environment, through which a package index is reached, without its Python."""
    asked = lint("uv", "pip", "install", "--dry-run", "--no-deps", "--target", "/nowhere", "uv")
    if asked.returncode:
        pytest.skip(f"no package index answers: {asked.stderr.strip().splitlines()[-1]}")
    own = ("PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def works(folder: Path, *lines: str) -> None:
    """Each command ends well, found in that folder and nowhere else of ours."""
    given = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "RAY_AUTH_MODE": "token"}
    for line in lines:
        done = subprocess.run(shlex.split(line), cwd=folder, env=given, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    ray = subprocess.check_output(["ray", "--version"], env=given, text=True).split()[-1]
    assert f"ray=={ray}" in (DOCKER / "constraints.txt").read_text().split()


IMPORTS = (
    "import aiohttp_cors, flask_wtf, psycopg2, raycl.tune.launch, sys; assert sys.version_info[:2] == (3, 11)"
)


@pytest.mark.release
def test_the_images_packages_install_and_work(tmp_path: Path) -> None:
    """The Dockerfile's own installing, with folders below `tmp_path` for /opt."""
    source, opt = tmp_path / "opt" / "src", tmp_path / "opt"
    source.mkdir(parents=True)
    path = f"{opt}/raycl/bin:{opt}/uv/bin:{SCRIPTS}:/usr/bin:/bin"
    given, ran = outside() | {"VIRTUAL_ENV": f"{opt}/raycl", "PATH": path}, 0
    for name, words in instructions():
        if name == "COPY" and not words.startswith("studies"):
            *files, target = words.split()
            for file in files:
                place = source / target / ("" if target == "./raycl" else Path(file).name)
                copied(HOME / file, place)
        if name == "RUN" and "pip install" in words:
            command = re.sub(r"--mount=\S+ ", "", words).replace("/opt/", f"{opt}/")
            command = command.replace("/usr/local/bin/python", sys.executable)
            done = subprocess.run(
                ["bash", "-ec", command], cwd=source, env=given, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            ran += 1
    assert ran == 4
    works(opt / "raycl" / "bin", "raycl --help", "mlflow --version", f"python -c {shlex.quote(IMPORTS)}")
    shutil.rmtree(opt)  # gigabytes, where they are no links into a cache


@pytest.mark.release
def test_the_launchers_packages_install_and_work(tmp_path: Path) -> None:
    """The files that it sends to each node, and what it does with them there."""
    [content] = documents("ray-cluster.yaml")
    for there, here in content["file_mounts"].items():
        if "auth_token" not in there:
            copied(HOME / here, Path(there.replace("/home/ubuntu", str(tmp_path))))
    (tmp_path / "uv" / "bin").mkdir(parents=True)
    (tmp_path / "uv" / "bin" / "uv").symlink_to(SCRIPTS / "uv")
    given = outside() | {"HOME": str(tmp_path), "UV_CACHE_DIR": cache(), "PATH": f"{SCRIPTS}:/usr/bin:/bin"}
    commands = [command for command in content["setup_commands"] if "~/uv/" in command]
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(
            ["bash", "-ec", command], cwd=tmp_path, env=given, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    python = shlex.quote(f"{IMPORTS}; import boto3")
    works(tmp_path / "env" / "bin", "raycl --help", f"python -c {python}")
    shutil.rmtree(tmp_path / "env")


def cache() -> str:
    """Where uv keeps what it fetched before."""
    return lint("uv", "cache", "dir").stdout.strip()


def copied(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
