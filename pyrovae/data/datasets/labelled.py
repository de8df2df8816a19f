"""Digits that come with the package, MNIST and its relatives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyrovae.data.datasets.array_files import existing, idx
from pyrovae.data.datasets.downloads import Download, cached
from pyrovae.errors import DataError


class Labelled(NamedTuple):
    """Images (n, height, width) and their class labels (n,), both uint8."""

    images: np.ndarray
    labels: np.ndarray


_MNIST = Download(
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    # Of the unpacked bytes: copies of these files are often packed again, which changes the packed ones.
    {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)

_FASHION = Download(
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    {
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)

_KMNIST = Download(
    ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
    {
        "train-images-idx3-ubyte": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    },
)


def digits() -> Labelled:
    """The 1,797 handwritten digits that come with the package: grey images of 8x8 pixels, values 0 to 16.

    The test part of *Optical Recognition of Handwritten Digits*, E. Alpaydin and C. Kaynak (1998), UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49, licensed under CC BY 4.0; the same images as in
    scikit-learn, as bytes.

    Returns:
        `Labelled(images, labels)`: uint8 arrays of shape (1797, 8, 8) and (1797,).

    Examples:
        >>> images, labels = digits()
        >>> images.shape, images.dtype.name, int(images.max()), labels[:5].tolist()
        ((1797, 8, 8), 'uint8', 16, [0, 1, 2, 3, 4])
    """
    with np.load(Path(__file__).parent / "digits.npz", allow_pickle=False) as arrays:
        return Labelled(arrays["images"], arrays["labels"])


def mnist(root: str | os.PathLike[str] | None = None, *, train: bool = True, download: bool = True) -> Labelled:
    """MNIST: 60,000 training and 10,000 test images of digits, 28x28, values 0 to 255 (LeCun et al., 1998).

    Args:
        root: the folder that holds the IDX files, gzipped or plain, by their usual names. Their form is checked, not
            their hash, so files of your own in the same format will do. Left out: a cache folder
            (`$PYROVAE_CACHE`, else the user's own), filled by a download whose SHA-256 is checked.
        train: the training part, or the test part.
        download: False never touches the network.

    Returns:
        `Labelled(images, labels)`: uint8 arrays of shape (n, 28, 28) and (n,).

    Raises:
        FileError: a file is missing, damaged, cannot be downloaded, or has another hash.
        DataError: images and labels do not fit each other.
    """
    return _labelled("mnist", _MNIST, root, train=train, download=download)


def fashion_mnist(root: str | os.PathLike[str] | None = None, *, train: bool = True, download: bool = True) -> Labelled:
    """Fashion-MNIST: images of clothes in the format of MNIST (Xiao et al., 2017). Arguments as for `mnist`."""
    return _labelled("fashion-mnist", _FASHION, root, train=train, download=download)


def kmnist(root: str | os.PathLike[str] | None = None, *, train: bool = True, download: bool = True) -> Labelled:
    """Kuzushiji-MNIST: images of cursive Japanese in the format of MNIST (Clanuwat et al., 2018). Arguments as there.

    KMNIST Dataset (created by CODH), adapted from the Kuzushiji Dataset (NIJL and others), CC BY-SA 4.0.
    """
    return _labelled("kmnist", _KMNIST, root, train=train, download=download)


def _labelled(
    name: str, source: Download, root: str | os.PathLike[str] | None, *, train: bool, download: bool
) -> Labelled:
    part = "train" if train else "t10k"
    files = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    if root is None:
        paths = [cached(name, source, file, download=download) for file in files]
    else:
        paths = [_in_folder(existing(root), file) for file in files]
    images, labels = (idx(path) for path in paths)
    if images.ndim != 3 or labels.shape != images.shape[:1] or images.dtype != np.uint8:
        raise DataError(
            f"{paths[0]} holds {images.dtype} {images.shape} and {paths[1]} {labels.shape}: expected bytes of shape "
            "(n, height, width) and n labels."
        )
    return Labelled(images, labels)


def _in_folder(folder: Path, file: str) -> Path:
    # The second spelling is what some archives unpack to.
    spellings = [folder / f"{name}{suffix}" for name in (file, file.replace("-idx", ".idx")) for suffix in ("", ".gz")]
    found = [path for path in spellings if path.is_file()]
    return found[0] if found else existing(spellings[1])
