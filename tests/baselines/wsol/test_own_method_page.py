"""The method of the page "Your own WSOL method" is a plug-in that changes a network's batches."""

import re
from pathlib import Path

import torch

from cambench.baselines.contracts import BACKBONES
from cambench.baselines.wsol import WSOL, make_method
from cambench.plugins import load_plugin

PAGE = Path(__file__).parents[3] / "docs" / "your-wsol-method.md"


def test_the_pages_method_runs(tmp_path):
    file = tmp_path / "my_wsol.py"
    file.write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1])
    try:
        load_plugin(file)
        method = make_method({"name": "cutout", "side": 0.4})
        assert WSOL.get("cutout").search == {"side": (0.1, 0.6)}
        net = BACKBONES.get("slim_vgg_gap+cutout").build(3)
        assert net.name == "slim_vgg_gap+cutout"
        images, labels = torch.ones(2, 3, 32, 32), torch.tensor([0, 2])
        hidden, _ = method.change_batch(images, labels)
        assert 0 < (hidden == 0).float().mean() < 0.3
        loss, logits = method.loss(net, hidden, labels)
        assert torch.isfinite(loss)
        assert logits.shape == (2, 3)
    finally:
        WSOL._entries.pop("cutout", None)
        WSOL._origin.pop("cutout", None)
