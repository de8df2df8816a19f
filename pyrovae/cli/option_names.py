"""How the library's sentences call arguments on the command line: by the options that set them."""

from __future__ import annotations

_OPTIONS = {"root": "--data-root"} | {
    name: f"--{name.replace('_', '-')}"
    for name in (
        *(
            "batch_size",
            "candidates",
            "clip_norm",
            "columns",
            "condition",
            "device",
            "draws",
            "epochs",
            "header",
            "key",
            "label",
            "labels",
        ),
        *("learning_rate", "mode", "patience", "precision", "resume", "seed", "shape", "size", "validation"),
    )
}

# Examples of values, as one writes them in a shell; some arguments are set by another option there.
_EXAMPLES = {
    ("epochs", "..."): "--resume --epochs",
    ("key", "'...'"): "--key NAME",
    ("mode", "'L'"): "--mode L",
    ("mode", "'RGB'"): "--mode RGB",
    ("portable", "False"): "--no-portable",
    ("portable", "True"): "--portable",
    ("resume", "True"): "--resume",
    ("size", "(height, width)"): "--size height,width",
    ("temper", "pv.linear(0, 1, steps=...)"): "--anneal EPOCHS",
    ("transform", "torch.bernoulli"): "--scaling binary",
}


# What is said of the value in the rest of the sentence.
_WITHOUT_VALUE = {"kinds": "kind in schema.toml, and train --schema FILE", "where": "--where"}


def as_option(name: str, value: str = "") -> str:
    """An argument as the command line calls it; one that has no option keeps its name in Python.

    Examples:
        >>> as_option("learning_rate", "-1"), as_option("patience"), as_option("steps")
        ('--learning-rate -1', '--patience', 'steps=')
    """
    if name == "out" and value:
        return value.strip("'\"")  # given by its place: the value is enough
    if name in _WITHOUT_VALUE:
        return _WITHOUT_VALUE[name]
    if (name, value) in _EXAMPLES:
        return _EXAMPLES[name, value]
    if name not in _OPTIONS:
        return f"{name}={value}"
    return f"{_OPTIONS[name]} {value}".rstrip()
