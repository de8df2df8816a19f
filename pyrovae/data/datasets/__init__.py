"""Data to start with: digits that come with the package, MNIST and its relatives, and files of your own.

Arrays only: nothing here needs torch. No file is ever changed, and nothing in a file is executed.
"""

from pyrovae.data.datasets.array_files import idx
from pyrovae.data.datasets.labelled import Labelled, digits, fashion_mnist, kmnist, mnist
from pyrovae.data.datasets.load import Loaded, load
from pyrovae.data.datasets.sprites import Sprites, sprites

__all__ = ["Labelled", "Loaded", "Sprites", "digits", "fashion_mnist", "idx", "kmnist", "load", "mnist", "sprites"]
