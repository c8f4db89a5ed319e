"""A head's training that is killed while its features are streamed goes on after the last whole epoch."""

import pytest
import torch

from cambench.bench.host.errors import UsageError
from cambench.bench.training.head import train_head
from cambench.bench.training.means import Means


class CutError(Exception):
    pass


@pytest.mark.parametrize("kind", ["gap", "mlp"])
def test_a_streamed_training_cut_after_an_epoch_equals_an_uncut_one(
    kind, tmp_path, network, table, tables, head_recipe
):
    test = tables(12, seed=4, split="test")
    given = {"evaluate": test, "each_epoch": True}
    whole, cut = network(kind), network(kind)
    expected = train_head(whole, table, head_recipe, means=Means(cache_bytes=0), **given)
    means = Means(cache_bytes=0, state_file=tmp_path / "head.training")

    clean, calls = cut.features, []

    def features(images):
        calls.append(len(images))
        if len(calls) > 8:  # within the second epoch
            raise CutError
        return clean(images)

    cut.features = features
    with pytest.raises(CutError):
        train_head(cut, table, head_recipe, means=means, **given)
    done = len(torch.load(means.state_file, weights_only=True)["losses"])
    assert 0 < done < head_recipe.epochs
    cut.features = clean
    with pytest.raises(UsageError, match="another training"):
        train_head(network(kind), table, head_recipe, seed=1, means=means, **given)
    record = train_head(cut, table, head_recipe, means=means, **given)
    assert (record.losses, record.epoch_top1) == (expected.losses, expected.epoch_top1)
    assert record.backbone_passes == expected.backbone_passes == head_recipe.epochs
    parameters = whole.head("sigmoid").state_dict()
    assert all(torch.equal(v, parameters[k]) for k, v in cut.head("sigmoid").state_dict().items())


def test_a_cached_training_leaves_no_state(tmp_path, network, table, head_recipe):
    train_head(network(), table, head_recipe, means=Means(state_file=tmp_path / "head.training"))
    assert not list(tmp_path.iterdir())
