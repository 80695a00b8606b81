"""The second stages of studies, by ``study.then``."""

from mam.studies.siblings import with_siblings
from mam.studies.transfer import with_transfer

SECOND_STAGES = {"transfer": with_transfer, "siblings": with_siblings}
