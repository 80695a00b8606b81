"""What a study leaves beside its runs: `study.json` and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mam.files import write_json
from mam.report.plots import differences
from mam.report.tables import metric_of
from mam.report.trainings import draw_stability
from mam.studies.evidence import Comparison, conclusion
from mam.studies.execute import Ended
from mam.studies.trainings import Stability, Versus


def record_study(
    folder: Path,
    name: str,
    ended: Sequence[Ended],
    comparisons: Sequence[Comparison],
    versus: Sequence[Versus] = (),
    scatter: Stability | None = None,
) -> None:
    """Write ``folder/study.json``, and ``folder/study.png`` where any run merged anything.

    ``study.json``: name, runs (what varies, folder or error, metrics, baseline, delta), comparisons of the source with
    each control, and the conclusion from them (null where there is no control); of trainings ``versus``, each method
    against FT by seed and over seeds, and ``stability``, the λ that seeds learnt.
    """
    plan = [end.job for end in ended]
    done = [(end.job.varied(plan), end.outcome) for end in ended if end.outcome]
    first = done[0][1].result
    write_json(
        folder / "study.json",
        {
            "name": name,
            "runs": [
                {"varied": end.job.varied(plan)}
                | (
                    {"folder": str(end.outcome.folder)}
                    | {key: end.outcome.result[key] for key in ("metrics", "baseline", "delta")}
                    if end.outcome
                    else {"error": end.error}
                )
                for end in ended
            ],
            "comparisons": [asdict(one) for one in comparisons],
            "conclusion": conclusion(comparisons, first["data"]["n"]) if comparisons else None,
            "versus": [asdict(one) for one in versus],
            "stability": None if scatter is None else asdict(scatter),
        },
    )
    results = [(varied, outcome.result) for varied, outcome in done]
    if any(any(result["merge"]["lam"]) for _, result in results):
        title = f"{first['model']['name']} on {first['data']['name']}"
        differences(folder / "study.png", results, metric_of(first)[1], title)
    if scatter is not None:
        draw_stability(folder / "stability.png", scatter, f"{first['model']['name']} on {first['data']['name']}")
