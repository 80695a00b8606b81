"""Tasks: what a prediction and a score is; nothing else differs between speech recognition and audio events."""

from mam.tasks import asr, events
from mam.tasks.task import Task

TASKS: dict[str, Task] = {"asr": asr, "events": events}  # by ``model.task``
