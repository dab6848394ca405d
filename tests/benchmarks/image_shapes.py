"""Compare heights and widths of as many pixels for images that are twice as high as wide, on persons that are drawn.

    OMP_NUM_THREADS=1 python tests/benchmarks/image_shapes.py --weights FILE [--epochs 3 --seeds 0 1 2]

The persons are those of tests/drawn_persons.py, 128×64 px, in Market-1501's layout: identities train or are queries,
which are searched in the images of other cameras. Each size is measured with the untouched network (mAP, R@1), and
two of as many pixels, 256×128 and 181×181, after a short training too. The interval is that of the paired difference
over identities. Drawn persons are simpler than real ones: the figures say which shape keeps more, not how much.
"""

import argparse
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import eml
from eml.images.image_size import Size, size_text
from tests.drawn_persons import draw_market

BACKBONE = "mobilenetv2_100"
SIZES: tuple[Size, ...] = (128, (128, 64), (192, 96), 181, (256, 128), 224, (320, 160))
TRAINED: tuple[Size, Size] = (181, (256, 128))
METRICS = ("mean_average_precision", "recall_at_1")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--identities", type=int, default=40, help="to train on; as many are queries")
    return parser.parse_args()


def values(result: Any) -> str:
    own = result.to_dict()["evaluations"][-1]["metrics"]
    return "  ".join(f"{name} {own[name]:.3f}" for name in METRICS)


def trained(folder: Path, size: Size, seed: int, options: argparse.Namespace) -> Path:
    run = folder / f"{size_text(size)}-{seed}"
    keys = [f"image.size={size if isinstance(size, int) else list(size)}", f"seed={seed}", f"output={run}"]
    keys += [f"epochs={options.epochs}", "stages=none", "validation.every=100", "data.cache=raw"]
    eml.train(folder / "config.yaml", overrides=keys)
    return run


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(KeyboardInterrupt):
        folder = Path(name)
        draw_market(folder / "market", train=options.identities, test=options.identities, cameras=4, per_camera=3)
        eml.protocol("market1501", folder / "market", out=folder)
        train, test = folder / "dataset_train.csv", folder / "dataset_test.csv"
        eml.init(train, backbone=BACKBONE, weights=options.weights, out=folder / "config.yaml", overwrite=True)
        for size in SIZES:
            result = eml.evaluate(
                f"timm:{BACKBONE}", weights=options.weights, image_size=size, data=test, out=folder / size_text(size)
            )
            print(f"untouched, {size_text(size):8} {values(result)}", flush=True)
        for seed in options.seeds:
            square, tall = (trained(folder, size, seed, options) for size in TRAINED)
            for size, run in zip(TRAINED, (square, tall), strict=True):
                against = {"against": square} if run == tall else {}
                result = eml.evaluate(run, data=test, **against)
                print(f"{options.epochs} epochs, seed {seed}, {size_text(size):8} {values(result)}", flush=True)
            rows = {row["metric"]: row for row in result.to_dict()["evaluations"][-1]["comparison"]["rows"]}
            for metric in METRICS:
                low, high = rows[metric]["interval"]
                print(f"  {metric} {rows[metric]['difference']:+.3f} ({low:+.3f} to {high:+.3f})", flush=True)


if __name__ == "__main__":
    main()
