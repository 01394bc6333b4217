"""A device that is not there: tensors that say they live on it, computed by the CPU, and strict as CUDA is.

Code that mixes devices, or hands a device's tensor to NumPy, fails on a machine without a GPU too. Values are those of
the CPU, bit by bit; speed, memory and kernels of a real device are not simulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "simulated"
_MOVES = ("aten::copy_", "aten::_to_copy")
_INDEXES = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class _Module:
    """What torch asks a device's module for."""

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """Nothing draws there."""

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16]


class _Held(Tensor):
    """A tensor of the device; `held` is the CPU's that it stands for."""

    held: Tensor

    @staticmethod
    def __new__(cls: type[_Held], held: Tensor) -> _Held:  # noqa: PYI034  torch wants it static
        dense = held.layout == torch.strided
        made: _Held = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride() if dense else (held.shape[1], 1),  # a sparse matrix is only multiplied with
            storage_offset=held.storage_offset() if dense else 0,
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """As of a tensor of CUDA, where torch refuses it to subclasses."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, dict(kwargs or {}))


class _Simulation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes what is made on the device, and what is moved there."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, dict(kwargs or {}))


# torch counts its devices once, at the first gradient: import this before.
backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())


@contextmanager
def simulated_device() -> Iterator[str]:
    """The device's name, while it can be used."""
    with _Simulation():  # type: ignore[no-untyped-call]
        yield NAME


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, _Held)]
    if there:
        _require_one_device(func._schema.name, tensors)
    wanted = kwargs.get("device")
    if wanted is not None:
        kwargs["device"] = torch.device("cpu")
    held_args, held_kwargs = tree_map(lambda leaf: leaf.held if isinstance(leaf, _Held) else leaf, (args, kwargs))
    result = func(*held_args, **held_kwargs)
    if func._schema.name == "aten::copy_":
        return args[0]
    if torch.device(wanted).type != NAME if wanted is not None else not there:
        return result
    # What is changed in place stays the same tensor.
    known = {id(tensor.held): tensor for tensor in there}
    return tree_map(
        lambda leaf: known.get(id(leaf)) if id(leaf) in known else _Held(leaf) if isinstance(leaf, Tensor) else leaf,
        result,
    )


def _require_one_device(name: str, tensors: Sequence[Tensor]) -> None:
    """As CUDA does: numbers may come from the CPU, and indices."""
    if name in _MOVES:
        return
    indices = (torch.int64, torch.int32, torch.bool) if name in _INDEXES else ()
    strangers = [t for t in tensors if not isinstance(t, _Held) and t.ndim and t.dtype not in indices]
    if strangers:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cpu in {name} beside {NAME}")
