"""Transcripts become corpus rates and a paired difference."""

from mam.compose import jobs
from mam.tasks import asr


def test_score_counts_as_the_scorer_does():
    rows = [{"reference": "Hello, Anna!", "prediction": "HELLO HANNA"}, {"reference": "one", "prediction": "1"}]
    right = [{"reference": row["reference"], "prediction": row["reference"]} for row in rows]
    scored = asr.score(jobs(["data.normalizer=hubert_english"])[0].config, [rows], right)
    assert scored.metrics["wer"] == scored.difference.absolute == 1 / 3
    counted = {key: scored.metrics[key] for key in ("substitutions", "deletions", "insertions", "words")}
    assert counted == {"substitutions": 1, "deletions": 0, "insertions": 0, "words": 3}
    assert scored.baseline["wer"] == 0 and scored.difference.relative is None
