"""max_change: no weight changes by more than so many standard deviations of the target's."""

import torch
from support.runs import jobs, plan_of

from mam.merge.mixing import merged_layer


def test_a_change_is_limited_by_hand():
    config = jobs(["parts=q", "lam=0.5", "max_change=0.5", "bias=false"])[0].config
    own = torch.tensor([[1.0, -1.0], [1.0, -1.0]])  # standard deviation 1
    other = torch.tensor([[1.5, -1.0], [5.0, -9.0]])  # halfway: 1.25, -1, 3, -5
    merged = merged_layer(plan_of(config), 0, {"q": (own, None)}, {"q": (other, None)})
    assert merged["q"][0].tolist() == [[1.25, -1.0], [1.5, -1.5]]
