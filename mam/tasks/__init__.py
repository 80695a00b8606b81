"""Tasks: predictions and scores, the only parts in which speech recognition and audio events differ."""

from mam.tasks import asr, events
from mam.tasks.task import Task

TASKS: dict[str, Task] = {"asr": asr, "events": events}  # by ``model.task``
