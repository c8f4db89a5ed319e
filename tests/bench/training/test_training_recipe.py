import pytest
import torch
import yaml

from cambench.bench.host.errors import UsageError
from cambench.bench.training.images.augment import augment_images, to_pixels
from cambench.bench.training.recipes.optim import build_optimiser, epoch_order, image_seeds, mix, rate_factor, set_rate
from cambench.bench.training.recipes.recipe import Augment, BackboneRecipe, HeadRecipe, Optimiser, Schedule
from cambench.bench.training.recipes.recipe_files import auto_recipe, load_recipe, recipe_names


@pytest.mark.parametrize(("model", "kind"), [(HeadRecipe, "head"), (BackboneRecipe, "backbone")])
def test_every_shipped_recipe_loads_under_its_own_name(model, kind):
    names = recipe_names(kind)
    assert "synthbirds" in names
    for name in names:
        assert load_recipe(model, name).name == name


def test_the_published_schedule():
    recipe = load_recipe(HeadRecipe, auto_recipe("cub"))
    assert (recipe.name, recipe.epochs, recipe.batch_size) == ("paper", 3, 32)
    optimiser = build_optimiser(recipe.optimiser, [([torch.nn.Parameter(torch.zeros(2, 2))], 1.0)])
    assert isinstance(optimiser, torch.optim.SGD)
    rates = []
    for step in range(30):
        set_rate(optimiser, rate_factor(recipe.schedule, step, 10, 3))
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.03] * 20 + [0.003] * 10)
    group = optimiser.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)
    assert auto_recipe("synthbirds") == "synthbirds"


def test_cosine_rises_falls_and_ends():
    schedule = Schedule(kind="cosine", warmup_epochs=1, final=0.1)
    factors = [rate_factor(schedule, s, 10, 5) for s in range(50)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[10] == pytest.approx(1.0)
    assert 0.1 <= factors[-1] < 0.11


def test_vectors_can_go_without_decay():
    matrix, vector = torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))
    spec = Optimiser(name="adamw", lr=1.0, weight_decay=0.5, decay_vectors=False)
    groups = build_optimiser(spec, [([matrix, vector], 1.0)]).param_groups
    assert {id(g["params"][0]): g["weight_decay"] for g in groups} == {id(matrix): 0.5, id(vector): 0.0}


def test_digest_follows_every_number_and_no_name(head_recipe):
    same = head_recipe.model_copy(update={"name": "other", "source": "elsewhere"})
    assert same.digest == head_recipe.digest
    assert head_recipe.model_copy(update={"epochs": 7}).digest != head_recipe.digest


def test_unknown_recipe_lists_the_known():
    with pytest.raises(UsageError, match=r"'nope'; known: .*paper.*synthbirds"):
        load_recipe(HeadRecipe, "nope")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"epochs": 0}, "epochs"), ({"optimizer": {}}, "optimizer"), ({"augment": {"load_size": 100}}, "load_size 100")],
)
def test_wrong_fields_are_named(tmp_path, head_recipe, change, message):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**head_recipe.model_dump(mode="json"), "size": 224, **change}))
    with pytest.raises(UsageError, match=message):
        load_recipe(HeadRecipe, str(file))


def test_a_file_that_is_no_recipe(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("- just\n- a list\n")
    with pytest.raises(UsageError, match="expected a mapping"):
        load_recipe(HeadRecipe, str(file))
    with pytest.raises(UsageError, match="no such file"):
        load_recipe(HeadRecipe, str(tmp_path / "missing.yaml"))


def test_order_is_a_new_permutation_each_epoch_and_seed():
    orders = [epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(o) == list(range(50)) for o in orders)
    assert len({tuple(o) for o in orders}) == 4
    assert epoch_order(50, 1, 1) == orders[3]
    assert len({mix(s, c, k) for s in range(5) for c in range(50) for k in range(4)}) == 1000


def augmented(images, spec, crop, seed=0):
    with torch.random.fork_rng(devices=[]):
        return augment_images(images, image_seeds(seed, 0, range(len(images)), len(images)), spec, crop)


def test_crops_are_windows_of_the_image_and_flips_mirror_them():
    ramp = torch.arange(8 * 8, dtype=torch.uint8).view(1, 1, 8, 8).expand(64, 3, 8, 8)
    crops = augmented(ramp, Augment(load_size=8), 6)
    windows = {
        tuple(w.flatten().tolist()): flipped
        for y in range(3)
        for x in range(3)
        for flipped, w in enumerate((ramp[0, 0, y : y + 6, x : x + 6], ramp[0, 0, y : y + 6, x : x + 6].flip(1)))
    }
    seen = [tuple(c[0].flatten().tolist()) for c in crops]
    assert set(seen) <= set(windows)
    assert {windows[s] for s in seen} == {0, 1}
    assert len(set(seen)) > 9
    assert torch.equal(crops[:, 0], crops[:, 2])


def test_an_image_is_augmented_alike_in_whatever_batch():
    images = torch.randint(0, 256, (6, 3, 12, 12), dtype=torch.uint8)
    spec = Augment(load_size=12, brightness=0.3, contrast=0.3, saturation=0.3)

    def chosen(rows, epoch=2):
        with torch.random.fork_rng(devices=[]):
            return augment_images(images[rows], image_seeds(1, epoch, rows, 6), spec, 8)

    whole = chosen([0, 1, 2, 3, 4, 5])
    assert torch.equal(torch.cat([chosen([5, 0]), chosen([3]), chosen([1, 2, 4])]), whole[[5, 0, 3, 1, 2, 4]])
    assert not torch.equal(chosen([0, 1, 2, 3, 4, 5], epoch=3), whole)


def test_colours_change_only_when_asked():
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    assert augmented(images, None, 8) is images
    assert torch.equal(augmented(images, Augment(load_size=8, flip=False), 8), images)
    jittered = augmented(images, Augment(load_size=8, flip=False, brightness=0.5, contrast=0.5, saturation=0.5), 8)
    assert jittered.dtype == torch.uint8
    assert not torch.equal(jittered, images)


def test_smaller_input_is_the_antialiased_resize():
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(to_pixels(images, 16), images.float() / 255)
    expected = torch.nn.functional.interpolate(images / 255, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(to_pixels(images, 8), expected)
