"""Numba as the kernels use it: compiled once per machine, kept on disk, free of the interpreter's lock.

The vector operations stand here as LLVM instructions because numba's own loops are compiled without joining neighbouring
scalar operations into vector ones.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

SAMPLES = 32
"""Samples that `dense` takes at once."""

_INDEX = ir.IntType(64)
# Lanes of the widest registers; vectors of sums that fit into them beside what is multiplied.
_WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
_LANES, _SUMS = (16, 16) if _WIDE else (8, 8)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, made at its first call; kept on disk where there is a place for it, products and sums fused.

    Divisions follow IEEE rules; indices are not checked.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        kernel: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written.
        kernel = njit(**options)(function)
    return kernel


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, in one instruction where the processor has it."""
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


def _everywhere(builder: Any, value: Any, width: int) -> Any:
    """A vector whose lanes all hold `value`."""
    vector = ir.VectorType(ir.FloatType(), width)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def _row_pointer(context: Any, builder: Any, array_type: Any, array: Any, row: Any, width: int) -> Any:
    """Pointer to the vector that starts at row `row` of an array of rows of `width` floats."""
    data = context.make_array(array_type)(context, builder, array).data
    place = builder.gep(data, [builder.mul(row, ir.Constant(_INDEX, width))])
    return builder.bitcast(place, ir.VectorType(ir.FloatType(), width).as_pointer())


@intrinsic
def weighted_rows(typing: Any, table: Any, rows: Any, weights: Any, out: Any, place: Any, width: Any) -> Any:
    """out[place] = sum of weights[k] * table[rows[k]] over rows of len(width) floats; contiguous float32 arrays, tuples, uint64."""
    signature = types.void(table, rows, weights, out, types.uint64, width)
    lanes, terms = len(width), len(rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, rows, weights, out, place, _ = arguments
        total = None
        for k in range(terms):
            row, weight = builder.extract_value(rows, k), builder.extract_value(weights, k)
            values = builder.load(_row_pointer(context, builder, signature.args[0], table, row, lanes), align=4)
            factor = _everywhere(builder, weight, lanes)
            total = builder.fmul(factor, values) if total is None else _fused(builder, factor, values, total)
        builder.store(total, _row_pointer(context, builder, signature.args[3], out, place, lanes), align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def clear_row(typing: Any, out: Any, place: Any, width: Any) -> Any:
    """out[place] = 0 over len(width) floats."""
    signature = types.void(out, types.uint64, width)
    lanes = len(width)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, place, _ = arguments
        pointer = _row_pointer(context, builder, signature.args[0], out, place, lanes)
        builder.store(ir.Constant(pointer.type.pointee, [0.0] * lanes), pointer, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def spread_rows(typing: Any, table: Any, rows: Any, weights: Any, grad: Any, place: Any, width: Any) -> Any:
    """table[rows[k]] += weights[k] * grad[place] for every k in turn: the transpose of `weighted_rows`."""
    signature = types.void(table, rows, weights, grad, types.uint64, width)
    lanes, terms = len(width), len(rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, rows, weights, grad, place, _ = arguments
        values = builder.load(_row_pointer(context, builder, signature.args[3], grad, place, lanes), align=4)
        for k in range(terms):
            row, weight = builder.extract_value(rows, k), builder.extract_value(weights, k)
            pointer = _row_pointer(context, builder, signature.args[0], table, row, lanes)
            factor = _everywhere(builder, weight, lanes)
            builder.store(_fused(builder, factor, values, builder.load(pointer, align=4)), pointer, align=4)
        return context.get_dummy_value()

    return signature, generate


def _vector_pointer(builder: Any, data: Any, place: Any) -> Any:
    """Pointer to the vector of `_LANES` floats at float number `place` behind `data`."""
    return builder.bitcast(builder.gep(data, [place]), ir.VectorType(ir.FloatType(), _LANES).as_pointer())


@intrinsic
def dense(typing: Any, weights: Any, bias: Any, x: Any, y: Any, floor: Any, rows: Any) -> Any:
    """y[n, s] = max(floor, bias[n, s] + sum over k of weights[n, k] x[k, s]) for SAMPLES samples s, the contiguous axis.

    Contiguous float32 arrays; len(rows) rows of y are made at once, and their number is a multiple of that.
    """
    signature = types.void(weights, bias, x, y, types.float32, rows)
    at_once = len(rows)
    vectors = min(SAMPLES // _LANES, max(1, _SUMS // at_once))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [context.make_array(kind)(context, builder, a) for kind, a in zip(signature.args, arguments[:4], strict=False)]
        w, b, inputs, out = (array.data for array in arrays)
        height, depth = (builder.extract_value(arrays[0].shape, axis) for axis in (0, 1))
        number: Callable[[int], Any] = lambda value: ir.Constant(_INDEX, value)  # noqa: E731
        vector = ir.VectorType(ir.FloatType(), _LANES)
        sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(at_once)]
        floors = _everywhere(builder, arguments[4], _LANES)
        columns = range(0, SAMPLES, vectors * _LANES)
        with cgutils.for_range_slice(builder, number(0), height, number(at_once), _INDEX) as (n, _):
            for column in columns:

                def place(row: Any, v: int, column: int = column) -> Any:
                    return builder.add(builder.mul(row, number(SAMPLES)), number(column + v * _LANES))

                for r in range(at_once):
                    for v in range(vectors):
                        start = _vector_pointer(builder, b, place(builder.add(n, number(r)), v))
                        builder.store(builder.load(start, align=4), sums[r][v])
                with cgutils.for_range(builder, depth, intp=_INDEX) as loop:
                    values = [
                        builder.load(_vector_pointer(builder, inputs, place(loop.index, v)), align=4) for v in range(vectors)
                    ]
                    for r in range(at_once):
                        at = builder.add(builder.mul(builder.add(n, number(r)), depth), loop.index)
                        weight = _everywhere(builder, builder.load(builder.gep(w, [at])), _LANES)
                        for v in range(vectors):
                            builder.store(_fused(builder, weight, values[v], builder.load(sums[r][v])), sums[r][v])
                for r in range(at_once):
                    for v in range(vectors):
                        total = builder.load(sums[r][v])
                        high = builder.select(builder.fcmp_ordered(">", total, floors), total, floors)
                        builder.store(high, _vector_pointer(builder, out, place(builder.add(n, number(r)), v)), align=4)
        return context.get_dummy_value()

    return signature, generate


@compiled
def layer(weights: Any, bias: Any, x: Any, y: Any, floor: Any) -> None:
    """`dense` with eight rows at once, one function for all of a kernel's layers: copies of it would take seconds to compile."""
    dense(weights, bias, x, y, floor, (0, 0, 0, 0, 0, 0, 0, 0))
