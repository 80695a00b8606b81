"""Whisper as a target: a recogniser of speech, and an encoder of sounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from mam.data.audio import RATE, Wave
from mam.errors import CheckpointError
from mam.models.checkpoints import Checkpoint
from mam.models.hub import HubTarget
from mam.models.prompt import END, PLAIN, START, Prompt, Prompts
from mam.models.targets import Hidden, Readout, target

SAMPLES = 480_000  # Whisper hears 30 s at a time
STAMPS = 1501  # timestamps from 0 to 30 s, the last tokens of the vocabulary


@target("whisper")
class Whisper(HubTarget):
    """Whisper: the encoder is merged, the decoder writes greedily. Up to 30 s at once, longer recordings in windows."""

    stem = "Whisper"
    extractor_class = "WhisperFeatureExtractor"
    has_one_length = True
    takes_language = True
    prompts: Prompts
    pack_seconds: ClassVar[dict[str, float]] = {"cpu": 120.0, "cuda": 480.0}  # decoding gains from clips together
    readouts = ("text", "features", "scores")
    suffixes: ClassVar[dict[Readout, str]] = {
        "text": "ForConditionalGeneration",
        "features": "Model",
        "scores": "ForAudioClassification",
    }

    def __init__(self, checkpoint: Checkpoint, readout: Readout) -> None:
        """Raises CheckpointError where tokenizer, head and generation_config.json do not belong together."""
        super().__init__(checkpoint, readout)
        self._prompt: Prompt | None = None
        if readout == "text":
            self.prompts = Prompts.of(checkpoint, self.tokenizer)
            self._prepare(self.model.generation_config, self.prompts)
            if not self.prompts.is_multilingual:
                self.instruct("en", "transcribe")

    def _prepare(self, generation: Any, prompts: Prompts) -> None:
        """Say in transformers' settings what the vocabulary says, and that texts may be as long as the decoder allows.

        Without these entries transformers decodes without a language, or stops after 20 tokens.
        """
        longest = int(self.model.config.max_target_positions)
        generation.is_multilingual = prompts.is_multilingual
        generation.no_timestamps_token_id = prompts.tokens[PLAIN]
        generation.decoder_start_token_id = self.model.config.decoder_start_token_id = prompts.tokens[START]
        for name in ("eos_token_id", "pad_token_id"):
            if getattr(generation, name, None) is None:
                setattr(generation, name, prompts.tokens[END])
        for settings in (generation, self.model.config):
            if getattr(settings, "forced_decoder_ids", None) is not None:
                settings.forced_decoder_ids = None
        generation.return_dict_in_generate = generation.output_scores = generation.output_logits = False
        generation.output_attentions = generation.output_hidden_states = False
        if generation.max_new_tokens is None and generation.max_length is None:
            generation.max_length = longest
        if generation.max_new_tokens is not None:
            generation.max_new_tokens = min(generation.max_new_tokens, longest - 4)  # the prompt has up to 4
        for name in ("lang_to_id", "task_to_id", "language", "task"):
            if hasattr(generation, name):
                delattr(generation, name)
        if prompts.is_multilingual:
            generation.lang_to_id = {f"<|{code}|>": i for code, i in prompts.languages.items()}
            generation.task_to_id = prompts.tasks

    def instruct(self, language: str | None, task: str) -> None:
        """Teach, measure and decode with this prompt from now on; a checkpoint saved later says it too."""
        if language is None:
            if self.readout == "text" and self.prompts.is_multilingual:
                self._prompt = None  # nobody has decided yet: what an earlier run was told does not hold
            return
        self._prompt = self.prompts.prompt(language, task)
        if self.prompts.is_multilingual:
            self.model.generation_config.language = self._prompt.language
            self.model.generation_config.task = task

    @property
    def prompt(self) -> list[int]:
        """Ids of the tokens before the text."""
        if self._prompt is None:
            raise TypeError("a multilingual Whisper must be told its language first: instruct it")
        return list(self._prompt.ids)

    def tongues(self, hidden: Hidden) -> Tensor:
        """Probability of every language of the vocabulary, ``[b, languages]``, as the decoder detects it."""
        start = torch.full((hidden.states.shape[0], 1), self.prompts.tokens[START], device=self.device)
        encoded = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        scores = self.model(encoder_outputs=encoded, decoder_input_ids=start, use_cache=False).logits[:, -1]
        chosen: Tensor = scores[:, list(self.prompts.languages.values())]
        return chosen.float().softmax(-1)

    @classmethod
    def sizes(cls, extractor: Any, checkpoint: Checkpoint) -> dict[str, tuple[Any, Any, str]]:  # noqa: D102
        bins, positions = (checkpoint.with_defaults(key) for key in ("num_mel_bins", "max_source_positions"))
        return {
            "mel bins": (extractor.feature_size, bins, "num_mel_bins in config.json"),
            "frames": (extractor.nb_max_frames, 2 * positions, "twice max_source_positions in config.json"),
        }

    @property
    def encoder(self) -> Any:  # noqa: D102
        return self.model.encoder if self.readout == "scores" else self.backbone.encoder

    @classmethod
    def limits(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[int, int | None]:
        """Without decoding there is nothing that moves along a long recording: 30 s at most."""
        return 0, None if readout == "text" else SAMPLES

    @property
    def heads(self) -> int:  # noqa: D102
        return int(self.model.config.encoder_attention_heads)

    def alone(self, samples: int) -> bool:  # noqa: D102
        return samples > int(self.extractor.n_samples)

    def in_windows(self, samples: int) -> bool:  # noqa: D102
        return self.readout == "text" and self.alone(samples)

    def padded(self, samples: int) -> int:  # noqa: D102
        return max(samples, int(self.extractor.n_samples))

    @property
    def frontend(self) -> list[nn.Module]:
        """The convolutions."""
        return [self.encoder.conv1, self.encoder.conv2]

    def listen(self, waves: Sequence[Wave]) -> Hidden:
        """Log-mel of 30 s ``[b, t, mels]``, padded with silence, as Whisper was trained.

        A recording beyond 30 s stays log-mel at its whole length and goes through `transcribe` as it is.
        """
        if len(waves) == 1 and self.alone(len(waves[0])):
            long = self.extractor(
                waves[0], sampling_rate=RATE, truncation=False, padding="longest", return_tensors="pt"
            )
            features = long.input_features.to(self.device, self.dtype)
            return Hidden(features, torch.tensor([features.shape[-1]]), whole=True)
        features = self.extractor(list(waves), sampling_rate=RATE, return_tensors="pt").input_features
        lengths = torch.tensor([-(-len(wave) // self.extractor.hop_length) for wave in waves])
        return Hidden(features.to(self.device, self.dtype).transpose(1, 2), lengths)

    def embed(self, heard: Hidden) -> Hidden:
        """SpecAugment, while training, by the model's configuration -> two convolutions + positions."""
        if heard.whole:
            return heard
        features = heard.states.transpose(1, 2)
        if self.model.training and self.readout != "scores":
            features = self.backbone._mask_input_features(features)
        states = nn.functional.gelu(self.encoder.conv1(features))
        states = nn.functional.gelu(self.encoder.conv2(states)).permute(0, 2, 1)  # [b, t, d]
        states = states + self.encoder.embed_positions.weight
        states = nn.functional.dropout(states, self.encoder.dropout, self.model.training)
        lengths = (heard.lengths + 1) // 2  # the second convolution halves
        return Hidden(states, lengths.clamp_max(states.shape[1]))

    def advance(self, hidden: Hidden, start: int, stop: int) -> Hidden:  # noqa: D102
        if hidden.whole:
            return hidden
        states = hidden.states
        for layer in self.encoder.layers[start:stop]:
            states = layer(states, None)
        return Hidden(states, hidden.lengths)

    def last(self, hidden: Hidden) -> Hidden:  # noqa: D102
        return Hidden(self.encoder.layer_norm(hidden.states), hidden.lengths)

    def spell(self, text: str, normalise: Callable[[str], str]) -> tuple[list[int], list[str]]:
        """The text as written, behind the prompt but for its first token; its vocabulary has every character."""
        ids: list[int] = self.tokenizer(text.strip(), add_special_tokens=False).input_ids
        return [*self.prompt[1:], *ids, self.prompts.tokens[END]], []

    @property
    def most_tokens(self) -> int | None:
        """As many as the decoder has positions."""
        return int(self.model.config.max_target_positions)

    def losses(self, hidden: Hidden, tokens: Sequence[list[int]], smoothing: float) -> Tensor:
        """Cross-entropy of the next token, the decoder reading the true ones before it."""
        rows = [torch.tensor(one, device=self.device) for one in tokens]
        truth = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)  # [b, n]
        before = torch.cat([torch.full_like(truth[:, :1], self.prompt[0]), truth[:, :-1]], 1)
        before = before.masked_fill(before == -100, self.prompts.tokens[END])
        encoded = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        scores = self.model(encoder_outputs=encoded, decoder_input_ids=before, use_cache=False).logits  # [b, n, v]
        loss = nn.functional.cross_entropy(
            scores.float().transpose(1, 2), truth, reduction="none", label_smoothing=smoothing
        )
        return loss.sum(1) / (truth != -100).sum(1)

    def anchors(self, hidden: Hidden) -> list[Any]:
        """Of each clip the tokens that the decoder reads and writes, from the prompt to the end of the text."""
        end, first, made = self.prompts.tokens[END], len(self.prompt), []
        for row in self._written(hidden):
            ends = (row[first:] == end).nonzero()
            made.append(row[: int(ends[0, 0]) + first + 1] if len(ends) else row)
        return made

    def doubts(self, hidden: Hidden, anchors: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """At every token of the anchored text, the decoder reading that text; silence is an end before its end.

        The prompt is given, not decided: nothing is asked of it.
        """
        end, first, doubts, silent = self.prompts.tokens[END], len(self.prompt), [], []
        rows = nn.utils.rnn.pad_sequence(list(anchors), batch_first=True, padding_value=end)
        encoded = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        scores = self.model(encoder_outputs=encoded, decoder_input_ids=rows[:, :-1], use_cache=False).logits
        for logits, row in zip(scores.float(), anchors, strict=True):
            tokens = logits[first - 1 : len(row) - 1].log_softmax(-1)  # [tokens after the prompt, vocabulary]
            doubts.append(-(tokens.exp() * tokens).sum(-1).mean())
            silent.append(((tokens.argmax(-1) == end) & (row[first:] != end)).float().mean())
        return torch.stack(doubts), torch.stack(silent)

    def share(self, model: Any, head: nn.Module) -> None:  # noqa: D102
        model.encoder.load_state_dict(self.encoder.state_dict())
        self.share_head(model, head)

    def transcribe(self, hidden: Hidden) -> list[str]:  # noqa: D102
        texts: list[str] = self.tokenizer.batch_decode(self._written(hidden), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _written(self, hidden: Hidden) -> Tensor:
        """Token ids ``[b, n]``, the prompt first, that the decoder writes greedily, padded with the end of the text.

        Of a recording beyond 30 s the windows' texts follow each other, without the prompt.
        """
        assert self.prompt  # else transformers would detect a language for each clip
        greedy: dict[str, Any] = {"do_sample": False, "num_beams": 1, "num_return_sequences": 1}
        if hidden.whole:
            if self.prompts.size <= self.prompts.tokens[PLAIN] + STAMPS:
                raise CheckpointError(
                    f"{self.checkpoint.id}: its vocabulary has no timestamps, so that recordings over 30 s cannot be"
                    " decoded. Cut the recordings, or take another checkpoint."
                )
            mask = torch.ones(hidden.states.shape[0], hidden.states.shape[-1], dtype=torch.long, device=self.device)
            whole: Tensor = self.model.generate(hidden.states, attention_mask=mask, return_timestamps=True, **greedy)
            return whole
        outputs = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        # A degenerate model may write timestamps unasked; transformers would then move on to a second window,
        # for which there is no input. One window, one call.
        ids: Tensor = self.model.generate(
            encoder_outputs=outputs, force_unique_generate_call=True, return_timestamps=False, **greedy
        )
        return ids
