"""Whisper as a target: a speech recogniser and an encoder of sounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from mam.data.audio import RATE, Wave
from mam.errors import CheckpointError, first_line
from mam.models.checkpoints import Checkpoint
from mam.models.greedy import greedy, is_plain
from mam.models.hidden import Hidden
from mam.models.hub import HubTarget
from mam.models.prompt import END, PLAIN, START, Prompt, Prompts
from mam.models.readout import Readout
from mam.models.targets import target_family

SAMPLES = 480_000  # 30 s, the length of Whisper's input
STAMPS = 1501  # timestamps from 0 to 30 s, the last tokens of the vocabulary


@target_family("whisper")
class Whisper(HubTarget):
    """Whisper, with greedy decoding; recordings over 30 s are decoded in windows."""

    stem = "Whisper"
    extractor_class = "WhisperFeatureExtractor"
    has_one_length = True
    takes_language = True
    prompts: Prompts
    pack_seconds: ClassVar[dict[str, float]] = {"cpu": 240.0, "cuda": 480.0}  # large packs decode faster
    readouts = ("text", "features", "scores")
    suffixes: ClassVar[dict[Readout, str]] = {
        "text": "ForConditionalGeneration",
        "features": "Model",
        "scores": "ForAudioClassification",
    }

    def __init__(self, checkpoint: Checkpoint, readout: Readout) -> None:
        """Load the model.

        Raises:
            CheckpointError: The tokenizer, head and generation_config.json do not belong together.
        """
        super().__init__(checkpoint, readout)
        self._prompt: Prompt | None = None
        if readout == "text":
            self.prompts = Prompts.of(checkpoint, self.tokenizer)
            self._prepare(self.model.generation_config, self.prompts)
            if not self.prompts.is_multilingual:
                self.instruct("en", "transcribe")

    def _prepare(self, generation: Any, prompts: Prompts) -> None:
        """Set transformers' generation settings from the vocabulary, and allow texts as long as the decoder supports.

        Without these settings transformers decodes without a language, or stops after 20 tokens.
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
            generation.max_new_tokens = min(generation.max_new_tokens, longest - 4)  # the prompt has up to 4 tokens
        for name in ("lang_to_id", "task_to_id", "language", "task"):
            if hasattr(generation, name):
                delattr(generation, name)
        if prompts.is_multilingual:
            generation.lang_to_id = {f"<|{code}|>": i for code, i in prompts.languages.items()}
            generation.task_to_id = prompts.tasks

    def instruct(self, language: str | None, task: str) -> None:
        """Set the prompt for training, entropy and decoding; checkpoints saved later contain it too."""
        if language is None:
            if self.readout == "text" and self.prompts.is_multilingual:
                self._prompt = None  # undecided: the language of an earlier run does not apply
            return
        self._prompt = self.prompts.prompt(language, task)
        if self.prompts.is_multilingual:
            self.model.generation_config.language = self._prompt.language
            self.model.generation_config.task = task

    @property
    def prompt(self) -> list[int]:
        """The ids of the tokens before the text."""
        if self._prompt is None:
            raise TypeError("a multilingual Whisper needs a language first: call instruct")
        return list(self._prompt.ids)

    def tongues(self, hidden: Hidden) -> Tensor:
        """Return the probability of every language of the vocabulary, ``[b, languages]``, from the decoder."""
        start = torch.full((hidden.states.shape[0], 1), self.prompts.tokens[START], device=self.device)
        encoded = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        scores = self.model(encoder_outputs=encoded, decoder_input_ids=start, use_cache=False).logits[:, -1]
        languages: Tensor = scores[:, list(self.prompts.languages.values())]
        return languages.float().softmax(-1)

    @classmethod
    def sizes(cls, extractor: Any, checkpoint: Checkpoint) -> dict[str, tuple[Any, Any, str]]:  # noqa: D102
        bins, positions = (checkpoint.number(key) for key in ("num_mel_bins", "max_source_positions"))
        return {
            "mel bins": (extractor.feature_size, bins, "num_mel_bins in config.json"),
            "frames": (extractor.nb_max_frames, 2 * positions, "twice max_source_positions in config.json"),
        }

    @property
    def encoder(self) -> Any:  # noqa: D102
        return self.model.encoder if self.readout == "scores" else self.backbone.encoder

    @property
    def decoder(self) -> Any:  # noqa: D102
        return None if self.readout == "scores" else self.backbone.decoder

    @classmethod
    def limits(cls, checkpoint: Checkpoint, readout: Readout) -> tuple[int, int | None]:
        """Return a maximum of 30 s, except for decoding, which moves a window along longer recordings."""
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
        """Compute the log-mel features of 30 s, ``[b, t, mels]``, padded with silence as in Whisper's training.

        A recording beyond 30 s keeps the log-mel features of its whole length and goes straight to `transcribe`.
        """
        if len(waves) == 1 and self.alone(len(waves[0])):
            extracted = self.extractor(
                waves[0], sampling_rate=RATE, truncation=False, padding="longest", return_tensors="pt"
            )
            features = extracted.input_features.to(self.device, self.dtype)
            return Hidden(features, torch.tensor([features.shape[-1]]), whole=True)
        features = self.extractor(list(waves), sampling_rate=RATE, return_tensors="pt").input_features
        lengths = torch.tensor([-(-len(wave) // self.extractor.hop_length) for wave in waves])
        return Hidden(features.to(self.device, self.dtype).transpose(1, 2), lengths)

    def embed(self, heard: Hidden) -> Hidden:
        """Apply SpecAugment (in training, if the model's configuration enables it), two convolutions and positions."""
        if heard.whole:
            return heard
        features = heard.states.transpose(1, 2)
        if self.model.training and self.readout != "scores":
            features = self.backbone._mask_input_features(features)
        states = nn.functional.gelu(self.encoder.conv1(features))
        states = nn.functional.gelu(self.encoder.conv2(states)).permute(0, 2, 1)  # [b, t, d]
        states = states + self.encoder.embed_positions.weight
        states = nn.functional.dropout(states, self.encoder.dropout, self.model.training)
        lengths = (heard.lengths + 1) // 2  # the second convolution has stride 2
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
        """Return the tokens that follow the prompt's first token, and no missing characters.

        The text is taken as written; the vocabulary covers every character.
        """
        ids: list[int] = self.tokenizer(text.strip(), add_special_tokens=False).input_ids
        return [*self.prompt[1:], *ids, self.prompts.tokens[END]], []

    @property
    def most_tokens(self) -> int | None:
        """The number of positions of the decoder."""
        return int(self.model.config.max_target_positions)

    def losses(self, hidden: Hidden, tokens: Sequence[list[int]], smoothing: float) -> Tensor:
        """Return the cross-entropy of the next token; the decoder reads the true tokens before it."""
        rows = [torch.tensor(transcript, device=self.device) for transcript in tokens]
        truth = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)  # [b, n]
        inputs = torch.cat([torch.full_like(truth[:, :1], self.prompt[0]), truth[:, :-1]], 1)
        inputs = inputs.masked_fill(inputs == -100, self.prompts.tokens[END])
        encoded = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        scores = self.model(encoder_outputs=encoded, decoder_input_ids=inputs, use_cache=False).logits  # [b, n, v]
        loss = nn.functional.cross_entropy(
            scores.float().transpose(1, 2), truth, reduction="none", label_smoothing=smoothing
        )
        return loss.sum(1) / (truth != -100).sum(1)

    def anchors(self, hidden: Hidden) -> list[Any]:
        """Return the tokens that the decoder reads and writes for each clip, from the prompt to the end of the text."""
        end_token, prompt_length = self.prompts.tokens[END], len(self.prompt)
        anchors = []
        for row in self._written(hidden):
            ends = (row[prompt_length:] == end_token).nonzero()
            anchors.append(row[: int(ends[0, 0]) + prompt_length + 1] if len(ends) else row)
        return anchors

    def doubts(self, hidden: Hidden, anchors: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Measure entropy at every token of the anchored text, which the decoder reads.

        Silence is an end token before the end of that text. The prompt is given, so its tokens are not counted.
        """
        end_token, prompt_length = self.prompts.tokens[END], len(self.prompt)
        doubts, silent = [], []
        rows = nn.utils.rnn.pad_sequence(list(anchors), batch_first=True, padding_value=end_token)
        encoded = BaseModelOutput(last_hidden_state=self.last(hidden).states)
        scores = self.model(encoder_outputs=encoded, decoder_input_ids=rows[:, :-1], use_cache=False).logits
        for logits, row in zip(scores.float(), anchors, strict=True):
            tokens = logits[prompt_length - 1 : len(row) - 1].log_softmax(-1)  # [tokens after the prompt, vocabulary]
            doubts.append(-(tokens.exp() * tokens).sum(-1).mean())
            silent.append(((tokens.argmax(-1) == end_token) & (row[prompt_length:] != end_token)).float().mean())
        return torch.stack(doubts), torch.stack(silent)

    def share(self, model: Any, head: nn.Module) -> None:  # noqa: D102
        model.encoder.load_state_dict(self.encoder.state_dict())
        self.share_head(model, head)

    def transcribe(self, hidden: Hidden) -> list[str]:  # noqa: D102
        texts: list[str] = self.tokenizer.batch_decode(self._written(hidden), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _written(self, hidden: Hidden) -> Tensor:
        """Decode greedily and return token ids ``[b, n]``, prompt first, padded with the end of the text.

        For a recording beyond 30 s, the texts of its windows follow each other, without the prompt.
        """
        assert self.prompt  # otherwise transformers would detect a language for each clip
        choice: dict[str, Any] = {"do_sample": False, "num_beams": 1, "num_return_sequences": 1}
        if hidden.whole:
            if self.prompts.size <= self.prompts.tokens[PLAIN] + STAMPS:
                raise CheckpointError(
                    f"{self.checkpoint.id}: its vocabulary has no timestamps, so recordings over 30 s cannot be"
                    " decoded. Cut the recordings, or use another checkpoint."
                )
            mask = torch.ones(hidden.states.shape[0], hidden.states.shape[-1], dtype=torch.long, device=self.device)
            return self._generated(hidden.states, attention_mask=mask, return_timestamps=True, **choice)
        encoded = self.last(hidden).states
        if is_plain(self.model.generation_config):
            return greedy(self.model, encoded, self.prompt, self.model.generation_config)
        outputs = BaseModelOutput(last_hidden_state=encoded)
        # A degenerate model may write timestamps anyway. transformers would then continue with a second window,
        # for which there is no input, so only one call is allowed.
        return self._generated(
            encoder_outputs=outputs, force_unique_generate_call=True, return_timestamps=False, **choice
        )

    def _generated(self, *inputs: Tensor, **options: Any) -> Tensor:
        """Call transformers' decoding; raises CheckpointError if the settings of the checkpoint do not allow it."""
        try:
            ids: Tensor = self.model.generate(*inputs, **options)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.checkpoint.id}: transformers cannot decode with its generation_config.json"
                f" ({first_line(error)}). Download that file again."
            ) from error
        return ids
