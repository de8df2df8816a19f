"""A VAE of lines of text beside a language model of the same decoder: likelihood, KL and mutual information.

Against a code that the decoder ignores there are word dropout, free bits, cyclic weights and aggressive training of the
guide; each is trained alike, on one thread. Negative log-likelihoods are those of held-out lines: of the language model
exact, of the VAEs by importance sampling. The language model is the same decoder, given zeros in the place of a code.

Texts are those that Debian's packages bring (apt-get install bible-kjv fortunes), or a file of your own.

    python benchmarks/text.py
    python benchmarks/text.py --text fortunes --steps 1000 --only plain free-bits
    python benchmarks/text.py --text lines.txt
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import torch

import pyrovae as pv

LATENT, HIDDEN, EMBEDDING, BATCH = 16, 128, 32, 64
HELD_OUT, DRAWS = 300, 100
FORTUNES = Path("/usr/share/games/fortunes")


def verses() -> list[str]:
    """Of the King James Bible, as Debian's `bible-kjv` prints it: one in each line, behind its number."""
    command = ["bible", "-f", "gen1:1-rev22:21"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split(" ", 1)[1].strip() for line in printed.splitlines() if " " in line]


def fortunes() -> list[str]:
    """Those of Debian's `fortunes` that are one line."""
    texts = [
        path.read_text(encoding="utf-8", errors="ignore") for path in sorted(FORTUNES.iterdir()) if not path.suffix
    ]
    found = [one.strip() for text in texts for one in text.split("\n%\n")]
    return sorted({one for one in found if one and "\n" not in one and "\t" not in one})


TEXTS: dict[str, Callable[[], list[str]]] = {"bible": verses, "fortunes": fortunes}


class LanguageModel(torch.nn.Module):
    """The decoder alone."""

    def __init__(self, vocabulary: pv.text.Vocabulary):
        super().__init__()
        self.decoder = decoder_of(vocabulary)

    def model(self, x: torch.Tensor) -> None:
        pyro.module("language_model", self)
        with pyro.plate("data", len(x)):
            line = self.decoder(torch.zeros(len(x), LATENT), steps=x.shape[1])
            pyro.sample("x", line, obs=x)

    def guide(self, x: torch.Tensor) -> None:
        """Nothing: there is no code."""


def decoder_of(vocabulary: pv.text.Vocabulary) -> pv.TokenDecoder:
    sizes = {"hidden": HIDDEN, "embedding": EMBEDDING}
    return pv.TokenDecoder(vocabulary.size, LATENT, vocabulary.steps, **sizes)


def vae(vocabulary: pv.text.Vocabulary, **options: Any) -> Any:
    return pv.recipes.text_vae(vocabulary, LATENT, hidden=HIDDEN, embedding=EMBEDDING, **options)


def rate_of(steps: int) -> Any:
    return pv.cosine(3e-3, 3e-4, steps=steps)


def ways(steps: int) -> dict[str, tuple[Callable[[Any], Any], dict[str, Any]]]:
    """How each pair is made, and what `fit` is told beside."""
    warm_up = pv.linear(0, 1, steps=steps // 2)
    return {
        "language model": (LanguageModel, {}),
        "plain": (vae, {}),
        "word dropout 0.3": (lambda words: vae(words, word_dropout=0.3), {}),
        "free bits 4": (lambda words: pv.free_bits(vae(words), {"z": 4.0}), {}),
        "cyclic": (vae, {"temper": pv.cyclic(0, 1, steps=steps)}),
        "warm-up": (vae, {"temper": warm_up}),
        "aggressive": (vae, {"learning_rate": pv.Aggressive(rate_of(steps))}),
        "warm-up, aggressive": (vae, {"temper": warm_up, "learning_rate": pv.Aggressive(rate_of(steps))}),
        "free bits 4, word dropout 0.3": (lambda words: pv.free_bits(vae(words, word_dropout=0.3), {"z": 4.0}), {}),
    }


def measured(name: str, words: pv.text.Vocabulary, train: torch.Tensor, held: torch.Tensor, options: Any) -> str:
    """A row of the table."""
    pyro.clear_param_store()
    torch.manual_seed(options.seed)
    make, more = ways(options.steps)[name]
    pair, start = make(words), time.process_time()
    more = {"learning_rate": rate_of(options.steps), **more}
    pv.fit(pair, train, steps=options.steps, batch_size=BATCH, clip_norm=5.0, seed=options.seed, staged=False,
           progress=False, **more)  # fmt: skip
    spent = time.process_time() - start
    tokens = float((held != 0).sum() + len(held))
    nats = -pv.log_evidence(pair, held, draws=1 if name == "language model" else DRAWS).value.mean()
    figures = f"{float(nats):.2f} | {float(torch.exp(nats * len(held) / tokens)):.3f}"
    if name == "language model":
        return f"| {name} | {figures} | | | | {spent:.0f} |"
    kl = pv.rate_distortion(pair, held, draws=4).rate
    told = pv.mutual_information(pair, held)
    units = pv.active_units(pair, held)["z"].count
    return f"| {name} | {figures} | {kl:.2f} | {told.mutual_information:.2f} | {units} | {spent:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--text", default="bible", help=f"{', '.join(TEXTS)}, or a file of lines")
    parser.add_argument("--longest", type=int, default=80, help="characters of a line; longer ones are left out")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = TEXTS[options.text]() if options.text in TEXTS else pv.text.read_lines(options.text)
    lines = [line for line in lines if len(line) <= options.longest]
    words = pv.text.vocabulary(lines)
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))
    rows = words.encode(lines)[order]
    train, held = rows[HELD_OUT:], rows[:HELD_OUT]
    print(f"{options.text}: {len(train)} lines, {len(held)} held out, {words.size - 1} characters", flush=True)
    print(
        "| | nats a line | perplexity | KL | mutual information | active | CPU s |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    for name in ways(options.steps):
        if not options.only or any(name.startswith(one) for one in options.only):
            print(measured(name, words, train, held, options), flush=True)


if __name__ == "__main__":
    main()
