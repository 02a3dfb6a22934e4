"""A published folder says what it is, and is complete."""

import json
import shutil

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from models import network_of
from tests.battery import is_one_line
from tests.made import make_pairs, save_network
from utils import checkpoint
from utils.files import sha256
from utils.settings import Config, to_plain

SETTINGS = (
    "checkpoint: best.pt\ndevice: cpu\ntext: {encoder: stand-in}\ndata: {root: set, workers: 0}\ntest: {batch: 2}\n"
)


@pytest.fixture(scope="module")
def work(tmp_path_factory, scripts):
    """A folder with scored networks: results/mine-test, and results/clear-more of clear images."""
    work = tmp_path_factory.mktemp("publish")
    for seed, split in enumerate(("test", "more")):
        make_pairs(work / "set" / split, [f"{i}.png" for i in range(3)], (48, 60), seed)
    save_network(work / "best.pt", settings=to_plain(Config()), window=64)
    (work / "mine.yaml").write_text(SETTINGS)
    for more in ((), ("data.test=more", "test.input=clear", "run=clear")):
        assert scripts(work, "test.py", "mine.yaml", *more).code == 0
    done = scripts(work, "publish.py", "results/mine-test", "results/clear-more", "--to", "out/mine")
    assert done.code == 0, done.stderr
    return work


def test_the_scores_of_the_card_are_reproduced_from_the_folder_alone(work, scripts, tmp_path):
    shutil.copytree(work / "out/mine", tmp_path / "mine")
    shutil.copytree(work / "set", tmp_path / "elsewhere")
    card = ModelCard.load(tmp_path / "mine/README.md").data
    scores = {(result.dataset_split, result.metric_type): result.metric_value for result in card.eval_results}
    for file, settings, folder in (
        ("model.safetensors", "config.yaml", "mine-test"),
        ("model.pt", "clear-more/config.yaml", "clear-more"),
    ):
        given = [f"mine/{settings}", f"checkpoint=mine/{file}", "data.root=elsewhere"]
        assert scripts(tmp_path, "test.py", *given).code == 0
        metrics = json.loads((tmp_path / f"results/{folder}/metrics.json").read_text())
        for metric in ("psnr", "ssim"):
            assert metrics[metric] == pytest.approx(scores[metrics["data"]["split"], metric], abs=1e-4)


def test_the_folder_holds_what_its_sums_name_and_the_card_shows_what_is_there(work):
    folder = work / "out/mine"
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *sums,
        "SHA256SUMS",
    }
    assert all(sha256(folder / name) == digest for name, digest in sums.items())
    needed = {"model.safetensors", "model.pt", "config.yaml", "README.md", "metrics.json", "results.csv", "report.html"}
    assert needed | {"examples/worst-dehazed.jpg", "clear-more/config.yaml"} <= set(sums)
    text = (folder / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "mit" and {"tags", "library_name", "datasets", "metrics", "model-index"} <= set(front)
    assert "stand-in text features" in text and sha256(work / "best.pt") in text
    assert torch.equal(
        *(network_of(checkpoint.load(path)).patch_embed.weight for path in (folder / "model.pt", work / "best.pt"))
    )


def test_what_cannot_be_published_is_one_line_and_leaves_nothing(work, scripts):
    shutil.copytree(work / "results/mine-test", work / "results/changed")
    metrics = work / "results/changed/metrics.json"
    metrics.write_text(metrics.read_text().replace(sha256(work / "best.pt"), "0" * 64))
    for arguments, message in [
        (["results/mine-test", "--to", "out/mine"], "out/mine exists"),
        (["set", "--to", "out/new"], "set is no results folder of test.py"),
        (["results/changed", "--to", "out/new"], "best.pt has changed since it was scored"),
        (["results/mine-test", "results/changed", "--to", "out/new"], "of different checkpoints"),
    ]:
        done = scripts(work, "publish.py", *arguments)
        is_one_line(done, "publish.py")
        assert message in done.stderr and [path.name for path in (work / "out").iterdir()] == ["mine"]
    done = scripts(work, "publish.py", "results/mine-test", "--to", "out/new", file_size=4000)
    is_one_line(done, "publish.py")
    assert [path.name for path in (work / "out").iterdir()] == ["mine"]
