"""Targets that transformers can load: the class with the right head, its feature extractor and its tokenizer."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, AutoTokenizer

from mam.data.audio import RATE
from mam.errors import CheckpointError, choices, first_line
from mam.models.checkpoints import Checkpoint
from mam.models.hidden import Hidden
from mam.models.readout import Readout
from mam.models.targets import Target

EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")
BELONGS = "Use the preprocessor_config.json that belongs to the model."


class HubTarget(Target):
    """A target whose transformers classes are named ``stem`` plus, by readout, one of ``suffixes``."""

    stem = ""
    suffixes: ClassVar[dict[Readout, str]] = {"features": "Model", "scores": "ForAudioClassification"}

    extractor_class = "Wav2Vec2FeatureExtractor"

    def __init__(self, checkpoint: Checkpoint, readout: Readout) -> None:
        super().__init__(checkpoint, readout)
        self.extractor = self.checked_extractor(checkpoint)
        if readout == "text":
            self.load_tokenizer()
        if readout == "scores" and getattr(self.model.config, "use_weighted_layer_sum", False):
            raise CheckpointError(
                f"{checkpoint.id}: its head uses a weighted sum of all layers (use_weighted_layer_sum), which mam"
                " does not support."
            )

    @classmethod
    def check_settings(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[str, ...]:  # noqa: D102
        if any((checkpoint.folder / name).is_file() for name in EXTRACTOR_FILES):
            cls.checked_extractor(checkpoint)
        return super().check_settings(checkpoint, readout)

    @classmethod
    def checked_extractor(cls, checkpoint: Checkpoint) -> Any:
        """Load the feature extractor and compare it with the model's input.

        Raises:
            CheckpointError: There is no extractor, it belongs to other models, it adds noise, or its sampling rate or
                feature size does not match.
        """
        with warnings.catch_warnings():
            # 128 triangles over 257 points, as in AST: the lowest are empty, as they were in its training.
            warnings.filterwarnings("ignore", "At least one mel filter has all zero values", UserWarning)
            extractor = _auto(AutoFeatureExtractor.from_pretrained, checkpoint)
        place = f"{checkpoint.id}: its feature extractor"
        if type(extractor).__name__ != cls.extractor_class:
            raise CheckpointError(
                f"{place} is a {type(extractor).__name__}, but {cls.stem} needs a {cls.extractor_class}. {BELONGS}"
            )
        if str(extractor.sampling_rate) != str(RATE):
            raise CheckpointError(f"{place} expects {extractor.sampling_rate} Hz, but mam supports only {RATE} Hz.")
        if getattr(extractor, "dither", 0):
            raise CheckpointError(
                f"{place} adds random noise (dither={extractor.dither}), so results would not be reproducible. Set"
                " dither to 0 in"
                " preprocessor_config.json."
            )
        for quantity, (size, model_size, key) in cls.sizes(extractor, checkpoint).items():
            if size != model_size:
                raise CheckpointError(
                    f"{place} gives {size} {quantity}, but the model needs {model_size} ({key}). {BELONGS}"
                )
        return extractor

    @classmethod
    def sizes(cls, extractor: Any, checkpoint: Checkpoint) -> dict[str, tuple[Any, Any, str]]:
        """Map each quantity to the extractor's size, the model's size and the key that defines the latter."""
        return {"channels": (extractor.feature_size, 1, "a waveform has one")}

    @classmethod
    def architecture(cls, readout: Readout) -> type[Any]:
        """Return the transformers class for this readout."""
        architecture: type[Any] = getattr(transformers, cls.stem + cls.suffixes[readout])
        return architecture

    def load(self) -> Any:  # noqa: D102
        return _load(self.architecture(self.readout), self.checkpoint)

    def load_tokenizer(self) -> None:
        """Load the tokenizer, which turns outputs into text."""
        self.tokenizer = load_tokenizer(self.checkpoint)

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer beside the model."""
        self.tokenizer.save_pretrained(folder)

    @property
    def backbone(self) -> Any:
        """The model without its head."""
        return self.model.base_model

    def recompute_layers(self) -> None:  # noqa: D102
        # Renamed in transformers 5.23; version 6 removes the old name.
        enable = (
            getattr(self.model, "activation_checkpointing_enable", None) or self.model.gradient_checkpointing_enable
        )
        enable({"use_reentrant": False})

    @property
    def labels(self) -> list[str]:  # noqa: D102
        names = self.model.config.id2label
        return [str(names[i]) for i in range(len(names))]

    def save(self, folder: Path, head: nn.Module | None = None, classes: Sequence[str] = ()) -> None:  # noqa: D102
        model = self.model if head is None else self.with_head(head, classes)
        model.save_pretrained(folder)
        self.extractor.save_pretrained(folder)
        if self.readout == "text":
            self.save_tokenizer(folder)

    def with_head(self, head: nn.Module, classes: Sequence[str]) -> Any:
        """Create the transformers classifier whose scores are the softmax of ``head`` on pooled features."""
        config = copy.deepcopy(self.model.config)
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: i for i, name in enumerate(classes)}
        config.classifier_proj_size, config.use_weighted_layer_sum = self.width, False
        model = self.architecture("scores")(config)
        self.share(model, head)
        return model

    def share(self, model: Any, head: nn.Module) -> None:
        """Copy this target's encoder and ``head`` into the classifier ``model``; its projector becomes the identity."""
        model.base_model.load_state_dict(self.backbone.state_dict())
        self.share_head(model, head)

    def share_head(self, model: Any, head: nn.Module) -> None:
        """Copy the head into ``model``."""
        model.projector.load_state_dict({"weight": torch.eye(self.width), "bias": torch.zeros(self.width)})
        model.classifier.load_state_dict(head.state_dict())

    def scores(self, hidden: Hidden) -> Tensor:
        """Project the states, average them over real frames and return the softmax over classes."""
        last = self.last(hidden)
        mean = last.mean(self.model.projector(last.states))
        scores: Tensor = self.model.classifier(mean.to(self.dtype)).float().softmax(-1)
        return scores


def _load(architecture: type[Any], checkpoint: Checkpoint) -> Any:
    """Load the model in fp32, whatever the file's dtype, and require every weight to come from the file."""
    _ = checkpoint.class_config  # checked; that names a truncated file too
    try:
        model, info = architecture.from_pretrained(
            checkpoint.folder,
            dtype=torch.float32,
            attn_implementation="sdpa" if architecture._supports_sdpa else None,
            use_safetensors=checkpoint.is_safetensors,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # rejected below, with their names
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many types; all mean that this folder is not such a model
        raise CheckpointError(
            f"{checkpoint.id}: cannot be loaded as {architecture.__name__}: {first_line(error)}"
        ) from error
    mismatched = [
        f"{name} {tuple(shape)} instead of {tuple(expected)}" for name, shape, expected in info["mismatched_keys"]
    ]
    if mismatched:
        raise CheckpointError(
            f"{checkpoint.id}: the weights do not have the shapes that its config.json gives:"
            f" {'; '.join(sorted(mismatched))}."
        )
    missing = sorted(key for key in info["missing_keys"] if not key.endswith("masked_spec_embed"))  # training only
    if missing:
        raise CheckpointError(
            f"{checkpoint.id}: lacks {len(missing)} weights that {architecture.__name__} needs:"
            f" {choices(missing[:6])}. They would be random, and so would zero-shot results."
            " Use a checkpoint that was fine-tuned for the task."
        )
    damaged = sorted(name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all())
    if damaged:
        raise CheckpointError(
            f"{checkpoint.id}: has NaN or infinite values in {choices(damaged[:6])}. Download it again."
        )
    return model.eval()


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """Load the tokenizer beside the weights; CheckpointError if it is missing or unusable."""
    return _auto(AutoTokenizer.from_pretrained, checkpoint)


def _auto(from_pretrained: Callable[..., Any], checkpoint: Checkpoint) -> Any:
    try:
        return from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many types for invalid settings
        raise CheckpointError(
            f"{checkpoint.id}: its tokenizer or feature extractor cannot be loaded: {first_line(error)}"
        ) from error
