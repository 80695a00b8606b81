"""Sources: models that contribute only their attention, read tensor by tensor, directly from the file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mam.errors import CheckpointError, MergeError, choices, first_line
from mam.merging.selection import ATTENTION
from mam.merging.shape import Shape
from mam.models.checkpoints import Checkpoint
from mam.models.names import FUSED, SPELLINGS, OnDisk, decoder_on_disk, missing_part, names_on_disk
from mam.models.refusals import refuse_unmergeable
from mam.registry import register

if TYPE_CHECKING:  # layers and shapes are found without torch
    from mam.merging.methods import Projection


@dataclass(frozen=True)
class Family:
    """The layout of the checkpoints of one ``model_type``; the tensors themselves are found by their names.

    ``heads`` is the key of the number of heads, in the section ``section`` of config.json if that is set. ``stack``
    selects one of several stacks of layers; see `names_on_disk`.
    """

    modality: str
    heads: str = "num_attention_heads"
    section: str | None = None
    stack: str | None = None


SOURCES: dict[str, Family] = {  # by model_type in config.json
    **dict.fromkeys(("bert", "electra", "ernie", "megatron-bert", "mpnet", "modernbert"), Family("text")),
    **dict.fromkeys(("roberta", "roberta-prelayernorm", "camembert", "data2vec-text", "esm"), Family("text")),
    **dict.fromkeys(("xlm-roberta", "xlm-roberta-xl", "xmod"), Family("text")),
    "clip_text_model": Family("text"),
    "distilbert": Family("text", heads="n_heads"),
    **dict.fromkeys(("vit", "vit_msn", "deit", "beit", "data2vec-vision", "ijepa"), Family("image")),
    **dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit"), Family("image")),
    "vit_mae": Family("image", stack=r"(^|\.)encoder\."),  # a pre-trained checkpoint contains its decoder too
    **dict.fromkeys(("clip_vision_model", "siglip_vision_model", "siglip2_vision_model"), Family("image")),
    **dict.fromkeys(("clip", "siglip", "siglip2"), Family("image", section="vision_config", stack=r"^vision_model\.")),
    **dict.fromkeys(("hubert", "wav2vec2", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat"), Family("speech")),
    **dict.fromkeys(("wav2vec2-conformer", "wav2vec2-bert"), Family("speech")),
    "whisper": Family("speech", heads="encoder_attention_heads", stack=r"\bencoder\.layers\.N\.self_attn$"),
    "audio-spectrogram-transformer": Family("audio"),
    "beats": Family("audio", heads="encoder_attention_heads"),
}


def source_family(
    model_type: str,
    modality: str,
    heads: str = "num_attention_heads",
    section: str | None = None,
    stack: str | None = None,
) -> None:
    """Register the layout of the source checkpoints of this ``model_type``; see `Family`."""
    family = Family(modality, heads, section, stack)
    register("source family", model_type, family, (SOURCES, family))


@dataclass(frozen=True)
class Source:
    """The attention of a source checkpoint, read lazily."""

    checkpoint: Checkpoint

    def __post_init__(self) -> None:
        """Raise CheckpointError for an unregistered architecture or quantised weights."""
        if self.checkpoint.model_type not in SOURCES:
            raise CheckpointError(
                f"model.source={self.checkpoint.id}: model_type {self.checkpoint.model_type!r} is not a known source."
                f" Known: {choices(list(SOURCES))}."
            )
        refuse_unmergeable(self.checkpoint)

    @property
    def family(self) -> Family:
        """The layout of this architecture's checkpoints."""
        return SOURCES[self.checkpoint.model_type]

    @cached_property
    def places(self) -> list[dict[str, OnDisk]]:
        """The location of each part in the file, for every layer of `Shape`; MergeError as in `names_on_disk`."""
        return [*self._encoder, *self._decoder]

    @cached_property
    def _encoder(self) -> list[dict[str, OnDisk]]:
        return names_on_disk(self.checkpoint.tensor_files, self.checkpoint.id, self.family.stack)

    @cached_property
    def _decoder(self) -> list[dict[str, OnDisk]]:
        return decoder_on_disk(self.checkpoint.tensor_files, self.checkpoint.id)

    @property
    def shape(self) -> Shape:
        """The depth, width and number of heads, and the depth of a decoder."""
        return Shape(self.layers, self.width, self.heads, len(self._decoder) // 2)

    @property
    def layers(self) -> int:
        """The depth, counted in the file's tensors; of an encoder and decoder, the encoder's."""
        return len(self._encoder)

    @property
    def heads(self) -> int:
        """The number of attention heads, from the configuration or the default of its class.

        Raises CheckpointError if neither has one.
        """
        return self.checkpoint.number(self.family.heads, self.family.section)

    @cached_property
    def attention_class(self) -> str:
        """The name of the class that computes the attention; the model is built without its weights.

        Raises CheckpointError if config.json does not describe a model.
        """
        import torch
        from transformers import AutoModel

        from mam.models.beats_encoder import Attention

        if self.checkpoint.is_beats:
            return Attention.__name__
        tower = self.family.section.partition("_")[0] if self.family.section else ""
        config = self.checkpoint.class_config
        try:
            with torch.device("meta"):
                model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        except Exception as error:  # transformers raises many types; all mean that config.json is not usable
            reason = f"transformers cannot build a model from its config.json ({first_line(error)})"
            raise CheckpointError(f"{self.checkpoint.id}: {reason}.") from error
        projections = {*FUSED, *(spelling[0] for spelling in SPELLINGS)}
        return next(
            (
                type(module).__name__
                for name, module in model.named_modules()
                if name.startswith(tower) and projections & {child for child, _ in module.named_children()}
            ),
            "unknown",
        )

    @cached_property
    def width(self) -> int:
        """The width d, from the first layer's query."""
        return int(self.read(0, "q")[0].shape[0])

    def place(self, layer: int, part: str) -> OnDisk:
        """Return the location of a part in the file; MergeError if it does not exist."""
        if part not in self.places[layer]:
            raise MergeError(missing_part(part, self.checkpoint.id))
        return self.places[layer][part]

    def read(self, layer: int, part: str) -> Projection:
        """Read the weight and bias of one part in fp32; a fused tensor is cut in three.

        Raises:
            MergeError: The part does not exist; a weight of attention is not square, or a fused one is not three times
                as high as it is wide.
        """
        place = self.place(layer, part)
        names = [f"{place.name}.weight", f"{place.name}.bias"]
        tensors = self.checkpoint.read([name for name in names if name in self.checkpoint.tensor_files])
        weight, bias = tensors[names[0]], tensors.get(names[1])
        thirds = 1 if place.third is None else 3
        if part in ATTENTION and (weight.ndim != 2 or weight.shape[0] != thirds * weight.shape[1]):
            expected = "square" if thirds == 1 else "three times as many rows as columns, as fused Q, K, V must have"
            raise MergeError(f"{self.checkpoint.id}: {names[0]} is {tuple(weight.shape)}, not {expected}.")
        if place.third is None:
            return weight, bias
        weight = weight.chunk(3)[place.third].clone()
        return weight, None if bias is None else bias.chunk(3)[place.third].clone()
