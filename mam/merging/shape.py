"""The shape of a Transformer, as far as a merge depends on it."""

from __future__ import annotations

from dataclasses import dataclass

from mam.errors import MergeError

STACKS = ("encoder", "decoder", "cross")
WHERE = {**{name: (name,) for name in STACKS}, "all": STACKS}  # the stacks of each choice of ``where``


@dataclass(frozen=True)
class Stack:
    """A stack of attention layers: the encoder's, or a decoder's self-attention or cross-attention."""

    name: str
    first: int
    layers: int

    @property
    def numbers(self) -> range:
        """The numbers of its layers among all of the model."""
        return range(self.first, self.first + self.layers)


@dataclass(frozen=True)
class Shape:
    """Depth, width and number of heads of a Transformer; ``decoder`` is the depth of its decoder, 0 without one.

    Layers are numbered from the input: the encoder's, then the decoder's self-attention, then its cross-attention. A
    model with a single stack, such as BERT, is an encoder here.
    """

    layers: int
    width: int
    heads: int
    decoder: int = 0

    def __str__(self) -> str:
        decoder = f", a decoder of {self.decoder}" if self.decoder else ""
        return f"{self.layers} layers × {self.width}, {self.heads} heads{decoder}"

    @property
    def head_width(self) -> int:
        """The number of rows of Q, K and V per head."""
        return self.width // self.heads

    @property
    def stacks(self) -> dict[str, Stack]:
        """The stacks by name."""
        encoder = Stack("encoder", 0, self.layers)
        if not self.decoder:
            return {"encoder": encoder}
        decoder = Stack("decoder", self.layers, self.decoder)
        return {"encoder": encoder, "decoder": decoder, "cross": Stack("cross", decoder.numbers.stop, self.decoder)}

    def chosen(self, where: str) -> list[Stack]:
        """Return the stacks that ``where`` names; MergeError if there is no decoder."""
        if where != "encoder" and not self.decoder:
            raise MergeError(f"where={where}: the target has no decoder. Leave where out")
        return [self.stacks[name] for name in WHERE[where]]

    def layers_of(self, where: str) -> list[int]:
        """Return the numbers of all layers of the stacks that ``where`` names; MergeError if there is no decoder."""
        return [layer for stack in self.chosen(where) for layer in stack.numbers]

    def partner(self, stack: Stack) -> Stack:
        """Return the stack whose layers are merged into those of a target's: of its name, or the only one."""
        return self.stacks.get(stack.name, self.stacks["encoder"])

    def place(self, layer: int) -> str:
        """Return the name of a layer: its number in the encoder, or the stack and its number there."""
        stack = next(stack for stack in self.stacks.values() if layer in stack.numbers)
        return f"{layer}" if stack.name == "encoder" else f"{stack.name} {layer - stack.first}"
