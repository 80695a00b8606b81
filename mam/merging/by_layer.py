"""The selected layers of a target, their λ, and the source layers that are merged into them."""

from __future__ import annotations

from collections.abc import Mapping

from mam.errors import MergeError
from mam.merging.options import MergeOptions
from mam.merging.pairing import MEASURED, PAIRINGS
from mam.merging.schedules import SCHEDULES
from mam.merging.selection import parse_layers
from mam.merging.shape import Shape
from mam.merging.tables import CONTROLS


def lams_of(options: MergeOptions, target: Shape) -> tuple[float, ...]:
    """Return λ of every layer by the schedule, whether or not it is selected; 0 in stacks that are not merged.

    A schedule runs over each stack by itself; the values of ``schedule=list`` run over all that are merged.

    Raises:
        MergeError: The schedule does not fit the depth, or there is no decoder.
    """
    schedule, numbers = SCHEDULES[options.schedule.name], target.layers_of(options.where)
    each = [stack.layers for stack in target.chosen(options.where)]
    depths = [len(numbers)] if "values" in schedule.reads else each
    lams = [lam for depth in depths for lam in schedule(options.lam, depth, options.schedule)]
    by_layer = dict(zip(numbers, lams, strict=True))
    return tuple(by_layer.get(layer, 0.0) for layer in range(max(target.layers, numbers[-1] + 1)))


def selected_layers(options: MergeOptions, target: Shape) -> list[int]:
    """Return the numbers of the selected layers of the target; MergeError as `plan_merge` raises it."""
    stacks = target.chosen(options.where)
    return [stack.first + layer for stack in stacks for layer in parse_layers(options.layers.spec, stack.layers)]


def paired_layers(
    options: MergeOptions, target: Shape, source: Shape, partners: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Return the source layer of each selected layer of the target, before a control exchanges layers.

    Raises:
        MergeError: A layer has no partner, or the control has no other layer to take. For arguments see `plan_merge`.
    """
    control, pairs = CONTROLS[options.control], dict[int, int]()
    for stack in target.chosen(options.where):
        selected = parse_layers(options.layers.spec, stack.layers)
        if control.layers == "own":
            if stack.layers < 2:
                raise MergeError(
                    f"control={options.control}: the target has only one layer, so there is no other layer to use"
                )
            pairs |= {stack.first + layer: stack.first + (layer + 1) % stack.layers for layer in selected}
            continue
        partner = source.partner(stack)
        if control.layers == "shuffled" and partner.layers < 2:
            raise MergeError(
                f"control={options.control}: the source has only one layer, so there is none to exchange it with"
            )
        others = PAIRINGS[options.pairing](selected, stack.layers, partner.layers)
        if options.pairing in MEASURED and partners is not None:  # before, the pairs are provisional
            others = {layer: partners[layer] for layer in selected}
        for layer, other in others.items():
            pairs[stack.first + layer] = partner.first + (other + options.offset) % partner.layers
    return pairs


def exchanged(pairs: Mapping[int, int], source: Shape, seed: int, draw: int) -> dict[int, int]:
    """Return pairs whose source layers are exchanged at random within their stacks."""
    from mam.merging.controls import shuffled  # imported here: no other plan needs torch

    others = {}
    for layer, other in pairs.items():
        stack = next(stack for stack in source.stacks.values() if other in stack.numbers)
        others[layer] = stack.first + shuffled(stack.layers, seed, draw)[other - stack.first]
    return others
