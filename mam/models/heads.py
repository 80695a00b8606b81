"""A linear probe on pooled features: logistic regression, with regularisation chosen on the training folds."""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mam.errors import DataError
from mam.files import sha256_json

Features = NDArray[np.float32]
INVERSE_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # C of logistic regression, strongest regularisation first
ITERATIONS = 1000
INNER_FOLDS = 4
REMEMBERED = 64


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    ``strength`` is the chosen C; ``is_converged`` is false if the optimiser stopped before it converged.
    """

    model: Any
    classes: list[str]
    strength: float
    is_converged: bool

    def scores(self, features: Features) -> NDArray[np.float64]:
        """Return the class probabilities ``[n, classes]`` of features ``[n, d]``."""
        probabilities: NDArray[np.float64] = self.model.predict_proba(np.asarray(features, dtype=np.float64))
        return probabilities


_fitted: OrderedDict[str, Probe] = OrderedDict()


def fit_probe(features: Features, labels: Sequence[str], groups: Sequence[Hashable]) -> Probe:
    """Standardise the features and fit multinomial logistic regression.

    C maximises the mean accuracy over inner folds, each of which leaves whole ``groups`` out (one group per fold if
    there are at most four). Ties go to the strongest regularisation. All statistics, including the standardisation,
    come from these clips alone. The same clips are fitted once per process, because a sweep over λ reuses the probes of
    its baseline.

    Args:
        features: Pooled features of the training clips, ``[n, d]``.
        labels: The classes of the clips.
        groups: The group of each clip, such as its fold or the recording it was cut from. Clips of one group stay
            together.

    Raises:
        DataError: There are fewer than two classes or two groups.
    """
    # The names of groups do not matter, only which clips belong together.
    numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    group_numbers = [numbers[group] for group in groups]
    if len(set(labels)) < 2 or len(numbers) < 2:
        raise DataError(
            f"a probe cannot be fitted on {len(labels)} clips of {len(set(labels))} classes in {len(numbers)} groups:"
            " it needs at least two classes and two groups. Raise data.limit or add training clips."
        )
    key = sha256_json([hashlib.sha256(features.tobytes()).hexdigest(), features.shape, list(labels), group_numbers])
    if key in _fitted:
        _fitted.move_to_end(key)
        return _fitted[key]
    probe = _fit(features, labels, group_numbers)
    _fitted[key] = probe
    while len(_fitted) > REMEMBERED:
        _fitted.popitem(last=False)
    return probe


def _fit(features: Features, labels: Sequence[str], groups: Sequence[int]) -> Probe:
    # Imported here because speech recognition does not need scikit-learn, which is slow to import.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs, targets = np.asarray(features, dtype=np.float64), np.asarray(labels)
    inner = list(GroupKFold(min(INNER_FOLDS, len(set(groups)))).split(inputs, targets, groups))

    def fitted(strength: float, rows: NDArray[np.int64] | slice) -> Any:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=ITERATIONS))
        return model.fit(inputs[rows], targets[rows])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        accuracy = {
            strength: sum(fitted(strength, train).score(inputs[test], targets[test]) for train, test in inner)
            for strength in INVERSE_STRENGTHS
        }
        best = max(INVERSE_STRENGTHS, key=lambda strength: accuracy[strength])  # ties go to the first
        caught.clear()
        model = fitted(best, slice(None))
    is_converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return Probe(model, [str(name) for name in model.classes_], best, is_converged)
