"""The repository root is the import package: nothing shadows, nothing heavy is imported, the wheel is complete."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python(*args, cwd=ROOT, **kwargs):
    return subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, text=True, check=True, **kwargs)


def test_datasets_is_hugging_faces_from_the_checkout():
    answer = python("-c", "import datasets; print(datasets.__file__); datasets.Dataset")
    assert not Path(answer.stdout.strip()).is_relative_to(ROOT / "datasets")
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_import_is_light():
    heavy = "torch numba pandas datasets timm matplotlib torchmetrics"
    code = f"import cambench, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


def files():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    return [f for f in listed if f and (ROOT / f).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    # From a copy: a build in the checkout would leave its folders there, and find those of earlier builds.
    for file in files():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source))
    (file,) = out.glob("cambench-*.whl")
    return file


def test_the_wheel_holds_code_and_data_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    rooms = ("baselines/", "datasets/", "metrics/", "results/", "bench/")
    wanted = {f"cambench/{f}" for f in files() if f.startswith(rooms) and f.endswith((".py", ".safetensors", ".j2"))}
    assert wanted <= set(names), sorted(wanted - set(names))
    assert "cambench/py.typed" in names
    assert any(n.startswith("cambench/results/paper/") and n.endswith(".csv") for n in names)
    assert any(n.startswith("cambench/bench/training/recipes/") and n.endswith(".yaml") for n in names)
    assert not [n for n in names if "test" in n or not n.startswith("cambench")], "only the package"


def test_ls_works_from_the_wheel(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import cambench;"
        "assert cambench.__file__.startswith(sys.argv[1]);"
        "from cambench.bench.cli.app import main; sys.argv = ['cambench', 'ls']; main()"
    )
    answer = python("-c", code, str(tmp_path), cwd=tmp_path)
    for name in ("slim_resnet", "gradcam", "sigmoid", "synthbirds", "max_box_acc_v2", "paper"):
        assert name in answer.stdout
