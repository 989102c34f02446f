"""A stand-in for CuPy that needs no GPU, so that CUDA host code runs, and is checked, everywhere.

* Its arrays wrap NumPy arrays and refuse what CuPy's refuse: implicit conversion to NumPy, mixing with NumPy
  arrays, non-scalar NumPy values on the right of an assignment. `.get()`, `asnumpy` and `asarray` convert.
* `RawModule` compiles the same kernel text with g++ as -DSIMT=1: the algorithms of the GPU, one item after
  the other. Launches are checked for what a GPU would not tell: number and width of arguments, contiguity,
  aliasing.
* `installed(PtxModule)` runs kernels from what the CUDA compiler makes of them instead (`tests/support/ptx`).
* `empty` is filled with garbage. What is not in this module or in `_FUNCTIONS` raises AttributeError: add it
  there if CuPy has it.

    with fake_cupy.installed():
        backend = CudaBackend()      # keeps working afterwards
"""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.support.fake_cuda import RawModule, cuda, current, pool

_GARBAGE = 0xA5


def _names(text: str) -> list[str]:
    return text.split()


_FUNCTIONS = _names("""
    abs absolute add all allclose amax amin any arange argmax argmin argsort around array_equal
    ascontiguousarray atleast_1d atleast_2d bincount bitwise_and bitwise_or bitwise_xor broadcast_arrays
    broadcast_to ceil choose clip concatenate copy count_nonzero cumprod cumsum diag diff divide dot einsum
    equal exp expand_dims eye flip floor floor_divide full_like greater greater_equal hstack identity invert
    isin isfinite isnan kron left_shift less less_equal linspace log logical_and logical_not logical_or
    logical_xor matmul max maximum mean median meshgrid min minimum mod moveaxis multiply negative nonzero
    not_equal ones_like outer packbits pad power prod put_along_axis ravel remainder repeat reshape
    right_shift rint roll rot90 searchsorted sign sort split sqrt square squeeze stack std subtract sum
    swapaxes take take_along_axis tensordot tile trace transpose tri tril triu true_divide unique unpackbits
    unravel_index var vstack where zeros_like
""")
_CREATORS = ["zeros", "ones", "full"]
_PLAIN = _names("""
    bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128
    dtype newaxis pi e inf nan iinfo finfo can_cast result_type broadcast_shapes ndim shape size
""")
_METHODS = _names("""
    all any argmax argmin argsort astype clip conj copy cumprod cumsum diagonal dot flatten max mean min
    nonzero prod ravel repeat reshape round squeeze std sum swapaxes take trace transpose var view
""")
_BINARY = _names("add sub mul truediv floordiv mod pow and or xor lshift rshift matmul")
_COMPARE = _names("lt le eq ne gt ge")


def _host(value: Any) -> Any:
    """An argument as NumPy takes it; NumPy arrays are refused, wherever they hide."""
    if isinstance(value, ndarray):
        if value.device.id != cuda.runtime.getDevice():
            raise ValueError(f"an array of device {value.device.id} while another one is current")
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (list, tuple)):
        return type(value)(_host(v) for v in value)
    return value


def _device(value: Any) -> Any:
    """A NumPy result as device arrays; CuPy's scalars are arrays without dimensions."""
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, (list, tuple)):
        return type(value)(_device(v) for v in value)
    return value


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    hosted = {key: _host(value) for key, value in kwargs.items()}
    with np.errstate(all="ignore"):  # a GPU does not warn
        result = function(*map(_host, args), **hosted)
    out = kwargs.get("out")
    return out if isinstance(out, ndarray) else _device(result)


class ndarray:
    """An array on the pretended device."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        if array.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {array.dtype}")
        self._array = array
        self.device = cuda.Device()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy "
            "array explicitly."
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _call(getattr(ufunc, method), *inputs, **kwargs)

    def __array_function__(self, function: Any, _types: Any, args: Any, kwargs: Any) -> Any:
        return getattr(_module, function.__name__)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("dtype", "shape", "ndim", "size", "nbytes", "itemsize", "strides", "flags"):
            return getattr(self._array, name)
        raise AttributeError(f"fake CuPy arrays have no {name!r}")

    @property
    def T(self) -> ndarray:
        return ndarray(self._array.T)

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self._array.ctypes.data)

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> np.ndarray[Any, Any]:
        if out is None:
            return self._array.copy()
        if (out.shape, out.dtype) != (self.shape, self.dtype):
            raise ValueError("shape or type mismatch")
        if blocking:
            out[...] = self._array
        else:
            current.copies.append((out, self._array))
        return out  # type: ignore[no-any-return]

    def set(self, array: np.ndarray[Any, Any]) -> None:
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError("shape or type mismatch")
        self._array[...] = array

    def fill(self, value: Any) -> None:
        self[...] = value

    def item(self, *args: int) -> Any:
        return self._array.item(*args)

    def tolist(self) -> Any:
        return self._array.tolist()

    def tobytes(self) -> bytes:
        return self._array.tobytes()

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> ndarray:
        keys = _keys(key)
        whole = keys if any(k is Ellipsis for k in keys) else (*keys, Ellipsis)  # views, never scalars
        return ndarray(np.asarray(self._array[whole]))

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._array[_keys(key)] = value._array if isinstance(value, ndarray) else value

    def __repr__(self) -> str:
        return f"fake({self._array!r})"


def _keys(key: Any) -> tuple[Any, ...]:
    """An index, of which CuPy takes NumPy arrays too."""
    keys = key if isinstance(key, tuple) else (key,)
    return tuple(k._array if isinstance(k, ndarray) else k for k in keys)


def _add_operators() -> None:
    def method(function: Callable[..., Any], swap: bool = False) -> Callable[..., Any]:
        if swap:
            return lambda self, other: _call(function, other, self)
        return lambda self, *args, **kwargs: _call(function, self, *args, **kwargs)

    def in_place(function: Callable[..., Any]) -> Callable[..., Any]:
        def apply(self: ndarray, other: Any) -> ndarray:
            _call(function, self, other)
            return self

        return apply

    def scalar(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self: function(self._array.item())

    for name in _BINARY:
        setattr(ndarray, f"__{name}__", method(getattr(operator, f"__{name}__")))
        setattr(ndarray, f"__r{name}__", method(getattr(operator, f"__{name}__"), swap=True))
        if name != "matmul":
            setattr(ndarray, f"__i{name}__", in_place(getattr(operator, f"__i{name}__")))
    for name in _COMPARE:
        setattr(ndarray, f"__{name}__", method(getattr(operator, f"__{name}__")))
    for name in ("neg", "pos", "invert", "abs"):
        setattr(ndarray, f"__{name}__", method(getattr(operator, f"__{name}__")))
    for kind in (bool, int, float, complex):
        setattr(ndarray, f"__{kind.__name__}__", scalar(kind))
    ndarray.__index__ = scalar(operator.index)  # type: ignore[attr-defined]
    for name in _METHODS:
        setattr(ndarray, name, method(getattr(np.ndarray, name)))


_add_operators()


def _array(obj: Any, dtype: Any = None, copy: bool = True, order: Any = "K", **_: Any) -> ndarray:
    host = obj._array if isinstance(obj, ndarray) else obj
    return ndarray(np.array(host, dtype=dtype, order=order))


def _asarray(a: Any, dtype: Any = None, order: Any = None, **_: Any) -> ndarray:
    if isinstance(a, ndarray) and dtype in (None, a.dtype):
        return a
    return _array(a, dtype, order=order or "K")


def _asnumpy(a: Any, *_: Any, **__: Any) -> np.ndarray[Any, Any]:
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def _empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    array = pool._allocate(np.empty(shape, dtype))
    array.reshape(-1).view(np.uint8)[...] = _GARBAGE
    return ndarray(array)


def _empty_like(a: ndarray, dtype: Any = None) -> ndarray:
    return _empty(a.shape, dtype or a.dtype)


def _asarray_of(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: _call(function, *args, **kwargs)


def _build_module(raw_module: type) -> types.ModuleType:
    module = types.ModuleType("cupy")
    contents: dict[str, Any] = {name: getattr(np, name) for name in _PLAIN}
    contents |= {name: _asarray_of(getattr(np, name)) for name in _FUNCTIONS + _CREATORS}
    contents |= {"array": _array, "asarray": _asarray, "asnumpy": _asnumpy, "ndarray": ndarray}
    contents |= {"empty": _empty, "empty_like": _empty_like, "RawModule": raw_module, "cuda": cuda}
    contents |= {"get_default_memory_pool": lambda: pool}
    contents |= {"get_array_module": lambda *a: module if any(isinstance(x, ndarray) for x in a) else np}
    contents |= {"__version__": "14.0.0 (fake)"}
    module.__dict__.update(contents)
    return module


_module = _build_module(RawModule)


@contextmanager
def installed(raw_module: type = RawModule) -> Iterator[types.ModuleType]:
    """While this lasts, `import cupy` gives the stand-in, with kernels of that kind."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = module = _module if raw_module is RawModule else _build_module(raw_module)
    try:
        yield module
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
