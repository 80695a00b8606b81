"""Statistics of the activations of both models on the calibration inputs, each measured once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from mam.config.schema import Config, read_from
from mam.data.audio import Wave
from mam.evaluation.calibration import cross_moments, measured, moments_of_source, moments_of_target, refuse_unseen
from mam.evaluation.calibration_files import TRAIN, train_config
from mam.evaluation.fitness import refuse_no_common_inputs
from mam.evaluation.model_pair import ModelPair
from mam.evaluation.similarity import compare_layers, partners_of
from mam.files import sha256_json
from mam.merging.activations import Moments, Sums
from mam.merging.adapted_source import QKV
from mam.merging.similarity import LayerSimilarities
from mam.models.sources import Source

if TYPE_CHECKING:
    from mam.evaluation.workbench import Workbench


@dataclass(frozen=True)
class MeasuredActivations:
    """`Activations` of one configuration."""

    bench: Workbench
    config: Config

    @property
    def key(self) -> Hashable:
        """A value that is equal for equal recordings."""
        return sha256_json([asdict(self.config.calibration), read_from(replace(self.config.data, split=TRAIN))])

    def partners(self) -> Mapping[int, int]:
        """Return the source layer that is most similar to each target layer, by CKA above chance."""
        return partners_of(self.similarities())

    def second_moments(self) -> Sums:
        """Return the mean of [x 1]ᵀ [x 1] over the target's inputs."""

        def of_target(pair: ModelPair, waves: list[Wave]) -> Sums:
            sums = moments_of_target(pair.target, waves, is_augmented=True)
            refuse_unseen(sums, QKV, pair.target.checkpoint.id)
            return sums

        return self.bench.calibrated(self.config, "second moments", None, of_target)

    def moments(self) -> Moments:
        """Return the mean of x xᵀ over the inputs of both models."""

        def both(pair: ModelPair, waves: list[Wave]) -> Moments:
            sides = moments_of_target(pair.target, waves), moments_of_source(pair.source, self.config.calibration)
            return measured(*sides, self.config.parts, (pair.target.checkpoint.id, pair.source.checkpoint.id))

        return self.bench.calibrated(self.config, "moments", self.config.parts, both)

    def cross(self, pairs: Mapping[int, int], is_own: bool) -> Mapping[int, Tensor]:
        """Return the mean of x_t x_sᵀ over common inputs."""

        def products(pair: ModelPair, waves: list[Wave]) -> Mapping[int, Tensor]:
            source = Source(pair.target.checkpoint) if is_own else pair.source
            return cross_moments(pair.target, source, waves, pairs)

        return self.bench.calibrated(self.config, "cross", (is_own, tuple(sorted(pairs.items()))), products)

    def similarities(self) -> list[LayerSimilarities]:
        """Return the similarities of the layers of both models on the calibration recordings.

        Raises:
            UnfitError: the source takes nothing that corresponds to the recordings.
        """
        refuse_no_common_inputs(self.config, self.bench.parents(self.config).source)

        def found(pair: ModelPair, waves: list[Wave]) -> list[LayerSimilarities]:
            is_text = pair.source.family.modality == "text"
            texts = self.bench.audio(train_config(self.config)).corpus.column("text") if is_text else None
            return compare_layers(pair.target, pair.source, waves, texts, self.config.seed)

        return self.bench.calibrated(self.config, "similarity", self.config.seed, found)
