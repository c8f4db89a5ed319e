"""``cambench figure``: the command line on small real files; same request, same bytes."""

import shutil

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from cambench.baselines.backbones.opening import head_digest
from cambench.baselines.weights.weight_files import WeightsError
from cambench.bench.cli.app import app
from cambench.bench.figures.figure_request import FigureRequest
from cambench.bench.figures.inputs import chosen_batch, ready_networks
from cambench.bench.figures.map_grid import draw_maps
from cambench.bench.host.errors import UsageError
from cambench.bench.notebook.runs import run
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

RECIPE = """name: tiny
source: a test
epochs: 2
batch_size: 4
size: 64
optimiser: {name: sgd, lr: 0.05, weight_decay: 0.0}
schedule: {kind: step}
augment: null
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "head.yaml").write_text(RECIPE)
    return str(tmp_path / "head.yaml")


@pytest.fixture
def request_of(blobs, recipe):
    def make(**fields):
        options = {"metadata": str(blobs[1])}
        defaults = {"dataset": "wsol", "root": blobs[0], "options": options, "head_recipe": recipe, "device": "cpu"}
        return FigureRequest(**{**defaults, "count": 2, "workers": 1, **fields})

    return make


def test_maps_are_the_same_bytes_with_the_heads_of_a_run_and_trained_anew(request_of, settings, recipe, tmp_path):
    triples = ("slim_vgg_gap/{gradcam,layercam,center}/{softmax,sigmoid}",)
    done = run(**{**settings, "triples": triples, "head_recipe": recipe, "limit": 4}).run
    first = draw_maps(request_of(), triples, tmp_path / "a/first", dpi=60)
    assert [p.name for p in first] == ["first.png", "first.pdf", "first.svg"]
    (second,) = draw_maps(request_of(run=done.out), triples, tmp_path / "second.png", dpi=60)
    assert first[0].read_bytes() == second.read_bytes()
    assert first[1].read_bytes()[:5] == b"%PDF-"
    with Image.open(second) as picture:
        # Input and five maps (Center has one head) beside each other, two rows.
        assert picture.width > 1.9 * picture.height
    (other,) = draw_maps(request_of(run=done.out, seed=1), triples, tmp_path / "other.png", dpi=60)
    assert other.read_bytes() != second.read_bytes()
    with pytest.raises(UsageError, match="has no slim_vgg; it has slim_vgg_gap"):
        draw_maps(request_of(run=done.out), ("slim_vgg/gradcam/softmax",), tmp_path / "x.png")


def test_the_class_is_a_trained_head_s_whatever_heads_are_drawn(request_of, recipe, blobs, settings, tmp_path):
    """As in a run: a network of other classes gets a softmax head for the data set, which decides the class."""
    for file in blobs[1].glob("*/class_labels.txt"):
        lines = [line.rsplit(",", 1) for line in file.read_text().splitlines()]
        file.write_text("".join(f"{name},{int(label) % 7}\n" for name, label in lines))
    data, triples = {"options": {"metadata": str(blobs[1]), "num_classes": 7}}, ("slim_vgg_gap/gradcam/sigmoid",)
    done = run(**{**settings, **data, "triples": triples, "head_recipe": recipe}).run
    ((name, network),) = ready_networks(
        request_of(**data), ["slim_vgg_gap"], request_of(**data).source.open(), lambda *_: ["sigmoid"]
    )
    record = done.manifest.backbones[name]
    assert set(record.branches) == {"softmax", "sigmoid"}
    assert {b: head_digest(network.head(b)) for b in record.branches} == {
        b: r.sha256 for b, r in record.branches.items()
    }
    first, second = (
        draw_maps(request_of(**data, **more), triples, tmp_path / f"{i}.png", dpi=60)[0].read_bytes()
        for i, more in enumerate(({}, {"run": done.out}))
    )
    assert first == second
    shutil.rmtree(blobs[1] / "train")
    with pytest.raises(DatasetError, match="softmax branch of slim_vgg_gap must be trained.*7 classes with --softmax"):
        draw_maps(request_of(**data), triples, tmp_path / "x.png")


def test_what_a_figure_lacks_is_said_before_anything_is_trained(request_of, tmp_path, monkeypatch):
    monkeypatch.setattr("cambench.bench.engine.head_keeper.train_head", None)
    two = ("slim_{resnet,vgg}/gradcam/sigmoid",)
    with pytest.raises(WeightsError, match="h.safetensors: no such file"):
        draw_maps(request_of(head_weights={"slim_vgg": tmp_path / "h.safetensors"}), two, tmp_path / "x.png")
    with pytest.raises(UsageError, match="slim_vgg/cam/sigmoid: .* needs a GAP"):
        draw_maps(request_of(), (*two, "slim_vgg/cam/sigmoid"), tmp_path / "x.png")


def test_images_are_chosen_by_id_or_seed(request_of, blobs):
    table = open_table("wsol", blobs[0], "test", metadata=str(blobs[1]))
    assert chosen_batch(request_of(image=("test/007.jpg", "003")), table, 32).index.tolist() == [7, 3]
    drawn = [chosen_batch(request_of(count=4, seed=s), table, 32).index.tolist() for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 4
    with pytest.raises(UsageError, match=r"10 images end so: test/000.jpg"):
        chosen_batch(request_of(image=(".jpg",)), table, 32)
    with pytest.raises(UsageError, match="no such image in wsol test"):
        chosen_batch(request_of(image=("nowhere",)), table, 32)


def test_distortion_on_the_command_line(blobs, recipe, tmp_path):
    line = f"figure distortion --backbone slim_vgg_gap --dataset wsol --root {blobs[0]} --metadata {blobs[1]}"
    line += f" --head-recipe {recipe} --images 3 --channels 2 --deltas 4,8 --collapse 1 --dpi 50 --device cpu"
    result = CliRunner().invoke(app, [*line.split(), "--out", str(tmp_path / "d")])
    assert result.exit_code == 0, result.output
    assert "Shift sensitivity of slim\\_vgg\\_gap/gradcam" in (tmp_path / "d.md").read_text()
    frame = pd.read_csv(tmp_path / "d.csv")
    assert (frame.max_probability_change < 1e-6).all()
    untouched = frame[frame["head"].str.startswith("sigmoid") & (frame.shifted == "softmax")]
    assert len(untouched) == 2 * (2 + 3)
    assert (untouched[["change_percent", "max_sigmoid_change"]] < 1e-9).all(axis=None)
    own = frame[frame.shifted == "sigmoid"]
    assert (own.max_sigmoid_change > 0).all()
    assert frame[(frame["head"] == "softmax") & (frame.delta_sigma > 1)].change_percent.min() > 0
    assert (frame.low <= frame.change_percent).all()
    assert (frame.change_percent <= frame.high).all()
    picture = (tmp_path / "d.png").read_bytes()
    again = CliRunner().invoke(app, [*line.split(), "--out", str(tmp_path / "e.png")])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "e.png").read_bytes() == picture
    assert not (tmp_path / "e.pdf").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("maps --triples slim_resnet/gradcam/softmax --out x.gif", ".pdf or .svg"),
        ("distortion --backbone slim_vgg --out x --deltas 1,no", "numbers separated by commas"),
        ("distortion --backbone slim_vgg --out x --collapse 0", "positive"),
        ("distortion --backbone slim_vgg --cam cam --images 2 --out x", "needs a GAP"),
        ("contact-sheet --out x.jpg", ".pdf or .svg"),
    ],
)
def test_wrong_use_is_told(words, message, blobs, recipe, tmp_path):
    line = ["figure", *words.replace("--out ", f"--out {tmp_path}/").split()]
    line += ["--dataset", "wsol", "--root", str(blobs[0]), "--metadata", str(blobs[1])]
    if "contact-sheet" not in words:
        line += ["--head-recipe", recipe]
    result = CliRunner().invoke(app, line)
    assert isinstance(result.exception, UsageError), result.output
    assert message in str(result.exception)


def test_contact_sheet_writes_what_it_names(blobs, tmp_path):
    line = (
        f"figure contact-sheet --dataset wsol --root {blobs[0]} --metadata {blobs[1]} --rows 1 --out {tmp_path}/sheet"
    )
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.output
    assert {p.name for p in tmp_path.glob("sheet.*")} == {"sheet.png", "sheet.pdf", "sheet.svg"}
