"""Lines of text: a code for each, lines written from codes, the way between two, and lines that are strange.

Shows `recipes.text_vae`, `free_bits`, `generate`, `interpolate`, `novelty` and `text.perplexity`. The lines are made up
of a few parts; `--text` takes a file of your own, a line each.

    python examples/text_vae.py                     # two minutes
    python examples/text_vae.py --text verses.txt --steps 2000
    python examples/text_vae.py --smoke             # seconds
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch

import pyrovae as pv

PARTS = (
    ("the cat", "a dog", "the old king", "my sister", "nobody"),
    ("sat", "slept", "sang a song", "ate an apple", "read a letter"),
    ("", "at home", "on the hill", "by the river", "in the dark"),
    ("", "last night", "every morning"),
)


def made_up() -> list[str]:
    """All sentences of these parts, in an order of chance."""
    sentences = [" ".join(part for part in parts if part) for parts in itertools.product(*PARTS)]
    return [sentences[place] for place in torch.randperm(len(sentences))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--text", type=Path, help="a file of lines, in UTF-8")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--smoke", action="store_true", help="few steps")
    options = parser.parse_args()

    torch.manual_seed(0)
    steps, draws = (4, 25) if options.smoke else (options.steps, 200)
    lines = made_up() if options.text is None else pv.text.read_lines(options.text)
    held_out, training = lines[:50], lines[50:]
    vocabulary = pv.text.vocabulary(lines)
    print(f"{len(lines)} lines: {vocabulary}")

    pair = pv.recipes.text_vae(vocabulary, latent=8, hidden=64, embedding=16)
    # Without free bits the decoder soon does without the code.
    rate = pv.cosine(1e-2, 1e-3, steps=steps)
    pv.fit(pv.free_bits(pair, {"z": 4.0}), training, steps=steps, batch_size=64, learning_rate=rate, clip_norm=5.0,
           seed=0, progress=False)  # fmt: skip

    found = pv.text.perplexity(pair, held_out, draws=draws)
    told = pv.mutual_information(pair, held_out)
    print(f"held out: perplexity {found.value:.3f}, codes say {told.mutual_information:.1f} nats")
    print("\nnew lines:", *pv.generate(pair, 6, seed=0), sep="\n  ")
    print("\nread, and written again:")
    for line, again in zip(held_out[:4], pv.reconstruct(pair, held_out[:4]), strict=True):
        print(f"  {line} -> {again}")
    print("\nfrom one line to another:", *pv.interpolate(pair, held_out[:2], points=6), sep="\n  ")
    strange = [held_out[0], held_out[1][::-1]]
    values = pv.novelty(pair, strange, calibration=held_out, scores=("evidence",), draws=draws).combined.p_value
    print("\nhow usual (p-values):")
    for line, value in zip(strange, values.tolist(), strict=True):
        print(f"  {value:.2f}  {line}")


if __name__ == "__main__":
    main()
