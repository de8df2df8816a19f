"""Sums of many terms in a graph: what the iterations of a loop add up, gradients of shared weights above all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten

FEWEST = 4  # of a kind, for which doing them at once pays


class Product(NamedTuple):
    """A term that is a matrix product, or one turned round, which nobody else takes."""

    node: Node
    transposed: bool
    inside: list[Node]

    @property
    def factors(self) -> tuple[Node, Node]:
        """What is multiplied."""
        left, right = self.node.args
        assert isinstance(left, Node)
        assert isinstance(right, Node)
        return left, right


class Sum(NamedTuple):
    """A sum of terms by kind.

    Attributes:
        products: those that are products of equal shapes: together they are one product.
        parts: those that are 0 but for one place along a dimension: together they are one tensor.
        others: all else.
        inside: the operations that the sum takes the place of.
    """

    products: list[list[Product]]
    parts: list[list[Node]]
    others: list[Node]
    inside: list[Node]

    def needs(self) -> Iterator[Any]:
        """What the sum is made from."""
        yield from self.others
        yield from (factor for products in self.products for product in products for factor in product.factors)
        yield from (part.args[0] for parts in self.parts for part in parts)


def find_sums(graph: Graph) -> dict[Node, Sum]:
    """The sums of at least `FEWEST` terms, by their last addition."""
    additions = {node for node in graph.nodes if _adds(node)}
    found = {}
    for root in additions:
        users = list(root.users)
        if len(users) == 1 and users[0] in additions:
            continue
        terms, inside = _terms(root, additions)
        if len(terms) >= FEWEST:
            found[root] = _by_kind(terms, inside)
    return found


def shape_of(node: Node) -> Any:
    """Shape and type of what a node gives; None where it gives several tensors."""
    value = node.meta.get("val")
    return (tuple(value.shape), value.dtype) if isinstance(value, torch.Tensor) else None


def _adds(node: Node) -> bool:
    if node.target is not aten.add.Tensor or len(node.args) != 2 or node.kwargs:
        return False
    return all(isinstance(term, Node) and shape_of(term) == shape_of(node) for term in node.args)


def _terms(root: Node, additions: set[Node]) -> tuple[list[Node], list[Node]]:
    terms, inside, pending = list[Node](), list[Node](), [root]
    while pending:
        node = pending.pop()
        if node is root or (node in additions and len(node.users) == 1):
            inside.append(node)
            pending += node.all_input_nodes if len(node.all_input_nodes) == 2 else 2 * node.all_input_nodes
        else:
            terms.append(node)
    return terms, inside


def _by_kind(terms: list[Node], inside: list[Node]) -> Sum:
    products, parts, others = defaultdict(list), defaultdict(list), list[Node]()
    for term in terms:
        product = _product(term)
        if product is not None:
            left, right = product.factors
            products[shape_of(left), shape_of(right), product.transposed].append((term, product))
        elif term.target is aten.select_backward.default and len(term.users) == 1:
            parts[str(term.args[1]), term.args[2]].append(term)
        else:
            others.append(term)
    kept = Sum([], [], others, inside)
    for found in products.values():
        if len(found) < FEWEST:
            others += [term for term, _ in found]
        else:
            kept.products.append([product for _, product in found])
            inside += [node for _, product in found for node in product.inside]
    for found in parts.values():
        places = sorted(part.args[3] for part in found)
        if len(found) < FEWEST or places != list(range(places[0], places[0] + len(places))):
            others += found
        else:
            kept.parts.append(sorted(found, key=lambda part: part.args[3]))
            inside += found
    return kept


def _product(term: Node) -> Product | None:
    inside, turned = [], False
    while term.target is aten.t.default and len(term.users) == 1:
        inside.append(term)
        turned, term = not turned, term.all_input_nodes[0]
    alone = term.target is aten.mm.default and len(term.users) == 1
    return Product(term, turned, [*inside, term]) if alone else None
