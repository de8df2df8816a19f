"""A Dataset that is read row by row."""

from __future__ import annotations

from torch.utils.data import Dataset


class Rows(Dataset):
    """Rows of a tensor, one at a time."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, row):
        return self.values[row]
