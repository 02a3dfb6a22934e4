"""The model card of a published network: README.md with the front matter that model hubs read."""

from pathlib import Path

import yaml

from .report import SIDES
from .tables import score_table

TAGS = ("image-dehazing", "image-restoration", "mixdehazenet")


def model_card(name, licence, facts, results, examples):
    """The text of README.md.

    name: the network's. licence: of the weights, as Hugging Face names it. facts: what is to be said of the network, as
    {what: text}. results: {folder's name: content of its metrics.json}. examples: labels of the first one's pictures.
    """
    front = {
        "license": licence,
        "library_name": "pytorch",
        "pipeline_tag": "image-to-image",
        "tags": list(TAGS),
        "datasets": list(dict.fromkeys(metrics["data"]["name"] for metrics in results.values())),
        "metrics": ["psnr", "ssim"],
        "model-index": [{"name": name, "results": [entry(*item) for item in results.items()]}],
    }
    first = next(iter(results.values()))
    text = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {name}",
        "Single-image dehazing, a network of the MixDehazeNet family trained with MixCLDehaze.",
        "\n".join(f"- {what}: {value}" for what, value in {**facts, **origin(first)}.items()),
    ]
    for folder, metrics in results.items():
        data, place = metrics["data"], "" if metrics is first else f"{folder}/"
        lines = [
            f"## Scores on {data['name']}/{data['split']} ({folder})",
            f"```\n{score_table(metrics)}\n```",
            f"Protocol: {metrics['protocol']}. Fingerprint of the images: `{data['fingerprint']}`. "
            f"Settings: [{place}config.yaml]({place}config.yaml).",
        ]
        notes = "\n".join(f"- {note}" for note in metrics["notes"])
        text += [*lines, notes] if notes else lines
    pictures = [
        f"| {label} | {' | '.join(f'![](examples/{label}-{side}.jpg)' for side in SIDES)} |" for label in examples
    ]
    text += [use(first), "## Examples", "\n".join([f"| gain | {' | '.join(SIDES)} |", "|---|---|---|---|", *pictures])]
    return "\n\n".join(text) + "\n"


def entry(folder, metrics):
    """A result of the front matter's model-index. folder: of the results, which tells tests of one split apart."""
    data = metrics["data"]
    scores = [{"type": key, "name": key.upper(), "value": metrics[key]} for key in ("psnr", "ssim")]
    return {
        "task": {"type": "image-to-image", "name": "Image dehazing"},
        "dataset": {
            "name": data["name"],
            "type": data["name"],
            "config": folder,
            "split": data["split"],
            "args": {"fingerprint": data["fingerprint"], "num_images": metrics["num_images"]},
        },
        "metrics": scores,
    }


def origin(metrics):
    """Where the weights come from and what scored them, as {what: text}."""
    trained, environment = metrics["trained_with"], metrics["environment"]
    train, root = trained["train"], trained["data"]["root"]
    versions = {key: value for key, value in environment.items() if isinstance(value, (str, int))}
    return {
        "training data": Path(root).name if root else "rendered scenes",
        "training": f"{metrics['checkpoint']['step']:,} steps of batch {train['batch']}, crop {train['crop']}, "
        f"learning rate {train['lr']}, seed {metrics['seeds']['training']}; all settings are in the weights' files",
        "checkpoint": f"{metrics['selection']}; SHA-256 `{metrics['checkpoint']['sha256']}`, of which the training's "
        "state is left out here",
        "scored with": ", ".join(f"{key} {value}" for key, value in versions.items()),
    }


def use(metrics):
    """How to reproduce the scores, and how to dehaze photographs."""
    text, fusion = metrics["settings"]["text"], metrics["settings"]["model"]["fusion"]
    if fusion == "none":
        labels = ""
    elif text["encoder"] == "stand-in":
        labels = "# DATA/SPLIT/domains.csv must tell the images' domains: name,domain\n"
    else:
        labels = "python clip_text.py FOLDER/config.yaml data.root=DATA\n"
    return f"""\
## Use

In a clone of MixCLDehaze, with this folder as FOLDER and the data set as DATA. `test.py` reproduces the scores (further
ones with their own config.yaml):

```
{labels}python test.py FOLDER/config.yaml checkpoint=FOLDER/model.safetensors data.root=DATA
python predict.py --checkpoint FOLDER/model.safetensors --input photos --output dehazed
```

`model.pt` holds the same. `sha256sum -c SHA256SUMS` checks the files."""
