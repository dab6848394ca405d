"""A pretend CUDA device: tensors that compute on the CPU and otherwise behave like a GPU's.

Inside `PretendCuda()` tensors can be put on `cuda` as usual. To torch's C++ code they are on its device `meta`, which
no other code may use meanwhile; their numbers are in a tensor on the CPU. An operation on tensors of two devices raises
an error, as it does on a GPU, and whatever makes the host wait for a GPU is noted with the line of eml that asked for
it. `torch.profiler` and a real GPU may know better: this counts what torch's source says.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import eml

CUDA = torch.device("cuda", 0)
META = torch.device("meta")
PACKAGE, TESTS = str(Path(eml.__file__).parent), str(Path(__file__).parent)
aten = torch.ops.aten

# Results whose size depends on numbers on the device, and numbers that the host reads.
WAITS = {
    "_local_scalar_dense": "item",
    "_unique2": "unique",
    "bincount": "bincount",
    "equal": "equal",
    "isin": "isin",
    "masked_select": "masked_select",
    "nonzero": "nonzero",
    "unique_consecutive": "unique",
    "unique_dim": "unique",
}
NEVER_MIXED = {"addmm", "bmm", "cat", "gather", "index_add", "index_copy", "index_select", "mm", "scatter", "stack"}


class CudaTensor(Tensor):
    """A tensor on the pretend device; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "CudaTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=META,
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"CudaTensor({self.held})"

    def __deepcopy__(self, memo: dict[int, object]) -> Tensor:
        copied = self.detach().clone().requires_grad_(self.requires_grad)
        made = torch.nn.Parameter(copied, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copied
        memo[id(self)] = made
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a tensor of a pretend device that is no longer there")


class PretendCuda:
    """A context in which the device `cuda` exists.

    Attributes:
        waits: What made the host wait for the device, such as `item at head/checks.py:18`, in order.
        pageable: Copies to the device that say `non_blocking` of memory that is not pinned, which may wait too.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.pageable: list[str] = []
        self._stack = ExitStack()
        self._pinned: set[int] = set()

    def __enter__(self) -> "PretendCuda":
        for name, value in self._replaced().items():
            self._stack.enter_context(patch.object(torch.cuda, name, value))
        functions, run_backward = _Functions(self), torch.autograd._engine_run_backward

        def backward(*args: Any, **kwargs: Any) -> Any:
            with functions:  # off while torch runs a function, and this one runs code of eml
                return run_backward(*args, **kwargs)

        self._stack.enter_context(patch.object(torch.autograd, "_engine_run_backward", backward))
        self._stack.enter_context(_Dispatch(self))
        self._stack.enter_context(functions)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def wait(self, what: str) -> None:
        """Note that the host waits for the device."""
        self.waits.append(f"{what} at {_place()}")

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """Yield a list that gets what waited inside the block."""
        found: list[str] = []
        first = len(self.waits)
        yield found
        found += self.waits[first:]

    def copied(self, source: Tensor, *, non_blocking: bool) -> None:
        """Note a copy from the host to the device."""
        if not non_blocking:
            self.wait("copy to the device")
        elif source.untyped_storage().data_ptr() not in self._pinned:
            self.pageable.append(f"copy to the device at {_place()}")

    def pinned(self, tensor: Tensor) -> Tensor:
        """Return a copy in pretend pinned memory, in the same order; an error where rows share memory, as of torch."""
        copy = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype).copy_(tensor)
        self._kept = [*getattr(self, "_kept", []), copy]  # so that no other tensor gets its address
        self._pinned.add(copy.untyped_storage().data_ptr())
        return copy

    def is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned

    def _replaced(self) -> dict[str, Callable[..., Any]]:
        """Return the functions of `torch.cuda` that eml calls, as they are here."""
        return {
            "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
            "is_bf16_supported": lambda *args, **kwargs: False,
            "mem_get_info": lambda device=None: (1 << 40, 1 << 40),
            "set_rng_state": lambda state, device=None: None,
            "synchronize": lambda device=None: self.wait("synchronize"),
        }


def on_host(value: Any) -> Any:
    """Return what is held by the pretend tensors in a value of any kind."""
    if isinstance(value, CudaTensor):
        return value.held
    if isinstance(value, tuple | list):
        return type(value)([on_host(part) for part in value])
    return {key: on_host(part) for key, part in value.items()} if isinstance(value, dict) else value


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in the arguments of an operation."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in _tensors(part)] if isinstance(value, tuple | list) else []


def _place() -> str:
    """Return the innermost line of eml on the stack, or of a test if there is none."""
    place, frame = "", inspect.currentframe()
    while frame is not None:
        name, line = frame.f_code.co_filename, frame.f_lineno
        if name.startswith(PACKAGE):
            return f"{name.removeprefix(PACKAGE)[1:]}:{line}"
        if not place and name.startswith(TESTS) and name != __file__:
            place = f"{name.removeprefix(TESTS)[1:]}:{line}"
        frame = frame.f_back
    return place


class _Functions(TorchFunctionMode):
    """Translates what Python code says of the device `cuda`, before torch looks for one."""

    def __init__(self, pretend: PretendCuda) -> None:
        super().__init__()
        self.pretend = pretend

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device:  # only named, so that its type can be asked for
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], CudaTensor):
            if name == "tolist":
                self.pretend.wait("tolist")
                return args[0].held.tolist()
            if name in ("numpy", "__array__"):
                raise TypeError("can't convert a tensor on cuda to numpy: copy it to the CPU first")
            if name == "new_tensor":
                kwargs = {"dtype": args[0].dtype, "device": CUDA} | kwargs
                return self._made(torch.tensor, args[1:], kwargs)
            if name in ("__getitem__", "__setitem__"):
                args = (args[0], _index(args[1]), *args[2:])
        if name == "empty_like" and kwargs.get("pin_memory"):
            return self.pretend.pinned(func(args[0], **(kwargs | {"pin_memory": False})))
        if name in ("pin_memory", "is_pinned") and args and not isinstance(args[0], CudaTensor):
            return self.pretend.pinned(args[0]) if name == "pin_memory" else self.pretend.is_pinned(args[0])
        if func in (torch.tensor, torch.as_tensor) and _is_cuda(kwargs.get("device")):
            return self._made(func, args, kwargs)
        return func(*_translated(args), **{key: _translated(value) for key, value in kwargs.items()})

    def _made(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Return a tensor of numbers of Python on a device: it is made on the CPU and copied."""
        device = kwargs.get("device")
        made = func(*args, **(kwargs | {"device": "cpu"}))
        return made.to(META) if _is_cuda(device) else made


def _index(index: Any) -> Any:
    """Return an index with its lists as tensors on the CPU, of which torch makes copies on the device."""
    if isinstance(index, tuple):
        return tuple(_index(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


def _is_cuda(value: object) -> bool:
    return (isinstance(value, torch.device) and value.type == "cuda") or (
        isinstance(value, str) and value.split(":")[0] == "cuda"
    )


def _translated(value: Any) -> Any:
    """Return arguments with `meta` in place of the device `cuda`."""
    if isinstance(value, torch.device | str):
        return META if _is_cuda(value) else value
    if type(value) in (tuple, list):
        return type(value)(_translated(part) for part in value)
    return value


class _Dispatch(TorchDispatchMode):
    """Computes on the CPU, and notes what a GPU would wait for."""

    def __init__(self, pretend: PretendCuda) -> None:
        super().__init__()
        self.pretend = pretend

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = _name(func)
        leaves = _tensors([*args, *kwargs.values()])
        here = [leaf for leaf in leaves if isinstance(leaf, CudaTensor)]
        device = kwargs.get("device")
        if name in ("_to_copy", "copy_"):
            return self._copy(name, func, args, kwargs)
        if not here and (device is None or device.type != "meta"):
            return func(*args, **kwargs)
        if here and len(here) < len(leaves):
            self._check_mixed(name, args, leaves)
        self._count(name, args)
        if device is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
        return _wrapped(func, func(*on_host(args), **on_host(kwargs)), args, kwargs)

    def _copy(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if name == "_to_copy":
            source, device = args[0], kwargs.get("device")
            to_cuda = isinstance(source, CudaTensor) if device is None else device.type == "meta"
            non_blocking = kwargs.get("non_blocking", False)
        else:
            source, to_cuda = args[1], isinstance(args[0], CudaTensor)
            non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        if to_cuda and not isinstance(source, CudaTensor):
            if name == "_to_copy" or source.ndim:  # a number of the host is filled in
                self.pretend.copied(source, non_blocking=non_blocking)
        elif not to_cuda and isinstance(source, CudaTensor):
            self.pretend.wait("copy to the host")
        if kwargs.get("device") is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
        result = func(*on_host(args), **on_host(kwargs))
        if name == "copy_":
            return args[0]
        return CudaTensor(result) if to_cuda else result

    def _check_mixed(self, name: str, args: Any, leaves: Sequence[Tensor]) -> None:
        """Raise for tensors of two devices, unless those of the CPU are indices, which are copied, or numbers."""
        base = name.removesuffix("_")
        if base in ("index", "index_put", "_index_put_impl") and isinstance(args[0], CudaTensor):
            for places in args[1]:
                if isinstance(places, Tensor) and not isinstance(places, CudaTensor):
                    self.pretend.copied(places, non_blocking=False)
            if base == "index" or isinstance(args[2], CudaTensor) or args[2].ndim == 0:
                return
        odd = [leaf for leaf in leaves if not isinstance(leaf, CudaTensor)]
        if base in NEVER_MIXED or any(leaf.ndim for leaf in odd):
            shapes = [tuple(leaf.shape) for leaf in odd]
            raise RuntimeError(f"aten::{name} got tensors {shapes} on the CPU beside those on cuda, at {_place()}")

    def _count(self, name: str, args: Any) -> None:
        base = name.removesuffix("_")
        if base in WAITS:
            self.pretend.wait(WAITS[base])
        elif base == "repeat_interleave":
            self.pretend.wait("repeat_interleave")
        elif base in ("index", "index_put", "_index_put_impl"):
            masks = [each for each in args[1] if isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8)]
            filled = base != "index" and len(args[1]) == len(masks) == 1 and args[2].numel() == 1
            if masks and not filled:  # one number at a mask is filled in
                self.pretend.wait("mask as index")


@cache
def _written(func: Any) -> list[tuple[int, str]]:
    """Return the places and names of the arguments that an operation writes into."""
    arguments = enumerate(func._schema.arguments)
    return [(place, each.name) for place, each in arguments if each.alias_info is not None and each.alias_info.is_write]


@cache
def _name(func: Any) -> str:
    """Return the name of an operation, such as `add_`."""
    return str(func._schema.name.removeprefix("aten::"))


def _wrapped(func: Any, result: Any, args: Any, kwargs: Any) -> Any:
    """Return results on the device; the argument itself where the operation writes into it."""
    written = []
    for position, name in _written(func):
        value = args[position] if position < len(args) else kwargs.get(name)
        written += [tensor for tensor in _tensors(value) if isinstance(tensor, CudaTensor)]
    for tensor in written:
        assert tensor.shape == tensor.held.shape, f"{func} changes a shape in place"

    def back(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)([back(part) for part in value])
        same = [tensor for tensor in written if tensor.held is value]
        return same[0] if same else CudaTensor(value) if isinstance(value, Tensor) else value

    return back(result)
