"""Forty faults of one line each, of the kind that a change can bring, and the tests that must notice them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CodeFault:
    """A line of the package, and a wrong one in its place.

    Attributes:
        file: The file, below ``raycl/``.
        right: Text that stands in that file once.
        wrong: What stands there instead.
        tests: Words for pytest that select the tests of the file, the fastest first.
    """

    file: str
    right: str
    wrong: str
    tests: str


METHODS = (
    CodeFault(
        "methods/spg.py",
        "torch.maximum(old, new, out=old)  # eq. 4",
        "old.copy_(new)  # eq. 4",
        "tests/methods/test_spg.py tests/test_golden_spg.py",
    ),
    CodeFault(
        "methods/spg.py",
        "heads = [*range(own if chi else 0), own]",
        "heads = [*range(1, own if chi else 0), own]",
        "tests/methods/test_spg.py tests/test_golden_spg.py",
    ),
    CodeFault(
        "methods/spg.py",
        "return (g - g.mean()) / (g.std() + 1e-12)",
        "return g / (g.std() + 1e-12)",
        "tests/methods/test_spg.py tests/test_golden_spg.py",
    ),
    CodeFault(
        "methods/spg.py",
        "return total / sum(t.numel() for t in tensors)",
        "return total / len(tensors)",
        "tests/methods/test_spg.py tests/test_golden_spg.py",
    ),
    CodeFault(
        "methods/tag.py",
        "self.directions = torch.cat([self.directions, (m / norm).reshape(1, -1)])",
        "self.directions = torch.cat([self.directions, m.reshape(1, -1)])",
        "tests/methods/test_tag.py tests/test_golden_tag.py",
    ),
    CodeFault(
        "methods/tag.py",
        "if p in others:",
        "if True:",
        "tests/methods/test_tag.py tests/test_golden_tag.py",
    ),
    CodeFault(
        "methods/tag.py",
        "return torch.exp(-b * cosines.clamp_(-1, 1))",
        "return torch.exp(b * cosines.clamp_(-1, 1))",
        "tests/methods/test_tag.py tests/test_golden_tag.py",
    ),
    CodeFault(
        "methods/piggyback.py",
        "kept = numbers(torch.gt, real, TAU)",
        "kept = numbers(torch.gt, real.abs(), TAU)",
        "tests/methods/test_piggyback.py tests/test_golden_piggyback.py",
    ),
    CodeFault(
        "methods/piggyback.py",
        "self._evaluated = None  # real values may have changed",
        "pass  # real values may have changed",
        "tests/methods/test_piggyback.py tests/test_golden_piggyback.py",
    ),
    CodeFault(
        "methods/ewc_gi.py",
        "torch.maximum(total, gamma[p], out=total)",
        "total.add_(gamma[p])",
        "tests/methods/test_ewc_gi.py",
    ),
    CodeFault(
        "methods/pathnet.py",
        'shifts = torch.randint(-2, 3, (n,), device="cpu") * moves',
        'shifts = torch.randint(-2, 2, (n,), device="cpu") * moves',
        "tests/methods/test_pathnet.py",
    ),
    CodeFault(
        "methods/pnn.py",
        "earlier.append(self.received(x, column, earlier))",
        "earlier.append(self.received(x, column, earlier[:-1]))",
        "tests/methods/test_pnn.py",
    ),
    CodeFault(
        "methods/hypernet.py",
        "return total / len(received)",
        "return total",
        "tests/methods/test_hypernet.py tests/test_golden_hypernet.py",
    ),
    CodeFault(
        "methods/replay.py",
        "rows, count = np.flatnonzero(y == label), max(1, int(share))",
        "rows, count = np.flatnonzero(y == label), int(share)",
        "tests/methods/test_replay.py",
    ),
    CodeFault(
        "masks.py",
        "return n - int((1 - density) * n)",
        "return int(density * n)",
        "tests/test_masks.py",
    ),
    CodeFault(
        "masks.py",
        "factor = 1 - torch.minimum(after,",
        "factor = 1 - torch.maximum(after,",
        "tests/test_masks.py tests/methods/test_hat.py tests/test_golden_hat.py",
    ),
)

TRAINING = (
    CodeFault(
        "training/schedule.py",
        "math.cos(math.pi * epoch / self.epochs)",
        "math.cos(math.pi * (epoch + 1) / self.epochs)",
        "tests/test_training.py",
    ),
    CodeFault(
        "training/schedule.py",
        "if self.left > 0:",
        "if self.left >= 0:",
        "tests/test_training.py",
    ),
    CodeFault(
        "training/schedule.py",
        "self.lr = max(lower, config.floor)",
        "self.lr = lower",
        "tests/test_training.py",
    ),
    CodeFault(
        "training/schedule.py",
        "sum(epoch >= m for m in config.milestones)",
        "sum(epoch > m for m in config.milestones)",
        "tests/test_training.py",
    ),
    CodeFault(
        "training/best.py",
        "self.saved = [t.detach().clone() for t in self.tensors]",
        "self.saved = [t.detach() for t in self.tensors]",
        "tests/test_training.py",
    ),
    CodeFault(
        "training/fit.py",
        "total += value(batch, index) * len(batch)",
        "total += value(batch, index)",
        "tests/test_training.py",
    ),
    CodeFault(
        "training/fit.py",
        'if self.keep == "best" and watched < self.best.val_loss:',
        "if watched < self.best.val_loss:",
        "tests/test_training.py",
    ),
    CodeFault(
        "training/fit.py",
        "self.updates += fitted.updates",
        "self.updates = fitted.updates",
        "tests/test_training.py tests/methods/test_pathnet.py tests/methods/test_packnet.py",
    ),
    CodeFault(
        "training/feeding.py",
        "dtype = torch.get_default_dtype()",
        "dtype = torch.float32",
        "tests/test_training.py",
    ),
)

AGENDA = (
    CodeFault(
        "study/agenda.py",
        "return not self.live and not self._ready and self.masks.idle",
        "return not self._ready and self.masks.idle",
        "tests/test_agenda.py tests/test_maskjobs.py tests/test_pretraining.py",
    ),
    CodeFault(
        "study/agenda.py",
        "self._watchers[key][index].add(own)",
        "self._watchers[key][index].add(key)",
        "tests/test_agenda.py tests/test_maskjobs.py tests/test_pretraining.py",
    ),
    CodeFault(
        "study/agenda.py",
        'self._emit_spec(index, own, part, role.under(f"task {t + 1}"), priority + t / 1000)',
        'self._emit_spec(index, own, part, role.under(f"task {t + 1}"), priority - t / 1000)',
        "tests/test_agenda.py tests/test_maskjobs.py tests/test_pretraining.py",
    ),
    CodeFault(
        "tune/replay.py",
        "self._known_by(k, told)",
        "self._known_by(k, told) - 1",
        "tests/tune/test_samplers.py",
    ),
    CodeFault(
        "study/values.py",
        "return max(0, n - self.concurrency + 1)",
        "return max(0, n - self.concurrency)",
        "tests/test_agenda.py tests/tune/test_proposals.py",
    ),
    CodeFault(
        "study/trials.py",
        "[t.params for t in state.trials[known:]]",
        "[]",
        "tests/test_agenda.py tests/tune/test_proposals.py",
    ),
    CodeFault(
        "study/objectives.py",
        "(old[0] == new[0] and old[1] < new[1])",
        "(old[0] == new[0] and old[1] > new[1])",
        "tests/test_objectives.py tests/test_agenda.py",
    ),
    CodeFault(
        "study/progress.py",
        "self.extra += all(same.seed is not None for same in self.runs[key])",
        "self.extra += 1",
        "tests/test_agenda.py tests/test_scale.py",
    ),
    CodeFault(
        "study/maskjobs.py",
        "lost |= self._runs.pop(spec.key, set())",
        "lost = self._runs.pop(spec.key, set())",
        "tests/test_maskjobs.py tests/test_agenda.py",
    ),
)

STORE = (
    CodeFault(
        "wholefiles.py",
        "settle(file) if synced else file.flush()",
        "settle(file) if synced else None",
        "tests/test_wholefiles.py tests/test_store.py",
    ),
    CodeFault(
        "wholefiles.py",
        "os.replace(draft, path)",
        "path.write_bytes(raw)",
        "tests/test_wholefiles.py tests/test_store.py",
    ),
    CodeFault(
        "runs/store.py",
        "failure.unlink(missing_ok=True)",
        "pass",
        "tests/test_store.py tests/test_agenda.py",
    ),
    CodeFault(
        "runs/store.py",
        "if there and not kind.of_run:",
        "if there:",
        "tests/test_store.py tests/test_agenda.py tests/test_pretraining.py",
    ),
    CodeFault(
        "runs/reports.py",
        "stored += part.stored_bytes - parts[0].stored_bytes",
        "stored += part.stored_bytes",
        "tests/test_agenda.py tests/methods/test_one.py tests/test_pretraining.py",
    ),
    CodeFault(
        "runs/checkpoints.py",
        "if len(raw) + sum(size for k, size in self._sizes.items() if k != n) > self.most:",
        "if len(raw) + sum(self._sizes.values()) > self.most:",
        "tests/test_checkpoints.py",
    ),
    CodeFault(
        "archives.py",
        'seen.update(f"{name}\\0{array.dtype.str}\\0{array.shape}\\0".encode())',
        'seen.update(f"{name}\\0{array.dtype.str}\\0".encode())',
        "tests/test_store.py tests/supermasks/test_storage.py",
    ),
)

FAULTS = (*METHODS, *TRAINING, *AGENDA, *STORE)
