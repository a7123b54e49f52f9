"""Linear layers put in the place of others."""

from collections.abc import Callable

from torch import nn


def replace_linears(module: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Put what `make` returns in the place of every linear layer below a module.

    One at a time: no more than one layer's old weights are there beside its new ones.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, make(child))
        else:
            replace_linears(child, make)
