"""Vectors of one number per replica, as a type of numba: what is done to them is done to every lane alike.

numba has no vectors of its own. A `Vector` is LLVM's <lanes x float> or <lanes x double>, which LLVM splits into
whatever registers the processor has. Every operation below is one instruction of LLVM without fast-math flags, so that
it is rounded once, in every lane, as IEEE 754 says, on every processor: LLVM fuses a product with a sum only where
both carry the flag `contract`, and here neither does. `fma` is fused on purpose.

Arrays are flat and contiguous; indices count vectors. `shape` is a tuple of three tuples, whose lengths alone matter:
lanes, and the rows and columns of a block of sums in `product`. Lengths are part of a tuple's type, and numba compiles
a function once for every type, so that they are constants in the code.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

__all__ = [
    "Vector",
    "add",
    "at_most",
    "divide",
    "fma",
    "load",
    "multiply",
    "power_of_two",
    "splat",
    "store",
    "subtract",
]


class Vector(types.Type):
    """`lanes` numbers of type `dtype`."""

    def __init__(self, dtype: types.Float, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype} x {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, vector_of(fe_type))


def vector_of(vector: Vector) -> ir.VectorType:
    """LLVM's type."""
    return ir.VectorType(ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType(), vector.lanes)


def constant(vector: ir.VectorType, value: float) -> ir.Constant:
    """The same number in every lane."""
    return ir.Constant(vector, [value] * vector.count)


def fused(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a b + c, rounded once."""
    vector = a.type
    name = f"llvm.fma.v{vector.count}f{32 if vector.element == ir.FloatType() else 64}"
    function = ir.FunctionType(vector, [vector] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


def pointer(
    context: Any, builder: ir.IRBuilder, array_type: types.Array, array: ir.Value, vector: ir.VectorType
) -> Any:
    """Of the first vector of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(data, vector.as_pointer())


def read(builder: ir.IRBuilder, place: ir.Value, vector: ir.VectorType) -> ir.Value:
    """The vector at a place that is aligned as its numbers are, and not as a vector might be."""
    return builder.load(place, align=_size(vector), typ=vector)


def write(builder: ir.IRBuilder, value: ir.Value, place: ir.Value) -> None:
    """Put a vector there."""
    builder.store(value, place, align=_size(value.type))


def _size(vector: ir.VectorType) -> int:
    return 4 if vector.element == ir.FloatType() else 8


def lanes_of(shape: types.BaseTuple) -> int:
    """How many lanes the type of a `shape` stands for."""
    return len(shape[0])


@intrinsic
def load(typing: Any, array: Any, index: Any, shape: Any) -> Any:
    """The vector at this index."""
    kind = Vector(array.dtype, lanes_of(shape))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = vector_of(kind)
        place = builder.gep(pointer(context, builder, array, arguments[0], vector), [arguments[1]])
        return read(builder, place, vector)

    return kind(array, types.intp, shape), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Put a vector at this index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(pointer(context, builder, array, arguments[0], arguments[2].type), [arguments[1]])
        write(builder, arguments[2], place)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def splat(typing: Any, number: Any, shape: Any) -> Any:
    """The number, float32 or float64, in every lane."""
    kind = Vector(number, lanes_of(shape))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return spread(builder, arguments[0], vector_of(kind))

    return kind(number, shape), generate


def spread(builder: ir.IRBuilder, number: ir.Value, vector: ir.VectorType) -> ir.Value:
    """The number in every lane."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _of_vectors(count: int, operation: Callable[..., ir.Value]) -> Callable[..., Any]:
    """The typing and the code of a function of so many vectors of one type, which returns another."""

    def typed(kind: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return operation(builder, *arguments)

        return kind(*[kind] * count), generate

    return typed


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once."""
    return _of_vectors(3, fused)(a)


@intrinsic
def multiply(typing: Any, a: Any, b: Any) -> Any:
    """The product."""
    return _of_vectors(2, ir.IRBuilder.fmul)(a)


@intrinsic
def subtract(typing: Any, a: Any, b: Any) -> Any:
    """a - b."""
    return _of_vectors(2, ir.IRBuilder.fsub)(a)


@intrinsic
def add(typing: Any, a: Any, b: Any) -> Any:
    """a + b."""
    return _of_vectors(2, ir.IRBuilder.fadd)(a)


@intrinsic
def divide(typing: Any, a: Any, b: Any) -> Any:
    """a / b."""
    return _of_vectors(2, ir.IRBuilder.fdiv)(a)


def choose(builder: ir.IRBuilder, x: ir.Value, bound: ir.Value, then: ir.Value, otherwise: ir.Value) -> ir.Value:
    """`then` in lanes where x <= bound, `otherwise` elsewhere, and where x is no number."""
    return builder.select(builder.fcmp_ordered("<=", x, bound), then, otherwise)


@intrinsic
def at_most(typing: Any, x: Any, bound: Any, then: Any, otherwise: Any) -> Any:
    """`then` in lanes where x <= bound, `otherwise` elsewhere, and where x is no number."""
    return _of_vectors(4, choose)(x)


def _power(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    # x's last bits are the whole number. The exponent of a float stands above 23 bits of mantissa, with 127 added; of
    # a double above 52, with 1023.
    bits, mantissa, bias = (32, 23, 127) if x.type.element == ir.FloatType() else (64, 52, 1023)
    whole = ir.VectorType(ir.IntType(bits), x.type.count)
    shift, one = (ir.Constant(whole, [value] * x.type.count) for value in (mantissa, bias << mantissa))
    return builder.bitcast(builder.add(builder.shl(builder.bitcast(x, whole), shift), one), x.type)


@intrinsic
def power_of_two(typing: Any, x: Any) -> Any:
    """2^n of x = n + 3/2 2^23 (float32) or n + 3/2 2^52 (float64), for whole n where 2^n is a normal number.

    Adding that constant to a small number rounds it to the nearest whole one, which is then in the last bits.
    """
    return _of_vectors(1, _power)(x)
