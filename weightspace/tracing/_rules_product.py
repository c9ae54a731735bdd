"""Rules: sums over products (matmul, einsum and their kin), bilinear layers, linear layers of computed weights."""

import string
from collections.abc import Sequence

from weightspace.axes import UNIT, Axis
from weightspace.tracing._call import Call
from weightspace.tracing._records import Use, Value
from weightspace.tracing._registry import rule


def matmul_letters(left: int, right: int) -> tuple[str, str, str]:
    """Letters of `torch.matmul` for factors of `left` and `right` dimensions.

    Example:
        >>> matmul_letters(3, 2), matmul_letters(1, 3)
        (('Aik', 'kj', 'Aij'), ('k', 'Akj', 'Aj'))
    """
    batch = string.ascii_uppercase[: max(left, right, 2) - 2]
    a = "k" if left == 1 else batch[len(batch) - left + 2 :] + "ik"
    b = "k" if right == 1 else batch[len(batch) - right + 2 :] + "kj"
    return a, b, batch + ("i" if left > 1 else "") + ("j" if right > 1 else "")


@rule("aten.matmul.default", "aten.bmm.default", "aten.mm.default", "aten.mv.default", "aten.dot.default")
@rule("aten.vdot.default", "aten.inner.default")
def matmul(call: Call) -> list[Value] | None:
    """A matrix product, batched and broadcast; vectors too."""
    a, b = list(call.arguments.values())[:2]
    if call.target.startswith("aten.inner") and len(b.axes) > 1:
        return None
    return [call.contract("matmul", (a, b), matmul_letters(len(a.axes), len(b.axes)))]


@rule("aten.outer.default", "aten.ger.default")
def outer(call: Call) -> list[Value]:
    """Every product of two vectors' elements."""
    a, b = list(call.arguments.values())[:2]
    return [call.contract("matmul", (a, b), ("i", "j", "ij"))]


@rule("aten.addmm.default", "aten.baddbmm.default")
def add_to_product(call: Call) -> list[Axis] | list[Value] | None:
    """A product plus a bias; a linear layer where the second factor and the bias are parameters."""
    values = list(call.arguments.values())
    bias, a, b = values[:3]
    scales = {name: call[name] for name in ("alpha", "beta") if call[name] != 1}
    learned = b.parameter is not None and bias.parameter is not None
    if not scales and learned and len(b.axes) == 2 and len(bias.axes) == 1:
        call.unify(b.axes[0], a.axes[-1])
        call.unify(b.axes[1], bias.axes[0])
        call.solver.mark_neurons(a.axes[-1])
        call.solver.mark_neurons(b.axes[1])
        uses = (Use(b, "weight", ("source", "target")), Use(bias, "bias", ("target",)))
        axes = [*a.axes[:-1], b.axes[1]]
        return call.site(
            "linear", axes=axes, uses=uses, edge_type="linear", source=(a, len(axes) - 1), dim=len(axes) - 1
        )
    made = call.contract("matmul", (a, b), matmul_letters(len(a.axes), len(b.axes)))
    return [_add(call, made, bias, **scales)]


def _add(call: Call, made: Value, bias: Value, **attributes: float) -> Value:
    axes = call.broadcast([made, bias])
    return call.emit("site", "add", axes=axes, inputs=(made, bias), edge_type="add", attributes=attributes)


@rule("aten.einsum.default")
def einsum(call: Call) -> list[Value] | None:
    """Einstein summation; diagonals (a letter twice in one factor) have no rule."""
    operands: Sequence[Value] = call["tensors"]
    texts = parse_equation(call["equation"], [len(value.axes) for value in operands])
    if texts is None or any(len(set(text)) != len(text) for text in texts):
        return None
    if any(letter not in "".join(texts[:-1]) for letter in texts[-1]):
        return None
    return [call.contract("einsum", operands, texts)]


def parse_equation(equation: str, ranks: Sequence[int]) -> list[str] | None:
    """Letters of every factor and of the result, an ellipsis written out.

    Example:
        >>> parse_equation("...i, oi -> ...o", [3, 2])
        ['ABi', 'oi', 'ABo']
        >>> parse_equation("ij,jk", [2, 2])
        ['ij', 'jk', 'ik']
    """
    plain = equation.replace(" ", "")
    left, arrow, out = plain.partition("->")
    terms = left.split(",")
    spare = [letter for letter in string.ascii_uppercase + string.ascii_lowercase if letter not in plain]
    widths = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    dots = spare[: max(widths, default=0)]
    texts = [term.replace("...", "".join(dots[len(dots) - width :])) for term, width in zip(terms, widths, strict=True)]
    if not arrow:
        once = sorted(letter for letter in set("".join(terms)) - {"."} if left.count(letter) == 1)
        out = ("..." if "..." in left else "") + "".join(once)
    texts.append(out.replace("...", "".join(dots)))
    return texts if all(len(text) == rank for text, rank in zip(texts, ranks, strict=False)) else None


@rule("aten.tensordot.default")
def tensordot(call: Call) -> list[Value]:
    """Sums over pairs of dimensions."""
    a, b = call["self"], call["other"]
    letters = iter(string.ascii_letters)
    mine = [next(letters) for _ in a.axes]
    theirs = [next(letters) for _ in b.axes]
    for x, y in zip(call["dims_self"], call["dims_other"], strict=True):
        theirs[y] = mine[x]
    out = [c for c in mine if c not in theirs] + [c for c in theirs if c not in mine]
    return [call.contract("tensordot", (a, b), ("".join(mine), "".join(theirs), "".join(out)))]


@rule("aten.bilinear.default")
def bilinear(call: Call) -> list[Value]:
    """y_o = sum_ij W_oij x_i z_j + b_o: products of the inputs' elements are neurons, then a linear layer."""
    x, z, weight, bias = call["input1"], call["input2"], call["weight"], call["bias"]
    lead = string.ascii_uppercase[: len(x.axes) - 1]
    for axis in (x.axes[-1], z.axes[-1]):
        call.solver.mark_neurons(axis)
    call.solver.mark_neurons(weight.axes[0])
    pairs = call.contract("product", (x, z), (lead + "i", lead + "j", lead + "ij"))
    made = call.contract("linear", (pairs, weight), (lead + "ij", "oij", lead + "o"), types=("multiply", "linear"))
    return [made if bias is None else _add(call, made, bias)]


def linear_of_tensors(call: Call) -> list[Value]:
    """A linear layer whose weight is computed."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    for axis in (x.axes[-1], *weight.axes):
        call.solver.mark_neurons(axis)
    lead = string.ascii_uppercase[: len(x.axes) - 1]
    made = call.contract("linear", (x, weight), (lead + "i", "oi", lead + "o"), types=("linear", "weight"))
    return [made if bias is None else _add(call, made, bias)]


def convolution_of_tensors(call: Call, *, letters: str, **attributes: object) -> list[Value] | None:
    """A convolution whose kernel is computed; grouped ones have no rule.

    Args:
        call: of the convolution.
        letters: of the kernel's first dimensions, `"oi"`, transposed `"io"`.
        attributes: of the convolution.
    """
    x, weight, bias = call["input"], call["weight"], call["bias"]
    if call["groups"] > 1:
        return None
    rank = len(weight.axes) - 2
    kernel, lead = string.ascii_lowercase[:rank], string.ascii_uppercase[: len(x.axes) - rank - 1]
    kept = tuple(range(len(lead) + 1))
    for axis in (x.axes[len(lead)], *weight.axes[:2]):
        call.solver.mark_neurons(axis)
    flat = call.emit("alias", "alias", axes=x.axes[: len(kept)], inputs=(x,), carry=kept)
    texts = (lead + "i", letters + kernel, lead + "o")
    made = call.contract("conv", (flat, weight), texts, types=("conv", "weight"), **attributes)
    places = call.fixed(call.shape[len(kept) :])
    more = (None,) * rank
    spread = call.emit("alias", "alias", axes=[*made.axes, *places], inputs=(made,), carry=(*kept, *more))
    if bias is None:
        return [spread]
    wide = call.emit("alias", "alias", axes=[*bias.axes, *[UNIT] * rank], inputs=(bias,), carry=(0, *more))
    return [_add(call, spread, wide)]
