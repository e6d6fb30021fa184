"""The product of two matrices of vectors, block by block in the registers.

    C[i, j] <- keep C[i, j] + sum_k A[i, k] B[k, j],    k = 0, 1, 2, ..., every term one fused multiply-add

The order of k is the whole definition of a sum: neither the size of a block nor that of a tile of samples changes a
bit, as a sum that was stored and is taken up again with keep = 1 goes on where it was.

rows x columns sums stay in registers while k runs: rows + columns loads for rows x columns multiply-adds. At the edges
the blocks are smaller. All this is one LLVM function, emitted once into the code that calls it.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ncbench.models.replica.optim.lanes.vectors import (
    Vector,
    choose,
    constant,
    fused,
    lanes_of,
    pointer,
    read,
    spread,
    vector_of,
    write,
)

__all__ = ["product"]

_INDEX, _SMALL = ir.IntType(64), ir.IntType(32)


@intrinsic
def product(
    typing: Any, shape: Any, size: Any, A: Any, a: Any, B: Any, b: Any, C: Any, c: Any, keep: Any, floor: Any, mask: Any
) -> Any:
    """C <- keep C + A B, then the larger of that and `floor`, then 0 where the mask says so.

    `size` is (rows of C, columns of C, terms of a sum); `a`, `b`, `c` are (place of the first vector, step from a row
    to the next, step of a column) in the flat arrays. `keep` = 0 ignores what was in C. The mask lies in A's own array
    type at `mask` = (array, place of its first vector), with the steps of C: zero where it is <= 0; a place below 0
    masks nothing. What is no number stays so.
    """
    kind = Vector(A.dtype, lanes_of(shape))
    blocks = len(shape[1]), len(shape[2])

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, kinds = vector_of(kind), signature.args
        masks, place = cgutils.unpack_tuple(builder, arguments[10])
        arrays = [(kinds[2], arguments[2]), (kinds[4], arguments[4]), (kinds[6], arguments[6]), (kinds[10][0], masks)]
        places = [pointer(context, builder, kind, array, vector) for kind, array in arrays]
        numbers = [x for index in (1, 3, 5, 7) for x in cgutils.unpack_tuple(builder, arguments[index])]
        function = _function(builder.module, vector, *blocks)
        builder.call(function, [*places, *numbers, place, arguments[8], arguments[9]])
        return context.get_dummy_value()

    return types.void(shape, size, A, a, B, b, C, c, keep, floor, mask), generate


def _function(module: ir.Module, vector: ir.VectorType, rows: int, columns: int) -> ir.Function:
    """The function of a module, made where there is none so far."""
    name = f"ncbench.product.{vector.element}.{vector.count}.{rows}x{columns}".replace(" ", "")
    if name in module.globals:
        return module.globals[name]
    arguments = [vector.as_pointer()] * 4 + [_INDEX] * 13 + [vector.element] * 2
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    work = _Product(builder, vector, function.args)
    zero = ir.Constant(_INDEX, 0)
    with cgutils.for_range_slice(builder, zero, work.size[0], ir.Constant(_INDEX, rows)) as (i, _):
        m = _smaller(builder, builder.sub(work.size[0], i), rows)
        with cgutils.for_range_slice(builder, zero, work.size[1], ir.Constant(_INDEX, columns)) as (j, _):
            n = _smaller(builder, builder.sub(work.size[1], j), columns)
            work.move(i, j)
            _choose(builder, work, (m, n), (rows, columns))
    builder.ret_void()
    return function


def _choose(builder: ir.IRBuilder, work: "_Product", size: tuple[Any, Any], largest: tuple[int, int]) -> None:
    """The code of the block of this size."""
    end = builder.append_basic_block("end")
    number = builder.add(builder.mul(size[0], ir.Constant(_INDEX, 256)), size[1])
    chosen = builder.switch(builder.trunc(number, _SMALL), end)
    for m in range(1, largest[0] + 1):
        for n in range(1, largest[1] + 1):
            case = builder.append_basic_block(f"block{m}x{n}")
            chosen.add_case(ir.Constant(_SMALL, 256 * m + n), case)
            builder.position_at_end(case)
            work.block(m, n)
            builder.branch(end)
    builder.position_at_end(end)


def _smaller(builder: ir.IRBuilder, x: ir.Value, bound: int) -> ir.Value:
    limit = ir.Constant(_INDEX, bound)
    return builder.select(builder.icmp_signed("<", x, limit), x, limit)


class _Product:
    """What the blocks of one product share: where its matrices lie and what is done to the sums."""

    def __init__(self, builder: ir.IRBuilder, vector: ir.VectorType, arguments: Any) -> None:
        self.builder, self.vector = builder, vector
        self.A, self.B, self.C, self.mask, *numbers = arguments
        self.size, self.a, self.b, self.c = (numbers[first : first + 3] for first in (0, 3, 6, 9))
        self.first_mask, self.keep, self.floor = numbers[12:]
        self.corner: tuple[Any, Any] = (0, 0)

    def move(self, row: ir.Value, column: ir.Value) -> None:
        """The blocks that are emitted from now on start at this row and column of C."""
        self.corner = row, column

    def block(self, m: int, n: int) -> None:
        """The code of a block of m rows and n columns."""
        builder, vector, (top, left) = self.builder, self.vector, self.corner
        sums = [[cgutils.alloca_once(builder, vector) for _ in range(n)] for _ in range(m)]
        cells = [(i, j) for i in range(m) for j in range(n)]
        A, B, C = (
            self._from(self.A, self.a, top, 0),
            self._from(self.B, self.b, 0, left),
            self._from(self.C, self.c, top, left),
        )
        with builder.if_else(builder.fcmp_ordered("==", self.keep, ir.Constant(vector.element, 0.0))) as (new, kept):
            with new:
                for i, j in cells:
                    builder.store(constant(vector, 0.0), sums[i][j])
            with kept:
                keep = spread(builder, self.keep, vector)
                for i, j in cells:
                    builder.store(builder.fmul(keep, self._read(C, self.c, i, j)), sums[i][j])
        with cgutils.for_range(builder, self.size[2]) as loop:
            columns = [self._read(B, self.b, loop.index, j) for j in range(n)]
            for i in range(m):
                row = self._read(A, self.a, i, loop.index)
                for j in range(n):
                    builder.store(fused(builder, row, columns[j], builder.load(sums[i][j])), sums[i][j])
        floor, zero = spread(builder, self.floor, vector), constant(vector, 0.0)
        with builder.if_else(builder.icmp_signed(">=", self.first_mask, ir.Constant(_INDEX, 0))) as (masked, plain):
            with masked:
                mask = builder.gep(self._from(self.mask, self.c, top, left), [builder.sub(self.first_mask, self.c[0])])
                for i, j in cells:
                    x = choose(builder, self._read(mask, self.c, i, j), zero, zero, builder.load(sums[i][j]))
                    write(builder, x, self._place(C, self.c, i, j))
            with plain:
                for i, j in cells:
                    x = builder.load(sums[i][j])
                    write(builder, choose(builder, x, floor, floor, x), self._place(C, self.c, i, j))

    def _from(self, base: ir.Value, steps: Any, row: Any, column: Any) -> ir.Value:
        """The place of this row and column of a matrix that starts at steps[0]."""
        return self._place(self.builder.gep(base, [steps[0]]), steps, row, column)

    def _place(self, base: ir.Value, steps: Any, row: Any, column: Any) -> ir.Value:
        """The place of this row and column, each a number or a value of the code."""
        builder, place = self.builder, ir.Constant(_INDEX, 0)
        for index, step in ((row, steps[1]), (column, steps[2])):
            if index == 0:
                continue
            index = ir.Constant(_INDEX, index) if isinstance(index, int) else index
            place = builder.add(place, builder.mul(index, step))
        return builder.gep(base, [place])

    def _read(self, base: ir.Value, steps: Any, row: Any, column: Any) -> ir.Value:
        return read(self.builder, self._place(base, steps, row, column), self.vector)
