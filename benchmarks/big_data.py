"""Data that stay on disk beside the same rows in memory: speed of an epoch, and the peak of resident memory.

Each round trains one epoch of the same VAE by each way in turn, each in a process of its own; the time is that of the
steps, the peak is over what the process had after its imports.

    python benchmarks/big_data.py
    python benchmarks/big_data.py --rows 4_700_000 --rounds 1   # a Parquet file of 1.2 GB
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from memory import peak

COLUMNS = 64

WAYS = ("memory", "parquet", "zarr", "hdf5")


def write(folder: Path, rows: int) -> None:
    """The same rows in every form, written in parts, so that this process does not need them all."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as parquet
    import zarr

    noise, part = np.random.default_rng(0), 50_000
    names = [f"c{number}" for number in range(COLUMNS)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    mapped = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, COLUMNS))
    hdf5 = h5py.File(folder / "x.h5", "w").create_dataset("x", (rows, COLUMNS), "f4", chunks=(8192, COLUMNS))
    stored = zarr.create_array(str(folder / "x.zarr"), shape=(rows, COLUMNS), chunks=(8192, COLUMNS), dtype="f4")
    with parquet.ParquetWriter(folder / "x.parquet", schema, use_dictionary=False) as file:
        for start in range(0, rows, part):
            x = noise.normal(size=(min(part, rows - start), COLUMNS)).astype(np.float32)
            file.write_table(pa.table(dict(zip(names, x.T, strict=True)), schema=schema))
            mapped[start : start + part] = hdf5[start : start + part] = stored[start : start + part] = x


def train(way: str, folder: Path, memory: int, batch: int, width: int) -> None:
    """One epoch; prints the rows a second and the MiB by which the peak grew."""
    import h5py
    import torch
    import zarr

    import pyrovae as pv

    torch.set_num_threads(1)
    torch.manual_seed(0)
    likelihood = pv.Normal(pv.MLP(8, [width], COLUMNS), scale=1.0)
    vae = pv.VAE(pv.StandardNormal(8), likelihood, pv.DiagNormal(pv.MLP(COLUMNS, [width], 16)))
    pv.fit(vae, torch.randn(2 * batch, COLUMNS), steps=2, batch_size=batch, seed=0, progress=False, staged=True)
    before = peak()
    if way == "memory":
        data = torch.from_numpy(np.load(folder / "x.npy"))
    elif way == "parquet":
        data = pv.on_disk(folder / "x.parquet", memory=memory)
    elif way == "zarr":
        data = pv.on_disk(zarr.open_array(str(folder / "x.zarr"), mode="r"), memory=memory)
    else:
        data = pv.on_disk(h5py.File(folder / "x.h5")["x"], memory=memory)
    steps = pv.steps(vae, data, epochs=1, batch_size=batch, seed=0, staged=True)
    start = count = 0
    for step in steps:
        if step.index == 200:  # the graph is made, and the first windows are read
            start = time.perf_counter()
        count = step.index
    print((count - 200) * batch / (time.perf_counter() - start), peak() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=2_500_000)
    parser.add_argument("--memory", type=int, default=2**26, help="bytes that on_disk may take")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--width", type=int, default=256, help="hidden units")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs=2, metavar=("WAY", "FOLDER"))
    options = parser.parse_args()
    if options.only:
        train(options.only[0], Path(options.only[1]), options.memory, options.batch, options.width)
        return
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.rows)
        size = {path.suffix: path.stat().st_size / 2**20 for path in Path(folder).iterdir() if path.is_file()}
        for _ in range(options.rounds):
            for way in WAYS:
                given = ["--memory", str(options.memory), "--batch", str(options.batch), "--width", str(options.width)]
                command = [sys.executable, __file__, *given, "--only", way, folder]
                words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                found[way].append([float(word) for word in words[-2:]])
    print(f"{options.rows:,} rows of {COLUMNS} floats, Parquet file {size['.parquet']:,.0f} MiB, limit of on_disk ")
    print(
        f"{options.memory / 2**20:.0f} MiB, batches of {options.batch}, VAE {COLUMNS}-{options.width}-8, one thread\n"
    )
    print("| data | rows a second | to memory | peak over the imports, MiB |")
    print("|---|---|---|---|")
    for way in WAYS:
        rate, held = (statistics.median(column) for column in zip(*found[way], strict=True))
        ratios = [one / base for (one, _), (base, _) in zip(found[way], found["memory"], strict=True)]
        print(f"| {way} | {rate:,.0f} | {statistics.median(ratios):.2f} | {held:,.0f} |")


if __name__ == "__main__":
    main()
