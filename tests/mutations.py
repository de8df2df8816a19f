"""Faults made on purpose, one line each: does a test of the room see them?

`python tests/mutations.py` works on a copy of the tree, one fault at a time, and prints for each whether its tests
fail, and which one first; `python tests/mutations.py 3 17` tries two of them. A fault that the sample of `make test`
sees is not tried on the other cases. It takes about half an hour.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".venv*", ".git", "__pycache__", ".hypothesis", ".pytest_cache", "site")

PARTS = ("sample", "rest")

SURVIVED = "SURVIVED"

NOTHING = 5  # pytest's status where no test is left

# A line, or a part of one, that stands once in the package; what stands there instead; the tests that hold it.
FAULTS = (
    (
        "scale.log().sum(1) + 0.5 * math.log(2 * math.pi) * z.shape[-1]",
        "scale.log().sum(1)",
        "priors",
    ),
    (
        "total = 1 / (scale.square() * center.sigmoid() * (-center).sigmoid())",
        "total = 1 / scale.square()",
        "by_column",
    ),
    (
        "return super().log_prob(value.double())",
        "return super().log_prob(value)",
        "rounded_counts",
    ),
    (
        "if lost > _MOST:",
        "if lost > 1e9:",
        "rounded_counts",
    ),
    (
        "or counts[top] < _TIMES * beside.mean():",
        "or counts[top] < _TIMES / 5 * beside.mean():",
        "heaped",
    ),
    (
        "found.value.masked_fill(unseen, 0.0)",
        "found.value",
        "unseen_rows",
    ),
    (
        "_without_guide(sampler, found, weighed.unseen, alone(), count) if weighed.unseen.any() else found",
        "found",
        "unseen_rows",
    ),
    (
        "self.terms[0].scale * (weights * torch.where(weights > 0, values, 0.0)).sum()",
        "(weights * torch.where(weights > 0, values, 0.0)).sum()",
        "multi_sample",
    ),
    (
        "bounds - (replaced.logsumexp(1) - math.log(count))",
        "bounds - (replaced.logsumexp(1) + math.log(count))",
        "multi_sample",
    ),
    (
        "return Figures(-(rate + distortion), rate, distortion)",
        "return Figures(-(rate - distortion), rate, distortion)",
        "rate_distortion",
    ),
    (
        'node["scale"] / tempering.factor',
        'node["scale"] * tempering.factor',
        "rate_distortion temper free_bits fixed_plate",
    ),
    (
        "moved = state + self.gain * min(",
        "moved = state - self.gain * min(",
        "schedules objectives",
    ),
    (
        "return 0.0 if self.dropped else self.factor",
        "return self.factor",
        "temper free_bits fixed_plate rate_distortion",
    ),
    (
        "self.squares + shift.square() * (self.weight * added / total)",
        "self.squares",
        "evidence",
    ),
    (
        "self.second = self.second * before.square() + weights.square().sum(0)",
        "self.second = self.second * before + weights.square().sum(0)",
        "evidence",
    ),
    (
        "return Psis(khat, 1 / (2 * weights).exp().sum(-1))",
        "return Psis(khat, 1 / weights.exp().sum(-1))",
        "evidence",
    ),
    (
        "energy = proposal.at(temperature) - momentum.square().sum(-1).double() / 2",
        "energy = proposal.at(temperature) + momentum.square().sum(-1).double() / 2",
        "ais",
    ),
    (
        "raw = [1 / (1 + math.exp(-4 * (2 * t / steps - 1))) for t in range(steps + 1)]",
        "raw = [1 / (1 + math.exp(-4 * (2 * t / steps - 1))) for t in range(steps)]",
        "ais",
    ),
    (
        "aggregate = _aggregate(sampler, sites, asked) - math.log(sampler.rows)",
        "aggregate = _aggregate(sampler, sites, asked)",
        "mutual_information",
    ),
    (
        "kernel = np.exp(-squared / width)",
        "kernel = np.exp(-squared * width)",
        "resemblance",
    ),
    (
        "inside.sum() / (k * len(drawn))",
        "inside.sum() / len(drawn)",
        "resemblance",
    ),
    (
        "self.factor = shear.tril(-1) + torch.diag_embed(r.exp())",
        "self.factor = shear.tril(0) + torch.diag_embed(r.exp())",
        "inference_gap",
    ),
    (
        "average.add(value[None], length)",
        "average.add(value[None])",
        "rate_distortion",
    ),
    (
        "return self.model - self.guide",
        "return self.model + self.guide",
        "sampling",
    ),
    (
        'return _summed(run, "model", rows, only=drawn - set(run.names("guide")))',
        'return _summed(run, "model", rows, only=drawn)',
        "sampling",
    ),
    (
        "local = local.to(term.device) + _by_row(term, symbol, symbols, run.draws, rows) / factor",
        "local = local.to(term.device) + _by_row(term, symbol, symbols, run.draws, rows)",
        "sampling evidence",
    ),
    (
        "follows=any(before != after for before, after in sizes)",
        "follows=False",
        "densities sampling prediction",
    ),
    (
        "if axis is None or -axis > len(shape) or shape[axis] != rows:",
        "if axis is None or -axis >= len(shape) or shape[axis] != rows:",
        "sampling prediction",
    ),
    (
        "part.sum(0) + delta * (before * len(part) / self.count)",
        "part.sum(0) + delta * (len(part) / self.count)",
        "prediction_reductions",
    ),
    (
        "return (self._squares / max(self.count - 1, 1)).sqrt().reshape(self.shape or ())",
        "return (self._squares / max(self.count, 1)).sqrt().reshape(self.shape or ())",
        "prediction_reductions",
    ),
    (
        "gap[(low == high) | (low == -math.inf)] = 0",
        "gap[low == -math.inf] = 0",
        "prediction_reductions",
    ),
    (
        "self.share = -(-self.elements // self.turns)",
        "self.share = self.elements // self.turns",
        "prediction_reductions",
    ),
    (
        "weight, low, high = level * last - below, ordered[:, below], ordered[:, min(below + 1, last)]",
        "weight, low, high = level * last - below, ordered[:, below], ordered[:, below]",
        "prediction_reductions",
    ),
    (
        "return -(-self.source.rows // (self.batch_size or 1))",
        "return self.source.rows // (self.batch_size or 1)",
        "data_batches",
    ),
    (
        "return self.transformed(self.source.take(rows))._replace(positions=chunk)",
        "return self.transformed(self.source.take(rows))",
        "data_batches",
    ),
    (
        "rows = slice(int(chunk[0]), int(chunk[-1]) + 1)",
        "rows = slice(int(chunk[0]), int(chunk[-1]))",
        "data_batches prediction",
    ),
    (
        "chunks = order.split(self.batch_size or 1)[skip:]",
        "chunks = order.split(self.batch_size or 1)",
        "data_batches resumption",
    ),
    (
        "return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)",
        "return int(np.random.SeedSequence([seed]).generate_state(1, np.uint64)[0] >> 1)",
        "pairs sampling calibration epistemic",
    ),
    (
        "random.setstate(self.python)",
        "pass",
        "trackers pairs sampling",
    ),
    (
        'return "enumerated" if node["infer"].get("enumerate") else "unguided"',
        'return "unguided"',
        "pairs check_pair check_pair_clauses check_pair_state",
    ),
    (
        "self.index is not None and len(self.index) == wanted and self.largest < size",
        "self.index is not None and len(self.index) == wanted",
        "pairs temper free_bits fixed_plate sampling",
    ),
    (
        "if value.ndim and not torch.equal(value, after[name]) and torch.equal(value.roll(1, axis), after[name]):",
        "if False:",
        "check_pair check_pair_clauses check_pair_state",
    ),
    (
        "right = count - rows[-1] - 1",
        "right = count - rows[-1]",
        "check_pair check_pair_clauses check_pair_state",
    ),
    (
        'error = ("model", name) in traced.validated or not finite',
        "error = not finite",
        "check_pair check_pair_clauses check_pair_state supports",
    ),
    (
        "seeded = [side for side, (first, second) in ends.items() if torch.equal(first, second)]",
        "seeded = []",
        "check_pair check_pair_clauses check_pair_state",
    ),
    (
        'group["lr"] = evaluate(rate, step)',
        'group["lr"] = evaluate(rate, 0)',
        "training",
    ),
    (
        "self.optimizer.state.pop(old, None)",
        "self.optimizer.state",
        "training staged_updates",
    ),
    (
        "if curve[-1] < curve[0] - max(",
        "if curve[-1] > curve[0] - max(",
        "progress training",
    ),
    (
        'self.optimizer.load_state_dict(state["optimizer"])',
        "pass",
        "resumption",
    ),
    (
        "return 0.5 * (2 * math.pi * math.e * (variance + spacing**2 / 12)).log()",
        "return 0.5 * (2 * math.pi * math.e * variance).log()",
        "uncertainty",
    ),
    (
        "return torch.special.entr(probabilities).sum(-1)",
        "return torch.special.entr(probabilities).mean(-1)",
        "uncertainty",
    ),
    (
        "below[name][place] += (drawn < value[place]).sum(0)",
        "below[name][place] += (drawn <= value[place]).sum(0)",
        "calibration",
    ),
    (
        "self.factor = nn.Parameter(factor * (scale / math.sqrt(rank)))",
        "self.factor = nn.Parameter(factor * scale)",
        "epistemic",
    ),
    (
        "factor = self.deviations / math.sqrt(2 * (columns - 1))",
        "factor = self.deviations / math.sqrt(columns - 1)",
        "epistemic",
    ),
    (
        "at_least = (smallest <= smallest[:, -1:]).sum(1)",
        "at_least = (smallest < smallest[:, -1:]).sum(1)",
        "novelty",
    ),
    (
        "evidence = given.logsumexp(0) - torch.tensor(float(len(given))).log()",
        "evidence = given.logsumexp(0)",
        "novelty",
    ),
    (
        '"error": float(value.std() / math.sqrt(len(value)))',
        '"error": float(value.std())',
        "cli cli_classes",
    ),
    (
        "spread = np.sqrt(latent.means.var(0) + (latent.scales**2).mean(0))",
        "spread = np.sqrt(latent.means.var(0))",
        "report",
    ),
    (
        "total[tile.draws.start : tile.draws.stop] += (local.sum(1) + (common if first else 0.0)).cpu()",
        "total[tile.draws.start : tile.draws.stop] += (local.sum(1) + common).cpu()",
        "arviz",
    ),
    (
        "value = value.masked_fill(~mask.expand(value.shape), torch.nan)",
        "value = value.masked_fill(mask.expand(value.shape), torch.nan)",
        "arviz",
    ),
    (
        "shape[part.axis] = self.rows or 0",
        "pass",
        "prediction_store prediction_reductions",
    ),
    (
        "self._own |= made - given",
        "self._own |= made",
        "staged_*",
    ),
    (
        "torch._foreach_sub_(counts, [bad] * len(counts))",
        "pass",
        "staged_*",
    ),
    (
        "return not distance <= _OF_OWN_NORM * slack * float(one.norm()) + absolute + 1e-12",
        "return distance > 1e9",
        "staged_*",
    ),
    (
        "figures[:1] *= self.share.whole * self.share.size",
        "figures[:1] *= self.share.whole",
        "parallel",
    ),
    (
        "return repr(float(value))",
        "return type(value).__name__",
        "resumption",
    ),
    (
        "parameter.grad = None  # as after a step",
        "pass  # as after a step",
        "training staged_*",
    ),
    ("if branch.inert.hold(values) or self._tries", "if reads is not None or self._tries", "staged_values"),
    (
        "return NextStep(task if self._trial is None else Task.COMPARED, route)",
        "return NextStep(task, route)",
        "staged_inert",
    ),
    ("same = one.code == other.code and", "same =", "staged_inert"),
    ("return self._put(aten.flip.default, part, [0])", "return part", "staged_iterations"),
    ("if now.stride() != then.stride():", "if False:", "staged_iterations"),
    ("return faster and difference(*outcomes[:2]", "return faster or difference(*outcomes[:2]", "staged_iterations"),
    ("self.large, series, self.sub(series, correction))", "self.large, series, series)", "staged_rewriting"),
    ("while len(self._held) > GRAPHS:", "while False:", "staged_values"),
    ("if func is _PACKS:", "if False:", "staged_values"),
    ("torch.Tag.nondeterministic_seeded not in func.tags and self.of_batch", "self.of_batch", "staged_values"),
    ("self._pure[storage_of(tensor)] = False", "pass", "staged_values"),
    ("check_data(self.checks, batch.args, batch.kwargs)  # here", "pass  # here", "staged_components"),
    ("whole = within + between", "whole = within", "pooled"),
    ("frame, weights = frame[weights > 0], weights[weights > 0]", "pass", "estimators"),
    ("(holed, self._completed_evidence)", "(holed, self._evidence)", "estimators"),
    ("return own_store(with_schema(pair, self.schema_))", "return with_schema(pair, self.schema_)", "estimators"),
    ("hidden[noise.choice(rows), place] = False", "pass", "imputation_scores"),
    ("full, shown = own.encode(frame), own.encode(holed)", "full = shown = own.encode(frame)", "imputation_scores"),
    (
        "made = completions(imputer, frame, holed.copy()",
        "made = completions(imputer, frame, frame.copy()",
        "imputation_scores",
    ),
    ('torch.where(mask, value, node["fn"].sample())', "value", "hidden_latents"),
    (
        "pooled(seen, cell_densities(FromPrior(pair, structure), given, key, every, **options), every)",
        "seen",
        "outliers",
    ),
    ('[] if scaled else use.structure.named("latent", local=False)', "[]", "rate_distortion"),
    ("first = skip * batch_size", "first = 0", "on_disk"),
    ("last.rows + sizes[block] <= rows", "len(last.blocks) < 9", "on_disk"),
    ("rows[here] = torch.arange(data.ends[number] - size, data.ends[number])", "rows[here] = here", "on_disk"),
    ("inside = rows[here] - (self.ends[number] - self.reader.sizes[number])", "inside = rows[here] * 0", "on_disk"),
    ("torch.where(alive[..., :steps], found, 0.0).sum(-1)", "found.sum(-1)", "text_vae"),
    ("if not self.training or not self.word_dropout:", "if not self.word_dropout:", "text_vae"),
    ("torch.cat([_without_end(logits[..., :1, :]), logits[..., 1:, :]], -2)", "logits", "text_vae"),
    (
        "last = (lengths - 1).reshape(-1, 1, 1)",
        "last = (lengths * 0 + tokens.shape[1] - 1).reshape(-1, 1, 1)",
        "text_vae",
    ),
    ("batches = torch.cat(parts).reshape(-1, size)", "batches = order[:whole].reshape(-1, size)", "text_vae"),
    ("return step % (self.rounds + 1) != self.rounds", "return False", "aggressive"),
    ("if not found > before:", "if False:", "aggressive"),
    ('trainer.aggressive.state = state.get("aggressive")', "pass", "aggressive"),
)


def tried(tree: Path, line: str, fault: str, names: str) -> str:
    """What the tests say of one fault; the copy is as before afterwards."""
    places = [path for path in tree.glob("pyrovae/**/*.py") if line in path.read_text(encoding="utf-8")]
    if len(places) != 1 or places[0].read_text(encoding="utf-8").count(line) != 1:
        return f"gone: the line stands {len(places)} times"
    text = places[0].read_text(encoding="utf-8")
    places[0].write_text(text.replace(line, fault), encoding="utf-8")
    files = [str(path) for name in names.split() for path in sorted(tree.glob(f"tests/test_{name}.py"))]
    try:
        return next((seen for part in PARTS if (seen := verdict(tree, part, files)) != SURVIVED), SURVIVED)
    finally:
        places[0].write_text(text, encoding="utf-8")


def verdict(tree: Path, part: str, files: list[str]) -> str:
    """Whether tests of a part fail, and the first that does."""
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "--part", part]
    command = [sys.executable, "-m", "pytest", *options, *files]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode not in (0, 1, NOTHING):
        return f"not tried: {done.stdout[-300:]}{done.stderr[-300:]}"
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return f"caught by the {part}: {failed[0] if failed else '?'}" if done.returncode == 1 else SURVIVED


def main() -> None:
    """Try the faults that are named by number, or all."""
    numbers = list(map(int, sys.argv[1:])) or range(len(FAULTS))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        for number in numbers:
            start = time.monotonic()
            words = tried(tree, *FAULTS[number])
            print(f"{number:2d}  {time.monotonic() - start:4.0f} s  {words}  |  {FAULTS[number][0]}", flush=True)


if __name__ == "__main__":
    main()
