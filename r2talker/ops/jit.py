"""Numba as the kernels use it: compiled once per machine, kept on disk, free of the interpreter's lock.

The vector operations stand here as LLVM instructions because numba's own loops are compiled without joining neighbouring
scalar operations into vector ones.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_INDEX = ir.IntType(64)


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
